"""Measure a classifier on validation and test data, before and after fine-tuning, and compare it with baselines."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textclf.config.evaluation import EvaluationConfig
from textclf.config.schema import ModelConfig, TrainingConfig
from textclf.config.sources import Split
from textclf.data.prepared import SplitRows, read_split
from textclf.evaluation.baseline_runs import measure_baselines
from textclf.evaluation.closer import closer_metrics, look_closer
from textclf.evaluation.metric_intervals import with_interval
from textclf.evaluation.report import FINE_TUNED, STUDENT, Predictions, write_report
from textclf.evaluation.scores import (
    ENGINE_TAG,
    MEASURED,
    all_metrics,
    comparison_tags,
    deciding_rows,
    log_metrics,
    split_metrics,
    write_probabilities,
)
from textclf.heads.calibration import uncalibrated
from textclf.heads.metrics import PER_LABEL, expected_calibration_error
from textclf.language import _
from textclf.model.build import build_classifier
from textclf.model.classifier import Classifier
from textclf.model.devices import resolve_precision
from textclf.model.encoder import EncoderClassifier
from textclf.model.engines.torch_engine import TorchEngine
from textclf.model.settings import read_settings
from textclf.model.tokenizer import TextTokenizer
from textclf.progress import progress_bar
from textclf.records import (
    DistilledModel,
    EncodedData,
    EvaluatedModel,
    FetchedModel,
    PreparedData,
    TrainedModel,
)
from textclf.store import write_output
from textclf.tracking.runs import run_folder
from textclf.tracking.store import TrackingStore

logger = logging.getLogger(__name__)

RECORD_FILE, REPORT_FOLDER = "evaluated.json", "report"
LINEAR_FOLDER = "linear"
"""Where a run keeps the linear model, if it was fitted there."""


def evaluate(
    trained: TrainedModel,
    prepared: PreparedData,
    encoded: EncodedData,
    fetched: FetchedModel | None,
    *,
    evaluation: EvaluationConfig,
    model: ModelConfig,
    training: TrainingConfig,
    name: str,
    store: TrackingStore,
    student: DistilledModel | None = None,
) -> EvaluatedModel:
    """Measures the trained model and logs metrics, plots and tables to its MLflow run.

    Metrics are named `validation/…`, `test/…` and `test_leakfree/…` (test texts that are in no other split), and
    `untrained/test/…` for the model before fine-tuning, which is rebuilt from `fetched`, `encoded` and `model`. Each
    baseline gets a run of its own, in the experiment `name`, with the same metric names. Example sentences are left
    out where pairs are classified. Of `training`, precision, batch size and seed are used.

    A student's metrics have the same names after `student/`, and `student/<split>/agreement` is the share of the rows
    to which it gives the label that the trained model gives them.

    Called again after a kill, it measures only what is missing, and MLflow keeps each value once.

    Raises:
        TrackingError: MLflow's store failed.
        ModelError: The model cannot be loaded.
        StorageError: The disk is full or not writable.
    """
    folder = run_folder(store.home, trained.run_id)
    record = folder / RECORD_FILE
    if record.is_file():
        logger.info("Evaluate: this run was measured before it was interrupted; logging its metrics now.")
        evaluated = EvaluatedModel.model_validate_json(record.read_text(encoding="utf-8"))
    else:
        evaluated = _measure(
            trained,
            student,
            prepared,
            encoded,
            fetched,
            evaluation,
            model,
            training,
            name,
            store,
            folder / REPORT_FOLDER,
        )
        # Before anything is logged: after a kill, the same values are logged again with the same time.
        write_output(record, evaluated.model_dump_json(indent=1).encode())
    with store.reporting("logging the evaluation"):
        log_metrics(store, trained.run_id, evaluated.metrics, steps=trained.steps, timestamp_ms=evaluated.measured_ms)
        if student:
            metrics = {f"{STUDENT}/{name}": value for name, value in evaluated.student.items()}
            log_metrics(store, trained.run_id, metrics, steps=student.steps, timestamp_ms=evaluated.measured_ms)
        for tag, value in (comparison_tags(prepared) | {ENGINE_TAG: evaluated.engine}).items():
            store.client.set_tag(trained.run_id, tag, value)
        store.client.log_artifacts(trained.run_id, str(evaluated.report_folder), "evaluation")
    metrics = evaluated.metrics
    splits = ("test", deciding_rows(metrics))
    logger.info(
        "Evaluate: test accuracy %s, macro F1 %s; without leaked rows %s, %s.",
        *(with_interval(metrics, f"{rows}/{name}") for rows in splits for name in ("accuracy", "f1_macro")),
    )
    # Not its folder, which is removed when the run ends.
    logger.info("Evaluate: summary, plots and errors.csv are in evaluation/ of MLflow run %s.", trained.run_id)
    return evaluated


def _predict(classifier: Classifier, rows: SplitRows, batch_size: int, what: str) -> NDArray[np.float32]:
    desc = _("Evaluate {what}").format(what=what)
    with progress_bar(total=len(rows), desc=desc, unit="texts", leave=False) as bar:
        return classifier.predict(rows.texts, rows.pairs, batch_size=batch_size, progress=bar)


def _best(classifier: Classifier, text: str) -> tuple[str, float]:
    best = classifier.head.decide(classifier.predict([text]))
    return best.labels[0], float(best.scores[0])


def _shown(rows: SplitRows) -> list[str]:
    """Returns the texts for the report; those of a pair are joined by BERT's separator."""
    if rows.pairs is None:
        return rows.texts
    return [f"{text} [SEP] {pair}" for text, pair in zip(rows.texts, rows.pairs, strict=True)]


def _measure(
    trained: TrainedModel,
    student: DistilledModel | None,
    prepared: PreparedData,
    encoded: EncodedData,
    fetched: FetchedModel | None,
    evaluation: EvaluationConfig,
    model: ModelConfig,
    training: TrainingConfig,
    name: str,
    store: TrackingStore,
    report: Path,
) -> EvaluatedModel:
    rows = {split: read_split(prepared, split) for split in MEASURED}
    test = rows["test"]
    batch_size = training.per_device_eval_batch_size
    precision = resolve_precision(training.mixed_precision)
    classifier = Classifier.load(trained.folder, engine="torch", mixed_precision=precision)
    probabilities = {split: _predict(classifier, rows[split], batch_size, split) for split in rows}
    metrics = all_metrics(rows, probabilities, classifier.head)
    before = uncalibrated(probabilities["test"], trained.temperature)
    metrics["test/calibration_error_before"] = expected_calibration_error(test.labels, before)
    learned = _student_metrics(student, rows, probabilities, training) if student else {}
    models = [("after fine-tuning", classifier)]
    if evaluation.untrained:
        network = build_classifier(fetched, encoded, model=model, labels=prepared.labels, seed=training.seed)
        settings = read_settings(trained.folder).model_copy(update={"temperature": 1.0})
        tokenizer = TextTokenizer.load(encoded.tokenizer_folder, max_length=settings.max_length)
        untrained = EncoderClassifier(TorchEngine(network, precision), tokenizer, settings)
        raw = _predict(untrained, test, batch_size, "test, untrained")
        scored = split_metrics("untrained/test", test.labels, raw, untrained.head)
        # Not those of each label.
        metrics |= {name: value for name, value in scored.items() if name.split("/")[2] not in PER_LABEL}
        models.insert(0, ("before fine-tuning", untrained))
    slices, behaviour = look_closer(
        classifier, test, probabilities["test"], evaluation=evaluation, seed=training.seed, batch_size=batch_size
    )
    metrics |= closer_metrics(slices, behaviour)
    baselines = {}
    if evaluation.baselines:
        found = measure_baselines(store, prepared, name=name, seed=training.seed, keep=report.parent / LINEAR_FOLDER)
        baselines = {baseline: measured.metrics for baseline, measured in found.items()}
    sentences = () if classifier.pairs else evaluation.examples
    write_report(
        report,
        Predictions(test.sources, test.numbers, _shown(test), test.labels, probabilities["test"], prepared.labels),
        metrics={FINE_TUNED: metrics, **({STUDENT: learned} if learned else {}), **baselines},
        before=before,
        slices=slices,
        behaviour=behaviour,
        examples=[(when, text, *_best(classifier, text)) for when, classifier in models for text in sentences],
    )
    return EvaluatedModel(
        run_id=trained.run_id,
        metrics=metrics,
        baselines=baselines,
        student=learned,
        slices=slices,
        behaviour=behaviour,
        report_folder=report,
        engine=classifier.engine_name,
        precision=precision,
        measured_ms=int(time.time() * 1000),
        probabilities=write_probabilities(report.parent / "probabilities", probabilities),
    )


def _student_metrics(
    student: DistilledModel,
    rows: dict[Split, SplitRows],
    answers: dict[Split, NDArray[np.float32]],
    training: TrainingConfig,
) -> dict[str, float]:
    """Measures a student against the labels, and against the answers of its teacher."""
    classifier = Classifier.load(student.folder, engine="torch", mixed_precision=training.mixed_precision)
    batch_size = training.per_device_eval_batch_size
    found = {split: _predict(classifier, rows[split], batch_size, f"{split}, student") for split in rows}
    agreement = {split: found[split].argmax(axis=1) == answers[split].argmax(axis=1) for split in rows}
    return {
        **all_metrics(rows, found, classifier.head),
        **{f"{split}/agreement": float(same.mean()) for split, same in agreement.items()},
    }
