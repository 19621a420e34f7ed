"""The typed configuration of the student."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from textclf.config.sources import StrictModel


class DistillationConfig(StrictModel):
    """A student: a copy of the fine-tuned model with fewer layers that learns to answer as the whole model does."""

    enabled: bool = Field(
        default=False,
        title="Train a student",
        description="After fine-tuning, also train a student: a smaller and faster model that learns from the "
        "fine-tuned one, its teacher.",
    )
    num_hidden_layers: int = Field(
        default=3, ge=1, le=47, title="Layers", description="Layers of the student; fewer than the teacher has."
    )
    num_train_epochs: float = Field(
        default=6.0,
        gt=0,
        le=1000,
        title="Epochs",
        description="Passes over the training rows and the unlabelled texts. What is not set here is as in `training`.",
    )
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="Peak learning rate of AdamW.")
    temperature: float = Field(
        default=2.0,
        ge=1,
        le=100,
        description="Softens the teacher's probabilities: the higher, the more the student learns from those of the "
        "labels that the teacher did not choose.",
    )
    label_weight: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of the loss that comes from the true labels; the rest comes from the teacher's answers.",
    )
    unlabelled: tuple[Path, ...] = Field(
        default=(),
        title="Unlabelled texts",
        description="Files or folders with further texts, in any format that labelled data may have, for the student "
        "to learn the teacher's answers to. The column is `data.text_column` (and `data.text_pair_column` for pairs); "
        "CSV and TSV need a header line. Texts that are also in validation or test are left out.",
    )
    unlabelled_rows: int = Field(
        default=100_000,
        ge=1,
        le=100_000_000,
        title="Maximum unlabelled texts",
        description="At most this many unlabelled texts are used: the first ones, in the order of the files.",
    )
