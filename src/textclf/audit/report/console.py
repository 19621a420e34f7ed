"""The audit on one screen of a terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textclf.audit.findings import Findings
from textclf.audit.report.tables import reason_name
from textclf.audit.report.verdict import one_line, verdicts
from textclf.audit.report.wording import Language, Words
from textclf.config.sources import SPLITS, Split
from textclf.tables import align, display_width, shorten

_MOST_VERDICTS = 10
_MOST_REASONS = 3
_NAME_COLUMNS = 40


def console_summary(findings: Findings, *, language: Language, report: Path | None) -> str:
    """Says on one screen what was found and what was done about it.

    Args:
        findings: Of an audit.
        language: Of the summary.
        report: The page, if there is one.

    Returns:
        At most 40 lines: the verdicts, worst first, the counts by split, the decisions, and where the page is.
    """
    words = Words(language, one_line)
    parts = [words("title", name=findings.name), _verdicts(findings, words), _counts(findings, words)]
    if findings.decisions:
        parts.append(_decisions(findings, words))
    if findings.quarantined:
        parts.append(_quarantined(findings, words))
    if report is not None:
        parts.append(words("report_path", path=str(report)))
    return "\n\n".join(parts)


def _verdicts(findings: Findings, words: Words) -> str:
    found = verdicts(findings)
    if not found:
        return words("all_clear")
    badges = [words(f"severity.{verdict.severity}") for verdict in found]
    width = max(map(display_width, badges))
    lines = [
        f"{badge}{' ' * (width - display_width(badge))}  {verdict.sentence(words).replace('`', '')}"
        for badge, verdict in zip(badges, found, strict=True)
    ]
    if len(lines) > _MOST_VERDICTS:
        more = words("more_verdicts", count=len(lines) - _MOST_VERDICTS)
        lines[_MOST_VERDICTS:] = [" " * (width + 2) + more]
    return "\n".join(lines)


def _counts(findings: Findings, words: Words) -> str:
    splits = [split for split in SPLITS if split in findings.rows]
    shared, near = findings.cross_split, findings.near_duplicates
    figures: list[tuple[str, Callable[[Split], int | None]]] = [
        (words("rows_before"), lambda split: findings.rows[split]),
        (words("rows_after"), lambda split: findings.rows_after[split]),
        (words("normalized"), lambda split: findings.duplicates[split].normalized),
        (words("conflict_rows"), lambda split: findings.conflicts[split].rows),
        (words("leak_normalized"), lambda split: shared[split].normalized if split in shared else None),
        (words("leak_near"), lambda split: shared[split].near if split in shared else None),
        (words("near_rows"), lambda split: None if near is None else near.rows.get(split, 0)),
        (
            words("cut_head", length=findings.lengths["train"].max_length),
            lambda split: findings.lengths[split].cut,
        ),
        (words("section.personal"), lambda split: sum(findings.personal_data.get(split, {}).values())),
        (words("damaged_head"), lambda split: findings.damaged[split]),
    ]
    rows = [[words("rows"), *(words(f"split.{split}") for split in splits)]]
    for name, figure in figures:
        counts = [figure(split) for split in splits]
        rows.append([name, *("–" if count is None else f"{count:,}" for count in counts)])
    return align(rows)


def _decisions(findings: Findings, words: Words) -> str:
    rows = [[words("choice"), words("rows_removed")]]
    for decision in findings.decisions:
        name = words.known(f"finding.{decision.finding}", decision.finding)
        choice = words.known(f"choice.{decision.finding}.{decision.choice}", decision.choice)
        rows.append([words("named", name=name, value=choice).replace("`", ""), f"{decision.rows:,}"])
    return align(rows)


def _quarantined(findings: Findings, words: Words) -> str:
    kinds = findings.quarantined
    rows = [[words("section.quarantined"), words("rows")]]
    rows += [
        [shorten(one_line(reason_name(kind, words)), _NAME_COLUMNS), f"{kind.rows:,}"] for kind in kinds[:_MOST_REASONS]
    ]
    if rest := kinds[_MOST_REASONS:]:
        rows.append([words("more_verdicts", count=len(rest)), f"{sum(kind.rows for kind in rest):,}"])
    return align(rows)
