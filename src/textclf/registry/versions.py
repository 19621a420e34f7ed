"""Versions in MLflow's model registry: add one, find it by its alias, load it."""

from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

import textclf
from textclf.errors import ModelError, ModelNotFoundError, redacted
from textclf.model.classifier import Classifier, read_settings
from textclf.model.devices import AskedPrecision
from textclf.model.pyfunc import signature_and_example
from textclf.quiet import quiet_mlflow
from textclf.records import TrainedModel
from textclf.store import digest_of
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

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


def find_version(store: TrackingStore, name: str, alias: str) -> ModelVersion | None:
    """Resolves an alias of a registered model, or returns None if there is none.

    Raises:
        TrackingError: The store failed.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

    absent = {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)}
    with store.reporting(f"looking up {name}@{alias}"):
        try:
            return store.client.get_model_version_by_alias(name, alias)
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
        model_id: MLflow's id of the logged model, by which no two models are the same, whatever their store, name and
            version; a digest of the version's origin and time where it was not made of a logged model.
    """

    name: str
    version: int
    run_id: str
    source: str
    model_id: str

    @classmethod
    def of(cls, version: ModelVersion) -> ChosenModel:
        """Names a version of MLflow's."""
        # MLflow 3.17 leaves `version.model_id` empty and has the id in the source.
        logged = re.fullmatch(r"models:/(m-\w+)", str(version.source))
        return cls(
            version.name,
            int(version.version),
            version.run_id or "",
            f"models:/{version.name}/{version.version}",
            logged[1] if logged else digest_of(version.run_id, str(version.source), version.creation_timestamp),
        )


def choose_model(store: TrackingStore, name: str, alias: str) -> ChosenModel:
    """Resolves a registered model and alias to one version.

    Raises:
        ModelNotFoundError: There is none; says which models and aliases there are and how to get one.
        TrackingError: The store failed.
    """
    found = find_version(store, name, alias)
    if found is None:
        with store.reporting("listing the registered models"):
            models = {
                model.name: ", ".join(sorted(model.aliases)) or "none"
                for model in store.client.search_registered_models()
            }
        known = "; ".join(f"{model} (aliases: {aliases})" for model, aliases in models.items()) or "none"
        raise ModelNotFoundError(
            f"There is no version of the model {name} with the alias {alias} in {redacted(store.home.tracking_uri)}.\n"
            f"Registered models: {known}.\n"
            f"Train one with `python flows/train_flow.py`, or give an alias by hand in `mlflow ui` under Models."
        )
    return ChosenModel.of(found)


def load_classifier(
    store: TrackingStore, chosen: ChosenModel, *, mixed_precision: AskedPrecision = "auto"
) -> Classifier:
    """Loads a registered classifier.

    Raises:
        TrackingError: Its files cannot be fetched.
        ModelError: Its files are missing or damaged.
    """
    import mlflow

    with tempfile.TemporaryDirectory() as temporary:
        found: list[Path] = []
        with store.reporting(f"fetching {chosen.name} version {chosen.version}"), suppress(FileNotFoundError):
            # A local store answers with the folder itself, a server with a copy.
            folder = Path(mlflow.artifacts.download_artifacts(chosen.source, dst_path=temporary))
            found = list(folder.glob("data/*/"))
        if not found:
            raise ModelError(
                f"The files of {chosen.name} version {chosen.version} are missing: expected a model folder under "
                f"data/ in the artifacts of {chosen.source} (run {chosen.run_id}), found none.\n"
                f"Restore them from a backup, or give the alias to another version in `mlflow ui` under Models."
            )
        return Classifier.load(found[0], mixed_precision=mixed_precision)


def add_version(store: TrackingStore, trained: TrainedModel, name: str) -> ModelVersion:
    """Logs a model to its run and registers it; finds the version again if that was done before.

    Raises:
        TrackingError: The store failed.
    """
    with store.reporting("looking for an earlier registration of the run"):
        versions = store.client.search_model_versions(f"name='{name}' and run_id='{trained.run_id}'")
    if versions:
        return versions[0]
    with store.reporting("logging and registering the model"):
        return _log_and_register(trained, name)


def _log_and_register(trained: TrainedModel, name: str) -> ModelVersion:
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
