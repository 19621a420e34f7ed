"""What a training has to offer besides the encoder, how good and how fast each model is, and which one goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from textclf.config.evaluation import EvaluationConfig
from textclf.config.registration import RegistrationConfig
from textclf.config.schema import LadderConfig
from textclf.evaluation.candidate_models import CandidateModels
from textclf.evaluation.drawing import png
from textclf.evaluation.intervals import decision_metric, paired_interval
from textclf.evaluation.plots import Point, cost_quality
from textclf.evaluation.scores import LOWER_IS_BETTER, deciding_rows
from textclf.language import _
from textclf.records import (
    Candidate,
    CandidateKind,
    Candidates,
    DistilledModel,
    EvaluatedModel,
    PreparedData,
    TrainedModel,
)
from textclf.store import write_output
from textclf.tracking.runs import run_folder
from textclf.tracking.store import TrackingStore

logger = logging.getLogger(__name__)

RECORD_FILE, PICTURE_FILE = "candidates.json", "cost_quality.png"


def compare(
    trained: TrainedModel,
    student: DistilledModel | None,
    evaluated: EvaluatedModel,
    prepared: PreparedData,
    *,
    registration: RegistrationConfig,
    ladder: LadderConfig,
    evaluation: EvaluationConfig,
    seed: int,
    name: str,
    store: TrackingStore,
) -> Candidates:
    """Collects the candidates of a training, measures each, and chooses one.

    The linear model has its metrics in the run of the baseline, the student and the ladder in runs of their own below
    the training run; all are in the experiment `name`. Called again after a kill, it returns what was measured.

    Raises:
        TrackingError: MLflow's store failed.
        ModelError: A model cannot be loaded.
        StorageError: The disk is full or not writable.
    """
    folder = run_folder(store.home, trained.run_id)
    record = folder / RECORD_FILE
    if record.is_file():
        logger.info("Candidates: they were measured before this run was interrupted.")
        return Candidates.model_validate_json(record.read_text(encoding="utf-8"))
    models = CandidateModels(
        folder, trained, student, evaluated, prepared, ladder, evaluation.precisions, seed, name, store
    )
    found = sorted(models.candidates(registration.candidates), key=lambda each: -each.texts_per_second)
    rows, test = deciding_rows(evaluated.metrics), models.rows["test"]
    chosen_rows = test.leakfree if rows == "test_leakfree" and test.leakfree is not None else np.full(len(test), True)
    labels = test.labels[chosen_rows]
    decided = {each.kind: models.probabilities[each.kind]["test"][chosen_rows].argmax(axis=1) for each in found}
    metric = decision_metric(registration.metric)
    differences: dict[str, Any] = {"num_labels": len(prepared.labels), "metric": metric}
    best = _best(found, registration.metric, rows)
    if best is not None:
        found = [
            each
            if each.kind == best.kind
            else each.model_copy(
                update={"behind_best": paired_interval(labels, decided[each.kind], decided[best.kind], **differences)}
            )
            for each in found
        ]
    chosen = choose(found, registration.metric, rows, registration.margin)
    if chosen != "encoder":
        found = [models.looked_closer_at(each, evaluation) if each.kind == chosen else each for each in found]
    picture = None
    if len(found) > 1:
        # Against a classifier that is always right, the difference is the score minus one.
        perfect = {each.kind: paired_interval(labels, decided[each.kind], labels, **differences) for each in found}
        points = [
            Point(
                candidate_name(each.kind),
                each.texts_per_second,
                perfect[each.kind].first,
                (1 + perfect[each.kind].interval.low, 1 + perfect[each.kind].interval.high),
                chosen=each.kind == chosen,
            )
            for each in found
        ]
        picture = folder / PICTURE_FILE
        figure = cost_quality(points, metric=metric, subject=rows, rows=len(labels))
        write_output(picture, png(figure))
        with store.reporting("logging the picture of cost and quality"):
            store.client.log_artifact(trained.run_id, str(picture), "evaluation")
    candidates = Candidates(
        found=tuple(found),
        left_out=models.left_out,
        chosen=chosen,
        metric=registration.metric,
        rows=rows,
        margin=registration.margin,
        calibration=models.calibration,
        ladder=models.ladder,
        verification=models.verification,
        picture=picture,
    )
    write_output(record, candidates.model_dump_json(indent=1).encode())
    _log(candidates)
    return candidates


def candidate_name(kind: CandidateKind) -> str:
    """Names a kind of candidate in the current language."""
    names = {
        "encoder": _("encoder"),
        "student": _("student"),
        "linear": _("linear model"),
        "ladder": _("ladder"),
    }
    return names[kind]


def marked_name(kind: CandidateKind, chosen: CandidateKind) -> str:
    """Names a kind of candidate in a table in which the chosen one is marked."""
    name = candidate_name(kind)
    return _("{kind} (chosen)").format(kind=name) if kind == chosen else name


def choose(found: Sequence[Candidate], metric: str, rows: str, margin: float | None) -> CandidateKind:
    """Chooses the best candidate by a metric, or with a margin the fastest that is at most so much worse.

    Of equally good ones, the fastest is best. A candidate is at most so much worse if the lower end of the interval of
    the difference is. Where the metric has no value for any, the encoder is chosen, else the first.
    """
    best = _best(found, metric, rows)
    if best is None:
        kinds = [each.kind for each in found]
        return "encoder" if "encoder" in kinds else kinds[0]
    if margin is None:
        return best.kind
    near = [each for each in found if each.behind_best is None or each.behind_best.interval.low >= -margin]
    return max(near, key=lambda each: each.texts_per_second).kind


def _best(found: Sequence[Candidate], metric: str, rows: str) -> Candidate | None:
    key, sign = f"{rows}/{metric}", -1 if metric in LOWER_IS_BETTER else 1
    scored = [each for each in found if key in each.metrics]
    return max(scored, key=lambda each: (sign * each.metrics[key], each.texts_per_second), default=None)


def _log(candidates: Candidates) -> None:
    key = f"{candidates.rows}/{candidates.metric}"
    for each in candidates.found:
        logger.info(
            "Candidates: %s, %s %.4f, %.1f texts/s with %s.",
            each.kind,
            key,
            each.metrics.get(key, np.nan),
            each.texts_per_second,
            each.fastest_engine,
        )
    for kind, reason in candidates.left_out.items():
        logger.info("Candidates: no %s. %s", kind, reason)
    logger.info("Candidates: %s is chosen.", candidates.chosen)
