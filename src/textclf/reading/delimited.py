"""CSV and TSV: the columns of a table and its rows."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path

from textclf.config.data import Delimiter
from textclf.errors import DataError
from textclf.reading.encoding import MAX_LINE_BYTES
from textclf.reading.lines import Broken, Item, Line, Lines

logger = logging.getLogger(__name__)

# In the order of preference where several divide the lines equally well.
_DELIMITER_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_FITTING_SHARE = 0.8
_LOOK_AHEAD_LINES = 20
_LOOK_AHEAD_CHARACTERS = 1 << 20
# Two stray quotes far apart are valid CSV: all rows between them then belong to one value. A value of more lines than
# the first figure is looked at with suspicion; more than the second is an unclosed quote.
_LONG_RECORD_LINES = 100
_MAX_RECORD_LINES = 1000


def find_delimiter(
    path: Path, lines: Lines, delimiter: Delimiter, column_names: tuple[str, ...] | None, *, tsv: bool
) -> str:
    """Finds what separates the columns of a table, or checks what is given. The lines stay where they are.

    Args:
        path: The file that the lines come from, for messages.
        lines: All lines of the file.
        delimiter: What the configuration says; `auto` looks at the first 20 lines and takes what divides them into
            the most columns of an equal number, but the comma if it does.
        column_names: The names, if the file has no header line.
        tsv: Whether the file is TSV, in which the tab separates whatever the configuration says.

    Returns:
        A comma, semicolon, vertical bar or tab; the comma for a file of one column.

    Raises:
        DataError: The delimiter is fixed, and the file is obviously separated by another one.
    """
    ahead = _look_ahead(lines)
    lines.give_back(ahead)
    head = [text.removesuffix("\r").replace("\r", " ") for text, _ in ahead]
    if delimiter == "auto" and not tsv:
        return _most_columns(head, len(column_names or ()))
    fixed = "\t" if tsv else delimiter
    checked = head if column_names else head[:1]
    found = _most_columns(checked, len(column_names or ()))
    if any(fixed in line for line in checked) or not any(found in line for line in checked):
        return fixed
    if len(column_names or (0, 0)) < 2 or (column_names and not _fits(checked, found, len(column_names))):
        return fixed
    wanted = f"ends in {path.suffix}" if tsv else f"should be separated by {_DELIMITER_NAMES[fixed]} (delimiter)"
    raise DataError(
        f"{path} {wanted} but its first line is separated by {_DELIMITER_NAMES[found]}: {checked[0][:200]!r}.\n"
        + ("Rename it to .csv." if tsv else f"Set delimiter to auto or {found!r}.")
    )


def is_tab_separated(lines: Lines, delimiter: Delimiter, column_names: tuple[str, ...] | None) -> bool:
    """Tells whether a text file whose ending does not say it is TSV. The lines stay where they are.

    Args:
        lines: All lines of the file.
        delimiter: What the configuration says; `auto` looks whether the first 20 lines have equally many tabs.
        column_names: The names, if the file has no header line.
    """
    if delimiter != "auto":
        return delimiter == "\t"
    ahead = _look_ahead(lines)
    lines.give_back(ahead)
    tabs = [text.count("\t") for text, _ in ahead if text.strip()]
    expected = len(column_names) - 1 if column_names else (tabs or [0])[0]
    return expected > 0 and tabs.count(expected) >= _FITTING_SHARE * len(tabs)


def _look_ahead(lines: Lines) -> list[Line]:
    ahead: list[Line] = []
    characters = 0
    while len(ahead) < _LOOK_AHEAD_LINES and characters < _LOOK_AHEAD_CHARACTERS and (line := next(lines, None)):
        ahead.append(line)
        characters += len(line[0])
    return ahead


def _most_columns(head: list[str], columns: int) -> str:
    """The delimiter that divides the lines best; `columns` is 0 where a header line tells their number."""
    candidates = []
    for delimiter in _DELIMITER_NAMES:
        counts = _field_counts(head, delimiter)
        expected = columns or counts[0]
        share = counts.count(expected) / len(counts)
        if expected > 1 and share > 0:
            candidates.append((share >= _FITTING_SHARE, delimiter == ",", expected, share, delimiter))
    # Where none fits, rows are damaged, and the header line alone has to tell.
    best = max(candidates, key=lambda found: found[:4] if found[0] else (False, found[3]), default=None)
    return best[-1] if best else ","


def _fits(head: list[str], delimiter: str, columns: int) -> bool:
    return set(_field_counts(head, delimiter)) == {columns}


def _field_counts(head: list[str], delimiter: str) -> list[int]:
    _raise_field_limit()
    counts = [len(values) for values in csv.reader((line + "\n" for line in head), delimiter=delimiter) if values]
    # The last record may go on after the lines that were looked at.
    return (counts[:-1] if len(counts) > 1 and len(head) >= _LOOK_AHEAD_LINES else counts) or [0]


def _raise_field_limit() -> None:
    # The limit is one of the whole process; it is only ever raised, so that other threads are not disturbed.
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_LINE_BYTES))


def table_columns(
    path: Path, lines: Lines, delimiter: str, column_names: tuple[str, ...] | None, *, tsv: bool
) -> list[str]:
    """Takes the header line from the lines, unless the names are given, and returns the names of the columns.

    Args:
        path: The file that the lines come from, for messages.
        lines: All lines of the file.
        delimiter: As `find_delimiter` returns it.
        column_names: The names, if the file has no header line.
        tsv: Whether the file is TSV, which has no quotes.

    Returns:
        The names in the file's order.

    Raises:
        DataError: The header line cannot be read, names a column twice, or is there although names are given.
    """
    ahead = list(islice(lines, 1))
    lines.give_back(ahead)
    first, problem = ahead[0] if ahead else ("", None)
    first = first.removesuffix("\r")
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
    if problem is None and tsv:
        next(lines)
        names = first.split("\t")
    elif problem is None:
        try:
            _raise_field_limit()
            names = next(csv.reader(_Record(lines), delimiter=delimiter, strict=True))
            # A configuration names a column without knowing how its file ends lines.
            names = [name.replace("\r\n", "\n") for name in names]
        except csv.Error as error:
            problem = _csv_reason(str(error))
    if problem:
        raise DataError(f"The header line of {path} cannot be read: {problem}.\nIt begins: {first[:200]!r}")
    return unique_names(names, path)


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
    while True:
        if text := lines.clean_text():
            for line in text[:-1].split("\n"):
                yield _row(line.split("\t"), columns, line)
        elif (item := next(lines, None)) is None:
            return
        else:
            line, problem = item
            yield Broken(problem, line) if problem else _row(line.split("\t"), columns, line)


def _row(values: list[str], columns: list[str], content: str) -> Item:
    if len(values) == len(columns):
        return dict(zip(columns, values, strict=True))
    content = content.removesuffix("\r")
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


def csv_rows(lines: Lines, columns: list[str], delimiter: str) -> Iterator[Item]:
    """Reads CSV as RFC 4180 has it; a misplaced quote breaks its own line and no other.

    A value may hold up to 999 line ends; one with more than 100 is logged, for an unclosed quote may be the cause.

    Args:
        lines: The lines after the header line.
        columns: Names of the columns.
        delimiter: What separates the columns.

    Yields:
        Every row, or why it is broken.
    """
    _raise_field_limit()
    record = _Record(lines)
    reader = csv.reader(record, delimiter=delimiter, strict=True)
    rest = ""
    while True:
        if text := lines.clean_text(rest):
            rest = yield from _rows_of_text(text, columns, delimiter)
            if len(rest) < len(text):
                continue
            # Its first row is suspicious.
            lines.give_back_text(rest)
        rest = ""
        record.clear()
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Only the first line is broken; what an unclosed quote has swallowed is read again.
            (content, problem), *swallowed = record.consumed
            lines.give_back(swallowed)
            yield Broken(problem or f"not valid CSV: {_csv_reason(str(error))}", content.removesuffix("\r"))
            continue
        content = "\n".join(line for line, _ in record.consumed)
        if len(record.consumed) > _LONG_RECORD_LINES:
            if len(values) != len(columns):
                (content, problem), *swallowed = record.consumed
                lines.give_back(swallowed)
                reason = problem or "not valid CSV: a quote is opened and not closed in its row"
                yield Broken(reason, content.removesuffix("\r"))
                continue
            logger.warning(
                "A row takes %s lines, which an unclosed quote would also cause. It begins: %r",
                f"{len(record.consumed):,}",
                record.consumed[0][0][:200],
            )
        problem = next((problem for _, problem in record.consumed if problem), None)
        yield Broken(problem, content.removesuffix("\r")) if problem else _row(values or [""], columns, content)


def _rows_of_text(text: str, columns: list[str], delimiter: str) -> Generator[Item, None, str]:
    """Reads rows for as long as nothing is suspicious; returns the text from the first line that was not read."""
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
    width = len(columns)
    lines: list[str] = []
    done = 0
    try:
        for values in reader:
            end = reader.line_num
            if end - done > _LONG_RECORD_LINES:
                break
            if len(values) == width:
                yield dict(zip(columns, values, strict=True))
            else:
                lines = lines or text.split("\n")
                yield _row(values or [""], columns, "\n".join(lines[done:end]))
            done = end
        else:
            return ""
    except csv.Error:
        # A quote that is not closed before the text ends, or a misplaced one.
        pass
    return text.split("\n", done)[-1]


def _csv_reason(message: str) -> str:
    if "unexpected end of data" in message:
        return f"a quote is opened and not closed within {_MAX_RECORD_LINES:,} lines"
    if "expected after" in message:
        return "a quote stands inside a quoted value (write it twice) or a value goes on after its closing quote"
    if "new-line character" in message:
        return "a lone carriage return stands outside quotes"
    return message
