"""What people read about a shadow prediction: how often a version agrees with the champion, and on which labels not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from textclf.language import _, joined, ngettext
from textclf.records import PredictionSummary, Shadow
from textclf.tables import markdown_table, markdown_text, one_line, shorten

_REASON_WIDTH = 400
_LISTED_TABLES = 20


def shadow_section(summary: PredictionSummary) -> Iterable[str]:
    """Describes a shadow prediction on the run's page, with a table by label; yields nothing without one."""
    shadow = summary.shadow
    if shadow is None:
        return
    yield f"## {_('Beside the champion')}"
    yield from (markdown_text(line) for line in _sentences(shadow))
    agreement = _agreement(shadow)
    if agreement:
        rows = [[_("champion's label"), _("rows"), _("same label"), _("share"), _("else most often")]]
        for label, counts in sorted(agreement.items(), key=lambda item: -item[1].total()):
            others = Counter({other: count for other, count in counts.items() if other != label})
            other = "–"
            if others:
                ((most, count),) = others.most_common(1)
                other = f"{most} ({count:,})"
            total = counts.total()
            rows.append([label, f"{total:,}", f"{counts[label]:,}", f"{counts[label] / total:.1%}", other])
        yield markdown_table(rows)
        tables = [f"- {markdown_text(str(file.output))}" for file in shadow.files[:_LISTED_TABLES]]
        if (more := len(shadow.files) - _LISTED_TABLES) > 0:
            tables.append("- " + ngettext("{count:,} more file", "{count:,} more files", more).format(count=more))
        yield _("Both labels of each row:") + "\n\n" + "\n".join(tables)


def shadow_lines(summary: PredictionSummary) -> Iterable[str]:
    """Says the same in a line or two, for the end of a run."""
    shadow = summary.shadow
    if shadow is None:
        return
    yield from _sentences(shadow)
    if shadow.files:
        yield "  " + _("Both labels of each row are in {folder}").format(folder=shadow.files[0].output.parent)


def _sentences(shadow: Shadow) -> Iterable[str]:
    if shadow.version is None and shadow.problem is None:
        yield _("No version is beside the champion: none has the alias {alias}, or the champion has it.").format(
            alias=shadow.alias
        )
    who = (
        _("Version {version} ({alias})").format(version=shadow.version, alias=shadow.alias)
        if shadow.version
        else _("The version with the alias {alias}").format(alias=shadow.alias)
    )
    agreement = _agreement(shadow)
    rows = sum(counts.total() for counts in agreement.values())
    if rows:
        agreed = sum(counts[label] for label, counts in agreement.items())
        text = ngettext(
            "{who} answered {rows:,} row beside the champion and agrees on {agreed:,} ({share:.1%}).",
            "{who} answered {rows:,} rows beside the champion and agrees on {agreed:,} ({share:.1%}).",
            rows,
        ).format(who=who, rows=rows, agreed=agreed, share=agreed / rows)
        if shadow.rows_so_far > rows:
            text = joined(
                text,
                _("So far: {rows:,} rows, {share:.1%} with the same label.").format(
                    rows=shadow.rows_so_far, share=shadow.agreed_so_far / shadow.rows_so_far
                ),
            )
        yield text
    elif shadow.version and shadow.problem is None:
        yield _("{who} had nothing new to answer beside the champion.").format(who=who)
    if shadow.problem:
        yield _("{who} could not answer all rows; the predictions do not depend on it: {reason}").format(
            who=who, reason=shorten(one_line(shadow.problem), _REASON_WIDTH)
        )


def _agreement(shadow: Shadow) -> dict[str, Counter[str]]:
    """Sums the agreement of this run's files: rows by the champion's label, then by the other's."""
    found: dict[str, Counter[str]] = {}
    for file in shadow.files:
        for label, counts in file.agreement.items():
            found.setdefault(label, Counter()).update(counts)
    return found
