"""Fine-tune a classifier with Trainer and accelerate, and resume from the last checkpoint after a kill."""

from __future__ import annotations

import logging
import math
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textclf.config.schema import EncodingConfig, ModelConfig, TrainingConfig
from textclf.heads.calibration import fit_temperature
from textclf.heads.single_label import SingleLabel
from textclf.model.build import build_classifier
from textclf.model.devices import Precision
from textclf.model.encoder import save_classifier
from textclf.model.settings import ClassifierSettings
from textclf.model.tokens import load_tokenizer
from textclf.records import EncodedData, FetchedModel, TrainedModel
from textclf.store import write_text
from textclf.training.repeats import merge_repeats
from textclf.training.running import LogMetrics, reporting_storage, run_trainer, training_arguments

if TYPE_CHECKING:
    from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

    from textclf.training.trainer import ClassifierTrainer

logger = logging.getLogger(__name__)

MODEL_FOLDER = "model"
RECORD_FILE = "trained.json"


def train(
    encoded: EncodedData,
    fetched: FetchedModel | None,
    *,
    settings: ClassifierSettings,
    model: ModelConfig,
    encoding: EncodingConfig,
    training: TrainingConfig,
    run_id: str,
    folder: Path,
    log_metrics: LogMetrics,
) -> TrainedModel:
    """Fine-tunes a classifier and writes the best checkpoint by the validation metric as a model folder.

    Called again with the same folder after a kill, it resumes from the newest intact checkpoint, with the same batches
    and random numbers as without the kill; called after training, it returns immediately.

    Training starts from the fetched model; None builds a new one (see `build_classifier`). The folder, one per run,
    holds the checkpoints and the result. `log_metrics` receives metrics by name (`train/loss`, `validation/f1_macro`)
    and their step during training.

    Raises:
        ModelError: The model cannot be built or loaded.
        StorageError: The disk is full or not writable, or a checkpoint was damaged during training.
    """
    done = folder / RECORD_FILE
    if done.is_file():
        logger.info("Train: this run was trained before it was interrupted; continuing after training.")
        return TrainedModel.model_validate_json(done.read_text(encoding="utf-8"))
    started = time.monotonic()
    with reporting_storage(folder):
        parts = (encoded, fetched, settings, model, encoding, training, folder, log_metrics)
        trainer, step = run_trainer(lambda: _make_trainer(*parts), folder)
        state, best_model = trainer.state, cast("PreTrainedModel", trainer.model)
        settings = calibrated(settings, trainer, training, step="Train")
        save_classifier(folder / MODEL_FOLDER, best_model, load_tokenizer(encoded.tokenizer_folder), settings)
        record = TrainedModel(
            run_id=run_id,
            folder=folder / MODEL_FOLDER,
            best_metric=float(state.best_metric if state.best_metric is not None else math.nan),
            temperature=settings.temperature,
            epochs=float(state.epoch or 0.0),
            steps=state.global_step,
            seconds=time.monotonic() - started,
            resumed_from_step=step,
        )
        write_text(done, record.model_dump_json(indent=1))
    if record.steps < state.max_steps:
        logger.info("Train: stopped early after %s evaluations without improvement.", training.early_stopping_patience)
    logger.info(
        "Train: %d steps in %.0f s; best validation %s %.4f.",
        record.steps,
        record.seconds,
        training.metric_for_best_model,
        record.best_metric,
    )
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    return record


def _make_trainer(
    encoded: EncodedData,
    fetched: FetchedModel | None,
    settings: ClassifierSettings,
    model: ModelConfig,
    encoding: EncodingConfig,
    training: TrainingConfig,
    folder: Path,
    log_metrics: LogMetrics,
) -> ClassifierTrainer:
    from datasets import Dataset
    from transformers import EarlyStoppingCallback

    from textclf.training.resumable import Progress
    from textclf.training.trainer import ClassifierTrainer

    tokenizer = load_tokenizer(encoded.tokenizer_folder)
    rows = {split: Dataset.from_file(str(encoded.folder / f"{split}.arrow")) for split in ("train", "validation")}
    if training.merge_repeats:
        all_rows = len(rows["train"])
        rows["train"] = merge_repeats(rows["train"])
        # A step still covers as many rows of the data: fewer steps would learn less in an epoch.
        per_step = max(1, round(training.per_device_train_batch_size * len(rows["train"]) / all_rows))
        training = training.model_copy(update={"per_device_train_batch_size": per_step})
    patience = training.early_stopping_patience
    classifier = build_classifier(fetched, encoded, model=model, labels=settings.labels, seed=training.seed)
    arguments = training_arguments(training, rows=len(rows["train"]), folder=folder)
    return ClassifierTrainer(
        model=classifier,
        args=arguments,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=tokenizer,
        data_collator=padding_collator(tokenizer, encoded, encoding),
        callbacks=[EarlyStoppingCallback(patience)] if patience else [],
        progress=Progress(log_metrics, checkpoint_seconds=60 * training.checkpoint_minutes),
        head=SingleLabel(settings.labels),
        group_by_length=training.group_by_length,
        shortcuts=training.shortcuts,
        packed=trains_packed(classifier, arguments, encoding),
    )


def calibrated(
    settings: ClassifierSettings, trainer: ClassifierTrainer, training: TrainingConfig, *, step: str
) -> ClassifierSettings:
    """Returns the settings with the temperature that fits the trainer's model and validation rows."""
    temperature = fit_temperature(*trainer.validation_logits(), calibration=training.calibration)
    logger.info("%s: probabilities are calibrated on the validation rows with temperature %.2f.", step, temperature)
    return settings.model_copy(update={"temperature": temperature})


def trains_packed(model: PreTrainedModel, arguments: TrainingArguments, encoding: EncodingConfig) -> bool:
    """Returns whether a model trains without padding here; one process for several GPUs cannot divide packed rows."""
    from textclf.model.packed import should_pack

    precision: Precision = "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "no"
    packed = arguments.n_gpu == 1 and not encoding.pad_to_max_length and should_pack(model, precision)
    if packed:
        logger.info("Train: batches are computed without padding.")
    return packed


def padding_collator(
    tokenizer: PreTrainedTokenizerBase, encoded: EncodedData, encoding: EncodingConfig
) -> DataCollatorWithPadding:
    """Returns what makes padded batches of rows."""
    from transformers import DataCollatorWithPadding

    return DataCollatorWithPadding(
        tokenizer,
        padding="max_length" if encoding.pad_to_max_length else "longest",
        max_length=encoded.max_length if encoding.pad_to_max_length else None,
    )
