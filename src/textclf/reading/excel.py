"""Reads a sheet of an Excel or OpenDocument workbook."""

from __future__ import annotations

import datetime
import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from textclf.errors import DataError, EmptyFileError, first_lines
from textclf.reading.column_types import EXACT_IN_FLOAT
from textclf.reading.compression import reading
from textclf.reading.delimited import unique_names
from textclf.reading.lines import Broken, Item

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

# Twice what 1,048,576 rows of 24 columns need; about 1.2 GB of memory.
_MAX_CELLS = 50_000_000
_MAX_BYTES = 2 << 30
_READ_BYTES = 1 << 20
_CELL = re.compile(rb'\br="([A-Za-z]{0,9})([0-9]{1,19})"')
_MAX_REFERENCE_BYTES = 32
_MILLIONS = re.compile(rb'[cC]ount="[0-9]{9,}"')
_HEAD_BYTES = 1 << 16
# What `zipfile` raises, also for a compression method that it does not know, or for encrypted members.
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class Workbook:
    """One sheet of a workbook (.xlsx, .xls or .ods), by default the first; its first non-empty row is the header.

    Values are text, as from CSV: integers without a fraction, booleans as `True` and `False`, dates and times in ISO
    8601, midnight as the date alone. An empty cell, and one whose formula failed, is None.

    Attributes:
        sheet: Name of the sheet.
        columns: Names of the columns, from left to right.

    Raises:
        DataError: The workbook is damaged or encrypted, the sheet is missing or empty, or a column name is missing or
            repeated.
        StorageError: The file could not be read.
    """

    def __init__(self, path: Path, sheet: str | None) -> None:
        self._path = path
        self._content = _load(path, sheet)
        self.sheet = self._content.name
        where = f"the sheet {self.sheet!r} of {path}"
        header = next(self._cells(), [])
        if not header:
            raise EmptyFileError(f"{where[0].upper()}{where[1:]} is empty: it has neither columns nor rows.")
        self.columns = ["" if value is None else str(value) for value in header]
        if not self.columns[-1]:
            self._drop_empty_columns()
        if not self.columns:
            raise DataError(
                f"No cell of {where} holds a value: all are empty or have formulas that failed.\n"
                "Open it in Excel and correct the formulas, or save their values."
            )
        if "" in self.columns:
            column = self.columns.index("") + 1
            raise DataError(
                f"The first row of {where} has no name for column {column:,} of {len(self.columns):,}: "
                f"{self.columns}.\nThe first row must be the header: name every column, and delete any title above it."
            )
        unique_names(self.columns, path)

    def rows(self) -> Iterator[Item]:
        """Yields every row below the header, broken or not; empty rows at the end are left out."""
        blank = 0
        for values in islice(self._cells(), 1, None):
            if not any(value is not None for value in values):
                blank += 1
                continue
            for _ in range(blank):
                yield Broken("blank row", "")
            blank = 0
            # Any cells beyond the columns are empty.
            yield dict(zip(self.columns, values, strict=False))

    def _cells(self) -> Iterator[list[object]]:
        if self._content.start is None:
            return
        rows = islice(self._content.iter_rows(), self._content.start[0], None)
        while True:
            try:
                cells = next(rows, None)
            except (OverflowError, ValueError) as error:
                raise DataError(
                    f"The workbook {self._path} is damaged: a cell of the sheet {self.sheet!r} holds an impossible "
                    f"value: {error}\nOpen it in Excel and correct the cell, or save it as CSV."
                ) from error
            if cells is None:
                return
            yield [_value(cell) for cell in cells]

    def _drop_empty_columns(self) -> None:
        named = max((index + 1 for index, name in enumerate(self.columns) if name), default=0)
        used = max(
            (index + 1 for cells in self._cells() for index, value in enumerate(cells) if value is not None), default=0
        )
        del self.columns[max(named, used) :]


def _load(path: Path, sheet: str | None) -> CalamineSheet:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum

    with reading(path), path.open("rb") as stream:
        try:
            if path.suffix.lower() == ".xlsx":
                _check_size(path, stream)
            with CalamineWorkbook.from_filelike(stream) as workbook:
                names = [found.name for found in workbook.sheets_metadata if found.typ == SheetTypeEnum.WorkSheet]
                if not names:
                    raise DataError(f"The workbook {path} has no sheet with cells.")
                if sheet is not None and sheet not in names:
                    raise DataError(
                        f"The workbook {path} has no sheet {sheet!r}. Its sheets:\n{first_lines(names)}\n"
                        "Name one of them, or none to use the first."
                    )
                return workbook.get_sheet_by_name(names[0] if sheet is None else sheet)
        except PasswordError as error:
            raise DataError(
                f"The workbook {path} is encrypted with a password.\nSave it without the password, or as CSV."
            ) from error
        except (CalamineError, *_ARCHIVE_ERRORS) as error:
            raise DataError(
                f"The workbook {path} is damaged: {error}\nOpen it in Excel and save it again, or save it as CSV."
            ) from error


def _check_size(path: Path, stream: BinaryIO) -> None:
    """Refuses what would not fit in memory, because the library would then end the process.

    It holds a sheet as a rectangle: one stray cell far below or to the right of the table is enough.
    """
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > _MAX_BYTES:
            raise DataError(
                f"The workbook {path} is too large: {size:,} bytes unpacked, at most {_MAX_BYTES:,} are allowed.\n"
                "Save its sheet as CSV."
            )
        for member in members:
            with archive.open(member) as content:
                if not member.filename.startswith("xl/worksheets/"):
                    # The library reserves memory for as many entries as the beginning of a list announces.
                    if _MILLIONS.search(content.read(_HEAD_BYTES)):
                        raise DataError(
                            f"The workbook {path} is damaged: {member.filename} announces too many entries."
                        )
                    continue
                rows, columns = _extent(content)
            if rows * columns > _MAX_CELLS:
                raise DataError(
                    f"A sheet of the workbook {path} ({member.filename}) is too large: its cells reach to row {rows:,} "
                    f"and column {columns:,}, which spans more than {_MAX_CELLS:,} cells.\n"
                    "Delete stray cells far below or beside the table, or save the sheet as CSV."
                )
    stream.seek(0)


def _extent(content: IO[bytes]) -> tuple[int, int]:
    """Returns the last row and the last column, from 1, in the XML of a sheet."""
    rows: set[int] = set()
    letters: set[bytes] = set()
    before = b""
    while chunk := content.read(_READ_BYTES):
        found = _CELL.findall(before + chunk)
        letters.update(letter for letter, _ in found)
        rows.add(max((int(row) for _, row in found), default=1))
        before = chunk[-_MAX_REFERENCE_BYTES:]
    columns = (reduce(lambda number, letter: 26 * number + letter - 64, name.upper(), 0) for name in letters)
    return max(rows, default=1), max(columns, default=1)


def _value(cell: object) -> object:
    if cell == "":
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) <= EXACT_IN_FLOAT:
        return str(int(cell))
    if isinstance(cell, datetime.datetime):
        return (cell.date() if cell.time() == datetime.time() else cell).isoformat()
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell)
