"""How far a measured figure may be from the truth: intervals for shares, and for the difference of two classifiers."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from textclf.errors import DataError
from textclf.records import Interval, PairedDifference

Metric = Literal["accuracy", "f1_macro", "f1_weighted"]
METRICS: tuple[Metric, ...] = get_args(Metric)
"""The metrics of decisions."""
# Resamples times kinds of rows at a time: bounds the memory.
_CELLS = 1 << 22
_FEWEST_BEYOND = 5


def decision_metric(metric: str) -> Metric:
    """Returns a metric itself if it is one of decisions, whose intervals can be computed, else macro F1."""
    return next((known for known in METRICS if known == metric), "f1_macro")


def share_interval(count: int, rows: int, *, confidence: float = 0.95) -> Interval:
    """Computes the exact interval (Clopper and Pearson, 1934) of a share of which `count` of `rows` rows were seen.

    Raises:
        DataError: There are no rows.
    """
    from scipy.special import betaincinv

    if rows == 0:
        raise DataError("A share needs at least one row.")
    tail = (1 - confidence) / 2
    low = float(betaincinv(count, rows - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, rows - count, 1 - tail)) if count < rows else 1.0
    return Interval(low=low, high=high, confidence=confidence)


def paired_interval(
    labels: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    num_labels: int,
    metric: Metric,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedDifference:
    """Compares two classifiers over the same rows: both scores, and a bootstrap interval of their difference.

    Rows are drawn anew with what both classifiers say of them, so that only the rows on which they differ widen the
    interval (percentile bootstrap). Each resample may also draw from one made-up row, on which one classifier is right
    and the other is not, each way equally likely (after Agresti and Min, 2005): without it, the interval of classifiers
    that agree on all of a few rows would be exactly zero.

    Args:
        labels: True label ids, int64[rows].
        first: The label ids that the first classifier predicts, int64[rows].
        second: Those of the second classifier, int64[rows].
        num_labels: Number of labels.
        metric: As scikit-learn defines it.
        confidence: Of the two-sided interval.
        resamples: How often the rows are drawn.
        seed: Of the draws; the same seed gives the same interval.

    Raises:
        DataError: There are no rows, or not as many predictions as labels.
    """
    if not len(labels) or not len(labels) == len(first) == len(second):
        raise DataError(
            "Two classifiers are compared over the same rows, at least one: found "
            f"{len(labels):,} labels, {len(first):,} and {len(second):,} predictions."
        )
    kinds, counts = np.unique(np.stack([labels, first, second]), axis=1, return_counts=True)
    scores = [float(_scores(counts[None], kinds[0], kinds[side], num_labels, metric)[0]) for side in (1, 2)]
    present, support = np.unique(labels, return_counts=True)
    wrong = (present + 1) % num_labels
    made_up = np.hstack([np.stack([present, present, wrong]), np.stack([present, wrong, present])])
    kinds = np.hstack([kinds, made_up])
    weights = np.concatenate([counts, np.tile(support / len(labels) / 2, 2)])
    shares = weights / weights.sum()
    generator = np.random.default_rng(seed)
    differences = []
    at_once = max(1, _CELLS // len(shares))
    for done in range(0, resamples, at_once):
        drawn = generator.multinomial(len(labels), shares, size=min(at_once, resamples - done))
        ours, theirs = (_scores(drawn, kinds[0], kinds[side], num_labels, metric) for side in (1, 2))
        differences.append(ours - theirs)
    return PairedDifference(
        metric=metric,
        first=scores[0],
        second=scores[1],
        interval=bootstrap_interval(np.concatenate(differences), scores[0] - scores[1], confidence),
    )


def bootstrap_interval(drawn: NDArray[np.float64], estimate: float, confidence: float) -> Interval:
    """Returns the percentile interval of what resamples gave, float64[resamples].

    Where so few resamples lie beyond an end that they say little about it, the ends are those of a normal distribution
    around the estimate with the spread of the resamples.
    """
    from scipy.stats import norm

    tail = (1 - confidence) / 2
    if tail * len(drawn) >= _FEWEST_BEYOND:
        low, high = np.quantile(drawn, [tail, 1 - tail])
    else:
        low, high = estimate + np.array([-1, 1]) * norm.isf(tail) * drawn.std()
    return Interval(low=float(low), high=float(high), confidence=confidence)


def resampled_decisions(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    num_labels: int,
    resamples: int,
    generator: np.random.Generator,
) -> dict[Metric, NDArray[np.float64]]:
    """Scores a classifier's label ids, int64[rows], over rows that are drawn anew, each label as often as it occurs.

    Among the rows to draw from are two made-up ones, one that is right and one that is wrong (after Agresti and Coull,
    1998): without the second, a classifier that is right on all of a few rows would be right on all of any.

    Returns:
        float64[resamples] by metric.
    """
    present, support = np.unique(labels, return_counts=True)
    made_up = np.hstack([np.stack([present, present]), np.stack([present, (present + 1) % num_labels])])
    kinds, counts = np.unique(np.stack([labels, predicted]), axis=1, return_counts=True)
    kinds = np.hstack([kinds, made_up])
    weights = np.concatenate([counts, np.tile(support / len(labels), 2)])
    drawn = np.zeros((resamples, len(weights)), dtype=np.int64)
    for label, rows in zip(present, support, strict=True):
        here = kinds[0] == label
        drawn[:, here] = generator.multinomial(rows, weights[here] / weights[here].sum(), size=resamples)
    return {metric: _scores(drawn, kinds[0], kinds[1], num_labels, metric) for metric in METRICS}


def _scores(
    counts: NDArray[np.int64],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    num_labels: int,
    metric: Metric,
) -> NDArray[np.float64]:
    """Scores resamples, in which each kind of row occurs counts[resamples, kinds] times."""

    def by_label(ids: NDArray[np.int64], which: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.float64]:
        from scipy.sparse import csr_array

        chosen = ids[which]
        one_hot = csr_array((np.ones(len(chosen)), (np.arange(len(chosen)), chosen)), (len(chosen), num_labels))
        summed: NDArray[np.float64] = counts[:, which] @ one_hot
        return summed

    right = labels == predicted
    if metric == "accuracy":
        shares: NDArray[np.float64] = counts[:, right].sum(axis=1) / counts.sum(axis=1)
        return shares
    support = by_label(labels)
    occurring = support + by_label(predicted)
    f1 = 2 * by_label(labels, right) / np.maximum(occurring, 1)
    weights = support if metric == "f1_weighted" else (occurring > 0).astype(np.float64)
    means: NDArray[np.float64] = (f1 * weights).sum(axis=1) / weights.sum(axis=1)
    return means
