"""A trained classifier as a folder: raw texts or pairs of texts in, probabilities out.

Evaluation, batch prediction and serving all use this class, so they cannot disagree. What kind of classifier a folder
holds is in its `textclf.json`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textclf.data.cleaning import clean_text
from textclf.errors import ConfigError, DataError, ModelError
from textclf.heads.abstaining import ABSTAIN, precision_key
from textclf.heads.single_label import SingleLabel
from textclf.model.devices import AskedPrecision
from textclf.model.settings import SETTINGS_FILE, ClassifierSettings, read_settings

if TYPE_CHECKING:
    from tqdm import tqdm


_PRECISIONS: dict[str, AskedPrecision] = {"torch-fp32": "no", "torch-bf16": "bf16", "torch-fp16": "fp16"}


@dataclass(frozen=True)
class Answers:
    """What a classifier says of some texts, in their order.

    Attributes:
        probabilities: float32[texts, labels]; each row sums to 1.
        rungs: Which of the classifier's `rungs` answered each text: int8[texts].
    """

    probabilities: NDArray[np.float32]
    rungs: NDArray[np.int8]


Sample = Callable[[ClassifierSettings], tuple[list[str], list[str] | None]]
"""Returns cleaned texts, and the second text of each if the model classifies pairs."""


@dataclass(frozen=True)
class Choices:
    """How the fastest engine is found on this machine.

    Attributes:
        folder: Keeps what was measured.
        sample: Texts to measure with; None to use only what was measured before.
    """

    folder: Path
    sample: Sample | None = None


class Classifier(ABC):
    """Classifies raw texts, or pairs of them.

    The attributes that are not listed are those of `ClassifierSettings`.

    Attributes:
        head: Turns logits into probabilities, and probabilities into decisions.
        engine_name: What computes, e.g. `torch-bf16`. Only engines of the same name agree to the last digit.
        engine_reason: Why that engine, in a sentence for people; None if there was no choice.
        rungs: The models that may answer a text, the cheapest first; only a ladder has more than one.
        expected_shares: Share of the validation rows that each rung answered; None unless it is a ladder.
    """

    engine_name: str
    engine_reason: str | None = None
    rungs: tuple[str, ...]
    expected_shares: dict[str, float] | None = None

    def __init__(self, settings: ClassifierSettings) -> None:
        self.head = SingleLabel(settings.labels)
        self.labels = settings.labels
        self.cleaning = settings.cleaning
        self.max_length = settings.max_length
        self.pairs = settings.pairs
        self.abstain_below = settings.abstain_below

    @staticmethod
    def load(
        folder: Path,
        *,
        engine: str = "auto",
        mixed_precision: AskedPrecision = "auto",
        choices: Choices | None = None,
    ) -> Classifier:
        """Loads a model folder, without network access, pickle or remote code.

        Args:
            folder: As training writes it.
            engine: `auto`, an engine or a runtime (`torch`), or exactly the `engine_name` of another classifier. A
                linear model has only one engine.
            mixed_precision: The precision of torch, unless the engine names it.
            choices: With `auto`, how the fastest engine is found; without it, an exported engine that agrees with the
                model comes first.

        Raises:
            ModelError: A file is missing or damaged, or the folder does not have the engine.
        """
        from textclf.model.linear_classifier import LinearClassifier

        try:
            settings = read_settings(folder)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"The classifier in {folder} cannot be loaded: {error}\n"
                f"Expected {SETTINGS_FILE}, as training writes it."
            ) from error
        if settings.kind == "linear":
            return LinearClassifier.open(folder, settings)
        # A linear model is also loaded where the packages of encoders are not installed.
        from textclf.model.encoder import EncoderClassifier
        from textclf.model.ladder import LadderClassifier

        if settings.kind == "ladder":
            return LadderClassifier.open(
                folder, settings, engine=engine, mixed_precision=mixed_precision, choices=choices
            )
        return EncoderClassifier.open(folder, settings, engine=engine, mixed_precision=mixed_precision, choices=choices)

    def threshold(self, min_precision: float | None) -> float:
        """Returns the score below which it abstains for a wanted precision; 0 without one.

        Raises:
            ConfigError: It has no threshold for that precision; the message lists those that it has.
        """
        if min_precision is None:
            return 0.0
        known = self.abstain_below
        if precision_key(min_precision) not in known:
            raise ConfigError(
                f"This model has no score from which {min_precision:g} of its labels are right; it has some for: "
                f"{', '.join(known) or 'no precision'}. Its validation rows were too few, or it is not good enough. "
                "Choose another min_precision; evaluation.precisions says which ones a training looks for."
            )
        if ABSTAIN in self.labels:
            raise ConfigError(f"This model has a label {ABSTAIN!r}, so it cannot abstain: rename it in data.labels.")
        return known[precision_key(min_precision)]

    @abstractmethod
    def _answer(
        self,
        texts: Sequence[str],
        text_pairs: Sequence[str] | None,
        *,
        batch_size: int,
        progress: tqdm[Any] | None,
    ) -> Answers:
        """Answers cleaned texts; see `answer`."""

    def answer(
        self,
        texts: Sequence[str],
        text_pairs: Sequence[str] | None = None,
        *,
        batch_size: int = 1024,
        progress: tqdm[Any] | None = None,
    ) -> Answers:
        """Classifies raw texts, or pairs of them.

        Args:
            texts: They are cleaned here.
            text_pairs: The second text of each for a model of pairs, else None.
            batch_size: Maximum rows per batch.
            progress: A bar that advances by one per text.

        Raises:
            DataError: Second texts are missing, not expected, or not as many as the first ones.
        """
        self._check_pairs(texts, text_pairs)
        cleaned_pairs = None if text_pairs is None else self._clean(text_pairs)
        return self._answer(self._clean(texts), cleaned_pairs, batch_size=batch_size, progress=progress)

    def predict(
        self,
        texts: Sequence[str],
        text_pairs: Sequence[str] | None = None,
        *,
        batch_size: int = 1024,
        progress: tqdm[Any] | None = None,
    ) -> NDArray[np.float32]:
        """Returns the probabilities of `answer`: float32[texts, labels]."""
        return self.answer(texts, text_pairs, batch_size=batch_size, progress=progress).probabilities

    def _check_pairs(self, texts: Sequence[str], text_pairs: Sequence[str] | None) -> None:
        if self.pairs and text_pairs is None:
            raise DataError("The model classifies pairs of texts, but no second texts were given.")
        if text_pairs is not None and not self.pairs:
            raise DataError("The model classifies single texts, but second texts were given.")
        if text_pairs is not None and len(texts) != len(text_pairs):
            raise DataError(f"Each text needs a second one: found {len(texts):,} texts and {len(text_pairs):,} second.")

    def _clean(self, texts: Sequence[str]) -> list[str]:
        rule, mask = self.cleaning.rule, self.cleaning.mask_personal_data
        return [clean_text(text, rule, mask_personal_data=mask) for text in texts]
