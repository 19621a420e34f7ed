"""Which of the runs that wait after an outage do the work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from prefect.client.schemas.objects import FlowRun

from flows.missed_runs import choose

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DEPLOYMENT = uuid4()


def waiting(hours: float, policy: str | None = "latest", *, by_hand: bool = False, **more: Any) -> FlowRun:
    """A run that should have started some hours ago."""
    config: dict[str, Any] = {"input": more.pop("input", "inbox"), **({"missed_runs": policy} if policy else {})}
    return FlowRun(
        id=uuid4(),
        flow_id=uuid4(),
        deployment_id=more.pop("deployment", DEPLOYMENT),
        auto_scheduled=not by_hand,
        expected_start_time=NOW - timedelta(hours=hours),
        parameters={"config": config},
        **more,
    )


def skipped(*runs: FlowRun) -> dict[UUID, UUID | None]:
    return {run.id: instead.id if instead else None for run, instead in choose(runs, NOW)}


def test_by_default_the_newest_run_does_the_work() -> None:
    newest, middle, oldest = waiting(1, None), waiting(25, None), waiting(49, None)
    assert skipped(middle, newest, oldest) == {middle.id: newest.id, oldest.id: newest.id}


def test_all_runs_each() -> None:
    assert skipped(waiting(1, "all"), waiting(25, "all")) == {}


def test_skip_runs_none_that_is_more_than_an_hour_late() -> None:
    soon, late, too_late = waiting(0.1, "skip"), waiting(0.9, "skip"), waiting(1.1, "skip")
    assert skipped(too_late, late, soon) == {too_late.id: None, late.id: soon.id}
    assert skipped(too_late) == {too_late.id: None}


def test_skip_lets_an_interrupted_run_go_on() -> None:
    begun, too_late = waiting(49, "skip", run_count=1), waiting(25, "skip")
    assert skipped(begun, too_late) == {too_late.id: None}


def test_runs_by_hand_are_never_skipped_and_do_nobody_elses_work() -> None:
    assert skipped(waiting(25), waiting(1, by_hand=True)) == {}
    assert skipped(waiting(25, by_hand=True), waiting(1)) == {}


def test_other_deployments_and_parameters_are_other_jobs() -> None:
    assert skipped(waiting(25), waiting(1, deployment=uuid4()), waiting(1, input="elsewhere")) == {}


def test_no_run_is_alone() -> None:
    assert skipped() == skipped(waiting(100)) == {}
