"""Metrics reach MLflow once each, whatever its store goes through while a model trains."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tracking_server_support import TrackingServer
from training_support import connect

from textclf.config import Home
from textclf.errors import TrackingError
from textclf.tracking.metric_log import METRICS_FILE, MetricLog
from textclf.tracking.runs import run_folder
from textclf.tracking.store import TrackingStore

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables; making them takes seconds, copying them does not."""
    folder = tmp_path_factory.mktemp("store")
    connect(Home(root=folder, tracking_uri=f"sqlite:///{folder / 'mlflow.db'}"))
    return folder / "mlflow.db"


@pytest.fixture
def home(empty_store: Path, tmp_path: Path) -> Home:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return Home(root=tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture
def run_id(home: Home) -> str:
    return open_run(home)


def open_run(home: Home) -> str:
    client = connect(home)
    run_id = str(client.create_run(client.create_experiment("textclf-tiny", home.artifacts.as_uri())).info.run_id)
    run_folder(home, run_id).mkdir(parents=True)
    return run_id


def metric_log(home: Home, run_id: str, patience_seconds: float) -> MetricLog:
    return MetricLog(TrackingStore.open(home), run_id, run_folder(home, run_id), patience_seconds=patience_seconds)


def points(home: Home, run_id: str, name: str = "train/loss") -> list[tuple[int, float]]:
    """Everything MLflow has of a metric, in the order in which it came."""
    return [(metric.step, metric.value) for metric in connect(home).get_metric_history(run_id, name)]


@contextlib.contextmanager
def locked(home: Home) -> Iterator[None]:
    """Another program that keeps MLflow's store to itself."""
    with contextlib.closing(sqlite3.connect(home.root / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def test_metrics_arrive_while_training_goes_on(home: Home, run_id: str) -> None:
    with metric_log(home, run_id, 10) as log:
        log.log({"train/loss": 0.9, "train/learning_rate": 1e-3}, 10)
        while not points(home, run_id):
            time.sleep(0.05)
        log.log({"train/loss": 0.8}, 20)
    assert points(home, run_id) == [(10, 0.9), (20, 0.8)]
    assert points(home, run_id, "train/learning_rate") == [(10, 1e-3)]


def test_a_store_that_is_locked_for_a_while_gets_everything_once(home: Home, run_id: str) -> None:
    expected = [(step, 1 / (step + 1)) for step in range(250)]
    with metric_log(home, run_id, 60) as log:
        for step, loss in expected[:50]:
            log.log({"train/loss": loss}, step)
        with locked(home):
            for step, loss in expected[50:]:
                log.log({"train/loss": loss}, step)
            time.sleep(2.5)
    assert points(home, run_id) == expected


def test_what_a_locked_store_never_took_is_kept_and_sent_by_the_next_start(home: Home, run_id: str) -> None:
    log = metric_log(home, run_id, 1.5)
    kept = run_folder(home, run_id) / METRICS_FILE
    with locked(home), pytest.raises(TrackingError) as caught, log:
        log.log({"train/loss": 0.9}, 10)
        log.log({"train/loss": 0.8}, 20)
    message = str(caught.value)
    assert message.startswith("2 points of training metrics could not be sent to MLflow")
    assert str(kept) in message and "locked" in message and "start the same command again" in message

    with metric_log(home, run_id, 10) as log:
        log.log({"train/loss": 0.7}, 30)
    assert points(home, run_id) == [(10, 0.9), (20, 0.8), (30, 0.7)]


def test_an_error_of_training_is_not_hidden_by_one_of_the_store(home: Home, run_id: str) -> None:
    log = metric_log(home, run_id, 0.5)
    connect(home).delete_run(run_id)
    with pytest.raises(ZeroDivisionError), log:
        log.log({"train/loss": 0.9}, 10)
        raise ZeroDivisionError
    connect(home).restore_run(run_id)
    with metric_log(home, run_id, 10):
        pass
    assert points(home, run_id) == [(10, 0.9)]


def test_after_a_kill_nothing_is_sent_twice_and_half_a_line_is_forgotten(home: Home, run_id: str) -> None:
    with metric_log(home, run_id, 10) as log:
        log.log({"train/loss": 0.9}, 10)
        log.log({"validation/loss": 0.5}, 10)
    kept = run_folder(home, run_id) / METRICS_FILE
    # Killed while it wrote 评: a line without its end, cut inside a character.
    with kept.open("ab") as file:
        file.write('{"step": 20, "timestamp_ms": 1, "metrics": {"validation/好评'.encode()[:-1])
    # The next start goes on from the checkpoint of step 0 and reaches steps 10 and 20 again.
    with metric_log(home, run_id, 10) as log:
        log.log({"train/loss": 0.91}, 10)
        log.log({"train/loss": 0.8}, 20)
        log.log({"validation/loss": 0.4}, 20)
    assert points(home, run_id) == [(10, 0.9), (20, 0.8)]
    assert points(home, run_id, "validation/loss") == [(10, 0.5), (20, 0.4)]
    lines = kept.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 10, 20, 20]


def test_a_file_that_lost_lines_in_a_power_failure_does_not_hold_back_new_ones(
    home: Home, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    with metric_log(home, run_id, 10) as log:
        for step in (10, 20, 30):
            log.log({"train/loss": 1 / step}, step)
    kept = run_folder(home, run_id) / METRICS_FILE
    first = kept.read_bytes().splitlines(keepends=True)[0]
    # Some file systems leave zeros where the last lines stood.
    kept.write_bytes(first + bytes(40) + b"\n")
    with metric_log(home, run_id, 10) as log:
        log.log({"train/loss": 0.01}, 40)
    assert "3 points were sent to MLflow" in caplog.text
    assert points(home, run_id)[-1] == (40, 0.01)
    assert len(kept.read_bytes().splitlines()) == 2


# A tracking server


@pytest.fixture
def server(empty_store: Path, tmp_path: Path) -> Iterator[TrackingServer]:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    running = TrackingServer(tmp_path)
    running.start()
    yield running
    running.kill()


def test_a_server_that_dies_and_comes_back_gets_everything_once(
    server: TrackingServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(root=tmp_path / "home", tracking_uri=server.address)
    home.root.mkdir()
    client = connect(home)
    run_id = client.create_run(client.create_experiment("textclf-tiny")).info.run_id
    run_folder(home, run_id).mkdir(parents=True)
    with metric_log(home, run_id, 120) as log:
        log.log({"train/loss": 0.9}, 10)
        while not points(home, run_id):
            time.sleep(0.05)
        server.kill()
        log.log({"train/loss": 0.8}, 20)
        while "Writing to MLflow failed; metrics are kept in" not in caplog.text:
            time.sleep(0.05)
        server.start()
        log.log({"train/loss": 0.7}, 30)
    assert points(home, run_id) == [(10, 0.9), (20, 0.8), (30, 0.7)]
