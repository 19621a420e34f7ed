"""The sections of the audit's page: the sentences, tables, charts and examples of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from textclf.audit.findings import Distribution, Example, ExamplePair, Findings
from textclf.audit.report.charts import BarGroup, Histogram, histogram, label_bars
from textclf.audit.report.tables import (
    Table,
    count,
    counts_table,
    decisions_table,
    hidden_labels,
    label_shares,
    labels_table,
    quarantine_table,
    shown_labels,
    split_names,
)
from textclf.audit.report.verdict import shift_meaning
from textclf.audit.report.wording import Words
from textclf.config.sources import Split

# As `textclf.data.quarantine` formats it.
_PLACE = re.compile(r"(?P<source>.*?), row (?P<row>[0-9,]+): (?P<shown>.*)", re.DOTALL)


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

    text: Sequence[str] = ()
    bars: Sequence[BarGroup] = ()
    histograms: Sequence[Histogram] = ()
    tables: Sequence[tuple[str, Table]] = ()
    folds: Sequence[Fold] = ()


def build_sections(findings: Findings, words: Words) -> dict[str, Section]:
    """Lays out the findings: sections by name, in the order of the page."""
    sections = (_rows, _quarantined, _duplicates, _leaks, _near, _labels, _lengths, _personal, _damaged, _dates)
    return {section.__name__[1:]: section(findings, words) for section in sections}


def _rows(findings: Findings, words: Words) -> Section:
    tables = [counts_table(findings, words), *([decisions_table(findings, words)] if findings.decisions else [])]
    return Section(text=[words("rows_intro")], tables=[("", table) for table in tables])


def _quarantined(findings: Findings, words: Words) -> Section:
    if not findings.quarantined:
        return Section(text=[words("none_quarantined")])
    folds = []
    for kind in findings.quarantined:
        reason = words.known(f"reason.{kind.reason}", kind.reason)
        title = words("first_of", reason=reason, shown=len(kind.examples), count=kind.rows)
        # In the language of the page, if the example has the expected form.
        places = [(_PLACE.match(example), example) for example in kind.examples]
        lines = [words("quarantined_row", **place.groupdict()) if place else example for place, example in places]
        folds += [Fold(title, lines=lines)] if lines else []
    return Section(tables=[("", quarantine_table(findings.quarantined, words))], folds=folds)


def _duplicates(findings: Findings, words: Words) -> Section:
    copies, conflicts = findings.duplicates, findings.conflicts
    columns: _Columns = {
        "normalized": lambda split: count(copies[split].normalized),
        "share": lambda split: _share(copies[split].normalized, findings.rows[split]),
        "exact": lambda split: count(copies[split].exact),
        "repeated_texts": lambda split: count(copies[split].texts),
        "conflict_rows": lambda split: count(conflicts[split].rows),
        "conflict_texts": lambda split: count(conflicts[split].texts),
    }
    folds = [
        *_pairs("conflicts", findings.examples.conflicts, words),
        *_pairs("duplicates", findings.examples.duplicates, words),
    ]
    table = _by_split(findings.rows, columns, words)
    return Section(text=[words("duplicates_intro")], tables=[("", table)], folds=folds)


def _leaks(findings: Findings, words: Words) -> Section:
    shared = findings.cross_split
    columns: _Columns = {
        "leak_normalized": lambda split: count(shared[split].normalized),
        "share": lambda split: _share(shared[split].normalized, findings.rows[split]),
        "leak_exact": lambda split: count(shared[split].exact),
        "leak_other_label": lambda split: count(shared[split].other_label),
        "leak_near": lambda split: count(shared[split].near),
        "leak_free_rows": lambda split: count(shared[split].leak_free),
    }
    return Section(
        text=[words("leaks_intro")],
        tables=[("", _by_split(shared, columns, words))],
        folds=_pairs("leaks", findings.examples.leaks, words),
    )


def _near(findings: Findings, words: Words) -> Section:
    near = findings.near_duplicates
    if near is None:
        return Section(text=[words("near_off")])
    columns: _Columns = {
        "near_rows": lambda split: count(near.rows.get(split, 0)),
        "share": lambda split: _share(near.rows.get(split, 0), findings.rows[split]),
    }
    return Section(
        text=[words("near_intro", count=near.pairs, threshold=near.threshold, size=near.ngram_size)],
        tables=[("", _by_split(findings.rows, columns, words))],
        folds=_pairs("near", findings.examples.near_duplicates, words),
    )


def _labels(findings: Findings, words: Words) -> Section:
    shift = findings.labels.shift
    text = [words("labels_intro", count=len(findings.labels.counts["train"])), hidden_labels(findings, words)]
    tables = [("", labels_table(findings, words))]
    if shift:
        text.append(words("shift_intro"))
        columns: _Columns = {
            "meaning": lambda split: words(f"shift.{shift_meaning(**shift[split].model_dump())}"),
            "distance": lambda split: f"{shift[split].total_variation:.3f}",
            "p_value": lambda split: "< 0.001" if shift[split].p_value < 0.001 else f"{shift[split].p_value:.3f}",
        }
        tables.append(("", _by_split(shift, columns, words, text_columns=2)))
    bars = label_bars(label_shares(findings), shown_labels(findings))
    return Section(text=list(filter(None, text)), bars=bars, tables=tables)


def _lengths(findings: Findings, words: Words) -> Section:
    found = findings.lengths
    charts = [
        histogram(
            lengths.histogram,
            split,
            title=words("histogram", split=split),
            mark=lengths.characters.p95,
            mark_text=words("p95_line", characters=lengths.characters.p95),
            axis=words("axis"),
        )
        for split, lengths in found.items()
    ]
    characters = {split: lengths.characters for split, lengths in found.items()}
    tables = [(words("characters_table"), _by_split(found, _distribution(characters), words))]
    text = words("no_vocabulary")
    tokens = {split: lengths.tokens for split, lengths in found.items() if lengths.tokens}
    if tokens and findings.tokenizer is not None:
        text = words("tokens_of", tokenizer=findings.tokenizer)
        unknown = findings.unknown_token_share or {}
        columns: _Columns = {
            **_distribution(tokens),
            "cut_rows": lambda split: f"{count(found[split].cut)} ({_share(found[split].cut, findings.rows[split])})",
            "unknown_share": lambda split: f"{unknown[split]:.2%}" if split in unknown else "–",
        }
        tables.append((words("tokens_table", length=found["train"].max_length), _by_split(tokens, columns, words)))
    return Section(text=[text], histograms=[chart for chart in charts if chart], tables=tables)


def _personal(findings: Findings, words: Words) -> Section:
    counts = findings.personal_data
    if not any(rows for found in counts.values() for rows in found.values()):
        return Section(text=[words("personal_none")])
    names = {kind: words.known(f"kind.{kind}", kind) for found in counts.values() for kind in found}
    rows = [[name, *(count(counts[split].get(kind, 0)) for split in findings.rows)] for kind, name in names.items()]
    folds = [
        _singles(names.get(kind, kind), examples, words) for kind, examples in findings.examples.personal_data.items()
    ]
    table = Table([words("kind"), *split_names(findings, words)], rows)
    return Section(text=[words("personal_intro")], tables=[("", table)], folds=folds)


def _damaged(findings: Findings, words: Words) -> Section:
    damaged = findings.damaged
    if not any(damaged.values()):
        return Section(text=[words("damaged_none")])
    columns: _Columns = {
        "damaged_head": lambda split: count(damaged[split]),
        "share": lambda split: _share(damaged[split], findings.rows[split]),
    }
    examples = findings.examples.damaged
    folds = [_singles(words("examples.damaged"), examples, words)] if examples else []
    return Section(tables=[("", _by_split(damaged, columns, words))], folds=folds)


def _dates(findings: Findings, words: Words) -> Section:
    dates = findings.dates
    if dates is None:
        return Section(text=[words("dates_none")])
    columns: _Columns = {"first_day": lambda split: dates[split][0], "last_day": lambda split: dates[split][1]}
    return Section(tables=[("", _by_split(dates, columns, words))])


_Columns = Mapping[str, Callable[[Split], str]]
"""Functions from split to cell, by the key of the column's heading."""


def _by_split(splits: Iterable[Split], columns: _Columns, words: Words, *, text_columns: int = 1) -> Table:
    rows = [[words(f"split.{split}"), *(cell(split) for cell in columns.values())] for split in splits]
    return Table([words("split"), *map(words, columns)], rows, text_columns=text_columns)


def _distribution(found: Mapping[Split, Distribution]) -> _Columns:
    def column(field: str) -> Callable[[Split], str]:
        return lambda split: f"{getattr(found[split], field):,.0f}"

    return {field: column(field) for field in Distribution.model_fields}


def _pairs(kind: str, pairs: Sequence[ExamplePair], words: Words) -> list[Fold]:
    items = [
        ((pair.first, pair.second), words("similarity", share=pair.similarity) if pair.similarity < 1 else "")
        for pair in pairs
    ]
    return [Fold(words("examples", what=words(f"examples.{kind}"), count=len(items)), items)] if items else []


def _singles(what: str, examples: Sequence[Example], words: Words) -> Fold:
    return Fold(words("examples", what=what, count=len(examples)), [((example,), "") for example in examples])


def _share(part: int | None, whole: int) -> str:
    return f"{part / whole:.1%}" if whole and part is not None else "–"
