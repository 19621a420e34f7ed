"""The report of one evaluation: a folder with plots, the mistakes, all predictions and a summary to read."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from textclf.evaluation.plots import write_plots
from textclf.heads.metrics import check_predictions, errors_table, metric_labels
from textclf.heads.single_label import SingleLabel
from textclf.store import write_output
from textclf.tables import markdown_table, spreadsheet_safe

logger = logging.getLogger(__name__)

SPLIT_HEADINGS = {
    "test": "Test",
    "test_leakfree": "Test texts that stand in no other split",
    "validation": "Validation",
}
SUMMARY_FILE = "summary.md"
UNTRAINED = "before fine-tuning"
SUMMARY_METRICS = {
    "accuracy": "Accuracy",
    "f1_macro": "F1 macro",
    "f1_weighted": "F1 weighted",
    "roc_auc_macro": "ROC-AUC",
    "average_precision_macro": "Average precision",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error",
}
"""The metrics of a summary, with their headings."""


@dataclass(frozen=True)
class Predictions:
    """What a model said about labelled rows.

    Attributes:
        rows: Row numbers in the data set, shape [rows], int64.
        texts: The texts.
        labels: True label ids, shape [rows], int64.
        probabilities: Shape [rows, labels], float32.
        label_names: In the order of their ids.
    """

    rows: NDArray[np.int64]
    texts: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    label_names: Sequence[str]


def summary_table(metrics_by_model: Mapping[str, Mapping[str, float]]) -> str:
    """Compares models on the metrics of `SUMMARY_METRICS` in a Markdown table.

    Args:
        metrics_by_model: Metrics as `classification_metrics` names them, by the model's name.

    Returns:
        One line per model, four decimals; `–` where a model lacks a metric. Metrics that all lack are left out.
    """
    shown = [name for name in SUMMARY_METRICS if any(name in metrics for metrics in metrics_by_model.values())]
    rows = [["Model", *(SUMMARY_METRICS[name] for name in shown)]]
    for model, metrics in metrics_by_model.items():
        rows.append([model, *(f"{metrics[name]:.4f}" if name in metrics else "–" for name in shown)])
    return markdown_table(rows)


def write_report(
    folder: Path,
    predictions: Predictions,
    *,
    metrics: Mapping[str, Mapping[str, float]],
    examples: Sequence[tuple[str, str, str, float]] = (),
) -> list[Path]:
    """Writes the report of a model's predictions for the test rows.

    The folder then holds:

    - `summary.md`: all models beside each other, the figures of each class, and the examples;
    - `confusion_matrix.png`, `precision_recall.png`, `reliability.png`, `f1_comparison.png`;
    - `errors.csv`: the wrongly classified rows, the surest mistakes first. UTF-8 with a byte order mark, without
      which Excel does not show Chinese; what a spreadsheet would take for a formula begins with an apostrophe;
    - `predictions.parquet`: every row with columns row, text, label, predicted, score and `probability/<label>`.

    Args:
        folder: Made if missing; files of the same names are replaced.
        predictions: For the test rows.
        metrics: By the model's name, with the split before each metric, such as `test/f1_macro`. The evaluated
            model comes first; what it has under `untrained/<split>/` becomes a line of its own.
        examples: When (such as `after fine-tuning`), text, predicted label, score.

    Returns:
        The files.

    Raises:
        DataError: No rows, or arguments that do not fit together.
        ModelError: Probabilities that are none.
        StorageError: The folder cannot be written to.
    """
    arguments = (predictions.labels, predictions.probabilities, predictions.label_names)
    check_predictions(*arguments)
    errors = errors_table(predictions.rows, predictions.texts, *arguments)
    guarded = errors.assign(**{name: errors[name].map(spreadsheet_safe) for name in ("text", "label", "predicted")})
    csv = guarded.to_csv(index=False, float_format="%.4f", lineterminator="\r\n").encode("utf-8-sig")
    contents = {
        "summary.md": _summary(predictions, metrics, examples, len(errors)).encode(),
        "errors.csv": csv,
        "predictions.parquet": _parquet(predictions),
    }
    written = []
    for name, content in contents.items():
        write_output(folder / name, content)
        written.append(folder / name)
    models = {model: split_metrics(found, "test") for model, found in metrics.items()}
    written += write_plots(folder, *arguments, subject="test", metrics_by_model=models)
    logger.info(
        "Wrote the evaluation report to %s: %s of %s test rows are wrong (errors.csv).",
        folder,
        f"{len(errors):,}",
        f"{len(predictions.labels):,}",
    )
    return written


def split_metrics(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    """Picks the metrics of one split and takes the split off their names.

    Args:
        metrics: With names such as `test/f1_macro`.
        split: What stands before the first slash, such as `test` or `untrained/test`.

    Returns:
        With names such as `f1_macro`.
    """
    start = f"{split}/"
    return {name.removeprefix(start): value for name, value in metrics.items() if name.startswith(start)}


def models_of_split(metrics: Mapping[str, Mapping[str, float]], split: str) -> dict[str, dict[str, float]]:
    """Collects what all models reached on one split, the model before its fine-tuning too.

    Args:
        metrics: By the model's name, with the split before each metric.
        split: Such as `test`.

    Returns:
        By the model's name, without the split. Models without figures for the split are left out.
    """
    collected = {}
    for model, found in metrics.items():
        collected[model] = split_metrics(found, split)
        untrained = split_metrics(found, f"untrained/{split}")
        if untrained:
            collected[UNTRAINED] = untrained
    return {model: found for model, found in collected.items() if found}


def _summary(
    predictions: Predictions,
    metrics: Mapping[str, Mapping[str, float]],
    examples: Sequence[tuple[str, str, str, float]],
    errors: int,
) -> str:
    rows = len(predictions.labels)
    parts = ["# Evaluation", f"{errors:,} of {rows:,} test rows are classified wrongly: see `errors.csv`."]
    for split, heading in SPLIT_HEADINGS.items():
        models = models_of_split(metrics, split)
        if models:
            parts += [f"## {heading}", summary_table(models)]
    first = split_metrics(next(iter(metrics.values()), {}), "test")
    classes = [["Class", "Rows", "Precision", "Recall", "F1"]]
    for name, key in zip(predictions.label_names, metric_labels(predictions.label_names), strict=True):
        figures = [first.get(f"{metric}/{key}") for metric in ("precision", "recall", "f1")]
        support = int(first.get(f"support/{key}", 0))
        classes.append([name, f"{support:,}", *("–" if figure is None else f"{figure:.4f}" for figure in figures)])
    parts += ["## Classes, test", markdown_table(classes)]
    if examples:
        table = [["When", "Text", "Label", "Score"]]
        table += [[when, text, label, f"{score:.4f}"] for when, text, label, score in examples]
        parts += ["## Examples", markdown_table(table, text_columns=3)]
    return "\n\n".join(parts) + "\n"


def _parquet(predictions: Predictions) -> bytes:
    names = predictions.label_names
    predicted = SingleLabel(tuple(names)).decide(predictions.probabilities)
    columns = {
        "row": pa.array(predictions.rows, pa.int64()),
        "text": pa.array(predictions.texts, pa.string()),
        "label": pa.array([names[int(label)] for label in predictions.labels], pa.string()),
        "predicted": pa.array(predicted.labels, pa.string()),
        "score": pa.array(predicted.scores, pa.float32()),
    }
    for index, name in enumerate(names):
        columns[f"probability/{name}"] = pa.array(predictions.probabilities[:, index], pa.float32())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()
