"""Tell people about scheduled runs that have not started an hour after their time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from itertools import groupby
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.utilities.urls import url_for

from flows.alerts import language_of
from textclf.alerts import Message, lateness, send
from textclf.config import Environment
from textclf.errors import redacted
from textclf.language import _, speaking
from textclf_operations.times import clock

logger = logging.getLogger("textclf.late_runs")

LATE_AFTER = timedelta(hours=1)
SECONDS_BETWEEN_CHECKS = 60.0
"""The first check comes after this time, too: by then, runs that were missed while nothing served have started."""

TOLD = "textclf.told_late"
"""Label of a flow run, kept by the server: people know, also after a restart of whatever watches."""


async def watch_late_runs(deployments: Collection[UUID]) -> None:
    """Alerts about late runs of these deployments until it is cancelled; ends at once if alerts are off.

    Args:
        deployments: Ids of the deployments.
    """
    if Environment().textclf_alerts is None:
        return
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_CHECKS)
        try:
            await tell_of_late_runs(deployments)
        except httpx.TransportError:
            # The runner says when a server is away, once; after it is back, a check finds the same runs.
            logger.debug("No server to ask for late runs.")
        except Exception as error:
            # Nobody would notice that the watch has ended.
            logger.warning("Cannot look for late runs: %s: %s", type(error).__name__, redacted(str(error)))


async def tell_of_late_runs(deployments: Collection[UUID]) -> None:
    """Alerts once about each run that should have started more than `LATE_AFTER` ago: one message per deployment.

    It does not matter what a run waits for: a program that starts it, or the end of an earlier run.

    Args:
        deployments: Ids of the deployments.

    Raises:
        httpx.HTTPError: The server does not answer.
    """
    async with get_client() as client:
        late = [run for run in await _waiting(client, deployments) if TOLD not in run.labels]
        late.sort(key=lambda run: (str(run.deployment_id), run.expected_start_time or datetime.now(UTC)))
        for _deployment, runs in groupby(late, key=lambda run: run.deployment_id):
            message = await _message(client, group := list(runs))
            for run in group:
                # First, so that a server that does not keep it is no reason to tell people every minute.
                await client.update_flow_run_labels(run.id, {TOLD: True})
            await asyncio.to_thread(send, message, Environment().textclf_alerts)


async def _waiting(client: PrefectClient, deployments: Collection[UUID]) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate(
            {
                "deployment_id": {"any_": list(deployments)},
                "state": {"type": {"any_": [StateType.SCHEDULED, StateType.PENDING]}},
                "expected_start_time": {"before_": datetime.now(UTC) - LATE_AFTER},
            }
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
    )


async def _message(client: PrefectClient, runs: list[FlowRun]) -> Message:
    first = runs[0]
    job = (await client.read_flow(first.flow_id)).name
    if first.deployment_id is not None:
        job += f"/{(await client.read_deployment(first.deployment_id)).name}"
    with speaking(language_of(first)):
        if any(run.state_name == "AwaitingConcurrencySlot" for run in runs):
            reason = _("An earlier run of this job has not ended.")
        else:
            reason = _("Nothing has started it: `serve.py` or a worker must be running.")
        due = [(run.name, clock(run.expected_start_time)) for run in runs]
        return lateness(job, due, url_for(first), reason, "textclf status")
