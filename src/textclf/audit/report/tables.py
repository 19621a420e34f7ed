"""Tables shared by page, terminal and Markdown: counts, decisions, quarantined rows and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from textclf.audit.findings import Findings
from textclf.audit.report.wording import Words
from textclf.config.sources import Split
from textclf.records import Quarantined

MOST_LABELS = 30
"""Labels in a table; only the number of the others is given."""
LENGTH_RATIO = 1.5
"""Ratio of two labels' median lengths above which length gives a label away."""


@dataclass(frozen=True)
class Table:
    """A header and rows of as many cells."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    """Number of text columns from the left; the others are figures."""
    marked: frozenset[int] = frozenset()
    """Positions of highlighted rows."""


def counts_table(findings: Findings, words: Words) -> Table:
    """Counts what was found in each split."""
    shared, near = findings.cross_split, findings.near_duplicates
    figures: dict[str, Callable[[Split], int | None]] = {
        words("rows_before"): lambda split: findings.rows[split],
        words("rows_after"): lambda split: findings.rows_after[split],
        words("normalized"): lambda split: findings.duplicates[split].normalized,
        words("conflict_rows"): lambda split: findings.conflicts[split].rows,
        words("leak_normalized"): lambda split: shared[split].normalized if split in shared else None,
        words("leak_near"): lambda split: shared[split].near if split in shared else None,
        words("near_rows"): lambda split: None if near is None else near.rows.get(split, 0),
        words("cut_head", length=findings.lengths["train"].max_length): lambda split: findings.lengths[split].cut,
        words("personal_head"): lambda split: sum(findings.personal_data.get(split, {}).values()),
        words("damaged_head"): lambda split: findings.damaged[split],
    }
    rows = [[name, *(count(figure(split)) for split in findings.rows)] for name, figure in figures.items()]
    return Table([words("rows"), *split_names(findings, words)], rows)


def decisions_table(findings: Findings, words: Words) -> Table:
    """Lists the decisions of the policy, and how many training rows each removed."""
    rows = [
        [
            words.known(f"finding.{decision.finding}", decision.finding),
            words.known(f"choice.{decision.finding}.{decision.choice}", decision.choice),
            f"{decision.rows:,}",
        ]
        for decision in findings.decisions
    ]
    return Table(list(map(words, ("decision", "choice", "rows_removed"))), rows, text_columns=2)


def quarantine_table(kinds: Sequence[Quarantined], words: Words, *, most: int | None = None) -> Table:
    """Counts the kinds of broken rows; those beyond the `most` frequent ones share a row."""
    shown = kinds[:most]
    rows = [[words.known(f"reason.{kind.reason}", kind.reason), f"{kind.rows:,}"] for kind in shown]
    if rest := kinds[len(shown) :]:
        rows.append([words("more", count=len(rest)), f"{sum(kind.rows for kind in rest):,}"])
    return Table([words("reason"), words("rows")], rows)


def labels_table(findings: Findings, words: Words) -> Table:
    """Counts the most frequent labels by split, next to the median length of their training texts."""
    counts, medians = findings.labels.counts, findings.labels.median_characters
    shares = label_shares(findings)
    names = shown_labels(findings)
    shortest = min((length for length in medians.values() if length > 0), default=0)
    rows = [
        [
            name,
            *(f"{counts[split].get(name, 0):,} ({shares[split].get(name, 0):.1%})" for split in findings.rows),
            f"{medians[name]:,.0f}" if name in medians else "–",
        ]
        for name in names
    ]
    marked = frozenset(index for index, name in enumerate(names) if medians.get(name, 0) > LENGTH_RATIO * shortest > 0)
    return Table([words("label"), *split_names(findings, words), words("median_characters")], rows, marked=marked)


def hidden_labels(findings: Findings, words: Words) -> str:
    """Describes the labels that the table omits; empty if it shows all."""
    shown = shown_labels(findings)
    hidden = findings.labels.counts["train"].keys() - set(shown)
    rows = sum(by_label.get(name, 0) for by_label in findings.labels.counts.values() for name in hidden)
    return words("labels_more", shown=len(shown), count=len(hidden), rows=rows) if hidden else ""


def shown_labels(findings: Findings) -> list[str]:
    """The labels to show, the most frequent first."""
    by_split = findings.labels.counts
    totals = {name: sum(counts.get(name, 0) for counts in by_split.values()) for name in by_split["train"]}
    return sorted(totals, key=lambda name: -totals[name])[:MOST_LABELS]


def label_shares(findings: Findings) -> Mapping[Split, Mapping[str, float]]:
    """Share of each label in each split, 0 to 1."""
    return {
        split: {name: rows / (sum(counts.values()) or 1) for name, rows in counts.items()}
        for split, counts in findings.labels.counts.items()
    }


def split_names(findings: Findings, words: Words) -> Iterable[str]:
    """The names of the splits, in order."""
    return [words(f"split.{split}") for split in findings.rows]


def count(number: int | None) -> str:
    """Formats a count, or a dash for None."""
    return "–" if number is None else f"{number:,}"
