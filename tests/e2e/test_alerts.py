"""Alerts of scheduled runs, from a real worker and a real `serve.py` to a receiver on this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml
from receiver_support import Receiver, http_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TOKEN = "t0psecret7oken"
GOOD = {"input": "inbox", "output": "outbox", "model": "textclf-tiny"}
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
BAD = {**GOOD, "model": "textclf-missing"}


@contextmanager
def program(command: list[str], server: Any, *, alerts: str, log: Path) -> Iterator[psutil.Popen]:
    """A program that runs deployments, with its output in a file."""
    environment = {**server.environment, "TEXTCLF_ALERTS": alerts, "PYTHONUNBUFFERED": "1"}
    with (
        log.open("wb") as output,
        psutil.Popen(
            command,
            cwd=server.elsewhere,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                for each in [*process.children(recursive=True), process]:
                    each.kill()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with http_receiver() as found:
        yield found


@pytest.fixture(scope="module")
def address(receiver: Receiver) -> str:
    return f"json://user:{TOKEN}@127.0.0.1:{receiver.port}/{TOKEN}"


@pytest.fixture(scope="module")
def worker_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alerts") / "worker.log"


@pytest.fixture(scope="module")
def worker(deployed: Any, address: str, worker_log: Path) -> Iterator[psutil.Popen]:
    command = [str(Path(sys.executable).with_name("prefect")), "worker", "start", "--pool", "textclf"]
    with http_receiver(500) as broken:
        alerts = f"{address} json://127.0.0.1:{broken.port}/{TOKEN}"
        with program(command, deployed.server, alerts=alerts, log=worker_log) as process:
            yield process


def start_long_training(server: Any, tiny_config: Path, name: str) -> str:
    """Starts a training that takes longer than the tests, and returns its id when it has trained an epoch.

    An interrupt that comes while packages are imported may be lost in them.
    """
    config = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    config["training"] |= {"num_train_epochs": 300, "per_device_train_batch_size": 1, "merge_repeats": False}
    config["training"]["early_stopping_patience"] = None
    deployment = server.deployment("train", name)["id"]
    run = server.api(f"/deployments/{deployment}/create_flow_run", {"parameters": {"config": config}})["id"]
    wait_for_state(server, run, "Running")
    deadline = time.monotonic() + 240
    while not any("Train: after" in line for line in server.log_lines(run)):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return str(run)


def wait_for_state(server: Any, run: str, *names: str) -> dict[str, Any]:
    deadline = time.monotonic() + 240
    while (found := server.api(f"/flow_runs/{run}"))["state"]["name"] not in names:
        assert time.monotonic() < deadline and found["state"]["type"] not in ENDED, found["state"]["message"]
        time.sleep(0.3)
    return found


def flow_process(parent: psutil.Popen, run: str) -> psutil.Process:
    """The process in which a flow runs: the innermost one with the run's id in its environment."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = [child for child in parent.children(recursive=True) if is_of(child, run)]
        if found:
            return found[-1]
        time.sleep(0.3)
    raise AssertionError("no process")


def is_of(process: psutil.Process, run: str) -> bool:
    try:
        return run in process.environ().get("PREFECT__FLOW_RUN_ID", "") and not process.children()
    except psutil.Error:
        return False


def everything_stored(server: Any, runs: list[str]) -> str:
    """All that the server keeps of runs: their states, logs and artifacts."""
    ids = {"flow_run_id": {"any_": runs}}
    return str(
        [
            [server.api(f"/flow_run_states/?flow_run_id={run}") for run in runs],
            server.api("/logs/filter", {"logs": ids, "limit": 200}),
            server.api("/artifacts/filter", {"artifacts": ids, "limit": 200}),
        ]
    )


def test_each_problem_and_the_recovery_is_told_once(
    deployed: Any, worker: psutil.Popen, worker_log: Path, receiver: Receiver, tiny_config: Path
) -> None:
    server = deployed.server
    failed = server.run("predict", BAD)
    assert failed["state"]["type"] == "FAILED"
    (failure,) = receiver.wait_for(1)
    assert failure["title"] == "textclf: predict/textclf failed"
    assert failure["type"] == "failure"
    for fact in (
        failed["name"],
        "textclf-missing",
        f"{server.address}/runs/flow-run/{failed['id']}",
        f"prefect flow-run retry {failed['id']}",
    ):
        assert fact in failure["message"]

    recovered = server.run("predict", GOOD)
    assert recovered["state"]["type"] == "COMPLETED"
    _, recovery = receiver.wait_for(2)
    assert recovery["title"] == "textclf: predict/textclf works again"
    assert recovery["type"] == "success"
    assert recovered["name"] in recovery["message"]

    good = server.run("predict", GOOD)
    crashed = start_long_training(server, tiny_config, "textclf")
    flow_process(worker, crashed).kill()
    wait_for_state(server, crashed, "Crashed")
    _, _, crash = receiver.wait_for(3)
    assert crash["title"] == "textclf: train/textclf crashed"
    assert server.api(f"/flow_runs/{crashed}")["name"] in crash["message"]

    interrupted = start_long_training(server, tiny_config, "textclf")
    flow_process(worker, interrupted).send_signal(signal.SIGINT)
    wait_for_state(server, interrupted, "Crashed")

    # The next message is about the next event: nothing was told twice, nor about the second good run, nor about the
    # interrupted one.
    (server.home / "letters").mkdir()
    (server.home / "letters" / "broken.csv").write_text("number\n1\n", encoding="utf-8")
    refused = server.run("predict", {**GOOD, "input": "letters", "output": "answers", "language": "zh"})
    assert refused["state"]["type"] == "COMPLETED"
    *_, refusal = receiver.wait_for(4)
    assert (len(receiver.arrived), refusal["title"]) == (4, "textclf：predict/textclf 拒绝了一些文件")
    assert refusal["type"] == "warning"
    assert refused["state"]["message"] in refusal["message"]

    log = worker_log.read_text(encoding="utf-8")
    stored = everything_stored(
        server, [run["id"] for run in (failed, recovered, good, refused)] + [crashed, interrupted]
    )
    assert "answered with HTTP status 500" in stored
    assert "answered with HTTP status 500" in log
    assert TOKEN not in stored
    assert TOKEN not in log


def test_stopping_the_program_that_runs_schedules_alerts_nobody(
    deployed: Any, address: str, receiver: Receiver, tiny_config: Path, tmp_path: Path
) -> None:
    server, before = deployed.server, len(receiver.arrived)
    log = tmp_path / "serve.log"
    command = [sys.executable, str(ROOT / "deployments" / "serve.py")]
    with program(command, server, alerts=address, log=log) as process:
        deadline = time.monotonic() + 240
        known = {"deployments": {"name": {"any_": ["local"]}}}
        while len(server.api("/deployments/filter", known)) < 2:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.3)
        run = start_long_training(server, tiny_config, "local")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert server.api(f"/flow_runs/{run}")["state"]["name"] == "AwaitingRetry"
    assert len(receiver.arrived) == before
    assert TOKEN not in log.read_text(encoding="utf-8")
    server.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True})


TELL_OF_LATE_RUNS = """\
import asyncio, sys
from uuid import UUID
from textclf_operations.late_runs import tell_of_late_runs
asyncio.run(tell_of_late_runs([UUID(sys.argv[1])]))
"""


def test_late_runs_are_told_once_and_together(deployed: Any, tmp_path: Path) -> None:
    server = deployed.server
    flow = server.deployment("predict")["flow_id"]
    # No program takes runs of this deployment.
    deployment = server.api("/deployments/", {"flow_id": flow, "name": "forgotten"})["id"]

    def schedule(name: str, hours_ago: float, state: str = "Late") -> None:
        due = (datetime.now(UTC) - timedelta(hours=hours_ago)).isoformat()
        details = {"scheduled_time": due}
        content = {"name": name, "state": {"type": "SCHEDULED", "name": state, "state_details": details}}
        server.api(f"/deployments/{deployment}/create_flow_run", content)

    def tell(alerts: str) -> None:
        environment = {**server.environment, "TEXTCLF_ALERTS": alerts}
        command = [sys.executable, "-c", TELL_OF_LATE_RUNS, deployment]
        done = subprocess.run(
            command, cwd=server.elsewhere, env=environment, capture_output=True, text=True, timeout=300
        )
        assert (done.returncode, done.stderr) == (0, "")

    schedule("the-last-night", 2)
    schedule("the-night-before", 26)
    schedule("soon", 0.5)
    with http_receiver() as receiver:
        address = f"json://127.0.0.1:{receiver.port}"
        tell(address)
        tell(address)
        (first,) = receiver.arrived
        assert first["title"] == "textclf: 2 runs of predict/forgotten are late"
        lines = first["message"].splitlines()
        assert [line.rpartition(" ")[2] for line in lines[:2]] == ["the-night-before", "the-last-night"]
        assert "Nothing has started it" in lines[2]
        assert f"{server.address}/runs/flow-run/" in lines[3]
        schedule("behind-another", 1.5, "AwaitingConcurrencySlot")
        tell(address)
        _, second = receiver.arrived
        assert second["title"] == "textclf: a run of predict/forgotten is late"
        assert "An earlier run of this job has not ended." in second["message"]


def test_the_server_is_told_of_a_new_champion(deployed: Any) -> None:
    wanted = {"filter": {"event": {"name": ["textclf.champion.changed"]}}}
    events = [
        event
        for event in deployed.server.api("/events/filter", wanted)["events"]
        if event["resource"]["prefect.resource.id"] == "textclf.model.textclf-tiny"
    ]
    first = events[-1]
    assert first["resource"]["prefect.resource.name"] == "textclf-tiny"
    assert first["payload"]["version"] == 1
    assert first["payload"]["metric"] == "f1_macro"
    assert len(first["payload"]["run_id"]) == 32
    assert any(related["prefect.resource.id"].endswith(deployed.trained["id"]) for related in first["related"])
