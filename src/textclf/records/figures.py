"""Figures with their uncertainty."""

from __future__ import annotations

from textclf.records.base import Record


class Interval(Record):
    """A confidence interval."""

    low: float
    high: float
    confidence: float


class PairedDifference(Record):
    """The scores of two classifiers over the same rows."""

    metric: str
    first: float
    second: float
    interval: Interval
    """Of `first - second`."""

    @property
    def difference(self) -> float:
        """How much higher the first score is."""
        return self.first - self.second
