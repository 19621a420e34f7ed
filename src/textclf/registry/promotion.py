"""Changes by hand which version predicts: promote, roll back, archive, and register a run's model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.errors import ConfigError, ModelNotFoundError
from textclf.quiet import quiet_mlflow
from textclf.records import AliasChange
from textclf.records.registration import AliasAction
from textclf.registry.aliases import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Aliases,
    change_aliases,
    deciding_alone,
    with_champion,
)
from textclf.registry.history import describe_history
from textclf.registry.reference import named_model, named_version
from textclf.registry.shadow import shadow_rows
from textclf.registry.versions import ChosenModel, fetch_folder, find_version, recorded_decision
from textclf.tracking.store import MISSING, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ARCHIVED_TAG = "textclf.archived"
"""The tag of a version that is no longer offered: since when."""


def promote(store: TrackingStore, reference: str, *, why: str, force: bool = False) -> AliasChange | None:
    """Makes a version the champion, whatever the gate said; the champion before becomes `previous`.

    Args:
        store: The registry.
        reference: The version.
        why: The reason, for the history.
        force: Promote it although it has predicted fewer rows beside the champion than its training asked for.

    Returns:
        The change; None if it is the champion already.

    Raises:
        ConfigError: The reference names no version, or it has predicted too few rows beside the champion.
        ModelNotFoundError: There is no such version.
        ModelError: Its files are missing.
        TrackingError: The store failed.
    """
    version = named_version(store, reference)
    _check_files(store, version)
    if not force:
        _check_shadow(store, version)
    if ARCHIVED_TAG in version.tags:
        with store.reporting("taking a version out of the archive"):
            store.client.delete_model_version_tag(version.name, version.version, ARCHIVED_TAG)
    number = int(version.version)
    return _change(store, version.name, lambda aliases: with_champion(aliases, number), "promote", why, version.run_id)


def rollback(store: TrackingStore, name: str, *, why: str) -> AliasChange:
    """Makes the champion before the champion again; a second rollback takes the first one back.

    Predictions that are running finish with the version that they began with.

    Raises:
        ModelNotFoundError: There is no such model, or no champion before.
        ModelError: The files of that version are missing.
        TrackingError: The store failed.
    """
    named_model(store, name)

    def back(aliases: Aliases) -> dict[str, int]:
        if PREVIOUS not in aliases:
            raise ModelNotFoundError(
                f"{name} has no champion before: it has no alias {PREVIOUS}. `textclf models history {name}` tells its "
                f"story, `textclf models promote {name}/VERSION` promotes any version."
            )
        before = aliases[PREVIOUS]
        _check_files(store, named_version(store, f"{name}/{before}"))
        planned = {**aliases, CHAMPION: before}
        if CHAMPION in aliases:
            planned[PREVIOUS] = aliases[CHAMPION]
        else:
            del planned[PREVIOUS]
        return planned

    change = _change(store, name, back, "rollback", why, None)
    assert change is not None
    return change


def archive(store: TrackingStore, reference: str, *, why: str) -> AliasChange | None:
    """Takes a version out of the offer: it loses the aliases `challenger` and `previous`, and is tagged.

    Returns:
        The change of the aliases; None if it had none of them.

    Raises:
        ConfigError: It is the champion, or the reference names no version.
        ModelNotFoundError: There is no such version.
        TrackingError: The store failed.
    """
    version = named_version(store, reference)
    number = int(version.version)

    def without(aliases: Aliases) -> dict[str, int]:
        if aliases.get(CHAMPION) == number:
            raise ConfigError(
                f"{version.name} version {number} is the champion, which predictions use: promote another version "
                "before you archive it."
            )
        own = {(CHALLENGER, number), (PREVIOUS, number)}
        return {alias: found for alias, found in aliases.items() if (alias, found) not in own}

    change = _change(store, version.name, without, "archive", why, None)
    with store.reporting("archiving a version"):
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        store.client.set_model_version_tag(version.name, version.version, ARCHIVED_TAG, when)
    return change


def register_run(store: TrackingStore, run_id: str, *, name: str | None = None) -> ModelVersion:
    """Registers the model that an MLflow run has logged; it gets no alias.

    Args:
        store: The registry.
        run_id: The run.
        name: Name of the registered model; None takes that of the logged model.

    Returns:
        The version: an earlier one if the model is registered under that name.

    Raises:
        ModelNotFoundError: There is no such run, or it has logged no complete model.
        TrackingError: The store failed.
    """
    import mlflow
    from mlflow.entities import LoggedModelStatus
    from mlflow.exceptions import MlflowException

    with store.reporting(f"looking up the run {run_id}"):
        try:
            run = store.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != MISSING:
                raise
            raise ModelNotFoundError(f"There is no MLflow run {run_id} in {store.home.tracking_uri}.") from error
        logged = store.client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    complete = [model for model in logged if model.status == LoggedModelStatus.READY]
    if not complete:
        raise ModelNotFoundError(
            f"The run {run_id} ({run.info.run_name}, {run.info.status}) has logged no complete model, so there is "
            "nothing to register. Trainings log one when they register it; start that training again to resume it."
        )
    source = f"models:/{complete[-1].model_id}"
    name = name or str(complete[-1].name)
    with store.reporting(f"registering the model of the run {run_id}"), quiet_mlflow():
        for version in store.client.search_model_versions(f"name='{name}'"):
            if version.source == source:
                return version
        return mlflow.register_model(source, name)


def _check_shadow(store: TrackingStore, version: ModelVersion) -> None:
    decision, found = recorded_decision(version), shadow_rows(version)
    wanted, rows = decision.minimum_shadow_rows if decision else 0, found.rows if found else 0
    if rows < wanted and find_version(store, version.name, CHAMPION) is not None:
        raise ConfigError(
            f"{version.name} version {version.version} has predicted {rows:,} rows beside the champion; its training "
            f"asks for {wanted:,} (registration.minimum_shadow_rows).\nPredict with shadow: challenger, or promote it "
            "all the same with --force."
        )


def _check_files(store: TrackingStore, version: ModelVersion) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fetch_folder(store, ChosenModel.of(version), Path(folder))


def _change(
    store: TrackingStore,
    name: str,
    plan: Callable[[Aliases], Aliases],
    action: AliasAction,
    why: str,
    evidence: str | None,
) -> AliasChange | None:
    with deciding_alone(store.home):
        change = change_aliases(store, name, plan, action=action, why=why, evidence=evidence)
        if change is not None:
            describe_history(store, name)
    return change
