"""Records of exported engines: how well they agree, how fast they are, which one computes."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from textclf.config.sources import Split
from textclf.records.base import Record
from textclf.records.figures import Interval, PairedDifference


class EngineChoice(Record):
    """What computes the predictions of a run."""

    name: str
    """Runtime and precision, e.g. `openvino-int8`; of a classifier without an engine, its kind."""
    reason: str
    """Why, in a sentence for people."""


class Agreement(Record):
    """How well two engines agree over the rows of a split."""

    rows: int
    equal: int
    """Rows to which both give the same label."""
    interval: Interval
    """Of the share of such rows."""
    largest: float
    """Largest difference between two probabilities of the same label."""
    mean: float
    """Mean difference between them."""


class ParityReport(Record):
    """How well an exported engine agrees with the model it was made from: the content of its `parity.json`.

    Without figures if it could not be measured.
    """

    engine: str
    passed: bool
    reason: str
    """Why it may be used, or not."""
    reference: str | None = None
    """What computed the model's own probabilities, e.g. `torch-bf16`."""
    min_agreement: float | None = None
    """Smallest share of equal labels, over all rows, with which an engine passes."""
    margin: float | None = None
    """How much worse its metric may be over the deciding rows."""
    agreement: dict[Split, Agreement] = Field(default_factory=dict)
    metrics: dict[Literal["test", "test_leakfree"], PairedDifference] = Field(default_factory=dict)
    """The metric of the engine (first) and of the model (second); the last rows decide."""
    seconds: float = 0.0
    """How long measuring it took."""
    textclf_version: str | None = None
    runtime_version: str | None = None

    @property
    def rows(self) -> int:
        """Number of validation and test rows."""
        return sum(split.rows for split in self.agreement.values())

    @property
    def equal(self) -> int:
        """Number of those rows to which the engine gives the model's label."""
        return sum(split.equal for split in self.agreement.values())


class ExportedEngine(Record):
    """What became of the export of one engine."""

    model: Literal["encoder", "student"]
    name: str
    """The engine, e.g. `openvino-int8`."""
    parity: ParityReport | None
    """None if there is no engine."""
    problem: str | None = None
    """Why there is no engine, or why it could not be compared with its model."""
    calibration_rows: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    """How long the export took."""

    @property
    def is_used(self) -> bool:
        """Whether predictions may use it."""
        return self.parity is not None and self.parity.passed


class ExportedEngines(Record):
    """The engines that a training exported, one for each of its encoders."""

    run_id: str
    engines: tuple[ExportedEngine, ...]


class MeasuredEngines(Record):
    """Which engine is the fastest on a machine."""

    machine: dict[str, str]
    """What the speeds depend on: processor, cores, instructions, versions, precision."""
    engines: tuple[str, ...]
    """Digests of the files that the engines compute with."""
    texts_per_second: dict[str, float]
    """By engine, with texts of the first job."""
    texts: int
    """How many different texts they were measured with."""
    measured_at: datetime

    @property
    def fastest(self) -> str:
        """The engine that predicts the most texts a second."""
        return max(self.texts_per_second, key=lambda name: self.texts_per_second[name])
