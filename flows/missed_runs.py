"""Run a job once for all runs that an outage made it miss.

After an outage of the server, of `serve.py` or of a worker, one scheduled run waits for each missed date. `serve.py`
checks them before it starts any; a worker starts the oldest, which checks them itself. A skipped run ends in the state
`Skipped`, which counts as completed, with a message that says why.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.states import Completed

from flows.names import planned_name
from textclf.config.schema import MissedRuns
from textclf.language import _

logger = logging.getLogger("textclf.missed_runs")

TOO_LATE = timedelta(hours=1)
"""With `missed_runs: skip`, a run that starts later than this after its time is skipped."""
_PAGE = 200


def skip_missed_runs(policy: MissedRuns) -> State[Any] | None:
    """Skips the scheduled runs of this deployment for which the current run, or a later one, does the work.

    Args:
        policy: `missed_runs` of the configuration.

    Returns:
        The final state of the current run, if it is skipped itself.
    """
    context = FlowRunContext.get()
    current = context.flow_run if context else None
    if current is None or not current.auto_scheduled or current.deployment_id is None or policy == "all":
        return None
    with get_client(sync_client=True) as client:
        # It has begun, which is not counted: it is judged like one that waits.
        judged = current.model_copy(update={"run_count": max(0, current.run_count - 1)})
        skipped = skip_missed(client, [current.deployment_id], judged)
    reason = skipped.get(current.id)
    return None if reason is None else _skipped(reason)


def skip_missed(
    client: SyncPrefectClient, deployments: Collection[UUID], current: FlowRun | None = None
) -> dict[UUID, str]:
    """Ends the waiting runs of deployments that need not run, according to `missed_runs` in their configurations.

    Args:
        client: Of the Prefect server.
        deployments: Whose runs are checked.
        current: A run that has started; it is judged like the waiting ones, but not ended.

    Returns:
        The skipped runs with the reasons.
    """
    now = datetime.now(UTC)
    waiting = _waiting(client, deployments, now)
    skipped: dict[UUID, str] = {}
    for run, instead in choose([*waiting, *([current] if current else [])], now):
        skipped[run.id] = _reason(client, run, instead, now)
        if run is not current:
            client.set_flow_run_state(run.id, _skipped(skipped[run.id]))
        logger.info("Skipped the run of %s: %s", run.expected_start_time, skipped[run.id])
    return skipped


def choose(waiting: Sequence[FlowRun], now: datetime) -> list[tuple[FlowRun, FlowRun | None]]:
    """Chooses the runs that are skipped.

    Runs of one deployment with the same parameters are one job. A deployment may have schedules with parameters of
    their own; each of them is a job for itself.

    Args:
        waiting: Runs that are due.
        now: The current time.

    Returns:
        Each skipped run with the one that does its work; None if it is too late for any.
    """
    jobs: dict[str, list[FlowRun]] = {}
    skipped: list[tuple[FlowRun, FlowRun | None]] = []
    for run in sorted(waiting, key=_planned):
        policy = _policy(run)
        if not run.auto_scheduled or policy == "all":
            continue
        # An interrupted run that goes on has started in time.
        if policy == "skip" and run.run_count == 0 and now - _planned(run) > TOO_LATE:
            skipped.append((run, None))
            continue
        jobs.setdefault(json.dumps([str(run.deployment_id), run.parameters], sort_keys=True, default=str), []).append(
            run
        )
    for runs in jobs.values():
        skipped += [(run, runs[-1]) for run in runs[:-1]]
    return skipped


def _waiting(client: SyncPrefectClient, deployments: Collection[UUID], now: datetime) -> list[FlowRun]:
    wanted = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": list(deployments)},
            "state": {"type": {"any_": [StateType.SCHEDULED]}},
            "expected_start_time": {"before_": now},
        }
    )
    found: list[FlowRun] = []
    while len(found) % _PAGE == 0:
        page = client.read_flow_runs(
            flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=_PAGE, offset=len(found)
        )
        if not page:
            break
        found += page
    return found


def _reason(client: SyncPrefectClient, run: FlowRun, instead: FlowRun | None, now: datetime) -> str:
    if instead is None:
        return _("It is {hours} hours late, and the configuration says missed_runs: skip.").format(
            hours=round((now - _planned(run)).total_seconds() / 3600, 1)
        )
    name = planned_name(client.read_flow(instead.flow_id).name, instead, instead.parameters.get("config"))
    return _("{run} does the work of all missed runs.").format(run=name)


def _skipped(reason: str) -> State[Any]:
    return Completed(name="Skipped", message=reason)


def _policy(run: FlowRun) -> object:
    config = run.parameters.get("config")
    return config.get("missed_runs", "latest") if isinstance(config, dict) else "latest"


def _planned(run: FlowRun) -> datetime:
    return run.expected_start_time or run.created or datetime.now(UTC)
