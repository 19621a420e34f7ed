"""`textclf up` and `textclf down` with real servers, in a home and on ports of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil
import pytest
from port_support import free_port
from user_support import PATIENCE_SECONDS, TEXTCLF, User

LOOPBACK = {"127.0.0.1", "::1"}


def wait_until(is_so: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def is_answering(address: str) -> bool:
    try:
        with urlopen(address, timeout=5):
            return True
    except OSError:
        return False


class Operator(User):
    """A user whose `textclf up` uses free ports."""

    @property
    def ports(self) -> tuple[str, ...]:
        return ("--prefect-port", str(free_port()), "--mlflow-port", str(free_port()))

    @property
    def record_file(self) -> Path:
        return self.home / ".up.json"

    @property
    def record(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.record_file.read_text(encoding="utf-8"))
        return content

    def starts(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `textclf up` and returns when everything answers."""
        output = (self.folder / "up.txt").open("w", encoding="utf-8")
        process = subprocess.Popen(
            [*TEXTCLF, "up", *arguments],
            cwd=self.folder,
            env={**self.environment, "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output.close()
        wait_until(lambda: "Ctrl-C" in self.sees() or process.poll() is not None, "it is ready")
        assert process.poll() is None, self.sees()
        return process

    def sees(self) -> str:
        return (self.folder / "up.txt").read_text(encoding="utf-8")

    def processes(self, start: str) -> list[psutil.Process]:
        """All processes of a start, however they were orphaned: by the mark in their environment."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("TEXTCLF_UP", "").startswith(start) and process.status() != "zombie":
                    found.append(process)
        return found


@pytest.fixture(scope="module")
def operator(new_user: dict[str, str]) -> Iterator[Operator]:
    folder = Path(new_user["TEXTCLF_HOME"]).parent / "elsewhere"
    folder.mkdir()
    user = Operator(folder, new_user)
    yield user
    user.types(TEXTCLF, "down")


@pytest.fixture(scope="module")
def up(operator: Operator) -> subprocess.Popen[str]:
    return operator.starts(*operator.ports, "--predict-cron", "15 6 * * 1-5", "--timezone", "Europe/Berlin")


class TestUp:
    """One start; the tests build on each other in their order."""

    def test_prints_addresses_that_answer_and_the_next_runs(
        self, operator: Operator, up: subprocess.Popen[str]
    ) -> None:
        printed = operator.sees()
        addresses = re.findall(r"^(Prefect|MLflow|Prefect API) +(http://127\.0\.0\.1:\d+\S*)$", printed, re.MULTILINE)
        assert [name for name, _ in addresses] == ["Prefect", "MLflow", "Prefect API"]
        pages = dict(addresses)
        for address in (pages["Prefect"], pages["MLflow"], f"{pages['Prefect API']}/health"):
            assert is_answering(address), address
        assert re.search(r"predict/local +\d{4}-\d\d-\d\d 06:15 \(UTC\+0[12]:00\)", printed)
        assert re.search(r"train/local +\d{4}-\d\d-\d\d 02:00 \(UTC\+0[12]:00\)", printed)

    def test_says_that_predictions_have_no_model_yet(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        wait_until(lambda: "no champion of textclf-quickstart yet" in operator.sees(), "it is said")
        assert f"PREFECT_API_URL={operator.record['api']} prefect deployment run train/local" in operator.sees()

    def test_listens_on_this_machine_only_and_calls_nobody(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        processes = operator.processes(operator.record["id"])
        listening = {
            connection.laddr.ip
            for process in processes
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening <= LOOPBACK
        assert len(listening) == 1
        for process in processes:
            environment = process.environ()
            # The three spellings that the parts understand.
            assert environment["DO_NOT_TRACK"] == "true"
            assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
            assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
        with urlopen(f"{operator.record['mlflow']}/ajax-api/3.0/mlflow/ui-telemetry", timeout=60) as answer:
            assert json.load(answer)["disable_ui_telemetry"]

    def test_pages_in_a_browser_call_nobody(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        from playwright.sync_api import sync_playwright

        if not (program := shutil.which("chromium")):
            pytest.skip("no Chromium on this machine")
        asked: set[str | None] = set()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page()
            page.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
            page.goto(f"{operator.record['prefect']}/")
            page.get_by_text("Flow Runs").first.wait_for()
            page.goto(f"{operator.record['prefect']}/v2/deployments")
            page.get_by_text("predict").first.wait_for()
            page.goto(f"{operator.record['mlflow']}/#/models")
            page.get_by_text("Registered Models").or_(page.get_by_text("Model registry")).first.wait_for()
            browser.close()
        assert asked <= {"127.0.0.1", None}

    def test_other_web_pages_are_refused(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        own = operator.record["prefect"]
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "prefect-csrf-token"}

        def preflight(origin: str) -> int:
            address = f"{operator.record['api']}/flow_runs/filter"
            request = Request(address, None, {"Origin": origin, **asked}, method="OPTIONS")
            try:
                with urlopen(request, timeout=60) as answer:
                    return int(answer.status)
            except HTTPError as error:
                with error:
                    return error.code

        assert preflight(own) == 200
        assert preflight(own.replace("127.0.0.1", "localhost")) == 200
        assert preflight("http://127.0.0.1:4201") == 400
        assert preflight("https://elsewhere.example") == 400
        form = Request(f"{operator.record['api']}/flow_runs/filter", b"{}", {"Content-Type": "text/plain"})
        with pytest.raises(HTTPError, match="403") as caught:
            urlopen(form, timeout=60)
        caught.value.close()

    def test_keeps_its_databases_and_logs_in_the_home(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        for name in (
            "mlflow.db",
            "prefect-server/prefect.db",
            "logs/prefect.log",
            "logs/mlflow.log",
            "logs/schedules.log",
        ):
            assert (operator.home / name).is_file(), name
        assert list(operator.folder.iterdir()) == [operator.folder / "up.txt"]

    def test_started_twice_it_names_what_runs(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        before = {process.pid for process in operator.processes(operator.record["id"])}
        again = operator.types(TEXTCLF, "up", "--predict-cron", "0 1 * * *")
        assert again.returncode == 0, again.stderr
        for fact in (str(up.pid), operator.record["prefect"], operator.record["mlflow"], "textclf down"):
            assert fact in again.stdout
        assert {process.pid for process in operator.processes(operator.record["id"])} == before

    def test_another_home_cannot_take_its_port(
        self, operator: Operator, up: subprocess.Popen[str], tmp_path: Path
    ) -> None:
        port = operator.record["prefect"].rpartition(":")[2]
        other = operator.types(TEXTCLF, "up", "--prefect-port", port, TEXTCLF_HOME=str(tmp_path))
        assert other.returncode == 2
        assert f"Port {port} " in other.stderr
        assert f"(process {operator.record['programs']['prefect']})" in other.stderr
        assert "--prefect-port" in other.stderr
        assert is_answering(operator.record["prefect"])
        # Nor does its `down` end what belongs to another home.
        ended = operator.types(TEXTCLF, "down", TEXTCLF_HOME=str(tmp_path))
        assert ended.returncode == 0
        assert up.poll() is None

    def test_status_shows_both_schedules(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        shown = operator.types(TEXTCLF, "status", "--json")
        status = json.loads(shown.stdout)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert status["servers"]["up"]
        assert status["servers"]["prefect"] == operator.record["prefect"]
        schedules = {one["name"]: one for one in status["schedules"]}
        assert schedules["predict/local"]["crons"] == ["15 6 * * 1-5"]
        assert all(one["served"] and one["next"] for one in schedules.values())

    def test_the_page_of_a_failed_run_says_how_to_go_on(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        # There is no champion yet.
        api = operator.record["api"]
        prefect = [str(Path(sys.executable).with_name("prefect"))]
        begun = operator.types(prefect, "deployment", "run", "predict/local", "--watch", PREFECT_API_URL=api)
        assert begun.returncode == 1, begun.stdout + begun.stderr
        with urlopen(f"{api}/artifacts/run-summary/latest", timeout=60) as answer:
            page = json.load(answer)["data"]
        assert "press Retry on the page of this run" in page
        assert "`textclf up` must be running." in page
        assert "No version of the model textclf-quickstart has the alias champion" in page

    def test_starts_a_program_again_that_ended(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        killed = operator.record["programs"]["mlflow"]
        for process in operator.processes(f"{operator.record['id']}/mlflow"):
            process.kill()
        wait_until(lambda: operator.record["programs"]["mlflow"] != killed, "a new process is recorded")
        wait_until(lambda: is_answering(f"{operator.record['mlflow']}/health"), "MLflow answers again")
        assert "MLflow ended (killed by signal 9)" in operator.sees()
        assert up.poll() is None

    def test_takes_over_what_a_killed_one_left(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        old = operator.record
        up.kill()
        up.wait()
        assert len(operator.processes(old["id"])) >= 3
        shown = operator.types(TEXTCLF, "status")
        assert shown.returncode == 1
        assert "`textclf up` was killed" in shown.stdout
        seen = " ".join(shown.stdout.split())
        assert f"killed `textclf up`, was {old['api']}" in seen
        assert f"Start it again with `textclf up {' '.join(old['arguments'])[:20]}" in seen
        ports = (word for name in ("prefect", "mlflow") for word in (f"--{name}-port", old[name].rpartition(":")[2]))
        new = operator.starts(*ports)
        assert operator.processes(old["id"]) == []
        assert "that an earlier start had left" in operator.sees()
        assert operator.record["prefect"] == old["prefect"]
        ended = operator.types(TEXTCLF, "down")
        assert ended.returncode == 0, ended.stderr
        assert new.wait(60) == 0
        assert "Stopped" in operator.sees()
        assert not operator.record_file.exists()
        assert not is_answering(old["prefect"])

    def test_in_the_background_until_down(self, operator: Operator, up: subprocess.Popen[str]) -> None:
        started = operator.types(TEXTCLF, "up", "--detach", *operator.ports)
        assert started.returncode == 0, started.stdout + started.stderr
        record = operator.record
        assert record["prefect"] in started.stdout
        assert is_answering(f"{record['api']}/health")
        # Killed, it leaves its programs; `down` finds them.
        os.kill(record["process"], signal.SIGKILL)
        ended = operator.types(TEXTCLF, "down")
        assert ended.returncode == 0, ended.stderr
        assert operator.processes(record["id"]) == []
        assert not operator.record_file.exists()
        assert operator.types(TEXTCLF, "down").returncode == 0


def test_ctrl_c_while_it_starts_leaves_nothing(command_settings: dict[str, str], tmp_path: Path) -> None:
    user = Operator(tmp_path, command_settings)
    process = subprocess.Popen(
        [*TEXTCLF, "up", *user.ports],
        cwd=tmp_path,
        env=user.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: user.record_file.exists() and user.record["programs"], "programs are started")
    start = user.record["id"]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert user.processes(start) == []
    assert not user.record_file.exists()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A program that has the process number of one that `textclf up` started long ago."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("content", ["stale", "cut off", "other"])
def test_a_stale_process_file_harms_no_other_program(
    content: str, command_settings: dict[str, str], tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    user = Operator(tmp_path, command_settings)
    user.home.mkdir()
    names = ("schedules", "mlflow", "prefect")
    record = json.dumps(
        {
            "id": "0123456789abcdef",
            "process": bystander.pid,
            "started_at": "2026-01-01T00:00:00Z",
            "arguments": [],
            "ready": True,
            "prefect": "http://127.0.0.1:4200",
            "api": "http://127.0.0.1:4200/api",
            "mlflow": "http://127.0.0.1:5000",
            "programs": dict.fromkeys(names, bystander.pid),
        }
    )
    texts = {"stale": record, "cut off": record[:40], "other": "[]"}
    user.record_file.write_text(texts[content], encoding="utf-8")
    ended = user.types(TEXTCLF, "down")
    assert ended.returncode == 0, ended.stderr
    assert "Nothing" in ended.stdout
    assert bystander.poll() is None
    assert not user.record_file.exists()


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "named"),
    [
        (["--prefect-port", "many"], {}, 2, "'many'"),
        (["--mlflow-prot", "5000"], {}, 2, "--mlflow-prot"),
        ([], {"PREFECT_API_URL": "http://prefect.invalid:4200/api"}, 1, "http://prefect.invalid:4200/api"),
        ([], {"MLFLOW_TRACKING_URI": "http://user:secret@127.0.0.1:9"}, 1, "MLFLOW_TRACKING_URI"),
    ],
)
def test_says_what_prevents_a_start(
    arguments: list[str],
    variables: dict[str, str],
    code: int,
    named: str,
    command_settings: dict[str, str],
    tmp_path: Path,
) -> None:
    user = Operator(tmp_path, command_settings)
    failed = user.types(TEXTCLF, "up", *arguments, **variables)
    assert failed.returncode == code, failed.stderr
    assert named in failed.stderr
    assert "secret" not in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stderr
    assert not user.record_file.exists()


def test_the_default_port_gives_way_and_a_chosen_one_does_not() -> None:
    from textclf.errors import ConfigError
    from textclf_operations.servers import free_port as choose

    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert choose(None, port, "--prefect-port") > port
        with pytest.raises(ConfigError, match=rf"Port {port} .*process {os.getpid()}.*\n.*--prefect-port"):
            choose(port, 4200, "--prefect-port")
