"""The trainer of classifiers: reproducible length grouping, and row weights.

Import it only where training happens, because it imports torch and transformers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler
from transformers import EvalPrediction

from textclf.heads.single_label import SingleLabel
from textclf.model.packed import forward_packed, pack_rows
from textclf.training.resumable import Progress, ResumableTrainer
from textclf.training.shortcuts import FastDropout, take_shortcuts

# Larger windows need less padding, but where length correlates with the label they make batches less mixed.
BATCHES_PER_WINDOW = 16


class LengthGroupedSampler(Sampler[int]):
    """Random order in which the rows of one batch have similar lengths.

    Rows are shuffled, sorted by length within windows of a few batches, cut into batches, and the batches are shuffled
    again. Trainer's own sampler leaves the batches of a window sorted by length: where length correlates with the
    label, as in reviews, dozens of consecutive steps then see mostly one label, and a small model did not learn at all
    (docs/experiments.md).

    The order depends only on seed and epoch, so that a run resumed within an epoch gets the rows that it has not seen.
    `lengths` are the tokens of each row, `batch_size` is the rows per step.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        rows = torch.randperm(len(self._lengths), generator=generator).tolist()
        window = BATCHES_PER_WINDOW * self._batch_size
        batches = []
        for start in range(0, len(rows), window):
            alike = sorted(rows[start : start + window], key=lambda row: self._lengths[row])
            batches += [alike[first : first + self._batch_size] for first in range(0, len(alike), self._batch_size)]
        # A batch that is not full must come last, because Trainer cuts the rows into batches by counting.
        partial = [batch for batch in batches if len(batch) < self._batch_size]
        full = [batch for batch in batches if len(batch) == self._batch_size]
        order = torch.randperm(len(full), generator=generator).tolist()
        return iter([row for batch in [*(full[index] for index in order), *partial] for row in batch])

    def set_epoch(self, epoch: int) -> None:
        """Changes the order; accelerate calls it at the start of each epoch."""
        self._epoch = epoch


class ClassifierTrainer(ResumableTrainer):
    """Trainer with reproducible length grouping and row weights.

    The loss of a step is the mean over the rows of all its accumulated batches. A row with a weight (a column `weight`
    of the training rows) counts as that many rows.

    `packed` trains and validates without padding: the model must be one for which `can_pack` is true, and rows are
    collated by `pack_rows`.
    """

    # Trainer mistakes BERT's loss, the mean of one batch, for a mean over all batches of a step: gradients and logged
    # loss would grow with gradient_accumulation_steps. `compute_loss` does return such a mean.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        head: SingleLabel,
        group_by_length: bool,
        shortcuts: bool,
        progress: Progress,
        packed: bool = False,
        **named: Any,
    ) -> None:
        if packed:
            forward_packed(named["model"])
            named["data_collator"] = pack_rows
        super().__init__(progress=progress, compute_metrics=self._validation_metrics, **named)
        self._head = head
        self._group_by_length = group_by_length
        self._validated: dict[int, tuple[Any, Any]] = {}
        self._shortcuts = shortcuts and not packed and self.args.device.type == "cpu"
        if self._shortcuts and isinstance(self.model, torch.nn.Module):
            take_shortcuts(self.model, bf16=self.args.bf16)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        if not self._group_by_length:
            return super()._get_train_sampler(train_dataset)
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        rows: Any = self.train_dataset
        return LengthGroupedSampler(list(rows["length"]), batch_size, self.args.seed)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: Any = self._signature_columns
        if "weight" not in columns:
            columns.append("weight")

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        total = torch.as_tensor(sum(row_weights(batch).sum() for batch in batch_samples), device=device)
        # Gradients are averaged over the processes, so each one divides by an equal share of all rows.
        share: torch.Tensor = self.accelerator.gather(total).sum() / self.accelerator.num_processes
        return share

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Computes a batch's share of the mean over its step, whose row weights sum to `num_items_in_batch`."""
        asked = {name: value for name, value in inputs.items() if name not in (*self.label_names, "weight")}
        with FastDropout() if self._shortcuts and model.training else nullcontext():
            outputs = model(**asked)
        loss = self._sum_of_losses(outputs.logits, inputs) / num_items_in_batch
        return (loss, outputs) if return_outputs else loss

    def _sum_of_losses(self, logits: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        return self._head.loss(logits, inputs["labels"], row_weights(inputs))

    def validation_logits(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Returns what the best model says of the validation rows, and their labels, when training has ended.

        Returns:
            `float32[rows, num_labels]` and `int64[rows]`; computed again only if a resumed run has lost them.
        """
        best = self.state.best_global_step
        if best not in self._validated:
            dataset: Any = self.eval_dataset
            self.predict(dataset)
            best = self.state.global_step
        logits, targets = self._validated[best]
        # A student's rows also have its teacher's answers.
        return logits, targets[0] if isinstance(targets, tuple) else targets

    def _validation_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        logits: Any = prediction.predictions
        targets: Any = prediction.label_ids
        best = self.state.best_global_step
        self._validated = {step: kept for step, kept in self._validated.items() if step == best}
        self._validated[self.state.global_step] = logits, targets
        metrics = self._head.metrics(targets, self._head.probabilities(logits))
        return {name: value for name, value in metrics.items() if "/" not in name}


def row_weights(batch: Any) -> torch.Tensor:
    """Returns how many rows each row of a batch counts as: float32[rows]."""
    weights: torch.Tensor = batch["weight"] if "weight" in batch else torch.ones_like(batch["labels"]).float()
    return weights
