"""Reads CSV and TSV: the columns of a table and its rows."""

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

# In order of preference, if several divide the lines equally well.
_DELIMITER_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_FITTING_SHARE = 0.8
_LOOK_AHEAD_LINES = 20
_LOOK_AHEAD_CHARACTERS = 1 << 20
# Two stray quotes far apart are valid CSV that makes the rows between them one value. A value of more lines than the
# first bound is suspicious; one of more than the second is an unclosed quote.
_LONG_RECORD_LINES = 100
_MAX_RECORD_LINES = 1000


def find_delimiter(
    path: Path, lines: Lines, delimiter: Delimiter, column_names: tuple[str, ...] | None, *, tsv: bool
) -> str:
    """Detects the delimiter of a table, or checks the given one. The lines are not consumed.

    `auto` looks at the first 20 lines: it chooses the comma if it divides them evenly, else the delimiter that divides
    them evenly into the most columns, and the comma for a single column.

    Args:
        path: The file, for messages.
        lines: All lines of the file.
        delimiter: The configured delimiter.
        column_names: The names, if the file has no header line.
        tsv: Whether the file is TSV, which is always separated by tabs.

    Raises:
        DataError: The delimiter is fixed, and the file obviously has another one.
    """
    head = [text.removesuffix("\r").replace("\r", " ") for text in _look_ahead(lines)]
    columns = len(column_names or ())
    if delimiter == "auto" and not tsv:
        return _most_columns(head, columns)
    fixed = "\t" if tsv else delimiter
    checked = head if column_names else head[:1]
    found = _most_columns(checked, columns)
    if any(fixed in line for line in checked) or not any(found in line for line in checked):
        return fixed
    if column_names and (columns < 2 or set(_field_counts(checked, found)) != {columns}):
        return fixed
    wanted = f"ends in {path.suffix}" if tsv else f"should be separated by {_DELIMITER_NAMES[fixed]} (delimiter)"
    raise DataError(
        f"{path} {wanted} but its first line is separated by {_DELIMITER_NAMES[found]}: {checked[0][:200]!r}.\n"
        + ("Rename it to .csv." if tsv else f"Set delimiter to auto or {found!r}.")
    )


def is_tab_separated(lines: Lines, delimiter: Delimiter, column_names: tuple[str, ...] | None) -> bool:
    """Returns whether a text file is TSV; the lines are not consumed. Parameters as in `find_delimiter`.

    With `auto` it is TSV if most of the first 20 lines have the same number of tabs.
    """
    if delimiter != "auto":
        return delimiter == "\t"
    tabs = [text.count("\t") for text in _look_ahead(lines) if text.strip()]
    expected = len(column_names) - 1 if column_names else (tabs or [0])[0]
    return expected > 0 and tabs.count(expected) >= _FITTING_SHARE * len(tabs)


def _look_ahead(lines: Lines) -> list[str]:
    ahead: list[Line] = []
    characters = 0
    while len(ahead) < _LOOK_AHEAD_LINES and characters < _LOOK_AHEAD_CHARACTERS and (line := next(lines, None)):
        ahead.append(line)
        characters += len(line[0])
    lines.give_back(ahead)
    return [text for text, _ in ahead]


def _most_columns(head: list[str], columns: int) -> str:
    """Returns the delimiter that divides the lines best; `columns` is 0 if a header line tells their number."""
    candidates = []
    for delimiter in _DELIMITER_NAMES:
        counts = _field_counts(head, delimiter)
        expected = columns or counts[0]
        share = counts.count(expected) / len(counts)
        if expected > 1 and share > 0:
            candidates.append((share >= _FITTING_SHARE, delimiter == ",", expected, share, delimiter))
    # If none fits, rows are damaged, and only the header line can tell.
    best = max(candidates, key=lambda found: found[:4] if found[0] else (False, found[3]), default=None)
    return best[-1] if best else ","


def _field_counts(head: list[str], delimiter: str) -> list[int]:
    _raise_field_limit()
    counts = [len(values) for values in csv.reader((line + "\n" for line in head), delimiter=delimiter) if values]
    # The last record may continue after these lines.
    return (counts[:-1] if len(counts) > 1 and len(head) >= _LOOK_AHEAD_LINES else counts) or [0]


def _raise_field_limit() -> None:
    # The limit is global; it is only ever raised, so as not to disturb other threads.
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_LINE_BYTES))


def table_columns(
    path: Path, lines: Lines, delimiter: str, column_names: tuple[str, ...] | None, *, tsv: bool
) -> list[str]:
    """Consumes the header line, unless the names are given, and returns the column names in the file's order.

    The parameters are those of `find_delimiter`, with the delimiter that it returns.

    Raises:
        DataError: The header line cannot be read, repeats a name, or exists although names are given.
    """
    ahead = list(islice(lines, 1))
    lines.give_back(ahead)
    first, problem = ahead[0] if ahead else ("", None)
    first = first.removesuffix("\r")
    if column_names is not None:
        if tuple(first.split(delimiter)) == column_names:
            raise DataError(f"The first line of {path} is a header line, equal to column_names.\nRemove column_names.")
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
            # A configuration names a column regardless of how its file ends lines.
            names = [name.replace("\r\n", "\n") for name in names]
        except csv.Error as error:
            problem = _csv_reason(str(error))
    if problem:
        raise DataError(f"The header line of {path} cannot be read: {problem}.\nIt begins: {first[:200]!r}")
    return unique_names(names, path)


def unique_names(names: list[str], path: Path) -> list[str]:
    """Returns the names unchanged.

    Raises:
        DataError: A name repeats.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{path} has more than one column named {', '.join(map(repr, twice))}; the columns are {names}.\n"
            "Give every column a different name."
        )
    return names


def tsv_rows(lines: Lines, columns: list[str]) -> Iterator[Item]:
    """Yields every row of TSV without quotes, broken or not, from the lines after the header."""
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
    """Feeds the lines of one CSV record to `csv.reader` and keeps them."""

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
        return line[0] + "\n"

    def clear(self) -> None:
        self.consumed.clear()
        self._characters = 0


def csv_rows(lines: Lines, columns: list[str], delimiter: str) -> Iterator[Item]:
    """Yields every row of CSV (RFC 4180), broken or not, from the lines after the header.

    A misplaced quote breaks only its own line. A value may hold up to 999 line ends; a row of more than 100 lines is
    logged, because an unclosed quote may be the cause.
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
            # The first row is suspicious.
            lines.give_back_text(rest)
        rest, reason = "", None
        record.clear()
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = _csv_reason(str(error))
        is_long = len(record.consumed) > _LONG_RECORD_LINES
        if not reason and is_long and len(values) != len(columns):
            reason = "a quote is opened and not closed in its row"
        if reason:
            # Only the first line is broken; what an unclosed quote has swallowed is read again.
            (content, problem), *swallowed = record.consumed
            lines.give_back(swallowed)
            yield Broken(problem or f"not valid CSV: {reason}", content.removesuffix("\r"))
            continue
        if is_long:
            logger.warning(
                "A row has %s lines, perhaps because of an unclosed quote. It begins: %r",
                f"{len(record.consumed):,}",
                record.consumed[0][0][:200],
            )
        content = "\n".join(line for line, _ in record.consumed)
        problem = next((problem for _, problem in record.consumed if problem), None)
        yield Broken(problem, content.removesuffix("\r")) if problem else _row(values or [""], columns, content)


def _rows_of_text(text: str, columns: list[str], delimiter: str) -> Generator[Item, None, str]:
    """Yields rows until one is suspicious, and returns the text from there on."""
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
        # A quote is misplaced, or not closed before the text ends.
        pass
    return text.split("\n", done)[-1]


def _csv_reason(message: str) -> str:
    if "unexpected end of data" in message:
        return f"a quote is opened and not closed within {_MAX_RECORD_LINES:,} lines"
    if "expected after" in message:
        return "a quote inside a quoted value (double it), or text after a closing quote"
    if "new-line character" in message:
        return "a lone carriage return outside quotes"
    return message
