"""Records of the adaptation of an encoder."""

from __future__ import annotations

from pathlib import Path

from textclf.config.sources import Split
from textclf.records.base import Record
from textclf.records.training import UnlabelledTexts


class CollectedTexts(Record):
    """Cleaned unlabelled texts on disk, each once: `<split>.parquet` with the column `text`."""

    digest: str
    folder: Path
    rows: dict[Split, int]
    counts: UnlabelledTexts
    cached: bool


class PackedTexts(Record):
    """Token ids of unlabelled texts in sequences of one length."""

    digest: str
    folder: Path
    """Holds the sequences, and the tokenizer in `tokenizer`."""
    vocabulary_size: int
    sequence_length: int
    sequences: dict[Split, int]
    tokens: int
    """Tokens of the training texts, without special ones."""
    words: int
    """Words of the training texts."""
    unknown_share: float
    """Share of these tokens that the vocabulary does not have."""
    cached: bool


class AdaptedEncoder(Record):
    """The folder of an encoder after masked language modelling."""

    run_id: str
    folder: Path
    loss: float
    """Validation loss of the kept checkpoint: nats per masked token."""
    masked_accuracy: float
    """Share of the masked validation tokens that it guesses."""
    loss_before: float
    """Validation loss before the first step."""
    epochs: float
    steps: int
    seconds: float
    resumed_from_step: int | None


class RegisteredEncoder(Record):
    """A version of an encoder in the model registry."""

    run_id: str
    name: str
    version: int
