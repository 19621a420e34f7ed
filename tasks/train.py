"""The train task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.config import Home, TrainConfig
from textclf.language import _
from textclf.model.settings import ClassifierSettings
from textclf.records import EncodedData, FetchedModel, PreparedData, TrainedModel
from textclf.summaries.training import training_summary
from textclf.tracking.metric_log import MetricLog
from textclf.tracking.runs import run_folder
from textclf.tracking.store import TrackingStore
from textclf.training.train import train as fine_tune


@task(name="train", timeout_seconds=7 * 24 * 3600, **TASK_POLICY)
def train(
    encoded: EncodedData,
    prepared: PreparedData,
    model: FetchedModel | None,
    run_id: str,
    config: TrainConfig,
    home: Home,
) -> TrainedModel:
    """Fine-tunes the classifier; after an interruption, resumes from the last checkpoint."""
    store = TrackingStore.open(home)
    folder = run_folder(home, run_id)
    with step("train"), MetricLog(store, run_id, folder) as metrics:
        trained = fine_tune(
            encoded,
            model,
            settings=ClassifierSettings.of(config, prepared.labels),
            model=config.model,
            encoding=config.encoding,
            training=config.training,
            run_id=run_id,
            folder=folder,
            log_metrics=metrics.log,
        )
    create_markdown_artifact(
        training_summary(trained, store.run_link(run_id)), key="training", description=_("Duration and best score")
    )
    return trained
