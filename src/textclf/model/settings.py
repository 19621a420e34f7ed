"""What a model folder says about itself in `textclf.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from textclf import __version__
from textclf.config.data import CleaningConfig
from textclf.config.schema import TrainConfig
from textclf.records import Record
from textclf.store import write_text

SETTINGS_FILE = "textclf.json"

Kind = Literal["encoder", "linear", "ladder"]


class ClassifierSettings(Record):
    """What a model folder needs besides its weights."""

    textclf_version: str = __version__
    kind: Kind = "encoder"
    labels: tuple[str, ...]
    """Label names in the order of their ids."""
    max_length: int
    """Maximum tokens of an encoder's input."""
    cleaning: CleaningConfig
    temperature: float = 1.0
    """What the logits of an encoder are divided by, so that its probabilities are calibrated."""
    pairs: bool = False
    """Whether it classifies pairs of texts."""
    abstain_below: dict[str, float] = Field(default_factory=dict)
    """Scores by wanted precision, e.g. `0.95`: of texts with at least this score, so many labels are right."""

    @classmethod
    def of(cls, config: TrainConfig, labels: tuple[str, ...]) -> ClassifierSettings:
        """Returns the settings of an encoder that is trained with this configuration."""
        return cls(
            labels=labels,
            max_length=config.encoding.max_length,
            cleaning=config.cleaning,
            pairs=config.data.text_pair_column is not None,
        )

    def write(self, folder: Path) -> None:
        """Writes `textclf.json`.

        Raises:
            OSError: The disk is full or not writable.
        """
        write_text(folder / SETTINGS_FILE, json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1))


def read_settings(folder: Path) -> ClassifierSettings:
    """Reads the settings of a model folder.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged.
    """
    return ClassifierSettings.model_validate_json((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
