"""Applies a table of corrections to raw data, and records where the result came from."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import textclf
from textclf.config.data import CleaningConfig, DataConfig
from textclf.config.sources import SPLITS, Split, split_name
from textclf.correction.columns import ColumnTypes
from textclf.correction.suspects import row_digest
from textclf.correction.table import CORRECT_LABEL, Correction, read_corrections
from textclf.data.cleaning import clean_text
from textclf.data.contract import check_columns
from textclf.data.labels import label_value
from textclf.data.prepared import read_split
from textclf.data.quarantine import Quarantine
from textclf.data.splits import fingerprint, text_digest
from textclf.data.versions import LINEAGE_FILE
from textclf.errors import DataError, first_lines
from textclf.language import _, ngettext
from textclf.progress import progress_bar
from textclf.reading.parquet import parquet_schema
from textclf.records import FetchedData, PreparedData, Record
from textclf.store import building, digest_of, file_sha256, find, publish, storage_error, write_text

logger = logging.getLogger(__name__)

RELABEL_VERSION = 3
QUARANTINE_FILE = "quarantine.jsonl"


class Change(Record):
    """A group of rows that changed in the same way."""

    from_label: str
    """Old label name."""
    to_label: str | None
    """New label name; None if the rows were removed."""
    rows: int
    """Number of rows, copies included."""


class Relabelled(Record):
    """A raw data set with corrected labels: the keys of `textclf-lineage.json`, plus `folder` and `cached`."""

    digest: str
    folder: Path
    """Contains one Parquet file per split, `textclf-lineage.json`, and `quarantine.jsonl` if rows were unreadable."""
    version: str
    """The data version whose labels were corrected."""
    origin: str
    table: str
    """File name of the corrections."""
    table_sha256: str
    corrected: int
    """Rows whose label name changed."""
    removed: int
    copies: int
    """Changed rows that the table does not name but that share text and label with one that it names."""
    changes: tuple[Change, ...]
    """The most frequent first."""
    rows: dict[Split, int]
    """Rows written per split."""
    unreadable: int
    """Rows of the raw files that could not be read, listed in `quarantine.jsonl`."""
    cached: bool = False


def relabel(
    table: Path,
    fetched: FetchedData,
    prepared: PreparedData,
    *,
    data: DataConfig,
    cleaning: CleaningConfig,
    folder: Path,
) -> Relabelled:
    """Writes a copy of a raw data set with corrected labels.

    `<folder>/<digest>` receives one Parquet file per split with all columns of the raw files. Splits that were cut from
    the training rows keep their rows, in files of their own; all other rows, quarantined ones included, go to
    `train.parquet`. Cutting again would move rows between splits, because the cut depends on the labels, and would test
    a model on rows that an earlier one was trained on.

    A corrected name is written as the first label value with that name. A correction applies to all copies of the row
    (cleaned texts that are equal apart from width and white space) whose label has the same name. Column types are
    those of `ColumnTypes`. Every correction is checked against its row before anything is written.

    Args:
        table: A filled-in table of `write_suspects`.
        fetched: The raw data.
        prepared: The data prepared from it, before any audit.
        data: Its contract.
        cleaning: How its texts were cleaned.
        folder: Parent folder of the result.

    Raises:
        DataError: The table cannot be understood, changes nothing, contradicts itself or belongs to other data; or
            the data cannot be used. The message lists every bad row.
        StorageError: A file could not be read or written; no partial result remains.
    """
    names = data.labels or {name: name for name in prepared.labels}
    corrections = read_corrections(table, names)
    try:
        sha256 = file_sha256(table)
    except OSError as error:
        raise storage_error(table, error) from error
    digest = digest_of(
        fetched.digest,
        {split: list(paths) for split, paths in fetched.splits.items()},
        data.model_dump(mode="json", exclude={"sources", "name", "license", "contract"}),
        cleaning.model_dump(mode="json"),
        # Identifies the rows that were cut.
        prepared.digest,
        sha256,
        [textclf.__version__, RELABEL_VERSION],
    )
    target = folder / digest
    if found := find(target, Relabelled):
        logger.info("These corrections were applied before; reusing %s.", target)
        return found
    raw = _RawData(fetched, data, cleaning, names)
    decisions = _decide(corrections, raw, table, prepared)
    with building(target) as draft:
        named = {(item.source, item.row) for item in corrections}
        writer = _Writer(raw, _CutRows(prepared, raw.splits), decisions, named)
        written = writer.write(draft)
        record = Relabelled(
            digest=digest,
            folder=target,
            version=prepared.version,
            origin=fetched.origin,
            table=table.name,
            table_sha256=sha256,
            rows=written,
            **writer.counts(),
        )
        lineage = record.model_dump(mode="json", exclude={"folder", "cached"})
        write_text(draft / LINEAGE_FILE, json.dumps(lineage, ensure_ascii=False, indent=1))
        record = publish(draft, target, record)
    logger.debug("%s", relabelled_summary(record))
    return record


def relabelled_summary(relabelled: Relabelled) -> str:
    """Formats the changes and the place of the result in a few lines."""
    changed = (
        ngettext(
            "Corrected {labels} and removed {rows} of data version {version}; {count:,} of them is a copy that {table} "
            "does not name.",
            "Corrected {labels} and removed {rows} of data version {version}; {count:,} of them are copies that "
            "{table} does not name.",
            relabelled.copies,
        )
        if relabelled.copies
        else _("Corrected {labels} and removed {rows} of data version {version}.")
    )
    labels = ngettext("{count:,} label", "{count:,} labels", relabelled.corrected).format(count=relabelled.corrected)
    removed = ngettext("{count:,} row", "{count:,} rows", relabelled.removed).format(count=relabelled.removed)
    lines = [
        changed.format(
            labels=labels if relabelled.corrected else _("no labels"),
            rows=removed if relabelled.removed else _("no rows"),
            version=relabelled.version,
            count=relabelled.copies,
            table=relabelled.table,
        )
    ]
    for change in relabelled.changes:
        to_label = change.to_label or _("(removed)")
        lines.append(
            "  "
            + _("{label} -> {to_label}: {rows:,}").format(label=change.from_label, to_label=to_label, rows=change.rows)
        )
    if relabelled.unreadable:
        unreadable = ngettext(
            "{count:,} row could not be read: see {file} in that folder.",
            "{count:,} rows could not be read: see {file} in that folder.",
            relabelled.unreadable,
        )
        lines.append(unreadable.format(count=relabelled.unreadable, file=QUARANTINE_FILE))
    rows = _(", ").join(
        _("{split} {count:,}").format(split=split_name(split), count=count) for split, count in relabelled.rows.items()
    )
    place = _("The new data ({rows} rows) is in {folder}.").format(rows=rows, folder=relabelled.folder)
    return "\n".join([*lines, place])


_Key = tuple[int, str]
"""Fingerprint and label name, which a row shares with its copies."""


class _RawData:
    """Raw files, and what a correction needs to know about a row."""

    def __init__(
        self, fetched: FetchedData, data: DataConfig, cleaning: CleaningConfig, names: Mapping[str, str]
    ) -> None:
        self.splits = fetched.splits
        self.files = check_columns(fetched, data)
        self.names = names
        self.label_column = data.label_column
        self._data = data
        self._cleaning = cleaning
        self._text_columns = [data.text_column, *([data.text_pair_column] if data.text_pair_column else [])]

    def label(self, row: Mapping[str, object]) -> str | None:
        """The value of a row's label; None if it is missing or unknown."""
        try:
            value = label_value(row.get(self.label_column), self._data.labels)
        except ValueError:
            return None
        return value if value in self.names else None

    def digest(self, row: Mapping[str, object], label: str) -> str:
        """Digest of a row's text and label, as in the table."""
        return row_digest(text_digest(*self._texts(row)), self.names[label])

    def copies_key(self, row: Mapping[str, object], label: str) -> _Key:
        """What a row shares with its copies."""
        rule, masks = self._cleaning.rule, self._cleaning.mask_personal_data
        cleaned = [clean_text(text, rule, mask_personal_data=masks) for text in self._texts(row)]
        return fingerprint(*cleaned), self.names[label]

    def _texts(self, row: Mapping[str, object]) -> list[str]:
        return [str(row.get(column)) for column in self._text_columns]


class _CutRows:
    """Assigns rows of the training files to the splits that were cut from them."""

    def __init__(self, prepared: PreparedData, given: Container[Split]) -> None:
        self.splits = [split for split in SPLITS if split not in given]
        self._splits_by_row: dict[tuple[str, int], Split] = {}
        for split in self.splits:
            rows = read_split(prepared, split)
            self._splits_by_row |= dict.fromkeys(zip(rows.sources, rows.numbers.tolist(), strict=True), split)

    def split(self, source: str, number: int) -> Split:
        """Returns the split of a row of a training file."""
        return self._splits_by_row.get((source, number), "train")


def _decide(
    corrections: Sequence[Correction], raw: _RawData, table: Path, prepared: PreparedData
) -> dict[_Key, str | None]:
    """Checks the corrections against their rows, and returns the new label (None: removed) by fingerprint and label."""
    if not corrections:
        raise DataError(f"{table} changes nothing: its column {CORRECT_LABEL} is empty in every row.")
    wanted: dict[str, dict[int, list[Correction]]] = {}
    for item in corrections:
        wanted.setdefault(item.source, {}).setdefault(item.row, []).append(item)
    known = {source for sources in raw.splits.values() for source in sources}
    problems = [
        f"{item.place}: the data has no file {item.source!r}" for item in corrections if item.source not in known
    ]
    decisions: dict[_Key, str | None] = {}
    places: dict[_Key, str] = {}
    for source in sorted(known & wanted.keys()):
        missing = dict(wanted[source])
        for batch in raw.files[source].batches():
            for number, row in zip(batch.numbers, batch.rows, strict=True):
                for item in missing.pop(number, []):
                    label = raw.label(row)
                    if label is None or raw.digest(row, label) != item.row_digest:
                        problems.append(f"{item.place}: {source}, row {number:,} now has another text or label")
                        continue
                    key = raw.copies_key(row, label)
                    if key in decisions and decisions[key] != item.label:
                        problems.append(f"{item.place}: {places[key]} contradicts it for the same text and label")
                    decisions[key], places[key] = item.label, item.place
        problems += [
            f"{item.place}: {source} has no readable row {item.row:,}" for items in missing.values() for item in items
        ]
    if problems:
        versions = ", ".join(sorted({item.data_version for item in corrections} - {""})) or "an unknown one"
        raise DataError(
            f"{table} does not match this data: {len(problems):,} rows differ.\n{first_lines(problems)}\n"
            f"The table was made from data version {versions}; this data has version {prepared.version}. Pass the data "
            "and the configuration that the table was made from, or create a new table."
        )
    decisions = {key: label for key, label in decisions.items() if label is None or raw.names[label] != key[1]}
    if not decisions:
        raise DataError(f"{table} changes nothing: every label in its column {CORRECT_LABEL} equals the current one.")
    return decisions


class _Writer:
    """Writes the splits, and counts what it changes."""

    def __init__(
        self, raw: _RawData, cut: _CutRows, decisions: Mapping[_Key, str | None], named: set[tuple[str, int]]
    ) -> None:
        self._raw = raw
        self._cut = cut
        self._decisions = decisions
        self._named = named
        self._names = {name for _fingerprint, name in decisions}
        self._changes: Counter[tuple[str, str | None]] = Counter()
        self._copies = 0
        self._unreadable = 0

    def write(self, draft: Path) -> dict[Split, int]:
        """Writes all files; returns the rows per split."""
        written: dict[Split, int] = {}
        with (draft / QUARANTINE_FILE).open("w", encoding="utf-8") as file:
            quarantine = Quarantine(file)
            for split in self._raw.splits:
                written |= self._write_split(split, draft, quarantine)
        self._unreadable = sum(counts.total() for counts in quarantine.counts.values())
        if not self._unreadable:
            (draft / QUARANTINE_FILE).unlink()
        return {split: written[split] for split in SPLITS if split in written}

    def counts(self) -> dict[str, Any]:
        """The fields of the record that describe the changes."""
        return {
            "corrected": sum(rows for (_from, to), rows in self._changes.items() if to is not None),
            "removed": sum(rows for (_from, to), rows in self._changes.items() if to is None),
            "copies": self._copies,
            "changes": tuple(
                Change(from_label=before, to_label=after, rows=rows)
                for (before, after), rows in self._changes.most_common()
            ),
            "unreadable": self._unreadable,
        }

    def _write_split(self, split: Split, draft: Path, quarantine: Quarantine) -> dict[Split, int]:
        """Writes the files of a split, and the splits that were cut from them."""
        types = self._types(split)
        rows: dict[Split, int] = dict.fromkeys([split, *(self._cut.splits if split == "train" else ())], 0)
        with (
            ExitStack() as stack,
            progress_bar(desc=_("writing {split}").format(split=split), unit=" rows", delay=2) as progress,
        ):
            schema = types.schema()
            writers = {
                name: stack.enter_context(pq.ParquetWriter(draft / f"{name}.parquet", schema, compression="zstd"))
                for name in rows
            }
            for source in self._raw.splits[split]:
                for batch in self._raw.files[source].batches():
                    for broken in batch.broken:
                        quarantine.add(split, source, broken.number, broken.reason, broken.content)
                    kept: dict[Split, list[dict[str, object]]] = {name: [] for name in rows}
                    for number, row in zip(batch.numbers, batch.rows, strict=True):
                        if self._apply(source, number, row):
                            kept[self._cut.split(source, number) if split == "train" else split].append(row)
                    for name, chosen in kept.items():
                        if chosen:
                            writers[name].write_table(types.table(chosen))
                        rows[name] += len(chosen)
                    progress.update(len(batch.numbers) + len(batch.broken))
        return rows

    def _types(self, split: Split) -> ColumnTypes:
        """Reads the files of a split to find the type of each column."""
        types = ColumnTypes()
        for source in self._raw.splits[split]:
            file = self._raw.files[source]
            if file.format == "parquet":
                types.add_schema(parquet_schema(file.path))
            else:
                for batch in file.batches():
                    types.add_rows(batch.rows)
        types.must_hold(self._raw.label_column, {label for label in self._decisions.values() if label is not None})
        return types

    def _apply(self, source: str, number: int, row: dict[str, object]) -> bool:
        """Corrects a row; returns whether it stays."""
        label = self._raw.label(row)
        if label is None or self._raw.names[label] not in self._names:
            return True
        key = self._raw.copies_key(row, label)
        if key not in self._decisions:
            return True
        after = self._decisions[key]
        self._changes[key[1], None if after is None else self._raw.names[after]] += 1
        self._copies += (source, number) not in self._named
        row[self._raw.label_column] = after
        return after is not None
