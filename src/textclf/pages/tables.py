"""A table on a page; the macro `table` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A header and rows of as many cells."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    """Number of text columns from the left; the others are figures."""
    marked: frozenset[int] = frozenset()
    """Positions of highlighted rows."""
