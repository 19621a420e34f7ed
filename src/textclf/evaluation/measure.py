"""Measure a trained classifier: on validation and test, before and after fine-tuning, beside the baselines."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from textclf import __version__
from textclf.config.home import Home
from textclf.config.schema import TrainConfig
from textclf.evaluation.baselines import fit_baselines
from textclf.evaluation.report import Predictions, write_report
from textclf.heads.metrics import classification_metrics
from textclf.model.build import build_classifier
from textclf.model.classifier import Classifier, ClassifierSettings
from textclf.model.engine import TorchEngine
from textclf.model.tokens import load_tokenizer
from textclf.records import EncodedData, EvaluatedModel, FetchedModel, PreparedData, TrainedModel
from textclf.store import digest_of
from textclf.tracking.runs import connect, experiment_id, reporting, run_folder

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Part of what a baseline is found again by: raise it when the baselines change.
BASELINES_VERSION = 1


@dataclass(frozen=True)
class _Rows:
    numbers: NDArray[np.int64]
    texts: list[str]
    text_pairs: list[str] | None
    labels: NDArray[np.int64]
    leakfree: NDArray[np.bool_]

    @property
    def shown(self) -> list[str]:
        """Each text, or the two of a pair with BERT's mark between them, for the report."""
        if self.text_pairs is None:
            return self.texts
        return [f"{text} [SEP] {pair}" for text, pair in zip(self.texts, self.text_pairs, strict=True)]


def evaluate(
    trained: TrainedModel,
    prepared: PreparedData,
    encoded: EncodedData,
    fetched: FetchedModel | None,
    *,
    config: TrainConfig,
    home: Home,
) -> EvaluatedModel:
    """Measures the trained model and logs metrics, plots and tables to its MLflow run.

    Metrics are named `validation/…`, `test/…` and `test_leakfree/…` (test texts that stand in no other split), and
    `untrained/test/…` for the model before fine-tuning. Each baseline gets a run of its own with the same names.

    Args:
        trained: The fine-tuned model.
        prepared: The data.
        encoded: The tokenised data, for the tokenizer.
        fetched: The model that fine-tuning started from, to measure it untrained.
        config: `evaluation`, `model`, `data`, `cleaning` and `training` are used. Its example sentences are left out
            where pairs are classified.
        home: Where MLflow's store and the run's folder lie.

    Returns:
        All metrics.

    Raises:
        TrackingError: MLflow's store failed.
        ModelError: The model cannot be loaded.
        StorageError: The disk is full or must not be written to.
    """
    client = connect(home)
    rows = {split: _read_rows(prepared.folder / f"{split}.parquet") for split in ("validation", "test")}
    batch_size = config.training.per_device_eval_batch_size
    classifier = Classifier.load(trained.folder, mixed_precision=config.training.mixed_precision)
    probabilities = {split: _predict(classifier, rows[split], batch_size, split) for split in rows}
    metrics = _all_metrics(rows, probabilities, prepared.labels)
    sentences = () if classifier.pairs else config.evaluation.examples
    examples = [("after fine-tuning", classifier)]
    if config.evaluation.untrained:
        untrained = _untrained(fetched, encoded, prepared, config)
        before = _predict(untrained, rows["test"], batch_size, "test, untrained")
        found = classification_metrics(rows["test"].labels, before, prepared.labels)
        metrics |= {f"untrained/test/{name}": value for name, value in found.items() if "/" not in name}
        examples.insert(0, ("before fine-tuning", untrained))
    baselines = _baselines(client, prepared, rows, config, home) if config.evaluation.baselines else {}
    folder = run_folder(home, trained.run_id) / "report"
    test = rows["test"]
    write_report(
        folder,
        Predictions(test.numbers, test.shown, test.labels, probabilities["test"], prepared.labels),
        metrics={"fine-tuned": metrics, **baselines},
        examples=[(when, text, *_best(model, text)) for when, model in examples for text in sentences],
    )
    with reporting(home, "logging the evaluation"):
        _log_metrics(client, trained.run_id, metrics, step=trained.steps)
        for tag, digest in comparison_tags(prepared).items():
            client.set_tag(trained.run_id, tag, digest)
        client.log_artifacts(trained.run_id, str(folder), "evaluation")
    logger.info(
        "Evaluate: test accuracy %.4f, macro F1 %.4f; without leaked rows %.4f, %.4f.",
        metrics["test/accuracy"],
        metrics["test/f1_macro"],
        metrics.get("test_leakfree/accuracy", metrics["test/accuracy"]),
        metrics.get("test_leakfree/f1_macro", metrics["test/f1_macro"]),
    )
    return EvaluatedModel(run_id=trained.run_id, metrics=metrics, baselines=baselines, report_folder=folder)


def comparison_tags(prepared: PreparedData) -> dict[str, str]:
    """Tags of a run that say over which rows `test/…` and `test_leakfree/…` were measured, for later comparisons."""
    return {
        "textclf.test_digest": prepared.split_digests["test"],
        "textclf.test_leakfree_digest": prepared.test_leakfree_digest,
    }


def _read_rows(path: Path) -> _Rows:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return _Rows(
        numbers=table["row"].to_numpy(),
        texts=table["text"].to_pylist(),
        text_pairs=table["text_pair"].to_pylist() if "text_pair" in table.column_names else None,
        labels=table["label"].to_numpy(),
        leakfree=table["leakfree"].to_numpy(),
    )


def _predict(classifier: Classifier, rows: _Rows, batch_size: int, what: str) -> NDArray[np.float32]:
    with tqdm(total=len(rows.texts), desc=f"Evaluate {what}", unit="texts", disable=None, leave=False) as bar:
        return classifier.predict(rows.texts, rows.text_pairs, batch_size=batch_size, progress=bar)


def _best(classifier: Classifier, text: str) -> tuple[str, float]:
    probabilities = classifier.predict([text])[0]
    return classifier.labels[int(probabilities.argmax())], float(probabilities.max())


def _untrained(
    fetched: FetchedModel | None, encoded: EncodedData, prepared: PreparedData, config: TrainConfig
) -> Classifier:
    model = build_classifier(fetched, encoded, model=config.model, labels=prepared.labels, seed=config.training.seed)
    settings = ClassifierSettings.of(config, prepared.labels)
    return Classifier(TorchEngine(model), load_tokenizer(encoded.tokenizer_folder), settings)


def _all_metrics(
    rows: dict[str, _Rows], probabilities: dict[str, NDArray[np.float32]], labels: tuple[str, ...]
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for split, split_rows in rows.items():
        found = classification_metrics(split_rows.labels, probabilities[split], labels)
        metrics |= {f"{split}/{name}": value for name, value in found.items()}
    leakfree = rows["test"].leakfree
    if leakfree.any():
        found = classification_metrics(rows["test"].labels[leakfree], probabilities["test"][leakfree], labels)
        metrics |= {f"test_leakfree/{name}": value for name, value in found.items()}
        metrics["test_leakfree/rows"] = float(leakfree.sum())
    metrics["test/rows"] = float(len(leakfree))
    return metrics


def _log_metrics(client: MlflowClient, run_id: str, metrics: dict[str, float], *, step: int) -> None:
    import time

    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    values = [Metric(name, value, now, step) for name, value in metrics.items()]
    for start in range(0, len(values), 500):
        client.log_batch(run_id, metrics=values[start : start + 500])


def _baselines(
    client: MlflowClient, prepared: PreparedData, rows: dict[str, _Rows], config: TrainConfig, home: Home
) -> dict[str, dict[str, float]]:
    import pyarrow.parquet as pq

    path = prepared.folder / "train.parquet"
    weights = pq.read_table(path, columns=["weight"])["weight"].to_numpy() if _has(path, "weight") else None
    # The digests cover the weights; which test rows are leak-free also depends on rows that the audit has removed.
    rows_key = [prepared.split_digests, prepared.test_leakfree_digest]
    key = digest_of(BASELINES_VERSION, __version__, rows_key, prepared.labels)
    experiment = experiment_id(client, home, f"textclf-{config.data.name}")
    with reporting(home, "looking for baselines"):
        runs = client.search_runs(
            [experiment], f"tags.`textclf.baseline_key` = '{key}' and attributes.status = 'FINISHED'"
        )
    if runs:
        logger.info("Evaluate: the baselines were measured on this data before.")
        return {run.data.tags["textclf.baseline"]: run.data.metrics for run in runs}
    train = pq.read_table(path)
    fitted = fit_baselines(
        train["text"].to_pylist(),
        train["label"].to_numpy(),
        train_pairs=train["text_pair"].to_pylist() if _has(path, "text_pair") else None,
        train_weights=weights,
        num_labels=len(prepared.labels),
        seed=config.training.seed,
    )
    measured = {}
    for name, baseline in fitted.items():
        probabilities = {split: baseline.predict_proba(rows[split].texts, rows[split].text_pairs) for split in rows}
        measured[name] = _all_metrics(rows, probabilities, prepared.labels)
        tags = {
            "textclf.kind": "baseline",
            "textclf.baseline": name,
            "textclf.baseline_key": key,
            "textclf.data_digest": prepared.digest,
            **comparison_tags(prepared),
        }
        with reporting(home, f"logging the baseline {name}"):
            run = client.create_run(experiment, run_name=f"baseline-{name}", tags=tags)
            _log_metrics(client, run.info.run_id, measured[name], step=0)
            client.set_terminated(run.info.run_id)
    return measured


def _has(path: Path, column: str) -> bool:
    import pyarrow.parquet as pq

    return column in pq.read_schema(path).names
