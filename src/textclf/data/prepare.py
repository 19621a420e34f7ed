"""From raw files to a cleaned data set with its splits, in which every row is kept or set aside with its reason."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import sys
import unicodedata
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

import textclf
from textclf.config.home import Home
from textclf.config.schema import CleaningConfig, DataConfig
from textclf.config.sources import SPLITS, Split
from textclf.data.cleaning import clean_value
from textclf.data.labels import check_training_labels, label_names, label_value, unknown_labels
from textclf.data.readers import iter_batches, read_columns
from textclf.data.splits import Rows, content_digest, cut, fingerprint, leak_free
from textclf.errors import DataError, first_lines
from textclf.records import FetchedData, PreparedData
from textclf.store import building, find, publish

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

# Part of every digest: raise it when the same input is prepared in another way than before.
PREPARE_VERSION = 1


def prepare(fetched: FetchedData, *, data: DataConfig, cleaning: CleaningConfig, seed: int, home: Home) -> PreparedData:
    """Reads, checks and cleans a raw data set, cuts the splits it lacks, and writes the result.

    The result stands in `<home>/data/prepared/<digest>`: `train.parquet`, `validation.parquet` and `test.parquet`
    with the columns row (int64, number in the source file from 1), source (string, path of that file), id (string),
    text (string, cleaned) and label (int64); validation and test also have leakfree (bool), false for a copy of a row
    that comes earlier (the same text but for width and white space). `set_aside.jsonl` holds the rows that were left
    out, `manifest.json` the record. The same input is not prepared twice: the folder is found again by its digest,
    checked, and made again if it is damaged.

    Args:
        fetched: The raw data set.
        data: Columns, labels, encoding and how missing splits are cut.
        cleaning: The rule for texts.
        seed: Picks the rows of the splits that are cut.
        home: Where the result is kept.

    Returns:
        The record of the prepared data set.

    Raises:
        DataError: The data cannot be used as it is: files, columns, labels, ids or amount. The message says what to do.
        StorageError: A file could not be read or written; nothing half-written remains.
    """
    if "train" not in fetched.splits:
        raise DataError(
            f"The data set from {fetched.origin} has no training rows; it has: "
            f"{', '.join(fetched.splits) or 'nothing'}.\n"
            "Name the file under `files: {train: ...}` of its source."
        )
    missing = {split: getattr(data.split, f"{split}_fraction") for split in SPLITS[1:] if split not in fetched.splits}
    digest = _digest(fetched, data, cleaning, seed if missing else None)
    folder = home.prepared / digest
    if record := find(folder, PreparedData):
        logger.info("The data was prepared before with the same settings: %s is used again.", folder)
        return record.model_copy(update={"origin": fetched.origin})
    _check_columns(fetched, data)
    with building(folder) as draft:
        with (draft / "set_aside.jsonl").open("w", encoding="utf-8") as set_aside_file:
            reader = _Reader(fetched, data, cleaning, set_aside_file)
            splits = {split: reader.read(split) for split in SPLITS if split in fetched.splits}
        names = reader.check(splits)
        if missing:
            splits |= cut(splits["train"], missing, seed)
        flags = leak_free(splits)
        leaked = {split: flags[split].count(False) for split in flags}
        record = _record(fetched, digest, folder, splits, names, reader.set_aside, leaked)
        for split, rows in splits.items():
            _write_table(_table(rows, list(names), flags.get(split)), draft / f"{split}.parquet")
        return publish(draft, folder, record)


def _digest(fetched: FetchedData, data: DataConfig, cleaning: CleaningConfig, seed: int | None) -> str:
    settings = data.model_dump(mode="json", exclude={"sources", "name"} | ({"split"} if seed is None else set()))
    settings["labels"] = list(data.labels.items()) if data.labels else None
    parts = {
        "raw": fetched.digest,
        "splits": {split: list(paths) for split, paths in fetched.splits.items()},
        "data": settings,
        "cleaning": cleaning.model_dump(mode="json"),
        "seed": seed,
        "code": [textclf.__version__, PREPARE_VERSION, unicodedata.unidata_version],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _check_columns(fetched: FetchedData, data: DataConfig) -> None:
    wanted = {"data.text_column": data.text_column, "data.label_column": data.label_column}
    if data.id_column:
        wanted["data.id_column"] = data.id_column
    problems: list[str] = []
    hints: dict[str, None] = {}
    for name in dict.fromkeys(path for paths in fetched.splits.values() for path in paths):
        columns = read_columns(fetched.folder / name, file_encoding=data.file_encoding, column_names=data.column_names)
        absent = {setting: column for setting, column in wanted.items() if column not in columns}
        if absent:
            problems.append(f"{name} lacks {', '.join(map(repr, absent.values()))}; it has the columns {columns}")
        folded = {column.strip().casefold(): column for column in columns}
        for setting, column in absent.items():
            for close in difflib.get_close_matches(column.casefold(), folded, n=1):
                hints[f"Did you mean {folded[close]!r}? Set {setting} to it."] = None
    if problems:
        expected = ", ".join(f"{column!r} ({setting})" for setting, column in wanted.items())
        raise DataError(
            f"Columns are missing. Expected: {expected}.\n"
            f"{first_lines(problems)}\n"
            + "".join(f"{hint}\n" for hint in hints)
            + "Set these fields to names that exist; for CSV and TSV files without header line, set data.column_names."
        )


class _Reader:
    """Reads splits row by row and keeps account of what is set aside and what is wrong."""

    def __init__(
        self, fetched: FetchedData, data: DataConfig, cleaning: CleaningConfig, set_aside_file: TextIO
    ) -> None:
        self.set_aside: Counter[str] = Counter()
        self._fetched = fetched
        self._data = data
        self._cleaning = cleaning
        self._file = set_aside_file
        self._bad_labels: list[str] = []
        self._bad_ids: list[str] = []
        self._ids: dict[str, str] = {}

    def read(self, split: Split) -> Rows:
        """Reads the files of a split, one after the other."""
        rows = Rows()
        left_out: Counter[str] = Counter()
        with tqdm(desc=f"reading {split}", unit=" rows", disable=None, delay=2) as progress:
            for source in self._fetched.splits[split]:
                path = self._fetched.folder / source
                encoding, names = self._data.file_encoding, self._data.column_names
                for batch in iter_batches(path, file_encoding=encoding, column_names=names):
                    reasons: dict[int, tuple[str, object]] = {
                        row.number: (row.reason, row.content) for row in batch.broken
                    }
                    for number, row in zip(batch.numbers, batch.rows, strict=True):
                        if reason := self._add(rows, source, number, row):
                            reasons[number] = (reason, row)
                    for number, (reason, content) in sorted(reasons.items(), key=itemgetter(0)):
                        left_out[reason.split(":")[0]] += 1
                        line = {"split": split, "source": source, "row": number, "reason": reason, "content": content}
                        json.dump(line, self._file, ensure_ascii=False, default=str)
                        self._file.write("\n")
                    progress.update(len(batch.rows) + len(batch.broken))
        self.set_aside += left_out
        summary = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common()) or "none"
        logger.info("Read %s: %s rows kept, set aside: %s.", split, f"{len(rows):,}", summary)
        if not rows and not self._bad_labels:
            raise DataError(
                f"The split {split} has no usable rows: {', '.join(self._fetched.splits[split])} from "
                f"{self._fetched.origin}. Set aside: {summary}."
            )
        return rows

    def _add(self, rows: Rows, source: str, number: int, row: dict[str, object]) -> str | None:
        """Adds a row, or says why it has to be set aside."""
        value = row.get(self._data.text_column)
        text, reason = clean_value(value, self._cleaning)
        if text is None:
            return reason
        place = f"{source}, row {number:,}"
        try:
            label = label_value(row.get(self._data.label_column), self._data.labels)
        except ValueError as error:
            self._bad_labels.append(f"{place}: {error}")
            return None
        if label is None:
            return "unlabelled"
        rows.numbers.append(number)
        rows.sources.append(source)
        rows.ids.append(self._id(row, source, number, place))
        rows.texts.append(text)
        rows.labels.append(sys.intern(label))
        rows.fingerprints.append(fingerprint(str(value)))
        return None

    def _id(self, row: dict[str, object], source: str, number: int, place: str) -> str:
        if self._data.id_column is None:
            return f"{source}:{number}"
        value = row.get(self._data.id_column)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        name = "" if value is None or value != value else str(value)
        if not name:
            self._bad_ids.append(f"{place}: no id")
        elif name in self._ids:
            self._bad_ids.append(f"{place}: {name!r}, as in {self._ids[name]}")
        else:
            self._ids[name] = place
        return name

    def check(self, splits: dict[Split, Rows]) -> dict[str, str]:
        """Checks labels and ids of all rows.

        Returns:
            The label names by the value in the file, in the order of their ids.
        """
        column = self._data.label_column
        if self._bad_labels:
            raise DataError(
                f"The column {column!r} looks like scores or other values, not like labels: {len(self._bad_labels):,} "
                f"rows are no label.\n{first_lines(self._bad_labels)}\n"
                "Set data.label_column to the column that holds the labels; if these values are labels, name each of "
                "them in data.labels."
            )
        if self._bad_ids:
            raise DataError(
                f"The column {self._data.id_column!r} (data.id_column) does not name each row: {len(self._bad_ids):,} "
                f"rows have no id or one that stands in an earlier row.\n{first_lines(self._bad_ids)}\n"
                "Make the ids unique, or leave data.id_column out to go by row numbers."
            )
        names = dict(self._data.labels or label_names(Counter(splits["train"].labels), column))
        unknown = [
            f"{source}, row {number:,}: {label!r}"
            for rows in splits.values()
            for source, number, label in zip(rows.sources, rows.numbers, rows.labels, strict=True)
            if label not in names
        ]
        if unknown:
            raise unknown_labels(unknown, names, from_config=self._data.labels is not None)
        return names


def _record(
    fetched: FetchedData,
    digest: str,
    folder: Path,
    splits: dict[Split, Rows],
    names: dict[str, str],
    set_aside: Counter[str],
    leaked: dict[Split, int],
) -> PreparedData:
    for split in SPLITS:
        if not splits[split]:
            raise DataError(
                f"The training rows are too few to cut the split {split} from them: "
                f"{sum(map(len, splits.values())):,} in all.\nAdd rows, or give the split a file of its own."
            )
    counts = {split: Counter(splits[split].labels) for split in SPLITS}
    label_counts = {split: {name: counts[split][value] for value, name in names.items()} for split in SPLITS}
    for warning in check_training_labels(label_counts["train"]):
        logger.warning(warning)
    logger.info(
        "Prepared %s rows with %d labels (%s); set aside: %s; exact copies of earlier rows: validation %s, test %s.",
        f"{sum(map(len, splits.values())):,}",
        len(names),
        ", ".join(f"{split} {len(splits[split]):,}" for split in SPLITS),
        f"{set_aside.total():,}",
        f"{leaked['validation']:,}",
        f"{leaked['test']:,}",
    )
    return PreparedData(
        digest=digest,
        folder=folder,
        labels=tuple(names.values()),
        rows={split: len(splits[split]) for split in SPLITS},
        label_counts=label_counts,
        set_aside=dict(set_aside.most_common()),
        leaked=leaked,
        split_digests={
            split: content_digest(
                (text, names[label]) for text, label in zip(splits[split].texts, splits[split].labels, strict=True)
            )
            for split in SPLITS
        },
        origin=fetched.origin,
        cached=False,
    )


def _table(rows: Rows, values: list[str], leak_flags: list[bool] | None) -> pa.Table:
    import pyarrow as pa

    ids = {value: index for index, value in enumerate(values)}
    columns = {
        "row": pa.array(rows.numbers, pa.int64()),
        "source": pa.array(rows.sources, pa.string()),
        "id": pa.array(rows.ids, pa.string()),
        "text": pa.array(rows.texts, pa.string()),
        "label": pa.array([ids[label] for label in rows.labels], pa.int64()),
    }
    if leak_flags is not None:
        columns["leakfree"] = pa.array(leak_flags, pa.bool_())
    return pa.table(columns)


def _write_table(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    try:
        with path.open("wb") as stream:
            pq.write_table(table, stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"{reason} ({path.name} needs up to {table.nbytes:,} bytes)") from error
