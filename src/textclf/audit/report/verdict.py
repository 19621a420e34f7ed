"""What matters among the findings, worst first: one judgement for the page, the terminal and the Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from textclf.audit.findings import Decision, Findings
from textclf.audit.report.tables import LENGTH_RATIO
from textclf.audit.report.wording import Words
from textclf.config.sources import Split
from textclf.tables import one_line, shorten

Severity = Literal["serious", "warning", "note", "handled"]
SEVERITIES: tuple[Severity, ...] = ("serious", "handled", "warning", "note")
"""In the order in which people should read them; `handled` is what the policy has put right."""

_SERIOUS_SHARE = 0.01
_FEWEST_ROWS = 10
_IMBALANCE = 20
_LABEL_COLUMNS = 40
_UNLIKELY = 0.01
_SMALL_SHIFT, _LARGE_SHIFT = 0.05, 0.2


@dataclass(frozen=True)
class Verdict:
    """One thing that matters.

    Attributes:
        severity: How much.
        section: The section of the page that shows it.
        key: Its sentence, in the wording.
        values: What the sentence is filled in with.
        share: Of the rows concerned, to order verdicts of one kind.
        leak_free: Rows that `test_leakfree/…` leaves, where that is to be said, too.
    """

    severity: Severity
    section: str
    key: str
    values: dict[str, str | float] = field(default_factory=dict)
    share: float = 0
    leak_free: int | None = None

    def sentence(self, words: Words) -> str:
        """Says it in the language of some words."""
        values = dict(self.values)
        if "kinds" in values:
            kinds = [words.known(f"kind.{kind}", kind) for kind in str(values["kinds"]).split()]
            values["kinds"] = words("separator").join(kinds)
        space = " " if words.language == "en" else ""
        more = "" if self.leak_free is None else space + words("leak_free", rows=self.leak_free)
        return words(self.key, **values) + more


def verdicts(findings: Findings) -> tuple[Verdict, ...]:
    """Judges what was found.

    Args:
        findings: Of an audit.

    Returns:
        The most serious first; empty if nothing is worth a word.
    """
    found = [
        *_leaks(findings),
        *_copies(findings),
        *_labels(findings),
        *_texts(findings),
        *_dates(findings),
    ]
    # The kinds come in the order in which they matter; of one kind the split with the largest share comes first.
    kinds = list(dict.fromkeys(verdict.key for verdict in found))
    return tuple(
        sorted(
            found,
            key=lambda verdict: (SEVERITIES.index(verdict.severity), kinds.index(verdict.key), -verdict.share),
        )
    )


def shift_meaning(total_variation: float, p_value: float) -> Literal["none", "small", "large"]:
    """Puts a shift of the labels in words: whether it is beyond chance, and whether it matters."""
    if p_value >= _UNLIKELY:
        return "none"
    return "small" if total_variation < _SMALL_SHIFT else "large"


def _decision(findings: Findings, finding: str) -> Decision:
    nothing = Decision(finding=finding, choice="keep", rows=0)
    return next((decision for decision in findings.decisions if decision.finding == finding), nothing)


def _leaks(findings: Findings) -> Iterator[Verdict]:
    choice = _decision(findings, "leaks").choice
    for split, shared in findings.cross_split.items():
        total = findings.rows[split]
        if shared.normalized:
            share = shared.normalized / total
            values: dict[str, str | float] = {
                "split": split,
                "count": shared.normalized,
                "total": total,
                "share": share,
                "exact": shared.exact,
            }
            leak_free = shared.leak_free if split == "test" else None
            if choice == "keep":
                yield Verdict(_graded(share), "leaks", "leak", values, share, leak_free)
            else:
                yield Verdict("handled", "leaks", "leak_handled", values, share, leak_free)
        if shared.near:
            share = shared.near / total
            values = {"split": split, "count": shared.near, "total": total, "share": share}
            if choice == "drop_near":
                yield Verdict("handled", "leaks", "near_leak_handled", values, share)
            else:
                yield Verdict("warning", "leaks", "near_leak", values, share)
        if shared.other_label:
            values = {"split": split, "count": shared.other_label}
            yield Verdict("warning", "leaks", "other_label", values, shared.other_label / total)


def _copies(findings: Findings) -> Iterator[Verdict]:
    conflicts, duplicates = (_decision(findings, finding) for finding in ("conflicts", "duplicates"))
    for split, total in findings.rows.items():
        values: dict[str, str | float]
        if (conflict := findings.conflicts[split]).texts:
            share = conflict.rows / total
            values = {"split": split, "texts": conflict.texts, "rows": conflict.rows, "share": share}
            if split == "train" and conflicts.choice != "keep":
                values["removed"] = conflicts.rows
                yield Verdict("handled", "duplicates", "conflict_handled", values, share)
            else:
                yield Verdict(_graded(share), "duplicates", "conflict", values, share)
        if count := findings.duplicates[split].normalized:
            share = count / total
            values = {"split": split, "count": count, "total": total, "share": share}
            if split == "train" and duplicates.choice != "keep":
                values["removed"] = duplicates.rows
                yield Verdict("handled", "duplicates", "duplicate_handled", values, share)
            else:
                severity: Severity = "warning" if share >= 0.1 else "note"
                yield Verdict(severity, "duplicates", "duplicate", values, share)
        near = findings.near_duplicates
        if near is not None and (count := near.rows.get(split, 0)) and count / total >= _SERIOUS_SHARE:
            values = {"split": split, "count": count, "total": total, "share": count / total}
            yield Verdict("note", "near", "near_duplicate", values, count / total)


def _labels(findings: Findings) -> Iterator[Verdict]:
    labels = findings.labels
    for split, shift in labels.shift.items():
        if shift_meaning(shift.total_variation, shift.p_value) == "large":
            severity: Severity = "serious" if shift.total_variation >= _LARGE_SHIFT else "warning"
            values: dict[str, str | float] = {"split": split, "distance": shift.total_variation}
            yield Verdict(severity, "labels", "shift", values, shift.total_variation)
    for split in findings.cross_split:
        if absent := sum(not labels.counts[split].get(label, 0) for label in labels.counts["train"]):
            yield Verdict("warning", "labels", "absent", {"split": split, "count": absent})
    counts = [count for count in labels.counts["train"].values() if count]
    if few := sum(count < _FEWEST_ROWS for count in counts):
        yield Verdict("warning", "labels", "few", {"count": few, "least": _FEWEST_ROWS})
    if counts and max(counts) / min(counts) >= _IMBALANCE:
        yield Verdict("note", "labels", "imbalance", {"ratio": max(counts) / min(counts)})
    medians = {label: length for label, length in labels.median_characters.items() if length > 0}
    if medians:
        long, short = (choose(medians, key=medians.__getitem__) for choose in (max, min))
        if medians[long] > LENGTH_RATIO * medians[short]:
            values = {
                "long": shorten(one_line(long), _LABEL_COLUMNS),
                "short": shorten(one_line(short), _LABEL_COLUMNS),
                "ratio": medians[long] / medians[short],
                "longest": medians[long],
                "shortest": medians[short],
            }
            yield Verdict("warning", "labels", "length_by_label", values)


def _texts(findings: Findings) -> Iterator[Verdict]:
    all_rows = sum(findings.rows.values())
    values: dict[str, str | float]
    if count := sum(kind.rows for kind in findings.quarantined):
        share = count / (count + all_rows)
        severity: Severity = "serious" if share >= 0.1 else "warning" if share >= _SERIOUS_SHARE else "note"
        yield Verdict(
            severity, "quarantined", "quarantined", {"count": count, "total": count + all_rows, "share": share}, share
        )
    kinds = {kind: rows for counts in findings.personal_data.values() for kind, rows in counts.items() if rows}
    if kinds:
        count = sum(rows for counts in findings.personal_data.values() for rows in counts.values())
        share = count / all_rows
        yield Verdict("warning", "personal", "personal", {"count": count, "kinds": " ".join(kinds)}, share)
    if count := sum(findings.damaged.values()):
        share = count / all_rows
        values = {"count": count, "total": all_rows, "share": share}
        yield Verdict(_graded(share), "damaged", "damaged", values, share)
    count = sum(lengths.cut or 0 for lengths in findings.lengths.values())
    if (share := count / all_rows) >= 0.05:
        values = {"count": count, "total": all_rows, "share": share, "length": findings.lengths["train"].max_length}
        yield Verdict("serious" if share >= 0.25 else "warning", "lengths", "cut", values, share)
    if findings.unknown_token_share and findings.tokenizer is not None:
        split, share = max(findings.unknown_token_share.items(), key=lambda item: item[1])
        if share >= _SERIOUS_SHARE:
            values = {"split": split, "share": share, "tokenizer": one_line(findings.tokenizer)}
            yield Verdict("serious" if share >= 0.05 else "warning", "lengths", "unknown", values, share)


def _dates(findings: Findings) -> Iterator[Verdict]:
    if findings.dates is None:
        return
    held_out: tuple[Split, ...] = ("validation", "test")
    for split in held_out:
        if split in findings.dates and (begin := findings.dates[split][0]) <= (end := findings.dates["train"][1]):
            yield Verdict("note", "dates", "time_overlap", {"split": split, "train_end": end, "begin": begin})


def _graded(share: float) -> Severity:
    return "serious" if share >= _SERIOUS_SHARE else "warning"
