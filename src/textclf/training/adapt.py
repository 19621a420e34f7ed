"""Adapt an encoder to unlabelled texts by masked language modelling, or train a new one."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from textclf.config.adaptation import AdaptationConfig
from textclf.config.schema import ModelConfig, TrainingConfig
from textclf.model.masked import build_masked_model
from textclf.model.tokens import load_tokenizer
from textclf.records import AdaptedEncoder, FetchedModel, PackedTexts
from textclf.store import write_text
from textclf.training.packing import read_sequences
from textclf.training.running import LogMetrics, reporting_storage, run_trainer, training_arguments, validation_at

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from textclf.training.masked_trainer import MaskedTrainer

logger = logging.getLogger(__name__)

ENCODER_FOLDER, RECORD_FILE, BEFORE_FILE = "encoder", "adapted.json", "loss_before.txt"


def adapt(
    packed: PackedTexts,
    fetched: FetchedModel | None,
    *,
    model: ModelConfig,
    adaptation: AdaptationConfig,
    run_id: str,
    folder: Path,
    log_metrics: LogMetrics,
) -> AdaptedEncoder:
    """Trains a masked language model and writes the checkpoint with the smallest validation loss as a model folder.

    Called again with the same folder after a kill, it resumes from the newest intact checkpoint, with the same batches,
    masks and random numbers as without the kill; called after training, it returns immediately.

    Training starts from the fetched model; None builds a new one. The folder, one per run, holds the checkpoints and
    the result, which keeps the head that guesses tokens, so that it can be adapted again. `log_metrics` receives
    metrics by name (`train/loss`, `validation/loss`, `validation/masked_accuracy`) and their step.

    Raises:
        ModelError: The model cannot be built or loaded, or has fewer positions or tokens than the sequences.
        StorageError: The disk is full or not writable, or a checkpoint was damaged during training.
    """
    done = folder / RECORD_FILE
    if done.is_file():
        logger.info("Adapt: this run was trained before it was interrupted; continuing after training.")
        return AdaptedEncoder.model_validate_json(done.read_text(encoding="utf-8"))
    started = time.monotonic()
    with reporting_storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        parts = (packed, fetched, model, adaptation, folder, log_metrics)
        before = _loss_before(parts, folder)
        trainer, step = run_trainer(lambda: make_trainer(*parts), folder)
        state = trainer.state
        measured = validation_at(state.best_global_step or state.global_step, state.log_history)
        cast("PreTrainedModel", trainer.model).save_pretrained(folder / ENCODER_FOLDER)
        load_tokenizer(packed.folder / "tokenizer").save_pretrained(folder / ENCODER_FOLDER)
        record = AdaptedEncoder(
            run_id=run_id,
            folder=folder / ENCODER_FOLDER,
            loss=measured["loss"],
            masked_accuracy=measured["masked_accuracy"],
            loss_before=before,
            epochs=float(state.epoch or 0.0),
            steps=state.global_step,
            seconds=time.monotonic() - started,
            resumed_from_step=step,
        )
        write_text(done, record.model_dump_json(indent=1))
    logger.info(
        "Adapt: %d steps in %.0f s; validation loss %.3f (%.3f before), %.1f %% of the masked tokens are guessed.",
        record.steps,
        record.seconds,
        record.loss,
        record.loss_before,
        100 * record.masked_accuracy,
    )
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    return record


def _loss_before(parts: tuple[Any, ...], folder: Path) -> float:
    """Measures the validation loss before the first step, once."""
    file = folder / BEFORE_FILE
    if not file.is_file():
        write_text(file, repr(make_trainer(*parts).evaluate()["eval_loss"]))
    return float(file.read_text(encoding="utf-8"))


def make_trainer(
    packed: PackedTexts,
    fetched: FetchedModel | None,
    model: ModelConfig,
    adaptation: AdaptationConfig,
    folder: Path,
    log_metrics: LogMetrics,
) -> MaskedTrainer:
    """Returns the trainer of `adapt`, before its first step.

    Raises:
        ModelError: As `adapt` does.
    """
    from textclf.training.masked_trainer import MaskedTrainer
    from textclf.training.masking import MaskedSequences
    from textclf.training.resumable import Progress

    tokenizer = load_tokenizer(packed.folder / "tokenizer")
    ordinary = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
    rows = {
        split: MaskedSequences(
            read_sequences(packed, split),
            share=adaptation.masked_share,
            first_token=adaptation.first_token,
            mask_id=tokenizer.mask_token_id,
            ordinary=ordinary,
            # Validation has masks of its own, the same in every evaluation.
            seed=adaptation.seed + number,
        )
        for number, split in enumerate(packed.sequences)
    }
    masked_model = build_masked_model(fetched, packed, model=model, tokenizer=tokenizer, seed=adaptation.seed)
    arguments = training_arguments(_as_training(adaptation), rows=len(rows["train"]), folder=folder)
    arguments.remove_unused_columns = False
    arguments.include_num_input_tokens_seen = "all"
    # One process would divide a batch among its GPUs, and the hook that shortens the output with it; several processes
    # (torchrun) work.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return MaskedTrainer(
        model=masked_model,
        args=arguments,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=tokenizer,
        progress=Progress(log_metrics, checkpoint_seconds=60 * adaptation.checkpoint_minutes, step="Adapt"),
    )


def _as_training(adaptation: AdaptationConfig) -> TrainingConfig:
    """Returns the settings that both kinds of training share."""
    shared = adaptation.model_dump(exclude={"sequence_length", "masked_share", "masked_first", "first_token"})
    shared |= {"metric_for_best_model": "loss", "per_device_eval_batch_size": adaptation.per_device_train_batch_size}
    return TrainingConfig.model_validate(shared)
