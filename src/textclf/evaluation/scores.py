"""What is measured of every model: its metrics by split, their place in MLflow, its probabilities on disk."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from textclf.config.sources import Split
from textclf.data.prepared import SplitRows
from textclf.evaluation.metric_intervals import metric_intervals
from textclf.heads.single_label import SingleLabel
from textclf.records import PreparedData
from textclf.store import write_output
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

MEASURED: tuple[Split, ...] = ("validation", "test")
# A run's tag: the runtime and precision with which its metrics were measured.
ENGINE_TAG = "textclf.engine"
LOWER_IS_BETTER = frozenset({"log_loss"})


def all_metrics(
    rows: dict[Split, SplitRows], probabilities: dict[Split, NDArray[np.float32]], head: SingleLabel
) -> dict[str, float]:
    """Measures the probabilities of validation and test rows: `validation/…`, `test/…` and `test_leakfree/…`.

    Each headline metric is followed by the ends of its interval, such as `test/f1_macro/low`.
    """
    metrics: dict[str, float] = {}
    for split, split_rows in rows.items():
        metrics |= split_metrics(split, split_rows.labels, probabilities[split], head)
    leakfree = rows["test"].leakfree
    if leakfree is not None and leakfree.any():
        labels, found = rows["test"].labels[leakfree], probabilities["test"][leakfree]
        metrics |= split_metrics("test_leakfree", labels, found, head)
        metrics["test_leakfree/rows"] = float(leakfree.sum())
    metrics["test/rows"] = float(len(rows["test"]))
    return metrics


def split_metrics(
    name: str, labels: NDArray[np.int64], probabilities: NDArray[np.float32], head: SingleLabel
) -> dict[str, float]:
    """Measures probabilities[rows, labels] against label ids: `<name>/<metric>`, with intervals."""
    found = head.metrics(labels, probabilities) | metric_intervals(labels, probabilities, head.labels)
    return {f"{name}/{metric}": value for metric, value in found.items()}


def deciding_rows(metrics: Mapping[str, float]) -> Literal["test", "test_leakfree"]:
    """Returns the rows over which models are compared: leak-free ones if there are any.

    Over rows that are also in the training data, a model that has memorised them would win.
    """
    return "test_leakfree" if any(name.startswith("test_leakfree/") for name in metrics) else "test"


def write_probabilities(folder: Path, probabilities: dict[Split, NDArray[np.float32]]) -> dict[Split, Path]:
    """Writes the probabilities of each split to a NumPy file, for the steps that follow, and returns the files.

    Raises:
        StorageError: The disk is full or not writable.
    """
    files: dict[Split, Path] = {split: folder / f"{split}.npy" for split in probabilities}
    for split, file in files.items():
        np.save(content := io.BytesIO(), probabilities[split], allow_pickle=False)
        write_output(file, content.getvalue())
    return files


def comparison_tags(prepared: PreparedData) -> dict[str, str]:
    """Returns a run's tags that identify the rows behind `test/…` and `test_leakfree/…`, for later comparisons."""
    return {
        "textclf.test_digest": prepared.split_digests["test"],
        "textclf.test_leakfree_digest": prepared.test_leakfree_digest,
    }


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
        split = "validation" if name.removeprefix("student/").startswith("validation/") else "test"
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
