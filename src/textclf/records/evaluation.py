"""Records of what an evaluation found beyond the metrics: slices and behaviour."""

from __future__ import annotations

from typing import Literal

from textclf.records.base import Record
from textclf.records.figures import Interval


class Slice(Record):
    """A part of the test rows."""

    name: str
    rows: int
    accuracy: float | None
    """None without rows."""
    interval: Interval | None
    """Of the accuracy, 95 %, exact."""
    worse: bool
    """Whether it is worse than the other rows by more than chance."""


class BehaviourFailure(Record):
    """A text that did not behave as expected."""

    text: str
    variant: str | None
    """What the text was changed to; None where the text itself was to get a label."""
    expected: str
    """The label expected; of a variant, that of the text."""
    found: str
    score: float


class BehaviourCheck(Record):
    """What one kind of change, or one group of texts, does to the labels."""

    name: str
    kind: Literal["invariance", "cases"]
    """`invariance`: a change that must not change the label. `cases`: texts with the label that they must get."""
    count: int
    passed: int
    interval: Interval
    """Of the share that passed, 95 %, exact."""
    failures: tuple[BehaviourFailure, ...]
    """The surest first, at most 50."""

    @property
    def rate(self) -> float:
        """The share that passed."""
        return self.passed / self.count
