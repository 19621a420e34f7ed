"""From raw data and a table of corrections to new raw data, with a record of where it came from."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

import textclf
from textclf.audit.columns import ColumnTypes
from textclf.audit.label_errors import row_digest
from textclf.audit.suspects_table import CORRECT_LABEL, Correction, read_corrections
from textclf.config.schema import DataConfig
from textclf.config.sources import Split
from textclf.data.contract import reading_options
from textclf.data.detection import data_format
from textclf.data.labels import label_value
from textclf.data.quarantine import Quarantine
from textclf.data.readers import RowBatch, iter_batches
from textclf.data.splits import fingerprint, text_digest
from textclf.data.versions import LINEAGE_FILE
from textclf.errors import DataError, first_lines
from textclf.records import FetchedData, PreparedData, Record
from textclf.store import building, digest_of, file_sha256, find, publish, storage_error, write_text

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

logger = logging.getLogger(__name__)

RELABEL_VERSION = 1
QUARANTINE_FILE = "quarantine.jsonl"


class Change(Record):
    """Rows that were changed in the same way."""

    from_label: str
    """Name of the label that they had."""
    to_label: str | None
    """Name of the label that they have now; None if they were removed."""
    rows: int
    """Copies included."""


class Relabelled(Record):
    """A raw data set with corrected labels; the keys of `lineage.json`, but for `folder` and `cached`."""

    digest: str
    folder: Path
    """Holds `train.parquet` and so on, `lineage.json`, and `quarantine.jsonl` if rows could not be read."""
    version: str
    """The data version whose labels were corrected."""
    origin: str
    """Where that data came from."""
    table: str
    """Name of the table with the corrections."""
    table_sha256: str
    corrected: int
    """Rows with another label than before."""
    removed: int
    """Rows that were left out."""
    copies: int
    """Of these rows, those that the table does not name: they have the text and the label of one that it names."""
    changes: tuple[Change, ...]
    """The same rows by their labels, the most frequent change first."""
    rows: dict[Split, int]
    """Rows that were written."""
    unreadable: int
    """Rows of the raw files that could not be read; they stand in `quarantine.jsonl`."""
    cached: bool = False


def relabel(table: Path, fetched: FetchedData, prepared: PreparedData, *, data: DataConfig, folder: Path) -> Relabelled:
    """Writes a raw data set anew with the labels that a person corrected; the old one stays as it is.

    The result stands in `<folder>/<digest>`, one Parquet file for each split that the raw data has, with all columns
    of the raw files. The label column holds the values that the contract knows, as before. Values are what the
    readers give: from CSV, strings; from the rest with their types, but columns with nested values of JSON lines and
    columns with values of several kinds become text. A correction goes to all copies of the row (equal texts but for
    width and white space) that have the same label. Each correction is held against the row that it names before
    anything is written. The same table for the same data gives the same folder.

    Args:
        table: What `write_suspects` wrote and a person filled in.
        fetched: The raw data.
        prepared: What was prepared from it.
        data: Its contract.
        folder: Where the result is put, under its digest.

    Returns:
        The record of the new data set.

    Raises:
        DataError: The table cannot be understood, changes nothing, contradicts itself or belongs to other data; or
            the data cannot be used. The message lists every bad row.
        StorageError: A file could not be read or written; nothing half-written remains.
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
        data.model_dump(mode="json", exclude={"sources", "name", "split", "contract"}),
        prepared.version,
        sha256,
        [textclf.__version__, RELABEL_VERSION],
    )
    target = folder / digest
    if found := find(target, Relabelled):
        logger.info("The labels were corrected with the same table before: %s is used again.", target)
        return found
    raw = _RawData(fetched, data, names)
    decisions = _decide(corrections, raw, table, prepared)
    with building(target) as draft:
        writer = _Writer(raw, decisions, {(item.source, item.row) for item in corrections})
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
    logger.info(
        "Corrected %s labels and removed %s rows (%s of them copies): %s.",
        f"{record.corrected:,}",
        f"{record.removed:,}",
        f"{record.copies:,}",
        target,
    )
    return record


def relabelled_summary(relabelled: Relabelled) -> str:
    """Says in a few lines what was changed and where the result is."""
    lines = [
        f"Corrected {relabelled.corrected:,} labels and removed {relabelled.removed:,} rows of data version "
        f"{relabelled.version}; {relabelled.copies:,} of these rows are copies of those in {relabelled.table}."
    ]
    lines += [
        f"  {change.from_label} -> {change.to_label or '(removed)'}: {change.rows:,}" for change in relabelled.changes
    ]
    if relabelled.unreadable:
        lines.append(f"{relabelled.unreadable:,} rows could not be read; they stand in {QUARANTINE_FILE} there.")
    rows = ", ".join(f"{split} {count:,}" for split, count in relabelled.rows.items())
    return "\n".join([*lines, f"The new data ({rows} rows) is in {relabelled.folder}."])


class _RawData:
    """Raw files as batches of rows, and what a correction has to know of a row."""

    def __init__(self, fetched: FetchedData, data: DataConfig, names: Mapping[str, str]) -> None:
        self.splits = fetched.splits
        self.folder = fetched.folder
        self.names = names
        self.label_column = data.label_column
        self._data = data
        self._text_columns = [data.text_column, *([data.text_pair_column] if data.text_pair_column else [])]

    def batches(self, source: str) -> Iterator[RowBatch]:
        """Reads a file."""
        return iter_batches(self.folder / source, **reading_options(self._data))

    def parquet_schema(self, source: str) -> pa.Schema | None:
        """The columns of a Parquet file; None for other files."""
        import pyarrow.parquet as pq

        path = self.folder / source
        # Looked at by the reader first, which knows what to say of a damaged file.
        self.batches(source)
        return pq.read_schema(path) if data_format(path, file_encoding=self._data.file_encoding) == "parquet" else None

    def label(self, row: Mapping[str, object]) -> str | None:
        """The value of a row's label; None if it has none that is known."""
        try:
            value = label_value(row.get(self.label_column), self._data.labels)
        except ValueError:
            return None
        return value if value in self.names else None

    def digest(self, row: Mapping[str, object], label: str) -> str:
        """Digest of a row's text and label, as the table has it."""
        return row_digest(text_digest(*self._texts(row)), self.names[label])

    def copies_key(self, row: Mapping[str, object]) -> int:
        """What a row shares with its copies."""
        return fingerprint(*self._texts(row))

    def _texts(self, row: Mapping[str, object]) -> list[str]:
        return [str(row.get(column)) for column in self._text_columns]


_Key = tuple[int, str]
"""Fingerprint and label value: what a row has in common with those that a correction goes to, too."""


def _decide(
    corrections: Sequence[Correction], raw: _RawData, table: Path, prepared: PreparedData
) -> dict[_Key, str | None]:
    """Finds the rows that are named, and says what becomes of each text with a label."""
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
        for batch in raw.batches(source):
            for number, row in zip(batch.numbers, batch.rows, strict=True):
                for item in missing.pop(number, []):
                    label = raw.label(row)
                    if label is None or raw.digest(row, label) != item.row_digest:
                        problems.append(f"{item.place}: {source}, row {number:,} has another text or label now")
                        continue
                    key = raw.copies_key(row), label
                    if key in decisions and decisions[key] != item.label:
                        problems.append(f"{item.place}: {places[key]} says otherwise about the same text and label")
                    decisions[key], places[key] = item.label, item.place
        problems += [
            f"{item.place}: {source} has no row {item.row:,} that can be read"
            for items in missing.values()
            for item in items
        ]
    if problems:
        versions = ", ".join(sorted({item.data_version for item in corrections} - {""})) or "an unknown one"
        raise DataError(
            f"{table} does not fit this data: {len(problems):,} rows of it do not.\n{first_lines(problems)}\n"
            f"It was made from data version {versions}; the data given here has version {prepared.version}. Give the "
            "data that the table was made from, with the same configuration, or have a new table made."
        )
    decisions = {key: label for key, label in decisions.items() if label != key[1]}
    if not decisions:
        raise DataError(f"{table} changes nothing: each label in its column {CORRECT_LABEL} is the one the row has.")
    return decisions


class _Writer:
    """Writes the splits, and counts what it changes."""

    def __init__(self, raw: _RawData, decisions: Mapping[_Key, str | None], named: set[tuple[str, int]]) -> None:
        self._raw = raw
        self._decisions = decisions
        self._named = named
        self._labels = {label for _, label in decisions}
        self._changes: Counter[tuple[str, str | None]] = Counter()
        self._copies = 0
        self._unreadable = 0

    def write(self, draft: Path) -> dict[Split, int]:
        """Writes all files; returns the rows of each split."""
        written: dict[Split, int] = {}
        with (draft / QUARANTINE_FILE).open("w", encoding="utf-8") as file:
            quarantine = Quarantine(file)
            for split in self._raw.splits:
                written[split] = self._split(split, draft / f"{split}.parquet", quarantine)
        self._unreadable = sum(counts.total() for counts in quarantine.counts.values())
        if not self._unreadable:
            (draft / QUARANTINE_FILE).unlink()
        return written

    def counts(self) -> dict[str, Any]:
        """The fields of the record that say what was changed."""
        names = self._raw.names
        return {
            "corrected": sum(rows for (_, to), rows in self._changes.items() if to is not None),
            "removed": sum(rows for (_, to), rows in self._changes.items() if to is None),
            "copies": self._copies,
            "changes": tuple(
                Change(from_label=names[before], to_label=None if after is None else names[after], rows=rows)
                for (before, after), rows in self._changes.most_common()
            ),
            "unreadable": self._unreadable,
        }

    def _split(self, split: Split, path: Path, quarantine: Quarantine) -> int:
        import pyarrow.parquet as pq

        types = self._types(split)
        with path.open("wb") as stream:
            with pq.ParquetWriter(stream, types.schema(), compression="zstd") as writer:
                rows = self._copy_rows(split, types, writer, quarantine)
            stream.flush()
            os.fsync(stream.fileno())
        return rows

    def _copy_rows(self, split: Split, types: ColumnTypes, writer: pq.ParquetWriter, quarantine: Quarantine) -> int:
        rows = 0
        with tqdm(desc=f"writing {split}", unit=" rows", disable=None, delay=2) as progress:
            for source in self._raw.splits[split]:
                for batch in self._raw.batches(source):
                    for broken in batch.broken:
                        quarantine.add(split, source, broken.number, broken.reason, broken.content)
                    numbered = zip(batch.numbers, batch.rows, strict=True)
                    kept = [row for number, row in numbered if self._apply(source, number, row)]
                    if kept:
                        writer.write_table(types.table(kept))
                    rows += len(kept)
                    progress.update(len(batch.numbers) + len(batch.broken))
        return rows

    def _types(self, split: Split) -> ColumnTypes:
        """Looks through the files of a split for the type of each column."""
        types = ColumnTypes()
        for source in self._raw.splits[split]:
            if schema := self._raw.parquet_schema(source):
                types.add_schema(schema)
            else:
                for batch in self._raw.batches(source):
                    types.add_rows(batch.rows)
        types.must_hold(self._raw.label_column, {label for label in self._decisions.values() if label is not None})
        return types

    def _apply(self, source: str, number: int, row: dict[str, object]) -> bool:
        """Corrects a row; says whether it stays."""
        before = self._raw.label(row)
        if before not in self._labels:
            return True
        key = self._raw.copies_key(row), before
        if key not in self._decisions:
            return True
        after = self._decisions[key]
        self._changes[before, after] += 1
        self._copies += (source, number) not in self._named
        row[self._raw.label_column] = after
        return after is not None
