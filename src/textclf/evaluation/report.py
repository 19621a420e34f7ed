"""The evaluation report: a folder with a summary, plots, the misclassified rows and all predictions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from textclf.config.sources import split_name
from textclf.errors import DataError
from textclf.evaluation.baselines import MAJORITY, TFIDF
from textclf.evaluation.findings import behaviour_summary, failures_table, slices_summary
from textclf.evaluation.metric_intervals import with_interval
from textclf.evaluation.plots import write_plots
from textclf.heads.metrics import check_predictions, metric_labels
from textclf.heads.single_label import SingleLabel
from textclf.language import _, ngettext
from textclf.records import BehaviourCheck, Slice
from textclf.store import write_output
from textclf.tables import markdown_table, spreadsheet_safe

if TYPE_CHECKING:
    import pandas as pd

SUMMARY_FILE = "summary.md"
FINE_TUNED = "fine-tuned"
"""The evaluated model, among the models of a report."""
STUDENT = "student"
"""A smaller model that learned from the evaluated one."""
UNTRAINED = "before fine-tuning"
"""The same model before it was trained."""


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for labelled rows.

    Attributes:
        sources: The data file of each row, relative to the data set.
        rows: Row numbers in these files, from 1: int64[rows].
        texts: One per row.
        labels: True label ids: int64[rows].
        probabilities: float32[rows, labels].
        label_names: In the order of their ids.
    """

    sources: Sequence[str]
    rows: NDArray[np.int64]
    texts: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    label_names: Sequence[str]


def metric_headings() -> dict[str, str]:
    """Returns the metrics of a summary, with their headings in the current language."""
    return {
        "accuracy": _("Accuracy"),
        "f1_macro": _("F1 macro"),
        "f1_weighted": _("F1 weighted"),
        "roc_auc_macro": _("ROC-AUC"),
        "average_precision_macro": _("Average precision"),
        "log_loss": _("Log loss"),
        "calibration_error": _("Calibration error"),
    }


def model_name(model: str) -> str:
    """Names one of the models of a report in the current language."""
    names = {
        FINE_TUNED: _("fine-tuned"),
        STUDENT: _("student"),
        UNTRAINED: _("before fine-tuning"),
        MAJORITY: _("majority"),
        TFIDF: _("tfidf-logistic-regression"),
    }
    return names.get(model, model)


def summary_table(metrics_by_model: Mapping[str, Mapping[str, float]]) -> str:
    """Compares models by the metrics of `metric_headings` in a Markdown table, one line per model.

    Each metric is followed by its interval, if it has one. A metric that a model lacks is shown as `–`; one that all
    models lack is left out.
    """
    headings = metric_headings()
    shown = [name for name in headings if any(name in metrics for metrics in metrics_by_model.values())]
    rows = [[_("Model"), *(headings[name] for name in shown)]]
    for model, metrics in metrics_by_model.items():
        rows.append([model_name(model), *(with_interval(metrics, name) for name in shown)])
    return markdown_table(rows)


def write_report(
    folder: Path,
    predictions: Predictions,
    *,
    metrics: Mapping[str, Mapping[str, float]],
    before: NDArray[np.float32] | None = None,
    slices: Sequence[Slice] = (),
    behaviour: Sequence[BehaviourCheck] = (),
    examples: Sequence[tuple[str, str, str, float]] = (),
) -> list[Path]:
    """Writes the report of a model's predictions for the test rows and returns its files.

    - `summary.md`: a comparison of all models, the metrics of each class, and the examples;
    - `confusion_matrix.png`, `precision_recall.png`, `reliability.png`, `f1_comparison.png`;
    - `behaviour_failures.csv`, if anything failed: the texts that did not behave as expected;
    - `errors.csv`: the misclassified rows, highest scores first. UTF-8 with a byte order mark, without which Excel
      does not show Chinese; cells that a spreadsheet would read as formulas start with an apostrophe;
    - `predictions.parquet`: all rows, columns source, row, text, label, predicted, score and `probability/<label>`.

    Args:
        folder: Created if missing; files of the same names are replaced.
        predictions: For the test rows.
        metrics: By model name, with names such as `test/f1_macro`. The evaluated model comes first; its metrics under
            `untrained/<split>/` become a line of their own.
        before: The probabilities before they were calibrated, float32[rows, labels].
        slices: Of the test rows.
        behaviour: The checks.
        examples: When (such as `after fine-tuning`), text, predicted label, score.

    Raises:
        DataError, ModelError: See `errors_table`.
        StorageError: The folder cannot be written to.
    """
    errors = errors_table(predictions)
    guarded = errors.assign(
        **{name: errors[name].map(spreadsheet_safe) for name in ("source", "text", "label", "predicted")}
    )
    csv = guarded.to_csv(index=False, float_format="%.4f", lineterminator="\r\n").encode("utf-8-sig")
    contents = {
        "summary.md": _summary(predictions, metrics, slices, behaviour, examples, len(errors)).encode(),
        "errors.csv": csv,
        "predictions.parquet": _parquet(predictions),
    }
    if failures := failures_table(behaviour):
        contents["behaviour_failures.csv"] = failures
    for name, content in contents.items():
        write_output(folder / name, content)
    models = {model_name(model): metrics_of(found, "test") for model, found in metrics.items()}
    arguments = (predictions.labels, predictions.probabilities, predictions.label_names)
    plots = write_plots(folder, *arguments, subject=split_name("test"), metrics_by_model=models, before=before)
    return [*(folder / name for name in contents), *plots]


def errors_table(predictions: Predictions) -> pd.DataFrame:
    """Lists the misclassified rows, highest scores first; rows with equal scores keep their order.

    Returns:
        Columns source, row, text, label and predicted (names), score (of the predicted class), label_score (of the true
        class).

    Raises:
        DataError, ModelError: See `check_predictions`; or row numbers, texts and labels differ in number.
    """
    import pandas as pd

    rows, texts, labels, names = predictions.rows, predictions.texts, predictions.labels, predictions.label_names
    if not len(rows) == len(texts) == len(labels):
        raise DataError(
            f"Row numbers, texts and labels must be equally many: found {len(rows)}, {len(texts)} and {len(labels)}."
        )
    check_predictions(labels, predictions.probabilities, names)
    decided = SingleLabel(tuple(names)).decide(predictions.probabilities)
    wrong = np.flatnonzero(decided.label_ids != labels)
    wrong = wrong[np.argsort(-decided.scores[wrong], kind="stable")]
    places = wrong.tolist()
    return pd.DataFrame(
        {
            "source": pd.Series([predictions.sources[place] for place in places], dtype="str"),
            "row": rows[wrong],
            "text": pd.Series([texts[place] for place in places], dtype="str"),
            "label": pd.Series([names[int(labels[place])] for place in places], dtype="str"),
            "predicted": pd.Series([decided.labels[place] for place in places], dtype="str"),
            "score": decided.scores[wrong],
            "label_score": predictions.probabilities[wrong, labels[wrong]],
        }
    )


def metrics_of(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    """Picks the metrics of a split (such as `test` or `untrained/test`) and removes the split from their names."""
    start = f"{split}/"
    return {name.removeprefix(start): value for name, value in metrics.items() if name.startswith(start)}


def models_of_split(metrics: Mapping[str, Mapping[str, float]], split: str) -> dict[str, dict[str, float]]:
    """Collects the metrics of one split by model, the model before fine-tuning included.

    Models without metrics for the split are left out.
    """
    collected = {}
    for model, found in metrics.items():
        collected[model] = metrics_of(found, split)
        untrained = metrics_of(found, f"untrained/{split}")
        if untrained:
            collected[UNTRAINED] = untrained
    return {model: found for model, found in collected.items() if found}


def _summary(
    predictions: Predictions,
    metrics: Mapping[str, Mapping[str, float]],
    slices: Sequence[Slice],
    behaviour: Sequence[BehaviourCheck],
    examples: Sequence[tuple[str, str, str, float]],
    errors: int,
) -> str:
    rows = len(predictions.labels)
    misclassified = ngettext(
        "{count:,} of {total:,} test rows is misclassified: see `errors.csv`.",
        "{count:,} of {total:,} test rows are misclassified: see `errors.csv`.",
        errors,
    ).format(count=errors, total=rows)
    parts = [f"# {_('Evaluation')}", misclassified]
    headings = {
        "test": _("Test"),
        "test_leakfree": _("Test texts that are in no other split"),
        "validation": _("Validation"),
    }
    for split, heading in headings.items():
        models = models_of_split(metrics, split)
        if models:
            parts += [f"## {heading}", summary_table(models)]
    first = metrics_of(next(iter(metrics.values()), {}), "test")
    classes = [[_("Class"), _("Rows"), _("Precision"), _("Recall"), "F1"]]
    for name, key in zip(predictions.label_names, metric_labels(predictions.label_names), strict=True):
        figures = [first.get(f"{metric}/{key}") for metric in ("precision", "recall", "f1")]
        support = int(first.get(f"support/{key}", 0))
        classes.append([name, f"{support:,}", *("–" if figure is None else f"{figure:.4f}" for figure in figures)])
    parts += [f"## {_('Classes, test')}", markdown_table(classes)]
    parts += slices_summary(slices) + behaviour_summary(behaviour)
    if examples:
        table = [[_("When"), _("Text"), _("Label"), _("Score")]]
        table += [[_when(when), text, label, f"{score:.4f}"] for when, text, label, score in examples]
        parts += [f"## {_('Examples')}", markdown_table(table, text_columns=3)]
    return "\n\n".join(parts) + "\n"


def _when(when: str) -> str:
    return {"after fine-tuning": _("after fine-tuning"), UNTRAINED: _("before fine-tuning")}.get(when, when)


def _parquet(predictions: Predictions) -> bytes:
    names = predictions.label_names
    predicted = SingleLabel(tuple(names)).decide(predictions.probabilities)
    columns = {
        "source": pa.array(predictions.sources, pa.string()),
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
