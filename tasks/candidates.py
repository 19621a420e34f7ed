"""The candidates task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.config import Home, TrainConfig
from textclf.evaluation.candidates import compare
from textclf.language import _
from textclf.records import Candidates, DistilledModel, EvaluatedModel, PreparedData, TrainedModel
from textclf.summaries.candidates import candidates_summary
from textclf.tracking.store import TrackingStore


@task(name="candidates", timeout_seconds=3600, **TASK_POLICY)
def candidates(
    trained: TrainedModel,
    student: DistilledModel | None,
    evaluated: EvaluatedModel,
    prepared: PreparedData,
    config: TrainConfig,
    home: Home,
) -> Candidates:
    """Makes the linear model and the ladder, and compares quality and speed of all models."""
    with step("candidates"):
        store = TrackingStore.open(home)
        found = compare(
            trained,
            student,
            evaluated,
            prepared,
            registration=config.registration,
            ladder=config.ladder,
            evaluation=config.evaluation,
            seed=config.training.seed,
            name=config.data.registered_name,
            store=store,
        )
    create_markdown_artifact(
        candidates_summary(found, store.run_link(trained.run_id)),
        key="candidates",
        description=_("Quality and speed of each model"),
    )
    return found
