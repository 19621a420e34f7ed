"""What a flow's command reports before it starts anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = '[{"provider": "local", "path": "rows.csv"}]'


def run(program: str, *arguments: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "flows" / program), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("predict_flow.py", ["--input", "missing.csv"], "missing.csv does not exist"),
        ("predict_flow.py", ["--input", "rows.csv", "--text_column", "body"], "'body'"),
        ("train_flow.py", ["--data.sources", SOURCES, "--data.text_column", "review"], "rows.csv lacks 'review'"),
        (
            "train_flow.py",
            ["--distillation.enabled", "--distillation.num_hidden_layers", "1", "--distillation.unlabelled", "x"],
            "There is no file or folder",
        ),
    ],
)
def test_a_mistake_is_reported_without_starting_prefect(
    program: str, arguments: list[str], message: str, command_settings: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n很好,正面\n", encoding="utf-8")
    if program == "predict_flow.py":
        arguments = [*arguments, "--output", "out.csv"]
    done = run(program, *arguments, environment=command_settings, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert not list((tmp_path / "prefect").glob("*.db"))


def test_debug_shows_what_led_to_an_error_without_passwords(
    prefect_server: Any, tiny_config: Path, tmp_path: Path
) -> None:
    environment = {
        **prefect_server.environment,
        "TEXTCLF_HOME": str(tmp_path / "home"),
        "MLFLOW_TRACKING_URI": "http://me:hunter2@127.0.0.1:9",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    done = run("train_flow.py", "--config", str(tiny_config), "--debug", environment=environment, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("MlflowException: API request to http://***@127.0.0.1:9/") == 1
    wanted = {"sort": "START_TIME_DESC", "flow_runs": {"name": {"like_": "train-tiny-"}}, "limit": 1}
    (flow_run,) = prefect_server.api("/flow_runs/filter", wanted)
    logged = "\n".join(prefect_server.log_lines(flow_run["id"], "prefect."))
    assert "MlflowException: API request to http://***@127.0.0.1:9/" in logged
    assert "hunter2" not in done.stdout + done.stderr + logged + str(flow_run)


def test_an_unexpected_error_is_shown_with_one_traceback(
    prefect_server: Any, tiny_config: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mlruns").write_text("a file where MLflow needs a folder", encoding="utf-8")
    environment = {**prefect_server.environment, "TEXTCLF_HOME": str(home)}
    done = run("train_flow.py", "--config", str(tiny_config), environment=environment, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1].startswith("NotADirectoryError: ")


def test_a_mistyped_flag_loads_no_server(command_settings: dict[str, str], tmp_path: Path) -> None:
    environment = {**command_settings, "PYTHONPROFILEIMPORTTIME": "1"}
    done = run("train_flow.py", "--data.nmae", "x", environment=environment, folder=tmp_path)
    assert done.returncode == 2
    assert "did you mean --data.name?" in done.stderr
    assert "textclf.config" in done.stderr
    assert "prefect.server.api.server" not in done.stderr
