"""The typed configuration of the adaptation of an encoder to unlabelled texts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from textclf.config.data import CleaningConfig, ColumnNames, Delimiter, Encoding, Sheet
from textclf.config.schema import (
    LANGUAGE_DESCRIPTION,
    MISSED_RUNS_DESCRIPTION,
    ArchitectureConfig,
    MissedRuns,
    ModelConfig,
)
from textclf.config.sources import StrictModel
from textclf.language import Language


class UnlabelledDataConfig(StrictModel):
    """The unlabelled texts."""

    name: str = Field(
        default="reviews",
        pattern=r"^[a-z0-9][a-z0-9-]{0,63}$",
        description="Short name of the texts. The MLflow experiment and the registered encoder are "
        "`textclf-encoder-NAME`.",
    )
    files: tuple[Path, ...] = Field(
        min_length=1,
        description="Files, folders or patterns with the texts: CSV, TSV, JSON lines, Parquet, Excel or .txt; text "
        "files may be compressed (.gz, .bz2, .xz, .zst, .zip).",
    )
    held_out: tuple[Path, ...] = Field(
        default=(),
        description="Files whose texts are left out, such as the validation and test rows of the data that the encoder "
        "will be fine-tuned on: a score on texts that the encoder has read would be too good.",
    )
    text_column: str = Field(default="text", min_length=1, description="Column with the text.")
    column_names: ColumnNames = None
    file_encoding: Encoding = "auto"
    delimiter: Delimiter = "auto"
    sheet: Sheet = None
    max_rows: int = Field(
        default=1_000_000,
        ge=1,
        le=100_000_000,
        title="Maximum texts",
        description="At most this many different texts are used: the first ones, in the order of the files.",
    )
    validation_fraction: float = Field(
        default=0.01, gt=0, lt=0.5, description="Share of the texts on which the loss is measured, never trained."
    )

    @property
    def registered_name(self) -> str:
        """Name of the MLflow experiment and of the registered encoder."""
        return f"textclf-encoder-{self.name}"

    @model_validator(mode="after")
    def _check_columns(self) -> UnlabelledDataConfig:
        if self.column_names is not None and self.text_column not in self.column_names:
            raise ValueError(f"column_names lacks text_column {self.text_column!r}")
        return self


class AdaptationConfig(StrictModel):
    """Masked language modelling: words are hidden, and the encoder learns to guess them."""

    num_train_epochs: float = Field(
        default=1.0, gt=0, le=1000, title="Epochs", description="Passes over the texts, each with other words masked."
    )
    learning_rate: float = Field(
        default=5e-5,
        gt=0,
        le=1,
        description="Peak learning rate of AdamW. A new small encoder needs a far higher one, such as 2e-3.",
    )
    max_steps: int | None = Field(
        default=None, ge=1, title="Maximum steps", description="Total optimiser steps; overrides num_train_epochs."
    )
    sequence_length: int = Field(
        default=128,
        ge=16,
        le=8192,
        description="Tokens per sequence. Texts follow each other in a sequence without padding.",
    )
    per_device_train_batch_size: int = Field(
        default=32, ge=1, le=4096, title="Batch size", description="Sequences per step on each device."
    )
    gradient_accumulation_steps: int = Field(
        default=1, ge=1, le=1024, description="Batches whose gradients are accumulated per step."
    )
    masked_share: float = Field(
        default=0.2, gt=0, le=0.9, description="Share of the tokens that are masked, whole words at a time."
    )
    masked_first: tuple[str, ...] = Field(
        default=(),
        description="Words that are masked wherever they stand, such as ratings and emoticons: guessing them teaches "
        "the encoder what is good and bad.",
        examples=[["好评", "差评", "👍"]],
    )
    first_token: bool = Field(
        default=False,
        title="Guess from the first token",
        description="Let the first token of each text, which classifiers read, also guess a masked word of the text: "
        "one of masked_first, if there is one. Useful for new encoders.",
    )
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps for learning-rate warm-up.")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        default="auto", description="`auto` uses bf16 or fp16 where the hardware benefits, else fp32."
    )
    evaluations_per_epoch: int = Field(default=1, ge=1, le=100, description="Evaluations and checkpoints per epoch.")
    checkpoint_minutes: float = Field(
        default=10.0,
        gt=0,
        le=1440,
        description="Maximum minutes between checkpoints, and so the most work that a killed run loses.",
    )
    seed: int = Field(default=42, ge=0, lt=2**32, description="Seed of weights, order and masks.")


class AdaptConfig(StrictModel):
    """Everything an adaptation does."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Adapt")

    data: UnlabelledDataConfig = Field(title="Unlabelled texts", description="The texts to learn from.")
    model: ModelConfig = Field(default=ModelConfig(), description="The encoder that is adapted, or a new one.")
    adaptation: AdaptationConfig = Field(default=AdaptationConfig(), description="Masked language modelling.")
    cleaning: CleaningConfig = Field(
        default=CleaningConfig(), description="How texts are cleaned; as in the training that follows."
    )
    offline: bool = Field(default=False, description="Never connect to a hub; use only the cache and local files.")
    missed_runs: MissedRuns = Field(default="latest", description=MISSED_RUNS_DESCRIPTION)
    language: Language | None = Field(default=None, description=LANGUAGE_DESCRIPTION)

    @model_validator(mode="after")
    def _check_combinations(self) -> AdaptConfig:
        problems = []
        if not self.model.sources and self.adaptation.sequence_length > 512:
            length = self.adaptation.sequence_length
            problems.append(f"adaptation.sequence_length {length} exceeds the 512 positions of a new BERT")
        if self.model.sources and self.model.architecture != ArchitectureConfig():
            problems.append(
                "model.architecture describes a new encoder, but model.sources names one, which has a shape and a "
                "vocabulary of its own: remove one of the two"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self
