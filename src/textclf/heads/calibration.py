"""Temperature scaling: probabilities that mean what they say (Guo et al. 2017, arXiv:1706.04599)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHARPEST, SOFTEST = 0.05, 20.0


def fit_temperature(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Returns what logits[rows, labels] are to be divided by, so that their probabilities fit the label ids best.

    Dividing changes no decision. The rows must be ones that the model was not trained on.

    The true label counts as that with probability `1 - 1 / (rows + 2)` (as in Platt 1999, section 2.2): a model that is
    right on each of a few rows does not become sure of everything.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows, labels = logits.shape
    doubt = 1 / (rows + 2)
    wanted = np.full((rows, labels), doubt / (labels - 1))
    wanted[np.arange(rows), targets] = 1 - doubt
    exact = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return -float((wanted * log_softmax(exact / np.exp(log_temperature), axis=1)).sum())

    found = minimize_scalar(loss, bounds=(np.log(SHARPEST), np.log(SOFTEST)), method="bounded")
    return float(np.exp(found.x))
