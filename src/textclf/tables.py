"""Tables of figures for people: Markdown for a report, aligned columns for a terminal, and text of limited width."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

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


def markdown_table(rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """Writes a Markdown table.

    Args:
        rows: Cells of equal number a row; the first row is the heading. Line breaks in a cell become spaces.
        text_columns: How many columns, from the left, are aligned left; the others right.

    Returns:
        The heading, a rule and the other rows, a line each.
    """
    ruler = [":---" if column < text_columns else "---:" for column in range(len(rows[0]))]
    escaped = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [escaped[0], ruler, *escaped[1:]])


def align(rows: Sequence[Sequence[str]]) -> str:
    """Lines up the columns of a table for a terminal.

    Args:
        rows: Cells of equal number a row; the first row is the heading. The first column is aligned left, the
            others right.

    Returns:
        The heading, a rule and the other rows.
    """
    widths = [max(display_width(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [
            cell + space if column == 0 else space + cell
            for column, cell in enumerate(row)
            for space in [" " * (widths[column] - display_width(cell))]
        ]
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def spreadsheet_safe(text: str) -> str:
    """Puts an apostrophe before what a spreadsheet would take for a formula.

    Example:
        >>> spreadsheet_safe("=1+1"), spreadsheet_safe("-1.5")
        ("'=1+1", '-1.5')
    """
    if text.startswith(("=", "@", "\t", "\r")) or (text.startswith(("+", "-")) and not _NUMBER.fullmatch(text)):
        return f"'{text}"
    return text


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Cc", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
