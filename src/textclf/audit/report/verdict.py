"""Judges the findings, worst first, for the page, the terminal and the Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from textclf.audit.findings import Decision, Findings
from textclf.audit.report.tables import LENGTH_RATIO
from textclf.audit.report.wording import Words
from textclf.tables import one_line, shorten

Severity = Literal["serious", "warning", "note", "handled"]
SEVERITIES: tuple[Severity, ...] = ("serious", "handled", "warning", "note")
"""In reading order; `handled` is what the policy has already corrected."""

_SERIOUS_SHARE = 0.01
_FEWEST_ROWS = 10
_IMBALANCE = 20
_LABEL_COLUMNS = 40
_UNLIKELY = 0.01
_SMALL_SHIFT, _LARGE_SHIFT = 0.05, 0.2


@dataclass(frozen=True)
class Verdict:
    """One finding that matters.

    Attributes:
        severity: How much it matters.
        section: The section of the page that shows it.
        keys: Its sentences in the wording, the first of which names the kind of verdict.
        values: Placeholders of the sentences; `share` orders verdicts of one kind.
    """

    severity: Severity
    section: str
    keys: tuple[str, ...]
    values: dict[str, str | float]

    def sentence(self, words: Words) -> str:
        """Formats it in the language of `words`."""
        values = dict(self.values)
        if "kinds" in values:
            kinds = [words.known(f"kind.{kind}", kind) for kind in str(values["kinds"]).split()]
            values["kinds"] = words("separator").join(kinds)
        return (" " if words.language == "en" else "").join(words(key, **values) for key in self.keys)


def verdicts(findings: Findings) -> tuple[Verdict, ...]:
    """Judges findings; the result is ordered from the most to the least serious, and empty if nothing matters."""
    found = [*_leaks(findings), *_copies(findings), *_labels(findings), *_texts(findings), *_dates(findings)]
    # The kinds are found in order of importance; within a kind, the split with the largest share comes first.
    kinds = list(dict.fromkeys(verdict.keys[0] for verdict in found))

    def place(verdict: Verdict) -> tuple[int, int, float]:
        share = float(verdict.values.get("share", 0))
        return SEVERITIES.index(verdict.severity), kinds.index(verdict.keys[0]), -share

    return tuple(sorted(found, key=place))


def shift_meaning(total_variation: float, p_value: float) -> Literal["none", "small", "large"]:
    """Classifies a label shift: not beyond chance, real but small, or large enough to matter."""
    if p_value >= _UNLIKELY:
        return "none"
    return "small" if total_variation < _SMALL_SHIFT else "large"


def _decision(findings: Findings, finding: str) -> Decision:
    nothing = Decision(finding=finding, choice="keep", rows=0)
    return next((decision for decision in findings.decisions if decision.finding == finding), nothing)


def _part(count: int, total: int, **more: str | float) -> dict[str, str | float]:
    return {"count": count, "total": total, "share": count / total, **more}


def _graded(share: float, serious: float = _SERIOUS_SHARE) -> Severity:
    return "serious" if share >= serious else "warning"


def _leaks(findings: Findings) -> Iterator[Verdict]:
    choice = _decision(findings, "leaks").choice
    for split, shared in findings.cross_split.items():
        total = findings.rows[split]
        if count := shared.normalized:
            kept = choice == "keep"
            keys = ("leak", "leak_kept" if kept else "leak_handled", *(("leak_free",) if split == "test" else ()))
            values = _part(count, total, split=split, exact=shared.exact, leak_free=shared.leak_free)
            yield Verdict(_graded(count / total) if kept else "handled", "leaks", keys, values)
        if count := shared.near or 0:
            values = _part(count, total, split=split)
            if choice == "drop_near":
                yield Verdict("handled", "leaks", ("near_leak", "near_leak_handled"), values)
            else:
                yield Verdict("warning", "leaks", ("near_leak",), values)
        if count := shared.other_label:
            yield Verdict("warning", "leaks", ("other_label",), _part(count, total, split=split))


def _copies(findings: Findings) -> Iterator[Verdict]:
    conflicts, duplicates = (_decision(findings, finding) for finding in ("conflicts", "duplicates"))
    near = findings.near_duplicates
    for split, total in findings.rows.items():
        if (conflict := findings.conflicts[split]).texts:
            share = conflict.rows / total
            handled = split == "train" and conflicts.choice != "keep"
            yield Verdict(
                "handled" if handled else _graded(share),
                "duplicates",
                ("conflict", "removed" if handled else "conflict_kept"),
                {
                    "split": split,
                    "texts": conflict.texts,
                    "rows": conflict.rows,
                    "share": share,
                    "removed": conflicts.rows,
                },
            )
        if count := findings.duplicates[split].normalized:
            values = _part(count, total, split=split, removed=duplicates.rows)
            if split == "train" and duplicates.choice != "keep":
                yield Verdict("handled", "duplicates", ("duplicate", "removed"), values)
            else:
                yield Verdict("warning" if count / total >= 0.1 else "note", "duplicates", ("duplicate",), values)
        if near and (count := near.rows.get(split, 0)) and count / total >= _SERIOUS_SHARE:
            yield Verdict("note", "near", ("near_duplicate",), _part(count, total, split=split))


def _labels(findings: Findings) -> Iterator[Verdict]:
    labels = findings.labels
    for split, shift in labels.shift.items():
        if shift_meaning(shift.total_variation, shift.p_value) == "large":
            severity = _graded(shift.total_variation, _LARGE_SHIFT)
            yield Verdict(severity, "labels", ("shift",), {"split": split, "share": shift.total_variation})
    for split in findings.cross_split:
        if absent := sum(not labels.counts[split].get(label, 0) for label in labels.counts["train"]):
            yield Verdict("warning", "labels", ("absent",), {"split": split, "count": absent})
    counts = [count for count in labels.counts["train"].values() if count]
    if few := sum(count < _FEWEST_ROWS for count in counts):
        yield Verdict("warning", "labels", ("few",), {"count": few, "least": _FEWEST_ROWS})
    if counts and max(counts) / min(counts) >= _IMBALANCE:
        yield Verdict("note", "labels", ("imbalance",), {"ratio": max(counts) / min(counts)})
    medians = {label: length for label, length in labels.median_characters.items() if length > 0}
    if medians:
        long, short = (choose(medians, key=medians.__getitem__) for choose in (max, min))
        if medians[long] > LENGTH_RATIO * medians[short]:
            values: dict[str, str | float] = {
                "long": shorten(one_line(long), _LABEL_COLUMNS),
                "short": shorten(one_line(short), _LABEL_COLUMNS),
                "ratio": medians[long] / medians[short],
                "longest": medians[long],
                "shortest": medians[short],
            }
            yield Verdict("warning", "labels", ("length_by_label",), values)


def _texts(findings: Findings) -> Iterator[Verdict]:
    rows = sum(findings.rows.values())
    if count := sum(kind.rows for kind in findings.quarantined):
        values = _part(count, count + rows)
        share = count / (count + rows)
        yield Verdict(
            _graded(share, 0.1) if share >= _SERIOUS_SHARE else "note", "quarantined", ("quarantined",), values
        )
    kinds = {kind: count for counts in findings.personal_data.values() for kind, count in counts.items() if count}
    if kinds:
        count = sum(sum(counts.values()) for counts in findings.personal_data.values())
        yield Verdict("warning", "personal", ("personal",), _part(count, rows, kinds=" ".join(kinds)))
    if count := sum(findings.damaged.values()):
        yield Verdict(_graded(count / rows), "damaged", ("damaged",), _part(count, rows))
    count = sum(lengths.cut or 0 for lengths in findings.lengths.values())
    if (share := count / rows) >= 0.05:
        values = _part(count, rows, length=findings.lengths["train"].max_length)
        yield Verdict(_graded(share, 0.25), "lengths", ("cut",), values)
    if findings.unknown_token_share and findings.tokenizer is not None:
        split, share = max(findings.unknown_token_share.items(), key=lambda item: item[1])
        if share >= _SERIOUS_SHARE:
            values = {"split": split, "share": share, "tokenizer": one_line(findings.tokenizer)}
            yield Verdict(_graded(share, 0.05), "lengths", ("unknown",), values)


def _dates(findings: Findings) -> Iterator[Verdict]:
    for split, (begin, _) in (findings.dates or {}).items():
        if findings.dates and split != "train" and begin <= (end := findings.dates["train"][1]):
            yield Verdict("note", "dates", ("time_overlap",), {"split": split, "train_end": end, "begin": begin})
