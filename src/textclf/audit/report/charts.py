"""The bars of the audit's page: how wide, how high, and which colour. The template draws them in HTML.

HTML bars keep their labels readable on a phone, where a picture would shrink together with its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textclf.config.sources import Split


@dataclass(frozen=True)
class Bar:
    """One bar."""

    series: Split
    """Selects the colour."""
    percent: float
    """Length, relative to the longest possible one."""
    text: str
    """The figure next to it, or its tooltip."""


@dataclass(frozen=True)
class BarGroup:
    """The bars of one label, one per split."""

    name: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Histogram:
    """A chart of adjacent bars; positions are in percent from the left."""

    title: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    """Positions and upper bounds of some bins."""
    line: float
    """Position of a vertical line."""
    line_text: str


_MOST_TICKS = 5


def label_bars(shares: Mapping[Split, Mapping[str, float]], labels: Sequence[str]) -> tuple[BarGroup, ...]:
    """Draws shares (0 to 1) by split: one group per label; the longest bar of all has 100 percent."""
    longest = max((shares[split].get(label, 0) for split in shares for label in labels), default=0) or 1
    return tuple(
        BarGroup(
            label,
            tuple(
                Bar(split, _rounded(by_label.get(label, 0) / longest), f"{by_label.get(label, 0):.1%}")
                for split, by_label in shares.items()
            ),
        )
        for label in labels
    )


def histogram(
    bins: Sequence[tuple[int, int]], split: Split, *, title: str, mark: float, mark_text: str, axis: str
) -> Histogram | None:
    """Lays out a histogram whose bins have equal widths on the page, whatever their bounds; None without rows.

    Args:
        bins: Upper bound (inclusive) and rows of each bin, ascending.
        split: Selects the colour.
        title: What is counted.
        mark: Position of the vertical line, in the unit of the bounds.
        mark_text: What the line means.
        axis: Name of that unit.
    """
    highest = max((rows for _, rows in bins), default=0)
    if not highest:
        return None
    bars, lower = [], 0
    for upper, rows in bins:
        bars.append(Bar(split, _rounded(rows / highest), f"{lower + 1:,}–{upper:,} {axis}: {rows:,}"))
        lower = upper
    step = -(-len(bins) // _MOST_TICKS)
    shown = range(len(bins) - 1, -1, -step)
    ticks = tuple((_rounded((index + 1) / len(bins)), f"{bins[index][0]:,}") for index in reversed(shown))
    return Histogram(title, tuple(bars), ticks, _rounded(_place(bins, mark)), mark_text)


def _place(bins: Sequence[tuple[int, int]], value: float) -> float:
    """Position of a value among bins of equal width, 0 to 1."""
    lower = 0
    for index, (upper, _) in enumerate(bins):
        if value <= upper:
            inside = (value - lower) / (upper - lower) if upper > lower else 1.0
            return (index + max(inside, 0)) / len(bins)
        lower = upper
    return 1.0


def _rounded(share: float) -> float:
    return round(share * 100, 2)
