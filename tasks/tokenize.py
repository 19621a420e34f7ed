"""The tokenize task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.config import Home, TrainConfig
from textclf.language import _
from textclf.model.tokens import encode
from textclf.records import EncodedData, FetchedModel, PreparedData
from textclf.summaries.training import encoding_summary


@task(name="tokenize", timeout_seconds=3600, **TASK_POLICY)
def tokenize(prepared: PreparedData, model: FetchedModel | None, config: TrainConfig, home: Home) -> EncodedData:
    """Converts texts to token ids, or reuses the result of an earlier run."""
    with step("tokenize"):
        encoded = encode(prepared, model, model=config.model, encoding=config.encoding, folder=home.prepared)
    create_markdown_artifact(
        encoding_summary(encoded), key="tokens", description=_("Text lengths, cut texts and unknown tokens")
    )
    return encoded
