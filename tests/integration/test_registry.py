"""Registered models: who becomes champion, what a version contains, and that it loads anywhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import registry_support as support
import yaml
from training_support import connect

from textclf.errors import ModelError, ModelNotFoundError
from textclf.registry.gate import warn_of_undefined_metric
from textclf.registry.lineage import show_version
from textclf.registry.versions import choose_model, load_classifier
from textclf.tables import markdown_text
from textclf.tracking.datasets import dataset_inputs
from textclf.tracking.store import TrackingStore

pytestmark = support.MLFLOW_WARNINGS


NAME = support.NAME
TEXTS = ["房间很干净，早餐也不错！", "屏幕糟糕，失望", "。", "一半😀 <b>普通</b>　"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return support.make_place(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def place(data: Any, tmp_path: Path) -> Any:
    return data.in_home(tmp_path / "home")


def aliases(place: Any) -> dict[str, int]:
    model = connect(place.home).get_registered_model(NAME)
    return {alias: int(version) for alias, version in model.aliases.items()}


def decision(place: Any, version: int) -> str:
    return connect(place.home).get_model_version(NAME, str(version)).tags["textclf.decision"]


# Who becomes champion


def test_the_first_version_is_champion_a_worse_one_challenger_and_an_equal_one_takes_over(place: Any) -> None:
    first = support.make_version(place, 0.8)
    assert first.is_champion and first.version == 1
    assert aliases(place) == {"champion": 1}
    assert first.reason == "There was no champion yet."
    assert decision(place, 1) == "champion: accuracy 0.8000, the first version"

    worse = support.make_version(place, 0.5)
    assert not worse.is_champion
    assert aliases(place) == {"champion": 1, "challenger": 2}
    assert decision(place, 2).startswith("challenger: accuracy 0.5000, -0.3000 (-0.")
    assert decision(place, 2).endswith(" against version 1")
    assert (
        "It stays challenger: test accuracy is 0.5000, that of version 1 0.8000, over the same 20 rows. It may be more "
        "than 0.2 worse (difference -0.3000 (-0."
    ) in worse.reason
    assert "These rows can tell differences of 0." in worse.reason
    assert connect(place.home).get_run(worse.run_id).data.tags["textclf.decision"] == decision(place, 2)

    equal = support.make_version(place, 0.8)
    assert equal.is_champion
    assert "with 95% confidence, it is at most 0.2 worse" in equal.reason
    assert decision(place, 3).startswith("champion: accuracy 0.8000, +0.0000 (-0.")
    assert aliases(place) == {"champion": 3, "previous": 1}


def test_where_less_is_better_the_lower_value_wins(place: Any) -> None:
    # Always the same label costs more the surer a model is; the others give nearly all rows their label.
    support.make_version(place, always="好评", metric="log_loss", rule="superior")
    better = support.make_version(place, 1.0, metric="log_loss", rule="superior")
    assert better.decision.rule == "superior"
    assert (better.decision.ours or 0) < (better.decision.theirs or 0)
    worse = support.make_version(place, always="好评", metric="log_loss", champion_margin=0.01)
    assert worse.decision.rule == "perhaps_worse"


def test_the_champion_answers_rows_that_it_was_not_measured_on(place: Any, tmp_path: Path) -> None:
    # It was right on all of its own test rows; on the new ones, half of which are 好评, it reaches one half.
    first = support.make_trained(place, {}, always="好评")
    assert support.register_again(place, first, {"test/accuracy": 1.0}).is_champion
    other = support.make_place(tmp_path / "other", rows={"train": 60, "validation": 20, "test": 24}, seed=2)
    other = type(other)(place.home, other.config, other.prepared, other.encoded)
    worse = support.make_version(other, 0.25)
    assert not worse.is_champion
    assert (worse.decision.ours, worse.decision.theirs, worse.decision.row_count) == (0.25, 0.5, 24)
    assert support.make_version(other, 0.75).is_champion


def test_rows_that_the_champion_was_trained_on_decide_nothing(tmp_path: Path) -> None:
    # As after a changed seed of the split: half of the new test rows were training rows of the champion.
    reviews = tmp_path / "place" / "reviews"
    place = support.make_place(tmp_path / "place")
    assert support.make_version(place, 0.5).is_champion
    train, test = (reviews / f"{split}.tsv" for split in ("train", "test"))
    old, new = train.read_text("utf-8").splitlines(), test.read_text("utf-8").splitlines()
    train.write_text("\n".join([*old[:-10], *new[-10:]]) + "\n", encoding="utf-8")
    test.write_text("\n".join([*new[:-10], *old[-10:]]) + "\n", encoding="utf-8")
    prepared, encoded, _ = support.data_support.make_encoded(place.config, place.home)
    place = type(place)(place.home, place.config, prepared, encoded)
    registered = support.make_version(place, 1.0)
    assert (registered.decision.row_count, registered.decision.rows_known_to_champion) == (10, 10)
    assert "Left out: 10 rows on which version 1 was trained." in registered.reason

    # All of them: there is nothing to compare.
    test.write_text("\n".join([new[0], *old[1:21]]) + "\n", encoding="utf-8")
    train.write_text("\n".join([new[0], *old[21:], *new[1:]]) + "\n", encoding="utf-8")
    store = TrackingStore.open(place.home)
    store.client.set_registered_model_alias(NAME, "champion", "1")
    prepared, encoded, _ = support.data_support.make_encoded(place.config, place.home)
    none_left = support.make_version(type(place)(place.home, place.config, prepared, encoded), 1.0)
    assert (none_left.is_champion, none_left.decision.rule) == (False, "no_rows")
    assert "was trained on all of the test rows" in none_left.reason


def test_only_leak_free_rows_are_compared(tmp_path: Path) -> None:
    reviews = tmp_path / "place" / "reviews"
    place = support.make_place(tmp_path / "place")
    # Half of the test rows stand in train now, all of them 好评.
    train, test = (reviews / f"{split}.tsv" for split in ("train", "test"))
    good = [line for line in test.read_text("utf-8").splitlines()[1:] if line.endswith("好评")]
    train.write_text(train.read_text("utf-8") + "\n".join(good) + "\n", encoding="utf-8")
    prepared, encoded, _ = support.data_support.make_encoded(place.config, place.home)
    place = type(place)(place.home, place.config, prepared, encoded)
    assert prepared.leaked["test"] == len(good) == 10
    metrics = {"test/accuracy": 0.5, "test_leakfree/accuracy": 1.0}
    champion = support.make_trained(place, metrics, always="差评")
    assert support.register_again(place, champion, metrics).is_champion
    # Right on the leaked rows alone.
    memorised = {"test/accuracy": 0.5, "test_leakfree/accuracy": 0.0}
    worse = support.register_again(place, support.make_trained(place, memorised, always="好评"), memorised)
    assert not worse.is_champion
    assert "test_leakfree accuracy is 0.0000, that of version 1 1.0000, over the same 10 rows" in worse.reason


def test_a_model_with_other_labels_stays_challenger(place: Any, tmp_path: Path) -> None:
    support.make_version(place, 0.6)
    other = support.make_place(tmp_path / "other", classes=3)
    other = type(other)(place.home, other.config, other.prepared, other.encoded)
    registered = support.make_version(other, 0.9)
    assert not registered.is_champion
    assert "has different labels or inputs and cannot be compared" in registered.reason
    assert aliases(place) == {"champion": 1, "challenger": 2}


def test_registering_a_run_twice_makes_one_version_and_one_sentence(place: Any) -> None:
    metrics = {"test/accuracy": 0.7}
    baselines = {"tfidf-logistic-regression": {"test/accuracy": 0.9}}
    trained = support.make_trained(place, metrics, accuracy=0.7)
    first = support.register_again(place, trained, metrics, baselines=baselines)
    assert first.reason == (
        "There was no champion yet. Note: the TF-IDF baseline scores higher: test/accuracy 0.9000 against 0.7000."
    )
    assert decision(place, 1) == "champion: accuracy 0.7000, the first version; TF-IDF 0.9000 is better"
    challenger = support.make_version(place, 0.2)
    for _ in range(2):
        assert support.register_again(place, trained, metrics, baselines=baselines) == first
    assert len(connect(place.home).search_model_versions(f"name='{NAME}'")) == 2
    assert aliases(place) == {"champion": 1, "challenger": challenger.version}


def test_a_decision_is_recorded_with_what_it_rests_on(place: Any) -> None:
    support.make_version(place, 0.9)
    metrics = {"test/accuracy": 0.5}
    baselines = {"majority": {"test/accuracy": 0.4}}
    trained = support.make_trained(place, metrics, always="好评")
    worse = support.register_again(place, trained, metrics, baselines=baselines)
    client = connect(place.home)
    tags = client.get_model_version(NAME, "2").tags
    run = client.get_run(worse.run_id)
    artifact = Path(run.info.artifact_uri.removeprefix("file://")) / "decision.json"
    record = json.loads(tags["textclf.decision_record"])
    assert record == json.loads(artifact.read_text(encoding="utf-8"))
    page = artifact.with_suffix(".md").read_text(encoding="utf-8")
    assert page.startswith(f"# {NAME} version 2 stays challenger\n\n") and markdown_text(worse.reason) in page
    assert "| majority | 0.4000 |" in page
    assert record.pop("decided_at").endswith("Z")
    comparison = record.pop("comparison")
    assert comparison.pop("interval")["low"] < -0.4
    assert comparison == {"metric": "accuracy", "first": 0.5, "second": 0.9}
    assert record.pop("rows_needed") > 20
    (majority,) = record.pop("checks")
    assert (majority["kind"], majority["passed"]) == ("majority", False)
    assert record == {
        "run_id": worse.run_id,
        "name": NAME,
        "version": 2,
        "decided": "challenger",
        "rule": "unmet",
        "metric": "accuracy",
        "rows": "test",
        "row_count": 20,
        "rows_digest": place.prepared.split_digests["test"],
        "engine": "torch-fp32",
        "ours": 0.5,
        "champion_version": 1,
        "theirs": 0.9,
        "baselines": {"majority": 0.4},
        "kind": "encoder",
        "margin": None,
        "candidates": [
            {
                "kind": "encoder",
                "version": 2,
                "score": 0.5,
                "behind_best": None,
                "texts_per_second": 50.0,
                "fastest_engine": "torch-fp32",
                "interval": None,
            }
        ],
        "interval": None,
        "left_out": {},
        "champion_margin": 0.2,
        "rows_known_to_champion": 0,
        "look": 2,
        "problem": None,
        "minimum_shadow_rows": 0,
    }


def test_champion_and_challenger_are_compared_with_the_same_engine(place: Any, caplog: Any) -> None:
    support.make_version(place, always="好评")
    trained = support.make_trained(place, {}, always="差评")
    better = support.register_again(place, trained, precision="bf16")
    assert (better.decision.engine, better.decision.theirs) == ("torch-bf16", 0.5)


def test_an_undefined_metric_leaves_the_champion_where_it_is(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    metrics = {"test/accuracy": 0.7}
    first, second = (
        support.register_again(place, support.make_trained(place, metrics), metrics, metric="roc_auc_macro")
        for _ in range(2)
    )
    assert first.is_champion and first.decision.ours is None
    assert not second.is_champion
    assert second.reason.startswith("It stays challenger: roc_auc_macro is undefined over the 20 test rows")
    assert aliases(place) == {"champion": 1, "challenger": 2}


def test_a_metric_that_will_be_undefined_is_named_before_training(
    place: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_undefined_metric(place.prepared, "roc_auc_macro")
    folder = tmp_path / "one-label"
    shutil.copytree(place.prepared.folder, folder)
    table = pq.read_table(folder / "test.parquet")
    # As where all test rows of the other label are copies of training rows.
    leakfree = pa.array([label == 0 for label in table["label"].to_pylist()])
    pq.write_table(
        table.set_column(table.column_names.index("leakfree"), "leakfree", leakfree), folder / "test.parquet"
    )
    prepared = place.prepared.model_copy(update={"folder": folder})
    warn_of_undefined_metric(prepared, "f1_macro")
    assert caplog.messages == []
    warn_of_undefined_metric(prepared, "roc_auc_macro")
    (message,) = caplog.messages
    assert f"all 10 rows that count are {prepared.labels[0]}" in message


RIVAL = """
import sys
from pathlib import Path
import mlflow, registry_support as support
from textclf.config import Home, TrainConfig
from textclf.records import EncodedData, PreparedData, TrainedModel

import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
if sys.argv[1] == "slow":
    set_alias = mlflow.MlflowClient.set_registered_model_alias
    def paused(client, name, alias, version):
        if alias == "champion":
            print("has decided", flush=True)
            sys.stdin.readline()
        set_alias(client, name, alias, version)
    mlflow.MlflowClient.set_registered_model_alias = paused
home = Home(root=Path(sys.argv[2]), tracking_uri=sys.argv[3])
kinds = (TrainConfig, PreparedData, EncodedData, TrainedModel)
config, prepared, encoded, trained = [kind.model_validate_json(text) for kind, text in zip(kinds, sys.argv[5:])]
place = support.Place(home, config, prepared, encoded)
support.register_again(place, trained)
print("has ended", flush=True)
"""


def test_the_better_of_two_that_register_at_once_becomes_champion(place: Any) -> None:
    support.make_version(place, 0.3)

    def start(speed: str, accuracy: float) -> subprocess.Popen[str]:
        trained = support.make_trained(place, {}, accuracy=accuracy)
        records = [item.model_dump_json() for item in (place.config, place.prepared, place.encoded, trained)]
        command = [sys.executable, "-c", RIVAL, speed, str(place.home.root), place.home.tracking_uri, str(accuracy)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen(
            [*command, *records],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
        )

    def wait_for(process: subprocess.Popen[str], *words: str) -> str:
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if any(word in line for word in words):
                return seen
        raise AssertionError(seen)

    # Both are better than the champion. The worse one has decided so, but has not become champion yet.
    with start("slow", 0.7) as worse:
        wait_for(worse, "has decided")
        with start("fast", 1.0) as better:
            wait_for(better, "Waiting for another process", "has ended")
            worse.communicate("\n", timeout=120)
            better.communicate(timeout=120)
    assert (worse.returncode, better.returncode) == (0, 0)
    accuracies = {
        alias: connect(place.home).get_run(found.run_id).data.metrics["test/accuracy"]
        for alias in ("champion", "previous")
        for found in [connect(place.home).get_model_version_by_alias(NAME, alias)]
    }
    assert accuracies == {"champion": 1.0, "previous": 0.7}


def test_without_the_alias_the_message_names_what_there_is(place: Any) -> None:
    with pytest.raises(ModelNotFoundError, match=r"Registered models: none\.") as caught:
        choose_model(TrackingStore.open(place.home), NAME, "champion")
    assert "python flows/train_flow.py" in str(caught.value)
    support.make_version(place, 0.6)
    with pytest.raises(ModelNotFoundError, match=rf"alias production.*\n.*{NAME} \(aliases: champion\)"):
        choose_model(TrackingStore.open(place.home), NAME, "production")
    with pytest.raises(ModelNotFoundError, match="model textclf-other has the alias champion"):
        choose_model(TrackingStore.open(place.home), "textclf-other", "champion")


def test_runs_and_models_of_an_older_textclf_take_part(place: Any) -> None:
    import mlflow

    # As 0.2.0 left them: metrics at the last step, a model called `model`, the decision as a sentence.
    client = connect(place.home)
    trained = support.make_trained(place, {})
    client.log_metric(trained.run_id, "test/accuracy", 0.7, step=4)
    client.set_tag(trained.run_id, "textclf.kind", "training")
    client.set_tag(trained.run_id, "textclf.data_version", place.prepared.version)
    with mlflow.start_run(run_id=trained.run_id):
        info = mlflow.pyfunc.log_model(
            name="model",
            loader_module="textclf.model.pyfunc",
            data_path=str(trained.folder),
            pip_requirements=["mlflow"],
        )
    mlflow.register_model(info.model_uri, NAME)
    client.set_registered_model_alias(NAME, "champion", "1")
    client.set_model_version_tag(NAME, "1", "textclf.decision", "There was no champion yet.")

    # Random weights give all rows the same label.
    worse = support.make_version(place, 0.1)
    assert "test accuracy is 0.1000, that of version 1 0.5000" in worse.reason
    page = connect(place.home).get_run(worse.run_id).info.artifact_uri.removeprefix("file://") + "/decision.md"
    assert "On which rows version 1 was trained is not known" in Path(page).read_text(encoding="utf-8")
    assert decision(place, 1) == "There was no champion yet."
    assert [run.run_id for run in show_version(f"{NAME}@champion", place.home).runs] == [trained.run_id]
    assert support.load_champion(place).labels == place.prepared.labels


# What MLflow's pages say


def test_experiment_run_model_and_version_are_described(place: Any) -> None:
    support.make_version(place, 0.8)
    metrics = {"test/accuracy": 0.75}
    baselines = {"tfidf-logistic-regression": {"test/accuracy": 0.9}}
    worse = support.register_again(place, support.make_trained(place, metrics), metrics, baselines=baselines)
    client = connect(place.home)
    experiment = client.get_experiment(worse.experiment_id)
    run = client.get_run(worse.run_id)
    version = client.get_model_version(NAME, "2")
    for description in (run.data.tags["mlflow.note.content"], version.description):
        assert description.startswith(f"Challenger. {worse.reason}")
        assert "| this version | 0.7500 |" in description
        assert "| champion before: version 1 | 0.8000 |" in description
        assert "| TF-IDF | 0.9000 |" in description
        assert f"data version `{place.prepared.version}` (train 60, validation 20, test 20 rows)" in description
        for page in (
            f"#/experiments/{worse.experiment_id}/runs/{worse.run_id}?",
            f"#/experiments/{worse.experiment_id}/runs/{worse.run_id}/artifacts/decision.md?",
            f"#/models/{NAME}/versions/2?",
            f"#/experiments/{worse.experiment_id}/runs?",
        ):
            assert f"]({page}" in description
    assert f"mlflow models serve --model-uri models:/{NAME}/2 " in version.description
    model = client.get_registered_model(NAME)
    assert "Classifies texts like those of the data set tiny: " in model.description
    assert f'mlflow.pyfunc.load_model("models:/{NAME}@champion")' in model.description
    for description in (model.description, experiment.tags["mlflow.note.content"]):
        assert f"[{NAME} version 2](#/models/{NAME}/versions/2?" in description
        assert f"is challenger. {worse.reason}" in description


@pytest.mark.parametrize("change", ["replace", "extend"])
def test_a_description_that_a_person_wrote_stays(place: Any, change: str) -> None:
    first = support.make_version(place, 0.6)
    client = connect(place.home)
    before = client.get_registered_model(NAME).description
    ours = "written by Li Lei" if change == "replace" else f"{before}\n\nAsk Li Lei."
    client.update_registered_model(NAME, ours)
    client.set_experiment_tag(first.experiment_id, "mlflow.note.content", ours)
    support.make_version(place, 0.7)
    assert client.get_registered_model(NAME).description == ours
    assert client.get_experiment(first.experiment_id).tags["mlflow.note.content"] == ours
    # Cleared, it is textclf's to write again.
    client.update_registered_model(NAME, "")
    support.make_version(place, 0.8)
    assert f"[{NAME} version 3]" in client.get_registered_model(NAME).description


def test_a_logged_model_is_named_after_its_data_and_shows_its_scores_with_the_data_set(place: Any) -> None:
    metrics = {"validation/accuracy": 0.5, "test/accuracy": 0.6, "test_leakfree/accuracy": 0.7, "untrained/test/f": 0}
    registered = support.register_again(place, support.make_trained(place, {}), metrics)
    store = TrackingStore.open(place.home)
    model = store.client.get_logged_model(choose_model(store, NAME, "champion").model_id)
    assert (model.name, model.source_run_id) == (NAME, registered.run_id)
    assert model.experiment_id == registered.experiment_id
    datasets = dataset_inputs(place.prepared)
    assert {metric.key: (metric.value, metric.dataset_name, metric.dataset_digest) for metric in model.metrics} == {
        f"{rows}/accuracy": (value, datasets[split].dataset.name, datasets[split].dataset.digest)
        for rows, split, value in (
            ("validation", "validation", 0.5),
            ("test", "test", 0.6),
            ("test_leakfree", "test", 0.7),
        )
    }
    outputs = store.client.get_run(registered.run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [model.model_id]
    assert store.client.get_run(registered.run_id).info.status == "RUNNING", "it is the flow that ends it"


DIES = """
import os, signal, sys
from pathlib import Path
import mlflow, registry_support as support
from textclf.config import Home, TrainConfig
from textclf.records import EncodedData, PreparedData, TrainedModel

method = getattr(mlflow.MlflowClient, sys.argv[1])
def last(*arguments, **more):
    method(*arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(mlflow.MlflowClient, sys.argv[1], last)
home = Home(root=Path(sys.argv[2]), tracking_uri=sys.argv[3])
kinds = (TrainConfig, PreparedData, EncodedData, TrainedModel)
config, prepared, encoded, trained = [kind.model_validate_json(text) for kind, text in zip(kinds, sys.argv[4:])]
support.register_again(support.Place(home, config, prepared, encoded), trained, {"test/accuracy": 0.6})
"""


@pytest.mark.parametrize("after", ["create_logged_model", "log_model_artifacts", "log_batch", "set_tag"])
def test_a_registration_that_is_killed_goes_on_and_leaves_one_model(place: Any, after: str) -> None:
    trained = support.make_trained(place, {})
    records = [item.model_dump_json() for item in (place.config, place.prepared, place.encoded, trained)]
    done = subprocess.run(
        [sys.executable, "-c", DIES, after, str(place.home.root), place.home.tracking_uri, *records],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    client = connect(place.home)
    # A finished run would not be continued, and its checkpoints would be removed.
    assert client.get_run(trained.run_id).info.status == "RUNNING"
    registered = support.register_again(place, trained, {"test/accuracy": 0.6})
    assert (registered.version, registered.is_champion) == (1, True)
    (model,) = client.search_logged_models([registered.experiment_id])
    assert [metric.key for metric in model.metrics] == ["test/accuracy"]
    assert len(client.search_model_versions(f"name='{NAME}'")) == 1
    assert support.load_champion(place).labels == place.prepared.labels


# What a version contains


@pytest.fixture(scope="module")
def registered(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = data.in_home(tmp_path_factory.mktemp("registered"))
    support.make_version(place)
    return place


@pytest.fixture(scope="module")
def logged(registered: Any) -> Path:
    """The folder that MLflow keeps."""
    found = list(registered.home.root.rglob("MLmodel"))
    assert len(found) == 1
    return found[0].parent


def test_a_version_holds_the_plain_folder_and_no_pickle(registered: Any, logged: Path) -> None:
    assert logged.is_relative_to(registered.home.artifacts / NAME)
    inner = logged / "data" / "model"
    files = {path.name for path in inner.iterdir()}
    weights = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "textclf.json"}
    assert files == weights | {"README.md"}
    everything = [path for path in logged.rglob("*") if path.is_file()]
    assert [path for path in everything if path.suffix in {".pkl", ".pickle", ".bin", ".pt", ".pth", ".joblib"}] == []
    texts = [path for path in everything if path.suffix in {"", ".txt", ".yaml", ".json"} and path.stat().st_size < 1e6]
    assert [path for path in texts if "cloudpickle" in path.read_text(encoding="utf-8")] == []


def test_a_version_has_a_model_card(logged: Path) -> None:
    card = (logged / "data" / "model" / "README.md").read_text(encoding="utf-8")
    _, front, text = card.split("---\n", 2)
    values = yaml.safe_load(front)
    assert (values["language"], values["library_name"]) == ("zh", "transformers")
    assert values["pipeline_tag"] == "text-classification"
    (result,) = values["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "accuracy", "name": "accuracy", "value": 0.5}
    for part in ("60 to train, 20 to validate, 20 to test", "Licence of the data | not stated", "0 of the test rows"):
        assert part in text
    assert "fewer than 30 test rows" in text


def test_a_version_says_what_it_takes_gives_and_needs(logged: Path) -> None:
    import mlflow

    info = mlflow.models.get_model_info(str(logged))
    assert info.signature.inputs.input_names() == ["text"]
    assert info.signature.outputs.input_names() == ["label", "score", "probabilities", "error", "model", "version"]
    assert info.flavors["python_function"]["loader_module"] == "textclf.model.pyfunc"
    example = json.loads((logged / "input_example.json").read_text(encoding="utf-8"))
    assert example == {"columns": ["text"], "data": [["房间很干净，下次还会来。"]]}
    requirements = (logged / "requirements.txt").read_text(encoding="utf-8").split()
    assert {"torch", "transformers", "safetensors", "mlflow"} <= {line.partition("==")[0] for line in requirements}
    assert all("==" in line and "+" not in line for line in requirements), requirements


def test_every_way_of_loading_gives_the_same_labels(registered: Any, logged: Path) -> None:
    import mlflow
    import pandas as pd
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    classifier = support.load_champion(registered)
    expected = classifier.predict(TEXTS)
    labels = [classifier.labels[index] for index in expected.argmax(axis=1)]

    connect(registered.home)
    frame = mlflow.pyfunc.load_model(f"models:/{NAME}@champion").predict(pd.DataFrame({"text": TEXTS}))
    assert list(frame.columns) == ["label", "score", "probabilities", "error", "model", "version"]
    assert frame["label"].tolist() == labels
    assert frame["score"].tolist() == pytest.approx(expected.max(axis=1), abs=1e-6)
    for row, probabilities in zip(frame["probabilities"], expected, strict=True):
        assert row == pytest.approx(dict(zip(classifier.labels, probabilities.tolist(), strict=True)), abs=1e-6)

    inner = str(logged / "data" / "model")
    plain = pipeline(
        "text-classification",
        model=AutoModelForSequenceClassification.from_pretrained(inner),
        tokenizer=AutoTokenizer.from_pretrained(inner),
    )
    cleaned = "房间很干净，早餐也不错！"
    assert plain(cleaned)[0]["label"] == labels[0]
    # The plain model computes in fp32, ours in bf16 where the hardware gains from it.
    assert plain(cleaned)[0]["score"] == pytest.approx(float(expected[0].max()), abs=1e-2)


def test_a_damaged_version_is_reported(place: Any) -> None:
    support.make_version(place, 0.6)
    inner = next(place.home.root.rglob("MLmodel")).parent / "data" / "model"
    (inner / "textclf.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"Expected textclf\.json, as training writes it"):
        support.load_champion(place)


@pytest.mark.parametrize("missing", [".", "data/model"])
def test_a_version_whose_files_are_gone_is_reported(place: Any, missing: str) -> None:
    support.make_version(place, 0.6)
    shutil.rmtree(next(place.home.root.rglob("MLmodel")).parent / missing)
    with pytest.raises(ModelError, match=rf"The files of {NAME} version 1 are missing: expected a model folder"):
        support.load_champion(place)


def test_a_version_whose_logged_model_was_deleted_is_reported(place: Any) -> None:
    support.make_version(place, 0.6)
    store = TrackingStore.open(place.home)
    store.client.delete_logged_model(choose_model(store, NAME, "champion").model_id)
    with pytest.raises(ModelError, match=rf"The files of {NAME} version 1 are missing: expected a model folder"):
        support.load_champion(place)


def test_a_chosen_model_is_loaded_though_another_took_its_version_number(place: Any) -> None:
    support.make_version(place, always=place.prepared.labels[0])
    store = TrackingStore.open(place.home)
    chosen = choose_model(store, NAME, "champion")
    store.client.delete_registered_model(NAME)
    support.make_version(place, always=place.prepared.labels[1])

    assert choose_model(store, NAME, "champion").version == chosen.version
    assert load_classifier(store, chosen).predict(["好"])[0].argmax() == 0
    assert support.load_champion(place).predict(["好"])[0].argmax() == 1


ELSEWHERE = """
import json, sys
from pathlib import Path

ROOT = Path(sys.argv[2])
sys.path[:] = [entry for entry in sys.path if entry and not Path(entry).resolve() in (ROOT, ROOT / "src")]

connections = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        connections.append(str(arguments))

sys.addaudithook(watch)
try:
    import textclf
    raise SystemExit("textclf can be imported without the model")
except ModuleNotFoundError:
    pass
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = model.predict(pandas.DataFrame({"text": json.loads(sys.argv[3])}))
import textclf
answer = {"label": frame["label"].tolist(), "score": frame["score"].tolist()}
print(json.dumps({"code": textclf.__file__, "connections": connections, **answer}))
"""


def test_a_version_loads_where_textclf_is_not_installed_and_without_a_network(
    registered: Any, logged: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(logged, copy)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(copy), str(root), json.dumps(TEXTS)],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'other.db'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["connections"] == []
    assert Path(found["code"]).is_relative_to(copy / "code")
    classifier = support.load_champion(registered)
    expected = classifier.predict(TEXTS)
    assert found["label"] == [classifier.labels[index] for index in expected.argmax(axis=1)]
    assert found["score"] == pytest.approx(expected.max(axis=1), abs=1e-6)
