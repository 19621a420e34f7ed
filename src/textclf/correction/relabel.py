"""From raw data and a table of corrections to new raw data, with a record of where it came from."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

import textclf
from textclf.config.data import CleaningConfig, DataConfig
from textclf.config.sources import SPLITS, Split
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
from textclf.reading.parquet import parquet_schema
from textclf.records import FetchedData, PreparedData, Record
from textclf.store import building, digest_of, file_sha256, find, publish, storage_error, write_text

logger = logging.getLogger(__name__)

RELABEL_VERSION = 3
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
    """A raw data set with corrected labels; the keys of `textclf-lineage.json`, but for `folder` and `cached`."""

    digest: str
    folder: Path
    """Holds `train.parquet` and so on, `textclf-lineage.json`, and `quarantine.jsonl` if rows could not be read."""
    version: str
    """The data version whose labels were corrected."""
    origin: str
    """Where that data came from."""
    table: str
    """Name of the table with the corrections."""
    table_sha256: str
    corrected: int
    """Rows whose label has another name than before."""
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


def relabel(
    table: Path,
    fetched: FetchedData,
    prepared: PreparedData,
    *,
    data: DataConfig,
    cleaning: CleaningConfig,
    folder: Path,
) -> Relabelled:
    """Writes a raw data set anew with the labels that a person corrected; the old one stays as it is.

    The result stands in `<folder>/<digest>`, one Parquet file a split with all columns of the raw files. Splits that
    were cut from the training rows stay as they were cut: their rows go to files of their own, all others, also those
    that were quarantined, to `train.parquet`. To cut them again would move rows between the splits, because the cut
    depends on the labels, and a model would be tested on rows that an earlier one was trained on.

    The label column holds the values that the contract knows, as before; where several have the same name, a
    corrected name is written as the first of them. Values are what the readers give: from CSV and Excel, strings; from
    the rest with their types, but columns with nested values of JSON lines and columns with values of several kinds
    become text. A correction goes to all copies of the row (cleaned texts that are equal but for width and white space)
    whose label has the same name. Each correction is checked against the row that it names before anything is written.
    The same table for the same data gives the same folder.

    Args:
        table: What `write_suspects` wrote and a person filled in.
        fetched: The raw data.
        prepared: What was prepared from it, before any audit.
        data: Its contract.
        cleaning: The rule by which its texts were cleaned.
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
        data.model_dump(mode="json", exclude={"sources", "name", "contract"}),
        cleaning.model_dump(mode="json"),
        # Says which rows were cut, too.
        prepared.digest,
        sha256,
        [textclf.__version__, RELABEL_VERSION],
    )
    target = folder / digest
    if found := find(target, Relabelled):
        logger.info("The labels were corrected with the same table before: %s is used again.", target)
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
    """Says in a few lines what was changed and where the result is."""
    changed = (
        f"Corrected {_count(relabelled.corrected, 'label')} and removed {_count(relabelled.removed, 'row')} of data "
        f"version {relabelled.version}"
    )
    if relabelled.copies:
        changed += f"; copies among them that {relabelled.table} does not name: {relabelled.copies:,}"
    lines = [f"{changed}."]
    lines += [
        f"  {change.from_label} -> {change.to_label or '(removed)'}: {change.rows:,}" for change in relabelled.changes
    ]
    if relabelled.unreadable:
        lines.append(f"Could not read {_count(relabelled.unreadable, 'row')}: see {QUARANTINE_FILE} there.")
    rows = ", ".join(f"{split} {count:,}" for split, count in relabelled.rows.items())
    return "\n".join([*lines, f"The new data ({rows} rows) is in {relabelled.folder}."])


def _count(number: int, noun: str) -> str:
    return f"{f'{number:,}' if number else 'no'} {noun}{'s' * (number != 1)}"


_Key = tuple[int, str]
"""Fingerprint and label name: what a row has in common with those that a correction goes to, too."""


class _RawData:
    """Raw files as batches of rows, and what a correction has to know of a row."""

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
        """The value of a row's label; None if it has none that is known."""
        try:
            value = label_value(row.get(self.label_column), self._data.labels)
        except ValueError:
            return None
        return value if value in self.names else None

    def digest(self, row: Mapping[str, object], label: str) -> str:
        """Digest of a row's text and label, as the table has it."""
        return row_digest(text_digest(*self._texts(row)), self.names[label])

    def copies_key(self, row: Mapping[str, object], label: str) -> _Key:
        """What a row shares with its copies."""
        rule, masks = self._cleaning.rule, self._cleaning.mask_personal_data
        cleaned = [clean_text(text, rule, mask_personal_data=masks) for text in self._texts(row)]
        return fingerprint(*cleaned), self.names[label]

    def _texts(self, row: Mapping[str, object]) -> list[str]:
        return [str(row.get(column)) for column in self._text_columns]


class _CutRows:
    """Which rows of the training files were cut off as validation or test."""

    def __init__(self, prepared: PreparedData, given: Container[Split]) -> None:
        self.splits = [split for split in SPLITS if split not in given]
        self._splits_by_row: dict[tuple[str, int], Split] = {}
        for split in self.splits:
            rows = read_split(prepared, split)
            self._splits_by_row |= dict.fromkeys(zip(rows.sources, rows.numbers.tolist(), strict=True), split)

    def split(self, source: str, number: int) -> Split:
        """The split of a row of a training file."""
        return self._splits_by_row.get((source, number), "train")


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
        for batch in raw.files[source].batches():
            for number, row in zip(batch.numbers, batch.rows, strict=True):
                for item in missing.pop(number, []):
                    label = raw.label(row)
                    if label is None or raw.digest(row, label) != item.row_digest:
                        problems.append(f"{item.place}: {source}, row {number:,} has another text or label now")
                        continue
                    key = raw.copies_key(row, label)
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
    decisions = {key: label for key, label in decisions.items() if label is None or raw.names[label] != key[1]}
    if not decisions:
        raise DataError(f"{table} changes nothing: each label in its column {CORRECT_LABEL} is the one the row has.")
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
        self._names = {name for _, name in decisions}
        self._changes: Counter[tuple[str, str | None]] = Counter()
        self._copies = 0
        self._unreadable = 0

    def write(self, draft: Path) -> dict[Split, int]:
        """Writes all files; returns the rows of each split."""
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
        """The fields of the record that say what was changed."""
        return {
            "corrected": sum(rows for (_, to), rows in self._changes.items() if to is not None),
            "removed": sum(rows for (_, to), rows in self._changes.items() if to is None),
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
        with ExitStack() as stack, tqdm(desc=f"writing {split}", unit=" rows", disable=None, delay=2) as progress:
            writers = {name: stack.enter_context(types.writer(draft / f"{name}.parquet")) for name in rows}
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
        """Looks through the files of a split for the type of each column."""
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
        """Corrects a row; says whether it stays."""
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
