"""Reads CSV, TSV, JSON lines, Parquet and Excel as a stream of row batches in which no row is lost.

A file is read once to detect what it is, and once for its rows. Each row comes with its number, in the file's order,
either as a row or as a broken row with a reason. Memory does not grow with the file: it is bounded by the rows of a
batch and 16 MiB per row. (An Excel sheet, of at most 1,048,576 rows, is held in memory.)
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
from textclf.errors import DataError, EmptyFileError
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
        number: Row number in the file, from 1; a header line does not count.
        reason: What is wrong with it; the part before a colon is the kind, by which rows are counted.
        content: The row as it is in the file; bytes that cannot be decoded appear as `\xNN`.
    """

    number: int
    reason: str
    content: str


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Consecutive rows of a file: `numbers` and the numbers of `broken` have no gap.

    Attributes:
        numbers: Row number of each of `rows`, as in `BrokenRow`.
        rows: Values by column. From CSV and TSV all values are strings; from JSON lines a row has the keys of its
            object; from Parquet and Excel every column. Strings are always valid Unicode (no lone surrogates).
        broken: The rows that could not be read.
    """

    numbers: list[int]
    rows: list[dict[str, object]]
    broken: list[BrokenRow]


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How to read data files; the fields are those of `DataConfig`."""

    file_encoding: Encoding = "auto"
    delimiter: Delimiter = "auto"
    sheet: str | None = None
    column_names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file, as found when it was opened.

    Attributes:
        path: The file.
        format: The detected format.
        compression: None if the file is not compressed.
        encoding: Character encoding; None for Parquet and Excel.
        delimiter: Column separator of CSV and TSV; None for other formats.
        sheet: Sheet of an Excel workbook; None for other formats.
        columns: Names in the file's order; for JSON lines, the keys of the first 1,000 objects.
        size_bytes: Size on disk, compressed.
        sha256: Digest of the bytes on disk.
        has_byte_order_mark: Whether the text begins with U+FEFF.
        is_empty: Whether it has neither columns nor rows of its own.
        options: How the file is read.
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
    is_empty: bool
    options: ReadingOptions
    _state: tuple[int, int, int] = field(repr=False)
    # Loaded for its columns and kept until its rows are read.
    _workbook: list[Workbook] = field(repr=False, compare=False)

    @classmethod
    def open(
        cls, path: Path, options: ReadingOptions = ReadingOptions(), *, columns_if_empty: tuple[str, ...] | None = None
    ) -> DataFile:
        """Detects what a file is, and digests it; a UTF-8 text file takes one pass.

        Args:
            path: A CSV, TSV or JSON lines file, also compressed (`data_ending` knows the endings), or a Parquet or
                Excel file. A file that ends in .txt is TSV if tabs separate its columns, else CSV.
            options: How to read it.
            columns_if_empty: If given, an empty file is read as CSV with these columns and no rows.

        Raises:
            EmptyFileError: The file is empty, and `columns_if_empty` is not given.
            DataError: The file is missing, damaged or encrypted, its content contradicts its ending or the
                options, or a column name repeats.
            StorageError: The file could not be read.
        """
        path = Path(path)
        with reading(path), path.open("rb") as file:
            state = _state(os.fstat(file.fileno()))
            raw = Digested(file)
            head = b""
            format_: DataFormat = "csv"
            encoding = delimiter = sheet = None
            workbooks = []
            is_empty = False
            try:
                ending, head = _beginning(path, raw, options)
                format_ = TRAINING_FORMATS[ending]
                if format_ == "parquet":
                    columns = unique_names(parquet_schema(path).names, path)
                elif format_ == "excel":
                    workbooks = [Workbook(path, options.sheet)]
                    sheet, columns = workbooks[0].sheet, workbooks[0].columns
                else:
                    encoding = find_encoding(path, lambda: decompressed(path, raw), head, options.file_encoding)
                    with decompressed(path, raw) as stream:
                        format_, delimiter, columns = _text_columns(
                            path, byte_chunks(stream), encoding, ending, options
                        )
            except EmptyFileError:
                if columns_if_empty is None:
                    raise
                format_, columns, is_empty = "csv", list(columns_if_empty), True
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
            is_empty=is_empty,
            options=options,
            _state=state,
            _workbook=workbooks,
        )
        found.check_unchanged()
        return found

    def summary(self, folder: Path) -> str:
        """Describes in one line how the file is read; its path is shown relative to `folder`."""
        separators = {",": "commas", ";": "semicolons", "|": "vertical bars", "\t": "tabs"}
        facts = [{"jsonl": "JSON lines", "parquet": "Parquet", "excel": "Excel"}.get(self.format, self.format.upper())]
        facts += [f"compressed with {self.compression}"] if self.compression else []
        facts += [f"encoding {self.encoding}"] if self.encoding else []
        facts += [f"separated by {separators[self.delimiter]}"] if self.delimiter else []
        facts += [f"sheet {self.sheet}"] if self.sheet else []
        columns = shorten(", ".join(self.columns), 100)
        return f"{self.path.relative_to(folder).as_posix()}: {', '.join(facts)}; columns {columns}"

    def batches(self, *, columns: Collection[str] | None = None, rows_per_batch: int = 8192) -> Iterator[RowBatch]:
        r"""Reads the rows in order, in batches; none if the file is empty or has only a header line.

        TSV has no quotes: a tab always separates and a line feed always ends a row. CSV follows RFC 4180, with lines
        that end in `\n` or `\r\n`; a misplaced or unclosed quote breaks only its own line. Blank lines at the end of
        a file are ignored; elsewhere they are broken rows (in a file of one column, empty values). For the values of
        an Excel sheet, see `textclf.reading.excel.Workbook`.

        Args:
            columns: The columns to read from a Parquet file; from other formats, all are read.
            rows_per_batch: Rows per batch, broken ones included; fewer in the last one, and in one that reaches 32
                million characters. The same file is always divided in the same way.

        Raises:
            DataError: The file is damaged or gone.
            StorageError: It could not be read.
        """
        return _batches(self._items(columns, rows_per_batch), rows_per_batch)

    def check_unchanged(self) -> None:
        """Checks that the file is still the one that was opened and digested.

        Raises:
            DataError: The file was changed or is gone.
            StorageError: It cannot be accessed.
        """
        with reading(self.path):
            if _state(self.path.stat()) != self._state:
                raise DataError(
                    f"The file {self.path} was changed while it was being read; nothing was written.\n"
                    "Start again when the file is complete; write it under another name and rename it when it is done."
                )

    def _items(self, columns: Collection[str] | None, rows_per_batch: int) -> Iterator[Item]:
        if self.is_empty:
            return iter(())
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
    """Reads a file's column names from its beginning, which is quick however large the file is.

    Returns:
        The names; None if the beginning does not tell (a large workbook, text in an unclear encoding).

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
        # The head may end within a character.
        whole = head[: head.rfind(b"\n") + 1] if len(head) == HEAD_BYTES else head
        try:
            encoding = find_encoding(path, lambda: nullcontext(io.BytesIO(whole)), whole, options.file_encoding)
        except DataError:
            return None
        with decompressed(path, raw) as stream:
            return tuple(_text_columns(path, byte_chunks(stream), encoding, ending, options)[2])


def _beginning(path: Path, raw: Digested, options: ReadingOptions) -> tuple[str, bytes]:
    """Returns the ending, checked against the content, and the beginning of a file."""
    ending = inner_ending(path, raw)
    check_ending(path, ending)
    with decompressed(path, raw) as stream:
        head = stream.read(HEAD_BYTES)
    check_content(path, ending, head, options.file_encoding)
    return ending, head


def _text_columns(
    path: Path, chunks: Iterator[bytes], encoding: str, ending: str, options: ReadingOptions
) -> tuple[DataFormat, str | None, list[str]]:
    """Returns format, delimiter and columns of a text file."""
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
