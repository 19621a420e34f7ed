"""The sections of the audit's page: the sentences, tables, charts and examples of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from textclf.audit.findings import Distribution, Example, ExamplePair, Findings
from textclf.audit.report.charts import BarGroup, Histogram, histogram, label_bars
from textclf.audit.report.tables import (
    count,
    counts_table,
    decisions_table,
    hidden_labels,
    kind_name,
    label_shares,
    labels_table,
    quarantine_table,
    shown_labels,
    split_names,
)
from textclf.audit.report.verdict import shift_meaning
from textclf.config.sources import Split, split_name
from textclf.data.quarantine import example_line, reason_name
from textclf.language import _, ngettext
from textclf.pages.tables import Table


@dataclass(frozen=True)
class Fold:
    """Examples that open on demand."""

    title: str
    items: Sequence[tuple[Sequence[Example], str]] = ()
    """One or two rows that belong together, and a remark."""
    lines: Sequence[str] = ()
    """Examples of one line each."""


@dataclass(frozen=True)
class Section:
    """The content of one section of the page; the heading of a table may be empty."""

    heading: str
    text: Sequence[str] = ()
    bars: Sequence[BarGroup] = ()
    histograms: Sequence[Histogram] = ()
    tables: Sequence[tuple[str, Table]] = ()
    folds: Sequence[Fold] = ()


def build_sections(findings: Findings) -> dict[str, Section]:
    """Lays out the findings: sections by name, in the order of the page."""
    sections = (_rows, _quarantined, _duplicates, _leaks, _near, _labels, _lengths, _personal, _damaged, _dates)
    return {section.__name__[1:]: section(findings) for section in sections}


def _rows(findings: Findings) -> Section:
    tables = [counts_table(findings), *([decisions_table(findings)] if findings.decisions else [])]
    return Section(
        _("Rows and policy"),
        text=[_("The policy changes training rows only; validation and test always stay as they are.")],
        tables=[("", table) for table in tables],
    )


def _quarantined(findings: Findings) -> Section:
    if not findings.quarantined:
        return Section(_("Quarantined rows"), text=[_("No row breaks the contract.")])
    folds = [
        Fold(
            _("{reason}: the first {shown:,} of {count:,}").format(
                reason=reason_name(kind.reason), shown=len(kind.examples), count=kind.rows
            ),
            lines=[example_line(example) for example in kind.examples],
        )
        for kind in findings.quarantined
        if kind.examples
    ]
    return Section(_("Quarantined rows"), tables=[("", quarantine_table(findings.quarantined))], folds=folds)


def _duplicates(findings: Findings) -> Section:
    copies, conflicts = findings.duplicates, findings.conflicts
    columns: _Columns = {
        _("repeated rows"): lambda split: count(copies[split].normalized),
        _("share"): lambda split: _share(copies[split].normalized, findings.rows[split]),
        _("word for word"): lambda split: count(copies[split].exact),
        _("repeated texts"): lambda split: count(copies[split].texts),
        _("rows in conflict"): lambda split: count(conflicts[split].rows),
        _("conflicting texts"): lambda split: count(conflicts[split].texts),
    }
    folds = [
        *_pairs(_("Conflicts"), findings.examples.conflicts),
        *_pairs(_("Duplicates"), findings.examples.duplicates),
    ]
    table = _by_split(findings.rows, columns)
    return Section(
        _("Duplicates and conflicts"),
        text=[
            _(
                "Repeated rows: the text also appears in an earlier row of the same split, ignoring "
                "character width and white space. Rows in conflict: equal texts with different labels in the "
                "same split."
            )
        ],
        tables=[("", table)],
        folds=folds,
    )


def _leaks(findings: Findings) -> Section:
    shared = findings.cross_split
    columns: _Columns = {
        _("in train"): lambda split: count(shared[split].normalized),
        _("share"): lambda split: _share(shared[split].normalized, findings.rows[split]),
        _("word for word"): lambda split: count(shared[split].exact),
        _("with another label"): lambda split: count(shared[split].other_label),
        _("near copy in train"): lambda split: count(shared[split].near),
        _("leak-free"): lambda split: count(shared[split].leak_free),
    }
    return Section(
        _("Leaks between splits"),
        text=[
            _(
                "Validation and test rows whose text also appears in train. Leak-free rows appear in no "
                "earlier split and only once in their own."
            )
        ],
        tables=[("", _by_split(shared, columns))],
        folds=_pairs(_("Leaks"), findings.examples.leaks),
    )


def _near(findings: Findings) -> Section:
    near = findings.near_duplicates
    if near is None:
        return Section(
            _("Near duplicates"),
            text=[_("The search for near duplicates is turned off (`audit.near_duplicates: false`).")],
        )
    columns: _Columns = {
        _("near copies of earlier rows"): lambda split: count(near.rows.get(split, 0)),
        _("share"): lambda split: _share(near.rows.get(split, 0), findings.rows[split]),
    }
    intro = ngettext(
        "{count:,} pair of different texts that share at least {threshold:.0%} of their {size}-character n-grams "
        "(Jaccard).",
        "{count:,} pairs of different texts that share at least {threshold:.0%} of their {size}-character n-grams "
        "(Jaccard).",
        near.pairs,
    )
    return Section(
        _("Near duplicates"),
        text=[intro.format(count=near.pairs, threshold=near.threshold, size=near.ngram_size)],
        tables=[("", _by_split(findings.rows, columns))],
        folds=_pairs(_("Near duplicates"), findings.examples.near_duplicates),
    )


def _labels(findings: Findings) -> Section:
    shift = findings.labels.shift
    number = len(findings.labels.counts["train"])
    text = [ngettext("{count:,} label.", "{count:,} labels.", number).format(count=number), hidden_labels(findings)]
    tables = [("", labels_table(findings))]
    if shift:
        text.append(
            _(
                "How the labels of each split differ from those of train. Total variation is 0 for equal "
                "distributions and 1 for disjoint ones; a small p-value means that chance alone rarely "
                "explains the difference."
            )
        )
        meanings = {
            "none": _("no difference beyond chance"),
            "small": _("a real but small difference"),
            "large": _("clearly different"),
        }
        columns: _Columns = {
            _("Compared with train"): lambda split: meanings[shift_meaning(**shift[split].model_dump())],
            _("total variation"): lambda split: f"{shift[split].total_variation:.3f}",
            _("p-value"): lambda split: "< 0.001" if shift[split].p_value < 0.001 else f"{shift[split].p_value:.3f}",
        }
        tables.append(("", _by_split(shift, columns, text_columns=2)))
    bars = label_bars(label_shares(findings), shown_labels(findings))
    return Section(_("Labels"), text=list(filter(None, text)), bars=bars, tables=tables)


def _lengths(findings: Findings) -> Section:
    found = findings.lengths
    charts = [
        histogram(
            lengths.histogram,
            split,
            title=_("Length in characters, {split}").format(split=split_name(split)),
            mark=lengths.characters.p95,
            mark_text=_("95% of the texts have at most {characters:,.0f} characters").format(
                characters=lengths.characters.p95
            ),
            axis=_("characters"),
        )
        for split, lengths in found.items()
    ]
    characters = {split: lengths.characters for split, lengths in found.items()}
    tables = [(_("Characters"), _by_split(found, _distribution(characters)))]
    text = _("No vocabulary was available: tokens were not counted.")
    tokens = {split: lengths.tokens for split, lengths in found.items() if lengths.tokens}
    if tokens and findings.tokenizer is not None:
        text = _("Tokens are counted with the vocabulary of {tokenizer}.").format(tokenizer=findings.tokenizer)
        unknown = findings.unknown_token_share or {}
        columns: _Columns = {
            **_distribution(tokens),
            _("cut"): lambda split: f"{count(found[split].cut)} ({_share(found[split].cut, findings.rows[split])})",
            _("unknown tokens"): lambda split: f"{unknown[split]:.2%}" if split in unknown else "–",
        }
        heading = _("Tokens, cut at {length:,}").format(length=found["train"].max_length)
        tables.append((heading, _by_split(tokens, columns)))
    return Section(_("Lengths"), text=[text], histograms=[chart for chart in charts if chart], tables=tables)


def _personal(findings: Findings) -> Section:
    counts = findings.personal_data
    if not any(rows for found in counts.values() for rows in found.values()):
        return Section(_("Personal data"), text=[_("No personal data was found.")])
    names = {kind: kind_name(kind) for found in counts.values() for kind in found}
    rows = [[name, *(count(counts[split].get(kind, 0)) for split in findings.rows)] for kind, name in names.items()]
    folds = [_singles(names.get(kind, kind), examples) for kind, examples in findings.examples.personal_data.items()]
    table = Table([_("Kind"), *split_names(findings)], rows)
    return Section(
        _("Personal data"),
        text=[_("Rows with at least one occurrence of each kind. The examples are masked with asterisks.")],
        tables=[("", table)],
        folds=folds,
    )


def _damaged(findings: Findings) -> Section:
    damaged = findings.damaged
    if not any(damaged.values()):
        return Section(_("Damaged text"), text=[_("No text looks damaged.")])
    columns: _Columns = {
        _("damaged rows"): lambda split: count(damaged[split]),
        _("share"): lambda split: _share(damaged[split], findings.rows[split]),
    }
    examples = findings.examples.damaged
    folds = [_singles(_("Damaged texts"), examples)] if examples else []
    return Section(_("Damaged text"), tables=[("", _by_split(damaged, columns))], folds=folds)


def _dates(findings: Findings) -> Section:
    dates = findings.dates
    if dates is None:
        return Section(_("Dates"), text=[_("The contract names no date column.")])
    columns: _Columns = {_("first day"): lambda split: dates[split][0], _("last day"): lambda split: dates[split][1]}
    return Section(_("Dates"), tables=[("", _by_split(dates, columns))])


_Columns = Mapping[str, Callable[[Split], str]]
"""Functions from split to cell, by the heading of the column."""


def _by_split(splits: Iterable[Split], columns: _Columns, *, text_columns: int = 1) -> Table:
    rows = [[split_name(split), *(cell(split) for cell in columns.values())] for split in splits]
    return Table([_("Split"), *columns], rows, text_columns=text_columns)


def _distribution(found: Mapping[Split, Distribution]) -> _Columns:
    return {
        _("shortest"): lambda split: f"{found[split].minimum:,.0f}",
        _("median"): lambda split: f"{found[split].median:,.0f}",
        _("mean"): lambda split: f"{found[split].mean:,.0f}",
        "95%": lambda split: f"{found[split].p95:,.0f}",
        "99%": lambda split: f"{found[split].p99:,.0f}",
        _("longest"): lambda split: f"{found[split].maximum:,.0f}",
    }


def _pairs(what: str, pairs: Sequence[ExamplePair]) -> list[Fold]:
    items = [
        ((pair.first, pair.second), _("{share:.0%} alike").format(share=pair.similarity) if pair.similarity < 1 else "")
        for pair in pairs
    ]
    return [Fold(_examples(what, len(items)), items)] if items else []


def _singles(what: str, examples: Sequence[Example]) -> Fold:
    return Fold(_examples(what, len(examples)), [((example,), "") for example in examples])


def _examples(what: str, count: int) -> str:
    return ngettext("{what}: {count:,} example", "{what}: {count:,} examples", count).format(what=what, count=count)


def _share(part: int | None, whole: int) -> str:
    return f"{part / whole:.1%}" if whole and part is not None else "–"
