"""What Prefect's server knows about the schedules: deployments, and their last and next runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from textclf.language import _
from textclf.records import Record
from textclf_operations.servers import is_here
from textclf_operations.times import clock

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, StateType
    from prefect.client.schemas.responses import DeploymentResponse

TAG = "textclf"
"""Of the deployments of textclf."""


class RunFacts(Record):
    """A flow run."""

    id: str
    name: str
    state: str
    """As Prefect names it, for example Completed, Late or Running."""
    type: str
    """One of Prefect's nine types of states, for example COMPLETED or CRASHED."""
    message: str | None
    start: datetime | None
    """When it started, or else when it is planned."""
    seconds: float | None
    """How long it ran, or has been running."""


class ScheduleFacts(Record):
    """A deployment with its schedules."""

    name: str
    """For example `train/local`."""
    active: bool
    crons: tuple[str, ...]
    timezone: str | None
    served: bool
    """Whether a program asks for its due runs."""
    last: RunFacts | None
    running: tuple[RunFacts, ...]
    late: tuple[RunFacts, ...]
    next: RunFacts | None


def client_of(api: str) -> SyncPrefectClient:
    """Returns a client for a Prefect server; no proxy is between it and a server on this machine."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api}):
        return get_client(sync_client=True, httpx_settings={"trust_env": not is_here(api)})


def deployments(client: SyncPrefectClient) -> list[tuple[str, DeploymentResponse]]:
    """Lists the deployments of textclf by name, for example `train/local`."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    found = client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])))
    flows = {flow.id: flow.name for flow in client.read_flows()}
    return sorted((f"{flows.get(one.flow_id, '?')}/{one.name}", one) for one in found)


def are_served(client: SyncPrefectClient, names: Sequence[str], since: datetime) -> bool:
    """Whether a program has asked for due runs of all these deployments since a time."""
    asked = {name: one.last_polled for name, one in deployments(client)}
    return all(name in asked and (at := asked[name]) is not None and at > since for name in names)


def next_runs(client: SyncPrefectClient, names: Sequence[str]) -> list[tuple[str, str]]:
    """Lists when these deployments run next, with the offset of their time zone; one that is paused says so."""
    from textclf_operations.planned_runs import next_dates

    found = []
    for name, one in deployments(client):
        zone = _timezone(one)
        active = [schedule for schedule in one.schedules if schedule.active and not one.paused]
        dates = [date for schedule in active for date in next_dates(schedule, datetime.now(UTC), count=1)]
        if name in names:
            found.append((name, clock(min(dates), zone) if dates else _("paused")))
    return found


def _timezone(deployment: DeploymentResponse) -> str | None:
    zones = [getattr(found.schedule, "timezone", None) for found in deployment.schedules]
    return next(filter(None, zones), None)


def schedule_facts(client: SyncPrefectClient) -> list[ScheduleFacts]:
    """Collects what the server knows about each deployment of textclf."""
    return [_facts(client, name, deployment) for name, deployment in deployments(client)]


def _facts(client: SyncPrefectClient, name: str, deployment: DeploymentResponse) -> ScheduleFacts:
    from prefect.client.schemas.objects import TERMINAL_STATES, StateType

    schedules = [found.schedule for found in deployment.schedules if found.active]
    ended = _runs(client, deployment, TERMINAL_STATES, newest_first=True, limit=1)
    planned = _runs(client, deployment, {StateType.SCHEDULED}, newest_first=False, limit=50)
    going_on = _runs(client, deployment, {StateType.RUNNING, StateType.PENDING, StateType.CANCELLING}, limit=50)
    late = [run for run in planned if run.state_name == "Late"]
    waiting = [run for run in planned if run.state_name == "Scheduled"]
    return ScheduleFacts(
        name=name,
        active=bool(schedules) and not deployment.paused,
        crons=tuple(str(getattr(schedule, "cron", schedule)) for schedule in schedules),
        timezone=_timezone(deployment),
        served=deployment.status == "READY",
        last=_run(ended[0]) if ended else None,
        running=tuple(map(_run, going_on)),
        late=tuple(map(_run, late)),
        next=_run(waiting[0]) if waiting else None,
    )


def _runs(
    client: SyncPrefectClient,
    deployment: DeploymentResponse,
    states: Collection[StateType],
    *,
    newest_first: bool = True,
    limit: int,
) -> list[FlowRun]:
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.sorting import FlowRunSort

    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC if newest_first else FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=limit,
    )


def _run(run: FlowRun) -> RunFacts:
    return RunFacts(
        id=str(run.id),
        name=run.name,
        state=run.state_name or "?",
        type=run.state_type.value if run.state_type else "?",
        message=run.state.message if run.state else None,
        start=run.start_time or run.expected_start_time,
        seconds=run.estimated_run_time.total_seconds() if run.start_time else None,
    )
