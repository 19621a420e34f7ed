"""Tables of figures for people: Markdown for a report, aligned columns for a terminal, and text of limited width."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_MARKS = re.compile(r"[\\`*_\[\]#|<>&~]")
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*")


def display_width(text: str) -> int:
    """Counts the columns that a text takes in a terminal: two for a Chinese character, one for a Latin letter.

    Example:
        >>> display_width("F1 正面")
        7
    """
    return sum(_columns(character) for character in text)


def shorten(text: str, width: int) -> str:
    """Cuts a text that takes more than some columns, and ends it with `…`.

    Args:
        text: One line.
        width: In columns of a terminal, at least 1.

    Returns:
        The text itself if it fits.

    Example:
        >>> shorten("农业与乡村振兴", 9)
        '农业与乡…'
    """
    if display_width(text) <= width:
        return text
    kept, columns = "", 1
    for character in text:
        columns += _columns(character)
        if columns > width:
            break
        kept += character
    return kept.rstrip() + "…"


def one_line(text: str) -> str:
    """Makes a name safe for a line of a terminal or a table: no line breaks, no control characters."""
    return "".join(character if character.isprintable() else "\ufffd" for character in " ".join(text.split()))


def markdown_text(text: str) -> str:
    """Makes a name that the data brought show as it is in Markdown, on one line: it is neither Markdown nor HTML.

    Example:
        >>> markdown_text("<b> | [x]")
        '&#60;b&#62; &#124; &#91;x&#93;'
    """
    return _MARKS.sub(lambda match: f"&#{ord(match[0])};", one_line(text))


def spreadsheet_safe(text: str) -> str:
    """Puts an apostrophe before what a spreadsheet that opens a CSV file would take for a formula.

    Example:
        >>> spreadsheet_safe("=HYPERLINK(A1)"), spreadsheet_safe("-1.5")
        ("'=HYPERLINK(A1)", '-1.5')
    """
    if text.startswith(("=", "@", "\t", "\r")) or (text.startswith(("+", "-")) and not _NUMBER.fullmatch(text)):
        return f"'{text}"
    return text


def markdown_table(rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """Writes a Markdown table of plain text: marks of Markdown and HTML in a cell show as they are.

    Args:
        rows: Cells of equal number a row; the first row is the heading. Line breaks in a cell become spaces.
        text_columns: How many columns, from the left, are aligned left; the others right.

    Returns:
        The heading, a rule and the other rows, a line each.
    """
    ruler = [":---" if column < text_columns else "---:" for column in range(len(rows[0]))]
    escaped = [[markdown_text(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [escaped[0], ruler, *escaped[1:]])


def align(rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """Lines up the columns of a table for a terminal.

    Args:
        rows: Cells of equal number a row; the first row is the heading.
        text_columns: How many columns, from the left, are aligned left; the others right.

    Returns:
        The heading, a rule and the other rows.
    """
    widths = [max(display_width(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [
            cell + space if column < text_columns else space + cell
            for column, cell in enumerate(row)
            for space in [" " * (widths[column] - display_width(cell))]
        ]
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Cc", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
