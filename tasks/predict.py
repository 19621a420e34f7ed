"""The predict task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from tasks.policies import TASK_POLICY
from textclf.config import Home, PredictConfig
from textclf.prediction.batch import predict_batch
from textclf.records import PredictionSummary
from textclf.summaries.prediction import prediction_summary


@task(name="predict", timeout_seconds=24 * 3600, **TASK_POLICY)
def predict(config: PredictConfig, home: Home) -> PredictionSummary:
    """Predicts every input file that is not done yet; after an interruption, resumes where it stopped."""
    summary = predict_batch(config, home=home, run_id=str(flow_run.get_id()), report=lambda _: None)
    create_markdown_artifact(prediction_summary(summary), key="predictions", description="Rows and labels per file")
    return summary
