"""MLflow's entry point to a logged classifier: texts in; label, score and probabilities, or an error, out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf.data.cleaning import clean_texts
from textclf.model.classifier import Classifier

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

_EXAMPLE = {"text": "房间很干净，下次还会来。", "text_pair": "酒店打扫得很干净。"}
_UNANSWERED = {"label": None, "score": None, "probabilities": None}


def signature_and_example(*, pairs: bool) -> tuple[ModelSignature, pd.DataFrame]:
    """Returns the signature of a logged model and an example of its input.

    Texts are declared to be of any type: in a column of strings, MLflow's server turns null into the text "None".
    """
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, DataType, Map, Schema

    example = pd.DataFrame([_EXAMPLE], columns=["text", "text_pair"] if pairs else ["text"])
    inputs = Schema([ColSpec(AnyType(), column) for column in example.columns])
    outputs = Schema(
        [
            ColSpec(DataType.string, "label", required=False),
            ColSpec(DataType.double, "score", required=False),
            ColSpec(Map(DataType.double), "probabilities", required=False),
            ColSpec(DataType.string, "error", required=False),
        ]
    )
    return ModelSignature(inputs=inputs, outputs=outputs), example


class PyfuncClassifier:
    """A classifier behind MLflow's `python_function` interface."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classifies the column `text`, or pairs of `text` and `text_pair` if the model classifies pairs.

        Returns:
            Per row: `label` (its name), `score` (its probability) and `probabilities` (by label name). For a row that
            batch prediction would quarantine, these are None and `error` is the reason.
        """
        import pandas as pd

        given = model_input[["text", "text_pair"] if self._classifier.pairs else ["text"]]
        # MLflow's server turns `{"inputs": {"text": ["…", "…"]}}` into one row of lists.
        if len(given) == 1 and all(isinstance(value, list) for value in given.iloc[0]):
            given = pd.DataFrame(given.iloc[0].to_dict())
        # NaN, NA and NaT become None.
        given = given.astype(object).where(given.notna(), None)
        cleaned = [clean_texts(row, self._classifier.cleaning) for row in given.itertuples(index=False)]
        answers = iter(self._answers([texts for texts in cleaned if not isinstance(texts, str)]))
        rows = [{**_UNANSWERED, "error": texts} if isinstance(texts, str) else next(answers) for texts in cleaned]
        # As objects: a missing score would become NaN, which JSON lacks.
        return pd.DataFrame(rows, columns=[*_UNANSWERED, "error"], dtype=object)

    def _answers(self, texts: Sequence[tuple[str, ...]]) -> list[dict[str, object]]:
        if not texts:
            return []
        probabilities = self._classifier.predict(*map(list, zip(*texts, strict=True)))
        decisions = self._classifier.head.decide(probabilities)
        return [
            {
                "label": label,
                "score": float(score),
                "probabilities": dict(zip(self._classifier.labels, row, strict=True)),
                "error": None,
            }
            for label, score, row in zip(decisions.labels, decisions.scores, probabilities.tolist(), strict=True)
        ]


def _load_pyfunc(path: str) -> PyfuncClassifier:
    # MLflow's contract for a loader module.
    return PyfuncClassifier(Classifier.load(Path(path)))
