"""What a training run leaves in MLflow, and when it is continued."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import registry_support as support
import yaml
from training_support import connect

from textclf import __version__
from textclf.config import Home, TrainConfig
from textclf.errors import TrackingError, TrackingRefusedError, TransientError
from textclf.tracking.pages import VIEW_TAG, comparison_page, full_address, version_page
from textclf.tracking.runs import run_folder, training_run
from textclf.tracking.store import TrackingStore

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return support.make_place(tmp_path_factory.mktemp("tracking"))


@pytest.fixture
def place(data: Any, tmp_path: Path) -> Any:
    return data.in_home(tmp_path / "home")


def opened(place: Any, **changes: Any) -> Any:
    arguments = {"config": place.config, "prepared": place.prepared, "encoded": place.encoded, "fetched": None}
    return training_run(place.home, **{**arguments, "tags": {"prefect.flow_run_name": "train-tiny"}, **changes})


def status(home: Home, run_id: str) -> str:
    return str(connect(home).get_run(run_id).info.status)


# What a run carries


def test_a_run_carries_what_it_was_made_from(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(place) as run_id:
        assert status(place.home, run_id) == "RUNNING"
        folder = run_folder(place.home, run_id)
        (folder / "checkpoint-1").mkdir()
    run = connect(place.home).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert not folder.exists()

    params = run.data.params
    assert params["training.learning_rate"] == str(place.config.training.learning_rate)
    assert params["model.architecture.hidden_size"] == "32"
    assert json.loads(params["data.sources"])[0]["provider"] == "local"
    assert json.loads(params["evaluation.examples"]) == ["我今天心情很好", "你好，我是AI助手", "我今天很生气"]
    assert params["package.transformers"] == version("transformers")
    assert params["hardware.device"] and int(params["hardware.cpu_threads"]) >= 1
    assert params["data.digest"] == place.prepared.digest
    assert params["model.origin"] == "random weights"

    artifact = Path(run.info.artifact_uri.removeprefix("file://")) / "config.yaml"
    assert artifact.is_relative_to(place.home.artifacts / "textclf-tiny")
    assert TrainConfig.model_validate(yaml.safe_load(artifact.read_text(encoding="utf-8"))) == place.config

    inputs = {given.tags[0].value: given.dataset for given in run.inputs.dataset_inputs}
    assert set(inputs) == {"train", "validation", "test"}
    for split, dataset in inputs.items():
        assert dataset.digest == place.prepared.split_digests[split][:32]
        assert json.loads(dataset.source)["tags"]["textclf.uri"] == place.prepared.uri
        assert json.loads(dataset.profile) == {
            "num_rows": place.prepared.rows[split],
            "labels": place.prepared.label_counts[split],
            "version": place.prepared.version,
            "revision": None,
            "uri": place.prepared.uri,
            "files": {file.path: file.sha256 for file in place.prepared.files},
        }
        columns = {column["name"]: column["type"] for column in json.loads(dataset.schema)["mlflow_colspec"]}
        assert columns.items() >= {"row": "long", "source": "string", "text": "string", "label": "long"}.items()
        assert columns.get("leakfree") == (None if split == "train" else "boolean")
    assert len({dataset.digest for dataset in inputs.values()}) == 3

    tags = run.data.tags
    assert tags["textclf.kind"] == "training"
    assert tags["textclf.version"] == __version__
    assert tags["textclf.data_digest"] == place.prepared.digest
    assert tags["textclf.data_version"] == params["data.version"] == place.prepared.version
    assert place.prepared.uri == params["data.uri"] and Path(place.prepared.uri).is_dir()
    assert tags["prefect.flow_run_name"] == "train-tiny"
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    ).stdout.strip()
    assert tags.get("mlflow.source.git.commit", "") == commit


def test_labels_may_have_any_name(place: Any) -> None:
    labels = {"C++": "好（评）", '"': "a'b=c"}
    data = place.config.data.model_copy(update={"labels": labels})
    with opened(place, config=place.config.model_copy(update={"data": data})) as run_id:
        assert json.loads(connect(place.home).get_run(run_id).data.params["data.labels"]) == labels


def test_artifacts_go_to_the_home_whatever_the_current_directory(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with opened(place):
            pass
        assert list((tmp_path / name).iterdir()) == []
    experiment = connect(place.home).get_experiment_by_name("textclf-tiny")
    assert experiment.artifact_location == (place.home.root / "mlruns" / "textclf-tiny").as_uri()


# What its pages say


@pytest.mark.parametrize("name", ["train-tiny-2026-11-24-0330", "train-tiny-2026-11-24-0330-2"])
def test_a_run_has_the_name_of_the_prefect_run_that_tells_runs_apart(place: Any, name: str) -> None:
    with opened(place, tags={"prefect.flow_run_name": name}) as run_id:
        assert connect(place.home).get_run(run_id).info.run_name == name


@pytest.mark.parametrize("name", ["train-tiny", "my trial", "train-other-2026-11-24-0330"])
def test_a_run_has_a_name_of_its_own_if_the_prefect_run_has_another(place: Any, name: str) -> None:
    with opened(place, tags={"prefect.flow_run_name": name}) as run_id:
        assert re.fullmatch(r"tiny-\d{8}-\d{6}", connect(place.home).get_run(run_id).info.run_name)


def test_a_run_that_has_just_begun_says_what_it_trains_and_links_to_prefect(place: Any) -> None:
    tags = {"prefect.flow_run_name": "train-tiny", "prefect.flow_run_url": "http://prefect/runs/flow-run/1"}
    with pytest.raises(ZeroDivisionError), opened(place, tags=tags) as run_id:
        raise ZeroDivisionError
    client = connect(place.home)
    run = client.get_run(run_id)
    description = run.data.tags["mlflow.note.content"]
    version = place.prepared.version
    assert description.startswith(
        f"Fine-tunes a new model with random weights on tiny, data version `{version}` (train 60, validation 20, "
    )
    assert "[Prefect run train-tiny](http://prefect/runs/flow-run/1)" in description
    experiment = client.get_experiment(run.info.experiment_id)
    assert f"]({comparison_page(run.info.experiment_id)})" in experiment.tags["mlflow.note.content"]

    client.set_tag(run_id, "mlflow.note.content", "an experiment of Li Lei")
    with opened(place, tags=tags) as again:
        assert again == run_id
    assert client.get_run(run_id).data.tags["mlflow.note.content"] == "an experiment of Li Lei"


def test_an_experiment_has_the_view_that_compares_its_runs_also_if_it_is_older(place: Any) -> None:
    client = connect(place.home)
    old = client.create_experiment("textclf-tiny", (place.home.artifacts / "textclf-tiny").as_uri())
    client.set_experiment_tag(old, VIEW_TAG, "of an older textclf")
    store = TrackingStore.open(place.home)
    assert store.experiment("textclf-tiny") == old
    new = store.experiment("textclf-new")
    for experiment in (old, new):
        state = json.loads(client.get_experiment(experiment).tags[VIEW_TAG])
        assert state["orderByKey"] == state["selectedColumns"][0] == "metrics.`test_leakfree/f1_macro`"


# How a run ends, and goes on


def test_a_failed_run_keeps_its_folder_and_the_next_start_continues_it(place: Any) -> None:
    with pytest.raises(ZeroDivisionError), opened(place) as first:
        raise ZeroDivisionError
    assert status(place.home, first) == "FAILED"
    assert run_folder(place.home, first).is_dir()
    with opened(place) as second:
        assert second == first
        assert status(place.home, second) == "RUNNING"
    assert status(place.home, second) == "FINISHED"
    assert not run_folder(place.home, first).exists()
    with opened(place) as third:
        assert third != first


def test_a_run_that_is_stopped_from_outside_counts_as_killed(place: Any) -> None:
    with pytest.raises(KeyboardInterrupt), opened(place) as run_id:
        raise KeyboardInterrupt
    assert status(place.home, run_id) == "KILLED"
    # Another language changes nothing of what is trained.
    with opened(place, config=place.config.model_copy(update={"language": "zh"})) as again:
        assert again == run_id


def test_another_configuration_or_other_data_is_another_run(place: Any) -> None:
    with pytest.raises(ZeroDivisionError), opened(place) as run_id:
        raise ZeroDivisionError
    training = place.config.training.model_copy(update={"learning_rate": 1e-4})
    with opened(place, config=place.config.model_copy(update={"training": training})) as other:
        assert other != run_id
    with opened(place, encoded=place.encoded.model_copy(update={"digest": "0" * 32})) as other:
        assert other != run_id
    with opened(place) as again:
        assert again == run_id


def test_a_folder_whose_run_was_deleted_in_another_store_is_left_alone(place: Any, data: Any, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), opened(place) as run_id:
        raise ZeroDivisionError
    (place.home.root / "mlflow.db").unlink()
    data.in_home(tmp_path / "new")
    home = Home(root=place.home.root, tracking_uri=f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}")
    with training_run(
        home, config=place.config, prepared=place.prepared, encoded=place.encoded, fetched=None, tags={}
    ) as other:
        assert other != run_id
    assert run_folder(home, run_id).is_dir()


def test_the_run_of_a_living_process_is_not_continued(place: Any) -> None:
    with opened(place) as first, opened(place) as second:
        assert first != second
        assert status(place.home, first) == status(place.home, second) == "RUNNING"
    assert status(place.home, first) == status(place.home, second) == "FINISHED"


CHILD = """
import sys, time
from pathlib import Path
from textclf.config import Home, TrainConfig
from textclf.records import EncodedData, PreparedData
from textclf.tracking.pages import VIEW_TAG, comparison_page, full_address, version_page
from textclf.tracking.runs import training_run

home = Home(root=Path(sys.argv[1]), tracking_uri=sys.argv[2])
records = [cls.model_validate_json(text) for cls, text in zip((TrainConfig, PreparedData, EncodedData), sys.argv[3:])]
config, prepared, encoded = records
with training_run(home, config=config, prepared=prepared, encoded=encoded, fetched=None, tags={}) as run_id:
    print(run_id, flush=True)
    time.sleep(600)
"""


def test_the_run_of_a_killed_process_is_continued_and_of_a_living_one_not(place: Any) -> None:
    texts = [record.model_dump_json() for record in (place.config, place.prepared, place.encoded)]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(place.home.root), place.home.tracking_uri, *texts],
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
    )
    assert child.stdout is not None
    with child.stdout:
        run_id = child.stdout.readline().strip()
        with opened(place) as other:
            assert other != run_id
        child.kill()
        child.wait()
    assert status(place.home, run_id) == "RUNNING"
    with opened(place) as again:
        assert again == run_id
    assert status(place.home, run_id) == "FINISHED"


def test_an_interrupted_run_of_another_version_is_named(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError), opened(place) as run_id:
        raise ZeroDivisionError
    # As 0.0.9 leaves a run when it is killed.
    client = connect(place.home)
    client.set_tag(run_id, "textclf.version", "0.0.9")
    client.update_run(run_id, status="RUNNING")
    (run_folder(place.home, run_id) / "run.json").write_text('{"key": "of 0.0.9"}', encoding="utf-8")
    with opened(place) as other:
        assert other != run_id
    assert status(place.home, run_id) == "KILLED"
    assert (
        f"MLflow run {run_id} was interrupted under textclf 0.0.9 and cannot be continued by {__version__}; it is "
        "marked KILLED."
    ) in caplog.messages


# A store that fails


def test_the_first_error_is_not_hidden_by_one_of_closing(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError), opened(place) as run_id:
        connect(place.home).delete_run(run_id)
        raise ZeroDivisionError
    assert f"MLflow run {run_id} could not be closed either: MLflow refused" in caplog.text


def test_what_mlflow_refuses_is_no_failure_that_may_pass(place: Any) -> None:
    store = TrackingStore.open(place.home)
    with (
        opened(place) as run_id,
        pytest.raises(TrackingRefusedError, match="trying again does not help") as caught,
        store.reporting("writing a figure"),
    ):
        store.client.log_metric(run_id, "f1=1", 0.5)
    assert 'refused a name or value while writing a figure: Invalid value "f1=1"' in str(caught.value)
    assert not isinstance(caught.value, TransientError)


def test_an_unreachable_server_is_reported(tmp_path: Path) -> None:
    home = Home(root=tmp_path, tracking_uri="http://user:secret@127.0.0.1:9")
    with pytest.raises(TrackingError, match="MLflow failed while opening its store") as caught:
        connect(home)
    assert "http://***@127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_damaged_store_is_reported(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(TrackingError, match="file is not a database"):
        connect(Home(root=tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}"))


def test_a_local_store_has_no_page_to_link_to(place: Any) -> None:
    with opened(place) as run_id:
        assert TrackingStore.open(place.home).run_link(run_id) is None
        assert full_address(place.home, version_page("textclf-tiny", 3)) is None


def test_pages_have_an_address_where_mlflow_is_a_server(place: Any) -> None:
    home = replace(place.home, mlflow_page="http://mlflow:5000/")
    with opened(place) as run_id:
        experiment = connect(place.home).get_run(run_id).info.experiment_id
        expected = f"http://mlflow:5000/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
        assert TrackingStore.open(home).run_link(run_id) == expected
    assert full_address(home, version_page("textclf-tiny", 3)) == (
        "http://mlflow:5000/#/models/textclf-tiny/versions/3?workflowType=machine_learning"
    )
