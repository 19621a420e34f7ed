"""Formats tables, as Markdown for a report or aligned for a terminal, and text of limited width."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_MARKS = re.compile(r"[\\`*_\[\]#|<>&~]")
_OPENING, _CLOSING = "（《〈“‘「『【", "，。；：、！？）》〉”’」』】…"
# What a line of text may be broken after: a Chinese character or a word, with the punctuation around it.
_PIECE = re.compile(rf"[{_OPENING}]*(?:[\u2e80-\u9fff]|[^\s\u2e80-\u9fff{_OPENING}]+)[{_CLOSING}]*\s*|.", re.DOTALL)
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*")


def display_width(text: str) -> int:
    """Counts the terminal columns of a text: two for a Chinese character, one for a Latin letter.

    Example:
        >>> display_width("F1 正面")
        7
    """
    return sum(_columns(character) for character in text)


def shorten(text: str, width: int) -> str:
    """Cuts a line that is wider than `width` terminal columns (at least 1), and ends it with `…`.

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


def wrap(text: str, width: int) -> list[str]:
    """Breaks a line into lines of at most `width` terminal columns, between words or Chinese characters.

    Example:
        >>> wrap("验证集的宏平均 F1，越高越好。", 12)
        ['验证集的宏平', '均 F1，越高', '越好。']
    """
    lines = [""]
    for piece in _PIECE.findall(text):
        if lines[-1] and display_width(lines[-1] + piece.rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += piece
    return [*lines[:-1], lines[-1].rstrip()]


def one_line(text: str) -> str:
    """Removes line breaks and control characters, for a line of a terminal or a table."""
    return "".join(character if character.isprintable() else "\ufffd" for character in " ".join(text.split()))


def markdown_text(text: str) -> str:
    """Escapes a name from the data, so that Markdown shows it literally and on one line.

    Example:
        >>> markdown_text("<b> | [x]")
        '&#60;b&#62; &#124; &#91;x&#93;'
    """
    return _MARKS.sub(lambda match: f"&#{ord(match[0])};", one_line(text))


def spreadsheet_safe(text: str) -> str:
    """Puts an apostrophe before text that a spreadsheet would read from a CSV file as a formula.

    Example:
        >>> spreadsheet_safe("=HYPERLINK(A1)"), spreadsheet_safe("-1.5")
        ("'=HYPERLINK(A1)", '-1.5')
    """
    # Excel also accepts the full-width signs of Chinese keyboards (OWASP, "CSV injection").
    if text.startswith(("=", "@", "\t", "\r", "\n", "＝", "＠", "＋", "－")):
        return f"'{text}"
    if text.startswith(("+", "-")) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def markdown_table(rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """Formats a Markdown table of plain text, in which cells show literally.

    Args:
        rows: The same number of cells per row; the first row is the heading. Line breaks in a cell become spaces.
        text_columns: Number of columns, from the left, that are aligned left; the others are aligned right.
    """
    ruler = [":---" if column < text_columns else "---:" for column in range(len(rows[0]))]
    escaped = [[markdown_text(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [escaped[0], ruler, *escaped[1:]])


def align(rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """Aligns the columns of a table for a terminal; the arguments are those of `markdown_table`."""
    widths = [max(display_width(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [pad(row, widths, text_columns=text_columns) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def pad(row: Sequence[str], widths: Sequence[int], *, text_columns: int = 1) -> str:
    """Aligns the cells of one line to given widths, in terminal columns; a wider cell moves what follows it."""
    padded = [
        cell + space if column < text_columns else space + cell
        for column, cell in enumerate(row)
        for space in [" " * (widths[column] - display_width(cell))]
    ]
    return "  ".join(padded).rstrip()


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Cc", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def speed_text(per_second: float) -> str:
    """Formats a speed with the digits that mean something.

    Example:
        >>> speed_text(1234.5), speed_text(6.25)
        ('1,234', '6.2')
    """
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"
