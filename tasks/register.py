"""The register task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.config import Home, TrainConfig
from textclf.language import _
from textclf.records import Candidates, EvaluatedModel, PreparedData, RegisteredModel
from textclf.registry.gate import register as register_model
from textclf.summaries.training import decision_summary
from textclf.tracking.store import TrackingStore


@task(name="register", timeout_seconds=3600, **TASK_POLICY)
def register(
    candidates: Candidates, evaluated: EvaluatedModel, prepared: PreparedData, config: TrainConfig, home: Home
) -> RegisteredModel:
    """Registers the candidates and decides whether the chosen one becomes the champion."""
    with step("register"):
        store = TrackingStore.open(home)
        registered = register_model(
            candidates,
            evaluated,
            prepared,
            name=config.data.registered_name,
            rules=config.registration,
            store=store,
        )
    create_markdown_artifact(
        decision_summary(registered, home),
        key="decision",
        description=_("Champion or challenger"),
    )
    return registered
