"""The download task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.config import Home, TrainConfig
from textclf.fetching import fetch_data
from textclf.language import _
from textclf.records import FetchedData, FetchedModel
from textclf.registry.encoders import fetch_encoder
from textclf.summaries.training import download_summary


@task(name="download", timeout_seconds=12 * 3600, **TASK_POLICY)
def download(config: TrainConfig, home: Home) -> tuple[FetchedData, FetchedModel | None]:
    """Fetches the data set and the model from the first source that works, or from the cache."""
    with step("download"):
        data = fetch_data(config.data.sources, home=home, offline=config.offline)
        model = fetch_encoder(config.model.sources, home=home, offline=config.offline) if config.model.sources else None
    create_markdown_artifact(
        download_summary(data, model), key="download", description=_("What was fetched, and from where")
    )
    return data, model
