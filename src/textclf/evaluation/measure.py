"""Measure a classifier on validation and test data, before and after fine-tuning, and compare it with baselines."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textclf import __version__
from textclf.config.schema import EvaluationConfig, ModelConfig, TrainingConfig
from textclf.config.sources import Split
from textclf.data.prepared import SplitRows, read_split
from textclf.evaluation.baselines import BASELINES, TFIDF, Baseline, fit_baselines
from textclf.evaluation.report import FINE_TUNED, STUDENT, Predictions, write_report
from textclf.heads.single_label import SingleLabel
from textclf.language import _
from textclf.model.build import build_classifier
from textclf.model.classifier import Classifier
from textclf.model.devices import resolve_precision
from textclf.model.encoder import EncoderClassifier
from textclf.model.engines.torch_engine import TorchEngine
from textclf.model.settings import read_settings
from textclf.model.tokenizer import TextTokenizer
from textclf.progress import progress_bar
from textclf.records import DistilledModel, EncodedData, EvaluatedModel, FetchedModel, PreparedData, TrainedModel
from textclf.store import digest_of, write_output
from textclf.tracking.datasets import dataset_inputs
from textclf.tracking.descriptions import comparison_link, data_text, describe_run
from textclf.tracking.runs import VERSION_TAG, run_folder
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run

logger = logging.getLogger(__name__)

# Part of the key by which measured baselines are reused: raise it when the baselines change.
BASELINES_VERSION = 2
MEASURED: tuple[Split, ...] = ("validation", "test")
RECORD_FILE, REPORT_FOLDER = "evaluated.json", "report"
# A run's tag: the runtime and precision with which its metrics were measured.
ENGINE_TAG = "textclf.engine"
BASELINE, BASELINE_KEY = "textclf.baseline", "textclf.baseline_key"


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
    logger.info(
        "Evaluate: test accuracy %.4f, macro F1 %.4f; without leaked rows %.4f, %.4f.",
        metrics["test/accuracy"],
        metrics["test/f1_macro"],
        metrics.get("test_leakfree/accuracy", metrics["test/accuracy"]),
        metrics.get("test_leakfree/f1_macro", metrics["test/f1_macro"]),
    )
    # Not its folder, which is removed when the run ends.
    logger.info("Evaluate: summary, plots and errors.csv are in evaluation/ of MLflow run %s.", trained.run_id)
    return evaluated


def comparison_tags(prepared: PreparedData) -> dict[str, str]:
    """Returns a run's tags that identify the rows behind `test/…` and `test_leakfree/…`, for later comparisons."""
    return {
        "textclf.test_digest": prepared.split_digests["test"],
        "textclf.test_leakfree_digest": prepared.test_leakfree_digest,
    }


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
    classifier = Classifier.load(trained.folder, mixed_precision=precision)
    probabilities = {split: _predict(classifier, rows[split], batch_size, split) for split in rows}
    metrics = _all_metrics(rows, probabilities, classifier.head)
    learned = _student_metrics(student, rows, probabilities, training) if student else {}
    models = [("after fine-tuning", classifier)]
    if evaluation.untrained:
        network = build_classifier(fetched, encoded, model=model, labels=prepared.labels, seed=training.seed)
        settings = read_settings(trained.folder)
        tokenizer = TextTokenizer.load(encoded.tokenizer_folder, max_length=settings.max_length)
        untrained = EncoderClassifier(TorchEngine(network, precision), tokenizer, settings)
        before = _predict(untrained, test, batch_size, "test, untrained")
        found = untrained.head.metrics(test.labels, before)
        metrics |= {f"untrained/test/{name}": value for name, value in found.items() if "/" not in name}
        models.insert(0, ("before fine-tuning", untrained))
    baselines = _baselines(store, prepared, rows, name=name, seed=training.seed) if evaluation.baselines else {}
    sentences = () if classifier.pairs else evaluation.examples
    write_report(
        report,
        Predictions(test.sources, test.numbers, _shown(test), test.labels, probabilities["test"], prepared.labels),
        metrics={FINE_TUNED: metrics, **({STUDENT: learned} if learned else {}), **baselines},
        examples=[(when, text, *_best(classifier, text)) for when, classifier in models for text in sentences],
    )
    return EvaluatedModel(
        run_id=trained.run_id,
        metrics=metrics,
        baselines=baselines,
        student=learned,
        report_folder=report,
        engine=classifier.engine_name,
        precision=precision,
        measured_ms=int(time.time() * 1000),
    )


def _student_metrics(
    student: DistilledModel,
    rows: dict[Split, SplitRows],
    answers: dict[Split, NDArray[np.float32]],
    training: TrainingConfig,
) -> dict[str, float]:
    """Measures a student against the labels, and against the answers of its teacher."""
    classifier = Classifier.load(student.folder, mixed_precision=training.mixed_precision)
    batch_size = training.per_device_eval_batch_size
    found = {split: _predict(classifier, rows[split], batch_size, f"{split}, student") for split in rows}
    agreement = {split: found[split].argmax(axis=1) == answers[split].argmax(axis=1) for split in rows}
    return {
        **_all_metrics(rows, found, classifier.head),
        **{f"{split}/agreement": float(same.mean()) for split, same in agreement.items()},
    }


def _all_metrics(
    rows: dict[Split, SplitRows], probabilities: dict[Split, NDArray[np.float32]], head: SingleLabel
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for split, split_rows in rows.items():
        found = head.metrics(split_rows.labels, probabilities[split])
        metrics |= {f"{split}/{name}": value for name, value in found.items()}
    leakfree = rows["test"].leakfree
    if leakfree is not None and leakfree.any():
        found = head.metrics(rows["test"].labels[leakfree], probabilities["test"][leakfree])
        metrics |= {f"test_leakfree/{name}": value for name, value in found.items()}
        metrics["test_leakfree/rows"] = float(leakfree.sum())
    metrics["test/rows"] = float(len(rows["test"]))
    return metrics


def log_metrics(
    store: TrackingStore,
    run_id: str,
    metrics: Mapping[str, float],
    *,
    steps: int,
    timestamp_ms: int,
    model_id: str | None = None,
    datasets: Mapping[str, DatasetInput] | None = None,
) -> None:
    """Logs what was measured at the end; logged again with the same time, each value still appears once.

    `test/…` and the like get step 0, so that MLflow compares runs by bars. `validation/…` gets the last step, because
    there is a curve of it. With `model_id`, the values also appear on the page of that logged model, next to the name
    of their data set in `datasets`, by split.
    """
    from mlflow.entities import Metric

    values = []
    for name, value in metrics.items():
        split = "validation" if name.removeprefix(f"{STUDENT}/").startswith("validation/") else "test"
        data = datasets[split].dataset if datasets else None
        step = steps if split == "validation" else 0
        values.append(
            Metric(
                name,
                value,
                timestamp_ms,
                step,
                model_id=model_id,
                dataset_name=data.name if data else None,
                dataset_digest=data.digest if data else None,
            )
        )
    for start in range(0, len(values), 500):
        store.client.log_batch(run_id, metrics=values[start : start + 500])


def _baselines(
    store: TrackingStore, prepared: PreparedData, rows: dict[Split, SplitRows], *, name: str, seed: int
) -> dict[str, dict[str, float]]:
    # The digests cover the weights; which test rows are leak-free also depends on rows that the audit removed.
    rows_key = [prepared.split_digests, prepared.test_leakfree_digest]
    key = digest_of(BASELINES_VERSION, __version__, rows_key, prepared.labels)
    experiment = store.experiment(name)
    with store.reporting("looking for baselines"):
        runs = store.client.search_runs([experiment], f"tags.`{BASELINE_KEY}` = '{key}'")
    measured = {run.data.tags[BASELINE]: run.data.metrics for run in runs if run.info.status == "FINISHED"}
    # A kill between the baselines leaves one without the other, and a kill while one is logged an unfinished run.
    unfinished = {run.data.tags[BASELINE]: run for run in runs if run.info.status != "FINISHED"}
    missing = [baseline for baseline in BASELINES if baseline not in measured]
    if not missing:
        logger.info("Evaluate: reusing the baselines measured on this data before.")
        return measured
    train = read_split(prepared, "train")
    fitted = fit_baselines(
        train.texts,
        train.labels,
        train_pairs=train.pairs,
        train_weights=train.weights,
        num_labels=len(prepared.labels),
        seed=seed,
        names=missing,
    )
    for baseline, estimator in fitted.items():
        probabilities = {split: estimator.probabilities(rows[split].texts, rows[split].pairs) for split in rows}
        measured[baseline] = _all_metrics(rows, probabilities, SingleLabel(prepared.labels))
        with store.reporting(f"logging the baseline {baseline}"):
            tags = {
                "textclf.kind": "baseline",
                BASELINE: baseline,
                BASELINE_KEY: key,
                "textclf.data_digest": prepared.digest,
                VERSION_TAG: prepared.version,
                **comparison_tags(prepared),
            }
            run = unfinished.get(baseline) or store.client.create_run(
                experiment, run_name=f"baseline-{baseline}", tags=tags
            )
            _log_baseline(store, run, baseline, estimator, prepared, measured[baseline])
    return measured


def _log_baseline(
    store: TrackingStore,
    run: Run,
    baseline: str,
    estimator: Baseline,
    prepared: PreparedData,
    metrics: Mapping[str, float],
) -> None:
    from mlflow.entities import Param

    client, run_id = store.client, run.info.run_id
    parameters = {"data.digest": prepared.digest, "data.version": prepared.version, **estimator.parameters}
    client.log_batch(run_id, params=[Param(name, str(value)) for name, value in parameters.items()])
    client.log_inputs(run_id, list(dataset_inputs(prepared).values()))
    describe_run(store, run_id, _baseline_text(baseline, prepared, run.info.experiment_id))
    # With the time of the run: if this process is killed, the next one logs the same values.
    log_metrics(store, run_id, metrics, steps=0, timestamp_ms=run.info.start_time)
    client.set_terminated(run_id)


def _baseline_text(baseline: str, prepared: PreparedData, experiment_id: str) -> str:
    what = (
        _("Logistic regression on TF-IDF of character 1- to 3-grams, which every model trained on this data must beat.")
        if baseline == TFIDF
        else _("Gives every text the most frequent label of the training rows; every model must beat it.")
    )
    return f"{what}\n\n{data_text(prepared)} · {comparison_link(experiment_id)}"
