"""What every training does around its trainer: arguments, resuming, and errors of the disk."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from textclf.config.schema import TrainingConfig
from textclf.errors import StorageError
from textclf.model.devices import resolve_precision
from textclf.store import storage_error
from textclf.training.checkpoints import read_state, usable_checkpoints

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from textclf.training.resumable import ResumableTrainer

logger = logging.getLogger(__name__)

LogMetrics = Callable[[dict[str, float], int], None]
"""Receives metrics by name, and their step."""
AnyTrainer = TypeVar("AnyTrainer", bound="ResumableTrainer")


@contextmanager
def reporting_storage(folder: Path) -> Iterator[None]:
    """Turns what a broken or full disk causes in a training into a StorageError."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise storage_error(folder, error) from error
    except SafetensorError as error:
        raise StorageError(
            f"The best checkpoint in {folder} cannot be read, though training wrote it: {error}\n"
            "Check the disk, then start the same command again: it resumes from the newest intact checkpoint."
        ) from error


def run_trainer(make_trainer: Callable[[], AnyTrainer], folder: Path) -> tuple[AnyTrainer, int | None]:
    """Trains to the end, from the newest checkpoint in the folder that can be loaded.

    Returns:
        The trainer with the best model, and the step that training resumed from.

    Raises:
        OSError: A checkpoint cannot be read or written.
    """
    import torch

    for checkpoint in usable_checkpoints(folder):
        trainer = make_trainer()
        step: int = read_state(checkpoint)["global_step"]
        logger.info("Train: resuming from step %d of the interrupted run.", step)
        try:
            trainer.go_on(checkpoint)
        except (OSError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if trainer.progress.has_begun:
                raise
            # Intact, but for example written by a torch version that this one cannot read.
            logger.warning("Train: the checkpoint %s cannot be loaded (%s); trying an older one.", checkpoint, error)
            continue
        return trainer, step
    trainer = make_trainer()
    trainer.train()
    return trainer, None


def validation_at(step: int, history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the validation metrics that were measured at a step, by name, from the history in Trainer's state."""
    found = next(logged for logged in reversed(history) if logged["step"] == step and "eval_loss" in logged)
    return {name.removeprefix("eval_"): float(value) for name, value in found.items() if name.startswith("eval_")}


def training_arguments(training: TrainingConfig, *, rows: int, folder: Path) -> TrainingArguments:
    """Returns Trainer's arguments for a number of training rows and a checkpoint folder."""
    import torch
    from transformers import TrainingArguments

    precision = resolve_precision(training.mixed_precision)
    devices = max(torch.cuda.device_count(), 1)
    rows_per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * devices
    steps_per_epoch = max(math.ceil(rows / rows_per_step), 1)
    interval = max(steps_per_epoch // training.evaluations_per_epoch, 1)
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps or -1,
        per_device_train_batch_size=training.per_device_train_batch_size,
        per_device_eval_batch_size=training.per_device_eval_batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        learning_rate=training.learning_rate,
        # Below 1: a share of all steps.
        warmup_steps=training.warmup_ratio,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        # By steps even once per epoch: evaluation and checkpoint are then one event, and no kill between them can
        # leave a checkpoint without its evaluation.
        eval_strategy="steps",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{training.metric_for_best_model}",
        greater_is_better=training.metric_for_best_model != "loss",
        restore_callback_states_from_checkpoint=True,
        logging_steps=training.logging_steps,
        include_num_input_tokens_seen="non_padding",
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=training.seed,
        report_to="none",
        disable_tqdm=True,
    )
