"""A `serve.py` with a home of its own, beside the Prefect server that tests share."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "deployments" / "serve.py"
PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Served:
    """A home that is served."""

    server: Any
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**self.server.environment, "TEXTCLF_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}

    @property
    def log(self) -> Path:
        """Everything that `serve.py` and its runs print."""
        return self.home.with_name(f"{self.home.name}.log")

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        """Starts `serve.py` in a process group of its own, as a service manager does, and waits until it serves."""
        greeted = self.output().count("See runs")
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, str(SERVE), *map(str, arguments)],
                cwd=self.home.parent,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wait(lambda: process.poll() is not None or self.output().count("See runs") > greeted)
        assert process.poll() is None, self.output()
        return process

    @contextmanager
    def running(self, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
        """Serves as long as the block lasts."""
        process = self.start(*arguments)
        try:
            yield process
        finally:
            cut_power(process)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def state(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.server.api(f"/flow_runs/{run}")["state"]
        return found

    def states(self, run: str) -> list[str]:
        """Lists the names of all states of a run, oldest first."""
        found = self.server.api(f"/flow_run_states/?flow_run_id={run}")
        return [state["name"] for state in sorted(found, key=lambda state: str(state["timestamp"]))]

    def wait(self, condition: Callable[[], object]) -> None:
        """Waits for a condition."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.output()[-5000:]
            time.sleep(0.2)

    def wait_for(self, run: str, *types: str) -> dict[str, Any]:
        """Waits until a run is in a state of one of these types."""
        self.wait(lambda: self.state(run)["type"] in types)
        return self.state(run)

    def begin(self, flow: str, config: dict[str, Any] | None = None) -> str:
        """Starts the deployment as its form does."""
        deployment = self.server.deployment(flow, "local")["id"]
        parameters = {"parameters": {"config": config}} if config else {}
        return str(self.server.api(f"/deployments/{deployment}/create_flow_run", parameters)["id"])

    def change(self, path: str, content: dict[str, Any] | None = None, *, method: str = "PATCH") -> None:
        """Changes something on the Prefect server, as its page does."""
        self.server.api(path, content or {}, method=method)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Reads MLflow's store."""
        with contextlib.closing(sqlite3.connect(self.home / "mlflow.db")) as connection:
            return connection.execute(statement).fetchall()


def cut_power(process: subprocess.Popen[bytes]) -> None:
    """Kills a program and all that it started at once; a worker's runs are in process groups of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        program = psutil.Process(process.pid)
        for found in [program, *program.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def working(served: Served) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a worker of the pool `textclf` as long as the block lasts."""
    worker = [str(Path(sys.executable).with_name("prefect")), "worker", "start", "--pool", "textclf"]
    with served.log.open("ab") as output:
        process = subprocess.Popen(
            worker,
            cwd=served.home.parent,
            env=served.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        cut_power(process)
