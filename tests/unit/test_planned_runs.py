"""When schedules run, through the nights in which the clock changes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule

from textclf_operations.planned_runs import next_dates
from textclf_operations.times import clock


def schedule(cron: str, timezone: str) -> DeploymentSchedule:
    return DeploymentSchedule(deployment_id=uuid4(), schedule=CronSchedule(cron=cron, timezone=timezone))


def planned(cron: str, timezone: str, first: str, days: int = 4) -> list[str]:
    """Collects what a server plans that looks ahead again and again, as Prefect's does."""
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    end = start + timedelta(days=days)
    dates: set[datetime] = set()
    now = start
    while now < end:
        dates.update(date.astimezone(UTC) for date in next_dates(schedule(cron, timezone), now))
        now += timedelta(hours=3, minutes=7)
    return [clock(date, timezone) for date in sorted(dates) if date < end]


def test_the_night_without_half_past_two_has_one_run() -> None:
    assert planned("30 2 * * *", "Europe/Berlin", "2027-03-27") == [
        "2027-03-27 02:30 (UTC+01:00)",
        "2027-03-28 01:30 (UTC+01:00)",
        "2027-03-29 02:30 (UTC+02:00)",
        "2027-03-30 02:30 (UTC+02:00)",
    ]


def test_the_night_with_half_past_two_twice_has_one_run() -> None:
    assert planned("30 2 * * *", "Europe/Berlin", "2026-10-24") == [
        "2026-10-24 02:30 (UTC+02:00)",
        "2026-10-25 02:30 (UTC+02:00)",
        "2026-10-26 02:30 (UTC+01:00)",
        "2026-10-27 02:30 (UTC+01:00)",
    ]


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 0 * * *", "59 23 * * *"])
@pytest.mark.parametrize(
    ("timezone", "first"),
    [
        ("Asia/Shanghai", "2026-03-27"),
        # No clock change any more since 2022, one hour less since March 2024, no clock change any more since 2025.
        ("America/Mexico_City", "2023-04-01"),
        ("Asia/Almaty", "2024-02-28"),
        ("America/Asuncion", "2025-03-22"),
    ],
)
def test_a_day_has_one_run_in_every_zone(cron: str, timezone: str, first: str) -> None:
    days = Counter(line.split()[0] for line in planned(cron, timezone, first, days=5))
    assert set(days.values()) == {1}
    assert len(days) in (4, 5)


def test_a_zone_whose_rules_changed_uses_the_new_ones() -> None:
    assert planned("30 2 * * *", "America/Asuncion", "2025-03-22", days=3)[-1] == "2025-03-24 02:30 (UTC-03:00)"
    assert planned("30 2 * * *", "Asia/Almaty", "2024-03-02", days=2)[-1] == "2024-03-04 02:30 (UTC+05:00)"


def test_shows_only_dates_in_the_future() -> None:
    now = datetime(2027, 3, 28, 0, 58, tzinfo=UTC)
    dates = next_dates(schedule("30 2 * * *", "Europe/Berlin"), now)
    assert [clock(date, "Europe/Berlin") for date in dates] == [
        "2027-03-29 02:30 (UTC+02:00)",
        "2027-03-30 02:30 (UTC+02:00)",
        "2027-03-31 02:30 (UTC+02:00)",
    ]
