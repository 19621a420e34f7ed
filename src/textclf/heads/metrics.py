"""Metrics of predictions, computed by scikit-learn.

Throughout, `labels` are label ids of shape [rows], `probabilities` have the shape [rows, labels], and `label_names` are
in the order of the ids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textclf.errors import DataError, ModelError

CALIBRATION_BINS = 15
PER_LABEL = ("precision", "recall", "f1", "support")
"""The metrics of single labels, whose names go on with the label."""
_LONGEST_LABEL = 100


def metric_labels(label_names: Sequence[str]) -> list[str]:
    """Rewrites label names so that MLflow accepts them within a metric's name.

    MLflow allows letters and digits of any script, `_`, `-`, `.` and spaces; `/` groups metrics. Other characters
    become `_`, and names are cut at 100 characters. Names that would collide get their label id as a suffix.

    Example:
        >>> metric_labels(["负面", "正面（好评）", "C++", "C--", "C__"])
        ['负面', '正面_好评_', 'C___2', 'C--', 'C___4']
    """
    cleaned = [re.sub(r"[^\w.\- ]", "_", name)[:_LONGEST_LABEL] for name in label_names]
    cleaned = ["_" if not name.strip(". ") else name for name in cleaned]
    unique: list[str] = []
    for index, name in enumerate(cleaned):
        candidate = f"{name}_{index}" if cleaned.count(name) > 1 else name
        while candidate in unique:
            candidate = f"{candidate}_{index}"
        unique.append(candidate)
    return unique


def check_predictions(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], label_names: Sequence[str]
) -> NDArray[np.float64]:
    """Makes sure that labels and probabilities can be compared.

    Returns:
        The probabilities as float64, each row divided by its sum: rounding in float32 leaves sums near 1.

    Raises:
        DataError: There are no rows, the shapes do not match, or a label id has no name.
        ModelError: Probabilities are not finite, negative, or do not sum to 1 within 0.001.
    """
    rows, count = len(labels), len(label_names)
    if rows == 0:
        raise DataError("There are no rows to evaluate: expected at least one labelled row.")
    if probabilities.shape != (rows, count):
        raise DataError(
            f"Predictions do not match the labels: expected probabilities of shape ({rows}, {count}) for {rows} rows "
            f"and {count} classes, found {tuple(probabilities.shape)}."
        )
    unknown = np.flatnonzero((labels < 0) | (labels >= count))
    if unknown.size:
        raise DataError(
            f"{unknown.size:,} rows have a label id outside 0 to {count - 1}; the first is row {unknown[0]} "
            f"with {labels[unknown[0]]}."
        )
    exact = np.asarray(probabilities, dtype=np.float64)
    sums = exact.sum(axis=1)
    bad = np.flatnonzero(~np.isfinite(exact).all(axis=1) | (exact < 0).any(axis=1) | (np.abs(sums - 1) > 1e-3))
    if bad.size:
        raise ModelError(
            f"{bad.size:,} of {rows:,} rows have no valid probabilities (finite, not negative, sum 1); the first is "
            f"row {bad[0]} with {probabilities[bad[0]].tolist()}. If the training loss became nan, lower "
            "training.learning_rate."
        )
    normalised: NDArray[np.float64] = exact / sums[:, None]
    return normalised


def classification_metrics(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], label_names: Sequence[str]
) -> dict[str, float]:
    """Measures predictions against the true labels. The predicted class is the most probable one.

    As in scikit-learn, the macro means of precision, recall and F1 cover the classes that occur among the labels or
    the predictions, and a division by zero counts as 0. `roc_auc_macro` (one class against the rest; with two classes
    the usual ROC-AUC) and `average_precision_macro` cover the classes that some but not all rows have; without such
    classes they are omitted. A class without rows gets only `support/<label>` 0. No value is nan.

    Returns:
        By name: `accuracy`, `precision_macro`, `recall_macro`, `f1_macro`, `precision_weighted`, `recall_weighted`,
        `f1_weighted`, `roc_auc_macro`, `average_precision_macro`, `log_loss` (natural logarithm), `calibration_error`
        (see `expected_calibration_error`), and per class `precision/<label>`, `recall/<label>`, `f1/<label>` and
        `support/<label>` (rows), with the label as `metric_labels` writes it.

    Raises:
        DataError, ModelError: See `check_predictions`.
    """
    from sklearn import metrics as scores

    exact = check_predictions(labels, probabilities, label_names)
    predicted = probabilities.argmax(axis=1)
    ids = np.arange(len(label_names))
    found = {"accuracy": float(scores.accuracy_score(labels, predicted))}
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = scores.precision_recall_fscore_support(
            labels, predicted, average=average, zero_division=0
        )
        found |= {
            f"precision_{average}": float(precision),
            f"recall_{average}": float(recall),
            f"f1_{average}": float(f1),
        }
    support = np.bincount(labels, minlength=len(ids))
    rankable = [index for index in ids if 0 < support[index] < len(labels)]
    if rankable:
        found["roc_auc_macro"] = float(
            np.mean([scores.roc_auc_score(labels == index, exact[:, index]) for index in rankable])
        )
        found["average_precision_macro"] = float(
            np.mean([scores.average_precision_score(labels == index, exact[:, index]) for index in rankable])
        )
    # scikit-learn's log loss requires at least two classes; with one, every probability is 1.
    found["log_loss"] = float(scores.log_loss(labels, exact, labels=ids)) if len(ids) > 1 else 0.0
    found["calibration_error"] = expected_calibration_error(labels, exact)

    table = scores.precision_recall_fscore_support(labels, predicted, labels=ids, average=None, zero_division=0)
    for index, name in enumerate(metric_labels(label_names)):
        if support[index]:
            found |= {
                f"{metric}/{name}": float(values[index])
                for metric, values in zip(PER_LABEL[:3], table[:3], strict=True)
            }
        found[f"support/{name}"] = float(support[index])
    return found


def expected_calibration_error(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64] | NDArray[np.float32], *, bins: int = CALIBRATION_BINS
) -> float:
    """Measures how far the scores of the predicted classes are from the share of correct predictions.

    Scores are sorted into bins of equal width. The result is the distance between mean score and share of correct
    predictions, averaged over the bins by their rows (Guo et al., 2017): 0 if calibrated, at most 1.
    """
    counts, mean_scores, accuracies = reliability_bins(labels, probabilities, bins=bins)
    used = counts > 0
    distances = np.abs(mean_scores[used] - accuracies[used])
    return float(np.average(distances, weights=counts[used]))


def reliability_bins(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64] | NDArray[np.float32], *, bins: int = CALIBRATION_BINS
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Sorts predictions into bins of equal width by score; a score on a border belongs to the lower bin.

    Returns:
        Per bin: the rows (int64), the mean score and the share of correct predictions (float64, nan if empty).
    """
    scores = np.asarray(probabilities.max(axis=1), dtype=np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    places = calibration_bin(scores, bins=bins)
    counts = np.bincount(places, minlength=bins).astype(np.int64)
    divisors = np.where(counts > 0, counts, np.nan)
    mean_scores = np.bincount(places, weights=scores, minlength=bins) / divisors
    accuracies = np.bincount(places, weights=right, minlength=bins) / divisors
    return counts, mean_scores, accuracies


def calibration_bin(scores: NDArray[np.float64], *, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Returns the bin of each score, from 0; a score on a border belongs to the lower bin."""
    places: NDArray[np.int64] = np.clip(np.ceil(scores * bins).astype(np.int64) - 1, 0, bins - 1)
    return places
