"""Records of what a training makes and measures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from textclf.config.sources import Split
from textclf.records.base import Record
from textclf.records.evaluation import BehaviourCheck, Slice


class TrainedModel(Record):
    """A fine-tuned model folder."""

    run_id: str
    folder: Path
    best_metric: float
    """Validation metric of the kept checkpoint."""
    temperature: float = 1.0
    """What its logits are divided by, so that its probabilities are calibrated."""
    epochs: float
    steps: int
    seconds: float
    resumed_from_step: int | None


class UnlabelledTexts(Record):
    """The unlabelled texts that a model learns from, and what was left out of their files."""

    files: int
    read: int
    """Rows that were read."""
    kept: int
    held_out: int
    """Rows left out because a held-out row, such as those of validation and test, has the same text."""
    copies: int
    """Rows left out because earlier rows, or the labelled training rows, have the same text."""
    broken: dict[str, int]
    """Rows left out because they cannot be used, by reason."""


class DistilledModel(Record):
    """The folder of a student, and how well it learned from its teacher, the fine-tuned model."""

    run_id: str
    folder: Path
    layers: tuple[int, ...]
    """The layers of the teacher, from 0, that its layers began as."""
    teacher_layers: int
    agreement: float
    """Share of the validation rows to which it gives the teacher's label."""
    metrics: dict[str, float]
    """Validation metrics of the kept checkpoint, by name, e.g. `f1_macro`."""
    labelled_rows: int
    """Training rows."""
    unlabelled: UnlabelledTexts | None
    """None if no unlabelled texts were given."""
    epochs: float
    steps: int
    seconds: float
    resumed_from_step: int | None


class EvaluatedModel(Record):
    """The measurements of a trained model."""

    run_id: str
    metrics: dict[str, float]
    """By MLflow name, e.g. `test/f1_macro`."""
    baselines: dict[str, dict[str, float]]
    """Metrics by baseline."""
    student: dict[str, float] = Field(default_factory=dict)
    """The student's metrics, by the same names, with `agreement` with its teacher; empty if there is no student."""
    report_folder: Path
    """Contains plots, predictions and tables, as logged to MLflow."""
    engine: str
    """Runtime and precision of the predictions, e.g. `torch-bf16`."""
    precision: Literal["no", "bf16", "fp16"]
    measured_ms: int
    """Time in milliseconds since 1970: MLflow accepts one value per metric, step and time."""
    slices: tuple[Slice, ...] = ()
    """Parts of the test rows, those that are worse than the rest first."""
    behaviour: tuple[BehaviourCheck, ...] = ()
    """What the model does with changed texts and with cases."""
    probabilities: dict[Split, Path] = Field(default_factory=dict)
    """NumPy files with the probabilities of the validation and test rows: float32[rows, labels]."""
