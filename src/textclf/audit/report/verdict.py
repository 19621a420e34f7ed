"""Judges the findings, worst first, for the page, the terminal and the Markdown alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from textclf.audit.findings import Decision, Findings
from textclf.audit.report.tables import LENGTH_RATIO, kind_name
from textclf.config.sources import split_name
from textclf.language import _, joined, ngettext
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
        kind: What kind of finding it is.
        sentence: What was found, in the current language; backticks mark names of fields and metrics.
        share: Orders verdicts of one kind.
    """

    severity: Severity
    section: str
    kind: str
    sentence: str
    share: float = 0


def verdicts(findings: Findings, quote: Callable[[str], str] = str) -> tuple[Verdict, ...]:
    """Judges findings in the current language.

    Args:
        findings: What the audit found.
        quote: Escapes names from the data, e.g. for Markdown.

    Returns:
        The verdicts from the most to the least serious; none if nothing matters.
    """
    found = [
        *_leaks(findings),
        *_copies(findings),
        *_labels(findings, quote),
        *_texts(findings, quote),
        *_dates(findings, quote),
    ]
    # The kinds are found in order of importance; within a kind, the split with the largest share comes first.
    kinds = list(dict.fromkeys(verdict.kind for verdict in found))

    def place(verdict: Verdict) -> tuple[int, int, float]:
        return SEVERITIES.index(verdict.severity), kinds.index(verdict.kind), -verdict.share

    return tuple(sorted(found, key=place))


def severity_name(severity: Severity) -> str:
    """Names a severity in the current language."""
    return {"serious": _("serious"), "warning": _("warning"), "note": _("note"), "handled": _("handled")}[severity]


def shift_meaning(total_variation: float, p_value: float) -> Literal["none", "small", "large"]:
    """Classifies a label shift: not beyond chance, real but small, or large enough to matter."""
    if p_value >= _UNLIKELY:
        return "none"
    return "small" if total_variation < _SMALL_SHIFT else "large"


def _decision(findings: Findings, finding: str) -> Decision:
    nothing = Decision(finding=finding, choice="keep", rows=0)
    return next((decision for decision in findings.decisions if decision.finding == finding), nothing)


def _graded(share: float, serious: float = _SERIOUS_SHARE) -> Severity:
    return "serious" if share >= serious else "warning"


def _leaks(findings: Findings) -> Iterator[Verdict]:
    choice = _decision(findings, "leaks").choice
    for split, shared in findings.cross_split.items():
        total, name = findings.rows[split], split_name(split)
        if count := shared.normalized:
            share = count / total
            sentence = ngettext(
                "{count:,} of {total:,} {split} rows ({share:.1%}) also appears in train, {exact:,} of them word for "
                "word.",
                "{count:,} of {total:,} {split} rows ({share:.1%}) also appear in train, {exact:,} of them word for "
                "word.",
                count,
            ).format(count=count, total=total, split=name, share=share, exact=shared.exact)
            effect = (
                _("Scores on these rows are inflated.")
                if choice == "keep"
                else _("Their copies in train are excluded from training.")
            )
            remedy = ngettext(
                "`test_leakfree/…` is measured on the {count:,} leak-free row.",
                "`test_leakfree/…` is measured on the {count:,} leak-free rows.",
                shared.leak_free,
            ).format(count=shared.leak_free)
            sentence = joined(sentence, effect, remedy if split == "test" else "")
            yield Verdict(_graded(share) if choice == "keep" else "handled", "leaks", "leak", sentence, share)
        if count := shared.near or 0:
            share = count / total
            sentence = ngettext(
                "{count:,} of {total:,} {split} rows ({share:.1%}) is nearly the same as a training row.",
                "{count:,} of {total:,} {split} rows ({share:.1%}) are nearly the same as a training row.",
                count,
            ).format(count=count, total=total, split=name, share=share)
            handled = choice == "drop_near"
            effect = _("Those training rows are excluded from training.") if handled else ""
            yield Verdict("handled" if handled else "warning", "leaks", "near_leak", joined(sentence, effect), share)
        if count := shared.other_label:
            sentence = ngettext(
                "{count:,} {split} row has a text that appears in train only with another label: one of the two is "
                "wrong.",
                "{count:,} {split} rows have a text that appears in train only with another label: one of the two is "
                "wrong.",
                count,
            ).format(count=count, split=name)
            yield Verdict("warning", "leaks", "other_label", sentence, count / total)


def _copies(findings: Findings) -> Iterator[Verdict]:
    conflicts, duplicates = (_decision(findings, finding) for finding in ("conflicts", "duplicates"))
    near = findings.near_duplicates
    for split, total in findings.rows.items():
        name = split_name(split)
        if (conflict := findings.conflicts[split]).texts:
            share = conflict.rows / total
            handled = split == "train" and conflicts.choice != "keep"
            sentence = ngettext(
                "{count:,} text in {split} has conflicting labels ({rows:,} rows, {share:.1%}).",
                "{count:,} texts in {split} have conflicting labels ({rows:,} rows, {share:.1%}).",
                conflict.texts,
            ).format(count=conflict.texts, split=name, rows=conflict.rows, share=share)
            effect = _removed(conflicts.rows) if handled else _("No model can get them all right.")
            severity = "handled" if handled else _graded(share)
            yield Verdict(severity, "duplicates", "conflict", joined(sentence, effect), share)
        if count := findings.duplicates[split].normalized:
            share = count / total
            handled = split == "train" and duplicates.choice != "keep"
            sentence = ngettext(
                "{count:,} of {total:,} {split} rows ({share:.1%}) repeats the text of an earlier row.",
                "{count:,} of {total:,} {split} rows ({share:.1%}) repeat the text of an earlier row.",
                count,
            ).format(count=count, total=total, split=name, share=share)
            severity = "handled" if handled else "warning" if share >= 0.1 else "note"
            effect = _removed(duplicates.rows) if handled else ""
            yield Verdict(severity, "duplicates", "duplicate", joined(sentence, effect), share)
        if near and (share := (count := near.rows.get(split, 0)) / total) >= _SERIOUS_SHARE:
            sentence = ngettext(
                "{count:,} of {total:,} {split} rows ({share:.1%}) is nearly the same as an earlier row.",
                "{count:,} of {total:,} {split} rows ({share:.1%}) are nearly the same as an earlier row.",
                count,
            ).format(count=count, total=total, split=name, share=share)
            yield Verdict("note", "near", "near_duplicate", sentence, share)


def _removed(count: int) -> str:
    return ngettext(
        "{count:,} row is excluded from training.", "{count:,} rows are excluded from training.", count
    ).format(count=count)


def _labels(findings: Findings, quote: Callable[[str], str]) -> Iterator[Verdict]:
    labels = findings.labels
    for split, shift in labels.shift.items():
        share = shift.total_variation
        if shift_meaning(share, shift.p_value) == "large":
            sentence = _(
                "Labels in {split} are distributed differently from those in train (total variation {share:.2f}): "
                "compare scores label by label."
            ).format(split=split_name(split), share=share)
            yield Verdict(_graded(share, _LARGE_SHIFT), "labels", "shift", sentence, share)
    for split in findings.cross_split:
        if absent := sum(not labels.counts[split].get(label, 0) for label in labels.counts["train"]):
            sentence = ngettext(
                "{count:,} label has no {split} rows, so {split} scores say nothing about it.",
                "{count:,} labels have no {split} rows, so {split} scores say nothing about them.",
                absent,
            ).format(count=absent, split=split_name(split))
            yield Verdict("warning", "labels", "absent", sentence)
    counts = [count for count in labels.counts["train"].values() if count]
    if few := sum(count < _FEWEST_ROWS for count in counts):
        sentence = ngettext(
            "{count:,} label has fewer than {least} training rows: it is hard to learn.",
            "{count:,} labels have fewer than {least} training rows: they are hard to learn.",
            few,
        ).format(count=few, least=_FEWEST_ROWS)
        yield Verdict("warning", "labels", "few", sentence)
    if counts and (ratio := max(counts) / min(counts)) >= _IMBALANCE:
        sentence = _(
            "The most frequent label has {ratio:,.0f} times as many training rows as the rarest: judge by macro F1, "
            "not by accuracy."
        ).format(ratio=ratio)
        yield Verdict("note", "labels", "imbalance", sentence)
    medians = {label: length for label, length in labels.median_characters.items() if length > 0}
    if medians:
        long, short = (choose(medians, key=medians.__getitem__) for choose in (max, min))
        if medians[long] > LENGTH_RATIO * medians[short]:
            sentence = _(
                "Training texts of “{long}” are {ratio:.1f} times as long as those of “{short}” (medians "
                "{longest:,.0f} and {shortest:,.0f} characters): a model may rely on length alone."
            ).format(
                long=quote(shorten(one_line(long), _LABEL_COLUMNS)),
                short=quote(shorten(one_line(short), _LABEL_COLUMNS)),
                ratio=medians[long] / medians[short],
                longest=medians[long],
                shortest=medians[short],
            )
            yield Verdict("warning", "labels", "length_by_label", sentence)


def _texts(findings: Findings, quote: Callable[[str], str]) -> Iterator[Verdict]:
    rows = sum(findings.rows.values())
    if count := sum(kind.rows for kind in findings.quarantined):
        share = count / (count + rows)
        sentence = ngettext(
            "{count:,} of {total:,} rows ({share:.1%}) breaks the contract and was quarantined.",
            "{count:,} of {total:,} rows ({share:.1%}) break the contract and were quarantined.",
            count,
        ).format(count=count, total=count + rows, share=share)
        severity = _graded(share, 0.1) if share >= _SERIOUS_SHARE else "note"
        yield Verdict(severity, "quarantined", "quarantined", sentence, share)
    kinds = {kind: count for counts in findings.personal_data.values() for kind, count in counts.items() if count}
    if kinds:
        count = sum(sum(counts.values()) for counts in findings.personal_data.values())
        sentence = ngettext(
            "{count:,} occurrence of personal data ({kinds}): check that you may use it; "
            "`cleaning.mask_personal_data` masks it.",
            "{count:,} occurrences of personal data ({kinds}): check that you may use it; "
            "`cleaning.mask_personal_data` masks it.",
            count,
        ).format(count=count, kinds=_(", ").join(quote(kind_name(kind)) for kind in kinds))
        yield Verdict("warning", "personal", "personal", sentence)
    if count := sum(findings.damaged.values()):
        share = count / rows
        sentence = ngettext(
            "{count:,} of {total:,} rows ({share:.1%}) looks damaged, probably by a wrong conversion between "
            "encodings.",
            "{count:,} of {total:,} rows ({share:.1%}) look damaged, probably by a wrong conversion between encodings.",
            count,
        ).format(count=count, total=rows, share=share)
        yield Verdict(_graded(share), "damaged", "damaged", sentence, share)
    count = sum(lengths.cut or 0 for lengths in findings.lengths.values())
    if (share := count / rows) >= 0.05:
        sentence = ngettext(
            "{count:,} of {total:,} rows ({share:.1%}) is longer than {length:,} tokens and will be cut: the model "
            "does not see how it ends.",
            "{count:,} of {total:,} rows ({share:.1%}) are longer than {length:,} tokens and will be cut: the model "
            "does not see how they end.",
            count,
        ).format(count=count, total=rows, share=share, length=findings.lengths["train"].max_length)
        yield Verdict(_graded(share, 0.25), "lengths", "cut", sentence, share)
    if findings.unknown_token_share and findings.tokenizer is not None:
        split, share = max(findings.unknown_token_share.items(), key=lambda item: item[1])
        if share >= _SERIOUS_SHARE:
            sentence = _("{share:.1%} of the {split} tokens are not in the vocabulary of {tokenizer}.").format(
                share=share, split=split_name(split), tokenizer=quote(one_line(findings.tokenizer))
            )
            yield Verdict(_graded(share, 0.05), "lengths", "unknown", sentence, share)


def _dates(findings: Findings, quote: Callable[[str], str]) -> Iterator[Verdict]:
    for split, (begin, _last) in (findings.dates or {}).items():
        if findings.dates and split != "train" and begin <= (end := findings.dates["train"][1]):
            sentence = _(
                "Train runs until {train_end}, {split} starts on {begin}: the model is trained on rows from the "
                "period that it is measured on."
            ).format(split=split_name(split), train_end=quote(end), begin=quote(begin))
            yield Verdict("note", "dates", "time_overlap", sentence)
