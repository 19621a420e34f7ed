"""A power failure while a scheduled run is going on, and the next start of `serve.py`."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from schedule_support import ROOT, SERVE, Served, cut_power, working


@pytest.fixture(scope="module")
def served(prefect_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Served:
    home = tmp_path_factory.mktemp("hard-stops") / "home"
    (home / "inbox").mkdir(parents=True)
    prefect_server.cancel_unfinished()
    return Served(prefect_server, home)


@pytest.fixture(scope="module")
def long_training(tiny_config: Path, served: Served) -> Path:
    content = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    content["training"] |= {"num_train_epochs": 40, "early_stopping_patience": None}
    content["evaluation"] = {"baselines": False}
    file = served.home.with_name("long.yaml")
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def options(served: Served, long_training: Path) -> list[object]:
    predict = served.home.with_name("predict.yaml")
    predict.write_text(
        "{input: inbox, output: outbox, model: textclf-tiny, batch_size: 1, rows_per_shard: 500}\n", encoding="utf-8"
    )
    return ["--train-config", long_training, "--predict-config", predict]


def sealed(served: Served) -> list[Path]:
    return list(served.home.glob("checkpoints/*/checkpoint-*/sha256.json"))


def flow_process(run: str) -> psutil.Process:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                return process
    raise LookupError(f"no process executes run {run}")


def test_a_training_goes_on_after_a_power_failure(served: Served, options: list[object]) -> None:
    with served.running(*options) as process:
        run = served.begin("train")
        served.wait(lambda: sealed(served))
        cut_power(process)
    # Neither Prefect nor MLflow has noticed.
    assert served.state(run)["name"] == "Running"
    [(mlflow_run, status)] = served.query("select run_uuid, status from runs")
    assert status == "RUNNING"

    with served.running(*options):
        assert served.wait_for(run, "COMPLETED", "FAILED")["type"] == "COMPLETED", served.output()[-5000:]
        names = served.states(run)
        assert names[names.index("Crashed") :][:2] == ["Crashed", "AwaitingRetry"], names
        assert names.count("Crashed") == 1
        assert served.query("select run_uuid, status from runs") == [(mlflow_run, "FINISHED")]
        steps = served.query("select step from metrics where key = 'train/loss' order by step")
        assert steps == sorted(set(steps)), "no step is measured twice"
        served.wait(lambda: not list((served.home / "runs").glob("*.json")))


def test_a_prediction_goes_on_after_a_power_failure(served: Served, options: list[object]) -> None:
    texts = [f"这家的房间很好，第{number}次来" for number in range(5000)]
    lines = ["text", *texts]
    (served.home / "inbox" / "reviews.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with served.running(*options) as process:
        run = served.begin("predict")
        served.wait(lambda: list(served.home.glob(f"predictions/{'?' * 32}/*/*")))
        cut_power(process)
    assert served.state(run)["name"] == "Running"
    # What a power failure can leave behind: it must not block the start.
    (served.home / "runs" / "torn.json").write_text('{"flow_run": ', encoding="utf-8")

    with served.running(*options):
        assert served.wait_for(run, "COMPLETED", "FAILED")["type"] == "COMPLETED", served.output()[-5000:]
        assert "Crashed" in served.states(run)
    lines = (served.home / "outbox" / "reviews.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == texts


DYING = """
import os, signal
from prefect import flow
from prefect.context import FlowRunContext
from flows.conclusion import Conclusion, conclude
from flows.running import write_record
from textclf.config import Home, PredictConfig

@flow
def dying(config: PredictConfig):
    # As `serve.py` does before it starts a run.
    write_record(Home.from_environment(), FlowRunContext.get().flow_run, served=True)
    end = Conclusion(None, "2 files predicted, 1 file refused", name="Completed with 1 file refused")
    conclude(lambda run: end, PredictConfig, config)
    os.kill(os.getpid(), signal.SIGKILL)

dying({"input": "inbox", "output": "outbox"})
"""


def test_a_run_that_was_done_when_its_process_was_killed_ends_as_it_would_have(
    served: Served, options: list[object], tmp_path: Path
) -> None:
    script = tmp_path / "dying.py"
    script.write_text(DYING, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=served.environment, timeout=300)
    assert done.returncode == -signal.SIGKILL
    (run,) = served.server.api("/flow_runs/filter", {"flows": {"name": {"any_": ["dying"]}}})
    assert run["state"]["type"] == "RUNNING"
    with served.running(*options):
        state = served.wait_for(run["id"], "COMPLETED")
        assert state["name"] == "Completed with 1 file refused"
        assert state["message"] == "2 files predicted, 1 file refused"


class TestOneKilledProcess:
    def test_is_started_again_three_times_at_most(self, served: Served, options: list[object]) -> None:
        with served.running(*options):
            run = served.begin("train")
            for started in range(1, 5):
                served.wait(lambda: served.states(run).count("Pending") == started)  # noqa: B023
                served.wait_for(run, "RUNNING")
                flow_process(run).kill()
                served.wait(lambda: served.states(run).count("Crashed") >= started)  # noqa: B023
            served.wait(lambda: "not started again" in (served.state(run)["message"] or ""))
            assert served.state(run)["type"] == "CRASHED"
            assert "4 times" in served.state(run)["message"]
            served.wait(lambda: not list((served.home / "runs").glob(f"{run}*")))

    def test_that_survives_its_serve_is_left_alone(self, served: Served, options: list[object]) -> None:
        with served.running(*options) as process:
            run = served.begin("train")
            served.wait(lambda: sealed(served) and served.state(run)["name"] == "Running")
            survivor = flow_process(run)
            # It would end with its next line of output, which nobody reads any more.
            survivor.suspend()
            process.kill()
            process.wait()
            with served.running(*options):
                # Dead runs are looked for before due ones are asked for.
                served.wait_for(served.begin("predict"), "COMPLETED")
                assert "Crashed" not in served.states(run)
                assert served.state(run)["name"] == "Running"
                survivor.kill()
                served.wait(lambda: "Crashed" in served.states(run))
                assert served.wait_for(run, "COMPLETED", "FAILED")["type"] == "COMPLETED", served.output()[-5000:]

    def test_that_was_wrongly_taken_for_dead_does_the_work_once(self, served: Served, long_training: Path) -> None:
        served.server.command("python", str(ROOT / "deployments" / "deploy.py"))
        [(trainings,)] = served.query("select count(*) from runs")
        deployment = served.server.deployment("train")["id"]
        config = yaml.safe_load(long_training.read_text(encoding="utf-8"))
        # The first process must still train when the second, which takes seconds to start, asks for the lock.
        config["training"]["num_train_epochs"] = 150
        run = served.server.api(f"/deployments/{deployment}/create_flow_run", {"parameters": {"config": config}})["id"]
        with working(served):
            served.wait(lambda: sealed(served) and served.state(run)["name"] == "Running")
            for state in ({"type": "CRASHED"}, {"type": "SCHEDULED", "name": "AwaitingRetry"}):
                served.server.api(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
            served.wait(lambda: "another process is still executing this run" in served.output())
            assert served.wait_for(run, "COMPLETED", "FAILED")["type"] == "COMPLETED", served.output()[-5000:]
            served.wait(lambda: not list((served.home / "runs").glob(f"{run}.json")))
        assert served.state(run)["type"] == "COMPLETED"
        assert served.query("select count(*) from runs") == [(trainings + 1,)]

    def test_in_a_work_pool_leaves_no_record_when_it_was_resumed(self, served: Served, tiny_config: Path) -> None:
        served.server.command("python", str(ROOT / "deployments" / "deploy.py"))
        deployment = served.server.deployment("train")["id"]
        config = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
        run = served.server.api(f"/deployments/{deployment}/create_flow_run", {"parameters": {"config": config}})["id"]
        record = served.home / "runs" / f"{run}.json"

        def execute() -> subprocess.Popen[bytes]:
            """Does what a worker of the pool does with a run."""
            program = str(Path(sys.executable).with_name("prefect"))
            with served.log.open("ab") as log:
                return subprocess.Popen(
                    [program, "flow-run", "execute", run],
                    cwd=served.home.parent,
                    env=served.environment,
                    stdout=log,
                    stderr=log,
                )

        worker = execute()
        served.wait(record.is_file)
        psutil.Process(json.loads(record.read_text(encoding="utf-8"))["process"]).kill()
        worker.wait(300)
        assert served.state(run)["type"] == "CRASHED", served.output()[-5000:]
        assert record.is_file()
        again = {"type": "SCHEDULED", "name": "AwaitingRetry"}
        served.server.api(f"/flow_runs/{run}/set_state", {"state": again, "force": True})
        execute().wait(300)
        assert served.state(run)["type"] == "COMPLETED", served.output()[-5000:]
        assert not record.exists()


def test_a_second_serve_on_one_home_refuses(served: Served, options: list[object]) -> None:
    with served.running(*options) as process:
        second = subprocess.run(
            [sys.executable, str(SERVE), *map(str, options)],
            env=served.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert second.returncode == 2
        assert re.search(rf"already served: process {process.pid}, since \d{{4}}-", second.stderr)
        assert not second.stdout


def test_runs_of_another_machine_or_server_are_left_alone(served: Served, options: list[object]) -> None:
    run = served.server.api(
        "/flow_runs/", {"flow_id": served.server.deployment("train", "local")["flow_id"], "state": {"type": "RUNNING"}}
    )["id"]
    record = {
        "flow_run": run,
        "deployment": None,
        "process": 1,
        "process_started": "2026-11-01T00:00:00Z",
        "host": socket.gethostname(),
        "server": f"{served.server.address}/api",
    }
    runs = served.home / "runs"
    for name, change in {"host": "elsewhere", "server": "http://127.0.0.1:9/api"}.items():
        (runs / f"{run}.json").write_text(json.dumps({**record, name: change}), encoding="utf-8")
        with served.running(*options):
            mine = served.begin("predict")
            served.wait_for(mine, "COMPLETED")
            assert served.state(run)["type"] == "RUNNING"
            assert (runs / f"{run}.json").is_file()
    # The same on this machine: nobody holds its lock.
    (runs / f"{run}.json").write_text(json.dumps(record), encoding="utf-8")
    with served.running(*options):
        served.wait_for(run, "CRASHED")
        served.wait(lambda: not (runs / f"{run}.json").exists())


@pytest.mark.soak
@pytest.mark.parametrize("dead", ["machine", "worker"])
def test_a_run_whose_worker_died_goes_on_after_some_minutes(served: Served, long_training: Path, dead: str) -> None:
    served.server.command("python", str(ROOT / "deployments" / "deploy.py"))
    deployment = served.server.deployment("train")["id"]
    config = yaml.safe_load(long_training.read_text(encoding="utf-8"))
    run = served.server.api(f"/deployments/{deployment}/create_flow_run", {"parameters": {"config": config}})["id"]
    with working(served) as worker:
        served.wait(lambda: sealed(served) and served.state(run)["name"] == "Running")
        if dead == "worker":
            worker.kill()
            worker.wait()
    [before] = served.query("select run_uuid from runs where status = 'RUNNING'")
    with working(served):
        served.wait(lambda: "Crashed" in served.states(run))
        assert served.wait_for(run, "COMPLETED", "FAILED")["type"] == "COMPLETED", served.output()[-5000:]
    names = served.states(run)
    assert names[names.index("Crashed") :][:2] == ["Crashed", "AwaitingRetry"], names
    assert served.query("select run_uuid from runs order by start_time desc limit 1") == [before]
