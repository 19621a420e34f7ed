"""Looks closer at a model: its slices and its behaviour, as records and as metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textclf.config.evaluation import EvaluationConfig
from textclf.data.prepared import SplitRows
from textclf.evaluation.behaviour import behaviour_cases, behaviour_metrics, check_behaviour
from textclf.evaluation.slices import measure_slices, slice_masks, slice_metrics
from textclf.model.classifier import Classifier
from textclf.records import BehaviourCheck, Slice


def look_closer(
    classifier: Classifier,
    test: SplitRows,
    probabilities: NDArray[np.float32],
    *,
    evaluation: EvaluationConfig,
    seed: int,
    batch_size: int,
) -> tuple[tuple[Slice, ...], tuple[BehaviourCheck, ...]]:
    """Measures the slices of the test rows, and checks the behaviour if it is configured.

    Args:
        classifier: The model.
        test: The test rows.
        probabilities: What it says of them, float32[rows, labels].
        evaluation: What is measured.
        seed: Draws the texts that are changed.
        batch_size: Maximum texts per batch.

    Raises:
        DataError, StorageError: The user's cases cannot be used.
    """
    slices = measure_slices(probabilities.argmax(axis=1) == test.labels, slice_masks(test, evaluation.slices))
    if not evaluation.behaviour:
        return slices, ()
    cases = behaviour_cases(evaluation, classifier.labels)
    return slices, check_behaviour(classifier, test, cases, seed=seed, batch_size=batch_size)


def closer_metrics(slices: Sequence[Slice], behaviour: Sequence[BehaviourCheck]) -> dict[str, float]:
    """Returns both as metrics: `test/slice/<name>/accuracy`, `behaviour/<name>` and their intervals."""
    found = {f"test/{name}": value for name, value in slice_metrics(slices).items()}
    return found | behaviour_metrics(behaviour)
