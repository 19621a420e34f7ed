"""Scheduled runs on one machine (`serve.py`) and in a work pool (`prefect.yaml`), with a real server and worker."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml

import textclf
from textclf.config import CONFIGS, PredictConfig, TrainConfig, load_config

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "deployments" / "serve.py"
CRONS = {"train": "0 2 * * 6", "predict": "30 3 * * *"}


def deployments_in_file() -> dict[str, dict[str, Any]]:
    content = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
    return {found["entrypoint"].rpartition(".")[2]: found for found in content["deployments"]}


@pytest.mark.parametrize(
    ("flow", "model", "file"), [("train", TrainConfig, "quickstart.yaml"), ("predict", PredictConfig, "predict.yaml")]
)
def test_prefect_yaml_repeats_the_configuration(flow: str, model: Any, file: str) -> None:
    parameters = deployments_in_file()[flow]["parameters"]
    assert model.model_validate(parameters["config"]) == load_config(model, CONFIGS / file)


def test_prefect_yaml_has_no_absolute_paths() -> None:
    text = (ROOT / "deployments" / "prefect.yaml").read_text(encoding="utf-8")
    assert not re.search(r"(^|[\s\"'])(/|~|[A-Z]:)\w", text)
    assert yaml.safe_load(text)["pull"] == []


class TestWorkPool:
    @pytest.mark.parametrize("flow", ["train", "predict"])
    def test_is_scheduled_in_shanghai_and_one_run_at_a_time(self, deployed: Any, flow: str) -> None:
        deployment = deployed.deployments[flow]
        (schedule,) = deployment["schedules"]
        assert schedule["active"]
        assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == (CRONS[flow], "Asia/Shanghai")
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        assert deployment["version"] == textclf.__version__
        assert deployment["work_pool_name"] == "textclf"
        assert not deployment["pull_steps"]
        assert not deployment["path"]

    @pytest.mark.parametrize("flow", ["train", "predict"])
    def test_every_field_of_the_form_has_a_name_help_and_limits(self, deployed: Any, flow: str) -> None:
        definitions = deployed.deployments[flow]["parameter_openapi_schema"]["definitions"]
        fields = {
            f"{name}.{field}": content
            for name, definition in definitions.items()
            for field, content in definition["properties"].items()
        }
        assert len(fields) > 12
        for name, field in fields.items():
            # Without a description of the field, the form shows that of the class.
            section = definitions.get(field.get("$ref", "").rpartition("/")[2], {})
            assert field.get("title") or section.get("title"), name
            assert field.get("description") or section.get("description"), name
            kinds = [field, *({**field, **kind} for kind in field.get("anyOf", []))]
            for kind in kinds:
                if kind.get("type") in ("integer", "number"):
                    assert "minimum" in kind or "exclusiveMinimum" in kind, name

    def test_refuses_a_value_outside_its_limits(self, deployed: Any) -> None:
        config = {"input": "inbox", "output": "outbox", "batch_size": 0}
        with pytest.raises(HTTPError) as caught:
            deployed.server.run("predict", config)
        with caught.value as answer:
            assert "0 is less than the minimum of 1" in answer.read().decode()

    def test_trains_and_leaves_its_artifacts(self, deployed: Any) -> None:
        assert deployed.trained["state"]["type"] == "COMPLETED", deployed.server.log_lines(deployed.trained["id"])
        artifacts = deployed.server.artifacts(deployed.trained["id"])
        assert set(artifacts) == {
            "download",
            "data-report",
            "data-audit",
            "tokens",
            "candidates",
            "training",
            "metrics",
            "decision",
            "run-summary",
        }
        assert "tiny" in artifacts["data-audit"]["data"].splitlines()[0]
        assert "| 正面 |" in artifacts["data-audit"]["data"]
        assert "| 正面 | 48 |" in artifacts["data-report"]["data"]
        metrics = artifacts["metrics"]["data"]
        assert re.search(r"\| Model \| Accuracy \| F1 macro \|", metrics)
        for row in ("fine-tuned", "majority", "tfidf-logistic-regression", "负面", "正面"):
            figure = r"[\d.]+( \([\d.]+–[\d.]+\))?"
            assert re.search(rf"^\| {row} \| {figure} \|", metrics, re.MULTILINE), metrics
        assert re.search(r"textclf-tiny version 1\b.*champion", artifacts["decision"]["data"])

    def test_predicts_new_files_of_the_inbox(self, deployed: Any) -> None:
        import pandas as pd

        assert deployed.predicted["state"]["type"] == "COMPLETED", deployed.server.log_lines(deployed.predicted["id"])
        artifacts = deployed.server.artifacts(deployed.predicted["id"])
        assert set(artifacts) == {"predictions"}
        page = artifacts["predictions"]["data"]
        outbox = deployed.server.home / "outbox"
        rows = {
            "morning.csv": pd.read_csv(outbox / "morning.csv"),
            "evening.parquet": pd.read_parquet(outbox / "evening.parquet"),
        }
        assert list(rows["morning.csv"]["id"]) == ["r0", "r1", "r2"]
        for name, texts in deployed.inputs.items():
            cells = re.search(rf"\| {re.escape(name)} \| done \|.*\| (\d+) \| (\d+) \| 0 \|", page)
            assert cells and cells.groups() == (str(len(texts)),) * 2
            assert set(rows[name]["label"]) <= {"负面", "正面"}
            assert len(rows[name]) == len(texts)

    def test_the_page_of_the_run_shows_the_librarys_log(self, deployed: Any) -> None:
        lines = deployed.server.log_lines(deployed.trained["id"], "textclf.")
        assert any(re.search(r"textclf-tiny version 1\b.*champion", line) for line in lines), lines
        assert any("validation accuracy" in line for line in lines), lines
        assert deployed.server.log_lines(deployed.predicted["id"], "textclf.")

    def test_a_failed_run_shows_the_real_message(self, deployed: Any) -> None:
        state = deployed.failed["state"]
        assert state["type"] == "FAILED"
        for fact in ("Columns are missing", "'review' (data.text_column)", "['text', 'label']"):
            assert fact in state["message"]


def serve(*arguments: str, environment: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SERVE), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_deployments(server: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    known = {"deployments": {"name": {"any_": ["local"]}}}
    while len(server.api("/deployments/filter", known)) < len(CRONS) + 1:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.fixture(scope="module")
def adapt_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration that adapts a tiny encoder in seconds."""
    folder = tmp_path_factory.mktemp("unlabelled")
    # Among them are the words of the texts that are classified.
    texts = [
        f"这家的{place}{degree}{word}，第{number}次来"
        for place in ("房间", "服务", "键盘", "电池", "早餐", "前台", "屏幕", "故事", "翻译")
        for degree in ("很", "太", "非常", "真的")
        for word in ("差", "好", "脏", "失望", "满意", "干净", "清晰", "流畅", "精彩", "难吃", "粗糙", "无聊")
        for number in range(4)
    ]
    (folder / "texts.csv").write_text("\n".join(["text", *texts]) + "\n", encoding="utf-8")
    content = {
        "data": {"name": "tiny", "files": [str(folder / "texts.csv")]},
        "model": {
            "architecture": {
                "num_hidden_layers": 1,
                "hidden_size": 16,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            }
        },
        "adaptation": {"max_steps": 5, "sequence_length": 32, "per_device_train_batch_size": 8},
    }
    file = folder / "adapt.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def served(deployed: Any, adapt_file: Path) -> Iterator[tuple[Any, subprocess.Popen[str], str]]:
    server = deployed.server
    server.cancel_unfinished()
    environment = {**server.environment, "PYTHONUNBUFFERED": "1"}
    arguments = ("--adapt-config", str(adapt_file))
    with serve(*arguments, environment=environment, folder=server.elsewhere) as process:
        assert process.stdout is not None
        greeting = ""
        while server.address not in greeting:
            line = process.stdout.readline()
            assert line, greeting
            greeting += line
        try:
            wait_for_deployments(server, process)
            yield server, process, greeting
        finally:
            process.kill()


@pytest.fixture(scope="module")
def long_run(served: Any, tiny_config: Path) -> str:
    """A training by the first `serve.py` that takes longer than the tests."""
    server, _, _ = served
    config = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    config["training"] |= {"num_train_epochs": 100, "per_device_train_batch_size": 1, "merge_repeats": False}
    config["training"]["early_stopping_patience"] = None
    deployment = server.deployment("train", "local")["id"]
    run = server.api(f"/deployments/{deployment}/create_flow_run", {"parameters": {"config": config}})["id"]
    deadline = time.monotonic() + 120
    while server.api(f"/flow_runs/{run}")["state"]["name"] != "Running":
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return str(run)


class TestServe:
    def test_registers_both_flows_and_prints_their_schedules(self, served: Any) -> None:
        server, _, greeting = served
        for place in (server.home, server.home / "inbox", server.home / "outbox"):
            assert str(place) in greeting
        for flow, cron in CRONS.items():
            deployment = server.deployment(flow, "local")
            (schedule,) = deployment["schedules"]
            assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == (cron, "Asia/Shanghai")
            assert f"{flow}/local" in greeting
            assert repr(cron) in greeting
            assert deployment["entrypoint"] == f"flows.{flow}_flow.{flow}"
            assert deployment["global_concurrency_limit"]["limit"] == 1

    def test_runs_what_is_due(self, served: Any) -> None:
        server, _, _ = served
        run = server.run("predict", {"input": "inbox", "output": "outbox", "model": "textclf-tiny"}, name="local")
        assert run["state"]["type"] == "COMPLETED", server.log_lines(run["id"])
        assert re.search(r"\| morning\.csv \|.*before.*\| 3 \|", server.artifacts(run["id"])["predictions"]["data"])
        assert server.log_lines(run["id"], "textclf.")

    def test_adapts_an_encoder_that_a_training_then_begins_with(
        self, served: Any, adapt_file: Path, tiny_config: Path
    ) -> None:
        server, _, greeting = served
        assert "adapt/local" in greeting
        (schedule,) = server.deployment("adapt", "local")["schedules"]
        assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 1 1 * *", "Asia/Shanghai")
        run = server.run("adapt", yaml.safe_load(adapt_file.read_text(encoding="utf-8")), name="local")
        assert run["state"]["type"] == "COMPLETED", server.log_lines(run["id"])
        assert re.fullmatch(r"adapt-tiny-\d{4}-\d\d-\d\d-\d{4}", run["name"])
        assert "textclf-encoder-tiny version 1" in run["state"]["message"]
        artifacts = server.artifacts(run["id"])
        assert set(artifacts) == {"download", "texts", "tokens", "adaptation", "encoder", "run-summary"}
        assert "| to train |" in artifacts["texts"]["data"]
        config = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
        config["model"] = {"sources": [{"provider": "registry", "name": "textclf-encoder-tiny"}]}
        trained = server.run("train", config, name="local")
        assert trained["state"]["type"] == "COMPLETED", server.log_lines(trained["id"])
        page = server.artifacts(trained["id"])["download"]["data"]
        assert "registry textclf-encoder-tiny version 1" in page

    def test_refuses_to_serve_a_home_twice(self, served: Any, long_run: str) -> None:
        server, process, _ = served
        with serve(environment=server.environment, folder=server.elsewhere) as second:
            output, errors = second.communicate(timeout=60)
        assert second.returncode == 2
        assert not output
        assert f"already served: process {process.pid}, since 2" in errors
        assert server.api(f"/flow_runs/{long_run}")["state"]["name"] == "Running"

    def test_stops_on_sigterm_and_leaves_the_schedules_active(self, served: Any, long_run: str) -> None:
        server, process, _ = served
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert output.strip(), "it explains what happens to the runs"
        assert "Traceback" not in errors
        assert "Warning" not in errors
        assert server.api(f"/flow_runs/{long_run}")["state"]["name"] == "AwaitingRetry"
        for flow in [*CRONS, "adapt"]:
            deployment = server.deployment(flow, "local")
            assert not deployment["paused"]
            assert [schedule["active"] for schedule in deployment["schedules"]] == [True]


class TestOtherPages:
    """A browser lets a web page of another origin do nothing."""

    def ask(self, server: Any, origin: str, **headers: str) -> tuple[int, str | None]:
        """Returns the status of a POST that starts a run, and the origin that may read the response."""
        deployment = server.deployment("predict")["id"]
        address = f"{server.address}/api/deployments/{deployment}/create_flow_run"
        request = Request(address, b'{"parameters": 1}', {"Content-Type": "text/plain", "Origin": origin, **headers})
        with pytest.raises(HTTPError) as caught:
            urlopen(request, timeout=60)
        with caught.value as answer:
            return answer.code, answer.headers["Access-Control-Allow-Origin"]

    def preflight(self, server: Any, origin: str) -> tuple[int, str | None]:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "prefect-csrf-token"}
        request = Request(f"{server.address}/api/flow_runs/filter", None, {"Origin": origin, **asked}, method="OPTIONS")
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers["Access-Control-Allow-Origin"]
        except HTTPError as error:
            with error:
                return error.code, error.headers["Access-Control-Allow-Origin"]

    @pytest.mark.parametrize("origin", ["https://elsewhere.example", "http://localhost:4201", "null"])
    def test_are_refused(self, deployed: Any, origin: str) -> None:
        server = deployed.server
        assert self.preflight(server, origin) == (400, None)
        # A form is sent without a preflight request, but it has no token.
        assert self.ask(server, origin) == (403, None)
        token = Request(f"{server.address}/api/csrf-token?client=page", None, {"Origin": origin})
        with urlopen(token, timeout=60) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] is None

    @pytest.mark.parametrize("origin", ["http://localhost:4200", "http://127.0.0.1:4200"])
    def test_prefects_own_page_is_allowed(self, deployed: Any, origin: str) -> None:
        server = deployed.server
        assert self.preflight(server, origin) == (200, origin)
        # The parameters are rejected, not the page.
        assert self.ask(server, origin, **server.csrf_headers) == (422, origin)


@pytest.mark.parametrize(
    ("arguments", "address", "exit_code", "named"),
    [
        ([], None, 2, ["PREFECT_API_URL"]),
        ([], "http://127.0.0.1:9/api", 1, ["PREFECT_API_URL", "http://127.0.0.1:9/api"]),
        (["--timezone", "Mars/Olympus"], None, 2, ["--timezone", "'Mars/Olympus'"]),
        (["--predict-cron", "every night"], None, 2, ["--predict-cron", "'every night'"]),
    ],
)
def test_serve_reports_what_is_missing(
    arguments: list[str],
    address: str | None,
    exit_code: int,
    named: list[str],
    command_settings: dict[str, str],
    tmp_path: Path,
) -> None:
    environment = {**command_settings, **({"PREFECT_API_URL": address} if address else {})}
    with serve(*arguments, environment=environment, folder=tmp_path) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == exit_code
    assert [part for part in named if part not in errors] == [], errors
    assert "Traceback" not in errors
    if "PREFECT_API_URL" in errors:
        assert f"cd {ROOT} && prefect server start\n" in errors
        assert "export PREFECT_API_URL=http://127.0.0.1:4200/api" in errors
    assert not output
