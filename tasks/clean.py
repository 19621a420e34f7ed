"""The clean task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.config import Home, TrainConfig
from textclf.data.prepare import prepare
from textclf.language import _
from textclf.records import FetchedData, PreparedData
from textclf.summaries.training import data_report


@task(name="clean", timeout_seconds=3600, **TASK_POLICY)
def clean(data: FetchedData, config: TrainConfig, home: Home) -> PreparedData:
    """Checks, cleans and splits the data set, or reuses the result of an earlier run."""
    with step("clean"):
        prepared = prepare(data, data=config.data, cleaning=config.cleaning, home=home)
    create_markdown_artifact(
        data_report(prepared), key="data-report", description=_("Rows, labels and quarantined rows")
    )
    return prepared
