"""`textclf models`: who predicts, who decided that, and the way back."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import registry_support as support
from tracking_server_support import TrackingServer
from training_support import connect

from textclf.cli.models import models
from textclf.config import PredictConfig
from textclf.data.prepared import read_split
from textclf.errors import ConfigError, DataError, ModelError, ModelNotFoundError, StorageError, TrackingError
from textclf.model.classifier import Classifier
from textclf.prediction.batch import predict_batch
from textclf.registry import aliases as alias_changes
from textclf.registry.aliases import read_history
from textclf.registry.promotion import promote
from textclf.tracking.store import TrackingStore

pytestmark = support.MLFLOW_WARNINGS
NAME = support.NAME


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home with three versions: 1 is champion, 2 and 3 are worse."""
    made = support.make_place(tmp_path_factory.mktemp("models"))
    place = made.in_home(tmp_path_factory.mktemp("home"))
    for accuracy in (1.0, 0.5, 0.4):
        support.make_version(place, accuracy)
    return place


@pytest.fixture
def place(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    place = data.in_home(tmp_path / "home")
    monkeypatch.setenv("TEXTCLF_HOME", str(place.home.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return place


def aliases(place: Any) -> dict[str, int]:
    return {alias: int(found) for alias, found in connect(place.home).get_registered_model(NAME).aliases.items()}


def changes(place: Any) -> list[tuple[str, dict[str, int]]]:
    return [(change.action, change.after) for change in read_history(TrackingStore.open(place.home), NAME)]


def test_a_version_is_promoted_and_rolled_back(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert models(["promote", f"{NAME}/2", "--why", "它听得懂反话"]) == 0
    assert capsys.readouterr().out == "Change 4: champion 1 → 2, previous – → 1.\n"
    assert aliases(place) == {"champion": 2, "previous": 1, "challenger": 3}
    assert support.load_champion(place).labels == place.prepared.labels
    assert models(["promote", f"models:/{NAME}@champion"]) == 0
    assert "is the champion already" in capsys.readouterr().out

    assert models(["rollback", NAME]) == 0
    assert capsys.readouterr().out == "Change 5: champion 2 → 1, previous 1 → 2.\n"
    assert aliases(place) == {"champion": 1, "previous": 2, "challenger": 3}

    assert models(["history", NAME]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "它听得懂反话" in lines[-2] and "promoted: champion 1 → 2" in lines[-2]
    assert "rolled back: champion 2 → 1" in lines[-1]
    assert "training: champion – → 1" in lines[2]
    description = connect(place.home).get_registered_model(NAME).description
    assert "它听得懂反话" in description and "## History" in description
    assert "Classifies texts like those of the data set" in description


def test_a_promoted_challenger_is_no_challenger_any_more(place: Any) -> None:
    models(["promote", f"{NAME}@challenger"])
    assert aliases(place) == {"champion": 3, "previous": 1}


def test_models_and_versions_are_listed_and_shown(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    models(["list"])
    assert f"{NAME}  1" in capsys.readouterr().out
    models(["list", "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["name"], found["version"], found["challenger"], found["metric"]) == (NAME, 1, 3, "test/accuracy")
    models(["list", NAME])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["3", "2", "1"]
    assert "challenger" in lines[2] and "encoder" in lines[2] and "0.4000" in lines[2]
    models(["show", f"{NAME}@champion"])
    shown = capsys.readouterr().out
    assert f"{NAME}/1" in shown and "There was no champion yet." in shown
    models(["show", f"{NAME}/2", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert (content["version"], content["score"], content["record"]["rule"]) == (2, 0.5, "perhaps_worse")


def test_without_models_the_list_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEXTCLF_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert models(["list"]) == 0
    assert capsys.readouterr().out == "No models are registered. Train one: python flows/train_flow.py\n"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("textclf-tiny", "expected NAME@ALIAS such as"),
        ("textclf-tiny/two", "expected NAME@ALIAS such as"),
        ("textclf-tiny@production", r"no alias 'production'. Its aliases: challenger \(3\), champion \(1\)"),
        ("textclf-tiny/9", "has no version 9; `textclf models list textclf-tiny` lists them"),
        ("textclf-other/1", "no registered model 'textclf-other'. Registered models: textclf-tiny"),
    ],
)
def test_what_does_not_exist_is_named(place: Any, reference: str, message: str) -> None:
    with pytest.raises((ConfigError, ModelNotFoundError), match=message):
        models(["promote", reference])
    assert len(changes(place)) == 3


def test_without_a_champion_before_there_is_no_way_back(place: Any) -> None:
    with pytest.raises(ModelNotFoundError, match="no champion before"):
        models(["rollback", NAME])
    models(["promote", f"{NAME}/2"])
    connect(place.home).delete_model_version(NAME, "1")
    with pytest.raises(ModelNotFoundError, match=r"no champion before|no version 1"):
        models(["rollback", NAME])
    assert aliases(place)["champion"] == 2


def test_a_version_without_files_is_not_promoted(place: Any, tmp_path: Path) -> None:
    client = connect(place.home)
    # As somebody else's code registers it: a file, and no model of ours.
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.bin").write_bytes(b"weights")
    foreign = client.create_model_version(NAME, str(tmp_path / "foreign"))
    with pytest.raises(ModelError, match=rf"The files of {NAME} version {foreign.version} are missing"):
        models(["promote", f"{NAME}/{foreign.version}"])
    assert aliases(place)["champion"] == 1
    assert models(["list", NAME]) == 0
    assert models(["show", f"{NAME}/{foreign.version}"]) == 0


def test_what_somebody_changes_in_mlflow_is_recorded(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    client = connect(place.home)
    client.set_registered_model_alias(NAME, "champion", "3")
    client.set_registered_model_alias(NAME, "production", "2")
    models(["promote", f"{NAME}/2"])
    (by_hand, mine) = changes(place)[-2:]
    assert by_hand == ("by_hand", {"champion": 3, "challenger": 3, "production": 2})
    assert mine == ("promote", {"champion": 2, "previous": 3, "challenger": 3, "production": 2})
    # The history shows such a change at once.
    client.set_registered_model_alias(NAME, "production", "1")
    models(["history", NAME])
    assert "changed in MLflow: production 2 → 1" in capsys.readouterr().out.splitlines()[-1]
    # The next one sees only what is new.
    models(["rollback", NAME])
    assert [action for action, _ in changes(place)[-3:]] == ["promote", "by_hand", "rollback"]


def test_the_history_keeps_its_order_though_the_clock_jumps_back(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) - timedelta(days=400)

    with monkeypatch.context() as patch:
        patch.setattr(alias_changes, "datetime", Yesterday)
        models(["promote", f"{NAME}/2"])
    models(["rollback", NAME])
    history = read_history(TrackingStore.open(place.home), NAME)
    assert [change.number for change in history] == [1, 2, 3, 4, 5]
    assert history[3].when < datetime.now(UTC) - timedelta(days=300)
    assert (history[3].action, history[4].action) == ("promote", "rollback")


def test_archiving_takes_a_version_out_of_the_offer(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="is the champion, which predictions use"):
        models(["archive", f"{NAME}/1"])
    models(["archive", f"{NAME}@challenger"])
    assert "Change 4: challenger 3 → –." in capsys.readouterr().out
    models(["list", NAME])
    assert "archived" in capsys.readouterr().out.splitlines()[2]
    models(["promote", f"{NAME}/3"])
    models(["list", NAME])
    assert "archived" not in capsys.readouterr().out.splitlines()[-3]


def test_the_model_of_a_run_is_registered(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    client = connect(place.home)
    run = client.get_model_version(NAME, "2").run_id
    models(["register", run])
    assert f"{NAME}/2 is registered" in capsys.readouterr().out
    models(["register", run, "--name", "textclf-other"])
    assert "textclf models promote textclf-other/1" in capsys.readouterr().out
    models(["promote", "textclf-other/1"])
    assert client.get_registered_model("textclf-other").aliases == {"champion": 1}
    bare = support.make_trained(place, {})
    with pytest.raises(ModelNotFoundError, match="has logged no complete model"):
        models(["register", bare.run_id])
    with pytest.raises(ModelNotFoundError, match="There is no MLflow run 0123"):
        models(["register", "0123"])


DIES = """
import os, signal, sys
import mlflow
calls, last = 0, int(sys.argv[1])
def dying(method):
    def call(*arguments, **more):
        global calls
        found = method(*arguments, **more)
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return call
for name in ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias"):
    setattr(mlflow.MlflowClient, name, dying(getattr(mlflow.MlflowClient, name)))
from textclf.cli.models import models
models(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("calls", "promoted"),
    # The record; previous; champion; the challenger is removed; the tag that says that it is done.
    [(1, False), (2, False), (3, True), (4, True), (5, True)],
)
def test_a_promotion_that_is_killed_is_completed_or_taken_back(place: Any, calls: int, promoted: bool) -> None:
    command = [sys.executable, "-c", DIES, str(calls), "promote", f"{NAME}/3"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert aliases(place)["champion"] == (3 if promoted else 1)
    models(["promote", f"{NAME}/2"])
    before = {"champion": 3, "previous": 1} if promoted else {"champion": 1, "challenger": 3}
    told = changes(place)[3:]
    assert told[0] == ("promote", {"champion": 3, "previous": 1})
    assert told[1:-1] == ([] if promoted else [("undone", before)])
    # An older challenger stays no challenger; a newer one does.
    rest = {} if promoted else {"challenger": 3}
    assert told[-1] == ("promote", {"champion": 2, "previous": before["champion"], **rest})
    assert aliases(place) == told[-1][1]


# Before `previous` is set; before the challenger is removed, when the champion is set.
@pytest.mark.parametrize("calls", [1, 3])
def test_a_server_that_dies_in_mid_promotion_leaves_the_old_or_the_new_state(
    place: Any, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    server = TrackingServer(place.home.root)
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        seen = itertools.count()

        def dying(method: Any) -> Any:
            def call(*arguments: Any, **more: Any) -> Any:
                if next(seen) == calls:
                    server.kill()
                return method(*arguments, **more)

            return call

        with monkeypatch.context() as dies:
            for name in ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias"):
                dies.setattr(mlflow.MlflowClient, name, dying(getattr(mlflow.MlflowClient, name)))
            with pytest.raises(TrackingError, match="MLflow"):
                models(["promote", f"{NAME}/3"])
        server.start()
        assert aliases(place)["champion"] == (3 if calls >= 3 else 1)
        # The next command completes it or takes it back, and says so.
        models(["history", NAME])
        settled = aliases(place)
        assert settled == ({"champion": 3, "previous": 1} if calls >= 3 else {"champion": 1, "challenger": 3})
        told = [action for action, _ in changes(place)[3:]]
        assert told == (["promote"] if calls >= 3 else ["promote", "undone"])
        models(["promote", f"{NAME}/2"])
        assert aliases(place)["champion"] == 2
    finally:
        server.kill()


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def test_two_promotions_at_once_end_in_one_of_both_orders(place: Any) -> None:
    code = "import sys; from textclf.cli.models import models; sys.exit(models(sys.argv[1:]))"
    both = [
        subprocess.Popen([sys.executable, "-c", code, "promote", f"{NAME}/{version}"], env=environment())
        for version in (2, 3)
    ]
    assert [process.wait(timeout=240) for process in both] == [0, 0]
    told = changes(place)[3:]
    assert len(told) == 2
    assert aliases(place) == told[1][1]
    found = {alias: aliases(place)[alias] for alias in ("champion", "previous")}
    assert found in ({"champion": 2, "previous": 3}, {"champion": 3, "previous": 2})


def test_the_library_promotes_as_the_command_does(place: Any) -> None:
    store = TrackingStore.open(place.home)
    change = promote(store, f"{NAME}/2", why="because")
    assert change is not None and change.why == "because" and "@" in change.who
    assert promote(store, f"{NAME}/2", why="again") is None


def test_models_are_compared_answer_by_answer(place: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place.prepared.folder, place.home.prepared / place.prepared.folder.name)
    references = [f"{NAME}/1", f"{NAME}/2", "majority", "tfidf"]
    version = place.prepared.version
    assert models(["compare", *references, "--metric", "accuracy", "--data", version, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["left_out"], found["unknown"]) == (20, 0, [])
    first, second, majority, _tfidf = found["models"]
    assert (first["score"], first["difference"], first["chance"]) == (1.0, None, None)
    # It learned to be wrong on the first half of the rows.
    assert (second["score"], second["only_it"], second["only_first"]) == (0.5, 0, 10)
    assert second["chance"] == pytest.approx(2 * 0.5**10)
    assert second["difference"]["interval"]["high"] < -0.2
    assert majority["score"] == 0.5
    assert found["disagreement_count"] == len(found["disagreements"]) >= 10
    assert len(found["disagreements"][0]["answers"]) == 4

    page = tmp_path / "page.html"
    models(["compare", *references, "--data", version, "--output", str(page)])
    printed = capsys.readouterr().out
    assert "\nversion 2 " in printed and "by chance (McNemar)" in printed and str(page) in printed
    content = page.read_text(encoding="utf-8")
    assert f"{NAME}/1 and others compared" in content
    assert "Rows to which they give different labels" in content


def test_a_comparison_that_is_impossible_says_why(place: Any) -> None:
    with pytest.raises(ConfigError, match="at least two models"):
        models(["compare", f"{NAME}/1"])
    with pytest.raises(ConfigError, match="at least one registered model"):
        models(["compare", "majority", "tfidf"])
    # In this home, there is no data at all.
    with pytest.raises(DataError, match="rows of data version 0123 are not in"):
        models(["compare", f"{NAME}/1", f"{NAME}/2", "--data", "0123"])


def test_a_version_is_exported_with_checksums(place: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "exported"
    assert models(["export", f"{NAME}@champion", str(target)]) == 0
    assert f"files are in {target}" in capsys.readouterr().out
    names = {path.name for path in target.iterdir()}
    assert {"README.md", "SHA256SUMS", "textclf.json", "linear.safetensors"} <= names
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=target, check=True, capture_output=True)
    rows = read_split(place.prepared, "test")
    expected = support.load_champion(place).predict(rows.texts)
    assert (Classifier.load(target).predict(rows.texts) == expected).all()
    with pytest.raises(StorageError, match="exists already and is not empty"):
        models(["export", f"{NAME}@champion", str(target)])
    assert sorted(path.name for path in tmp_path.iterdir() if "exported" in path.name) == ["exported"]


def test_versions_are_pruned_by_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # With files of its own, which go.
    place = support.make_place(tmp_path / "place")
    monkeypatch.setenv("TEXTCLF_HOME", str(place.home.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for number in range(5):
        support.make_version(place, 0.9)
        if number == 1:
            (tmp_path / "in.csv").write_text("text\n房间很干净\n", encoding="utf-8")
            config = PredictConfig(input=tmp_path / "in.csv", output=tmp_path / "out.csv", model=NAME)
            predict_batch(config, home=place.home, run_id="run", report=lambda _: None)
    assert aliases(place) == {"champion": 5, "previous": 4}

    assert models(["prune", NAME, "--keep-last", "3"]) == 0
    printed = capsys.readouterr().out
    assert "Nothing was deleted" in printed and "kept: predictions refer to it" in printed
    assert [line.split()[0] for line in printed.splitlines() if "would be deleted" in line] == ["1"]
    assert len(list(place.home.root.rglob("MLmodel"))) == 5
    models(["prune", NAME, "--keep-last", "1", "--days", "0", "--delete"])
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if line.endswith("  deleted")] == ["3", "2", "1"]
    assert len(list(place.home.root.rglob("MLmodel"))) == 2
    assert aliases(place) == {"champion": 5, "previous": 4}
    assert support.load_champion(place).labels == place.prepared.labels

    (record,) = (place.home.predictions / "done").iterdir()
    record.write_text("{", encoding="utf-8")
    with pytest.raises(StorageError, match="of a finished prediction cannot be read"):
        models(["prune", NAME])
