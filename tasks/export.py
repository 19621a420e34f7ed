"""The export task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.config import Home, TrainConfig
from textclf.evaluation.engines import export_engines
from textclf.language import _
from textclf.records import DistilledModel, EncodedData, EvaluatedModel, ExportedEngines, PreparedData, TrainedModel
from textclf.summaries.engines import engines_summary
from textclf.tracking.store import TrackingStore


@task(name="export", timeout_seconds=24 * 3600, **TASK_POLICY)
def export(
    trained: TrainedModel,
    evaluated: EvaluatedModel,
    prepared: PreparedData,
    encoded: EncodedData,
    config: TrainConfig,
    home: Home,
    student: DistilledModel | None = None,
) -> ExportedEngines:
    """Exports an engine for CPUs, and compares it with the model."""
    with step("export"):
        store = TrackingStore.open(home)
        exported = export_engines(
            trained,
            evaluated,
            prepared,
            encoded,
            engine=config.engine,
            metric=config.registration.metric,
            seed=config.training.seed,
            store=store,
            student=student,
        )
    create_markdown_artifact(
        engines_summary(exported, store.run_link(trained.run_id)),
        key="engines",
        description=_("Engines for CPUs, compared with the model"),
    )
    return exported
