"""Opens MLflow runs, continues them after a kill, closes them, and logs what every run carries.

A training run is owned by one process, which holds a lock in `checkpoints/<run id>/`. The lock ends with the process,
however it ends. A run that is neither finished nor locked was therefore killed, and the next start of the same training
continues it under the same id.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from textclf import __version__
from textclf.config.adaptation import AdaptConfig
from textclf.config.home import Home
from textclf.config.load import dump_yaml
from textclf.config.schema import TrainConfig
from textclf.config.sources import StrictModel
from textclf.model.devices import describe_hardware
from textclf.records import EncodedData, FetchedModel, PackedTexts, PreparedData
from textclf.store import digest_of, write_text
from textclf.tracking.datasets import dataset_inputs
from textclf.tracking.descriptions import (
    adaptation_text,
    adaptations_text,
    describe_experiment,
    describe_run,
    experiment_text,
    run_text,
)
from textclf.tracking.store import MISSING, TrackingStore

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

STATE_FILE = "run.json"
LOCK_FILE = ".lock"
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "scikit-learn", "mlflow", "prefect")
# MLflow refuses longer values; the artifact `config.yaml` contains them in full.
LONGEST_PARAMETER = 6000
TEXTCLF_TAG = "textclf.version"
VERSION_TAG = "textclf.data_version"
# Output of the audit and the contract, logged under `data/`.
DATA_FILES = ("report.html", "findings.json", "removed.jsonl", "quarantine.jsonl")


@contextmanager
def training_run(
    home: Home,
    *,
    config: TrainConfig,
    prepared: PreparedData,
    encoded: EncodedData,
    fetched: FetchedModel | None,
    tags: Mapping[str, str],
) -> Iterator[str]:
    """Opens the MLflow run of one training, or continues one that was killed; closes it when the block ends.

    A run is continued if data, model, configuration and textclf version are the same and no living process owns it.
    Success removes its folder of checkpoints; after an error the folder stays, and the same command resumes from it.
    The configuration is logged as parameters and as `config.yaml`, each split as an input, `tags` as further tags.

    Yields:
        The MLflow run id.

    Raises:
        TrackingError: The store failed.
    """
    # Another language, or another rule for missed runs, trains the same model.
    settings = config.model_dump(mode="json", exclude={"language", "missed_runs"})
    key = digest_of(__version__, encoded.digest, fetched.digest if fetched else None, settings)
    run_name = _run_name(f"train-{config.data.name}", config.data.name, tags)
    store = TrackingStore.open(home)
    with tracked_run(store, key=key, experiment=config.data.registered_name, run_name=run_name) as run_id:
        _describe_run(store, run_id, config, prepared, fetched, tags)
        yield run_id


@contextmanager
def adaptation_run(
    home: Home, *, config: AdaptConfig, packed: PackedTexts, fetched: FetchedModel | None, tags: Mapping[str, str]
) -> Iterator[str]:
    """Opens the MLflow run of one adaptation, as `training_run` does for a training.

    Yields:
        The MLflow run id.

    Raises:
        TrackingError: The store failed.
    """
    settings = config.model_dump(mode="json", exclude={"language", "missed_runs"})
    key = digest_of(__version__, packed.digest, fetched.digest if fetched else None, settings)
    run_name = _run_name(f"adapt-{config.data.name}", config.data.name, tags)
    store = TrackingStore.open(home)
    with tracked_run(store, key=key, experiment=config.data.registered_name, run_name=run_name) as run_id:
        _describe_adaptation(store, run_id, config, packed, fetched, tags)
        yield run_id


@contextmanager
def tracked_run(store: TrackingStore, *, key: str, experiment: str, run_name: str) -> Iterator[str]:
    """Opens an MLflow run, or continues one with the same key that was killed; closes it when the block ends.

    A run is continued if no living process owns it. Success removes its folder of checkpoints; after an error the
    folder stays.

    Yields:
        The MLflow run id.

    Raises:
        TrackingError: The store failed.
    """
    from mlflow.entities import RunStatus

    client = store.client
    found = _continue_run(store, key)
    if found:
        run_id, lock = found
        logger.info("Track: continuing MLflow run %s, which was interrupted.", run_id)
        with store.reporting("continuing the run"):
            client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
    else:
        experiment_id = store.experiment(experiment)
        with store.reporting("creating the run"):
            run_id = client.create_run(experiment_id, run_name=run_name).info.run_id
        lock = _own_run(store.home, run_id, key)
        logger.info("Track: MLflow run %s in experiment %s.", run_id, experiment)
    try:
        try:
            yield run_id
        except BaseException as error:
            # Only a stop from outside is not an Exception: Ctrl-C, SIGTERM.
            status = RunStatus.FAILED if isinstance(error, Exception) else RunStatus.KILLED
            try:
                _close(store, run_id, status)
            except Exception as second:
                # The first error is the cause; this one often only follows from it.
                logger.warning("MLflow run %s could not be closed either: %s", run_id, second)
            raise
        _close(store, run_id, RunStatus.FINISHED)
        # Still locked: nobody may continue a run that is being removed.
        shutil.rmtree(run_folder(store.home, run_id))
    finally:
        lock.release()


def _run_name(flow: str, data: str, tags: Mapping[str, str]) -> str:
    """Returns the Prefect run's name if it tells runs apart, so that people find one from the other."""
    name = tags.get("prefect.flow_run_name", "")
    told_apart = re.fullmatch(rf"{re.escape(flow)}-\d{{4}}-\d\d-\d\d-\d{{4}}.*", name)
    return name if told_apart else time.strftime(f"{data}-%Y%m%d-%H%M%S")


def run_folder(home: Home, run_id: str) -> Path:
    """Returns the folder of a run's checkpoints, metrics and model, which exists until the run is finished."""
    return home.checkpoints / run_id


def _close(store: TrackingStore, run_id: str, status: int) -> None:
    from mlflow.entities import RunStatus

    with store.reporting("closing the run"):
        store.client.set_terminated(run_id, RunStatus.to_string(status))


def _continue_run(store: TrackingStore, key: str) -> tuple[str, FileLock] | None:
    from filelock import FileLock, Timeout
    from mlflow.entities import RunStatus

    for state_file in sorted(store.home.checkpoints.glob(f"*/{STATE_FILE}"), key=_modified, reverse=True):
        run_id = state_file.parent.name
        lock = FileLock(state_file.parent / LOCK_FILE, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        run = _find_run(store, run_id)
        status = RunStatus.from_string(run.info.status) if run else None
        if status == RunStatus.FINISHED or not state_file.is_file():
            # Its owner was killed before it could remove the folder, or has just removed it.
            shutil.rmtree(state_file.parent, ignore_errors=True)
        elif run and json.loads(state_file.read_text(encoding="utf-8"))["key"] == key:
            return run_id, lock
        elif run and status == RunStatus.RUNNING:
            made_by = run.data.tags.get(TEXTCLF_TAG, __version__)
            logger.warning(
                "MLflow run %s was interrupted%s; it is marked KILLED.",
                run_id,
                f" under textclf {made_by} and cannot be continued by {__version__}"
                if made_by != __version__
                else " and can be continued by the command that started it",
            )
            _close(store, run_id, RunStatus.KILLED)
        lock.release()
    return None


def _find_run(store: TrackingStore, run_id: str) -> Run | None:
    from mlflow.exceptions import MlflowException

    with store.reporting("looking up an unfinished run"):
        try:
            return store.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == MISSING:
                # Deleted in MLflow, or in another store.
                return None
            raise


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        # Another process finished its run and removed the folder.
        return 0.0


def _own_run(home: Home, run_id: str, key: str) -> FileLock:
    from filelock import FileLock

    folder = run_folder(home, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    lock.acquire()
    write_text(folder / STATE_FILE, json.dumps({"key": key}))
    return lock


def _describe_run(
    store: TrackingStore,
    run_id: str,
    config: TrainConfig,
    prepared: PreparedData,
    fetched: FetchedModel | None,
    tags: Mapping[str, str],
) -> None:
    values = {
        "data.digest": prepared.digest,
        "data.version": prepared.version,
        **({"data.audited_from": prepared.audited_from} if prepared.audited_from else {}),
        "data.origin": prepared.origin,
        "data.uri": prepared.uri,
        **({"data.revision": prepared.revision} if prepared.revision else {}),
        "model.origin": fetched.origin if fetched else "random weights",
    }
    own_tags = {
        "textclf.kind": "training",
        "textclf.data_digest": prepared.digest,
        VERSION_TAG: prepared.version,
        **tags,
    }
    run = _log_configuration(store, run_id, config, values, own_tags)
    client = store.client
    with store.reporting("describing the run"):
        client.log_inputs(run_id, list(dataset_inputs(prepared).values()))
        # Only the rows that are kept are masked; quarantined ones are stored as they came.
        names = DATA_FILES[:-1] if config.cleaning.mask_personal_data else DATA_FILES
        for name in names:
            if (file := prepared.folder / name).is_file():
                client.log_artifact(run_id, str(file), "data")
    experiment = run.info.experiment_id
    describe_run(store, run_id, run_text(prepared, fetched, tags, experiment))
    describe_experiment(store, experiment, experiment_text(prepared, experiment), replace=False)


def _describe_adaptation(
    store: TrackingStore,
    run_id: str,
    config: AdaptConfig,
    packed: PackedTexts,
    fetched: FetchedModel | None,
    tags: Mapping[str, str],
) -> None:
    values = {
        "data.digest": packed.digest,
        "data.tokens": packed.tokens,
        "data.words": packed.words,
        "data.sequences": packed.sequences["train"],
        "model.origin": fetched.origin if fetched else "random weights",
    }
    own_tags = {"textclf.kind": "adaptation", "textclf.data_digest": packed.digest, **tags}
    run = _log_configuration(store, run_id, config, values, own_tags)
    describe_run(store, run_id, adaptation_text(config.data.name, packed, fetched, tags))
    describe_experiment(store, run.info.experiment_id, adaptations_text(config.data.name), replace=False)


def _log_configuration(
    store: TrackingStore, run_id: str, config: StrictModel, values: Mapping[str, object], tags: Mapping[str, str]
) -> Run:
    """Logs what every run carries, and returns the run as it was before."""
    from mlflow.entities import Param, RunTag

    parameters = {
        **_parameters(config, config.model_dump(mode="json")),
        **describe_hardware(),
        **{f"package.{package}": version(package) for package in PACKAGES},
        **values,
    }
    commit = _git_commit()
    all_tags = {TEXTCLF_TAG: __version__, **({"mlflow.source.git.commit": commit} if commit else {}), **tags}
    client = store.client
    with store.reporting("describing the run"):
        # Parameters cannot be changed, so a continued run keeps those it has.
        run = client.get_run(run_id)
        known = run.data.params
        new = [Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in parameters.items() if name not in known]
        for start in range(0, len(new), 100):
            client.log_batch(run_id, params=new[start : start + 100])
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in all_tags.items()])
        client.log_text(run_id, dump_yaml(config), "config.yaml")
    return run


def _parameters(section: BaseModel, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Names the fields of all sections. A mapping is one parameter: MLflow would refuse many of its keys as names."""
    named: dict[str, Any] = {}
    for field, value in values.items():
        inner = getattr(section, field)
        if isinstance(inner, BaseModel):
            named |= _parameters(inner, value, f"{prefix}{field}.")
        else:
            named[prefix + field] = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
    return named


def _git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        # Installed from a wheel, or no git on this machine.
        return None
    return done.stdout.strip()
