"""Prepares raw files as a cleaned data set with splits; each row is kept, or quarantined with a reason."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import compress, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import textclf
from textclf.config.data import CleaningConfig, DataConfig
from textclf.config.home import Home
from textclf.config.sources import SPLITS, Split
from textclf.data.contract import Contract, ContractRow, check_columns, contract_digest
from textclf.data.labels import check_training_labels, label_names
from textclf.data.quarantine import Quarantine, describe_kinds
from textclf.data.repeated_ids import RepeatedIds
from textclf.data.rows import RowReader
from textclf.data.splits import Rows, content_digest, cut, fingerprint, leak_free, text_digest
from textclf.data.versions import lineage_of, version_of
from textclf.errors import ConfigError, DataError
from textclf.language import speaking
from textclf.records import FetchedData, PreparedData
from textclf.store import building, digest_of, find, publish

logger = logging.getLogger(__name__)

# Part of every digest: raise it when the same input is prepared differently than before.
PREPARE_VERSION = 5
QUARANTINE_FILE = "quarantine.jsonl"
_FILES_LOGGED = 10


def prepare(fetched: FetchedData, *, data: DataConfig, cleaning: CleaningConfig, home: Home) -> PreparedData:
    """Reads a raw data set, checks it against its contract, cleans it, cuts missing splits and writes the result.

    `<home>/data/prepared/<digest>` then has `train.parquet`, `validation.parquet` and `test.parquet`, the rows that
    break the contract in `quarantine.jsonl`, and the record in `manifest.json`. The columns of the Parquet files are
    row (int64, number in the source file, from 1), source (string, path of that file), id (string), text (string,
    cleaned), label (int64), original and fingerprint (int64, `text_digest` of the text in the file and `fingerprint`
    of the cleaned text); text_pair, date (`YYYY-MM-DD`) and group (string) if the contract names columns for them; and
    in validation and test leakfree (bool), false for a copy of an earlier row.

    The same input is prepared only once: its folder is found by the digest, checked, and rebuilt if it is damaged. If
    too many rows break the contract, those read so far are written to `<home>/data/quarantine`.

    Raises:
        ConfigError: The contract has several labels per row.
        DataError: The data cannot be used: files, columns, labels, amount, or too many rows that break the contract.
            The message says what to do.
        StorageError: A file could not be read or written; no partial result remains.
    """
    if data.label_separator:
        raise ConfigError(
            "data.label_separator is set, so rows may have several labels, but training needs one label per row.\n"
            "`textclf data check` can check such data; to train, use a column with one label per row."
        )
    if "train" not in fetched.splits:
        raise DataError(
            f"The data set from {fetched.origin} has no training rows; it has: "
            f"{', '.join(fetched.splits) or 'nothing'}.\n"
            "Name the file under `files: {train: ...}` of its source."
        )
    missing = {split: getattr(data.split, f"{split}_fraction") for split in SPLITS[1:] if split not in fetched.splits}
    digest = _digest(fetched, data, cleaning, cuts=bool(missing))
    folder = home.prepared / digest
    if record := find(folder, PreparedData):
        logger.info("Reusing the data prepared earlier with the same settings: %s", folder)
        # The same bytes may come from elsewhere this time.
        source = {"origin": fetched.origin, "uri": fetched.uri, "revision": fetched.revision, "files": fetched.files}
        return record.model_copy(update={**source, "name": data.name, "relabelled_from": lineage_of(fetched.folder)})
    files = check_columns(fetched, data)
    for file in islice(files.values(), _FILES_LOGGED):
        logger.info("%s", file.summary(fetched.folder))
    with building(folder) as draft:
        try:
            with (draft / QUARANTINE_FILE).open("w", encoding="utf-8") as stream, closing(RepeatedIds()) as ids:
                contract, quarantine = Contract(data, cleaning), Quarantine(stream)
                reader = RowReader(files, contract, quarantine, ids)
                splits = _read_splits(fetched, data, contract, quarantine, reader)
        except _TooManyBrokenError as error:
            kept = home.quarantine / f"{digest}.jsonl"
            kept.parent.mkdir(parents=True, exist_ok=True)
            (draft / QUARANTINE_FILE).replace(kept)
            raise DataError(f"{error}\nThe broken rows read so far are in {kept}.") from None
        if missing:
            splits |= cut(splits["train"], missing, data.split.seed)
        names, flags = contract.labels or {}, leak_free(splits)
        record = _record(fetched, digest, folder, data, cleaning, splits, flags, names, quarantine)
        _log(record)
        for split, rows in splits.items():
            write_table(_table(rows, names, flags.get(split), data), draft / f"{split}.parquet")
        return publish(draft, folder, record)


class _TooManyBrokenError(DataError):
    """More rows break the contract than may."""


def _digest(fetched: FetchedData, data: DataConfig, cleaning: CleaningConfig, *, cuts: bool) -> str:
    settings = data.model_dump(mode="json", exclude={"sources", "name", "license"} | (set() if cuts else {"split"}))
    settings["labels"] = list(data.labels.items()) if data.labels else None
    return digest_of(
        fetched.digest,
        {split: list(paths) for split, paths in fetched.splits.items()},
        settings,
        cleaning.model_dump(mode="json"),
        [textclf.__version__, PREPARE_VERSION, unicodedata.unidata_version],
    )


def _read_splits(
    fetched: FetchedData, data: DataConfig, contract: Contract, quarantine: Quarantine, reader: RowReader
) -> dict[Split, Rows]:
    """Reads all splits, the training rows first because the labels come from them if the contract names none."""
    splits: dict[Split, Rows] = {}
    for split in SPLITS:
        if split not in fetched.splits:
            continue
        rows = Rows()
        for source, number, row in reader.read(split, fetched.splits[split]):
            _append(rows, source, number, row)
        kept, broken = len(rows), quarantine.rows(split)
        kinds = ", ".join(f"{kind.rows:,} {kind.reason}" for kind in quarantine.kinds([split])) or "none"
        logger.info("Read %s: %s rows kept, quarantined: %s.", split, f"{kept:,}", kinds)
        if not rows or broken > data.contract.max_quarantined_share * (kept + broken):
            raise _broken(fetched, split, kept, data, contract, quarantine)
        if split == "train" and data.labels is None:
            contract.labels = label_names(Counter(rows.labels), data.label_column)
        splits[split] = rows
    return splits


def _append(rows: Rows, source: str, number: int, row: ContractRow) -> None:
    rows.numbers.append(number)
    rows.sources.append(source)
    rows.ids.append(f"{source}:{number}" if row.id is None else row.id)
    rows.texts.append(row.text)
    rows.pairs.append(row.pair)
    rows.labels.append(row.label)
    rows.originals.append(text_digest(*row.originals))
    rows.fingerprints.append(fingerprint(row.text, row.pair) if len(row.originals) > 1 else fingerprint(row.text))
    rows.dates.append(row.date)
    rows.groups.append(row.group)


def _broken(
    fetched: FetchedData, split: Split, kept: int, data: DataConfig, contract: Contract, quarantine: Quarantine
) -> DataError:
    broken = quarantine.rows(split)
    if not broken:
        return DataError(
            f"The split {split} has no rows: {', '.join(fetched.splits[split])} from {fetched.origin} has only a "
            "header line."
        )
    kinds = quarantine.kinds([split])
    with speaking("en"):
        described = describe_kinds(kinds)
    hints = [hint for kind, hint in _hints(data, contract).items() if any(kind == found.reason for found in kinds)]
    return _TooManyBrokenError(
        f"The split {split} breaks the contract of the data: {broken:,} of {kept + broken:,} rows "
        f"({broken / (kept + broken):.1%}) cannot be used; at most {data.contract.max_quarantined_share:.1%} are "
        f"allowed (data.contract.max_quarantined_share).\n{described}\n"
        + "".join(f"{hint}\n" for hint in hints)
        + "Correct the rows, or raise data.contract.max_quarantined_share to train without them. `textclf data check` "
        "with the same --config checks all splits."
    )


def _hints(data: DataConfig, contract: Contract) -> dict[str, str]:
    known = ", ".join(
        value if value == name else f"{value} ({name})" for value, name in (contract.labels or {}).items()
    )
    source = "data.labels has" if data.labels else "the training rows have"
    return {
        "unknown label": f"Known labels: {source} {known[:1000]}. Name all labels in data.labels, or correct the rows.",
        "not a label": f"The column {data.label_column!r} looks like scores or other values: set data.label_column to "
        "the column with the labels; if these values are labels, name each of them in data.labels.",
        "repeated id": f"The column {data.id_column!r} does not identify each row: make the ids unique, or remove "
        "data.id_column to use row numbers.",
        "not a date": "Write dates as 2026-05-01, 2026/5/1, 20260501 or 2026年5月1日.",
    }


def _record(
    fetched: FetchedData,
    digest: str,
    folder: Path,
    data: DataConfig,
    cleaning: CleaningConfig,
    splits: dict[Split, Rows],
    leak_flags: dict[Split, list[bool]],
    names: Mapping[str, str],
    quarantine: Quarantine,
) -> PreparedData:
    for split in SPLITS:
        if not splits[split]:
            raise DataError(
                f"There are too few training rows to cut the split {split} from them: "
                f"{sum(map(len, splits.values())):,} in all; equal texts and rows of one group stay together.\n"
                "Add rows, or provide a file for the split."
            )
    label_counts = {split: dict.fromkeys(names.values(), 0) for split in SPLITS}
    for split in SPLITS:
        for value, count in Counter(splits[split].labels).items():
            label_counts[split][names[value]] += count
    for warning in check_training_labels(label_counts["train"], minimum=data.contract.min_rows_per_label):
        logger.warning(warning)
    split_digests = {split: content_digest(_contents(splits[split], names)) for split in SPLITS}
    leak_free_rows = compress(_contents(splits["test"], names), leak_flags["test"])
    contract = contract_digest(data, cleaning)
    return PreparedData(
        digest=digest,
        folder=folder,
        name=data.name,
        version=version_of(split_digests, contract),
        # Several values may have the same name.
        labels=tuple(dict.fromkeys(names.values())),
        rows={split: len(splits[split]) for split in SPLITS},
        label_counts=label_counts,
        quarantined={kind.reason: kind.rows for kind in quarantine.kinds()},
        leaked={split: flags.count(False) for split, flags in leak_flags.items()},
        split_digests=split_digests,
        test_leakfree_digest=content_digest(leak_free_rows),
        contract=contract,
        origin=fetched.origin,
        uri=fetched.uri,
        revision=fetched.revision,
        files=fetched.files,
        relabelled_from=lineage_of(fetched.folder),
        cached=False,
    )


def _contents(rows: Rows, names: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    labels = (names[label] for label in rows.labels)
    return zip(rows.texts, rows.pairs, labels, strict=True)


def _log(prepared: PreparedData) -> None:
    logger.info(
        "Prepared %s rows with %d labels (%s), data version %s; quarantined: %s; exact copies of earlier rows: "
        "validation %s, test %s.",
        f"{sum(prepared.rows.values()):,}",
        len(prepared.labels),
        ", ".join(f"{split} {rows:,}" for split, rows in prepared.rows.items()),
        prepared.version,
        f"{sum(prepared.quarantined.values()):,}",
        f"{prepared.leaked['validation']:,}",
        f"{prepared.leaked['test']:,}",
    )


def _table(rows: Rows, names: Mapping[str, str], leak_flags: list[bool] | None, data: DataConfig) -> pa.Table:
    ids = {name: index for index, name in enumerate(dict.fromkeys(names.values()))}
    columns = {
        "row": pa.array(rows.numbers, pa.int64()),
        "source": pa.array(rows.sources, pa.string()),
        "id": pa.array(rows.ids, pa.string()),
        "text": pa.array(rows.texts, pa.string()),
        "label": pa.array([ids[names[label]] for label in rows.labels], pa.int64()),
        "original": pa.array(rows.originals, pa.int64()),
        "fingerprint": pa.array(rows.fingerprints, pa.int64()),
    }
    optional = {
        "text_pair": (data.text_pair_column, rows.pairs),
        "date": (data.date_column, rows.dates),
        "group": (data.group_column, rows.groups),
    }
    columns |= {name: pa.array(values, pa.string()) for name, (column, values) in optional.items() if column}
    if leak_flags is not None:
        columns["leakfree"] = pa.array(leak_flags, pa.bool_())
    return pa.table(columns)


def write_table(table: pa.Table, path: Path) -> None:
    """Writes a Parquet file and waits until it is on disk.

    Raises:
        OSError: It could not be written; says how much space it needs.
    """
    try:
        with path.open("wb") as stream:
            pq.write_table(table, stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"{reason} ({path.name} needs up to {table.nbytes:,} bytes)") from error
