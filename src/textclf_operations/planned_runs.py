"""When schedules run next."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.server.schemas.schedules import SCHEDULE_TYPES
from pydantic import TypeAdapter

from textclf.language import _
from textclf_operations.times import clock

_SCHEDULE: TypeAdapter[Any] = TypeAdapter(SCHEDULE_TYPES)


def next_dates(schedule: DeploymentSchedule, start: datetime, count: int = 3) -> list[datetime]:
    """Computes the next dates of a schedule as Prefect's server does.

    A job at 2:30 runs once in the night in which the clock jumps from 2 to 3, an hour early by the clock on the wall,
    and once in the night in which 2:30 comes twice, at the first.
    """
    rule = _SCHEDULE.validate_python(schedule.schedule.model_dump())
    # Around a change of the clock, the first one may lie in the past.
    dates = asyncio.run(rule.get_dates(n=count + 1, start=start))
    return [date for date in dates if date > start][:count]


def describe_schedules(deployment: DeploymentResponse, start: datetime) -> list[str]:
    """Describes the schedules of a deployment, one line each, with their next three dates."""
    if not deployment.schedules:
        return [_("no schedule")]
    lines = []
    for schedule in deployment.schedules:
        rule = schedule.schedule
        zone = getattr(rule, "timezone", None)
        cron = getattr(rule, "cron", None)
        name = f"cron {cron!r}, {zone}" if cron else f"{type(rule).__name__}, {zone}"
        if deployment.paused or not schedule.active:
            lines.append(_("{schedule}: paused").format(schedule=name))
        else:
            dates = ", ".join(clock(date, zone) for date in next_dates(schedule, start))
            lines.append(_("{schedule}: next {dates}").format(schedule=name, dates=dates))
    return lines
