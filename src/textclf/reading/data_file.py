"""Reading CSV, TSV, JSON lines, Parquet and Excel as a stream of row batches in which no row is lost.

Every row of a file is either a row or a broken row with its reason, in the file's order, under its number. Memory
does not grow with the length of the file: it is bounded by the rows of a batch and by 16 MiB a row. (An Excel sheet,
which has at most 1,048,576 rows, is held as a whole.)
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.config.data import Delimiter, Encoding
from textclf.errors import DataError
from textclf.reading.compression import Compression, compression_of
from textclf.reading.delimited import csv_rows, find_delimiter, table_columns, tsv_rows, unique_names
from textclf.reading.detection import DataFormat, data_format, detect_encoding, file_format, reading
from textclf.reading.excel import Workbook
from textclf.reading.lines import Broken, Item, Lines, text_encoding
from textclf.tables import shorten

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = [
    "BrokenRow",
    "FileDescription",
    "RowBatch",
    "describe_file",
    "detect_encoding",
    "file_format",
    "iter_batches",
    "read_columns",
]

_MAX_BATCH_CHARACTERS = 32 << 20
_COLUMN_SAMPLE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class BrokenRow:
    r"""A row that could not be read.

    Attributes:
        number: Its number in the file, from 1; a header line is not counted.
        reason: What is wrong with it, for people; what stands before a colon is the kind, to count by.
        content: The row as it stands in the file; bytes that cannot be decoded appear as `\xNN`.
    """

    number: int
    reason: str
    content: str


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Consecutive rows of a file. `numbers` and the numbers of `broken` together are an unbroken run.

    Attributes:
        numbers: Row numbers in the file, from 1 (a header line is not counted), one for each of `rows`.
        rows: Values by column. From CSV and TSV all values are strings; from JSON lines a row has the keys of its
            object; from Parquet and Excel every column. Strings are always valid Unicode (no lone surrogates).
        broken: The rows that could not be read.
    """

    numbers: list[int]
    rows: list[dict[str, object]]
    broken: list[BrokenRow]


@dataclass(frozen=True, slots=True)
class FileDescription:
    """How a data file is read: what its ending says and what was found in it.

    Attributes:
        path: The file.
        format: `csv`, `tsv`, `jsonl`, `parquet` or `excel`.
        compression: How it is compressed; None if it is not.
        encoding: Character encoding; None for Parquet and Excel.
        delimiter: What separates the columns; None for other formats than CSV and TSV.
        sheet: The sheet of an Excel workbook; None for other formats.
        columns: Names of the columns, as `read_columns` returns them.
        size_bytes: Size on disk, before it is decompressed.
    """

    path: Path
    format: DataFormat
    compression: Compression | None
    encoding: str | None
    delimiter: str | None
    sheet: str | None
    columns: tuple[str, ...]
    size_bytes: int

    def summary(self, folder: Path) -> str:
        """Says it in one line.

        Args:
            folder: What the file's path is told from.
        """
        separators = {",": "commas", ";": "semicolons", "|": "vertical bars", "\t": "tabs"}
        facts = [{"jsonl": "JSON lines", "parquet": "Parquet", "excel": "Excel"}.get(self.format, self.format.upper())]
        facts += [f"compressed with {self.compression}"] if self.compression else []
        facts += [f"encoding {self.encoding}"] if self.encoding else []
        facts += [f"separated by {separators[self.delimiter]}"] if self.delimiter else []
        facts += [f"sheet {self.sheet}"] if self.sheet else []
        columns = shorten(", ".join(self.columns), 100)
        return f"{self.path.relative_to(folder).as_posix()}: {', '.join(facts)}; columns {columns}"


def describe_file(
    path: Path,
    *,
    file_encoding: Encoding = "auto",
    delimiter: Delimiter = "auto",
    sheet: str | None = None,
    column_names: tuple[str, ...] | None = None,
) -> FileDescription:
    """Finds out how a data file is read.

    Args:
        path: A file as `iter_batches` reads it; the other arguments are the same, too.
        file_encoding: Encoding of a text file.
        delimiter: What separates the columns of CSV.
        sheet: The sheet of an Excel workbook.
        column_names: Names for a CSV or TSV file without a header line.

    Returns:
        What was given and what was found.

    Raises:
        DataError: As `read_columns`.
        StorageError: The file could not be read.
    """
    path = Path(path)
    format_ = data_format(path, file_encoding=file_encoding)
    encoding = separator = sheet_name = None
    if format_ == "parquet":
        columns = _parquet_columns(path)
    elif format_ == "excel":
        workbook = Workbook(path, sheet)
        sheet_name, columns = workbook.sheet, workbook.columns
    else:
        encoding = text_encoding(path, file_encoding)
        lines = Lines(path, encoding)
        if format_ == "jsonl":
            columns = _json_columns(lines)
        else:
            separator, columns = _table(path, lines, format_, delimiter, column_names)
    with reading(path):
        size_bytes = path.stat().st_size
    return FileDescription(
        path, format_, compression_of(path), encoding, separator, sheet_name, tuple(columns), size_bytes
    )


def read_columns(
    path: Path,
    *,
    file_encoding: Encoding = "auto",
    delimiter: Delimiter = "auto",
    sheet: str | None = None,
    column_names: tuple[str, ...] | None = None,
) -> list[str]:
    """Reads the column names of a data file.

    Args:
        path: A file as `iter_batches` reads it; the other arguments are the same, too.
        file_encoding: Encoding of a text file.
        delimiter: What separates the columns of CSV.
        sheet: The sheet of an Excel workbook.
        column_names: Names for a CSV or TSV file without a header line.

    Returns:
        The names in the file's order; for JSON lines, the keys of the first 1,000 objects.

    Raises:
        DataError: The file cannot be used: missing, empty, of another format or compression than its ending, in
            another encoding or separated otherwise than given, damaged, encrypted, without the sheet, or with columns
            that are named twice.
        StorageError: The file could not be read.
    """
    described = describe_file(
        path, file_encoding=file_encoding, delimiter=delimiter, sheet=sheet, column_names=column_names
    )
    return list(described.columns)


def iter_batches(
    path: Path,
    *,
    file_encoding: Encoding = "auto",
    delimiter: Delimiter = "auto",
    sheet: str | None = None,
    column_names: tuple[str, ...] | None = None,
    columns: Collection[str] | None = None,
    rows_per_batch: int = 8192,
) -> Iterator[RowBatch]:
    """Reads a data file from beginning to end, a batch at a time.

    TSV has no quotes: a tab always separates and a line feed always ends a row. CSV follows RFC 4180; a row with a
    misplaced quote, or with one that is never closed, is broken alone, and reading goes on at the next line. Blank
    lines at the end of a file are no rows; elsewhere they are broken rows (in a file of one column, empty values).
    Values of an Excel sheet are described at `textclf.reading.excel.Workbook`.

    Args:
        path: A CSV, TSV or JSON lines file, also compressed (`data_format` lists the endings), or a Parquet or Excel
            file.
        file_encoding: Encoding of a text file; `auto` finds it (`detect_encoding`). Parquet and Excel have none.
        delimiter: What separates the columns of CSV; `auto` finds it in the first 20 lines. Of no effect on the other
            formats.
        sheet: The sheet of an Excel workbook; the first one without it. Of no effect on the other formats.
        column_names: Names for a CSV or TSV file without a header line; of no effect on the other formats.
        columns: Of a Parquet file, only these are read; the other formats are read whole anyway.
        rows_per_batch: Rows in a batch, broken ones included; fewer in the last one and where rows are so long that
            a batch would pass 32 million characters. The same file is always cut in the same way.

    Returns:
        The batches in order; none if the file has a header line and nothing else.

    Raises:
        DataError: At the call, as `read_columns`; while iterating, where the file turns out to be damaged.
        StorageError: The file could not be read.
    """
    path = Path(path)
    format_ = data_format(path, file_encoding=file_encoding)
    if format_ == "parquet":
        wanted = [name for name in _parquet_columns(path) if columns is None or name in columns]
        return _batches(_parquet_items(path, wanted, rows_per_batch), rows_per_batch)
    if format_ == "excel":
        return _batches(Workbook(path, sheet).rows(), rows_per_batch)
    lines = Lines(path, text_encoding(path, file_encoding))
    if format_ == "jsonl":
        return _batches(_json_items(lines), rows_per_batch)
    separator, columns = _table(path, lines, format_, delimiter, column_names)
    rows = tsv_rows(lines, columns) if format_ == "tsv" else csv_rows(lines, columns, separator)
    return _batches(rows, rows_per_batch)


def _table(
    path: Path, lines: Lines, format_: DataFormat, delimiter: Delimiter, column_names: tuple[str, ...] | None
) -> tuple[str, list[str]]:
    """Delimiter and columns; of the lines, those with rows remain."""
    tsv = format_ == "tsv"
    separator = find_delimiter(path, lines, delimiter, column_names, tsv=tsv)
    return separator, table_columns(path, lines, separator, column_names, tsv=tsv)


def _json_columns(lines: Lines) -> list[str]:
    objects = (item for item in islice(_json_items(lines), _COLUMN_SAMPLE_ROWS) if isinstance(item, dict))
    return list(dict.fromkeys(name for item in objects for name in item))


def _parquet_columns(path: Path) -> list[str]:
    with reading(path), _open_parquet(path) as file:
        return unique_names(list(file.schema_arrow.names), path)


def _batches(items: Iterator[Item], rows_per_batch: int) -> Iterator[RowBatch]:
    batch = RowBatch([], [], [])
    characters = 0
    for number, item in enumerate(items, start=1):
        if isinstance(item, Broken):
            batch.broken.append(BrokenRow(number, item.reason, item.content))
            characters += len(item.content)
        else:
            batch.numbers.append(number)
            batch.rows.append(item)
            characters += sum([len(value) for value in item.values() if isinstance(value, str)])
        if len(batch.rows) + len(batch.broken) >= rows_per_batch or characters >= _MAX_BATCH_CHARACTERS:
            yield batch
            batch = RowBatch([], [], [])
            characters = 0
    if batch.rows or batch.broken:
        yield batch


def _json_items(lines: Lines) -> Iterator[Item]:
    blank = 0
    for line, problem in lines:
        if not line.strip():
            blank += 1
            continue
        for _ in range(blank):
            yield Broken("blank line", "")
        blank = 0
        yield Broken(problem, line) if problem else _json_item(line)


def _json_item(line: str) -> Item:
    try:
        value = json.loads(line)
    except RecursionError:
        return Broken("not valid JSON: nested too deeply", line)
    except ValueError as error:
        return Broken(f"not valid JSON: {error}", line)
    if not isinstance(value, dict):
        return Broken(f"not a JSON object: a {type(value).__name__}", line)
    if "\\u" in line:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            return Broken(f"not valid Unicode: half a surrogate pair ({half})", line)
    return value


def _open_parquet(path: Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno:
        return error
    return DataError(
        f"The Parquet file {path} is damaged or cut short: {error}\nFetch or write it again; nothing of it was used."
    )


def _parquet_items(path: Path, columns: list[str], rows_per_batch: int) -> Iterator[Item]:
    import pyarrow as pa

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
                # A value has no Python form (not UTF-8, a date out of range, an unknown time zone): find its row.
                yield from _parquet_rows_one_by_one(batch)


def _parquet_rows_one_by_one(batch: pa.RecordBatch) -> Iterator[Item]:
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
