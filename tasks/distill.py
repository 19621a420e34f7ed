"""The distill task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.config import Home, TrainConfig
from textclf.errors import DataError, ModelError
from textclf.language import _
from textclf.records import DistilledModel, EncodedData, PreparedData, TrainedModel
from textclf.summaries.training import distillation_summary, no_student_summary
from textclf.tracking.metric_log import MetricLog
from textclf.tracking.runs import run_folder
from textclf.tracking.store import TrackingStore
from textclf.training.distill import STUDENT, leave_out
from textclf.training.distill import distill as train_student


@task(name="distill", timeout_seconds=7 * 24 * 3600, **TASK_POLICY)
def distill(
    trained: TrainedModel, prepared: PreparedData, encoded: EncodedData, config: TrainConfig, home: Home
) -> DistilledModel | None:
    """Trains a student of the fine-tuned model, or says why this model or these texts allow none."""
    store = TrackingStore.open(home)
    folder = run_folder(home, trained.run_id)
    link = store.run_link(trained.run_id)
    with step("distill"), MetricLog(store, trained.run_id, folder) as metrics:
        try:
            student = train_student(
                trained,
                prepared,
                encoded,
                distillation=config.distillation,
                data=config.data,
                training=config.training,
                encoding=config.encoding,
                folder=folder / STUDENT,
                log_metrics=metrics.log,
            )
            page = distillation_summary(student, link)
        except (DataError, ModelError) as error:
            leave_out(store, trained.run_id, error)
            student, page = None, no_student_summary(str(error))
    create_markdown_artifact(page, key="distillation", description=_("The student, compared with its teacher"))
    return student
