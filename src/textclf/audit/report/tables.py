"""Tables that the page and the Markdown share: rows, decisions, quarantined rows; and which labels are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from textclf.audit.findings import Findings
from textclf.audit.report.wording import Words
from textclf.config.sources import SPLITS
from textclf.records import Quarantined

MOST_LABELS = 30
"""A table of more labels is not read; the others are counted."""

# As `textclf.data.quarantine` words it.
_PLACE = re.compile(r"(?P<source>.*?), row (?P<row>[0-9,]+): (?P<shown>.*)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """Cells of equal number a row.

    Attributes:
        header: Of the columns; the first column is text.
        rows: The cells.
        text_columns: How many columns, from the left, are text; the others are figures.
        marked: Rows to draw attention to, by position.
        coded: The cells have names between backticks.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    marked: frozenset[int] = frozenset()
    coded: bool = False


def rows_tables(findings: Findings, words: Words) -> Iterable[Table]:
    """Tables of the rows by split, before and after the policy, and of what the policy decided."""
    rows = []
    for split in (split for split in SPLITS if split in findings.rows):
        before, after = findings.rows[split], findings.rows_after[split]
        rows.append([words(f"split.{split}"), f"{before:,}", f"{before - after:,}", f"{after:,}"])
    before, after = sum(findings.rows.values()), sum(findings.rows_after.values())
    rows.append([words("all"), f"{before:,}", f"{before - after:,}", f"{after:,}"])
    yield Table(list(map(words, ("split", "rows_before", "removed", "rows_after"))), rows)
    decisions = [
        [
            words.known(f"finding.{decision.finding}", decision.finding),
            words.known(f"choice.{decision.finding}.{decision.choice}", decision.choice),
            f"{decision.rows:,}",
        ]
        for decision in findings.decisions
    ]
    if decisions:
        yield Table(list(map(words, ("decision", "choice", "rows_removed"))), decisions, text_columns=2, coded=True)


def quarantined_row(example: str, words: Words) -> str:
    """Says an example of a quarantined row in the language of the page; as it is if it has another form."""
    place = _PLACE.match(example)
    return words("quarantined_row", **place.groupdict()) if place else example


def quarantine_table(kinds: Iterable[Quarantined], words: Words) -> Table:
    """A table of the kinds of broken rows, with counts."""
    return Table([words("reason"), words("rows")], [[reason_name(kind, words), f"{kind.rows:,}"] for kind in kinds])


def reason_name(kind: Quarantined, words: Words) -> str:
    """Names a kind of broken row."""
    return words.known(f"reason.{kind.reason}", kind.reason)


def shown_labels(findings: Findings) -> tuple[list[str], dict[str, int]]:
    """Splits the labels into those that are shown, the most frequent first, and the others with their rows."""
    totals: dict[str, int] = {}
    for counts in findings.labels.counts.values():
        for label, count in counts.items():
            totals[label] = totals.get(label, 0) + count
    ordered = sorted(totals, key=lambda label: -totals[label])
    return ordered[:MOST_LABELS], {label: totals[label] for label in ordered[MOST_LABELS:]}
