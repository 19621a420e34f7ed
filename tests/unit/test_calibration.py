"""The temperature that makes scores mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from textclf.heads.calibration import SHARPEST, fit_temperature, uncalibrated
from textclf.heads.single_label import SingleLabel


def sample(rows: int, labels: int, temperature: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits that are too large by a factor, and labels drawn from the true probabilities."""
    chance = np.random.default_rng(4)
    true = chance.normal(0, 1.5, (rows, labels))
    probabilities = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    drawn = (chance.random((rows, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=labels - 1)
    return (true * temperature).astype(np.float32), drawn


@pytest.mark.parametrize("labels", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_factor_by_which_logits_are_too_large_is_found(labels: int, temperature: float) -> None:
    assert fit_temperature(*sample(20_000, labels, temperature)) == pytest.approx(temperature, rel=0.05)
    # Rather too soft than too sharp, and the nearer the more rows there are.
    few = fit_temperature(*sample(400, labels, temperature), calibration="cautious") / temperature
    many = fit_temperature(*sample(20_000, labels, temperature), calibration="cautious") / temperature
    assert 1 < many < 1.3
    assert many < few < 1.7


def test_scores_then_are_about_as_high_as_the_share_of_right_answers() -> None:
    logits, targets = sample(4000, 2, 3.0)
    head = SingleLabel(("坏", "好"))
    decisions = head.decide(head.probabilities(logits / np.float32(fit_temperature(logits, targets))))
    right = (decisions.label_ids == targets).mean()
    assert decisions.scores.mean() == pytest.approx(right, abs=0.01)
    cautious = fit_temperature(logits, targets, calibration="cautious")
    assert right - 0.06 < head.decide(head.probabilities(logits / np.float32(cautious))).scores.mean() < right - 0.01
    assert head.decide(head.probabilities(logits)).scores.mean() > right + 0.05


def test_a_model_that_is_right_on_a_few_rows_is_not_sure_of_everything() -> None:
    targets = np.array([0, 1] * 10)
    logits = np.where(targets[:, None] == np.arange(2), 2.0, -2.0).astype(np.float32)
    head = SingleLabel(("坏", "好"))
    temperature = fit_temperature(logits, targets)
    assert temperature > SHARPEST
    assert head.probabilities(logits / np.float32(temperature)).max() < 0.99


def test_a_model_that_knows_nothing_is_unsure() -> None:
    chance = np.random.default_rng(5)
    logits, targets = chance.normal(0, 4, (2000, 2)).astype(np.float32), chance.integers(0, 2, 2000)
    head = SingleLabel(("坏", "好"))
    assert head.probabilities(logits / np.float32(fit_temperature(logits, targets))).max(axis=1).mean() < 0.7


def test_probabilities_before_calibration_are_those_of_the_logits() -> None:
    logits = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    calibrated, raw = softmax(logits / 1.7, axis=1), softmax(logits, axis=1)
    assert uncalibrated(calibrated, 1.7) == pytest.approx(raw, abs=1e-6)
