"""What people read after each step, as short Markdown pages, and at the end of a command, as plain lines."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from textclf.config.home import CONFIGS, Home
from textclf.config.schema import PredictConfig, TrainConfig
from textclf.errors import StorageError
from textclf.evaluation.report import SUMMARY_FILE
from textclf.records import (
    Attempt,
    EncodedData,
    EvaluatedModel,
    FetchedData,
    FetchedModel,
    PredictionSummary,
    PreparedData,
    RegisteredModel,
    TrainedModel,
)
from textclf.tables import markdown_table, markdown_text


def download_summary(data: FetchedData, model: FetchedModel | None) -> str:
    """Says where data and model came from, which attempts failed, and lists the files with their sha256."""
    parts = [f"# Download\n\nData: {_origin(data)}"]
    parts.append(f"Model: {_origin(model) if model else 'made new, with random weights'}")
    attempts: list[Attempt] = [*data.attempts, *(model.attempts if model else ())]
    failed = [[attempt.source, attempt.failure, f"{attempt.seconds:.1f}"] for attempt in attempts if attempt.failure]
    if failed:
        parts.append(
            "Sources that failed:\n\n" + markdown_table([["source", "reason", "seconds"], *failed], text_columns=2)
        )
    files = [
        [file.path, file.sha256, f"{file.size_bytes:,}"] for file in [*data.files, *(model.files if model else ())]
    ]
    parts.append(markdown_table([["file", "sha256", "bytes"], *files], text_columns=2))
    return "\n\n".join(parts)


def _origin(fetched: FetchedData | FetchedModel) -> str:
    cached = " (from the cache)" if fetched.cached else ""
    return f"{markdown_text(fetched.origin)}{cached}, digest `{fetched.digest[:12]}`"


def data_report(prepared: PreparedData) -> str:
    """Says how many rows each split and label has, what was quarantined and why, and what leaks between splits."""
    splits = list(prepared.rows)
    rows = [["label", *splits]]
    rows += [
        [label, *(f"{prepared.label_counts[split].get(label, 0):,}" for split in splits)] for label in prepared.labels
    ]
    rows.append(["all labels", *(f"{prepared.rows[split]:,}" for split in splits)])
    rows.append(["copies of earlier rows", *(f"{prepared.leaked.get(split, 0):,}" for split in splits)])
    origin = markdown_text(prepared.origin)
    parts = [
        f"# Data report\n\n{origin}, data version `{prepared.version}`{_again(prepared.cached)}",
        markdown_table(rows),
    ]
    if any(prepared.leaked.values()):
        parts.append("Copies of earlier rows make scores look better than they are: `test_leakfree/…` leaves them out.")
    if prepared.quarantined:
        parts.append(
            "Rows that break the contract (in `quarantine.jsonl`):\n\n"
            + markdown_table(
                [["reason", "rows"], *([reason, f"{count:,}"] for reason, count in prepared.quarantined.items())]
            )
        )
    else:
        parts.append("No row was quarantined.")
    return "\n\n".join(parts)


def encoding_summary(encoded: EncodedData) -> str:
    """Says how long the texts are in tokens, how many are cut, and how many tokens are unknown."""
    rows = [["split", "texts", f"cut at {encoded.max_length} tokens", "share"]]
    rows += [
        [split, f"{count:,}", f"{encoded.truncated[split]:,}", f"{encoded.truncated[split] / max(count, 1):.1%}"]
        for split, count in encoded.rows.items()
    ]
    return (
        f"# Tokens{_again(encoded.cached)}\n\nVocabulary {encoded.vocabulary_size:,}; {encoded.mean_tokens:.0f} tokens "
        f"a training text on average; {encoded.unknown_share:.2%} unknown.\n\n" + markdown_table(rows)
    )


def _again(cached: bool) -> str:
    return " (found again by digest)" if cached else ""


def training_summary(trained: TrainedModel, link: str | None) -> str:
    """Says how long training took and how good its best checkpoint was."""
    resumed = f"Continued from step {trained.resumed_from_step:,}.\n\n" if trained.resumed_from_step else ""
    return (
        f"# Training\n\n{resumed}{trained.steps:,} steps, {trained.epochs:.1f} epochs, {trained.seconds:,.0f} s. "
        f"Best validation metric {trained.best_metric:.4f}.\n\nMLflow run {_link(trained.run_id, link)}"
    )


def metrics_summary(evaluated: EvaluatedModel, link: str | None) -> str:
    """Shows the summary of the evaluation report: scores beside those of the baselines, each class, the examples.

    Raises:
        StorageError: The report cannot be read.
    """
    path = evaluated.report_folder / SUMMARY_FILE
    try:
        summary = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The evaluation report {path} cannot be read: {error.strerror}.") from error
    return f"{summary}\nPlots and tables: MLflow run {_link(evaluated.run_id, link)}, artifacts `evaluation/`."


def decision_summary(registered: RegisteredModel, link: str | None) -> str:
    """Says which version was registered, whether it is champion, and why."""
    role = "champion" if registered.is_champion else "challenger"
    return (
        f"# {markdown_text(registered.name)} version {registered.version}: {role}\n\n"
        f"{markdown_text(registered.reason)}\n\n"
        f"MLflow run {_link(registered.run_id, link)}"
    )


def prediction_summary(summary: PredictionSummary) -> str:
    """Says for each file how many rows were read, predicted and quarantined, and how the labels fell."""
    rows = [["file", "state", "labels", "output", "rows", "predicted", "quarantined"]]
    rows += [
        [
            file.input.name,
            "done before" if file.skipped else "done",
            ", ".join(f"{label} {count:,}" for label, count in file.label_counts.items()),
            str(file.output),
            f"{file.rows_read:,}",
            f"{file.rows_predicted:,}",
            f"{file.rows_quarantined:,}",
        ]
        for file in summary.files
    ]
    body = markdown_table(rows, text_columns=4) if summary.files else "No new files."
    model = markdown_text(summary.model)
    return f"# Predictions with {model} version {summary.version}\n\n{summary.seconds:.0f} s.\n\n{body}"


def _link(run_id: str, link: str | None) -> str:
    return f"[{run_id}]({link})" if link else f"`{run_id}`"


def training_closing(config: TrainConfig, registered: RegisteredModel, home: Home) -> str:
    """Formats the closing message of a training run.

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
    column = config.data.text_column
    text_column = "" if column == "text" else f" --text_column {shlex.quote(column)}"
    lines += [
        f"Look at its data:    {_program('textclf')} data show {registered.name}@{role}",
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
    """Formats the closing message of a batch prediction.

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
