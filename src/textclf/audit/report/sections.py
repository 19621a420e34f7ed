"""The sections of the audit's page: which tables, charts and examples each shows, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textclf.audit.findings import Distribution, Example, ExamplePair, Findings
from textclf.audit.report.charts import BarGroup, Histogram, histogram, label_bars
from textclf.audit.report.tables import Table, quarantine_table, quarantined_row, reason_name, rows_tables, shown_labels
from textclf.audit.report.verdict import LENGTH_RATIO, Verdict, shift_meaning, verdicts
from textclf.audit.report.wording import Words
from textclf.config.sources import SPLITS, Split


@dataclass(frozen=True)
class Shown:
    """An example as it is shown: its text, where it stands, and its label."""

    text: str
    place: str
    label: str


@dataclass(frozen=True)
class Fold:
    """Examples that open on demand.

    Attributes:
        title: What they are examples of, and how many.
        items: One or two rows that belong together, each with a remark.
        lines: Examples that are one line only.
    """

    title: str
    items: Sequence[tuple[Sequence[Shown], str]] = ()
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    name: str
    title: str
    verdicts: Sequence[Verdict]
    text: Sequence[str] = ()
    bars_title: str = ""
    bars: Sequence[BarGroup] = ()
    histograms: Sequence[Histogram] = ()
    tables: Sequence[tuple[str, Table]] = ()
    folds: Sequence[Fold] = ()


def build_sections(findings: Findings, words: Words) -> tuple[Section, ...]:
    """Lays out everything that was found.

    Args:
        findings: Of an audit.
        words: The language.

    Returns:
        The sections in the order of the page.
    """
    return _Sections(findings, words).build()


class _Sections:
    def __init__(self, findings: Findings, words: Words) -> None:
        self.findings = findings
        self.words = words
        self.verdicts = verdicts(findings)
        self.splits: list[Split] = [split for split in SPLITS if split in findings.rows]

    def build(self) -> tuple[Section, ...]:
        return (
            self._section("rows", text=[self.words("rows_intro")], tables=[*rows_tables(self.findings, self.words)]),
            self._quarantined(),
            self._duplicates(),
            self._leaks(),
            self._near(),
            self._labels(),
            self._lengths(),
            self._writing(),
            self._personal(),
            self._damaged(),
            self._dates(),
        )

    def _section(
        self,
        name: str,
        *,
        text: Sequence[str] = (),
        bars: Sequence[BarGroup] = (),
        histograms: Sequence[Histogram] = (),
        tables: Sequence[Table | tuple[str, Table]] = (),
        folds: Sequence[Fold] = (),
    ) -> Section:
        return Section(
            name=name,
            title=self.words(f"section.{name}"),
            verdicts=[verdict for verdict in self.verdicts if verdict.section == name],
            text=text,
            bars_title=self.words("share_chart") if bars else "",
            bars=bars,
            histograms=histograms,
            tables=[table if isinstance(table, tuple) else ("", table) for table in tables],
            folds=folds,
        )

    def _quarantined(self) -> Section:
        found, words = self.findings.quarantined, self.words
        if not found:
            return self._section("quarantined", text=[words("none_quarantined")])
        folds = [
            Fold(
                words("first_of", reason=reason_name(kind, words), shown=len(kind.examples), count=kind.rows),
                lines=[quarantined_row(example, words) for example in kind.examples],
            )
            for kind in found
            if kind.examples
        ]
        return self._section("quarantined", tables=[quarantine_table(found, words)], folds=folds)

    def _duplicates(self) -> Section:
        words, rows = self.words, []
        for split in self.splits:
            copies, conflicts = self.findings.duplicates[split], self.findings.conflicts[split]
            counts = (copies.normalized, copies.exact, copies.texts, conflicts.rows, conflicts.texts)
            cells = [f"{count:,}" for count in counts]
            cells.insert(1, _share(copies.normalized, self.findings.rows[split]))
            rows.append([words(f"split.{split}"), *cells])
        columns = ("normalized", "share", "exact", "repeated_texts", "conflict_rows", "conflict_texts")
        return self._section(
            "duplicates",
            text=[words("duplicates_intro")],
            tables=[Table([words("split"), *map(words, columns)], rows)],
            folds=[
                *self._pairs("conflicts", self.findings.examples.conflicts),
                *self._pairs("duplicates", self.findings.examples.duplicates),
            ],
        )

    def _leaks(self) -> Section:
        words, rows = self.words, []
        for split, shared in self.findings.cross_split.items():
            total = self.findings.rows[split]
            near = words("not_looked") if shared.near is None else f"{shared.near:,}"
            cells = [shared.normalized, shared.exact, shared.other_label, shared.leak_free]
            counts = [f"{count:,}" for count in cells]
            rows.append(
                [words(f"split.{split}"), counts[0], _share(shared.normalized, total), *counts[1:3], near, counts[3]]
            )
        columns = ("leak_normalized", "share", "leak_exact", "leak_other_label", "leak_near", "leak_free_rows")
        return self._section(
            "leaks",
            text=[words("leaks_intro")],
            tables=[Table([words("split"), *map(words, columns)], rows)],
            folds=self._pairs("leaks", self.findings.examples.leaks),
        )

    def _near(self) -> Section:
        near, words = self.findings.near_duplicates, self.words
        if near is None:
            return self._section("near", text=[words("near_off")])
        rows = [
            [
                words(f"split.{split}"),
                f"{near.rows.get(split, 0):,}",
                _share(near.rows.get(split, 0), self.findings.rows[split]),
            ]
            for split in self.splits
        ]
        return self._section(
            "near",
            text=[words("near_intro", count=near.pairs, threshold=near.threshold, size=near.ngram_size)],
            tables=[Table([words("split"), words("near_rows"), words("share")], rows)],
            folds=self._pairs("near", self.findings.examples.near_duplicates),
        )

    def _labels(self) -> Section:
        labels, words = self.findings.labels, self.words
        names, hidden = shown_labels(self.findings)
        totals = {split: sum(labels.counts[split].values()) or 1 for split in self.splits}
        shares = {
            split: {name: labels.counts[split].get(name, 0) / totals[split] for name in names} for split in self.splits
        }
        medians = labels.median_characters
        shortest = min((length for length in medians.values() if length > 0), default=0)
        marked = frozenset(
            position for position, name in enumerate(names) if medians.get(name, 0) > LENGTH_RATIO * shortest > 0
        )
        rows = []
        for name in names:
            counts = [f"{labels.counts[split].get(name, 0):,} ({shares[split][name]:.1%})" for split in self.splits]
            rows.append([name, *counts, f"{medians[name]:,.0f}" if name in medians else "–"])
        header = [words("label"), *(words(f"split.{split}") for split in self.splits), words("median_characters")]
        tables = [Table(header, rows, marked=marked)]
        text = [words("labels_intro", count=len(labels.counts["train"]))]
        if hidden:
            text.append(words("labels_more", shown=len(names), count=len(hidden), rows=sum(hidden.values())))
        if labels.shift:
            text.append(words("shift_intro"))
            columns = ("split", "meaning", "distance", "p_value")
            shift_rows = [
                [
                    words(f"split.{split}"),
                    words(f"shift.{shift_meaning(shift.total_variation, shift.p_value)}"),
                    f"{shift.total_variation:.3f}",
                    "< 0.001" if shift.p_value < 0.001 else f"{shift.p_value:.3f}",
                ]
                for split, shift in labels.shift.items()
            ]
            tables.append(Table(list(map(words, columns)), shift_rows, text_columns=2))
        return self._section("labels", text=text, bars=label_bars(shares, names), tables=tables)

    def _lengths(self) -> Section:
        words, found = self.words, self.findings.lengths
        charts = [
            histogram(
                found[split].histogram,
                split,
                title=words("histogram", split=split),
                mark=found[split].characters.p95,
                mark_text=words("p95_line", characters=found[split].characters.p95),
                axis=words("axis"),
            )
            for split in self.splits
        ]
        columns = ("minimum", "median", "mean", "p95", "p99", "maximum")
        header = [words("split"), *map(words, columns)]
        characters = [[words(f"split.{split}"), *_distribution(found[split].characters)] for split in self.splits]
        tokens = [
            [
                words(f"split.{split}"),
                *_distribution(found[split].tokens),
                f"{found[split].cut:,} ({_share(found[split].cut, self.findings.rows[split])})",
            ]
            for split in self.splits
        ]
        cut = words("cut_head", length=found["train"].max_length)
        tokenizer = self.findings.tokenizer
        return self._section(
            "lengths",
            text=[words("tokens_estimated") if tokenizer is None else words("tokens_of", tokenizer=tokenizer)],
            histograms=[chart for chart in charts if chart],
            tables=[
                (words("characters_table"), Table(header, characters)),
                (words("tokens_table"), Table([*header, cut], tokens)),
            ],
        )

    def _writing(self) -> Section:
        words, scripts = self.words, self.findings.scripts
        kinds = dict.fromkeys(kind for counts in scripts.values() for kind, rows in counts.items() if rows)
        order = sorted(kinds, key=lambda kind: -sum(counts.get(kind, 0) for counts in scripts.values()))
        rows = []
        for kind in order:
            counts = {split: scripts[split].get(kind, 0) for split in self.splits}
            shares = [f"{count:,} ({_share(count, self.findings.rows[split])})" for split, count in counts.items()]
            rows.append([words.known(f"script.{kind}", kind), *shares])
        unknown, tokenizer = self.findings.unknown_token_share, self.findings.tokenizer
        text = words("no_vocabulary")
        if unknown is not None and tokenizer is not None:
            text = words("unknown_intro", tokenizer=tokenizer)
            rows.append(
                [
                    words("unknown_share"),
                    *(f"{unknown[split]:.2%}" if split in unknown else "–" for split in self.splits),
                ]
            )
        return self._section("writing", text=[text], tables=[self._by_split("script", rows)])

    def _personal(self) -> Section:
        words, counts = self.words, self.findings.personal_data
        kinds = list(dict.fromkeys(kind for found in counts.values() for kind in found))
        if not any(rows for found in counts.values() for rows in found.values()):
            return self._section("personal", text=[words("personal_none")])
        rows = [
            [words.known(f"kind.{kind}", kind), *(f"{counts[split].get(kind, 0):,}" for split in self.splits)]
            for kind in kinds
        ]
        folds = [
            self._fold(words.known(f"kind.{kind}", kind), [([example], "") for example in examples])
            for kind, examples in self.findings.examples.personal_data.items()
            if examples
        ]
        return self._section(
            "personal", text=[words("personal_intro")], tables=[self._by_split("kind", rows)], folds=folds
        )

    def _damaged(self) -> Section:
        words, damaged = self.words, self.findings.damaged
        if not any(damaged.values()):
            return self._section("damaged", text=[words("damaged_none")])
        rows = [
            [words(f"split.{split}"), f"{damaged[split]:,}", _share(damaged[split], self.findings.rows[split])]
            for split in self.splits
        ]
        examples = self.findings.examples.damaged
        return self._section(
            "damaged",
            tables=[Table([words("split"), words("damaged_head"), words("share")], rows)],
            folds=[self._fold(words("examples.damaged"), [([example], "") for example in examples])]
            if examples
            else [],
        )

    def _dates(self) -> Section:
        words, dates = self.words, self.findings.dates
        if dates is None:
            return self._section("dates", text=[words("dates_none")])
        rows = [[words(f"split.{split}"), *dates[split]] for split in self.splits if split in dates]
        return self._section("dates", tables=[Table([words("split"), words("first_day"), words("last_day")], rows)])

    def _by_split(self, first: str, rows: Sequence[Sequence[str]]) -> Table:
        return Table([self.words(first), *(self.words(f"split.{split}") for split in self.splits)], rows)

    def _pairs(self, kind: str, pairs: Sequence[ExamplePair]) -> list[Fold]:
        def remark(pair: ExamplePair) -> str:
            return self.words("similarity", share=pair.similarity) if pair.similarity < 1 else ""

        items = [([pair.first, pair.second], remark(pair)) for pair in pairs]
        return [self._fold(self.words(f"examples.{kind}"), items)] if items else []

    def _fold(self, what: str, items: Sequence[tuple[Sequence[Example], str]]) -> Fold:
        shown = [([self._shown(example) for example in examples], remark) for examples, remark in items]
        return Fold(self.words("examples", what=what, count=len(items)), items=shown)

    def _shown(self, example: Example) -> Shown:
        place = self.words("place", split=example.split, source=example.source, row=example.row)
        return Shown(example.text, place, example.label)


def _distribution(found: Distribution) -> list[str]:
    figures = (found.minimum, found.median, found.mean, found.p95, found.p99, found.maximum)
    return [f"{figure:,.0f}" for figure in figures]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
