"""MLflow's entry point to a logged classifier: texts in; label, score and probabilities, or an error, out.

Each answer says which model and version gave it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf.config.home import Home
from textclf.errors import ConfigError
from textclf.model.classifier import Choices, Classifier
from textclf.model.rows import answer_rows

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

# MLflow's server shows no information but that of its own loggers.
logger = logging.getLogger("mlflow.textclf")

_EXAMPLE = {"text": "房间很干净，下次还会来。", "text_pair": "酒店打扫得很干净。"}
_COLUMNS = ("label", "score", "probabilities", "error")
NAME_KEY = "textclf.name"
"""Under it, the metadata of a logged model hold the name of its data set's registered model."""


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
            ColSpec(DataType.string, "model"),
            ColSpec(DataType.long, "version", required=False),
        ]
    )
    return ModelSignature(inputs=inputs, outputs=outputs), example


class PyfuncClassifier:
    """A classifier behind MLflow's `python_function` interface.

    `model` and `version` appear in each answer; the version is None if the model was not loaded by one.
    """

    def __init__(self, classifier: Classifier, model: str, version: int | None) -> None:
        self._classifier = classifier
        self._origin = {"model": model, "version": version}

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classifies the column `text`, or pairs of `text` and `text_pair` if the model classifies pairs.

        Returns:
            Per row: `label` (its name), `score` (its probability) and `probabilities` (by label name), `error`,
            `model` and `version`. For a row that batch prediction would quarantine, the first three are None and
            `error` is the reason.
        """
        import pandas as pd

        given = model_input[["text", "text_pair"] if self._classifier.pairs else ["text"]]
        # MLflow's server turns `{"inputs": {"text": ["…", "…"]}}` into one row of lists.
        if len(given) == 1 and all(isinstance(value, list) for value in given.iloc[0]):
            given = pd.DataFrame(given.iloc[0].to_dict())
        # NaN, NA and NaT become None.
        given = given.astype(object).where(given.notna(), None)
        answers = answer_rows(self._classifier, list(given.itertuples(index=False)))
        rows = [[getattr(answer, column) for column in _COLUMNS] for answer in answers]
        # As objects: a missing score would become NaN, which JSON lacks.
        answered = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
        return answered.assign(**self._origin).astype(object)


def _load_pyfunc(path: str) -> PyfuncClassifier:
    # MLflow's contract for a loader module.
    folder = Path(path)
    classifier = Classifier.load(folder, choices=_choices())
    model, version = _origin(folder.parents[1])
    logger.info(
        "%s%s answers, computed by %s. %s",
        *(model, "" if version is None else f" version {version}", classifier.engine_name),
        classifier.engine_reason or "",
    )
    return PyfuncClassifier(classifier, model, version)


def _choices() -> Choices | None:
    """Returns what jobs of this machine measured, if they share its home."""
    try:
        return Choices(Home.from_environment().engines)
    except ConfigError:
        # Serving writes nothing, and so needs no home.
        return None


def _origin(folder: Path) -> tuple[str, int | None]:
    """Returns name and version of a logged model; without a version, MLflow's id is part of the name.

    MLflow writes the registered version next to a model when it loads it by name and version, or by alias.
    """
    import yaml

    registered = folder / "registered_model_meta"
    if registered.is_file():
        found = yaml.safe_load(registered.read_text(encoding="utf-8"))
        if found["model_version"] is not None:
            return str(found["model_name"]), int(found["model_version"])
    description = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    name = (description.get("metadata") or {}).get(NAME_KEY, "textclf")
    logged_id = description.get("model_id")
    return f"{name} ({logged_id})" if logged_id else name, None
