"""Which flow runs are executed in this home, and proof that the process of one is dead.

`<home>/runs/<flow run id>.json` says where a run is executed; `<flow run id>.lock` beside it is locked by the process
that executes it. The operating system releases the lock when the process ends, however it ends.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from filelock import FileLock, Timeout
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.settings import get_current_settings
from prefect.states import Completed

from textclf.config import Home
from textclf.errors import TextclfError, redacted
from textclf.records import Record
from textclf.store import write_text, writing

logger = logging.getLogger("textclf.running")

MOST_RESTARTS = 3
"""How often a run whose process died is started again."""
STOPPED = ("Execution was aborted by an interrupt signal.", "Execution was aborted by a termination signal.")
"""Prefect's messages for a process that was asked to stop."""


class RunRecord(Record):
    """Where a flow run is executed."""

    flow_run: UUID
    deployment: UUID | None
    """None for a run that was started as a command."""
    process: int
    """Of the flow; until it has begun, of the `serve.py` that starts it."""
    process_started: datetime
    host: str
    server: str
    """Address of the Prefect server's API."""
    served: bool = False
    """Whether `serve.py` looks after the run and removes this record when the server knows how the run ended."""
    done: bool = False
    """Whether the work is done: only the server may not know yet."""
    state_name: str | None = None
    """The final state of a run that is done."""
    message: str | None = None
    """Of that state."""


class CrashedTooOften(TextclfError):
    """The process of a run died again and again."""


@contextmanager
def running(home: Home) -> Iterator[State[Any] | None]:
    """Holds the lock and the record of the current flow run.

    The record of a run that `serve.py` looks after stays at the end. Does nothing for a run on a temporary server,
    which ends with the process.

    If another process still executes the same run, which happens if the run was taken for dead while the server was
    away, this one waits until that has ended.

    Yields:
        None; or the final state, if that other process has done the work: nothing is left to do.

    Raises:
        CrashedTooOften: The process of this run has died more than `MOST_RESTARTS` times.
        StorageError: The record cannot be written.
    """
    flow_run = _current()
    if flow_run is None:
        yield None
        return
    ended = None
    served = _is_served(home, flow_run.id)
    write_record(home, flow_run, served=served)
    lock = FileLock(_lock_file(home, flow_run.id))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("Waiting: another process is still executing this run.")
        lock.acquire()
        ended = _end_of(flow_run.id)
    try:
        if ended is None and flow_run.deployment_id:
            _refuse_to_loop(flow_run)
        yield ended
    finally:
        if not served:
            forget(home, flow_run.id)
        lock.release()


def note_end(home: Home, final: State[Any]) -> None:
    """Records within `running` how the run ends well, should the server not hear of it.

    Raises:
        StorageError: It cannot be written.
    """
    if flow_run := _current():
        write_record(home, flow_run, served=_is_served(home, flow_run.id), final=final)


def crashes(client: SyncPrefectClient, flow_run: UUID) -> int:
    """Counts how often the process of a run died, other than by a signal to stop."""
    states = client.read_flow_run_states(flow_run)
    return sum(state.type == StateType.CRASHED and state.message not in STOPPED for state in states)


def write_record(home: Home, flow_run: FlowRun, *, served: bool, final: State[Any] | None = None) -> None:
    """Records that this process executes a run or is about to start it, or how it ends.

    Args:
        home: The home directory.
        flow_run: The run.
        served: Whether `serve.py` looks after it.
        final: How it ends, once its work is done.

    Raises:
        StorageError: It cannot be written.
    """
    record = RunRecord(
        flow_run=flow_run.id,
        deployment=flow_run.deployment_id,
        process=os.getpid(),
        process_started=datetime.fromtimestamp(psutil.Process().create_time(), UTC),
        host=socket.gethostname(),
        server=server_address(),
        served=served,
        done=final is not None,
        state_name=final.name if final else None,
        message=final.message if final else None,
    )
    file = _record_file(home, flow_run.id)
    with writing(file):
        file.parent.mkdir(exist_ok=True)
        write_text(file, json.dumps(record.model_dump(mode="json"), indent=1))


def read_records(home: Home) -> list[RunRecord]:
    """Reads the records of this machine that belong to the current Prefect server.

    One that cannot be read is logged and removed: it proves nothing.
    """
    found = []
    for file in sorted(home.runs.glob("*.json")):
        try:
            record = RunRecord.model_validate_json(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            # Its run has just ended.
            continue
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be used and is removed: %s", file, str(error).splitlines()[0])
            file.unlink(missing_ok=True)
            continue
        if (record.host, record.server) == (socket.gethostname(), server_address()):
            found.append(record)
    return found


def forget(home: Home, flow_run: UUID) -> None:
    """Removes the record of a run."""
    _record_file(home, flow_run).unlink(missing_ok=True)
    _lock_file(home, flow_run).unlink(missing_ok=True)


def is_dead(home: Home, flow_run: UUID) -> bool:
    """Whether no process of this machine executes a run: nobody holds its lock, and none is about to take it."""
    lock = FileLock(_lock_file(home, flow_run))
    try:
        with lock.acquire(timeout=0):
            return not any(_executes(process, flow_run) for process in psutil.process_iter())
    except Timeout:
        return False


def server_address() -> str:
    """Returns the address of the current Prefect server, without a password."""
    return redacted(str(get_current_settings().api.url))


def _is_served(home: Home, flow_run: UUID) -> bool:
    # A record alone does not tell: a run in a work pool leaves one if it is killed.
    with suppress(OSError, ValueError):
        return RunRecord.model_validate_json(_record_file(home, flow_run).read_text(encoding="utf-8")).served
    return False


def _current() -> FlowRun | None:
    """Returns the run that this process executes; None if its server is a temporary one."""
    context = FlowRunContext.get()
    return context.flow_run if context and get_current_settings().api.url else None


def _executes(process: psutil.Process, flow_run: UUID) -> bool:
    # Prefect starts a run as `python -m prefect.…`. It takes ten seconds to load the flow and take the lock, and it
    # survives if only `serve.py` or a worker is killed.
    with suppress(psutil.Error, OSError):
        if any(part.startswith("prefect.") for part in process.cmdline()):
            return bool(process.environ().get("PREFECT__FLOW_RUN_ID") == str(flow_run))
    return False


def _end_of(flow_run: UUID) -> State[Any] | None:
    # The lock is released a moment before the server is told.
    for _attempt in range(20):
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run).state
        if state is not None and state.is_completed():
            return Completed(name=state.name, message=state.message)
        time.sleep(0.5)
    return None


def _refuse_to_loop(flow_run: FlowRun) -> None:
    with get_client(sync_client=True) as client:
        count = crashes(client, flow_run.id)
    if count > MOST_RESTARTS:
        raise CrashedTooOften(
            f"The process of this run has died {count} times, so it is not started again: "
            "something kills it, for example a lack of memory.\n"
            "Remove the cause, then start a new run of the deployment. It goes on where this one stopped."
        )


def _record_file(home: Home, flow_run: UUID) -> Path:
    return home.runs / f"{flow_run}.json"


def _lock_file(home: Home, flow_run: UUID) -> Path:
    return home.runs / f"{flow_run}.lock"
