"""Collects the texts that an encoder is adapted to: cleaned, each once, with a validation split."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from textclf.config.adaptation import AdaptConfig, UnlabelledDataConfig
from textclf.config.data import CleaningConfig
from textclf.config.sources import Split
from textclf.data.unlabelled import Tally, beginning_problems, new_texts, open_texts
from textclf.errors import ConfigError, DataError, first_lines
from textclf.reading.data_file import ReadingOptions
from textclf.records import CollectedTexts
from textclf.store import building, digest_of, find, publish

logger = logging.getLogger(__name__)

# Part of the digest: raise it when the same files would give other texts.
COLLECTION_VERSION = 1
ROWS_PER_WRITE = 8192
_SCHEMA = pa.schema([("text", pa.string())])


def check_texts(config: AdaptConfig) -> None:
    """Checks early, from the beginnings of the files, that the texts can be read.

    Raises:
        ConfigError: Lists the files that are missing, cannot be read or lack the column.
    """
    data = config.data
    for field in ("files", "held_out"):
        problems = beginning_problems(getattr(data, field), (data.text_column,), _options(data))
        if problems:
            raise ConfigError(f"data.{field} cannot be used:\n{first_lines(problems)}")


def collect(data: UnlabelledDataConfig, *, cleaning: CleaningConfig, folder: Path) -> CollectedTexts:
    """Reads, cleans and deduplicates unlabelled texts, or reuses the result of an earlier run.

    Rows that are broken or become empty are counted and left out, and so are texts that equal an earlier one or one
    that is held out. Which texts are for validation depends on the texts alone. `folder` holds one subfolder per
    digest.

    Raises:
        DataError: A file is damaged, lacks the column or was changed meanwhile, or no text can be used.
        StorageError: A file cannot be read, or the disk is full or not writable.
    """
    columns, options = (data.text_column,), _options(data)
    files = open_texts(data.files, columns, options)
    held_out_files = open_texts(data.held_out, columns, options)
    digest = digest_of(
        COLLECTION_VERSION,
        [file.sha256 for file in files],
        sorted(file.sha256 for file in held_out_files),
        data.model_dump(mode="json", exclude={"name", "files", "held_out"}),
        cleaning.model_dump(mode="json"),
    )
    target = folder / digest
    if found := find(target, CollectedTexts):
        logger.info("Clean: reusing the result of an earlier run (digest %s).", digest[:12])
        return found
    held_out: set[int] = set()
    for _ in new_texts(held_out_files, columns, cleaning=cleaning, held_out=(), seen=held_out, tally=Tally()):
        pass
    tally, rows = Tally(), dict.fromkeys(("train", "validation"), 0)
    with building(target) as temporary:
        writers = {split: _Writer(temporary / f"{split}.parquet") for split in rows}
        for number, (text,) in new_texts(files, columns, cleaning=cleaning, held_out=held_out, seen=set(), tally=tally):
            split = "validation" if number % 2**32 < data.validation_fraction * 2**32 else "train"
            writers[split].add(text)
            rows[split] += 1
            if tally.kept == data.max_rows:
                break
        for writer in writers.values():
            writer.close()
        counts = tally.record(len(files))
        if not counts.kept:
            raise DataError(
                f"data.files: none of the {counts.read:,} rows can be used: {counts.held_out:,} are held out, broken: "
                f"{json.dumps(counts.broken)}."
            )
        splits: dict[Split, int] = {"train": rows["train"], "validation": rows["validation"]}
        record = CollectedTexts(digest=digest, folder=target, rows=splits, counts=counts, cached=False)
        record = publish(temporary, target, record)
    logger.info(
        "Clean: %s of %s rows are used, %s of them for validation; left out: %s held out, %s copies, broken: %s.",
        f"{counts.kept:,}",
        f"{counts.read:,}",
        f"{rows['validation']:,}",
        f"{counts.held_out:,}",
        f"{counts.copies:,}",
        ", ".join(f"{count:,} {reason}" for reason, count in counts.broken.items()) or "none",
    )
    return record


class _Writer:
    """Writes texts to a Parquet file, a few thousand at a time."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetWriter(path, _SCHEMA, compression="zstd")
        self._pending: list[str] = []

    def add(self, text: str) -> None:
        self._pending.append(text)
        if len(self._pending) == ROWS_PER_WRITE:
            self._write()

    def close(self) -> None:
        self._write()
        self._file.close()

    def _write(self) -> None:
        self._file.write_table(pa.table({"text": self._pending}, schema=_SCHEMA))
        self._pending.clear()


def _options(data: UnlabelledDataConfig) -> ReadingOptions:
    return ReadingOptions(
        file_encoding=data.file_encoding, delimiter=data.delimiter, sheet=data.sheet, column_names=data.column_names
    )
