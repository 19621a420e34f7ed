"""What `textclf status` and `textclf doctor` find, each with what to do about it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Literal

from textclf.language import _
from textclf.records import Record
from textclf.tables import display_width, one_line, shorten, wrap

Level = Literal["ok", "warning", "problem"]
_SYMBOLS: dict[Level, str] = {"ok": "✓", "warning": "!", "problem": "✗"}
MAX_WIDTH = 120


class Finding(Record):
    """One thing that was looked at."""

    key: str
    """A stable name, for programs, for example `disk` or `predict/local`."""
    level: Level
    text: str
    """What was found."""
    advice: str | None = None
    """What to do; None if there is nothing to do."""


def terminal_width() -> int:
    """Returns how wide lines may be, in terminal columns."""
    return min(shutil.get_terminal_size().columns, MAX_WIDTH)


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Formats findings for a terminal: what was found after a symbol, and what to do below it."""
    lines = []
    for finding in findings:
        lines += wrapped(one_line(finding.text), first=f"  {_SYMBOLS[finding.level]} ", rest="    ")
        if finding.advice:
            lines += wrapped(finding.advice, first="    → ", rest="      ")
    return lines


def wrapped(text: str, *, first: str, rest: str) -> list[str]:
    """Breaks a text into lines of the terminal's width; `first` and `rest`, of the same width, stand before them."""
    lines = wrap(text, terminal_width() - display_width(first))
    return [first + lines[0], *(rest + line for line in lines[1:])]


def paragraph(text: str) -> str:
    """Breaks a text into lines of the terminal's width."""
    return "\n".join(wrapped(text, first="", rest=""))


def cut(text: str) -> str:
    """Cuts a line that is wider than the terminal."""
    return shorten(text, terminal_width())


def worst(findings: Iterable[Finding]) -> Level:
    """Returns the worst level of all."""
    levels = {finding.level for finding in findings}
    return "problem" if "problem" in levels else "warning" if "warning" in levels else "ok"


def closing(findings: Iterable[Finding]) -> str:
    """Says in one line how bad it is."""
    match worst(findings):
        case "problem":
            return _("There are problems; they come first above.")
        case "warning":
            return _("Nothing is broken; see the warnings above.")
        case "ok":
            return _("Everything is fine.")
