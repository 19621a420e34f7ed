"""Distil a fine-tuned encoder: train a student with fewer layers on the answers of the whole model."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from textclf.config.data import DataConfig
from textclf.config.distillation import DistillationConfig
from textclf.config.schema import EncodingConfig, TrainingConfig
from textclf.errors import TextclfError
from textclf.heads.single_label import SingleLabel
from textclf.model.classifier import Classifier
from textclf.model.devices import resolve_precision
from textclf.model.encoder import save_classifier
from textclf.model.settings import ClassifierSettings, read_settings
from textclf.model.student import build_student, kept_layers, layer_count
from textclf.model.tokens import encode_file, load_tokenizer
from textclf.records import DistilledModel, EncodedData, PreparedData, TrainedModel, UnlabelledTexts
from textclf.store import appearing, digest_of, write_text
from textclf.tracking.store import TrackingStore
from textclf.training.running import LogMetrics, reporting_storage, run_trainer, training_arguments, validation_at
from textclf.training.teacher import Teacher
from textclf.training.train import MODEL_FOLDER, calibrated, padding_collator, trains_packed
from textclf.training.unlabelled import open_unlabelled, write_unlabelled

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

    from textclf.training.student_trainer import StudentTrainer

logger = logging.getLogger(__name__)

RECORD_FILE, KEY_FILE = "distilled.json", "key.txt"
STUDENT = "student"
"""The folder in that of a run, and the first part of the metrics' names."""
NO_STUDENT_TAG = "textclf.no_student"
"""A run's tag: why it has no student, though one was asked for."""
# MLflow refuses longer tags.
LONGEST_REASON = 5000
TEACHER = "teacher"
"""The column with the teacher's answers: float32[labels]."""


def distill(
    trained: TrainedModel,
    prepared: PreparedData,
    encoded: EncodedData,
    *,
    distillation: DistillationConfig,
    data: DataConfig,
    training: TrainingConfig,
    encoding: EncodingConfig,
    folder: Path,
    log_metrics: LogMetrics,
) -> DistilledModel:
    """Trains a student of the fine-tuned model and writes the checkpoint that is nearest to it as a model folder.

    The student begins as some layers of its teacher (`build_student`) and learns its answers to the training rows and
    to the unlabelled texts of `distillation`, with the settings of `training` where `distillation` has none. The
    checkpoint with the smallest loss on the validation rows is kept.

    Called again with the same folder after a kill, it computes no finished answer of the teacher again and resumes from
    the newest intact checkpoint; called after training, it returns immediately. If the unlabelled files have changed
    since the kill, it begins anew.

    The folder, one per run, holds everything. `log_metrics` receives metrics by name (`student/train/loss`,
    `student/validation/agreement`) and their step.

    Raises:
        ModelError: The model has too few layers, or ones that cannot be told apart.
        DataError: The unlabelled texts cannot be read.
        StorageError: The disk is full or not writable, or a checkpoint was damaged during training.
    """
    done = folder / RECORD_FILE
    if done.is_file():
        logger.info("Distil: the student was trained before the run was interrupted; continuing after it.")
        return DistilledModel.model_validate_json(done.read_text(encoding="utf-8"))
    started = time.monotonic()
    # Before the work: a model that cannot be taken apart fails here.
    build_student(trained.folder, distillation.num_hidden_layers)
    settings = read_settings(trained.folder)
    training = training.model_copy(
        update={
            "num_train_epochs": distillation.num_train_epochs,
            "learning_rate": distillation.learning_rate,
            "max_steps": None,
            "metric_for_best_model": "loss",
        }
    )
    precision = resolve_precision(training.mixed_precision)
    files = open_unlabelled(distillation.unlabelled, data)
    with reporting_storage(folder):
        digests = [file.sha256 for file in files]
        _begin(folder, digest_of(digests, encoded.digest, distillation.model_dump(mode="json"), precision))
        texts = {split: prepared.folder / f"{split}.parquet" for split in ("train", "validation")}
        unlabelled = None
        if files:
            texts["unlabelled"] = folder / "unlabelled.parquet"
            unlabelled = write_unlabelled(
                files,
                texts["unlabelled"],
                prepared,
                data=data,
                cleaning=settings.cleaning,
                limit=distillation.unlabelled_rows,
            )
            _report(unlabelled)
        # It is not named, so that the teacher's memory is free when the student trains.
        answers = Teacher(
            lambda: Classifier.load(trained.folder, mixed_precision=precision),
            len(settings.labels),
            folder / "teacher",
            batch_size=training.per_device_eval_batch_size,
        ).answers(texts)
        rows = _rows(encoded, encoding, texts, answers)
        parts = (rows, trained, encoded, settings, distillation, encoding, training, folder, log_metrics)
        trainer, step = run_trainer(lambda: _make_trainer(*parts), folder)
        state, best_model = trainer.state, cast("PreTrainedModel", trainer.model)
        settings = calibrated(settings, trainer, training, step="Distil")
        save_classifier(folder / MODEL_FOLDER, best_model, load_tokenizer(encoded.tokenizer_folder), settings)
        found = validation_at(state.best_global_step or state.global_step, state.log_history)
        metrics = {name: found[name] for name in ("loss", "accuracy", "f1_macro", "agreement")}
        of = layer_count(trained.folder)
        record = DistilledModel(
            run_id=trained.run_id,
            folder=folder / MODEL_FOLDER,
            layers=kept_layers(distillation.num_hidden_layers, of),
            teacher_layers=of,
            agreement=metrics["agreement"],
            metrics=metrics,
            labelled_rows=encoded.rows["train"],
            unlabelled=unlabelled,
            epochs=float(state.epoch or 0.0),
            steps=state.global_step,
            seconds=time.monotonic() - started,
            resumed_from_step=step,
        )
        write_text(done, record.model_dump_json(indent=1))
    logger.info(
        "Distil: a student with %d of %d layers, %d steps in %.0f s; it gives %.1f %% of the validation rows the label "
        "that its teacher gives them.",
        len(record.layers),
        of,
        record.steps,
        record.seconds,
        100 * record.agreement,
    )
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    return record


def leave_out(store: TrackingStore, run_id: str, error: TextclfError) -> None:
    """Records in the log and in a run's tag why it has no student.

    Raises:
        TrackingError: The store failed.
    """
    logger.warning("Distil: this run has no student, and goes on without it: %s", error)
    with store.reporting("saying why there is no student"):
        store.client.set_tag(run_id, NO_STUDENT_TAG, str(error)[:LONGEST_REASON])


def _begin(folder: Path, key: str) -> None:
    """Empties the folder unless what it holds belongs to the same work."""
    file = folder / KEY_FILE
    if file.is_file() and file.read_text(encoding="utf-8") == key:
        return
    if folder.exists():
        logger.warning(
            "Distil: the unlabelled texts or the machine changed since the run was interrupted; starting anew."
        )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_text(file, key)


def _report(found: UnlabelledTexts) -> None:
    logger.info(
        "Distil: %s of %s unlabelled rows are used; left out: %s whose texts are in validation or test, %s copies, "
        "broken: %s.",
        f"{found.kept:,}",
        f"{found.read:,}",
        f"{found.held_out:,}",
        f"{found.copies:,}",
        ", ".join(f"{rows:,} {reason}" for reason, rows in found.broken.items()) or "none",
    )


def _rows(
    encoded: EncodedData,
    encoding: EncodingConfig,
    texts: Mapping[str, Path],
    answers: Mapping[str, NDArray[np.float32]],
) -> dict[str, Dataset]:
    """Returns the token ids with the teacher's answers, `train` with the unlabelled texts at its end."""
    from datasets import concatenate_datasets

    files = {split: encoded.folder / f"{split}.arrow" for split in ("train", "validation")}
    rows = {split: _with_answers(files[split], answers[split]) for split in files}
    if "unlabelled" in texts:
        arrow = texts["unlabelled"].with_suffix(".arrow")
        if not arrow.is_file():
            with appearing(arrow) as temporary:
                encode_file(texts["unlabelled"], temporary, load_tokenizer(encoded.tokenizer_folder), encoding)
        rows["train"] = concatenate_datasets([rows["train"], _with_answers(arrow, answers["unlabelled"])])
    return rows


def _with_answers(file: Path, answers: NDArray[np.float32]) -> Dataset:
    from datasets import Dataset, concatenate_datasets

    column = pa.FixedSizeListArray.from_arrays(pa.array(answers.ravel()), answers.shape[1])
    return concatenate_datasets([Dataset.from_file(str(file)), Dataset(pa.table({TEACHER: column}))], axis=1)


def _make_trainer(
    rows: Mapping[str, Dataset],
    trained: TrainedModel,
    encoded: EncodedData,
    settings: ClassifierSettings,
    distillation: DistillationConfig,
    encoding: EncodingConfig,
    training: TrainingConfig,
    folder: Path,
    log_metrics: LogMetrics,
) -> StudentTrainer:
    from transformers import EarlyStoppingCallback

    from textclf.training.resumable import Progress
    from textclf.training.student_trainer import StudentTrainer

    tokenizer = load_tokenizer(encoded.tokenizer_folder)
    arguments = training_arguments(training, rows=len(rows["train"]), folder=folder)
    arguments.label_names = ["labels", TEACHER]
    patience = training.early_stopping_patience

    def log(metrics: dict[str, float], step: int) -> None:
        log_metrics({f"{STUDENT}/{name}": value for name, value in metrics.items()}, step)

    student = build_student(trained.folder, distillation.num_hidden_layers)
    return StudentTrainer(
        model=student,
        args=arguments,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=tokenizer,
        data_collator=padding_collator(tokenizer, encoded, encoding),
        callbacks=[EarlyStoppingCallback(patience)] if patience else [],
        progress=Progress(log, checkpoint_seconds=60 * training.checkpoint_minutes, step="Distil"),
        head=SingleLabel(settings.labels),
        group_by_length=training.group_by_length,
        shortcuts=training.shortcuts,
        temperature=distillation.temperature,
        label_weight=distillation.label_weight,
        packed=trains_packed(student, arguments, encoding),
    )
