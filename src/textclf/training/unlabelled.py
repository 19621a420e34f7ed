"""The unlabelled texts that a student learns from: none of validation or test."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from textclf.config.data import CleaningConfig, DataConfig
from textclf.config.schema import TrainConfig
from textclf.data.prepared import read_split
from textclf.data.unlabelled import Tally, beginning_problems, new_texts, open_texts
from textclf.errors import ConfigError, DataError, first_lines
from textclf.heads.single_label import UNLABELLED
from textclf.reading.data_file import DataFile, ReadingOptions
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
    problems = beginning_problems(config.distillation.unlabelled, _columns(config.data), ReadingOptions())
    if problems:
        raise ConfigError(f"distillation.unlabelled cannot be used:\n{first_lines(problems)}")


def open_unlabelled(paths: Sequence[Path], data: DataConfig) -> list[DataFile]:
    """Opens the files of unlabelled texts; each knows its digest.

    Raises:
        DataError: A file is missing or damaged, or lacks the columns of the texts.
        StorageError: A file could not be read.
    """
    return open_texts(paths, _columns(data), ReadingOptions())


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
    tally = Tally()
    columns = _columns(data)
    names = ["text", "text_pair"][: len(columns)]
    fields = [("row", pa.int64()), *((name, pa.string()) for name in names), ("label", pa.int64())]
    schema = pa.schema([*fields, *([("weight", pa.float32())] if train.weights is not None else [])])
    with appearing(target) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        pending: list[tuple[str, ...]] = []

        def write() -> None:
            table: dict[str, object] = {"row": range(tally.kept - len(pending), tally.kept)}
            table |= {name: [texts[index] for texts in pending] for index, name in enumerate(names)}
            table |= {"label": [UNLABELLED] * len(pending), "weight": [1.0] * len(pending)}
            writer.write_table(pa.table({name: table[name] for name in schema.names}, schema=schema))
            pending.clear()

        for _, texts in new_texts(files, columns, cleaning=cleaning, held_out=held_out, seen=seen, tally=tally):
            pending.append(texts)
            if len(pending) == ROWS_PER_WRITE or tally.kept == limit:
                write()
            if tally.kept == limit:
                break
        if pending:
            write()
    found = tally.record(len(files))
    if not found.kept:
        raise DataError(
            f"distillation.unlabelled: none of the {found.read:,} rows can be used: {found.held_out:,} are in "
            f"validation or test, {found.copies:,} are copies, broken: {json.dumps(found.broken)}."
        )
    write_text(record, found.model_dump_json(indent=1))
    return found


def _columns(data: DataConfig) -> tuple[str, ...]:
    return (data.text_column, *([data.text_pair_column] if data.text_pair_column else []))
