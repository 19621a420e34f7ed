"""The table in which a person corrects labels: written for spreadsheets, and read back after editing."""

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

from textclf.config.sources import split_name
from textclf.correction.suspects import Suspects
from textclf.errors import ConfigError, DataError, first_lines
from textclf.language import LANGUAGES, _, speaking, translated
from textclf.reading.data_file import DataFile
from textclf.store import write_output
from textclf.tables import spreadsheet_safe

if TYPE_CHECKING:
    from xlsxwriter import Workbook

ENDINGS = (".xlsx", ".csv")
CORRECT_LABEL = "correct_label"
# Columns with their widths in characters; see `_cells` for their content and `_headings` for what people read.
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
# A cell can hold 32,767 characters; some programs count those beyond U+FFFF twice.
_MAX_CELL_CHARACTERS = 16_000
_ROW_DIGEST = re.compile(r"r[0-9a-f]{16}")


@dataclass(frozen=True)
class Correction:
    """A person's decision about one row.

    Attributes:
        place: Place in the table, for messages.
        source: Data file of the row.
        row: Number in that file, from 1.
        label: Value of the right label; None removes the row.
        row_digest: As in `suspects.row_digest`.
        data_version: The data version that the table was made from; empty if unknown.
    """

    place: str
    source: str
    row: int
    label: str | None
    row_digest: str
    data_version: str


def write_suspects(suspects: Suspects, path: Path) -> None:
    """Writes the table to fill in, atomically; an existing file is replaced.

    Headings and help are in the current language. In an `.xlsx` file, the column `correct_label` offers the label names
    in a drop-down, and a second sheet explains how to fill it in. A `.csv` file is UTF-8 with a byte order mark, so
    that spreadsheets display Chinese. No text becomes a formula or a link in either.

    Raises:
        ConfigError: The path ends in neither `.xlsx` nor `.csv`.
        StorageError: The file cannot be written.
    """
    _check_ending(path)
    cells = list(_cells(suspects))
    content = _csv(cells) if path.suffix.lower() == ".csv" else _workbook(cells, suspects.labels)
    write_output(path, content)


def check_target(path: Path) -> None:
    """Makes sure, before the work begins, that a table may be written to a path.

    Raises:
        ConfigError: The path ends in neither `.xlsx` nor `.csv`, or an existing table there has been filled in.
        StorageError: The existing file cannot be read.
    """
    _check_ending(path)
    if path.is_file() and _is_filled_in(path):
        raise ConfigError(
            f"The table {path} is filled in, and its corrections would be lost. Apply them with `textclf data "
            "relabel`, move the file, or name another one with --output."
        )


def _check_ending(path: Path) -> None:
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"The table {path} must end in {' or '.join(ENDINGS)}.")


def _is_filled_in(path: Path) -> bool:
    try:
        file = DataFile.open(path)
        column = _columns(file).get(CORRECT_LABEL, CORRECT_LABEL)
        return any(_text(row.get(column)) for batch in file.batches() for row in batch.rows)
    except DataError:
        # Not a table.
        return False


def read_corrections(path: Path, labels: Mapping[str, str]) -> list[Correction]:
    """Reads the filled-in rows of a table, in order.

    Rows may have been sorted, filtered and deleted, columns moved and added, and a CSV file saved in another encoding
    or with another delimiter. A label is written as its name or its value, in any letter case; a name that several
    values share means the first of them. `delete` or `删除` removes the row, unless a label has that name.

    Args:
        path: The table, in any format that is read as data.
        labels: Label names by value.

    Raises:
        DataError: The file is not such a table, or cells are invalid; the message lists every bad row.
        StorageError: The file cannot be read.
    """
    file = DataFile.open(path)
    columns = _columns(file)
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise DataError(
            f"{path} lacks the columns {missing}; it has {list(columns.values())}.\n"
            "Pass a table of `textclf data suspects`; its columns may be moved, but not renamed."
        )
    read = _Reader(labels)
    corrections: list[Correction] = []
    problems: list[str] = []
    for batch in file.batches():
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
            f"Expected in {CORRECT_LABEL}: {known[:1000]}, 'delete' or nothing. Nothing was changed; fix these rows."
        )
    return corrections


def correct_label_heading() -> str:
    """The heading, in the current language, of the column that a person fills in."""
    return _headings()[CORRECT_LABEL]


def _headings() -> dict[str, str]:
    return {
        "rank": _("rank"),
        "split": _("split"),
        "source": _("source"),
        "row": _("row"),
        "id": "id",
        "text": _("text"),
        "text_pair": _("text_pair"),
        "label": _("label"),
        "suggested_label": _("suggested_label"),
        CORRECT_LABEL: _("correct_label"),
        "quality": _("quality"),
        "mark": _("mark"),
        "copies": _("copies"),
        "row_digest": _("row_digest"),
        "data_version": _("data_version"),
    }


def _columns(file: DataFile) -> dict[str, str]:
    """Finds the columns of a table, whatever the language of its headings."""
    names: dict[str, str] = {}
    for language in LANGUAGES:
        with speaking(language):
            names |= {heading.casefold(): name for name, heading in _headings().items()}
    folded = {column: column.strip().casefold() for column in file.columns}
    return {names.get(word, word): column for column, word in folded.items()}


def _removals() -> list[str]:
    """The words that remove a row, in every language."""
    return [translated("delete", language) for language in LANGUAGES]


def _help() -> list[str]:
    heading = _headings()
    return [
        _("How to fill it in"),
        _("Each row is a text whose label may be wrong, most suspicious first."),
        _(
            "Read the column {text}. If the column {label} is wrong, choose or type the right label in {correct_label}."
        ).format(**heading),
        _("If the label is right, leave {correct_label} empty. Only rows that you fill in are changed.").format(
            **heading
        ),
        _("To remove the text from the data, type: {word}").format(word=_("delete")),
        _(
            "The column {mark}: {conflict} means that equal texts have different labels, so at least one is wrong; "
            "{issue} means that the label is probably wrong."
        ).format(mark=heading["mark"], conflict=_("conflict"), issue=_("issue")),
        _(
            "The column {copies}: the number of other rows with the same text and label, which are changed as well."
        ).format(**heading),
        _(
            "You may sort, filter and delete rows and add columns, but do not edit {source}, {row} or {row_digest}."
        ).format(**heading),
        _("When you are done, save the table and run: textclf data relabel TABLE DATA"),
    ]


class _Reader:
    """Interprets cells."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        first_values: dict[str, str] = {}
        for value, name in labels.items():
            first_values.setdefault(name, value)
        # The table shows names, so a name takes precedence over a value.
        self._exact = {value: value for value in labels} | first_values
        self._folded: dict[str, set[str]] = {}
        for word, value in self._exact.items():
            self._folded.setdefault(_fold(word), set()).add(value)

    def correction(self, place: str, cells: Mapping[str, str]) -> Correction:
        """Reads a row.

        Raises:
            ValueError: A cell is invalid.
        """
        reasons = []
        label = None
        try:
            label = self._label(_unguarded(cells[CORRECT_LABEL]))
        except ValueError as error:
            reasons.append(str(error))
        if not _ROW_DIGEST.fullmatch(cells["row_digest"]):
            reasons.append(f"row_digest {cells['row_digest']!r} is damaged: expected r and 16 hexadecimal digits")
        row = cells["row"].replace(",", "")
        if not re.fullmatch(r"[1-9][0-9]*", row, re.ASCII):
            reasons.append(f"row {cells['row']!r} is not a row number")
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
        if _fold(word) in _removals():
            return None
        known = {_fold(name): name for name in (*self._labels, *self._labels.values(), *_removals())}
        close = difflib.get_close_matches(_fold(word), known, n=1, cutoff=0.3)
        raise ValueError(f"unknown label {word!r}" + (f", did you mean {known[close[0]]!r}?" if close else ""))


def _cells(suspects: Suspects) -> Iterator[list[str | int | float]]:
    """Yields the header and the rows."""
    with_pairs = any(suspect.text_pair is not None for suspect in suspects.suspects)
    names = [name for name in _WIDTHS if with_pairs or name != "text_pair"]
    headings = _headings()
    yield [headings[name] for name in names]
    for rank, suspect in enumerate(suspects.suspects, start=1):
        values: dict[str, str | int | float] = {
            **suspect.model_dump(exclude={"issue", "conflict", "suggested_probability"}),
            "rank": rank,
            "text_pair": suspect.text_pair or "",
            CORRECT_LABEL: "",
            "quality": round(suspect.quality, 4),
            "split": split_name(suspect.split),
            "mark": _("conflict") if suspect.conflict else _("issue") if suspect.issue else "",
            "data_version": suspects.version,
        }
        yield [_cut(value) if isinstance(value, str) else value for value in (values[name] for name in names)]


def _csv(cells: Sequence[Sequence[str | int | float]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerows([[spreadsheet_safe(value) if isinstance(value, str) else value for value in row] for row in cells])
    return stream.getvalue().encode("utf-8-sig")


def _workbook(cells: Sequence[Sequence[str | int | float]], labels: Sequence[str]) -> bytes:
    import xlsxwriter

    stream = io.BytesIO()
    workbook = xlsxwriter.Workbook(stream, {"in_memory": True})
    table = workbook.add_worksheet(_("suspects"))
    choices = _add_help(workbook, labels)
    formats = _formats(workbook)
    by_heading = {heading: name for name, heading in _headings().items()}
    names = [by_heading[str(heading)] for heading in cells[0]]
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
    # Only a warning, because a label's value is accepted as well.
    choice = {"validate": "list", "source": choices, "error_type": "warning", "error_title": "?"}
    table.data_validation(1, column, max(len(cells) - 1, 1), column, choice)
    table.autofilter(0, 0, len(cells) - 1, len(names) - 1)
    table.freeze_panes(1, 0)
    workbook.close()
    return stream.getvalue()


def _add_help(workbook: Workbook, labels: Sequence[str]) -> str:
    """Adds the sheet with the instructions; returns its range with the choices of the drop-down."""
    sheet = workbook.add_worksheet(_("Help"))
    formats = _formats(workbook)
    sheet.set_column(0, 0, 100, formats["text"])
    sheet.set_column(2, 2, 24, formats["plain"])
    for number, line in enumerate(_help()):
        sheet.write_string(number, 0, line, formats["text"] if number else formats["header"])
    sheet.write_string(0, 2, correct_label_heading(), formats["header"])
    choices = [*labels, _("delete")]
    for number, choice in enumerate(choices, start=1):
        sheet.write_string(number, 2, choice, formats["plain"])
    return f"='{sheet.name}'!$C$2:$C${len(choices) + 1}"


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
