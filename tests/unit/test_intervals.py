"""Intervals cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score

from textclf.errors import DataError
from textclf.evaluation.intervals import Metric, paired_interval, share_interval


@pytest.mark.parametrize(("count", "rows"), [(0, 10), (10, 10), (1, 1), (3, 812), (500, 10_000)])
def test_a_share_has_the_exact_interval(count: int, rows: int) -> None:
    expected = binomtest(count, rows).proportion_ci(confidence_level=0.9)
    found = share_interval(count, rows, confidence=0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="at least one row"):
        share_interval(0, 0)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "f1_weighted"])
def test_a_difference_is_that_of_scikit_learns_scores(metric: Metric) -> None:
    generator = np.random.default_rng(1)
    # The last label has no rows, and another one only predictions.
    labels = generator.integers(5, size=300)
    first = np.where(generator.random(300) < 0.7, labels, generator.integers(6, size=300))
    second = np.where(generator.random(300) < 0.6, labels, generator.integers(6, size=300))
    found = paired_interval(labels, first, second, num_labels=7, metric=metric)
    for score, predicted in ((found.first, first), (found.second, second)):
        if metric == "accuracy":
            assert score == pytest.approx(accuracy_score(labels, predicted))
        else:
            average = metric.removeprefix("f1_")
            assert score == pytest.approx(f1_score(labels, predicted, average=average, zero_division=0))
    assert found.interval.low < found.difference < found.interval.high
    assert found == paired_interval(labels, first, second, num_labels=7, metric=metric)


@pytest.mark.parametrize(("rows", "differing"), [(300, 0.01), (1000, 0.002), (1000, 0.01), (1000, 0.05)])
def test_a_difference_lies_in_its_interval_as_often_as_stated(rows: int, differing: float) -> None:
    covered = 0
    draws = 300
    truth = 0.9 - (0.9 * (1 - differing) + 0.1 * differing)
    for seed in range(draws):
        generator = np.random.default_rng(seed)
        labels = generator.integers(2, size=rows)
        first = np.where(generator.random(rows) < 0.1, 1 - labels, labels)
        second = np.where(generator.random(rows) < differing, 1 - first, first)
        interval = paired_interval(
            labels, first, second, num_labels=2, metric="accuracy", resamples=400, seed=seed
        ).interval
        covered += interval.low <= truth <= interval.high
    assert covered / draws >= 0.95 - 3 * (0.95 * 0.05 / draws) ** 0.5


def test_classifiers_that_agree_on_a_few_rows_may_still_differ() -> None:
    labels = np.arange(500) % 2
    found = paired_interval(labels, labels, labels, num_labels=2, metric="f1_macro")
    assert found.difference == 0
    assert -0.01 < found.interval.low < 0 < found.interval.high < 0.01


def test_unequal_numbers_of_rows_are_refused() -> None:
    labels = np.zeros(3, dtype=np.int64)
    with pytest.raises(DataError, match="found 3 labels, 2 and 3 predictions"):
        paired_interval(labels, labels[:2], labels, num_labels=2, metric="accuracy")
