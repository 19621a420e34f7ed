"""`textclf status` and `textclf doctor`, with every part there and with parts away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from user_support import TEXTCLF, User

from textclf import __version__
from textclf.tables import display_width

NOBODY = "http://127.0.0.1:9"


def findings(output: str) -> dict[str, dict[str, Any]]:
    """The worst finding of each key."""
    worst: dict[str, dict[str, Any]] = {}
    for finding in json.loads(output)["findings"]:
        levels = ("ok", "warning", "problem")
        before = worst.setdefault(finding["key"], finding)
        if levels.index(finding["level"]) > levels.index(before["level"]):
            worst[finding["key"]] = finding
    return worst


@pytest.fixture(scope="module")
def operator(deployed: Any) -> User:
    return User(deployed.server.elsewhere, deployed.server.environment)


class TestStatus:
    def test_shows_runs_models_rows_disk_and_versions(self, deployed: Any, operator: User) -> None:
        shown = operator.types(TEXTCLF, "status", "--json")
        assert "Traceback" not in shown.stderr
        status = json.loads(shown.stdout)
        schedules = {one["name"].partition("/")[0]: one for one in status["schedules"]}
        for flow in ("train", "predict"):
            ended = {
                "flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}},
                "deployments": {"id": {"any_": [deployed.deployments[flow]["id"]]}},
            }
            names = {run["name"] for run in deployed.server.api("/flow_runs/filter", ended)}
            assert schedules[flow]["last"]["name"] in names
            assert schedules[flow]["last"]["seconds"] > 0
            assert schedules[flow]["timezone"] == "Asia/Shanghai"
        (model,) = (model for model in status["models"] if model["name"] == "textclf-tiny")
        assert model["version"] >= 1
        assert model["metric"] == "test_leakfree/f1_macro"
        assert 0 <= model["score"] <= 1
        assert len(model["data_version"]) == 12
        rows = sum(map(len, deployed.inputs.values()))
        for when in ("last_run", "last_30_days"):
            assert status[when]["predicted"] + status[when]["quarantined"] == status[when]["read"]
        assert status["last_30_days"]["read"] >= rows
        assert status["disk"]["parts"]["mlruns"] > 0
        assert status["disk"]["free"] > 0
        assert {"textclf", "python", "prefect", "mlflow", "torch"} <= set(status["versions"])
        problems = [finding for finding in status["findings"] if finding["level"] == "problem"]
        assert shown.returncode == (1 if problems else 0)

    @pytest.mark.parametrize("columns", [80, 120])
    @pytest.mark.parametrize("language", ["en", "zh"])
    def test_fits_the_terminal(self, operator: User, columns: int, language: str) -> None:
        shown = operator.types(TEXTCLF, "status", COLUMNS=str(columns), TEXTCLF_LANGUAGE=language)
        assert "textclf-tiny" in shown.stdout
        assert shown.stdout.startswith(f"textclf {__version__}")
        assert [line for line in shown.stdout.splitlines() if display_width(line) > columns] == []

    def test_without_the_server_it_shows_the_rest(self, operator: User) -> None:
        shown = operator.types(TEXTCLF, "status", "--json", PREFECT_API_URL=f"{NOBODY}/api")
        status = json.loads(shown.stdout)
        assert shown.returncode == 1
        assert findings(shown.stdout)["prefect"]["level"] == "problem"
        assert NOBODY in findings(shown.stdout)["prefect"]["text"]
        assert status["schedules"] == []
        assert status["models"]

    def test_with_a_damaged_store_it_shows_the_rest(self, command_settings: dict[str, str], tmp_path: Path) -> None:
        user = User(tmp_path, command_settings)
        user.home.mkdir()
        (user.home / "mlflow.db").write_bytes(b"no database" * 1000)
        shown = user.types(TEXTCLF, "status", "--json")
        assert shown.returncode == 1, shown.stderr
        assert findings(shown.stdout)["store"]["level"] == "problem"
        assert json.loads(shown.stdout)["disk"]["parts"] == {"mlflow.db": 11_000}

    def test_names_refused_files(self, command_settings: dict[str, str], tmp_path: Path) -> None:
        user = User(tmp_path, command_settings)
        folder = user.home / "predictions" / "refused"
        folder.mkdir(parents=True)
        record = {"files": {"盘点.csv": {"key": "1", "reason": "It has no column text.\nRename it."}}}
        (folder / "1.json").write_text(json.dumps(record), encoding="utf-8")
        (folder / "2.json").write_text("cut o", encoding="utf-8")
        shown = user.types(TEXTCLF, "status", "--json")
        assert shown.returncode == 0, shown.stderr
        assert json.loads(shown.stdout)["refused"] == {"盘点.csv": "It has no column text."}
        assert findings(shown.stdout)["refused"]["level"] == "warning"

    def test_of_an_empty_home_makes_nothing_up(self, command_settings: dict[str, str], tmp_path: Path) -> None:
        user = User(tmp_path, command_settings)
        shown = user.types(TEXTCLF, "status")
        assert shown.returncode == 0, shown.stderr
        assert "textclf up" in shown.stdout
        assert not (user.home / "mlflow.db").exists()


class Hub(BaseHTTPRequestHandler):
    """Answers with some kilobytes, whatever is asked for; its clock is `ahead`."""

    ahead = timedelta()

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", format_datetime(datetime.now(UTC) + self.ahead))
        self.end_headers()
        self.wfile.write(b"[PAD]\n" * 20_000)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def hub(ahead: timedelta = timedelta()) -> Iterator[str]:
    handler = type("Hub", (Hub,), {"ahead": ahead})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class TestDoctor:
    @pytest.fixture
    def user(self, command_settings: dict[str, str], tmp_path: Path) -> User:
        # No request leaves this machine, whether or not it could.
        proxies = {name: NOBODY for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
        return User(tmp_path, {**command_settings, **proxies, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"})

    def test_offline_it_names_the_ways_out(self, user: User) -> None:
        shown = user.types(TEXTCLF, "doctor", "--json", HF_ENDPOINT=f"http://me:secret@{NOBODY[7:]}")
        found = findings(shown.stdout)
        assert found["hubs"]["level"] == "warning"
        for way in ("provider: local", "offline: true", "HTTPS_PROXY"):
            assert way in found["hubs"]["advice"]
        for key in ("hub-hugging-face", "hub-modelscope", "hub-hf-mirror.com"):
            assert found[key]["level"] == "warning"
        assert found["hub-hugging-face"]["text"].startswith(f"Hugging Face ({NOBODY})")
        assert "secret" not in shown.stdout + shown.stderr
        for key in ("python", "packages", "home", "file-system", "store", "prefect", "plot-font", "time-zones"):
            assert found[key]["level"] == "ok", found[key]
        for key in ("pins", "cores", "memory", "gpu", "disk", "locale", "browser-font", "clock", "alerts"):
            assert found[key]["text"]
        problems = [finding for finding in found.values() if finding["level"] == "problem"]
        assert shown.returncode == (1 if problems else 0)

    def test_measures_a_hub_that_answers(self, user: User) -> None:
        with hub() as address:
            shown = user.types(TEXTCLF, "doctor", "--json", HF_ENDPOINT=address, MODELSCOPE_ENDPOINT=NOBODY)
        found = findings(shown.stdout)
        assert found["hub-hugging-face"]["level"] == "ok"
        assert "MB/s" in found["hub-hugging-face"]["text"]
        assert found["hub-modelscope"]["level"] == "warning"
        assert found["clock"]["level"] == "ok"
        assert "hubs" not in found

    def test_finds_a_clock_that_is_wrong(self, user: User) -> None:
        with hub(ahead=timedelta(hours=1)) as address:
            shown = user.types(TEXTCLF, "doctor", "--json", HF_ENDPOINT=address, MODELSCOPE_ENDPOINT=NOBODY)
        assert shown.returncode == 1
        assert findings(shown.stdout)["clock"]["level"] == "problem"
        assert "timedatectl" in findings(shown.stdout)["clock"]["advice"]

    def test_a_broken_home_does_not_stop_it(self, user: User, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        settings = {"TEXTCLF_HOME": str(tmp_path / "file" / "home"), "TEXTCLF_ALERTS": "nonsense://secret"}
        shown = user.types(TEXTCLF, "doctor", "--json", **settings)
        found = findings(shown.stdout)
        assert shown.returncode == 1, shown.stderr
        assert found["home"]["level"] == "problem"
        assert "TEXTCLF_HOME" in found["home"]["advice"]
        assert found["python"]["level"] == "ok"
        assert "secret" not in shown.stdout + shown.stderr

    def test_finds_services_that_cannot_be_used(self, user: User) -> None:
        user.home.mkdir()
        (user.home / "mlflow.db").write_bytes(b"no database" * 1000)
        settings = {"PREFECT_API_URL": f"{NOBODY}/api", "TEXTCLF_ALERTS": "nonsense://secret"}
        shown = user.types(TEXTCLF, "doctor", "--json", **settings)
        found = findings(shown.stdout)
        assert shown.returncode == 1, shown.stderr
        for key in ("store", "prefect", "alerts"):
            assert found[key]["level"] == "problem", found[key]
            assert found[key]["advice"]
        assert "secret" not in shown.stdout + shown.stderr

    @pytest.mark.parametrize("columns", [80, 120])
    def test_fits_the_terminal_even_one_without_chinese(self, user: User, columns: int) -> None:
        shown = user.types(TEXTCLF, "doctor", COLUMNS=str(columns), PYTHONIOENCODING="ascii")
        assert "Traceback" not in shown.stderr
        assert "export LANG=C.UTF-8" in " ".join(shown.stdout.split())
        # The symbols are shown by their numbers there.
        lines = shown.stdout.replace("\\u2713", "✓").replace("\\u2192", "→").replace("\\u2717", "✗").splitlines()
        paths = [line for line in lines if display_width(line) > columns and str(user.home) not in line]
        assert paths == []


@pytest.mark.parametrize("command", ["up", "down", "status", "doctor"])
def test_help_has_examples_and_the_list_names_the_command(
    command: str, command_settings: dict[str, str], tmp_path: Path
) -> None:
    user = User(tmp_path, command_settings)
    helped = user.types(TEXTCLF, command, "--help")
    assert helped.returncode == 0
    assert f"examples:\n  textclf {command}" in helped.stdout
    assert f"\n    {command} " in user.types(TEXTCLF, "--help").stdout
    assert user.types(TEXTCLF, command, "--unknown").returncode == 2


def test_chinese_text_is_broken_between_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    from textclf_operations.findings import Finding, finding_lines

    monkeypatch.setenv("COLUMNS", "20")
    finding = Finding(key="disk", level="warning", text="磁盘空间不足，请删除旧的检查点", advice="See docs/data.md")
    lines = finding_lines([finding])
    assert max(map(display_width, lines)) <= 20
    assert "".join(line.strip() for line in lines) == "! 磁盘空间不足，请删除旧的检查点→ Seedocs/data.md"


@pytest.mark.parametrize(
    "text",
    [
        "磁盘空间不足（请删除旧的检查点，例如 /srv/a）：见文档。",
        "见 textclf doctor（Prefect 3.8 版）、MLflow 和 torch。",
        "没有问题：（“中文”）。《文本分类》……",
    ],
)
def test_no_line_ends_with_an_opening_bracket_or_begins_with_closing_punctuation(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textclf_operations.findings import Finding, finding_lines

    for columns in range(16, 60):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = [line.strip() for line in finding_lines([Finding(key="disk", level="ok", text=text)])]
        assert "".join(lines).replace(" ", "") == f"✓{text}".replace(" ", "")
        assert [line for line in lines if line[-1] in "（《“" or line[0] in "，。、）：；》”…"] == []
