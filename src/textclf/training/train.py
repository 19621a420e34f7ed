"""Fine-tune a classifier with Trainer and accelerate; go on from the last checkpoint after a kill."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf.config.schema import TrainConfig, TrainingConfig
from textclf.heads.single_label import SingleLabel
from textclf.model.build import build_classifier
from textclf.model.classifier import ClassifierSettings, save_classifier
from textclf.model.devices import resolve_precision
from textclf.model.tokens import load_tokenizer
from textclf.records import EncodedData, FetchedModel, TrainedModel
from textclf.store import storage_error, write_text

if TYPE_CHECKING:
    from transformers import TrainingArguments

logger = logging.getLogger(__name__)

MODEL_FOLDER = "model"
RECORD_FILE = "trained.json"
LogMetrics = Callable[[dict[str, float], int], None]


def train(
    encoded: EncodedData,
    fetched: FetchedModel | None,
    *,
    config: TrainConfig,
    labels: tuple[str, ...],
    run_id: str,
    folder: Path,
    log_metrics: LogMetrics,
) -> TrainedModel:
    """Fine-tunes, keeps the best checkpoint by the validation metric, and writes it as a model folder.

    Called again with the same folder after a kill, it goes on from the last whole checkpoint, with the same batches and
    random numbers as if nothing had happened; called after it was done, it returns at once.

    Args:
        encoded: The tokenised data set.
        fetched: The model to start from; None makes a new one.
        config: The whole configuration; `training`, `model`, `data`, `cleaning` and `encoding` are used.
        labels: Label names in the order of their ids.
        run_id: The MLflow run that this training belongs to.
        folder: Where checkpoints and the result lie; one folder a run.
        log_metrics: Takes metrics by name (`train/loss`, `validation/f1_macro`) and their step while it trains.

    Returns:
        The record of the model folder.

    Raises:
        ModelError: The model cannot be built or loaded.
        StorageError: The disk is full or must not be written to.
    """
    done = folder / RECORD_FILE
    if done.is_file():
        logger.info("Train: this run was trained before it was interrupted; going on after training.")
        return TrainedModel.model_validate_json(done.read_text(encoding="utf-8"))
    try:
        record = _train(encoded, fetched, config, labels, run_id, folder, log_metrics)
        write_text(done, record.model_dump_json(indent=1))
    except OSError as error:
        raise storage_error(folder, error) from error
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    return record


def _train(
    encoded: EncodedData,
    fetched: FetchedModel | None,
    config: TrainConfig,
    labels: tuple[str, ...],
    run_id: str,
    folder: Path,
    log_metrics: LogMetrics,
) -> TrainedModel:
    from datasets import Dataset
    from transformers import DataCollatorWithPadding

    from textclf.training.trainer import ClassifierTrainer, Progress

    started = time.monotonic()
    model = build_classifier(fetched, encoded, model=config.model, labels=labels, seed=config.training.seed)
    tokenizer = load_tokenizer(encoded.tokenizer_folder)
    train_rows = Dataset.from_file(str(encoded.folder / "train.arrow"))
    validation_rows = Dataset.from_file(str(encoded.folder / "validation.arrow"))
    checkpoint = last_checkpoint(folder)
    step = _global_step(checkpoint) if checkpoint else None
    trainer = ClassifierTrainer(
        model=model,
        args=training_arguments(config.training, rows=len(train_rows), folder=folder),
        train_dataset=train_rows,
        eval_dataset=validation_rows,
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(
            tokenizer,
            padding="max_length" if config.encoding.pad_to_max_length else "longest",
            max_length=encoded.max_length if config.encoding.pad_to_max_length else None,
        ),
        head=SingleLabel(labels),
        group_by_length=config.training.group_by_length,
    )
    progress = Progress(
        log_metrics,
        checkpoint_seconds=60 * config.training.checkpoint_minutes,
        patience=config.training.early_stopping_patience,
    )
    trainer.add_callback(progress)
    if checkpoint:
        logger.info("Train: going on from step %s of an earlier start.", step)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    settings = ClassifierSettings(
        labels=labels,
        max_length=encoded.max_length,
        cleaning=config.cleaning,
        pairs=config.data.text_pair_column is not None,
    )
    trained_model: Any = trainer.model
    save_classifier(folder / MODEL_FOLDER, trained_model, tokenizer, settings)
    state = trainer.state
    record = TrainedModel(
        run_id=run_id,
        folder=folder / MODEL_FOLDER,
        best_metric=float(state.best_metric if state.best_metric is not None else math.nan),
        epochs=float(state.epoch or 0.0),
        steps=state.global_step,
        seconds=time.monotonic() - started,
        resumed_from_step=step,
    )
    logger.info(
        "Train: %d steps in %.0f s; best validation %s %.4f.",
        record.steps,
        record.seconds,
        config.training.metric_for_best_model,
        record.best_metric,
    )
    return record


def training_arguments(training: TrainingConfig, *, rows: int, folder: Path) -> TrainingArguments:
    """Turns the configuration into Trainer's arguments.

    Args:
        training: The configuration.
        rows: Number of training rows, for the evaluation interval.
        folder: Where checkpoints go.
    """
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
        # Below 1 it is a share of all steps.
        warmup_steps=training.warmup_ratio,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="epoch" if training.evaluations_per_epoch == 1 else "steps",
        eval_steps=interval,
        save_strategy="epoch" if training.evaluations_per_epoch == 1 else "steps",
        save_steps=interval,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{training.metric_for_best_model}",
        greater_is_better=training.metric_for_best_model != "loss",
        logging_steps=training.logging_steps,
        include_num_input_tokens_seen="non_padding",
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=training.seed,
        report_to="none",
        disable_tqdm=True,
    )


def last_checkpoint(folder: Path) -> Path | None:
    """Finds the newest whole checkpoint, and removes those that a kill left half-written.

    Trainer writes `trainer_state.json` last, so a checkpoint that has it, readable, is whole.
    """
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            whole.append((_global_step(checkpoint), checkpoint))
        except (OSError, ValueError, KeyError):
            logger.warning("The checkpoint %s is incomplete and is removed.", checkpoint)
            shutil.rmtree(checkpoint)
    return max(whole)[1] if whole else None


def _global_step(checkpoint: Path) -> int:
    return int(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])
