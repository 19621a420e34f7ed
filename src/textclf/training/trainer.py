"""Our additions to transformers' Trainer: reproducible length grouping, row weights, and progress as metrics.

Import it only where training happens, because it imports torch and transformers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.data import Sampler
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import rotate_checkpoints

from textclf.heads.single_label import SingleLabel
from textclf.language import _
from textclf.model.packed import forward_packed, pack_rows
from textclf.progress import progress_bar
from textclf.training.checkpoints import STATE_FILE, is_last, seal
from textclf.training.shortcuts import FastDropout, take_shortcuts

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

# Larger windows need less padding, but where length correlates with the label they make batches less mixed.
BATCHES_PER_WINDOW = 16

METRIC_NAMES = {"loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/gradient_norm"}


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


class ClassifierTrainer(Trainer):
    """Trainer with reproducible length grouping and row weights, and without console output.

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
        super().__init__(compute_metrics=self._validation_metrics, **named)
        self._head = head
        self._group_by_length = group_by_length
        self._shortcuts = shortcuts and self.args.device.type == "cpu"
        if self._shortcuts and isinstance(self.model, torch.nn.Module):
            take_shortcuts(self.model, bf16=self.args.bf16)
        self.progress = progress
        self.add_callback(progress)
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def go_on(self, checkpoint: Path) -> None:
        """Resumes from a checkpoint and trains to the end; after the last one nothing is left to train."""
        if not is_last(checkpoint):
            self.train(resume_from_checkpoint=str(checkpoint))
            return
        # Trainer would forget that it was to stop, and continue training.
        self.state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
        best = self.state.best_global_step or self.state.global_step
        self.state.best_model_checkpoint = str(checkpoint.with_name(f"checkpoint-{best}"))
        self._load_best_model()

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

    def _validation_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        logits: Any = prediction.predictions
        targets: Any = prediction.label_ids
        metrics = self._head.metrics(targets, self._head.probabilities(logits))
        return {name: value for name, value in metrics.items() if "/" not in name}


def row_weights(batch: Any) -> torch.Tensor:
    """Returns how many rows each row of a batch counts as: float32[rows]."""
    weights: torch.Tensor = batch["weight"] if "weight" in batch else torch.ones_like(batch["labels"]).float()
    return weights


def _training_bar(state: TrainerState, step: str) -> tqdm[Any]:
    desc = {"Train": _("Train"), "Distil": _("Distil")}[step]
    return progress_bar(total=state.max_steps, initial=state.global_step, desc=desc, unit="steps", leave=False)


class Progress(TrainerCallback):
    """Logs loss, learning rate, gradient norm and throughput, draws the progress bar, and saves at time intervals.

    Args:
        log_metrics: Receives metrics by their MLflow names, and the step.
        checkpoint_seconds: Longest time without a checkpoint.
        step: What the bar and the log call the training.

    Attributes:
        has_begun: Whether everything is loaded and training has begun.
    """

    def __init__(
        self,
        log_metrics: Callable[[dict[str, float], int], None],
        *,
        checkpoint_seconds: float,
        step: Literal["Train", "Distil"] = "Train",
    ) -> None:
        self.has_begun = False
        self._step = step
        self._log_metrics = log_metrics
        self._checkpoint_seconds = checkpoint_seconds
        self._saved_at = time.monotonic()
        self._window_start = (time.monotonic(), 0, 0)
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Starts the clock and the bar."""
        self.has_begun = True
        self._saved_at = time.monotonic()
        self._open_window(state)
        self._bar = _training_bar(state, self._step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Advances the bar; requests a checkpoint when the last one is too old."""
        if self._bar is not None:
            self._bar.update(1)
        if time.monotonic() - self._saved_at > self._checkpoint_seconds:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Seals the checkpoint, then removes older ones and restarts the clock."""
        folder = Path(str(args.output_dir))
        seal(folder / f"checkpoint-{state.global_step}")
        # Keeps the newest and the best. `save_total_limit` would remove others before the new one is on the disk.
        rotate_checkpoints(
            str(folder), save_total_limit=2, best_model_checkpoint=state.best_model_checkpoint, use_mtime=True
        )
        self._saved_at = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Logs Trainer's metrics, with the throughput since the last log."""
        if not logs or "loss" not in logs:
            return
        metrics = {ours: float(logs[theirs]) for theirs, ours in METRIC_NAMES.items() if theirs in logs}
        seconds = max(time.monotonic() - self._window_start[0], 1e-9)
        rows_per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        metrics["train/samples_per_second"] = (state.global_step - self._window_start[1]) * rows_per_step / seconds
        metrics["train/tokens_per_second"] = (state.num_input_tokens_seen - self._window_start[2]) / seconds
        metrics["train/epoch"] = float(state.epoch or 0.0)
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{metrics['train/loss']:.3f}")
        self._log_metrics(metrics, state.global_step)
        self._open_window(state)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Logs the validation metrics."""
        found = {
            f"validation/{name.removeprefix('eval_')}": float(value)
            for name, value in (metrics or {}).items()
            if not name.endswith(("runtime", "_per_second", "epoch", "tokens_seen"))
        }
        self._log_metrics(found, state.global_step)
        logger.info(
            "%s: after %.1f epochs validation accuracy %.4f, F1 %.4f, loss %.4f.",
            self._step,
            state.epoch or 0.0,
            found["validation/accuracy"],
            found["validation/f1_macro"],
            found["validation/loss"],
        )
        self._open_window(state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()

    def _open_window(self, state: TrainerState) -> None:
        self._window_start = (time.monotonic(), state.global_step, state.num_input_tokens_seen)
