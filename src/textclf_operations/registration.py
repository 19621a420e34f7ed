"""Register a deployment with the Prefect server and keep what a person set there.

Prefect replaces all schedules of a deployment and switches it on whenever it is registered again.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from textclf.config import CONFIGS
from textclf.errors import ConfigError, TextclfError
from textclf.store import digest_of

TAG = "textclf"
_OWN = "textclf-"

# In that directory, the server finds prefect.toml, which blocks other web pages.
HOW_TO_START_A_SERVER = f"""\
Start a server in another terminal, then set its address here:
  cd {shlex.quote(str(CONFIGS.parent))} && prefect server start
  export PREFECT_API_URL=http://127.0.0.1:4200/api"""


class ServerError(TextclfError):
    """The Prefect server does not answer, or cannot do what it is asked."""


def check_server() -> None:
    """Asks the Prefect server whether it is well.

    Raises:
        ConfigError: No address is set.
        ServerError: It does not answer.
    """
    address = get_current_settings().api.url
    if not address:
        raise ConfigError(f"Schedules need a Prefect server, and PREFECT_API_URL is not set.\n{HOW_TO_START_A_SERVER}")
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
    if problem:
        raise ServerError(f"The Prefect server at {address} does not answer: {problem}.\n{HOW_TO_START_A_SERVER}")


def register(
    client: SyncPrefectClient,
    deployment: RunnerDeployment,
    schedule: CronSchedule,
    apply: Callable[[RunnerDeployment], UUID],
    *,
    reset: bool,
) -> DeploymentResponse:
    """Creates a deployment with a schedule, or updates one without changing what a person set.

    A paused deployment or schedule stays paused, a schedule that was added stays, one that was removed stays away. The
    deployment's own schedule changes only if `schedule` differs from the one of the last registration, which its slug
    tells: a change made in Prefect's page stays otherwise.

    Args:
        client: Of the Prefect server.
        deployment: Without schedules.
        schedule: The deployment's own schedule.
        apply: Registers the deployment; returns its id.
        reset: Remove all schedules and switch the deployment on first.

    Returns:
        The deployment as it is now.
    """
    found = _find(client, deployment.full_name)
    deployment.paused = found is not None and found.paused and not reset
    # If they are set, even to none, the server replaces its own.
    deployment.model_fields_set.discard("schedules")
    registered = apply(deployment)
    slug = _OWN + digest_of(schedule.cron, schedule.timezone)[:8]
    existing = found.schedules if found else []
    if reset:
        for entry in existing:
            client.delete_deployment_schedule(registered, entry.id)
    own = own_schedule(found) if found else None
    if found is None or reset:
        client.create_deployment_schedules(registered, [DeploymentScheduleCreate(schedule=schedule, slug=slug)])
    elif own is not None and own.slug != slug:
        client.update_deployment_schedule(registered, own.id, schedule=schedule, slug=slug)
    return client.read_deployment(registered)


def own_schedule(deployment: DeploymentResponse) -> DeploymentSchedule | None:
    """Finds the schedule that `register` made, unless a person removed it."""
    return next((entry for entry in deployment.schedules if (entry.slug or "").startswith(_OWN)), None)


def cron_schedule(cron: str, timezone: str, *, cron_name: str, timezone_name: str) -> CronSchedule:
    """Checks and creates a schedule.

    Raises:
        ConfigError: It is not one; `cron_name` and `timezone_name` say where it was written.
    """
    try:
        ZoneInfo(timezone)
    except (KeyError, OSError, ValueError) as error:
        raise ConfigError(f"{timezone_name} {timezone!r} is unknown; expected a name such as Asia/Shanghai.") from error
    try:
        return CronSchedule(cron=cron, timezone=timezone)
    except ValueError as error:
        raise ConfigError(
            f"{cron_name} {cron!r} is not a schedule.\n"
            "Expected five fields: minute, hour, day, month, weekday, for example '30 3 * * *'."
        ) from error


def _find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None
