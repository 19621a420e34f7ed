"""Two weeks of schedules on one machine, one night per minute, with the faults that such a machine meets.

Prints a table of what happened: `pytest tests/e2e/test_two_weeks.py -m soak -s` (about 20 minutes).
"""

from __future__ import annotations

import csv
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from port_support import free_port
from user_support import ROOT, TRAIN

from textclf.tables import align

NIGHT = timedelta(minutes=1)
NIGHTS = 14
ROWS, LONG_FILE_ROWS = 200, 40_000
BROKEN_ROWS = 3
"""Rows of every file that have no text and belong in quarantine."""
LIMIT_SECONDS = 60
"""How soon a run that lost its power runs again, counted from the start of `serve.py`."""


@dataclass
class Machine:
    """A machine that runs `serve.py` and loses its power, and a Prefect server that goes away."""

    folder: Path
    port: int
    environment: dict[str, str]
    serve_arguments: list[str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start_server(self) -> None:
        program = str(Path(sys.executable).with_name("prefect"))
        self._start("server", [program, "server", "start", "--port", str(self.port)], ROOT)
        wait_for(self.server_answers, "the Prefect server answers")

    def start_serve(self) -> float:
        """Starts `serve.py` and returns the time, in seconds of the monotonic clock."""
        started = time.monotonic()
        command = [sys.executable, str(ROOT / "deployments" / "serve.py"), *self.serve_arguments]
        self._start("serve", command, self.folder)
        return started

    def _start(self, name: str, command: list[str], folder: Path) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(120)

    def power_failure(self) -> None:
        """Kills `serve.py` and everything that it started; the server is on another machine."""
        serve = self.processes.pop("serve")
        children = psutil.Process(serve.pid).children(recursive=True)
        for process in (*children, serve):
            process.kill()
        serve.wait(30)
        psutil.wait_procs(children, timeout=30)

    def kill_all(self) -> None:
        for process in self.processes.values():
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                child.kill()
            process.kill()
            process.wait(30)

    def client(self) -> Any:
        """A client of the server, which passes its CSRF protection."""
        from prefect.client.orchestration import SyncPrefectClient

        return SyncPrefectClient(f"http://127.0.0.1:{self.port}/api")

    def server_answers(self) -> bool:
        with self.client() as client:
            return client.api_healthcheck() is None

    def runs(self, flow: str) -> list[Any]:
        """The runs whose time has come, oldest first."""
        from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
        from prefect.client.schemas.sorting import FlowRunSort

        with self.client() as client:
            return client.read_flow_runs(
                flow_filter=FlowFilter(name={"any_": [flow]}),
                flow_run_filter=FlowRunFilter(expected_start_time={"before_": datetime.now(UTC)}),
                sort=FlowRunSort.EXPECTED_START_TIME_ASC,
                limit=200,
            )

    def run_of(self, flow: str, night: datetime) -> Any | None:
        return next((run for run in self.runs(flow) if run.expected_start_time == night), None)

    def state_of(self, flow: str, night: datetime) -> Any | None:
        run = self.run_of(flow, night)
        return run and run.state

    def set_schedule(self, deployment: str, *, active: bool) -> None:
        """Switches a deployment's schedule on or off, as the page does."""
        with self.client() as client:
            found = client.read_deployment_by_name(deployment)
            for schedule in found.schedules:
                client.update_deployment_schedule(found.id, schedule.id, active=active)

    def drop(self, name: str, rows: int = ROWS) -> Path:
        """Puts a file into the inbox; it gets its name when it is complete."""
        path = self.home / "inbox" / name
        lines = ["id,text"]
        for number in range(rows):
            lines.append(f"{path.stem}-{number},{'' if number < BROKEN_ROWS else f'第{number}个房间很干净，服务也好'}")
        part = self.folder / "part"
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return part.rename(path)


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(0.2)
    return found


def sleep_until(moment: datetime) -> None:
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


@pytest.fixture
def machine(tmp_path: Path, tiny_config: Path) -> Iterator[Machine]:
    (tmp_path / "home" / "inbox").mkdir(parents=True)
    port = free_port()
    ours = ("PREFECT_", "MLFLOW_", "TEXTCLF_", "HF_", "MODELSCOPE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
        "TEXTCLF_HOME": str(tmp_path / "home"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # With the pages of a person who looks every second.
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "OMP_NUM_THREADS": "1",
    }
    config = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    # Half a minute of training, with a checkpoint every three seconds.
    config["training"] |= {"num_train_epochs": 30, "per_device_train_batch_size": 2, "checkpoint_minutes": 0.05}
    config["training"] |= {"early_stopping_patience": None, "merge_repeats": False}
    train, predict = tmp_path / "train.yaml", tmp_path / "predict.yaml"
    train.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    content = {"input": "inbox", "output": "outbox", "model": "textclf-tiny", "rows_per_shard": 500}
    predict.write_text(yaml.safe_dump(content), encoding="utf-8")
    # The first champion, so that there is something to predict with in the first night.
    subprocess.run(
        [*TRAIN, "--config", str(tiny_config)],
        cwd=tmp_path,
        env={name: value for name, value in environment.items() if name != "PREFECT_API_URL"},
        check=True,
        capture_output=True,
        timeout=600,
    )
    arguments = ["--train-config", str(train), "--train-cron", "*/7 * * * *"]
    arguments += ["--predict-config", str(predict), "--predict-cron", "* * * * *"]
    machine = Machine(tmp_path, port, environment, arguments)
    try:
        yield machine
    finally:
        machine.kill_all()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_weeks(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    events: list[list[str]] = []
    recoveries: dict[str, float] = {}
    dropped: dict[str, int] = {}

    def happened(night: int, what: str, result: str) -> None:
        events.append([str(night), what, result])
        with capsys.disabled():
            print(f"night {night}: {what}: {result}", flush=True)

    def drop(night: int, rows: int = ROWS) -> None:
        name = f"night-{night:02}.csv"
        dropped[name] = rows
        machine.drop(name, rows)

    def finished(flow: str, moment: datetime) -> Any:
        state = wait_for(
            lambda: (found := machine.state_of(flow, moment)) and found.is_final() and found,
            f"the {flow} of {moment:%H:%M} ends",
            seconds=400,
        )
        return state

    machine.start_server()
    machine.start_serve()
    wait_for(lambda: deployments(machine) >= {"train", "predict"}, "both flows are deployed")
    # The first night begins at the next full minute that leaves time to prepare.
    begin = (datetime.now(UTC) + timedelta(seconds=30)).replace(second=0, microsecond=0) + NIGHT
    nights = {number: begin + (number - 1) * NIGHT for number in range(1, NIGHTS + 2)}

    drop(1)
    happened(1, "an ordinary night", finished("predict", nights[1]).name)

    (machine.home / "inbox" / "broken.xlsx").write_bytes(b"not a workbook")
    drop(2)
    state = finished("predict", nights[2])
    happened(2, "a file that cannot be predicted", state.name)
    assert "1 file refused" in state.name

    (machine.home / "inbox" / "notes.docx").write_bytes(b"notes")
    drop(3)
    state = finished("predict", nights[3])
    happened(3, "a file to ignore; the refused one again", state.name)
    assert state.name == "Completed"

    drop(4, LONG_FILE_ROWS)
    wait_for(lambda: len(list(machine.home.glob("predictions/*/000*"))) >= 3, "the long file is being predicted")
    machine.power_failure()
    recoveries["prediction"] = recovery(machine, "predict", nights[4])
    happened(
        4, "power failure in a prediction", f"{finished('predict', nights[4]).name}; {recoveries['prediction']:.0f} s"
    )

    machine.set_schedule("predict/local", active=False)
    resting = max(nights[5], datetime.now(UTC) + NIGHT)
    machine.stop("serve")
    machine.start_serve()
    drop(5)
    sleep_until(resting + 2 * NIGHT)
    asleep = [run for run in machine.runs("predict") if run.expected_start_time > resting]
    happened(6, "the schedule is paused, serve.py restarts", f"{len(asleep)} runs")
    assert not asleep
    machine.set_schedule("predict/local", active=True)

    # Trainings start every seven minutes; the next one loses its power.
    training = wait_for(lambda: running(machine, "train"), "a training runs", seconds=600)
    wait_for(lambda: list(machine.home.glob("checkpoints/*/checkpoint-*/sha256.json")), "a checkpoint is sealed")
    machine.power_failure()
    moment = training.expected_start_time
    recoveries["training"] = recovery(machine, "train", moment)
    state = finished("train", moment)
    happened(8, "power failure in a training", f"{state.name}; {recoveries['training']:.0f} s")
    drop(8)

    machine.stop("server")
    away = datetime.now(UTC)
    drop(9)
    time.sleep(3 * NIGHT.total_seconds())
    drop(11)
    machine.start_server()
    back = datetime.now(UTC)
    wait_for(
        lambda: any(run.state.is_completed() and run.start_time > back for run in machine.runs("predict")),
        "a prediction has run after the server is back",
        seconds=400,
    )
    missed = [run for run in machine.runs("predict") if away < run.expected_start_time < back]
    did_run = [run for run in missed if run.state.name.startswith("Completed")]
    happened(12, "the server was away for three nights", f"{len(missed)} missed, {len(did_run)} of them run")
    assert len(did_run) <= 1

    drop(14)
    last = datetime.now(UTC).replace(second=0, microsecond=0) + NIGHT
    happened(14, "an ordinary night", finished("predict", last).name)
    machine.stop("serve")

    lost, doubled = rows_lost_and_doubled(machine, dropped)
    stuck = [
        run
        for flow in ("train", "predict")
        for run in machine.runs(flow)
        if run.state.type.value in ("RUNNING", "PENDING")
    ]
    overlaps = overlapping(machine)
    with capsys.disabled():
        print("\n" + align([["night", "what happened", "result"], *events], text_columns=3))
        print(
            f"rows lost {lost}, rows doubled {doubled}, runs stuck {len(stuck)}, runs at once {overlaps}, "
            f"seconds to recovery {', '.join(f'{what} {seconds:.0f}' for what, seconds in recoveries.items())}"
        )
    assert (lost, doubled, len(stuck), overlaps) == (0, 0, 0, 0)
    assert all(seconds <= LIMIT_SECONDS for seconds in recoveries.values())


def deployments(machine: Machine) -> set[str]:
    with machine.client() as client:
        flows = {flow.id: flow.name for flow in client.read_flows()}
        return {flows[deployment.flow_id] for deployment in client.read_deployments()}


def running(machine: Machine, flow: str) -> Any | None:
    return next((run for run in machine.runs(flow) if run.state.is_running()), None)


def recovery(machine: Machine, flow: str, night: datetime) -> float:
    """Starts `serve.py` after a power failure; returns the seconds until the interrupted run runs again."""
    before = machine.run_of(flow, night)
    assert before.state.is_running(), before.state
    started = machine.start_serve()

    def runs_again() -> bool:
        run = machine.run_of(flow, night)
        return run.state.id != before.state.id and (run.state.is_running() or run.state.is_completed())

    wait_for(runs_again, f"the {flow} runs again")
    return time.monotonic() - started


def rows_lost_and_doubled(machine: Machine, dropped: dict[str, int]) -> tuple[int, int]:
    """Compares the ids of all inputs with those in outputs and quarantine files."""
    lost = doubled = 0
    for name, rows in dropped.items():
        output = machine.home / "outbox" / name
        expected = {f"{Path(name).stem}-{number}" for number in range(BROKEN_ROWS, rows)}
        found: Counter[str] = Counter()
        if output.is_file():
            with output.open(encoding="utf-8", newline="") as lines:
                found.update(row["id"] for row in csv.DictReader(lines))
        quarantine = output.with_name(f"{name}.quarantine.jsonl")
        kept = len(quarantine.read_text(encoding="utf-8").splitlines()) if quarantine.is_file() else 0
        lost += len(expected - found.keys()) + max(0, BROKEN_ROWS - kept)
        doubled += sum(count - 1 for count in found.values()) + max(0, kept - BROKEN_ROWS)
    return lost, doubled


def overlapping(machine: Machine) -> int:
    """Counts pairs of runs of one deployment that ran at the same time."""
    count = 0
    for flow in ("train", "predict"):
        spans = sorted((run.start_time, run.end_time) for run in machine.runs(flow) if run.start_time and run.end_time)
        count += sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))
    return count
