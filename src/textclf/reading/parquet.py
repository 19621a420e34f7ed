"""Reads Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from textclf.errors import DataError
from textclf.reading.compression import reading
from textclf.reading.lines import Broken, Item


def parquet_schema(path: Path) -> pa.Schema:
    """Returns names and types of the columns.

    Raises:
        DataError: The file is damaged, cut short or missing.
        StorageError: It could not be read.
    """
    with reading(path), _open_parquet(path) as file:
        return file.schema_arrow


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno:
        return error
    return DataError(
        f"The Parquet file {path} is damaged or cut short: {error}\nFetch or write it again; none of it was used."
    )


def parquet_rows(path: Path, columns: list[str], rows_per_batch: int) -> Iterator[Item]:
    """Yields every row, broken or not.

    Raises:
        DataError: The file is damaged, cut short or missing.
        StorageError: It could not be read.
    """
    with reading(path), _open_parquet(path) as file:
        batches = file.iter_batches(batch_size=min(rows_per_batch, 8192), columns=columns)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise _damaged(path, error) from error
            if batch is None:
                return
            try:
                yield from batch.to_pylist()
            except (ValueError, OverflowError, LookupError):
                # Find the row with a value that Python cannot hold (not UTF-8, a date out of range, an unknown zone).
                yield from _rows_one_by_one(batch)


def _rows_one_by_one(batch: pa.RecordBatch) -> Iterator[Item]:
    for index in range(batch.num_rows):
        row: dict[str, object] = {}
        reasons = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                row[name] = column[index].as_py()
            except UnicodeDecodeError as error:
                value = error.object[error.start]
                reasons.append(f"column {name!r} is not valid UTF-8: byte 0x{value:02x} at offset {error.start}")
                row[name] = error.object.decode(errors="backslashreplace")
            except (ValueError, OverflowError, LookupError) as error:
                reasons.append(f"column {name!r} cannot be read: {error}")
                row[name] = None
        if reasons:
            yield Broken("; ".join(reasons), json.dumps(row, ensure_ascii=False, default=str))
        else:
            yield row
