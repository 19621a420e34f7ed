"""Reading CSV, TSV, JSON lines, Parquet and Excel as a stream of row batches in which no row is lost.

A file is looked through once for what it is, and once for its rows. Every row of it is either a row or a broken row
with its reason, in the file's order, under its number. Memory does not grow with the length of the file: it is bounded
by the rows of a batch and by 16 MiB a row. (An Excel sheet, which has at most 1,048,576 rows, is held as a whole.)
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from textclf.config.data import Delimiter, Encoding
from textclf.errors import DataError
from textclf.reading.compression import (
    Compression,
    Digested,
    compression_of,
    decompressed,
    inner_ending,
    opened,
    reading,
)
from textclf.reading.delimited import (
    csv_rows,
    find_delimiter,
    is_tab_separated,
    table_columns,
    tsv_rows,
    unique_names,
)
from textclf.reading.detection import TEXT_ENDING, TRAINING_FORMATS, DataFormat, check_content, check_ending
from textclf.reading.encoding import HEAD_BYTES, byte_chunks, find_encoding
from textclf.reading.excel import Workbook
from textclf.reading.json_lines import json_columns, json_rows
from textclf.reading.lines import Broken, Item, Lines
from textclf.reading.parquet import parquet_rows, parquet_schema
from textclf.tables import shorten

_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MAX_BATCH_CHARACTERS = 32 << 20
_SMALL_WORKBOOK_BYTES = 4 << 20


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
class ReadingOptions:
    """How data files are to be read, where their endings and content do not say it.

    Attributes:
        file_encoding: Encoding of a text file; `auto` finds it.
        delimiter: What separates the columns of CSV; `auto` finds it in the first 20 lines.
        sheet: The sheet of an Excel workbook; None for the first one.
        column_names: Names for a CSV or TSV file without a header line.
    """

    file_encoding: Encoding = "auto"
    delimiter: Delimiter = "auto"
    sheet: str | None = None
    column_names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class DataFile:
    """What a data file is, as it was found when it was opened.

    Attributes:
        path: The file.
        format: `csv`, `tsv`, `jsonl`, `parquet` or `excel`.
        compression: How it is compressed; None if it is not.
        encoding: Character encoding; None for Parquet and Excel.
        delimiter: What separates the columns; None for other formats than CSV and TSV.
        sheet: The sheet of an Excel workbook; None for other formats.
        columns: Names of the columns in the file's order; of JSON lines, the keys of the first 1,000 objects.
        size_bytes: Size on disk, before it is decompressed.
        sha256: Digest of the bytes on disk.
        has_byte_order_mark: Whether the text begins with U+FEFF.
        options: How it is read.
    """

    path: Path
    format: DataFormat
    compression: Compression | None
    encoding: str | None
    delimiter: str | None
    sheet: str | None
    columns: tuple[str, ...]
    size_bytes: int
    sha256: str
    has_byte_order_mark: bool
    options: ReadingOptions
    _state: tuple[int, int, int] = field(repr=False)
    # Loaded for its columns, and kept until its rows are read.
    _workbook: list[Workbook] = field(repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, options: ReadingOptions = ReadingOptions()) -> DataFile:
        """Finds out what a file is, and digests it: in one pass over a text file in UTF-8.

        Args:
            path: A CSV, TSV or JSON lines file, also compressed (`data_ending` knows the endings), or a Parquet or
                Excel file. One that ends in .txt is TSV if tabs separate its columns, else CSV.
            options: How it is to be read.

        Raises:
            DataError: The file cannot be used: missing, empty, of another format or compression than its ending, in
                another encoding or separated otherwise than given, damaged, encrypted, without the sheet, or with
                columns that are named twice.
            StorageError: The file could not be read.
        """
        path = Path(path)
        with reading(path), path.open("rb") as file:
            state = _state(os.fstat(file.fileno()))
            raw = Digested(file)
            ending, head = _beginning(path, raw, options)
            format_ = TRAINING_FORMATS[ending]
            encoding = delimiter = sheet = None
            workbooks = []
            if format_ == "parquet":
                columns = unique_names(parquet_schema(path).names, path)
            elif format_ == "excel":
                workbooks = [Workbook(path, options.sheet)]
                sheet, columns = workbooks[0].sheet, workbooks[0].columns
            else:
                encoding = find_encoding(path, lambda: decompressed(path, raw), head, options.file_encoding)
                with decompressed(path, raw) as stream:
                    format_, delimiter, columns = _text_columns(path, byte_chunks(stream), encoding, ending, options)
            sha256 = raw.hexdigest()
        found = cls(
            path=path,
            format=format_,
            compression=compression_of(path),
            encoding=encoding,
            delimiter=delimiter,
            sheet=sheet,
            columns=tuple(columns),
            size_bytes=state[0],
            sha256=sha256,
            has_byte_order_mark=encoding is not None and head.startswith(_BYTE_ORDER_MARKS),
            options=options,
            _state=state,
            _workbook=workbooks,
        )
        found.check_unchanged()
        return found

    def summary(self, folder: Path) -> str:
        """Says in one line how the file is read.

        Args:
            folder: What its path is told from.
        """
        separators = {",": "commas", ";": "semicolons", "|": "vertical bars", "\t": "tabs"}
        facts = [{"jsonl": "JSON lines", "parquet": "Parquet", "excel": "Excel"}.get(self.format, self.format.upper())]
        facts += [f"compressed with {self.compression}"] if self.compression else []
        facts += [f"encoding {self.encoding}"] if self.encoding else []
        facts += [f"separated by {separators[self.delimiter]}"] if self.delimiter else []
        facts += [f"sheet {self.sheet}"] if self.sheet else []
        columns = shorten(", ".join(self.columns), 100)
        return f"{self.path.relative_to(folder).as_posix()}: {', '.join(facts)}; columns {columns}"

    def batches(self, *, columns: Collection[str] | None = None, rows_per_batch: int = 8192) -> Iterator[RowBatch]:
        """Reads the rows from beginning to end, a batch at a time.

        TSV has no quotes: a tab always separates and a line feed always ends a row. CSV follows RFC 4180; a row with a
        misplaced quote, or with one that is never closed, is broken alone, and reading goes on at the next line; line
        ends inside quotes stay as they are, and rows may end in either of them. Blank
        lines at the end of a file are no rows; elsewhere they are broken rows (in a file of one column, empty values).
        Values of an Excel sheet are described at `textclf.reading.excel.Workbook`.

        Args:
            columns: Of a Parquet file, only these are read; the other formats are read whole anyway.
            rows_per_batch: Rows in a batch, broken ones included; fewer in the last one and where rows are so long
                that a batch would pass 32 million characters. The same file is always cut in the same way.

        Returns:
            The batches in order; none if the file has a header line and nothing else.

        Raises:
            DataError: The file turns out to be damaged, or is gone.
            StorageError: It could not be read.
        """
        return _batches(self._items(columns, rows_per_batch), rows_per_batch)

    def check_unchanged(self) -> None:
        """Makes sure that the rows read so far are those of the digest.

        Raises:
            DataError: The file is another one than when it was opened, or gone.
            StorageError: It cannot be looked at.
        """
        with reading(self.path):
            if _state(self.path.stat()) != self._state:
                raise DataError(
                    f"The file {self.path} was changed while it was being read; nothing was written.\n"
                    "Start again when the file is complete: write it under another name and rename it when it is."
                )

    def _items(self, columns: Collection[str] | None, rows_per_batch: int) -> Iterator[Item]:
        if self.format == "parquet":
            wanted = [name for name in self.columns if columns is None or name in columns]
            return parquet_rows(self.path, wanted, rows_per_batch)
        if self.format == "excel":
            return (self._workbook.pop() if self._workbook else Workbook(self.path, self.sheet)).rows()
        lines = Lines(_chunks(self.path), str(self.encoding), keep_returns=self.format == "csv")
        if self.format == "jsonl":
            return json_rows(lines)
        tsv, delimiter, names = self.format == "tsv", str(self.delimiter), list(self.columns)
        if self.options.column_names is None:
            table_columns(self.path, lines, delimiter, None, tsv=tsv)
        return tsv_rows(lines, names) if tsv else csv_rows(lines, names, delimiter)


def first_columns(path: Path, options: ReadingOptions) -> tuple[str, ...] | None:
    """Reads the names of a file's columns from its beginning, which is quick however large the file is.

    Args:
        path: A file as `DataFile.open` takes it.
        options: How it is to be read.

    Returns:
        The names; None if only the whole file can tell them (a large workbook, text in an unclear encoding).

    Raises:
        DataError: As `DataFile.open`, as far as the beginning tells.
        StorageError: The file could not be read.
    """
    with reading(path), path.open("rb") as file:
        raw = Digested(file)
        ending, head = _beginning(path, raw, options)
        format_ = TRAINING_FORMATS[ending]
        if format_ == "parquet":
            return tuple(unique_names(parquet_schema(path).names, path))
        if format_ == "excel":
            small = os.fstat(file.fileno()).st_size <= _SMALL_WORKBOOK_BYTES
            return tuple(Workbook(path, options.sheet).columns) if small else None
        # Half a character at its end must not count.
        whole = head[: head.rfind(b"\n") + 1] if len(head) == HEAD_BYTES else head
        try:
            encoding = find_encoding(path, lambda: nullcontext(io.BytesIO(whole)), whole, options.file_encoding)
        except DataError:
            return None
        with decompressed(path, raw) as stream:
            return tuple(_text_columns(path, byte_chunks(stream), encoding, ending, options)[2])


def _beginning(path: Path, raw: Digested, options: ReadingOptions) -> tuple[str, bytes]:
    """The ending of a file, which its content does not belie, and its beginning."""
    ending = inner_ending(path, raw)
    check_ending(path, ending)
    with decompressed(path, raw) as stream:
        head = stream.read(HEAD_BYTES)
    check_content(path, ending, head, options.file_encoding)
    return ending, head


def _text_columns(
    path: Path, chunks: Iterator[bytes], encoding: str, ending: str, options: ReadingOptions
) -> tuple[DataFormat, str | None, list[str]]:
    """Format, delimiter and columns of a text file."""
    format_ = TRAINING_FORMATS[ending]
    lines = Lines(chunks, encoding, keep_returns=format_ == "csv")
    if format_ == "jsonl":
        return format_, None, json_columns(lines)
    names = options.column_names
    if ending == TEXT_ENDING and is_tab_separated(lines, options.delimiter, names):
        format_ = "tsv"
    tsv = format_ == "tsv"
    delimiter = find_delimiter(path, lines, options.delimiter, names, tsv=tsv)
    return format_, delimiter, table_columns(path, lines, delimiter, names, tsv=tsv)


def _chunks(path: Path) -> Iterator[bytes]:
    with opened(path) as stream:
        yield from byte_chunks(stream)


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


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
