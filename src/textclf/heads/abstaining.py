"""Below which score a model should rather say nothing, so that what it says is right as often as wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ABSTAIN = "abstain"
"""What is written in place of a label."""
CONFIDENCE = 0.95
# So many shares of the rows are tried.
_TRIED = 20


def fit_thresholds(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], precisions: Sequence[float]
) -> dict[str, float]:
    """Finds for each wanted precision the lowest score from which the labels are right that often.

    Twenty shares of the rows with the highest scores are tried, 5 % to all of them. Of those whose share of right
    labels is proved to reach the precision (Clopper and Pearson 1934), the largest is taken. Each proof may err with a
    twentieth of 5 %, so that the threshold that is found errs with 5 % at most (Bonferroni).

    Args:
        labels: True label ids of rows that the model was not trained on, int64[rows].
        probabilities: float32[rows, labels].
        precisions: Wanted shares of right labels, between 0 and 1.

    Returns:
        Thresholds by precision, as `precision_key` writes it; a precision that these rows cannot prove is missing.
    """
    from scipy.special import betaincinv

    scores = probabilities.max(axis=1)
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum((probabilities.argmax(axis=1) == labels)[order])
    rows = np.unique(np.linspace(len(labels) / _TRIED, len(labels), _TRIED).astype(np.int64))
    rows = rows[rows > 0]
    proved = betaincinv(right[rows - 1], rows - right[rows - 1] + 1, (1 - CONFIDENCE) / _TRIED)
    found = {}
    for precision in precisions:
        reached = rows[proved >= precision]
        if len(reached):
            found[precision_key(precision)] = float(scores[order[reached[-1] - 1]])
    return found


def precision_key(precision: float) -> str:
    """Writes a precision as a name, e.g. `0.95`."""
    return f"{precision:g}"
