"""A linear model as a classifier: it needs neither torch nor scikit-learn to predict.

Its folder holds `textclf.json`, `linear.json` and `linear.safetensors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textclf.errors import ModelError
from textclf.model.classifier import Answers, Classifier
from textclf.model.linear import LinearModel
from textclf.model.settings import ClassifierSettings

if TYPE_CHECKING:
    from tqdm import tqdm

# Between two steps of the progress bar: a fraction of a second.
_TEXTS_PER_STEP = 8192


def save_linear_classifier(folder: Path, model: LinearModel, settings: ClassifierSettings) -> None:
    """Writes a model folder for `Classifier.load`; its settings are those given, with the kind `linear`.

    Raises:
        OSError: The disk is full or not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    settings.model_copy(update={"kind": "linear"}).write(folder)


class LinearClassifier(Classifier):
    """TF-IDF and logistic regression.

    Attributes:
        model: The fitted model.
    """

    engine_name = "linear"
    rungs = ("linear",)

    def __init__(self, model: LinearModel, settings: ClassifierSettings) -> None:
        super().__init__(settings)
        self.model = model

    @classmethod
    def open(cls, folder: Path, settings: ClassifierSettings) -> LinearClassifier:
        """Loads a folder that `save_linear_classifier` wrote.

        Raises:
            ModelError: A file is missing or damaged, or the weights are for other labels.
        """
        model = LinearModel.load(folder)
        if model.num_labels != len(settings.labels):
            raise ModelError(
                f"The linear model in {folder} was fitted for {model.num_labels:,} labels, but the folder names "
                f"{len(settings.labels):,}: its files are of different models.\nRestore the folder, or train again."
            )
        return cls(model, settings)

    def _answer(
        self,
        texts: Sequence[str],
        text_pairs: Sequence[str] | None,
        *,
        batch_size: int,
        progress: tqdm[Any] | None,
    ) -> Answers:
        """Answers in batches of its own; `batch_size` has no effect."""
        probabilities: NDArray[np.float32] = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_PER_STEP):
            step = slice(start, start + _TEXTS_PER_STEP)
            found = self.model.probabilities(texts[step], None if text_pairs is None else text_pairs[step])
            probabilities[step] = found
            if progress is not None:
                progress.update(len(found))
        return Answers(probabilities, np.zeros(len(texts), dtype=np.int8))
