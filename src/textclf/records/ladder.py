"""Records of ladders: their thresholds, the guarantee, and what was seen on test."""

from __future__ import annotations

from collections.abc import Mapping

from textclf.records.base import Record
from textclf.records.figures import Interval, PairedDifference


class LadderRung(Record):
    """One model of a ladder."""

    name: str
    """`linear`, `student` or `encoder`."""
    threshold: float | None
    """It answers the rows whose top probability is at least this; the last rung has None and answers all."""
    share: float
    """Share of the calibration rows that it answers."""


class GuaranteedLadder(Record):
    """A ladder whose thresholds passed the tests of `textclf.evaluation.guarantee`."""

    rungs: tuple[LadderRung, ...]
    """The cheapest first; the last one is the full model."""
    disagreements: int
    """Calibration rows whose label may differ from the full model's: it does, or would with slightly other rounding."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its rungs."""
        return tuple(rung.name for rung in self.rungs)

    def texts_per_second(self, speeds: Mapping[str, float]) -> float:
        """Estimates its speed from the speed of each rung, as if long texts climbed no more often than short ones."""
        seconds, reaching = 0.0, 1.0
        for rung in self.rungs:
            seconds += reaching / speeds[rung.name]
            reaching -= rung.share
        return 1 / seconds


class LadderCalibration(Record):
    """Which ladders hold the guarantee: with confidence 1 - `error_probability`, all of them."""

    max_disagreement: float
    error_probability: float
    rows: int
    """Number of calibration rows."""
    rows_needed: int
    """With fewer rows, no ladder could pass, even without any disagreement."""
    tested: int
    """Number of ladders tested, each at its share of `error_probability`."""
    ladders: tuple[GuaranteedLadder, ...]
    """Those that hold and let a cheaper rung answer some of the rows."""


class LadderVerification(Record):
    """A ladder on rows that did not set its thresholds."""

    rows: int
    shares: dict[str, float]
    """Share of the rows that each rung answers."""
    disagreements: int
    """Number of rows whose label differs from the full model's."""
    disagreement: Interval
    """The share of such rows."""
    metrics: tuple[PairedDifference, ...]
    """Accuracy and macro F1 of the ladder (first) and the full model (second)."""
