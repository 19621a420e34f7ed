"""The evaluate task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.config import Home, TrainConfig
from textclf.evaluation.measure import evaluate as measure
from textclf.language import _
from textclf.records import DistilledModel, EncodedData, EvaluatedModel, FetchedModel, PreparedData, TrainedModel
from textclf.summaries.training import metrics_summary
from textclf.tracking.store import TrackingStore


@task(name="evaluate", timeout_seconds=24 * 3600, **TASK_POLICY)
def evaluate(
    trained: TrainedModel,
    prepared: PreparedData,
    encoded: EncodedData,
    model: FetchedModel | None,
    config: TrainConfig,
    home: Home,
    student: DistilledModel | None = None,
) -> EvaluatedModel:
    """Evaluates the model, its student and the baselines, and logs metrics, plots and tables."""
    with step("evaluate"):
        store = TrackingStore.open(home)
        evaluated = measure(
            trained,
            prepared,
            encoded,
            model,
            evaluation=config.evaluation,
            model=config.model,
            training=config.training,
            name=config.data.registered_name,
            store=store,
            student=student,
        )
    create_markdown_artifact(
        metrics_summary(evaluated, store.run_link(trained.run_id)),
        key="metrics",
        description=_("Scores compared with the baselines"),
    )
    return evaluated
