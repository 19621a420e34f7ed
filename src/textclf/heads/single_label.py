"""Single-label classification: from logits to probabilities, decisions, loss and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textclf.heads.metrics import classification_metrics

if TYPE_CHECKING:
    import torch


UNLABELLED = -100
"""The label id of a row without a label."""


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

    def distillation_loss(
        self,
        logits: torch.Tensor,
        teacher: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor,
        *,
        temperature: float,
        label_weight: float,
    ) -> torch.Tensor:
        """Sums the losses of a student's logits[rows, labels], each times the weight of its row.

        A row costs `1 - label_weight` times the divergence from the teacher's logits, both at the temperature and
        times its square, plus `label_weight` times the cross-entropy against its label (Hinton, Vinyals and Dean 2015,
        arXiv:1503.02531). A row without a label (`UNLABELLED`) costs the divergence alone, in full.
        """
        import torch

        given, wanted = (
            torch.nn.functional.log_softmax(found.float() / temperature, dim=-1) for found in (logits, teacher)
        )
        divergence = torch.nn.functional.kl_div(given, wanted, reduction="none", log_target=True).sum(dim=-1)
        entropy = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none", ignore_index=UNLABELLED)
        share = label_weight * (targets != UNLABELLED)
        return (weights * ((1 - share) * temperature**2 * divergence + share * entropy)).sum()

    def metrics(self, targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[str, float]:
        """Measures probabilities[rows, labels] against label ids: see `classification_metrics`."""
        return classification_metrics(targets, probabilities, self.labels)
