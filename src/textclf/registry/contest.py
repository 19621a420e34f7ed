"""Compares a candidate with the champion: both answer the same rows, none of which the champion was trained on."""

from __future__ import annotations

import io
import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from textclf.config.evaluation import EvaluationConfig
from textclf.config.registration import RegistrationConfig
from textclf.data.prepared import SplitRows, read_split
from textclf.errors import ConfigError, ModelError, first_lines
from textclf.evaluation.baseline_runs import fit
from textclf.evaluation.baselines import MAJORITY, TFIDF
from textclf.evaluation.behaviour import CHANGES, behaviour_cases, check_labels
from textclf.evaluation.metric_intervals import paired_difference
from textclf.evaluation.scores import LOWER_IS_BETTER, deciding_rows
from textclf.evaluation.slices import slice_masks
from textclf.heads.metrics import metric_labels
from textclf.language import _
from textclf.progress import progress_bar
from textclf.records import Candidate, Check, EvaluatedModel, Interval, PairedDifference, PreparedData
from textclf.registry.versions import TRAINING_TAG, ChosenModel, load_classifier
from textclf.store import write_output
from textclf.tracking.store import MISSING, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

ROWS_FILE = "training_rows.npy"
"""An artifact of a training run, below `data/`: fingerprints of the rows that the model has seen, int64[rows]."""
CONFIDENCE = 0.95
# 0.7 - 0.9 is a little less than -0.2.
_ROUNDING = 1e-9

Outcome = Literal["non_inferior", "superior", "perhaps_worse", "not_superior"]


@dataclass(frozen=True)
class Contest:
    """What the comparison with the champion gave.

    Attributes:
        outcome: What the rule says, or why there is no comparison.
        comparison: The candidate's score (first) and the champion's (second); None without a comparison.
        rows: How many rows were compared.
        known_to_champion: Rows left out because the champion was trained on them; None if nobody knows.
        rows_needed: About how many rows would resolve the margin, if these do not.
        problem: Why the champion cannot be loaded.
    """

    outcome: Outcome | Literal["undefined", "incomparable", "unreadable", "no_rows"]
    rows: int
    comparison: PairedDifference | None = None
    known_to_champion: int | None = None
    rows_needed: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Entrant:
    """A candidate and the rows by which it is judged.

    Attributes:
        candidate: The candidate.
        evaluated: The evaluation of its training.
        prepared: The data of its training.
        rows: The test rows that count.
        probabilities: What it says of them, float32[rows, labels].
    """

    candidate: Candidate
    evaluated: EvaluatedModel
    prepared: PreparedData
    rows: SplitRows
    probabilities: NDArray[np.float32]

    @classmethod
    def of(cls, candidate: Candidate, evaluated: EvaluatedModel, prepared: PreparedData) -> Entrant:
        """Reads the rows that count, and what the candidate said of them."""
        test = read_split(prepared, "test")
        probabilities = np.load(candidate.probabilities["test"], allow_pickle=False)
        if deciding_rows(candidate.metrics) == "test_leakfree" and test.leakfree is not None:
            return cls(candidate, evaluated, prepared, test.where(test.leakfree), probabilities[test.leakfree])
        return cls(candidate, evaluated, prepared, test, probabilities)

    def metric(self, name: str) -> float | None:
        """Returns a metric over these rows, or of a slice of the test rows or a check of behaviour; None without it."""
        metrics = self.candidate.metrics
        return metrics.get(f"{deciding_rows(metrics)}/{name}", metrics.get(f"test/{name}", metrics.get(name)))


def contest(
    store: TrackingStore, champion: ModelVersion, entrant: Entrant, *, rules: RegistrationConfig, look: int
) -> Contest:
    """Lets the champion answer the rows of a candidate, with the same engine and precision, and compares both.

    Args:
        store: The registry.
        champion: The champion.
        entrant: The candidate.
        rules: What is compared, and what the candidate must reach.
        look: How many trainings have been decided about on these rows, this one included.

    Raises:
        TrackingError: The store failed.
    """
    rows = entrant.rows
    if entrant.metric(rules.metric) is None:
        return Contest("undefined", len(rows))
    try:
        classifier = load_classifier(
            store, ChosenModel.of(champion), engine="torch", mixed_precision=entrant.evaluated.precision
        )
    except ModelError as error:
        return Contest("unreadable", len(rows), problem=str(error))
    if classifier.labels != entrant.prepared.labels or classifier.pairs != (rows.pairs is not None):
        return Contest("incomparable", len(rows))
    seen = seen_rows(store, champion)
    fresh = np.ones(len(rows), dtype=bool) if seen is None else ~np.isin(rows.fingerprints, seen)
    known = None if seen is None else int((~fresh).sum())
    if not fresh.any():
        return Contest("no_rows", 0, known_to_champion=known)
    compared = rows.where(fresh)
    logger.info("Register: the champion, version %s, answers the %d test rows.", champion.version, len(compared))
    desc = _("The champion answers")
    with progress_bar(total=len(compared), desc=desc, unit="texts", leave=False) as bar:
        theirs = classifier.predict(compared.texts, compared.pairs, progress=bar)
    found = paired_difference(
        compared.labels,
        entrant.probabilities[fresh],
        theirs,
        entrant.prepared.labels,
        metric=rules.metric,
        confidence=demanded_confidence(rules, look),
    )
    if found is None:
        return Contest("undefined", len(compared), known_to_champion=known)
    outcome, needed = judge(found, rules, len(compared))
    return Contest(outcome, len(compared), found, known, needed)


def judge(comparison: PairedDifference, rules: RegistrationConfig, rows: int) -> tuple[Outcome, int | None]:
    """Applies the rule to a comparison.

    Returns:
        What the rule says; and about how many rows would resolve the margin, if these do not. An interval narrows with
        the square root of the rows.
    """
    margin, gain = rules.champion_margin, advantage(comparison)
    half = (gain.high - gain.low) / 2
    needed = math.ceil(rows * (half / margin) ** 2) if margin and half > margin else None
    if rules.rule == "superior":
        return "superior" if gain.low > 0 else "not_superior", needed
    return "non_inferior" if gain.low >= -margin else "perhaps_worse", needed


def advantage(comparison: PairedDifference) -> Interval:
    """Returns by how much the first of two classifiers is better; where less is better, the sign is turned."""
    interval = comparison.interval
    if comparison.metric not in LOWER_IS_BETTER:
        return interval
    return Interval(low=-interval.high, high=-interval.low, confidence=interval.confidence)


def demanded_confidence(rules: RegistrationConfig, look: int) -> float:
    """Returns the confidence of the comparison that is the `look`-th on the same rows.

    With `repeated_looks: spend`, the k-th look may err with probability 0.05 * 6 / (pi * k)**2: over any number of
    looks, these sum to 0.05 (alpha spending as by Foster and Stine 2008, Journal of the Royal Statistical Society B
    70:429, with the sequence of Javanmard and Montanari 2018, Annals of Statistics 46:526).
    """
    if rules.repeated_looks == "count":
        return CONFIDENCE
    return 1 - (1 - CONFIDENCE) * 6 / (math.pi * look) ** 2


def check_limits(prepared: PreparedData, rules: RegistrationConfig, evaluation: EvaluationConfig) -> None:
    """Makes sure before training that every limited metric will be measured, and every case has a label there is.

    Raises:
        ConfigError: A limit names a label, slice or check that there is not; the message lists all.
        DataError, StorageError: The user's cases cannot be used.
    """
    cases = behaviour_cases(evaluation, prepared.labels)
    check_labels(cases, prepared.labels)
    labels = set(metric_labels(prepared.labels))
    slices = metric_labels(sorted(slice_masks(read_split(prepared, "test"), evaluation.slices)))
    known = {
        "behaviour": {*CHANGES, *(case.check for case in cases)} if evaluation.behaviour else set(),
        "slice": {f"{name}/accuracy" for name in slices},
        "precision": labels,
        "recall": labels,
        "f1": labels,
    }
    problems = []
    for name in {**rules.minimum, **rules.maximum}:
        kind, slash, what = name.partition("/")
        if slash and what not in known[kind]:
            choices = ", ".join(sorted(known[kind])) or "none"
            problems.append(f"{name} will not be measured; after {kind}/ there can be: {choices}")
    if problems:
        raise ConfigError(f"registration.minimum and maximum cannot be checked:\n{first_lines(problems)}")


def checks(entrant: Entrant, rules: RegistrationConfig, *, seed: int = 0) -> tuple[Check, ...]:
    """Checks what a version must fulfil whoever is champion: the configured limits, and the baselines if measured."""
    found: list[Check] = []
    for name, limit in rules.minimum.items():
        value = entrant.metric(name)
        found.append(_check("minimum", name, value, limit, value is not None and value >= limit))
    for name, limit in rules.maximum.items():
        value = entrant.metric(name)
        found.append(_check("maximum", name, value, limit, value is not None and value <= limit))
    baselines, ours = entrant.evaluated.baselines, entrant.metric(rules.metric)
    if not rules.must_beat_baselines or ours is None:
        return tuple(found)
    if MAJORITY in baselines:
        majority = fit(entrant.prepared, seed=seed, names=[MAJORITY])[MAJORITY]
        constant = majority.probabilities(entrant.rows.texts)
        difference = paired_difference(
            entrant.rows.labels, entrant.probabilities, constant, entrant.prepared.labels, metric=rules.metric
        )
        if difference is not None:
            low = advantage(difference).low
            found.append(_check("majority", rules.metric, low, 0.0, low > 0))
    theirs = baselines.get(TFIDF, {}).get(f"{deciding_rows(entrant.candidate.metrics)}/{rules.metric}")
    if theirs is not None:
        gain = theirs - ours if rules.metric in LOWER_IS_BETTER else ours - theirs
        passed = gain >= -rules.champion_margin - _ROUNDING
        found.append(_check("tfidf", rules.metric, gain, -rules.champion_margin, passed))
    return tuple(found)


def _check(
    kind: Literal["minimum", "maximum", "majority", "tfidf"],
    metric: str,
    found: float | None,
    required: float,
    passed: bool,
) -> Check:
    return Check(kind=kind, metric=metric, found=found, required=required, passed=passed)


def keep_seen_rows(store: TrackingStore, run_id: str, prepared: PreparedData) -> None:
    """Stores with a training run which rows its models have seen, so that they are never judged by them.

    Raises:
        TrackingError: The store failed.
    """
    splits: Sequence[Literal["train", "validation"]] = ("train", "validation")
    seen = np.unique(np.concatenate([read_split(prepared, split).fingerprints for split in splits]))
    np.save(content := io.BytesIO(), seen, allow_pickle=False)
    with tempfile.TemporaryDirectory() as folder, store.reporting("storing which rows the models have seen"):
        write_output(Path(folder) / ROWS_FILE, content.getvalue())
        store.client.log_artifact(run_id, str(Path(folder) / ROWS_FILE), "data")


def seen_rows(store: TrackingStore, version: ModelVersion) -> NDArray[np.int64] | None:
    """Reads the fingerprints of the rows that a version was trained or selected on, int64[rows].

    Returns:
        None if nobody knows: another program or textclf 0.4.0 made the version, or its run is gone.

    Raises:
        TrackingError: The store failed.
    """
    run_id = version.tags.get(TRAINING_TAG, version.run_id)
    with tempfile.TemporaryDirectory() as folder, store.reporting("reading which rows the champion has seen"):
        if not run_id or not _has_artifact(store, run_id, f"data/{ROWS_FILE}"):
            return None
        path = store.client.download_artifacts(run_id, f"data/{ROWS_FILE}", folder)
        found: NDArray[np.int64] = np.load(path, allow_pickle=False)
        return found


def _has_artifact(store: TrackingStore, run_id: str, path: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return any(found.path == path for found in store.client.list_artifacts(run_id, path.rpartition("/")[0]))
    except MlflowException as error:
        # The run was deleted for good.
        if error.error_code != MISSING:
            raise
        return False
