"""The evaluate task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from textclf.config import Home, TrainConfig
from textclf.evaluation.measure import evaluate as measure
from textclf.records import EncodedData, EvaluatedModel, FetchedModel, PreparedData, TrainedModel
from textclf.summaries import metrics_summary
from textclf.tracking.runs import run_link


@task(name="evaluate", timeout_seconds=24 * 3600, **TASK_POLICY)
def evaluate(
    trained: TrainedModel,
    prepared: PreparedData,
    encoded: EncodedData,
    model: FetchedModel | None,
    config: TrainConfig,
    home: Home,
) -> EvaluatedModel:
    """Measures the model beside the baselines and logs metrics, plots and tables."""
    evaluated = measure(trained, prepared, encoded, model, config=config, home=home)
    create_markdown_artifact(
        metrics_summary(evaluated, run_link(home, trained.run_id)),
        key="metrics",
        description="Scores beside the baselines",
    )
    return evaluated
