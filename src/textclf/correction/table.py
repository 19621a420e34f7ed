"""The table in which a person corrects labels: written for a spreadsheet, and read as a spreadsheet leaves it."""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf.correction.suspects import Suspect, Suspects
from textclf.errors import ConfigError, DataError, first_lines
from textclf.reading.data_file import iter_batches, read_columns
from textclf.store import write_output
from textclf.tables import spreadsheet_safe

if TYPE_CHECKING:
    from xlsxwriter import Workbook

ENDINGS = (".xlsx", ".csv")
CORRECT_LABEL = "correct_label"
# Columns of the table with their widths in a sheet, in characters; what they hold says `_cells`.
_WIDTHS = {
    "rank": 6,
    "split": 10,
    "source": 16,
    "row": 8,
    "id": 14,
    "text": 80,
    "text_pair": 40,
    "label": 12,
    "suggested_label": 16,
    CORRECT_LABEL: 16,
    "quality": 9,
    "mark": 10,
    "copies": 8,
    "row_digest": 20,
    "data_version": 14,
}
_NEEDED = ("source", "row", CORRECT_LABEL, "row_digest")
_REMOVALS = ("删除", "delete")
# A cell holds 32,767 characters; some programs count those beyond U+FFFF twice.
_MAX_CELL_CHARACTERS = 16_000
_ROW_DIGEST = re.compile(r"r[0-9a-f]{16}")
_TABLE_SHEET = "suspects"
_HELP_SHEET = "说明 Help"
_HELP = (
    "怎样填写",
    "每一行是一条标签可能有误的文本，最可疑的排在最前面。",
    f"请阅读 text 列。如果 label 列的标签是错的，就在 {CORRECT_LABEL} 列里选择或填写正确的标签。",
    f"如果原来的标签是对的，{CORRECT_LABEL} 列留空即可。只有填写了的行才会被修改。",
    "如果这条文本应当从数据中删去，请填写：删除",
    "mark 列：conflict 表示相同的文本有不同的标签，至少有一个标签是错的；issue 表示标签很可能是错的。",
    "copies 列：还有多少行与这一行的文本和标签都相同，修改时会一起修改。",
    "可以排序、筛选、删除行、增加列，但请不要修改 source、row 和 row_digest 列。",
    "填写完成后保存，然后运行：textclf data relabel 表格文件 数据文件",
    "",
    "How to fill it in",
    "Each row is a text whose label may be wrong, the most suspicious first.",
    "Read the column text. If the label in the column label is wrong, choose or write the right one in "
    f"{CORRECT_LABEL}.",
    f"If the label is right, leave {CORRECT_LABEL} empty. Only rows that are filled in are changed.",
    "If the text should be removed from the data, write: delete",
    "Column mark: conflict means that equal texts have different labels, so that at least one of them is wrong; issue "
    "means that the label is probably wrong.",
    "Column copies: how many other rows have the same text and the same label; they are changed too.",
    "You may sort, filter, delete rows and add columns, but leave source, row and row_digest as they are.",
    "Save the table when you are done, and run: textclf data relabel TABLE DATA",
)


@dataclass(frozen=True)
class Correction:
    """What a person decided about one row.

    Attributes:
        place: Where it stands in the table, for messages.
        source: The data file that the row stands in.
        row: Its number there, from 1.
        label: Value of the right label, as it stands in the data; None if the row is to be removed.
        row_digest: Says which text with which label was meant.
        data_version: The data version that the table was made from; empty if the table does not say it.
    """

    place: str
    source: str
    row: int
    label: str | None
    row_digest: str
    data_version: str


def write_suspects(suspects: Suspects, path: Path) -> None:
    """Writes the table to fill in.

    An `.xlsx` file has a drop-down with the label names in the column `correct_label`, and a second sheet that says
    how to fill it in. A `.csv` file is UTF-8 with a byte order mark, by which spreadsheets know Chinese. No text
    becomes a formula or a link in either.

    Args:
        suspects: What was found.
        path: A file that ends in `.xlsx` or `.csv`; an existing one is replaced. It appears whole or not at all.

    Raises:
        ConfigError: The file has another ending.
        StorageError: It cannot be written.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"The table {path} must end in {' or '.join(ENDINGS)}.")
    cells = list(_cells(suspects))
    content = _csv(cells) if path.suffix.lower() == ".csv" else _workbook(cells, suspects.labels)
    write_output(path, content)


def check_target(path: Path) -> None:
    """Makes sure that a table may be written to a place, so that nobody learns after the work that it may not.

    Raises:
        ConfigError: The file has another ending than `.xlsx` and `.csv`, or a person has begun to fill it in.
        StorageError: The file that is there cannot be read.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"The table {path} must end in {' or '.join(ENDINGS)}.")
    if path.is_file() and _is_filled_in(path):
        raise ConfigError(
            f"The table {path} is filled in, and its corrections would be lost. Apply them with `textclf data "
            "relabel`, move the file away, or name another one with --output."
        )


def _is_filled_in(path: Path) -> bool:
    try:
        return any(_text(row.get(CORRECT_LABEL)) for batch in iter_batches(path) for row in batch.rows)
    except DataError:
        # No table at all.
        return False


def read_corrections(path: Path, labels: Mapping[str, str]) -> list[Correction]:
    """Reads what a person filled in.

    Rows may have been sorted, filtered and deleted, columns moved and added, and a CSV file saved again in another
    encoding or with another delimiter. A label may be written as its name or as its value, spaces around it and
    letter case aside; the name of several values stands for the first of them. `delete` or `删除` removes the row,
    unless a label is called so. A row whose `correct_label` is empty is left out.

    Args:
        path: The table, as `.xlsx`, `.csv` or another format that is read as data.
        labels: Label names by value.

    Returns:
        The corrections, in the order of the table.

    Raises:
        DataError: The file is no such table, or cells cannot be understood; the message lists every bad row.
        StorageError: The file cannot be read.
    """
    columns = {column.strip().casefold(): column for column in read_columns(path)}
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise DataError(
            f"{path} lacks the columns {missing}; it has {list(columns.values())}.\n"
            "Give the table that `textclf data suspects` wrote; its columns may be moved, but not renamed."
        )
    read = _Reader(labels)
    corrections: list[Correction] = []
    problems: list[str] = []
    for batch in iter_batches(path):
        # The first row of a sheet is the header.
        problems += [f"row {row.number + 1:,}: {row.reason}" for row in batch.broken if row.content.strip(" ,;\t\r\n")]
        for number, row in zip(batch.numbers, batch.rows, strict=True):
            cells = {name: _text(row.get(column)) for name, column in columns.items()}
            if cells[CORRECT_LABEL]:
                try:
                    corrections.append(read.correction(f"row {number + 1:,}", cells))
                except ValueError as error:
                    problems.append(f"row {number + 1:,}: {error}")
    if problems:
        known = ", ".join(repr(name) for name in dict.fromkeys(labels.values()))
        raise DataError(
            f"{len(problems):,} rows of {path} cannot be understood:\n{first_lines(problems, limit=len(problems))}\n"
            f"Expected in {CORRECT_LABEL}: {known[:1000]}, 'delete', or nothing. Correct these rows; nothing was "
            "changed."
        )
    return corrections


class _Reader:
    """Understands what stands in the cells."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        first_values: dict[str, str] = {}
        for value, name in labels.items():
            first_values.setdefault(name, value)
        # The table shows names, so a name goes before a value.
        self._exact = {value: value for value in labels} | first_values
        self._folded: dict[str, set[str]] = {}
        for word, value in self._exact.items():
            self._folded.setdefault(_fold(word), set()).add(value)

    def correction(self, place: str, cells: Mapping[str, str]) -> Correction:
        """Reads a row.

        Raises:
            ValueError: A cell cannot be understood.
        """
        reasons = []
        label = None
        try:
            label = self._label(_unguarded(cells[CORRECT_LABEL]))
        except ValueError as error:
            reasons.append(str(error))
        if not _ROW_DIGEST.fullmatch(cells["row_digest"]):
            reasons.append(f"row_digest {cells['row_digest']!r} is damaged: expected r and 16 digits or letters a to f")
        row = cells["row"].replace(",", "")
        if not re.fullmatch(r"[1-9][0-9]*", row, re.ASCII):
            reasons.append(f"row {cells['row']!r} is no row number")
        if not cells["source"]:
            reasons.append("source is empty")
        if reasons:
            raise ValueError("; ".join(reasons))
        source = _unguarded(cells["source"])
        return Correction(place, source, int(row), label, cells["row_digest"], cells.get("data_version", ""))

    def _label(self, word: str) -> str | None:
        if word in self._exact:
            return self._exact[word]
        candidates = self._folded.get(_fold(word), set())
        if len(candidates) == 1:
            return next(iter(candidates))
        if _fold(word) in _REMOVALS:
            return None
        known = {_fold(name): name for name in (*self._labels, *self._labels.values(), *_REMOVALS)}
        close = difflib.get_close_matches(_fold(word), known, n=1, cutoff=0.3)
        raise ValueError(f"unknown label {word!r}" + (f", did you mean {known[close[0]]!r}?" if close else ""))


def _cells(suspects: Suspects) -> Iterator[list[str | int | float]]:
    """The header line and the rows."""
    with_pairs = any(suspect.text_pair is not None for suspect in suspects.suspects)
    names = [name for name in _WIDTHS if with_pairs or name != "text_pair"]
    yield list(names)
    for rank, suspect in enumerate(suspects.suspects, start=1):
        values: dict[str, str | int | float] = {
            **suspect.model_dump(exclude={"issue", "conflict", "suggested_probability"}),
            "rank": rank,
            "text_pair": suspect.text_pair or "",
            CORRECT_LABEL: "",
            "quality": round(suspect.quality, 4),
            "mark": _mark(suspect),
            "data_version": suspects.version,
        }
        yield [_cut(value) if isinstance(value, str) else value for value in (values[name] for name in names)]


def _mark(suspect: Suspect) -> str:
    if suspect.conflict:
        return "conflict"
    return "issue" if suspect.issue else ""


def _csv(cells: Sequence[Sequence[str | int | float]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerows([[spreadsheet_safe(value) if isinstance(value, str) else value for value in row] for row in cells])
    return stream.getvalue().encode("utf-8-sig")


def _workbook(cells: Sequence[Sequence[str | int | float]], labels: Sequence[str]) -> bytes:
    import xlsxwriter

    stream = io.BytesIO()
    workbook = xlsxwriter.Workbook(stream, {"in_memory": True})
    table = workbook.add_worksheet(_TABLE_SHEET)
    choices = _add_help(workbook, labels)
    formats = _formats(workbook)
    names = [str(name) for name in cells[0]]
    for column, name in enumerate(names):
        table.set_column(column, column, _WIDTHS[name], formats["text" if name.startswith("text") else "plain"])
    for number, row in enumerate(cells):
        for column, value in enumerate(row):
            style = formats["header"] if number == 0 else None
            if number and names[column] == CORRECT_LABEL:
                table.write_blank(number, column, None, formats["to_fill_in"])
            elif isinstance(value, str):
                table.write_string(number, column, value, style)
            else:
                table.write_number(number, column, value, style)
    column = names.index(CORRECT_LABEL)
    # A warning, so that a label's value is taken as well as its name.
    choice = {"validate": "list", "source": choices, "error_type": "warning", "error_title": "?"}
    table.data_validation(1, column, max(len(cells) - 1, 1), column, choice)
    table.autofilter(0, 0, len(cells) - 1, len(names) - 1)
    table.freeze_panes(1, 0)
    workbook.close()
    return stream.getvalue()


def _add_help(workbook: Workbook, labels: Sequence[str]) -> str:
    """Adds the sheet that says how to fill in the table; returns where the choices of the drop-down stand in it."""
    sheet = workbook.add_worksheet(_HELP_SHEET)
    formats = _formats(workbook)
    sheet.set_column(0, 0, 100, formats["text"])
    sheet.set_column(2, 2, 24, formats["plain"])
    for number, line in enumerate(_HELP):
        heading = number == 0 or not _HELP[number - 1]
        sheet.write_string(number, 0, line, formats["header"] if heading else formats["text"])
    sheet.write_string(0, 2, f"标签 {CORRECT_LABEL}", formats["header"])
    choices = [*labels, *_REMOVALS]
    for number, choice in enumerate(choices, start=1):
        sheet.write_string(number, 2, choice, formats["plain"])
    return f"='{_HELP_SHEET}'!$C$2:$C${len(choices) + 1}"


def _formats(workbook: Workbook) -> dict[str, Any]:
    top = {"valign": "top"}
    return {
        "plain": workbook.add_format(top),
        "text": workbook.add_format({**top, "text_wrap": True}),
        "header": workbook.add_format({**top, "bold": True, "bottom": 1, "bg_color": "#DDEBF7"}),
        "to_fill_in": workbook.add_format({**top, "bg_color": "#FFF2CC", "num_format": "@"}),
    }


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CELL_CHARACTERS else f"{text[:_MAX_CELL_CHARACTERS]}…"


def _unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and spreadsheet_safe(text[1:]) == text else text


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None or value != value else str(value).strip()


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()
