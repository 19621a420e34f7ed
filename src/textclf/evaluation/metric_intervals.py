"""How far the headline metrics of a test set may be from the truth: a bootstrap interval for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textclf.evaluation.intervals import METRICS, bootstrap_interval, paired_interval, resampled_decisions
from textclf.heads.metrics import CALIBRATION_BINS, calibration_bin, check_predictions
from textclf.records import Interval, PairedDifference

HEADLINES = (*METRICS, "roc_auc_macro", "average_precision_macro", "log_loss", "calibration_error")
"""The metrics with an interval."""
LOW, HIGH = "low", "high"
"""What follows the metric and a slash in the names of the ends of its interval."""
CONFIDENCE = 0.95
_RESAMPLES, _FEWEST_RESAMPLES = 1000, 200
# Resamples times rows: of many rows the intervals are narrow, and fewer resamples find their ends.
_MOST_DRAWN = 5_000_000
# Resamples times rows at a time: bounds the memory.
_CELLS = 1 << 20

Weights = NDArray[np.float32]
"""How often each row occurs in each resample: float32[resamples, rows]."""


def metric_intervals(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], label_names: Sequence[str], *, seed: int = 0
) -> dict[str, float]:
    """Computes the 95 % interval of each headline metric, as `f1_macro/low` and `f1_macro/high`.

    It is a percentile bootstrap (Efron and Tibshirani 1993, chapter 13) in which each label keeps its number of rows.
    The decisions may also be drawn from made-up rows, see `resampled_decisions`: 20 right answers do not prove that all
    answers are right. Drawing rows anew adds noise to every bin of the calibration error, as having so few rows already
    did: what it adds on average is subtracted from the upper end, and twice from the lower end.

    A metric that is undefined over these rows has no interval.

    Args:
        labels: True label ids, int64[rows].
        probabilities: float32[rows, labels].
        label_names: In the order of their ids.
        seed: Of the draws; the same seed gives the same intervals.

    Raises:
        DataError, ModelError: See `check_predictions`.
    """
    exact = check_predictions(labels, probabilities, label_names)
    generator = np.random.default_rng(seed)
    resamples = int(np.clip(_MOST_DRAWN // len(labels), _FEWEST_RESAMPLES, _RESAMPLES))
    ends: dict[str, float] = {}

    def add(metric: str, drawn: NDArray[np.float64], bias: float = 0.0) -> None:
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
        ends.update({f"{metric}/{LOW}": max(float(low - 2 * bias), 0.0), f"{metric}/{HIGH}": float(high - bias)})

    decided = resampled_decisions(labels, probabilities.argmax(axis=1), len(label_names), resamples, generator)
    for decision, drawn in decided.items():
        add(decision, drawn)
    scores = _Scores(labels, exact)
    # One resample after the other in memory, all of them in the results.
    found = [scores.of(weights) for weights in _resamples(labels, resamples, generator)]
    as_they_are = scores.of(np.ones((1, len(labels)), dtype=np.float32))
    for metric in as_they_are:
        drawn = np.concatenate([part[metric] for part in found])
        biased = metric == "calibration_error"
        add(metric, drawn, drawn.mean() - as_they_are[metric][0] if biased else 0.0)
    return ends


def paired_difference(
    labels: NDArray[np.int64],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    label_names: Sequence[str],
    *,
    metric: str,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> PairedDifference | None:
    """Compares two classifiers over the same rows by a headline metric: see `paired_interval`.

    Args:
        labels: True label ids, int64[rows].
        first: Probabilities of the first classifier, float32[rows, labels].
        second: Those of the second classifier.
        label_names: In the order of their ids.
        metric: One of `HEADLINES`.
        confidence: Of the two-sided interval.
        seed: Of the draws.

    Returns:
        Both scores and the interval of their difference; None if the metric is undefined over these rows.

    Raises:
        DataError, ModelError: See `check_predictions`.
    """
    exact = [check_predictions(labels, found, label_names) for found in (first, second)]
    for known in METRICS:
        if known == metric:
            decided = (first.argmax(axis=1), second.argmax(axis=1))
            settings: dict[str, Any] = {"num_labels": len(label_names), "confidence": confidence, "seed": seed}
            return paired_interval(labels, *decided, metric=known, **settings)
    scores = [_Scores(labels, found) for found in exact]
    whole = np.ones((1, len(labels)), dtype=np.float32)
    ours, theirs = (float(each.of(whole).get(metric, [np.nan])[0]) for each in scores)
    if np.isnan(ours):
        return None
    resamples = int(np.clip(_MOST_DRAWN // len(labels), _FEWEST_RESAMPLES, _RESAMPLES))
    drawn = np.concatenate(
        [
            scores[0].of(weights)[metric] - scores[1].of(weights)[metric]
            for weights in _resamples(labels, resamples, np.random.default_rng(seed))
        ]
    )
    interval = bootstrap_interval(drawn, ours - theirs, confidence)
    return PairedDifference(metric=metric, first=ours, second=theirs, interval=interval)


def interval_of(metrics: Mapping[str, float], name: str) -> Interval | None:
    """Returns the interval of a metric among metrics by name, such as `test/f1_macro`; None if it has none."""
    low, high = metrics.get(f"{name}/{LOW}"), metrics.get(f"{name}/{HIGH}")
    return None if low is None or high is None else Interval(low=low, high=high, confidence=CONFIDENCE)


def _resamples(labels: NDArray[np.int64], resamples: int, generator: np.random.Generator) -> Iterator[Weights]:
    """Draws rows with replacement, label by label; a few resamples at a time."""
    at_once = max(1, _CELLS // len(labels))
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for done in range(0, resamples, at_once):
        count = min(at_once, resamples - done)
        weights = np.empty((count, len(labels)), dtype=np.float32)
        offsets = np.arange(count)[:, None]
        for place in places:
            drawn = generator.integers(len(place), size=(count, len(place))) + offsets * len(place)
            weights[:, place] = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        yield weights


class _Scores:
    """Computes what depends on the probabilities for many resamples at once, as scikit-learn does for one."""

    def __init__(self, labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> None:
        rows = len(labels)
        # As scikit-learn clips.
        smallest = np.finfo(np.float64).eps
        self._losses = -np.log(np.clip(probabilities[np.arange(rows), labels], smallest, 1 - smallest))
        scores = probabilities.max(axis=1)
        gaps = np.zeros((rows, CALIBRATION_BINS))
        gaps[np.arange(rows), calibration_bin(scores)] = scores - (probabilities.argmax(axis=1) == labels)
        self._gaps = gaps.astype(np.float32)
        present = np.unique(labels)
        self._rankings = [_Ranking(labels == label, probabilities[:, label]) for label in present if len(present) > 1]

    def of(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Scores resamples, float64[resamples] by metric."""
        rows = weights.shape[1]
        found = {
            "log_loss": (weights @ self._losses) / rows,
            "calibration_error": np.abs(weights @ self._gaps).sum(axis=1, dtype=np.float64) / rows,
        }
        if self._rankings:
            ranked = np.mean([ranking.of(weights) for ranking in self._rankings], axis=0)
            found |= {"roc_auc_macro": ranked[0], "average_precision_macro": ranked[1]}
        return found


class _Ranking:
    """The rows by how probable one label is, the most probable first."""

    def __init__(self, here: NDArray[np.bool_], scores: NDArray[np.float64]) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ranked = scores[self._order]
        self._here = here[self._order].astype(np.float32)
        # Of rows with the same score, none comes before the other: the last of them is the place of all.
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        sizes = np.diff(np.append(-1, last))
        self._place = np.repeat(last, sizes)
        self._ties = len(last) < len(ranked)
        self._first, self._group = last - sizes + 1, np.repeat(np.arange(len(last)), sizes)

    def of(self, weights: Weights) -> NDArray[np.float64]:
        """Returns ROC-AUC and average precision, float64[2, resamples]."""
        drawn = weights[:, self._order]
        positive = drawn * self._here
        negative = drawn - positive
        true = np.cumsum(positive, axis=1)
        false = np.cumsum(negative, axis=1)
        positives, negatives = true[:, -1].astype(np.float64), false[:, -1].astype(np.float64)
        below = negatives[:, None].astype(np.float32) - false
        if self._ties:
            # Half of the rows of other labels with the same score count as below.
            true, false = true[:, self._place], false[:, self._place]
            strictly = negatives[:, None].astype(np.float32) - false
            tied = np.add.reduceat(negative, self._first, axis=1)[:, self._group]
            below = strictly + tied / 2
        area = np.einsum("ij,ij->i", positive, below, dtype=np.float64) / (positives * negatives)
        precision = true / np.maximum(true + false, 1)
        average = np.einsum("ij,ij->i", positive, precision, dtype=np.float64) / positives
        return np.stack([area, average])


def with_interval(metrics: Mapping[str, float], name: str) -> str:
    """Formats a metric with its interval, if it has one, such as `0.9383 (0.921–0.955)`; `–` if it is missing."""
    return score_text(metrics.get(name), interval_of(metrics, name))


def score_text(score: float | None, interval: Interval | None) -> str:
    """Formats a score with its interval, such as `0.9383 (0.921–0.955)`; `–` if there is none."""
    if score is None:
        return "–"
    return f"{score:.4f} ({interval.low:.3f}–{interval.high:.3f})" if interval else f"{score:.4f}"
