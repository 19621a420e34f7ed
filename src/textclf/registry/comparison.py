"""Compares registered versions over the same test rows, answer by answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textclf.data.prepared import SplitRows, read_split
from textclf.data.versions import known_versions
from textclf.errors import ConfigError, DataError
from textclf.evaluation.baseline_runs import fit
from textclf.evaluation.baselines import BASELINES, MAJORITY, TFIDF
from textclf.evaluation.intervals import Metric, paired_interval
from textclf.evaluation.metric_intervals import interval_of, metric_intervals
from textclf.evaluation.slices import slice_masks
from textclf.heads.single_label import SingleLabel
from textclf.progress import progress_bar
from textclf.records import Interval, PairedDifference, PreparedData, Record
from textclf.registry.contest import seen_rows
from textclf.registry.reference import named_version
from textclf.registry.versions import SPEED_TAG, ChosenModel, fetch_folder
from textclf.tracking.runs import VERSION_TAG
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

NAMED_BASELINES: Mapping[str, str] = {"majority": MAJORITY, "tfidf": TFIDF}
"""What a baseline is called among models to compare."""
MOST_DISAGREEMENTS = 100


class Compared(Record):
    """A model in a comparison, and how it differs from the first one."""

    name: str
    """NAME/VERSION, or the name of a baseline."""
    score: float
    interval: Interval
    difference: PairedDifference | None
    """Its score (first) and that of the first model; None for the first."""
    only_it: int
    """Rows that it gets right and the first model does not."""
    only_first: int
    chance: float | None
    """How likely so unequal numbers are if both models are equally good: McNemar's exact test, two-sided."""
    size_bytes: int | None
    texts_per_second: str | None
    """As measured when it was registered."""


class SliceDifference(Record):
    """A slice on which another model is the better one than over all rows."""

    name: str
    rows: int
    model: str
    accuracy: float
    """That model's."""
    first_accuracy: float


class Disagreement(Record):
    """A row to which the models give different labels."""

    text: str
    place: str
    label: str
    answers: tuple[str, ...]
    """In the order of the models."""


class Comparison(Record):
    """Models compared over the same rows; the keys of `textclf models compare --json`."""

    metric: str
    data_version: str
    rows: int
    left_out: int
    """Test rows left out because a model was trained on them, or because they are copies of earlier rows."""
    unknown: tuple[str, ...]
    """Models of which nobody knows what they were trained on."""
    models: tuple[Compared, ...]
    turned: tuple[SliceDifference, ...]
    disagreements: tuple[Disagreement, ...]
    """Rows on which registered models differ; if there is only one, rows on which it and the baselines do."""
    disagreement_count: int


@dataclass(frozen=True)
class _Contender:
    name: str
    answers: NDArray[np.float32]
    size_bytes: int | None = None
    texts_per_second: str | None = None


def compare_versions(
    store: TrackingStore, references: Sequence[str], *, metric: Metric, data_version: str | None = None
) -> Comparison:
    """Lets models answer the same test rows with torch, and compares each with the first.

    The rows are the test rows of the first model's data, or of the version `data_version`, without copies of earlier
    rows and without rows on which one of the models was trained.

    Args:
        store: The registry.
        references: NAME@ALIAS or NAME/VERSION; `majority` and `tfidf` are the baselines of the same data.
        metric: The score.
        data_version: Of the rows.

    Raises:
        ConfigError: There are fewer than two models, or one cannot be named so.
        DataError: The rows are not on this machine, none is left, or the models have other labels.
        ModelNotFoundError, ModelError: A version or its files are missing.
        TrackingError: The store failed.
    """
    if len(references) < 2:
        raise ConfigError("Name at least two models to compare, e.g. textclf-reviews@champion textclf-reviews/3.")
    versions = {text: named_version(store, text) for text in references if text not in NAMED_BASELINES}
    if not versions:
        raise ConfigError("Name at least one registered model; baselines are compared with it.")
    prepared = _data(store, next(iter(versions.values())), data_version)
    test = read_split(prepared, "test")
    keep = np.ones(len(test), dtype=bool) if test.leakfree is None else test.leakfree.copy()
    unknown = []
    for text, version in versions.items():
        seen = seen_rows(store, version)
        if seen is None:
            unknown.append(text)
        else:
            keep &= ~np.isin(test.fingerprints, seen)
    if not keep.any():
        raise DataError(
            f"The models were trained on all test rows of data version {prepared.version}: no row is left to compare "
            "them on. Choose another data version with --data."
        )
    rows = test.where(keep)
    contenders = [_contender(store, text, versions.get(text), prepared, rows) for text in dict.fromkeys(references)]
    return _compare(contenders, rows, prepared, metric, int((~keep).sum()), tuple(unknown))


def _data(store: TrackingStore, version: ModelVersion, wanted: str | None) -> PreparedData:
    if wanted is None:
        with store.reporting("looking up the data of the model"):
            tags = store.client.get_run(version.run_id).data.tags if version.run_id else {}
        wanted = tags.get(VERSION_TAG)
    known = {data.version: data for data in known_versions(store.home)}
    found = [data for name, data in known.items() if wanted and name.startswith(wanted)]
    if len(found) != 1:
        raise DataError(
            f"The rows of data version {wanted or 'unknown'} are not in {store.home.prepared}, so the models cannot "
            f"answer them. Choose one that is with --data: {', '.join(sorted(known)) or 'there is none'}."
        )
    return found[0]


def _contender(
    store: TrackingStore, text: str, version: ModelVersion | None, prepared: PreparedData, rows: SplitRows
) -> _Contender:
    from textclf.model.classifier import Classifier

    if version is None:
        name = NAMED_BASELINES[text]
        assert name in BASELINES
        fitted = fit(prepared, seed=0, names=[name])[name]
        return _Contender(text, fitted.probabilities(rows.texts, rows.pairs))
    with TemporaryDirectory() as temporary:
        folder = fetch_folder(store, ChosenModel.of(version), Path(temporary))
        classifier = Classifier.load(folder, engine="torch")
        if classifier.labels != prepared.labels or classifier.pairs != (rows.pairs is not None):
            raise DataError(
                f"{text} has other labels or inputs than the data version {prepared.version}: expected "
                f"{', '.join(prepared.labels)}, found {', '.join(classifier.labels)}."
            )
        logger.info("Compare: %s answers %s rows with %s.", text, f"{len(rows):,}", classifier.engine_name)
        with progress_bar(total=len(rows), desc=text, unit="texts", leave=False) as bar:
            answers = classifier.predict(rows.texts, rows.pairs, progress=bar)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return _Contender(f"{version.name}/{version.version}", answers, size, version.tags.get(SPEED_TAG))


def _compare(
    contenders: Sequence[_Contender],
    rows: SplitRows,
    prepared: PreparedData,
    metric: Metric,
    left_out: int,
    unknown: tuple[str, ...],
) -> Comparison:
    head = SingleLabel(prepared.labels)
    decided = [each.answers.argmax(axis=1) for each in contenders]
    right = [found == rows.labels for found in decided]
    differ = np.zeros(len(rows), dtype=bool)
    # A baseline that gives all rows one label would differ on half of them.
    ours = [found for found, each in zip(decided, contenders, strict=True) if each.name not in NAMED_BASELINES]
    for one, other in pairwise(ours if len(ours) > 1 else decided):
        differ |= one != other
    return Comparison(
        metric=metric,
        data_version=prepared.version,
        rows=len(rows),
        left_out=left_out,
        unknown=unknown,
        models=tuple(
            _compared(each, place, decided, right, rows, head, metric) for place, each in enumerate(contenders)
        ),
        turned=tuple(_turned(contenders, right, rows)),
        disagreements=tuple(
            Disagreement(
                text=rows.texts[place],
                place=f"{rows.sources[place]}:{rows.numbers[place]}",
                label=prepared.labels[rows.labels[place]],
                answers=tuple(prepared.labels[found[place]] for found in decided),
            )
            for place in np.flatnonzero(differ)[:MOST_DISAGREEMENTS]
        ),
        disagreement_count=int(differ.sum()),
    )


def _compared(
    contender: _Contender,
    place: int,
    decided: Sequence[NDArray[np.int64]],
    right: Sequence[NDArray[np.bool_]],
    rows: SplitRows,
    head: SingleLabel,
    metric: Metric,
) -> Compared:
    from scipy.stats import binomtest

    scored = head.metrics(rows.labels, contender.answers)
    interval = interval_of(metric_intervals(rows.labels, contender.answers, head.labels), metric)
    assert interval is not None
    only_it, only_first = int((right[place] & ~right[0]).sum()), int((right[0] & ~right[place]).sum())
    difference = chance = None
    if place:
        difference = paired_interval(
            rows.labels, decided[place], decided[0], num_labels=len(head.labels), metric=metric
        )
        chance = float(binomtest(only_it, only_it + only_first).pvalue) if only_it + only_first else 1.0
    return Compared(
        name=contender.name,
        score=scored[metric],
        interval=interval,
        difference=difference,
        only_it=only_it,
        only_first=only_first,
        chance=chance,
        size_bytes=contender.size_bytes,
        texts_per_second=contender.texts_per_second,
    )


def _turned(
    contenders: Sequence[_Contender], right: Sequence[NDArray[np.bool_]], rows: SplitRows
) -> list[SliceDifference]:
    """Finds slices on which the accuracy of a model and the first one differ the other way round."""
    found = []
    for place, each in enumerate(contenders[1:], start=1):
        overall = np.sign(right[place].mean() - right[0].mean())
        for name, mask in slice_masks(rows, {}).items():
            here = np.sign(right[place][mask].mean() - right[0][mask].mean())
            if here * overall < 0:
                found.append(
                    SliceDifference(
                        name=name,
                        rows=int(mask.sum()),
                        model=each.name,
                        accuracy=float(right[place][mask].mean()),
                        first_accuracy=float(right[0][mask].mean()),
                    )
                )
    return found
