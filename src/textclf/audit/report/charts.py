"""The bars of the audit's page: how wide, how high, and which colour. The template draws them in HTML.

Bars of HTML keep their labels readable on a phone, where a picture would shrink with its letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textclf.config.sources import Split


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        series: The split it belongs to, which chooses its colour.
        percent: Its length, of the longest possible one.
        text: The figure beside it, or where the pointer rests on it.
    """

    series: Split
    percent: float
    text: str


@dataclass(frozen=True)
class BarGroup:
    """The bars of one label, one a split."""

    name: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Histogram:
    """Bars side by side.

    Attributes:
        title: What is counted.
        bars: From left to right.
        ticks: Upper bounds of some bins, with their place in percent from the left.
        line: Where a vertical line stands, in percent from the left.
        line_text: What the line means.
        axis: What the ticks count.
    """

    title: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    line: float
    line_text: str
    axis: str


_MOST_TICKS = 5


def label_bars(shares: Mapping[Split, Mapping[str, float]], labels: Sequence[str]) -> tuple[BarGroup, ...]:
    """Compares the splits label by label.

    Args:
        shares: Share of each label by split, 0 to 1.
        labels: Which to draw, in order.

    Returns:
        One group a label; the longest bar of all has 100 percent.
    """
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
    """Lays out a histogram with bins of equal width on the page, whatever their bounds are.

    Args:
        bins: Upper bound (inclusive) and rows of each bin, ascending.
        split: Chooses the colour.
        title: What is counted.
        mark: Where the vertical line stands, in the unit of the bounds.
        mark_text: What the line means.
        axis: The unit of the bounds, in words.

    Returns:
        The histogram; None without any row.
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
    return Histogram(title, tuple(bars), ticks, _rounded(_place(bins, mark)), mark_text, axis)


def _place(bins: Sequence[tuple[int, int]], value: float) -> float:
    """Where a value stands among bins of equal width, 0 to 1."""
    lower = 0
    for index, (upper, _) in enumerate(bins):
        if value <= upper:
            inside = (value - lower) / (upper - lower) if upper > lower else 1.0
            return (index + max(inside, 0)) / len(bins)
        lower = upper
    return 1.0


def _rounded(share: float) -> float:
    return round(share * 100, 2)
