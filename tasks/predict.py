"""The predict task."""

from __future__ import annotations

from collections import deque

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from tasks.policies import TASK_POLICY
from tasks.steps import leave_page, step
from textclf.config import Home, PredictConfig
from textclf.language import _
from textclf.prediction.batch import predict_batch
from textclf.records import PredictionSummary
from textclf.summaries.prediction import prediction_summary

PAGE = "predictions"


@task(name="predict", timeout_seconds=24 * 3600, **TASK_POLICY)
def predict(config: PredictConfig, home: Home) -> PredictionSummary:
    """Predicts every input file that is not done yet; after an interruption, resumes where it stopped."""
    latest: deque[PredictionSummary] = deque(maxlen=1)
    try:
        with step("predict"):
            predict_batch(config, home=home, run_id=str(flow_run.get_id()), report=latest.append)
    except BaseException:
        for so_far in latest:
            leave_page(prediction_summary(so_far), key=PAGE, description=_("Rows and labels per file"))
        raise
    create_markdown_artifact(prediction_summary(latest[0]), key=PAGE, description=_("Rows and labels per file"))
    return latest[0]
