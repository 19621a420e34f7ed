"""Single-label classification: from logits to probabilities, decisions, loss and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textclf.heads.metrics import classification_metrics

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Decisions:
    """The chosen label of each row: its id (int64[rows]), its name and its probability (float32[rows])."""

    label_ids: NDArray[np.int64]
    labels: list[str]
    scores: NDArray[np.float32]


class SingleLabel:
    """Each row has exactly one of the labels.

    Everything that depends on the kind of task is here and in `heads.metrics`. Another kind of task (several labels
    per text) would be another class with the same methods.

    Attributes:
        labels: Label names in the order of their ids.
    """

    problem_type = "single_label_classification"

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turns logits[rows, labels] into probabilities of the same shape; each row sums to 1."""
        # What is not finite stays so, for `check_predictions` to report.
        with np.errstate(invalid="ignore"):
            exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        found: NDArray[np.float32] = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return found

    def decide(self, probabilities: NDArray[np.float32]) -> Decisions:
        """Chooses the most probable label of each row of probabilities[rows, labels]."""
        label_ids = probabilities.argmax(axis=1)
        return Decisions(label_ids, [self.labels[index] for index in label_ids], probabilities.max(axis=1))

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Sums the cross-entropies of logits[rows, labels] against label ids, each times the weight of its row."""
        import torch

        losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        return (weights * losses).sum()

    def metrics(self, targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[str, float]:
        """Measures probabilities[rows, labels] against label ids: see `classification_metrics`."""
        return classification_metrics(targets, probabilities, self.labels)
