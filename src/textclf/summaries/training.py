"""What people read about a training: a short Markdown page after each step, and the closing lines."""

from __future__ import annotations

import shlex
from pathlib import Path

from textclf.config.home import Home
from textclf.config.schema import TrainConfig
from textclf.errors import StorageError
from textclf.evaluation.report import SUMMARY_FILE
from textclf.language import _
from textclf.records import (
    Attempt,
    EncodedData,
    EvaluatedModel,
    FetchedData,
    FetchedModel,
    PreparedData,
    RegisteredModel,
    TrainedModel,
)
from textclf.summaries.commands import program, script
from textclf.tables import markdown_table, markdown_text
from textclf.tracking.pages import comparison_page, full_address, run_page, version_page

MLFLOW_UI = "http://127.0.0.1:5000"
"""Where `mlflow ui` listens by default."""


def download_summary(data: FetchedData, model: FetchedModel | None) -> str:
    """Describes where data and model came from, which sources failed, and the files with their sha256."""
    parts = [f"# Download\n\nData: {_origin(data)}"]
    parts.append(f"Model: {_origin(model) if model else 'new, with random weights'}")
    attempts: list[Attempt] = [*data.attempts, *(model.attempts if model else ())]
    failed = [[attempt.source, attempt.failure, f"{attempt.seconds:.1f}"] for attempt in attempts if attempt.failure]
    if failed:
        table = markdown_table([["source", "reason", "seconds"], *failed], text_columns=2)
        parts.append(f"Sources that failed:\n\n{table}")
    files = [*data.files, *(model.files if model else ())]
    rows = [[file.path, file.sha256, f"{file.size_bytes:,}"] for file in files]
    parts.append(markdown_table([["file", "sha256", "bytes"], *rows], text_columns=2))
    return "\n\n".join(parts)


def _origin(fetched: FetchedData | FetchedModel) -> str:
    cached = " (from the cache)" if fetched.cached else ""
    return f"{markdown_text(fetched.origin)}{cached}, digest `{fetched.digest[:12]}`"


def data_report(prepared: PreparedData) -> str:
    """Counts rows by split and label, quarantined rows by reason, and rows that leak between splits."""
    splits = list(prepared.rows)
    rows = [["label", *splits]]
    for label in prepared.labels:
        rows.append([label, *(f"{prepared.label_counts[split].get(label, 0):,}" for split in splits)])
    rows.append(["all labels", *(f"{prepared.rows[split]:,}" for split in splits)])
    rows.append(["copies of earlier rows", *(f"{prepared.leaked.get(split, 0):,}" for split in splits)])
    title = f"{markdown_text(prepared.origin)}, data version `{prepared.version}`{_reused(prepared.cached)}"
    parts = [f"# Data report\n\n{title}", markdown_table(rows)]
    if any(prepared.leaked.values()):
        parts.append("Copies of earlier rows inflate scores; `test_leakfree/…` leaves them out.")
    reasons = [[reason, f"{count:,}"] for reason, count in prepared.quarantined.items()]
    table = markdown_table([["reason", "rows"], *reasons])
    broken = f"Rows that break the contract (in `quarantine.jsonl`):\n\n{table}"
    parts.append(broken if reasons else "No rows were quarantined.")
    return "\n\n".join(parts)


def encoding_summary(encoded: EncodedData) -> str:
    """Describes how long the texts are in tokens, how many are cut, and how many tokens are unknown."""
    rows = [["split", "texts", f"cut at {encoded.max_length} tokens", "share"]]
    for split, count in encoded.rows.items():
        cut = encoded.truncated[split]
        rows.append([split, f"{count:,}", f"{cut:,}", f"{cut / max(count, 1):.1%}"])
    return (
        f"# Tokens{_reused(encoded.cached)}\n\nVocabulary size {encoded.vocabulary_size:,}; on average "
        f"{encoded.mean_tokens:.0f} tokens per training text; {encoded.unknown_share:.2%} unknown.\n\n"
        + markdown_table(rows)
    )


def _reused(cached: bool) -> str:
    return " (reused from an earlier run)" if cached else ""


def training_summary(trained: TrainedModel, link: str | None) -> str:
    """Describes how long training took and how good its best checkpoint is."""
    resumed = f"Resumed from step {trained.resumed_from_step:,}.\n\n" if trained.resumed_from_step else ""
    return (
        f"# Training\n\n{resumed}{trained.steps:,} steps, {trained.epochs:.1f} epochs, {trained.seconds:,.0f} s. "
        f"Best validation metric {trained.best_metric:.4f}.\n\nMLflow run {_link(trained.run_id, link)}"
    )


def metrics_summary(evaluated: EvaluatedModel, link: str | None) -> str:
    """Returns the summary of the evaluation report: scores next to the baselines', each class, the examples.

    Raises:
        StorageError: The report cannot be read.
    """
    path = evaluated.report_folder / SUMMARY_FILE
    try:
        summary = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The evaluation report {path} cannot be read: {error.strerror}.") from error
    return f"{summary}\nPlots and tables: MLflow run {_link(evaluated.run_id, link)}, artifacts `evaluation/`."


def decision_summary(registered: RegisteredModel, home: Home) -> str:
    """Describes which version was registered, whether it is the champion, and why; links to its pages in MLflow."""
    return (
        f"# {markdown_text(registered.name)} version {registered.version}: {_role(registered)}\n\n"
        f"{markdown_text(registered.reason)}\n\nMLflow run {_links(registered, home)}"
    )


def _links(registered: RegisteredModel, home: Home) -> str:
    experiment, run_id = registered.experiment_id, registered.run_id
    links = [_link(run_id, full_address(home, run_page(experiment, run_id)))]
    if version := full_address(home, version_page(registered.name, registered.version)):
        label = _("{name} version {version}").format(name=markdown_text(registered.name), version=registered.version)
        links.append(f"[{label}]({version})")
    if comparison := full_address(home, comparison_page(experiment)):
        links.append(f"[{_('comparison of all runs')}]({comparison})")
    return " · ".join(links)


def _role(registered: RegisteredModel) -> str:
    return "champion" if registered.is_champion else "challenger"


def _link(run_id: str, link: str | None) -> str:
    return f"[{run_id}]({link})" if link else f"`{run_id}`"


def training_closing(config: TrainConfig, registered: RegisteredModel, home: Home) -> str:
    """Formats the closing message of a training run."""
    role = _role(registered)
    python = program("python")
    lines = [f"{registered.name} version {registered.version} is {role}. {registered.reason}", ""]
    if config.data.name == "quickstart":
        lines += [
            "This was the quickstart: a small BERT with random initial weights, trained on the reviews in textclf.",
            "To fine-tune bert-base-chinese on ChnSentiCorp:",
            f"  {python} {script('flows/train_flow.py')} --config {script('configs/chnsenticorp.yaml')}",
            "",
        ]
    store = "" if home.root == Path.cwd() else f" --backend-store-uri {home.tracking_uri}"
    comparison = comparison_page(registered.experiment_id)
    column = config.data.text_column
    text_column = "" if column == "text" else f" --text_column {shlex.quote(column)}"
    lines += [
        f"Compare models:      {full_address(home, comparison) or program('mlflow') + f' ui{store}'}",
        *([] if home.mlflow_page else [_("  then open          {page}").format(page=f"{MLFLOW_UI}/{comparison}")]),
        f"Look at its data:    {program('textclf')} data show {registered.name}@{role}",
        f"Predict a file:      {python} {script('flows/predict_flow.py')} --model {registered.name}{text_column} "
        "--input FILE --output FILE",
        f"Run on schedules:    {python} {script('deployments/serve.py')}",
    ]
    return "\n".join(lines)
