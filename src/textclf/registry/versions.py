"""Adds versions to MLflow's model registry, finds them by alias, and loads them."""

from __future__ import annotations

import re
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

import textclf
from textclf.errors import ModelError, ModelNotFoundError, redacted
from textclf.evaluation.scores import log_metrics
from textclf.model.classifier import Choices, Classifier
from textclf.model.devices import AskedPrecision
from textclf.model.engines.engine import ENGINE_FILE, ENGINES_FOLDER, RUNTIMES
from textclf.model.pyfunc import NAME_KEY, signature_and_example
from textclf.model.settings import read_settings
from textclf.quiet import quiet_mlflow
from textclf.records import Candidate, Decision, PreparedData
from textclf.registry.card import CARD_FILE, card_summary, model_card
from textclf.store import digest_of, write_output
from textclf.tracking.datasets import dataset_inputs
from textclf.tracking.descriptions import is_ours, sealed
from textclf.tracking.store import MISSING, REFUSED, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pydantic", "pydantic-settings", "PyYAML", "safetensors", "tqdm")
_ENCODER_REQUIREMENTS = ("psutil", "tokenizers", "torch", "transformers")


def requirements(folder: Path) -> tuple[str, ...]:
    """Returns the packages that a logged model needs, which contains textclf's own code."""
    if read_settings(folder).kind == "linear":
        return _REQUIREMENTS
    # Those of a ladder are in the folders of its rungs.
    exported = {file.parent.name for file in folder.rglob(f"{ENGINES_FOLDER}/*/{ENGINE_FILE}")}
    return (*_REQUIREMENTS, *_ENCODER_REQUIREMENTS, *(RUNTIMES[name] for name in sorted(exported)))


KIND_TAG, TRAINING_TAG, SPEED_TAG = "textclf.kind", "textclf.training_run", "textclf.texts_per_second"
RECORD_TAG = "textclf.decision_record"
"""Tags of a version: which kind of candidate it was, the training that registered it, its speed
there, and the decision about it."""


def find_version(store: TrackingStore, name: str, alias: str) -> ModelVersion | None:
    """Resolves an alias of a registered model; returns None if the model or the alias does not exist.

    Raises:
        TrackingError: The store failed.
    """
    from mlflow.exceptions import MlflowException

    with store.reporting(f"looking up {name}@{alias}"):
        try:
            return store.client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code in (MISSING, REFUSED):
                return None
            raise


def recorded_decision(version: ModelVersion) -> Decision | None:
    """Reads the decision about a version; None if another program registered it, or a newer textclf decided."""
    try:
        return Decision.model_validate_json(version.tags[RECORD_TAG])
    except (KeyError, ValidationError):
        return None


@dataclass(frozen=True)
class ChosenModel:
    """A registered version, resolved from an alias.

    Attributes:
        name: Name of the registered model.
        version: Its version.
        run_id: The MLflow run that made it.
        source: Its model URI: of the logged model if there is one, because a version number can be used again.
        model_id: MLflow's id of the logged model, unique over stores, names and versions; without a logged model, a
            digest of the version's origin and time.
        folder: Its model folder, if it is known to be on this machine.
        created_at: When it was registered.
    """

    name: str
    version: int
    run_id: str
    source: str
    model_id: str
    folder: Path | None = field(default=None, compare=False)
    created_at: datetime | None = field(default=None, compare=False)

    @classmethod
    def of(cls, version: ModelVersion) -> ChosenModel:
        """Converts a version of MLflow's."""
        # MLflow 3.17 leaves `version.model_id` empty; the source contains the id.
        logged = re.fullmatch(r"models:/(m-\w+)", str(version.source))
        return cls(
            version.name,
            int(version.version),
            version.run_id or "",
            logged[0] if logged else f"models:/{version.name}/{version.version}",
            logged[1] if logged else digest_of(version.run_id, str(version.source), version.creation_timestamp),
            created_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        )


def choose_model(store: TrackingStore, name: str, alias: str) -> ChosenModel:
    """Resolves a registered model and alias to one version.

    Raises:
        ModelNotFoundError: There is none; the message lists the existing models and aliases.
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
            f"No version of the model {name} has the alias {alias} in {redacted(store.home.tracking_uri)}.\n"
            f"Registered models: {known}.\n"
            f"Train one with `python flows/train_flow.py`, or promote a version with `textclf models promote`."
        )
    return ChosenModel.of(found)


def load_classifier(
    store: TrackingStore,
    chosen: ChosenModel,
    *,
    engine: str = "auto",
    mixed_precision: AskedPrecision = "auto",
    choices: Choices | None = None,
) -> Classifier:
    """Loads a registered classifier; `engine`, `mixed_precision` and `choices` as in `Classifier.load`.

    Raises:
        TrackingError: Its files cannot be fetched.
        ModelError: Its files are missing or damaged, or it does not have the engine here.
    """
    temporary = tempfile.TemporaryDirectory()
    try:
        folder = fetch_folder(store, chosen, Path(temporary.name))
        classifier = Classifier.load(folder, engine=engine, mixed_precision=mixed_precision, choices=choices)
    except BaseException:
        temporary.cleanup()
        raise
    # A ladder opens its rungs when it needs them.
    weakref.finalize(classifier, temporary.cleanup)
    return classifier


def fetch_folder(store: TrackingStore, chosen: ChosenModel, target: Path) -> Path:
    """Returns the model folder of a registered version: the store's own if it is on this machine, else a copy.

    Args:
        store: The registry.
        chosen: The version.
        target: Where a copy goes.

    Raises:
        TrackingError: Its files cannot be fetched.
        ModelError: Its files are missing.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    found: list[Path] = []
    with store.reporting(f"fetching {chosen.name} version {chosen.version}"), suppress(FileNotFoundError):
        try:
            folder = Path(mlflow.artifacts.download_artifacts(chosen.source, dst_path=str(target)))
            found = list(folder.glob("data/*/"))
        except MlflowException as error:
            # Somebody deleted the logged model.
            if error.error_code != MISSING:
                raise
    if not found:
        raise ModelError(
            f"The files of {chosen.name} version {chosen.version} are missing: expected a model folder under "
            f"data/ in the artifacts of {chosen.source} (run {chosen.run_id}), found none.\n"
            f"Restore them from a backup, or promote another version: `textclf models list {chosen.name}` lists them, "
            f"`textclf models promote {chosen.name}/VERSION` promotes one."
        )
    return found[0]


def add_version(
    store: TrackingStore, candidate: Candidate, prepared: PreparedData, name: str, training_run_id: str
) -> ModelVersion:
    """Logs a candidate to its run, with its metrics and their data, and registers it.

    Called again for the same run, it returns the version of the earlier call, or continues it after a kill. So a linear
    model has one version, however often an encoder is trained on the same data.

    Raises:
        TrackingError: The store failed.
    """
    with store.reporting("looking for an earlier registration of the run"):
        versions = store.client.search_model_versions(f"name='{name}' and run_id='{candidate.run_id}'")
    if versions:
        return versions[0]
    with store.reporting(f"logging and registering the {candidate.kind}"):
        version = _log_and_register(store, candidate, prepared, name, training_run_id)
        for tag, value in {
            KIND_TAG: candidate.kind,
            TRAINING_TAG: training_run_id,
            SPEED_TAG: f"{candidate.texts_per_second:.1f} ({candidate.fastest_engine})",
        }.items():
            store.client.set_model_version_tag(name, version.version, tag, value)
        if is_ours(version.description):
            parameters = store.client.get_run(training_run_id).data.params
            summary = card_summary(candidate, prepared, parameters, scores=True)
            store.client.update_model_version(name, version.version, sealed(summary))
        return version


def _log_and_register(
    store: TrackingStore, candidate: Candidate, prepared: PreparedData, name: str, training_run_id: str
) -> ModelVersion:
    import mlflow

    run = store.client.get_run(candidate.run_id)
    parameters = store.client.get_run(training_run_id).data.params
    card = model_card(candidate, prepared, name, parameters)
    write_output(candidate.folder / CARD_FILE, card.encode())
    model_id = _logged_earlier(store, run) or _log_model(store, run, candidate, name)
    log_metrics(
        store,
        candidate.run_id,
        {metric: value for metric, value in candidate.metrics.items() if not metric.startswith("untrained/")},
        steps=candidate.steps,
        timestamp_ms=candidate.measured_ms,
        model_id=model_id,
        datasets=dataset_inputs(prepared),
    )
    with quiet_mlflow():
        return mlflow.register_model(f"models:/{model_id}", name)


def _logged_earlier(store: TrackingStore, run: Run) -> str | None:
    """Returns the model that a killed start has logged completely, and deletes what it has begun to log."""
    from mlflow.entities import LoggedModelStatus

    complete = None
    for model in store.client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"):
        if model.status == LoggedModelStatus.READY:
            complete = str(model.model_id)
        else:
            store.client.delete_logged_model(model.model_id)
    return complete


def _log_model(store: TrackingStore, run: Run, candidate: Candidate, name: str) -> str:
    import mlflow
    from mlflow.models import Model

    run_id = run.info.run_id
    model = store.client.create_logged_model(run.info.experiment_id, name, run_id, params=run.data.params)
    settings = read_settings(candidate.folder)
    signature, example = signature_and_example(pairs=settings.pairs)
    # Not within `mlflow.start_run`, as `pyfunc.log_model` would need: it ends by marking the run finished, and after a
    # kill a finished run is not continued.
    Model.log(
        None,
        mlflow.pyfunc,
        model_id=model.model_id,
        run_id=run_id,
        # MLflow copies the metrics that the run has at this step, but without their data: there are none.
        step=candidate.steps + 1,
        loader_module="textclf.model.pyfunc",
        data_path=str(candidate.folder),
        code_paths=[str(Path(textclf.__file__).parent)],
        signature=signature,
        input_example=example,
        pip_requirements=[
            f"{package}=={package_version(package).split('+')[0]}" for package in requirements(candidate.folder)
        ],
        metadata={NAME_KEY: name},
    )
    return str(model.model_id)
