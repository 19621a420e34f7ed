"""Deletes versions that nobody needs any more, by a rule."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from textclf.records import Record
from textclf.registry.aliases import deciding_alone
from textclf.registry.reference import named_model
from textclf.registry.versions import ChosenModel
from textclf.tracking.store import MISSING, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)


class Pruned(Record):
    """What becomes of a version."""

    version: int
    kept: Literal["alias", "recent", "predictions"] | None
    """Why it stays; None if it goes."""
    size_bytes: int
    """Of its files on this machine; 0 if they are elsewhere."""


def prune(
    store: TrackingStore, name: str, *, keep_last: int, used: Collection[int], delete: bool
) -> tuple[Pruned, ...]:
    """Deletes all versions of a model but the newest ones, those with an alias, and those that predictions refer to.

    The runs with their metrics and records stay, and so does the history.

    Args:
        store: The registry.
        name: Name of the registered model.
        keep_last: How many of the newest versions stay.
        used: Versions that predictions refer to.
        delete: Whether to delete; else it only says what would go.

    Returns:
        All versions, newest first.

    Raises:
        ModelNotFoundError: There is no such model.
        TrackingError: The store failed; what is deleted stays deleted, and the next call goes on.
    """
    with deciding_alone(store.home):
        aliased = {int(version) for version in named_model(store, name).aliases.values()}
        with store.reporting(f"listing the versions of {name}"):
            found = sorted(
                store.client.search_model_versions(f"name='{name}'"), key=lambda version: -int(version.version)
            )
        recent = {int(version.version) for version in found[:keep_last]}
        pruned = []
        for version in found:
            number = int(version.version)
            kept: Literal["alias", "recent", "predictions"] | None = None
            if number in aliased:
                kept = "alias"
            elif number in recent:
                kept = "recent"
            elif number in used:
                kept = "predictions"
            folder = _own_folder(store, version)
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder else 0
            pruned.append(Pruned(version=number, kept=kept, size_bytes=size))
            if delete and kept is None:
                _delete(store, version, folder)
                logger.info("Prune: %s version %d is deleted.", name, number)
    return tuple(pruned)


def _delete(store: TrackingStore, version: ModelVersion, folder: Path | None) -> None:
    chosen = ChosenModel.of(version)
    with store.reporting(f"deleting {version.name} version {version.version}"):
        store.client.delete_model_version(version.name, version.version)
        if chosen.source.startswith("models:/m-"):
            store.client.delete_logged_model(chosen.model_id)
    for gone in (folder, store.home.shadow / version.name / str(version.version)):
        if gone is not None:
            shutil.rmtree(gone, ignore_errors=True)


def _own_folder(store: TrackingStore, version: ModelVersion) -> Path | None:
    """Returns the artifacts of a version's logged model if they lie in the home: MLflow itself keeps deleted ones."""
    from mlflow.exceptions import MlflowException

    chosen = ChosenModel.of(version)
    if not chosen.source.startswith("models:/m-"):
        return None
    with store.reporting(f"looking for the files of {version.name} version {version.version}"):
        try:
            location = str(store.client.get_logged_model(chosen.model_id).artifact_location)
        except MlflowException as error:
            if error.error_code != MISSING:
                raise
            return None
    parts = urlsplit(location)
    if parts.scheme != "file" or parts.netloc:
        return None
    folder = Path(url2pathname(parts.path))
    return folder if folder.is_relative_to(store.home.artifacts.absolute()) and folder.is_dir() else None
