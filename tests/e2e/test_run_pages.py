"""What the page and the list of runs show of each run: name, tags, state, message, log, artifacts, progress."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from user_support import PATIENCE_SECONDS, PREDICT, User

PROGRAMS = Path(sys.executable).parent
NAME = r"-\d{4}-\d\d-\d\d-\d{4}"


@pytest.fixture(scope="module")
def worker(deployed: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A worker that runs what the tests start; yields the file with its output."""
    log = tmp_path_factory.mktemp("worker") / "output.txt"
    server = deployed.server
    # A run that another file's worker has left holds the only slot of its deployment for five minutes.
    server.cancel_unfinished()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(PROGRAMS / "prefect"), "worker", "start", "--pool", "textclf"],
            cwd=server.elsewhere,
            env=server.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield log
        finally:
            process.terminate()
            process.wait(60)


def start(server: Any, flow: str, config: dict[str, Any], **fields: Any) -> str:
    deployment = server.deployment(flow)["id"]
    content = {"parameters": {"config": config}, **fields}
    return str(server.api(f"/deployments/{deployment}/create_flow_run", content)["id"])


def eventually(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return result


def ended(server: Any, run: str, *states: str) -> dict[str, Any]:
    def final() -> Any:
        found = server.api(f"/flow_runs/{run}")
        return found if found["state"]["type"] in (states or ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")) else None

    state: dict[str, Any] = eventually(final)
    return state


class TestOfARunThatFails:
    def test_the_log_has_the_message_once_and_no_traceback(self, deployed: Any) -> None:
        failed = deployed.failed
        message = failed["state"]["message"]
        assert message.startswith("Columns are missing."), "nothing of Prefect comes before the message"
        assert "\nSet these fields" in message, "the message is complete"
        output = (deployed.server.elsewhere.parent / "worker.log").read_text(encoding="utf-8")
        lines = "\n".join(deployed.server.log_lines(failed["id"]))
        for text in (lines, output):
            assert text.count("Columns are missing.") == 1
            assert "Traceback" not in text

    def test_its_summary_says_where_it_failed_and_what_to_type(self, deployed: Any) -> None:
        failed = deployed.failed
        artifacts = deployed.server.artifacts(failed["id"])
        assert set(artifacts) == {"download", "run-summary"}
        page = artifacts["run-summary"]["data"]
        assert "Columns are missing." in page
        assert re.search(r"\| download \| done \|", page)
        assert re.search(r"step `clean`", page)
        assert f"prefect flow-run retry {failed['id']}" in page
        assert "press Retry on the page of this run" in page
        assert "A `serve.py` or a worker must be running." in page
        assert artifacts["run-summary"]["description"] == failed["state"]["message"].splitlines()[0]

    def test_an_error_that_nobody_expected_has_one_traceback_and_no_password(
        self, prefect_server: Any, tmp_path: Path
    ) -> None:
        script = tmp_path / "broken.py"
        script.write_text(BROKEN, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            env=prefect_server.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        wanted = {"flows": {"name": {"any_": ["broken"]}}}
        (run,) = prefect_server.api("/flow_runs/filter", wanted)
        tasks = eventually(lambda: prefect_server.api("/task_runs/filter", wanted))
        logged = "\n".join(prefect_server.log_lines(run["id"]))
        page = prefect_server.artifacts(run["id"])["run-summary"]["data"]
        assert run["state"]["message"] == "KeyError: 'postgresql://***@database/mlflow'"
        assert logged.count("Traceback") == 1
        assert done.stderr.partition("Finished")[0].count("in load") == 1
        assert "hunter2" not in "".join((done.stdout, done.stderr, logged, page, str(run), str(tasks)))


BROKEN = """
from prefect import flow, task
from flows.conclusion import conclude
from tasks.steps import step
from textclf.config import PredictConfig

@task
def load():
    with step("load"):
        raise KeyError("postgresql://me:hunter2@database/mlflow")

@flow
def broken(config: PredictConfig):
    return conclude(lambda run: load(), PredictConfig, config)

broken({"input": "inbox", "output": "outbox"})
"""


class TestOfARunThatEndsWell:
    def test_has_a_name_tags_and_a_message(self, deployed: Any) -> None:
        trained, predicted = deployed.trained, deployed.predicted
        assert re.fullmatch(f"train-tiny{NAME}", trained["name"])
        assert re.fullmatch(f"predict-tiny{NAME}", predicted["name"])
        for run in (trained, predicted):
            assert set(run["tags"]) == {"textclf", "data:tiny", "model:textclf-tiny"}
        assert re.match(r"textclf-tiny version 1 is champion\. ", trained["state"]["message"])
        assert predicted["state"]["name"] == "Completed"
        assert predicted["state"]["message"] == "2 files predicted, 5 rows"

    def test_a_training_is_summed_up_on_one_page(self, deployed: Any) -> None:
        page = deployed.server.artifacts(deployed.trained["id"])["run-summary"]["data"]
        for row in ("fine-tuned", "majority", "tfidf-logistic-regression"):
            score = r"[\d.]+ \([\d.]+–[\d.]+\)"
            assert re.search(rf"\| {row} \| {score} \| {score} \|", page)
        for fact in (r"version `[0-9a-f]{12}`", r"champion", r"`[0-9a-f]{32}`", r"--model textclf-tiny"):
            assert re.search(fact, page), fact

    def test_refused_files_show_in_the_name_of_the_state_and_in_the_exit_code(
        self, deployed: Any, tmp_path: Path
    ) -> None:
        server = deployed.server
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "good.csv").write_text("text\n房间很好\n\n", encoding="utf-8")
        (tmp_path / "in" / "bad.parquet").write_bytes(b"PAR1 and no more")
        user = User(tmp_path, server.environment)
        done = user.types(PREDICT, "--input", "in", "--output", "out", "--model", "textclf-tiny")
        assert done.returncode == 3, done.stderr
        wanted = {"flow_runs": {"state": {"name": {"any_": ["Completed with 1 file refused"]}}}}
        # Other tests of the same server may have left such a run.
        run = max(server.api("/flow_runs/filter", wanted), key=lambda found: found["start_time"])
        assert run["state"]["type"] == "COMPLETED"
        assert run["state"]["message"].startswith("1 file predicted, 1 row")
        assert run["state"]["message"].endswith("1 file refused")


class TestNames:
    @pytest.mark.parametrize("prefilled", ["alpha3-canis-majoris-ring", "Rustic-Zebra"])
    def test_what_a_form_is_prefilled_with_is_replaced(self, deployed: Any, worker: Path, prefilled: str) -> None:
        run = start(deployed.server, "predict", {"input": "nowhere", "output": "out"}, name=prefilled)
        found = ended(deployed.server, run)
        assert re.fullmatch(f"predict-quickstart{NAME}", found["name"])

    def test_what_a_person_typed_is_kept(self, deployed: Any, worker: Path) -> None:
        config = {"input": "inbox", "output": "outbox", "column_names": []}
        run = start(deployed.server, "predict", {**config, "batch_size": 64}, name="before the holidays")
        assert ended(deployed.server, run)["name"] == "before the holidays"


def test_a_stopped_training_tells_how_far_it_came_and_goes_on_with_the_command_on_its_page(
    deployed: Any, worker: Path, tiny_config: Path
) -> None:
    server = deployed.server
    config = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    config["training"] |= {"num_train_epochs": 100, "per_device_train_batch_size": 1, "merge_repeats": False}
    config["training"]["early_stopping_patience"] = None
    config["evaluation"] = {"baselines": False, "untrained": False}
    earlier = set(server.home.glob("checkpoints/*"))
    run = start(server, "train", config)

    progress = eventually(lambda: server.artifacts(run).get("progress-train"))
    assert 0 < float(progress["data"]) < 100
    (folder,) = set(server.home.glob("checkpoints/*")) - earlier
    server.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    name = ended(server, run, "CANCELLED")["name"]
    page = server.artifacts(run)["run-summary"]["data"]
    assert re.search(r"step [\d,]+ of [\d,]+, after \d+\.\d epochs", page)
    assert folder.name in page

    command = shlex.split(next(line for line in page.splitlines() if "prefect flow-run retry" in line))
    variable, program, *arguments = command
    assert variable == f"PREFECT_API_URL={server.environment['PREFECT_API_URL']}"
    assert program == "prefect"
    server.command(program, *arguments)
    again = ended(server, run, "COMPLETED", "FAILED", "CRASHED")
    assert again["state"]["type"] == "COMPLETED", server.log_lines(run)
    assert again["name"] == name
    assert folder.name in server.artifacts(run)["run-summary"]["data"], "the same MLflow run"
