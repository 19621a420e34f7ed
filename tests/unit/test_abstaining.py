"""Scores from which a model is right as often as wanted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from textclf.heads.abstaining import fit_thresholds


def draw(seed: int, rows: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A model that is the surer the more often it is right, but less often than it says."""
    generator = np.random.default_rng(seed)
    sure = generator.random(rows)
    right = generator.random(rows) < 0.6 + 0.4 * sure
    labels = generator.integers(2, size=rows)
    scores = 0.75 + 0.25 * sure
    said = np.where(right, labels, 1 - labels)
    probabilities = np.stack([1 - scores, scores], axis=1)
    probabilities[said == 0] = probabilities[said == 0][:, ::-1]
    return labels, probabilities.astype(np.float32)


def test_the_precision_is_reached_on_other_rows_as_often_as_stated() -> None:
    labels, probabilities = draw(10**6, 400_000)
    right, scores = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1)
    missed, draws, coverage = 0, 200, []
    for seed in range(draws):
        # Rarely, the rows prove nothing.
        said = scores >= fit_thresholds(*draw(seed, 2000), [0.9]).get("0.9", np.inf)
        missed += bool(said.any()) and right[said].mean() < 0.9
        coverage.append(said.mean())
    assert missed / draws <= 0.05 + 3 * (0.05 * 0.95 / draws) ** 0.5
    # Of the 50 % that could have a label at 90 %, most have one.
    assert np.mean(coverage) > 0.3


def test_more_precision_needs_a_higher_score() -> None:
    found = fit_thresholds(*draw(1, 5000), [0.8, 0.9, 0.95, 0.999])
    assert list(found) == ["0.8", "0.9", "0.95"]
    assert found["0.8"] < found["0.9"] < found["0.95"]


def test_a_few_rows_prove_nothing() -> None:
    # 116 rows without a mistake: 0.95 to the 116th is 0.26 %, a twentieth of 5 % is 0.25 %.
    labels = np.zeros(116, dtype=np.int64)
    assert fit_thresholds(labels, np.tile(np.float32([0.9, 0.1]), (116, 1)), [0.95]) == {}
    labels = np.zeros(117, dtype=np.int64)
    found = fit_thresholds(labels, np.tile(np.float32([0.9, 0.1]), (117, 1)), [0.95])
    assert found == {"0.95": pytest.approx(0.9)}
