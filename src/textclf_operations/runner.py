"""Prefect's runner for the deployments of one machine, with care for runs that were missed or whose process died."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any, Self
from uuid import UUID

import httpx
from anyio import to_thread
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runner import Runner
from prefect.states import AwaitingRetry

from flows.missed_runs import skip_missed
from flows.running import write_record
from textclf.config import Home
from textclf.errors import StorageError
from textclf_operations.dead_runs import recover
from textclf_operations.late_runs import watch_late_runs
from textclf_operations.times import duration

logger = logging.getLogger("textclf.serve")


class LocalRunner(Runner):
    """Starts what is due as processes of this machine.

    Each time before it asks for due runs, it starts runs again whose process died, and skips those that were missed. It
    waits as long as it takes for a server that does not answer.
    """

    def __init__(self, home: Home) -> None:
        """Creates it; deployments are added next.

        Args:
            home: The home directory, whose runs this process looks after.
        """
        # Schedules stay active when this program stops; the next start catches up on missed runs.
        super().__init__(pause_on_shutdown=False)
        self._home = home
        self._going_on: set[UUID] = set()
        self._away_since: float | None = None
        self._ask: Callable[[], Awaitable[list[FlowRun]]]
        self._late_runs: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        """Starts Prefect's services; due runs are asked for through `_find_due`."""
        await super().__aenter__()
        poller: Any = self._scheduled_run_poller
        self._ask = poller._get_scheduled_flow_runs
        poller._get_scheduled_flow_runs = self._find_due
        self._late_runs = asyncio.create_task(watch_late_runs(self._deployment_registry.get_deployment_ids()))
        assert self._cancelling_observer is not None
        # Prefect's own would raise; `_note_presence` does what is needed.
        self._cancelling_observer.on_failure = None
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        """Stops the processes of all runs."""
        self._late_runs.cancel()
        # Prefect forgets them while it stops their processes.
        self._going_on = set(self._scheduled_run_poller._submitting_flow_run_ids)
        await super().__aexit__(*exc_info)

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Stops as Ctrl-C does."""
        # asyncio shuts down in order after an interrupt; Prefect's own handler would cut it short.
        signal.raise_signal(signal.SIGINT)

    def put_back(self) -> None:
        """Lets the runs whose processes ended with this one wait for the next start.

        For the server they still run, and new runs would wait for them.

        Raises:
            httpx.HTTPError: The server does not answer. The next start finds the runs by their records.
        """
        with get_client(sync_client=True) as client:
            for run in self._going_on:
                if client.read_flow_run(run).state_type in (StateType.RUNNING, StateType.PENDING, StateType.CRASHED):
                    client.set_flow_run_state(run, AwaitingRetry(), force=True)

    async def _find_due(self) -> list[FlowRun]:
        living = self._scheduled_run_poller._submitting_flow_run_ids
        try:
            await to_thread.run_sync(self._recover, set(living))
            due = [run for run in await self._ask() if run.id not in living]
            if any(run.auto_scheduled for run in due):
                skipped = await to_thread.run_sync(self._skip_missed)
                due = [run for run in due if run.id not in skipped]
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            if isinstance(error, PrefectHTTPStatusError) and error.response.status_code < 500:
                raise
            self._note_absence(error)
            return []
        await self._note_presence()
        try:
            for run in due:
                # From now on the server may show it as Pending, whatever happens to this process.
                await to_thread.run_sync(partial(write_record, self._home, run, served=True))
        except StorageError as error:
            # Each run will say so itself, where people look.
            logger.error("%s", error)
        return due

    def _recover(self, living: set[UUID]) -> None:
        with get_client(sync_client=True) as client:
            recover(client, self._home, living)

    def _skip_missed(self) -> dict[UUID, str]:
        with get_client(sync_client=True) as client:
            return skip_missed(client, list(self._deployment_registry.get_deployment_ids()))

    def _note_absence(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = monotonic()
            logger.error(
                "The Prefect server does not answer (%s): nothing is started until it is back. Runs in progress go on.",
                type(error).__name__,
            )

    async def _note_presence(self) -> None:
        if self._away_since is not None:
            logger.warning("The Prefect server is back after %s.", duration(monotonic() - self._away_since))
            self._away_since = None
        observer = self._cancelling_observer
        tasks = [observer._consumer_task, observer._polling_task] if observer else []
        if observer and all(task is None or task.done() for task in tasks):
            # It gave up while the server was away: nobody could cancel a run any more.
            renewed = FlowRunCancellingObserver(observer.on_cancelling, observer.polling_interval)
            for run in observer._in_flight_flow_run_ids:
                renewed.add_in_flight_flow_run_id(run)
            self._cancelling_observer = await self._exit_stack.enter_async_context(renewed)
