"""What MLflow calls to load and run a logged classifier: text in; label, score and probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf.model.classifier import Classifier

if TYPE_CHECKING:
    import pandas as pd


class PyfuncClassifier:
    """A classifier behind MLflow's `python_function` interface.

    Args:
        classifier: The loaded model.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classifies the column `text`, or the pairs of `text` and `text_pair` if the model is one of pairs.

        Args:
            model_input: One row a text or pair.
            params: Not used; MLflow passes it.

        Returns:
            One row for each: `label` (its name), `score` (its probability) and `probabilities` (by label name).
        """
        import pandas as pd

        texts = [str(text) for text in model_input["text"]]
        text_pairs = [str(text) for text in model_input["text_pair"]] if self._classifier.pairs else None
        probabilities = self._classifier.predict(texts, text_pairs)
        decisions = self._classifier.head.decide(probabilities)
        return pd.DataFrame(
            {
                "label": decisions.labels,
                "score": decisions.scores.astype(float),
                "probabilities": [
                    dict(zip(self._classifier.labels, map(float, row), strict=True)) for row in probabilities
                ],
            }
        )


def _load_pyfunc(path: str) -> PyfuncClassifier:
    # MLflow's contract for a loader module.
    return PyfuncClassifier(Classifier.load(Path(path)))
