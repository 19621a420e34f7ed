"""What tests share: their distribution over processes, a tiny configuration, a real Prefect server with finished runs.

Everything is created once per process, and only when a test needs it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml
from port_support import free_port

# Before torch is imported, and for all programs that tests start: threads that share a busy core waste it by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 300
"""How long a test waits for a program; busy machines are slow."""
WITH_SERVER = (
    "test_alerts.py",
    "test_commands.py",
    "test_deployments.py",
    "test_forms.py",
    "test_hard_stops.py",
    "test_launch.py",
    "test_pages.py",
    "test_run_pages.py",
    "test_schedules.py",
    "test_status_and_doctor.py",
)
FINAL_STATES = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

TINY = {
    "data": {"name": "tiny", "labels": {"0": "负面", "1": "正面"}},
    "encoding": {"max_length": 32},
    "model": {
        "architecture": {
            "num_hidden_layers": 1,
            "hidden_size": 16,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "vocabulary_size": 300,
        }
    },
    # An export takes several seconds.
    "engine": {"export": "none"},
    "training": {"num_train_epochs": 2, "learning_rate": 0.003, "per_device_train_batch_size": 16},
    # Encoders alone: most tests need no other model, and no good one.
    "registration": {"candidates": ["encoder"], "must_beat_baselines": False, "champion_margin": 0.2},
}


def pytest_sessionstart() -> None:
    """Lets the processes that tests start receive Ctrl-C, even if a shell started pytest in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rejects files that would start a second server."""
    files = {item.path.name for item in items if "prefect_server" in getattr(item, "fixturenames", ())}
    if unknown := sorted(files - set(WITH_SERVER)):
        raise pytest.UsageError(f"These files use the Prefect server; add them to WITH_SERVER in {__file__}: {unknown}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distributes tests over processes (`-n 2`) so that module fixtures and the server are created once.

    A file runs in one process, and all files that need the Prefect server run in the same one. Files start in
    collection order. The marker `xdist_group` is not used because it has no effect with pytest 9.2.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "with a Prefect server" if Path(file).name in WITH_SERVER else file

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def chnsenticorp() -> Path:
    """The folder of real reviews, which lies outside the repository."""
    folder = ROOT.parent / "shared" / "data" / "chnsenticorp"
    if not folder.is_dir():
        pytest.skip("ChnSentiCorp is not beside the repository (../shared/data/chnsenticorp)")
    return folder


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training configuration with its own data that runs through the complete flow in seconds."""
    folder = tmp_path_factory.mktemp("tiny")
    opinions = (("很差", "失望", "太脏"), ("很好", "满意", "干净"))
    things = ("房间", "服务", "键盘", "电池", "早餐")
    lines = [
        f"这家的{thing}{opinion}，第{number}次来\t{label}"
        for label, words in enumerate(opinions)
        for thing in things
        for opinion in words
        for number in range(4)
    ]
    (folder / "reviews.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n", encoding="utf-8")
    source = {"provider": "local", "path": str(folder / "reviews.tsv")}
    content = {**TINY, "data": {**TINY["data"], "sources": [source]}}
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return file


@dataclass(frozen=True)
class Server:
    """A running Prefect server, and the environment variables with which commands find it."""

    address: str
    environment: dict[str, str]
    home: Path
    elsewhere: Path
    """A directory outside the repository."""
    _tokens: dict[int, dict[str, str]] = field(default_factory=dict)

    @property
    def csrf_headers(self) -> dict[str, str]:
        """Headers that every changing request needs; a page of another origin cannot read the token.

        A token lives for an hour, and all tests together take longer on a slow machine.
        """
        half_hour = int(time.monotonic() // 1800)
        if half_hour not in self._tokens:
            client = f"tests-{half_hour}"
            token = self.api(f"/csrf-token?client={client}")
            self._tokens[half_hour] = {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token["token"]}
        return self._tokens[half_hour]

    def api(self, path: str, content: Any = None, *, method: str | None = None) -> Any:
        """Reads a path of the API, or posts to it."""
        body = None if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json"} | (self.csrf_headers if body else {})
        request = Request(f"{self.address}/api{path}", body, headers, method=method)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with urlopen(request, timeout=PATIENCE_SECONDS) as response:
                    answer = response.read()
                    return json.loads(answer) if answer else None
            except HTTPError as error:
                # The server's SQLite is locked for a moment; Prefect's own clients retry, too.
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                error.close()
                time.sleep(0.5)

    def cancel_unfinished(self) -> None:
        """Cancels what the tests of other files have left, so that no run waits for it."""
        wanted = {
            "state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"]}},
            "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
        }
        for run in self.api("/flow_runs/filter", {"flow_runs": wanted}):
            self.api(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED"}, "force": True})

    def command(self, name: str, *arguments: str) -> str:
        """Runs a program of the virtual environment to completion, outside the repository."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name(name)), *arguments],
            cwd=self.elsewhere,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deployment(self, flow: str, name: str = "textclf") -> dict[str, Any]:
        """Reads a deployment's record."""
        return self.api(f"/deployments/name/{flow}/{name}")

    def run(self, flow: str, config: dict[str, Any], *, name: str = "textclf") -> dict[str, Any]:
        """Starts a deployment as its form does, and waits until the run ends."""
        deployment = self.deployment(flow, name)["id"]
        run = self.api(f"/deployments/{deployment}/create_flow_run", {"parameters": {"config": config}})
        deadline = time.monotonic() + PATIENCE_SECONDS
        while run["state"]["type"] not in FINAL_STATES:
            assert time.monotonic() < deadline, f"still {run['state']}:\n" + "\n".join(self.log_lines(run["id"]))
            time.sleep(0.5)
            run = self.api(f"/flow_runs/{run['id']}")
        return run

    def log_lines(self, run: str, name_prefix: str = "") -> list[str]:
        """Reads a run's log, oldest lines first; the last lines arrive after the run has ended."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = [line for line in self.api("/logs/filter", wanted) if line["name"].startswith(name_prefix)]
            if found or time.monotonic() > deadline:
                return [line["message"] for line in found]
            time.sleep(0.5)

    def artifacts(self, run: str) -> dict[str, dict[str, Any]]:
        """Reads the artifacts of a run, by key; of a run that was started again, the newest ones."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"exists_": True}}, "sort": "CREATED_DESC"}
        return {found["key"]: found for found in reversed(self.api("/artifacts/filter", wanted))}


@contextmanager
def background(command: Sequence[str], *, folder: Path, environment: dict[str, str], log: Path) -> Iterator[Any]:
    """Runs a program in the background, and stops it with all processes that it started."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 15)):
                if process.poll() is None:
                    os.killpg(process.pid, number)
                    try:
                        process.wait(patience)
                    except subprocess.TimeoutExpired:
                        continue


@contextmanager
def serving(
    command: Sequence[str], *, folder: Path, environment: dict[str, str], log: Path, health: str
) -> Iterator[str]:
    """Runs a program that takes `--port`, and yields its address when it responds."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    # The server passes this address to Prefect's page, which calls the API there.
    environment = {**environment, "PREFECT_API_URL": f"{address}/api"}
    command = [*command, "--port", str(port)]
    with background(command, folder=folder, environment=environment, log=log) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with urlopen(address + health, timeout=5):
                    break
            except (URLError, TimeoutError, ConnectionError):
                text = log.read_text(encoding="utf-8", errors="replace")
                assert process.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(0.3)
        yield address


@pytest.fixture(scope="session")
def serve_pages() -> Any:
    """`serving`, for tests that need another kind of server."""
    return serving


def command_environment(folder: Path) -> dict[str, str]:
    """Returns the environment without this project's settings and with a new home directory."""
    ours = ("PREFECT_", "MLFLOW_", "TEXTCLF_", "HF_", "MODELSCOPE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "TEXTCLF_HOME": str(folder / "home"),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def command_settings(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has set up nothing."""
    return command_environment(tmp_path)


@pytest.fixture(scope="module")
def new_user(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """`command_settings` for all tests of a module."""
    return command_environment(tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real `prefect server start` in the repository root, with its `prefect.toml` and a separate database."""
    folder = tmp_path_factory.mktemp("server")
    for name in ("home", "elsewhere"):
        (folder / name).mkdir()
    environment = {
        **command_environment(folder),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    start = [str(Path(sys.executable).with_name("prefect")), "server", "start"]
    elsewhere, log = folder / "elsewhere", folder / "server.log"
    with serving(start, folder=ROOT, environment=environment, log=log, health="/api/health") as address:
        yield Server(address, {**environment, "PREFECT_API_URL": f"{address}/api"}, folder / "home", elsewhere)


@dataclass(frozen=True)
class Deployed:
    """A server with both flows deployed, one finished run of each, and a failed run."""

    server: Server
    deployments: dict[str, dict[str, Any]]
    failed: dict[str, Any]
    trained: dict[str, Any]
    predicted: dict[str, Any]
    inputs: dict[str, list[str]]
    """The texts of each input file."""


@pytest.fixture(scope="session")
def deployed(prefect_server: Server, tiny_config: Path) -> Deployed:
    """Deploys to the work pool and lets a worker run both flows, all outside the repository."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    server = prefect_server
    config = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    inputs = {"morning.csv": ["房间很好", "服务太脏", "早餐，满意"], "evening.parquet": ["键盘很差", "电池很好"]}
    (server.home / "inbox").mkdir()
    lines = ["id,text", *(f'r{number},"{text}"' for number, text in enumerate(inputs["morning.csv"]))]
    (server.home / "inbox" / "morning.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pq.write_table(pa.table({"text": inputs["evening.parquet"]}), server.home / "inbox" / "evening.parquet")
    server.command("prefect", "work-pool", "create", "--type", "process", "--overwrite", "textclf")
    server.command(
        "prefect", "--no-prompt", "deploy", "--prefect-file", f"{ROOT / 'deployments' / 'prefect.yaml'}", "--all"
    )
    deployments = {flow: server.deployment(flow) for flow in ("train", "predict")}
    worker = [str(Path(sys.executable).with_name("prefect")), "worker", "start", "--pool", "textclf"]
    log = server.elsewhere.parent / "worker.log"
    with background(worker, folder=server.elsewhere, environment=server.environment, log=log):
        failed = server.run("train", {**config, "data": {**config["data"], "text_column": "review"}})
        trained = server.run("train", config)
        predicted = server.run("predict", {"input": "inbox", "output": "outbox", "model": "textclf-tiny"})
    return Deployed(server, deployments, failed, trained, predicted, inputs)
