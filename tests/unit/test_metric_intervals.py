"""Each headline metric comes with an interval that covers the truth as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from textclf.errors import DataError
from textclf.evaluation.metric_intervals import (
    HEADLINES,
    interval_of,
    metric_intervals,
    paired_difference,
    with_interval,
)
from textclf.heads.metrics import classification_metrics


def draw(seed: int, rows: int, classes: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Label ids and probabilities that are about right, and a little too sure."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=rows)
    logits = generator.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += 2.1
    exponentials = np.exp(3 * logits)
    return labels, (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_truth_lies_in_the_intervals_about_as_often_as_stated(classes: int) -> None:
    names = [str(number) for number in range(classes)]
    truth = classification_metrics(*draw(10**6, 200_000, classes), names)
    draws, covered = 200, dict.fromkeys(HEADLINES, 0)
    for seed in range(draws):
        ends = metric_intervals(*draw(seed, 400, classes), names, seed=seed)
        for name in HEADLINES:
            covered[name] += ends[f"{name}/low"] <= truth[name] <= ends[f"{name}/high"]
    for name, count in covered.items():
        assert 0.89 <= count / draws <= 0.995, f"{name} {count}"


def test_the_same_rows_have_the_same_intervals_around_the_metrics() -> None:
    labels, probabilities = draw(1, 300, 4)
    # Probabilities with ties, as a model that rounds gives.
    rounded = np.round(probabilities, 1) + np.float32(0.01)
    rounded /= rounded.sum(axis=1, keepdims=True)
    names = ["a", "b", "c", "d"]
    for answers in (probabilities, rounded):
        metrics = classification_metrics(labels, answers, names)
        ends = metric_intervals(labels, answers, names)
        assert set(ends) == {f"{name}/{end}" for name in HEADLINES for end in ("low", "high")}
        assert ends == metric_intervals(labels, answers, names)
        for name in HEADLINES:
            assert ends[f"{name}/low"] <= metrics[name] <= ends[f"{name}/high"], name
            assert ends[f"{name}/high"] - ends[f"{name}/low"] < 0.25, name


@pytest.mark.parametrize("ties", [False, True])
def test_what_is_resampled_are_scikit_learns_metrics(ties: bool) -> None:
    labels, probabilities = draw(2, 300, 4)
    if ties:
        probabilities = np.round(probabilities, 1) + np.float32(0.01)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    names = ["a", "b", "c", "d"]
    metrics = classification_metrics(labels, probabilities, names)
    for name in HEADLINES:
        found = paired_difference(labels, probabilities, probabilities, names, metric=name)
        assert found is not None and found.first == pytest.approx(metrics[name], abs=1e-5), name


def test_a_few_right_answers_do_not_prove_that_all_are_right() -> None:
    labels = np.arange(20) % 2
    ends = metric_intervals(labels, np.eye(2, dtype=np.float32)[labels], ["a", "b"])
    assert ends["accuracy/high"] == 1
    assert 0.7 < ends["accuracy/low"] < 0.9


def test_a_metric_that_is_undefined_has_no_interval() -> None:
    labels = np.zeros(5, dtype=np.int64)
    ends = metric_intervals(labels, np.full((5, 2), 0.5, dtype=np.float32), ["a", "b"])
    assert "accuracy/low" in ends
    assert "roc_auc_macro/low" not in ends
    with pytest.raises(DataError, match="no rows"):
        metric_intervals(labels[:0], np.zeros((0, 2), dtype=np.float32), ["a", "b"])


def test_an_interval_is_shown_with_its_metric() -> None:
    metrics = {"test/accuracy": 0.93831, "test/accuracy/low": 0.921, "test/accuracy/high": 0.9552, "test/f1_macro": 0.9}
    assert with_interval(metrics, "test/accuracy") == "0.9383 (0.921–0.955)"
    assert with_interval(metrics, "test/f1_macro") == "0.9000"
    assert with_interval(metrics, "test/log_loss") == "–"
    found = interval_of(metrics, "test/accuracy")
    assert found is not None and (found.low, found.high, found.confidence) == (0.921, 0.9552, 0.95)
