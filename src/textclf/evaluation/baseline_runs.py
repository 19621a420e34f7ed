"""Baselines measured once per data version, each in an MLflow run of its own."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textclf import __version__
from textclf.data.prepared import read_split
from textclf.evaluation.baselines import BASELINES, TFIDF, Baseline, fit_baselines
from textclf.evaluation.scores import MEASURED, all_metrics, comparison_tags, log_metrics
from textclf.heads.single_label import SingleLabel
from textclf.language import _
from textclf.model.linear import LinearModel
from textclf.records import PreparedData
from textclf.store import digest_of, writing
from textclf.tracking.datasets import dataset_inputs
from textclf.tracking.descriptions import comparison_link, data_text, describe_run
from textclf.tracking.runs import VERSION_TAG
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

# Part of the key by which measured baselines are reused: raise it when the baselines change.
BASELINES_VERSION = 3
BASELINE, BASELINE_KEY = "textclf.baseline", "textclf.baseline_key"


class MeasuredBaseline(NamedTuple):
    """A baseline's MLflow run, and its metrics."""

    run_id: str
    metrics: dict[str, float]
    measured_ms: int
    """Time in milliseconds since 1970, as logged."""


def measure_baselines(
    store: TrackingStore,
    prepared: PreparedData,
    *,
    name: str,
    seed: int,
    keep: Path,
    wanted: Collection[str] = BASELINES,
) -> dict[str, MeasuredBaseline]:
    """Measures the wanted baselines, or returns what an earlier run measured on the same data.

    Each gets a run in the experiment `name`. A linear model that is fitted here is saved to the folder `keep`.

    Raises:
        TrackingError: MLflow's store failed.
        StorageError: The disk is full or not writable.
    """
    # The digests cover the weights; which test rows are leak-free also depends on rows that the audit removed.
    rows_key = [prepared.split_digests, prepared.test_leakfree_digest]
    key = digest_of(BASELINES_VERSION, __version__, rows_key, prepared.labels)
    experiment = store.experiment(name)
    with store.reporting("looking for baselines"):
        runs = store.client.search_runs([experiment], f"tags.`{BASELINE_KEY}` = '{key}'")
    measured = {
        run.data.tags[BASELINE]: MeasuredBaseline(run.info.run_id, run.data.metrics, run.info.start_time)
        for run in runs
        if run.info.status == "FINISHED"
    }
    # A kill between the baselines leaves one without the other, and a kill while one is logged an unfinished run.
    unfinished = {run.data.tags[BASELINE]: run for run in runs if run.info.status != "FINISHED"}
    missing = [baseline for baseline in wanted if baseline not in measured]
    if not missing:
        logger.info("Baselines: reusing those measured on this data before.")
        return measured
    rows = {split: read_split(prepared, split) for split in MEASURED}
    for baseline, estimator in fit(prepared, seed=seed, names=missing).items():
        if isinstance(estimator, LinearModel):
            with writing(keep):
                keep.mkdir(parents=True, exist_ok=True)
                estimator.save(keep)
        probabilities = {split: estimator.probabilities(rows[split].texts, rows[split].pairs) for split in rows}
        metrics = all_metrics(rows, probabilities, SingleLabel(prepared.labels))
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
            _log_baseline(store, run, baseline, estimator, prepared, metrics)
        measured[baseline] = MeasuredBaseline(run.info.run_id, metrics, run.info.start_time)
    return measured


def fit(prepared: PreparedData, *, seed: int, names: Collection[str]) -> dict[str, Baseline]:
    """Fits the named baselines on the training rows; the same rows and seed give the same baselines.

    Raises:
        DataError: The rows cannot be learnt from; see `fit_baselines`.
    """
    train = read_split(prepared, "train")
    return fit_baselines(
        train.texts,
        train.labels,
        train_pairs=train.pairs,
        train_weights=train.weights,
        num_labels=len(prepared.labels),
        seed=seed,
        names=names,
    )


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
