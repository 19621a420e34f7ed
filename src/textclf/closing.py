"""What a command says at its end: the result in a few lines, and the next commands to copy."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from textclf.config.home import CONFIGS, Home
from textclf.config.schema import PredictConfig, TrainConfig
from textclf.records import PredictionSummary, RegisteredModel


def training_closing(config: TrainConfig, registered: RegisteredModel, home: Home) -> str:
    """Words the end of a training run.

    Args:
        config: What was run.
        registered: The version that came of it.
        home: Where everything lies.
    """
    role = "champion" if registered.is_champion else "challenger"
    python = _program("python")
    lines = [f"{registered.name} version {registered.version} is {role}. {registered.reason}", ""]
    if config.data.name == "quickstart":
        lines += [
            "This was the quickstart: a small BERT from random weights on the reviews that ship with textclf.",
            "The real job fine-tunes bert-base-chinese on ChnSentiCorp:",
            f"  {python} {_script('flows/train_flow.py')} --config {_script('configs/chnsenticorp.yaml')}",
            "",
        ]
    if home.mlflow_page:
        lines += [f"Compare models:      {home.mlflow_page}"]
    else:
        store = "" if home.root == Path.cwd() else f" --backend-store-uri {home.tracking_uri}"
        lines += [f"Compare models:      {_program('mlflow')} ui{store}"]
    alias = "champion" if registered.is_champion else "challenger"
    column = config.data.text_column
    text_column = "" if column == "text" else f" --text_column {shlex.quote(column)}"
    lines += [
        f"Look at its data:    {_program('textclf')} data show {registered.name}@{alias}",
        f"Predict a file:      {python} {_script('flows/predict_flow.py')} --model {registered.name}{text_column} "
        "--input FILE --output FILE",
        f"Run on schedules:    {python} {_script('deployments/serve.py')}",
    ]
    return "\n".join(lines)


def _script(name: str) -> str:
    # As it is typed in the repository; from elsewhere with its whole path.
    root = CONFIGS.parent
    return name if Path.cwd() == root else str(root / name)


def _program(name: str) -> str:
    # Beside the running interpreter, so that the command works whether its environment is activated or not.
    path = Path(sys.executable).parent / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def prediction_closing(config: PredictConfig, summary: PredictionSummary, home: Home) -> str:
    """Words the end of a batch prediction.

    Args:
        config: What was run.
        summary: What came of it.
        home: Where everything lies.
    """
    lines = []
    for file in summary.files:
        state = "was done before" if file.skipped else f"{file.rows_predicted:,} of {file.rows_read:,} rows predicted"
        lines.append(f"{file.input.name}: {state}, in {file.output}")
        if file.quarantine:
            lines.append(f"  {file.rows_quarantined:,} rows could not be predicted; the reasons: {file.quarantine}")
    lines = lines or [f"No files to predict in {config.input}."]
    if any(file.skipped for file in summary.files):
        lines.append("Add --redo to predict again what was done before.")
    return "\n".join(lines)
