"""Which processes `textclf up` has started: a record in the home, and a mark in the environment of each process.

A process number alone proves nothing: it may have been given to another program meanwhile. A process is ours only if
its environment has the mark of the start that the record names, which also finds what our processes started.
"""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime

import psutil

from textclf import store
from textclf.config.home import Home
from textclf.records import Record

logger = logging.getLogger(__name__)

MARK = "TEXTCLF_UP"
PATIENCE_SECONDS = 60
"""How long a program has to stop; a flow saves what it has done."""


class Start(Record):
    """One start of `textclf up`, as `<home>/.up.json` holds it."""

    id: str
    process: int
    """Of `textclf up` itself, alive as long as the lock is held."""
    started_at: datetime
    arguments: tuple[str, ...]
    ready: bool
    prefect: str | None
    """Address of Prefect's page; None until it is known."""
    api: str | None
    """Address of Prefect's API, for PREFECT_API_URL."""
    mlflow: str | None
    """Address of MLflow's page."""
    programs: dict[str, int]
    """The processes that were started, by name, in the order in which they are stopped."""


class AnotherHolds(Exception):
    """Another process holds the lock: `textclf up` is running in this home."""


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Holds the lock of `textclf up` in this home, which ends with the process.

    Raises:
        AnotherHolds: Another process has it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(home.root / ".up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise AnotherHolds from error
    try:
        yield
    finally:
        lock.release()


def is_up(home: Home) -> bool:
    """Whether `textclf up` is running in this home, on this machine."""
    try:
        with alone(home):
            return False
    except AnotherHolds:
        return True


def read(home: Home) -> Start | None:
    """Reads the record of the last start that was not ended in order; None if there is none."""
    path = home.root / ".up.json"
    try:
        return Start.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be used and is ignored: %s", path, str(error).splitlines()[0])
        return None


def write(home: Home, start: Start) -> None:
    """Writes the record."""
    with store.writing(home.root / ".up.json"):
        store.write_text(home.root / ".up.json", json.dumps(start.model_dump(mode="json"), indent=1))


def forget(home: Home) -> None:
    """Removes the record."""
    (home.root / ".up.json").unlink(missing_ok=True)


def process_of(start: Start) -> psutil.Process | None:
    """Finds the process of `textclf up` itself; None if it has ended, even if another one has its number now."""
    with suppress(psutil.Error):
        process = psutil.Process(start.process)
        # Boot time, and with it the time of each start, is known to a second.
        if process.create_time() <= start.started_at.timestamp() + 2:
            return process
    return None


def mark(start_id: str, program: str) -> dict[str, str]:
    """Returns the environment variable that marks a program of a start, and everything that it starts."""
    return {MARK: f"{start_id}/{program}"}


def marked(start_id: str, program: str = "") -> list[psutil.Process]:
    """Finds the living processes of a start, or of one of its programs."""
    found = []
    for process in psutil.process_iter():
        # Processes of other users do not show their environment, and are not ours.
        with suppress(psutil.Error, OSError):
            is_ours = process.environ().get(MARK, "").startswith(f"{start_id}/{program}")
            if is_ours and _is_alive(process):
                found.append(process)
    return found


def stop(start_id: str, programs: dict[str, int], *, patience_seconds: float) -> int:
    """Stops what is left of a start, program by program; returns how many processes were left."""
    count = 0
    for program, leader in programs.items():
        processes = marked(start_id, program)
        count += len(processes)
        # The leader stops its own processes in order, if it is still there.
        first = [process for process in processes if process.pid == leader]
        end(first or processes, patience_seconds=patience_seconds)
        end(marked(start_id, program), patience_seconds=patience_seconds)
    remaining = marked(start_id)
    end(remaining, patience_seconds=patience_seconds)
    return count + len(remaining)


def end(processes: Sequence[psutil.Process], *, patience_seconds: float) -> None:
    """Asks processes to stop, and kills those that are still there after a while."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        deadline = time.monotonic() + patience_seconds
        while processes := [process for process in processes if _is_alive(process)]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)


def _is_alive(process: psutil.Process) -> bool:
    # A process that has ended stays a zombie until its parent asks for its result.
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
