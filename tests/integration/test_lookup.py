"""The champion of a store in a file, found without MLflow, is the one that MLflow finds."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import registry_support as support
from registry_support import NAME
from training_support import connect

from textclf.errors import ModelNotFoundError
from textclf.registry import lookup
from textclf.registry.lookup import load_resolved, models_with, resolve_model
from textclf.registry.versions import choose_model
from textclf.tracking.store import TrackingStore

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # MLflow, when it saves an input example.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return support.make_place(tmp_path_factory.mktemp("lookup"))


@pytest.fixture
def place(data: Any, tmp_path: Path) -> Any:
    place = data.in_home(tmp_path / "home")
    support.make_version(place, always=data.prepared.labels[0])
    return place


def execute(place: Any, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(place.home.root / "mlflow.db")) as connection:
        connection.execute(statement)
        connection.commit()


def is_quick(place: Any, name: str = NAME, alias: str = "champion") -> bool:
    """Whether the model was found in the file."""
    return resolve_model(place.home, name, alias).folder is not None


def test_the_installed_mlflow_has_the_tables_that_are_read(place: Any) -> None:
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    heads = ScriptDirectory.from_config(_get_alembic_config("sqlite://")).get_heads()
    assert heads == [lookup.SCHEMA], "check the queries of registry/lookup.py against MLflow's new tables"
    with contextlib.closing(sqlite3.connect(place.home.root / "mlflow.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(lookup.SCHEMA,)]


def test_both_find_the_same_version_whenever_an_alias_moves(place: Any) -> None:
    client = connect(place.home)
    support.make_version(place, always=place.prepared.labels[1])
    for alias, version in [("champion", 2), ("champion", 1), ("canary", 2)]:
        client.set_registered_model_alias(NAME, alias, str(version))
        found = resolve_model(place.home, NAME, alias)
        assert found == choose_model(TrackingStore.open(place.home), NAME, alias)
        assert found.version == version
        assert found.folder is not None and (found.folder / "textclf.json").is_file()
        probabilities = load_resolved(place.home, found).predict(["好"])
        assert probabilities[0].argmax() == version - 1
    assert models_with(place.home, "champion") == [NAME]
    assert models_with(place.home, "nobody") == []


def test_a_process_finds_it_without_mlflow(place: Any) -> None:
    program = (
        "import sys; from textclf.config import Home; from textclf.registry.lookup import resolve_model\n"
        f"print(resolve_model(Home.from_environment(), {NAME!r}, 'champion').version)\n"
        "print([name for name in ('mlflow', 'sqlalchemy', 'pandas', 'torch') if name in sys.modules])"
    )
    environment = {"TEXTCLF_HOME": str(place.home.root), "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=Path(lookup.__file__).parents[2], capture_output=True
    )
    assert done.stdout.decode().split("\n")[:2] == ["1", "[]"], done.stderr


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE alembic_version SET version_num = 'newer'",
        "INSERT INTO registered_models (name, workspace) VALUES ('other', 'a workspace')",
        "UPDATE logged_models SET artifact_location = 's3://bucket/model'",
        "UPDATE logged_models SET lifecycle_stage = 'deleted'",
        "UPDATE model_versions SET status = 'PENDING_REGISTRATION'",
        "ALTER TABLE registered_model_aliases RENAME TO other_name",
    ],
)
def test_mlflow_is_asked_about_anything_unexpected(place: Any, change: str) -> None:
    execute(place, change)
    assert lookup._read_file(place.home, lookup._VERSION, NAME, "champion") in (None, []) or "s3:" in change
    if "newer" not in change and "RENAME" not in change:
        assert not is_quick(place)


def test_what_does_not_exist_is_reported_by_mlflow(place: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"textclf-tiny \(aliases: "):
        resolve_model(place.home, NAME, "nobody")
    with pytest.raises(ModelNotFoundError, match="No version of the model nothing"):
        resolve_model(place.home, "nothing", "champion")


def test_a_moved_or_missing_folder_is_left_to_mlflow(place: Any) -> None:
    found = resolve_model(place.home, NAME, "champion")
    assert found.folder is not None
    found.folder.rename(found.folder.with_name("elsewhere"))
    # Renamed within its parent, it is still the only one: the name is not what counts.
    assert is_quick(place)
    (found.folder.parent / "elsewhere").rename(place.home.root / "moved")
    assert not is_quick(place)


def test_a_damaged_file_and_another_store_are_left_to_mlflow(place: Any, tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 200)
    for uri in (f"sqlite:///{tmp_path / 'damaged.db'}", "http://127.0.0.1:9", "postgresql://host/mlflow"):
        assert lookup._read_file(replace(place.home, tracking_uri=uri), lookup._NAMES, "champion") is None


def test_a_store_that_is_being_written_is_waited_for(place: Any) -> None:
    with contextlib.closing(sqlite3.connect(place.home.root / "mlflow.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE registered_model_aliases SET version = 9")
        # Not committed yet.
        assert resolve_model(place.home, NAME, "champion").version == 1
        writer.rollback()
