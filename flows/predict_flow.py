"""Predict new texts in batches with the champion model."""

from __future__ import annotations

import sys

from prefect import flow

from flows.alerts import tell_of_completion, tell_of_crash, tell_of_failure
from flows.launch import launch
from flows.run_logs import send_library_logs
from flows.threads import wait_passively
from tasks.predict import predict as predict_files
from textclf import __version__
from textclf.config import CONFIGS, Home, PredictConfig, anchor
from textclf.prediction.inputs import check_inputs
from textclf.records import PredictionSummary
from textclf.summaries.prediction import prediction_closing

EXAMPLES = """\
  python flows/predict_flow.py --input reviews.csv --output labelled.csv
  python flows/predict_flow.py --input inbox --output outbox --model textclf-chnsenticorp
  python flows/predict_flow.py --input reviews.parquet --output labelled.parquet --probabilities --redo
"""


@flow(
    name="predict",
    description=__doc__,
    version=__version__,
    flow_run_name="predict-{config.model}",
    on_completion=[tell_of_completion],
    on_failure=[tell_of_failure],
    on_crashed=[tell_of_crash],
)
def predict(config: PredictConfig) -> PredictionSummary:
    """Predicts a file, or each new file of a folder.

    Args:
        config: All settings of the run; each field has a description.
    """
    send_library_logs()
    wait_passively()
    home = Home.from_environment()
    return predict_files(anchor(config, home.root), home)


def main() -> int:
    """Runs the flow with the command-line arguments."""
    return launch(
        predict,
        PredictConfig,
        program="python flows/predict_flow.py",
        default_file=CONFIGS / "predict.yaml",
        examples=EXAMPLES,
        check=check_inputs,
        closing=prediction_closing,
    )


if __name__ == "__main__":
    sys.exit(main())
