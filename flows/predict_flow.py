"""Predict new texts in batches with the champion model."""

from __future__ import annotations

import sys

from prefect import flow
from prefect.client.schemas.objects import State

from flows.conclusion import Conclusion, Run, conclude
from flows.launch import launch
from flows.policies import FLOW_POLICY
from tasks.predict import predict as predict_files
from textclf.config import CONFIGS, Home, PredictConfig
from textclf.prediction.inputs import check_inputs
from textclf.records import PredictionSummary
from textclf.store import storage_error
from textclf.summaries.prediction import prediction_closing
from textclf.summaries.success import newly_refused, prediction_message, prediction_state_name

DEFAULT = CONFIGS / "predict.yaml"
EXAMPLES = """\
  python flows/predict_flow.py --input reviews.csv --output labelled.csv
  python flows/predict_flow.py --input inbox --output outbox --model textclf-chnsenticorp
  python flows/predict_flow.py --input reviews.parquet --output labelled.parquet --probabilities --redo
"""


@flow(name="predict", description=__doc__, **FLOW_POLICY)
def predict(config: PredictConfig) -> State[PredictionSummary]:
    """Predicts a file, or each new file of a folder.

    Args:
        config: All settings of the run; each field has a description.
    """
    return conclude(_predict, PredictConfig, config)


def _predict(run: Run[PredictConfig]) -> Conclusion[PredictionSummary]:
    _make_inbox(run.config, run.home)
    summary = predict_files(run.config, run.home)
    return Conclusion(summary, prediction_message(summary), prediction_state_name(summary))


def _make_inbox(config: PredictConfig, home: Home) -> None:
    """Creates the inbox of the home directory, where schedules look; any other missing input is a mistake.

    Raises:
        StorageError: The home directory cannot be written to.
    """
    if config.input == home.root / "inbox":
        try:
            config.input.mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(home.root, error) from error


def _check(config: PredictConfig) -> None:
    _make_inbox(config, Home.from_environment())
    check_inputs(config)


def main() -> int:
    """Runs the flow with the command-line arguments."""
    return launch(
        predict,
        PredictConfig,
        program="python flows/predict_flow.py",
        # An installed package has no configurations: `python -m flows.predict_flow` takes everything from flags.
        default_file=DEFAULT if DEFAULT.exists() else None,
        examples=EXAMPLES,
        check=_check,
        closing=prediction_closing,
        exit_code=lambda summary: 3 if newly_refused(summary) else 0,
    )


if __name__ == "__main__":
    sys.exit(main())
