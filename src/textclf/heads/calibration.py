"""Temperature scaling: probabilities that mean what they say (Guo et al. 2017, arXiv:1706.04599)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

SHARPEST, SOFTEST = 0.5, 20.0
LARGEST_CAUTION = 1.5


def fit_temperature(
    logits: NDArray[np.float32],
    targets: NDArray[np.int64],
    *,
    calibration: Literal["best_fit", "cautious"] = "best_fit",
) -> float:
    """Returns what logits[rows, labels] are to be divided by, so that their probabilities fit the label ids.

    Dividing changes no decision. The rows must be ones that the model was not trained on.

    `best_fit` has the smallest mean log loss. `cautious` is the softest of all temperatures that fit about as well: the
    largest whose mean log loss is within one standard error of the smallest (as Breiman et al. 1984, Classification and
    Regression Trees, section 3.4.3, choose a model), at most `LARGEST_CAUTION` times the best.

    The true label counts as that with probability `1 - 1 / (rows + 2)` (as in Platt 1999, section 2.2): a model that is
    right on each of a few rows does not become sure of everything.
    """
    from scipy.optimize import brentq, minimize_scalar
    from scipy.special import log_softmax

    rows, labels = logits.shape
    doubt = 1 / (rows + 2)
    wanted = np.full((rows, labels), doubt / (labels - 1))
    wanted[np.arange(rows), targets] = 1 - doubt
    exact = logits.astype(np.float64)

    def losses(temperature: float) -> NDArray[np.float64]:
        found: NDArray[np.float64] = -(wanted * log_softmax(exact / temperature, axis=1)).sum(axis=1)
        return found

    bounds = (np.log(SHARPEST), np.log(SOFTEST))
    best = float(np.exp(minimize_scalar(lambda log: losses(np.exp(log)).mean(), bounds=bounds, method="bounded").x))
    if calibration == "best_fit":
        return best
    allowed = losses(best).mean() + losses(best).std() / np.sqrt(rows)
    softest = best * LARGEST_CAUTION
    if losses(softest).mean() <= allowed:
        return softest
    return float(brentq(lambda temperature: losses(temperature).mean() - allowed, best, softest))


def uncalibrated(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Returns the probabilities[rows, labels] that the logits gave before they were divided by a temperature."""
    powers = np.maximum(probabilities.astype(np.float64), np.finfo(np.float64).tiny) ** temperature
    found: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return found
