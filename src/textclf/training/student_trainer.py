"""The Trainer of a student: loss and agreement against its teacher's answers.

Import it only where training happens, because it imports torch and transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import EvalPrediction

from textclf.training.trainer import ClassifierTrainer, row_weights


class StudentTrainer(ClassifierTrainer):
    """Trains on rows with a column `teacher`, the teacher's logits, and a label or `UNLABELLED`.

    Validation also measures `agreement`, the share of the rows to which the student gives its teacher's label.
    `temperature` and `label_weight` are those of `SingleLabel.distillation_loss`.
    """

    def __init__(self, *, temperature: float, label_weight: float, **named: Any) -> None:
        super().__init__(**named)
        self._temperature = temperature
        self._label_weight = label_weight

    def _sum_of_losses(self, logits: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        return self._head.distillation_loss(
            logits,
            inputs["teacher"],
            inputs["labels"],
            row_weights(inputs),
            temperature=self._temperature,
            label_weight=self._label_weight,
        )

    def _validation_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        logits: Any = prediction.predictions
        targets: Any = prediction.label_ids
        labels, teacher = targets
        agreement = float((logits.argmax(axis=1) == teacher.argmax(axis=1)).mean())
        return {**super()._validation_metrics(EvalPrediction(logits, labels)), "agreement": agreement}
