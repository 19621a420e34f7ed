"""CSV and TSV: the columns of a table and its rows."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from textclf.data.detection import MAX_LINE_BYTES
from textclf.data.lines import Broken, Item, Line, Lines
from textclf.errors import DataError

logger = logging.getLogger(__name__)

_DELIMITER_NAMES = {",": "commas", "\t": "tabs"}
_LOOK_AHEAD_LINES = 20
# Two stray quotes far apart are valid CSV: all rows between them then belong to one value. A value of more lines than
# the first figure is looked at with suspicion; more than the second is an unclosed quote.
_LONG_RECORD_LINES = 100
_MAX_RECORD_LINES = 1000


def table_columns(path: Path, lines: Lines, delimiter: str, column_names: tuple[str, ...] | None) -> list[str]:
    """Takes the header line from the lines, unless the names are given, and returns the names of the columns.

    Args:
        path: The file that the lines come from, for messages.
        lines: All lines of the file.
        delimiter: A comma for CSV, a tab for TSV.
        column_names: The names, if the file has no header line.

    Returns:
        The names in the file's order.

    Raises:
        DataError: The header line cannot be read, names a column twice, or is there although names are given; or the
            file is separated by the other delimiter.
    """
    ahead = list(islice(lines, _LOOK_AHEAD_LINES))
    lines.give_back(ahead)
    head = ahead if column_names else ahead[:1]
    _check_delimiter(path, [text for text, _ in head], delimiter, len(column_names or ()))
    first, problem = ahead[0] if ahead else ("", None)
    if column_names is not None:
        if tuple(first.split(delimiter)) == column_names:
            raise DataError(
                f"The first line of {path} is a header line, equal to column_names.\nLeave column_names out."
            )
        return unique_names(list(column_names), path)
    if "\r" in first:
        problem = "the lines seem to end in lone carriage returns; \\n or \\r\\n was expected"
    if problem is None and not first.strip():
        problem = "it is blank"
    names: list[str] = []
    if problem is None and delimiter == "\t":
        names = next(lines)[0].split("\t")
    elif problem is None:
        try:
            names = next(csv.reader(_Record(lines), strict=True))
        except csv.Error as error:
            problem = _csv_reason(str(error))
    if problem:
        raise DataError(f"The header line of {path} cannot be read: {problem}.\nIt begins: {first[:200]!r}")
    return unique_names(names, path)


def _check_delimiter(path: Path, head: list[str], delimiter: str, columns: int) -> None:
    """Refuses a file whose first lines have only the other delimiter, in the right number where that is known."""
    other = "\t" if delimiter == "," else ","
    count = {line.count(other) + 1 for line in head}
    if any(delimiter in line for line in head) or len(count) != 1 or (columns or 2) < 2:
        return
    found = count.pop()
    if found == columns or (columns == 0 and found > 1):
        raise DataError(
            f"{path} ends in {path.suffix} but its first line is separated by {_DELIMITER_NAMES[other]}: "
            f"{head[0][:200]!r}.\nRename it to {'.tsv' if delimiter == ',' else '.csv'}."
        )


def unique_names(names: list[str], path: Path) -> list[str]:
    """Returns the names of columns as they are.

    Raises:
        DataError: A name stands there twice.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{path} has more than one column named {', '.join(map(repr, twice))}; the columns are {names}.\n"
            "Give every column a name of its own."
        )
    return names


def tsv_rows(lines: Lines, columns: list[str]) -> Iterator[Item]:
    """Reads TSV without quotes: a tab always separates.

    Args:
        lines: The lines after the header line.
        columns: Names of the columns.

    Yields:
        Every row, or why it is broken.
    """
    for line, problem in lines:
        yield Broken(problem, line) if problem else _row(line.split("\t"), columns, line)


def _row(values: list[str], columns: list[str], content: str) -> Item:
    if len(values) == len(columns):
        return dict(zip(columns, values, strict=True))
    if not content:
        return Broken("blank line", content)
    return Broken(f"wrong number of fields: expected {len(columns)}, found {len(values)}", content)


class _Record:
    """Feeds the lines of one CSV record to `csv.reader` and remembers them."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.consumed: list[Line] = []
        self._characters = 0

    def __iter__(self) -> _Record:
        return self

    def __next__(self) -> str:
        if self._characters > MAX_LINE_BYTES or len(self.consumed) >= _MAX_RECORD_LINES:
            # Ends the record: the strict reader then reports the quote as unclosed.
            raise StopIteration
        line = next(self._lines)
        self.consumed.append(line)
        self._characters += len(line[0]) + 1
        # csv.reader takes a line end inside quotes as part of the value.
        return line[0] + "\n"

    def clear(self) -> None:
        self.consumed.clear()
        self._characters = 0


def csv_rows(lines: Lines, columns: list[str]) -> Iterator[Item]:
    """Reads CSV as RFC 4180 has it; a misplaced quote breaks its own line and no other.

    A value may hold up to 999 line ends; one with more than 100 is logged, for an unclosed quote may be the cause.

    Args:
        lines: The lines after the header line.
        columns: Names of the columns.

    Yields:
        Every row, or why it is broken.
    """
    # The limit is one of the whole process; it is only ever raised, so that other threads are not disturbed.
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_LINE_BYTES))
    record = _Record(lines)
    reader = csv.reader(record, strict=True)
    while True:
        record.clear()
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Only the first line is broken; what an unclosed quote has swallowed is read again.
            (content, problem), *swallowed = record.consumed
            lines.give_back(swallowed)
            yield Broken(problem or f"not valid CSV: {_csv_reason(str(error))}", content)
            continue
        content = "\n".join(line for line, _ in record.consumed)
        if len(record.consumed) > _LONG_RECORD_LINES:
            if len(values) != len(columns):
                (content, problem), *swallowed = record.consumed
                lines.give_back(swallowed)
                yield Broken(problem or "not valid CSV: a quote is opened and not closed in its row", content)
                continue
            logger.warning(
                "A row takes %s lines, which an unclosed quote would also cause. It begins: %r",
                f"{len(record.consumed):,}",
                record.consumed[0][0][:200],
            )
        problem = next((problem for _, problem in record.consumed if problem), None)
        yield Broken(problem, content) if problem else _row(values or [""], columns, content)


def _csv_reason(message: str) -> str:
    if "unexpected end of data" in message:
        return f"a quote is opened and not closed within {_MAX_RECORD_LINES:,} lines"
    if "expected after" in message:
        return "a quote stands inside a quoted value (write it twice) or a value goes on after its closing quote"
    if "new-line character" in message:
        return "a lone carriage return stands outside quotes"
    return message
