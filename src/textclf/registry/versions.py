"""MLflow's model registry: log a model, register it, and decide whether it becomes the champion."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

import textclf
from textclf.config.home import Home
from textclf.config.schema import RegistrationConfig
from textclf.errors import ModelNotFoundError, redacted
from textclf.evaluation.measure import comparison_tags
from textclf.heads.metrics import classification_metrics
from textclf.model.classifier import Classifier, read_settings
from textclf.model.devices import AskedPrecision
from textclf.model.pyfunc import signature_and_example
from textclf.quiet import quiet_mlflow
from textclf.records import EvaluatedModel, PreparedData, RegisteredModel, TrainedModel
from textclf.tracking.runs import connect, reporting

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
# What the logged model needs beside Python; textclf's own code travels with it.
REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pydantic",
    "pydantic-settings",
    "PyYAML",
    "safetensors",
    "tokenizers",
    "torch",
    "tqdm",
    "transformers",
)
LOWER_IS_BETTER = frozenset({"log_loss"})


def register(
    trained: TrainedModel,
    evaluated: EvaluatedModel,
    prepared: PreparedData,
    *,
    name: str,
    registration: RegistrationConfig,
    home: Home,
) -> RegisteredModel:
    """Logs the model to its run, registers it as challenger, and makes it champion if it is at least as good.

    The champion is compared on the same test rows: by its recorded metric if it was measured on them, else by
    predicting them now. Called again for the same run, it goes on where it stopped.

    Args:
        trained: The model folder.
        evaluated: Its metrics.
        prepared: The data that it was measured on.
        name: Name of the registered model.
        registration: The metric that decides.
        home: Where MLflow's store is.

    Returns:
        The version and the decision with its reason.

    Raises:
        TrackingError: MLflow's store failed.
        ModelError: The champion cannot be loaded.
    """
    client = connect(home)
    version = _version_of_run(client, home, name, trained.run_id)
    if version is None:
        with reporting(home, "logging and registering the model"):
            version = _log_and_register(client, trained, name)
    with reporting(home, "setting aliases"):
        client.set_registered_model_alias(name, CHALLENGER, version.version)
    champion = find_version(client, home, name, CHAMPION)
    if champion is None:
        is_champion, reason = True, "There was no champion yet."
    elif int(champion.version) == int(version.version):
        is_champion, reason = True, str(version.tags.get("textclf.decision", "It was already the champion."))
    else:
        is_champion, reason = _compare(client, home, evaluated, champion, prepared, registration)
    reason += _better_baseline(evaluated, registration.metric)
    with reporting(home, "recording the decision"):
        client.set_model_version_tag(name, version.version, "textclf.decision", reason)
        client.set_tag(trained.run_id, "textclf.decision", reason)
        if is_champion:
            if champion is not None and champion.version != version.version:
                client.set_registered_model_alias(name, PREVIOUS, champion.version)
            client.set_registered_model_alias(name, CHAMPION, version.version)
            client.delete_registered_model_alias(name, CHALLENGER)
    logger.info(
        "Register: %s version %s is %s. %s", name, version.version, CHAMPION if is_champion else CHALLENGER, reason
    )
    return RegisteredModel(
        run_id=trained.run_id, name=name, version=int(version.version), is_champion=is_champion, reason=reason
    )


def find_version(client: MlflowClient, home: Home, name: str, alias: str) -> ModelVersion | None:
    """Resolves an alias of a registered model, or returns None if there is none.

    Raises:
        TrackingError: The store failed.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

    absent = {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)}
    with reporting(home, f"looking up {name}@{alias}"):
        try:
            return client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code in absent:
                return None
            raise


@dataclass(frozen=True)
class ChosenModel:
    """A registered version that was resolved from an alias.

    Attributes:
        name: Name of the registered model.
        version: The version behind the alias now.
        run_id: The MLflow run that made it.
        source: Its model URI.
    """

    name: str
    version: int
    run_id: str
    source: str


def choose_model(name: str, alias: str, *, home: Home) -> ChosenModel:
    """Resolves a registered model and alias to one version.

    Raises:
        ModelNotFoundError: There is none; says which models and aliases there are and how to get one.
        TrackingError: The store failed.
    """
    client = connect(home)
    found = find_version(client, home, name, alias)
    if found is None:
        with reporting(home, "listing the registered models"):
            models = {
                model.name: ", ".join(sorted(model.aliases)) or "none" for model in client.search_registered_models()
            }
        known = "; ".join(f"{model} (aliases: {aliases})" for model, aliases in models.items()) or "none"
        raise ModelNotFoundError(
            f"There is no version of the model {name} with the alias {alias} in {redacted(home.tracking_uri)}.\n"
            f"Registered models: {known}.\n"
            f"Train one with `python flows/train_flow.py`, or give an alias by hand in `mlflow ui` under Models."
        )
    return ChosenModel(
        name=name, version=int(found.version), run_id=found.run_id or "", source=f"models:/{name}/{found.version}"
    )


def load_classifier(chosen: ChosenModel, *, home: Home, mixed_precision: AskedPrecision = "auto") -> Classifier:
    """Loads a registered classifier.

    Raises:
        TrackingError: Its files cannot be fetched.
        ModelError: Its files are damaged.
    """
    import mlflow

    connect(home)
    with tempfile.TemporaryDirectory() as temporary:
        with reporting(home, f"fetching {chosen.name} version {chosen.version}"):
            # A local store answers with the folder itself, a server with a copy.
            folder = Path(mlflow.artifacts.download_artifacts(chosen.source, dst_path=temporary))
        return Classifier.load(next(folder.glob("data/*/")), mixed_precision=mixed_precision)


def _version_of_run(client: MlflowClient, home: Home, name: str, run_id: str) -> ModelVersion | None:
    with reporting(home, "looking for an earlier registration of the run"):
        versions = client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
    return versions[0] if versions else None


def _log_and_register(client: MlflowClient, trained: TrainedModel, name: str) -> ModelVersion:
    import mlflow

    signature, example = signature_and_example(pairs=read_settings(trained.folder).pairs)
    with mlflow.start_run(run_id=trained.run_id):
        info = mlflow.pyfunc.log_model(
            name="model",
            loader_module="textclf.model.pyfunc",
            data_path=str(trained.folder),
            code_paths=[str(Path(textclf.__file__).parent)],
            signature=signature,
            input_example=example,
            pip_requirements=[f"{package}=={package_version(package).split('+')[0]}" for package in REQUIREMENTS],
        )
    with quiet_mlflow():
        return mlflow.register_model(info.model_uri, name)


def _better_baseline(evaluated: EvaluatedModel, metric: str) -> str:
    """Says so if a baseline is better than the model: then its cost is for nothing."""
    name = f"test_leakfree/{metric}"
    ours = evaluated.metrics.get(name)
    lower = metric in LOWER_IS_BETTER
    scores = {baseline: found[name] for baseline, found in evaluated.baselines.items() if name in found}
    if ours is None or not scores:
        return ""
    best = min(scores, key=scores.__getitem__) if lower else max(scores, key=scores.__getitem__)
    if (scores[best] < ours) if lower else (scores[best] > ours):
        return f" Mind that the baseline {best} is better: {name} {scores[best]:.4f} against {ours:.4f}."
    return ""


def _compare(
    client: MlflowClient,
    home: Home,
    evaluated: EvaluatedModel,
    champion: ModelVersion,
    prepared: PreparedData,
    registration: RegistrationConfig,
) -> tuple[bool, str]:
    metric = registration.metric
    # Over rows that stand in the training data, a model that has learnt them by heart would win.
    rows = "test_leakfree" if f"test_leakfree/{metric}" in evaluated.metrics else "test"
    ours = evaluated.metrics[f"{rows}/{metric}"]
    theirs = _champion_metric(client, home, champion, prepared, rows, metric)
    if theirs is None:
        return False, (
            f"It stays challenger: the champion, version {champion.version}, has other labels or takes other texts and "
            "cannot be compared. Give the alias champion by hand if it should replace it."
        )
    good_enough = ours <= theirs if metric in LOWER_IS_BETTER else ours >= theirs
    relation = "at least as good as" if good_enough else "worse than"
    number = prepared.rows["test"] - (prepared.leaked["test"] if rows == "test_leakfree" else 0)
    return good_enough, (
        f"{rows} {metric} {ours:.4f} is {relation} {theirs:.4f} of version {champion.version} over the same "
        f"{number:,} rows."
    )


def _champion_metric(
    client: MlflowClient, home: Home, champion: ModelVersion, prepared: PreparedData, rows: str, metric: str
) -> float | None:
    with reporting(home, "reading the champion's metrics"):
        run = client.get_run(champion.run_id) if champion.run_id else None
    tag = f"textclf.{rows}_digest"
    digest = comparison_tags(prepared)[tag]
    if run and digest and run.data.tags.get(tag) == digest:
        recorded = run.data.metrics.get(f"{rows}/{metric}")
        if recorded is not None:
            return float(recorded)
    import pyarrow.parquet as pq

    chosen = ChosenModel(
        champion.name, int(champion.version), champion.run_id or "", f"models:/{champion.name}/{champion.version}"
    )
    classifier = load_classifier(chosen, home=home)
    path = prepared.folder / "test.parquet"
    if classifier.labels != prepared.labels or classifier.pairs != ("text_pair" in pq.read_schema(path).names):
        return None
    logger.info("Register: measuring the champion, version %s, on the new test rows.", champion.version)
    table = pq.read_table(path)
    if rows == "test_leakfree":
        table = table.filter(table["leakfree"])
    probabilities = classifier.predict(
        table["text"].to_pylist(), table["text_pair"].to_pylist() if classifier.pairs else None
    )
    return classification_metrics(table["label"].to_numpy(), probabilities, prepared.labels)[metric]
