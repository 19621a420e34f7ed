"""Finds and loads the model behind an alias; in a store that is a file, without MLflow, whose import takes seconds.

MLflow's tables are private to it, but versioned: the file is read only if its tables are those of `SCHEMA`, which a
test compares with the installed MLflow and with what its client answers. In every other case, and if anything is not as
expected, MLflow answers.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from textclf.config.home import Home
from textclf.model.classifier import Choices, Classifier, Sample
from textclf.model.devices import AskedPrecision
from textclf.registry.versions import ChosenModel, choose_model, load_classifier
from textclf.tracking.store import TrackingStore

SCHEMA = "dc11669786a5"
"""MLflow's newest migration (`alembic_version`) that these queries are known to fit."""
_SECONDS_TO_WAIT = 2.0

_EXPECTED = """
SELECT (SELECT group_concat(version_num) FROM alembic_version) = ?
  AND NOT EXISTS (SELECT 1 FROM registered_models WHERE workspace <> 'default')
"""
_VERSION = """
SELECT version.version, version.run_id, version.creation_time, logged.model_id, logged.artifact_location
FROM registered_model_aliases AS alias
JOIN model_versions AS version USING (workspace, name, version)
JOIN logged_models AS logged ON version.source = 'models:/' || logged.model_id
WHERE version.name = ? AND alias.alias = ? AND version.status = 'READY' AND logged.lifecycle_stage = 'active'
"""
_NAMES = "SELECT name FROM registered_model_aliases WHERE alias = ? ORDER BY name"


def resolve_model(home: Home, name: str, alias: str) -> ChosenModel:
    """Resolves a registered model and alias to one version.

    Raises:
        ModelNotFoundError: There is none; the message lists the existing models and aliases.
        TrackingError: The store failed.
    """
    for version, run_id, created, model_id, location in _read_file(home, _VERSION, name, alias) or ():
        if folder := _model_folder(location):
            created_at = datetime.fromtimestamp(created / 1000, UTC)
            return ChosenModel(name, version, run_id or "", f"models:/{model_id}", model_id, folder, created_at)
    return choose_model(TrackingStore.open(home), name, alias)


def load_resolved(
    home: Home,
    chosen: ChosenModel,
    *,
    engine: str = "auto",
    mixed_precision: AskedPrecision = "auto",
    sample: Sample | None = None,
) -> Classifier:
    """Loads a registered classifier; `engine` and `mixed_precision` as in `Classifier.load`.

    With `auto`, the fastest engine is the one that a job found with its `sample`; without one, nothing is measured.

    Raises:
        TrackingError: Its files cannot be fetched.
        ModelError: Its files are missing or damaged, or it does not have the engine here.
    """
    choices = Choices(home.engines, sample)
    if chosen.folder is not None and chosen.folder.is_dir():
        return Classifier.load(chosen.folder, engine=engine, mixed_precision=mixed_precision, choices=choices)
    store = TrackingStore.open(home)
    return load_classifier(store, chosen, engine=engine, mixed_precision=mixed_precision, choices=choices)


def models_with(home: Home, alias: str) -> list[str]:
    """Lists the registered models that have an alias.

    Raises:
        TrackingError: The store failed.
    """
    rows = _read_file(home, _NAMES, alias)
    if rows is not None:
        return [str(name) for (name,) in rows]
    store = TrackingStore.open(home)
    with store.reporting("listing the registered models"):
        models = store.client.search_registered_models()
    return sorted(str(model.name) for model in models if alias in model.aliases)


def _read_file(home: Home, query: str, *values: str) -> list[tuple[Any, ...]] | None:
    """Returns None if the store is not a file, or not one that this module knows."""
    path = Path(home.tracking_uri.removeprefix("sqlite:///"))
    if str(path) == home.tracking_uri or not path.is_file():
        return None
    try:
        # Read-only: it creates and repairs nothing.
        place = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(place, uri=True, timeout=_SECONDS_TO_WAIT)) as connection:
            # One transaction, so that both queries see the same moment.
            connection.execute("BEGIN")
            if connection.execute(_EXPECTED, (SCHEMA,)).fetchone() != (1,):
                return None
            rows: list[tuple[Any, ...]] = connection.execute(query, values).fetchall()
            return rows
    except sqlite3.Error:
        # MLflow's client meets the same problem, or none, and reports it.
        return None


def _model_folder(location: str) -> Path | None:
    """Returns the model folder in the artifacts of a logged model, if they are files of this machine."""
    parts = urlsplit(location)
    if parts.scheme != "file" or parts.netloc:
        return None
    found = list(Path(url2pathname(parts.path)).glob("data/*/"))
    return found[0] if len(found) == 1 else None
