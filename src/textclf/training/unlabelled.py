"""Reads the unlabelled texts that a student learns from: cleaned, each once, and none of validation or test."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from textclf.config.data import CleaningConfig, DataConfig
from textclf.config.schema import TrainConfig
from textclf.data.cleaning import clean_texts
from textclf.data.prepared import read_split
from textclf.data.splits import fingerprint
from textclf.errors import ConfigError, DataError, StorageError, TextclfError, first_lines
from textclf.fetching.local import given_files
from textclf.heads.single_label import UNLABELLED
from textclf.language import _
from textclf.progress import progress_bar
from textclf.reading.data_file import DataFile, ReadingOptions, first_columns
from textclf.records import PreparedData, UnlabelledTexts
from textclf.store import appearing, write_text

logger = logging.getLogger(__name__)

ROWS_PER_WRITE = 8192


def check_unlabelled(config: TrainConfig) -> None:
    """Checks early, from the beginnings of the files, that the unlabelled texts of a student can be read.

    Raises:
        ConfigError: Lists the files that are missing, cannot be read or lack a column.
    """
    if not config.distillation.enabled:
        return
    problems = []
    for path in config.distillation.unlabelled:
        try:
            for file in _files((path,)):
                # Of a file whose encoding the beginning does not tell, nothing is known yet.
                columns = first_columns(file, ReadingOptions())
                if columns is not None:
                    _check_columns(file, columns, config.data)
        except TextclfError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(f"distillation.unlabelled cannot be used:\n{first_lines(problems)}")


def open_unlabelled(paths: Sequence[Path], data: DataConfig) -> list[DataFile]:
    """Opens the files of unlabelled texts; each knows its digest.

    Raises:
        DataError: A file is missing or damaged, or lacks the columns of the texts.
        StorageError: A file could not be read.
    """
    files = [DataFile.open(path) for path in _files(paths)]
    for file in files:
        _check_columns(file.path, file.columns, data)
    return files


def write_unlabelled(
    files: Sequence[DataFile],
    target: Path,
    prepared: PreparedData,
    *,
    data: DataConfig,
    cleaning: CleaningConfig,
    limit: int,
) -> UnlabelledTexts:
    """Writes the usable texts as a Parquet file with the columns of `prepare`, as far as `encode_file` reads them.

    Rows that are broken or become empty are counted and left out, and so are texts that equal one in validation or
    test, in the training rows, or before. Reading ends when `limit` texts are kept.

    Called again with the same target after a kill, it returns the result that is there, or begins anew.

    Raises:
        DataError: A file is damaged or was changed meanwhile, or no usable text was found.
        StorageError: A file could not be read.
        OSError: The target cannot be written.
    """
    record = target.with_suffix(".json")
    if record.is_file():
        return UnlabelledTexts.model_validate_json(record.read_text(encoding="utf-8"))
    train = read_split(prepared, "train")
    held_out = {text for split in ("validation", "test") for text in read_split(prepared, split).fingerprints.tolist()}
    seen = set(train.fingerprints.tolist())
    counts: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    columns = _columns(data)
    names = ["text", "text_pair"][: len(columns)]
    fields = [("row", pa.int64()), *((name, pa.string()) for name in names), ("label", pa.int64())]
    schema = pa.schema([*fields, *([("weight", pa.float32())] if train.weights is not None else [])])
    with appearing(target) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        pending: list[tuple[str, ...]] = []

        def write() -> None:
            table: dict[str, object] = {"row": range(counts["kept"] - len(pending), counts["kept"])}
            table |= {name: [texts[index] for texts in pending] for index, name in enumerate(names)}
            table |= {"label": [UNLABELLED] * len(pending), "weight": [1.0] * len(pending)}
            writer.write_table(pa.table({name: table[name] for name in schema.names}, schema=schema))
            pending.clear()

        for texts in _rows(files, columns, cleaning):
            counts["read"] += 1
            if isinstance(texts, str):
                broken[texts.partition(":")[0]] += 1
                continue
            digest = fingerprint(*texts)
            if digest in held_out:
                counts["held_out"] += 1
            elif digest in seen:
                counts["copies"] += 1
            else:
                seen.add(digest)
                pending.append(texts)
                counts["kept"] += 1
            if len(pending) == ROWS_PER_WRITE or counts["kept"] == limit:
                write()
            if counts["kept"] == limit:
                break
        if pending:
            write()
    found = UnlabelledTexts(
        files=len(files),
        read=counts["read"],
        kept=counts["kept"],
        held_out=counts["held_out"],
        copies=counts["copies"],
        broken=dict(broken.most_common()),
    )
    if not found.kept:
        raise DataError(
            f"distillation.unlabelled: none of the {found.read:,} rows can be used: {found.held_out:,} are in "
            f"validation or test, {found.copies:,} are copies, broken: {json.dumps(found.broken)}."
        )
    write_text(record, found.model_dump_json(indent=1))
    return found


def _files(paths: Sequence[Path]) -> list[Path]:
    try:
        return list(dict.fromkeys(file for path in paths for file in given_files(path)))
    except OSError as error:
        raise StorageError(f"{error.filename} cannot be read: {error.strerror or error}.") from error


def _columns(data: DataConfig) -> tuple[str, ...]:
    return (data.text_column, *([data.text_pair_column] if data.text_pair_column else []))


def _check_columns(file: Path, columns: Sequence[str], data: DataConfig) -> None:
    missing = [name for name in _columns(data) if name not in columns]
    if missing:
        raise DataError(
            f"{file} lacks {', '.join(map(repr, missing))}; it has the columns {', '.join(map(repr, columns))}.\n"
            "Unlabelled texts stand in the columns data.text_column and data.text_pair_column, under a header line."
        )


def _rows(
    files: Sequence[DataFile], columns: tuple[str, ...], cleaning: CleaningConfig
) -> Iterator[tuple[str, ...] | str]:
    """Yields the cleaned text or pair of each row, or why the row cannot be used."""
    with progress_bar(desc=_("reading unlabelled texts"), unit=" rows", delay=2) as progress:
        for file in files:
            for batch in file.batches(columns=columns):
                yield from (row.reason for row in batch.broken)
                yield from (clean_texts((row.get(name) for name in columns), cleaning) for row in batch.rows)
                progress.update(len(batch.rows) + len(batch.broken))
            file.check_unchanged()
