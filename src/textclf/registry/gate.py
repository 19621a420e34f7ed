"""Decides whether a new version becomes champion: compares both over the same rows, encoders with the same engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from textclf.config.home import Home
from textclf.data.prepared import read_split
from textclf.evaluation.scores import ENGINE_TAG, LOWER_IS_BETTER, comparison_tags, deciding_rows
from textclf.model.linear_classifier import LinearClassifier
from textclf.records import (
    Candidate,
    CandidateKind,
    Candidates,
    CandidateScore,
    Decision,
    EvaluatedModel,
    PreparedData,
    RegisteredModel,
)
from textclf.registry.descriptions import describe
from textclf.registry.versions import ChosenModel, add_version, find_version, load_classifier
from textclf.registry.wording import decision_page, decision_sentence, short_comparison, short_decision
from textclf.tracking.pages import DECISION_TAG
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
RECORD_TAG = "textclf.decision_record"
RECORD_FILE, PAGE_FILE = "decision.json", "decision.md"
NEEDS_TWO_CLASSES = frozenset({"roc_auc_macro", "average_precision_macro"})


def register(
    candidates: Candidates,
    evaluated: EvaluatedModel,
    prepared: PreparedData,
    *,
    name: str,
    metric: str,
    store: TrackingStore,
) -> RegisteredModel:
    """Registers the candidates, each as a version; the chosen one becomes challenger or champion.

    It becomes champion if its `metric` is at least as good as the champion's.

    The champion is compared on the same test rows: by its recorded metric if it was measured on them with the same
    engine, else by predicting them now. Called again for the same run, it resumes where it stopped.

    Runs of one home decide one after the other. If several homes share a tracking server, the champion is read again
    just before the aliases are set, and compared again if it has changed; MLflow offers no lock for the rest.

    Returns:
        The version and the decision with its reason.

    Raises:
        TrackingError: MLflow's store failed.
        ModelError: The champion cannot be loaded.
    """
    # The chosen one last, so that it has the highest number, unless an earlier run has registered it (a linear model).
    order = sorted(candidates.found, key=lambda candidate: candidate.kind == candidates.chosen)
    versions = {each.kind: add_version(store, each, prepared, name, evaluated.run_id) for each in order}
    version, chosen = versions[candidates.chosen], candidates.of(candidates.chosen)
    with _deciding_alone(store.home):
        champion = find_version(store, name, CHAMPION)
        while True:
            if not _same(champion, version):
                with store.reporting("setting the alias challenger"):
                    store.client.set_registered_model_alias(name, CHALLENGER, version.version)
            decision = _decide(store, version, champion, chosen, evaluated, prepared, metric)
            decision = decision.model_copy(update=_alternatives(candidates, versions, decision))
            compared, champion = champion, find_version(store, name, CHAMPION)
            if _same(compared, champion):
                break
            logger.info("Register: the champion has changed in the meantime; comparing with the new one.")
        _record(store, decision, passed_over=[found for found in versions.values() if not _same(found, champion)])
        if decision.decided == "champion":
            _make_champion(store, version, champion)
        experiment = describe(store, decision, chosen, evaluated, prepared)
    logger.info("Register: %s version %s is %s.", name, version.version, short_decision(decision))
    return RegisteredModel(decision=decision, reason=decision_sentence(decision), experiment_id=experiment)


def warn_of_undefined_metric(prepared: PreparedData, metric: str) -> None:
    """Warns before training if the deciding metric will be undefined over the test rows."""
    if metric not in NEEDS_TWO_CLASSES:
        return
    test = read_split(prepared, "test")
    if test.leakfree is not None and test.leakfree.any():
        test = test.where(test.leakfree)
    labels = set(test.labels.tolist())
    if len(labels) == 1:
        logger.warning(
            "registration.metric %s needs test rows of two labels, but all %d rows that count are %s: the new model "
            "will not replace a champion. Add test rows, or choose f1_macro or accuracy.",
            metric,
            len(test),
            prepared.labels[labels.pop()],
        )


@contextmanager
def _deciding_alone(home: Home) -> Iterator[None]:
    """Lets one run at a time decide: of two challengers that beat the champion, only one can replace it."""
    from filelock import FileLock, Timeout

    lock = FileLock(home.root / ".register.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Register: waiting for another run to be registered.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _same(one: ModelVersion | None, other: ModelVersion | None) -> bool:
    return (one and int(one.version)) == (other and int(other.version))


def _decide(
    store: TrackingStore,
    version: ModelVersion,
    champion: ModelVersion | None,
    chosen: Candidate,
    evaluated: EvaluatedModel,
    prepared: PreparedData,
    metric: str,
) -> Decision:
    rows = deciding_rows(chosen.metrics)
    ours = chosen.metrics.get(f"{rows}/{metric}")
    theirs = None
    if champion is None:
        rule = "first"
    elif _same(champion, version):
        if RECORD_TAG in version.tags:
            recorded = Decision.model_validate_json(version.tags[RECORD_TAG])
            # A linear model may have been chosen by an earlier training on the same data.
            if recorded.decided == "champion" and recorded.run_id == evaluated.run_id:
                return recorded
        rule = "already"
    elif ours is None:
        rule = "undefined"
    else:
        theirs = _champion_score(store, champion, evaluated, prepared, rows, metric)
        if theirs is None:
            rule = "incomparable"
        else:
            rule = "as_good" if (ours <= theirs if metric in LOWER_IS_BETTER else ours >= theirs) else "worse"
    return Decision.model_validate(
        {
            "run_id": evaluated.run_id,
            "name": version.name,
            "version": version.version,
            "decided": "champion" if rule in ("first", "already", "as_good") else "challenger",
            "rule": rule,
            "metric": metric,
            "rows": rows,
            "row_count": prepared.rows["test"] - (prepared.leaked["test"] if rows == "test_leakfree" else 0),
            "rows_digest": comparison_tags(prepared)[f"textclf.{rows}_digest"],
            "kind": chosen.kind,
            "engine": chosen.engine,
            "ours": ours,
            "champion_version": champion and champion.version,
            "theirs": theirs,
            "baselines": {
                baseline: found[f"{rows}/{metric}"]
                for baseline, found in evaluated.baselines.items()
                if f"{rows}/{metric}" in found
            },
            "decided_at": datetime.now(UTC),
        }
    )


def _champion_score(
    store: TrackingStore,
    champion: ModelVersion,
    evaluated: EvaluatedModel,
    prepared: PreparedData,
    rows: str,
    metric: str,
) -> float | None:
    with store.reporting("reading the champion's metrics"):
        run = store.client.get_run(champion.run_id) if champion.run_id else None
    tag, digest = f"textclf.{rows}_digest", comparison_tags(prepared)[f"textclf.{rows}_digest"]
    if (
        run
        and digest
        and run.data.tags.get(tag) == digest
        and _same_precision(run.data.tags.get(ENGINE_TAG, ""), evaluated.engine)
    ):
        recorded = run.data.metrics.get(f"{rows}/{metric}")
        if recorded is not None:
            return float(recorded)
    classifier = load_classifier(store, ChosenModel.of(champion), engine="torch", mixed_precision=evaluated.precision)
    test = read_split(prepared, "test")
    if classifier.labels != prepared.labels or classifier.pairs != (test.pairs is not None):
        return None
    logger.info("Register: measuring the champion, version %s, on the new test rows.", champion.version)
    if rows == "test_leakfree" and test.leakfree is not None:
        test = test.where(test.leakfree)
    return classifier.head.metrics(test.labels, classifier.predict(test.texts, test.pairs))[metric]


def _same_precision(engine: str, ours: str) -> bool:
    """Other precisions of an encoder give other figures; a linear model has no precision, a ladder its encoder's."""
    return engine in (ours, LinearClassifier.engine_name) or (engine.startswith("ladder") and ours in engine)


def _alternatives(
    candidates: Candidates, versions: Mapping[CandidateKind, ModelVersion], decision: Decision
) -> dict[str, object]:
    scores = tuple(
        CandidateScore(
            kind=each.kind,
            version=int(versions[each.kind].version),
            score=each.metrics.get(f"{decision.rows}/{decision.metric}"),
            behind_best=each.behind_best,
            texts_per_second=each.texts_per_second,
            fastest_engine=each.fastest_engine,
        )
        for each in candidates.found
    )
    return {"margin": candidates.margin, "candidates": scores, "left_out": candidates.left_out}


def _record(store: TrackingStore, decision: Decision, *, passed_over: Sequence[ModelVersion]) -> None:
    name, version, record = decision.name, str(decision.version), decision.model_dump_json()
    short = short_decision(decision)
    with store.reporting("recording the decision"):
        store.client.log_text(decision.run_id, record, RECORD_FILE)
        store.client.log_text(decision.run_id, decision_page(decision), PAGE_FILE)
        store.client.set_tag(decision.run_id, DECISION_TAG, short)
        store.client.set_model_version_tag(name, version, DECISION_TAG, short)
        store.client.set_model_version_tag(name, version, RECORD_TAG, record)
        for other in passed_over:
            if int(other.version) != decision.version:
                store.client.set_model_version_tag(
                    name, other.version, DECISION_TAG, short_comparison(decision, int(other.version))
                )


def _make_champion(store: TrackingStore, version: ModelVersion, champion: ModelVersion | None) -> None:
    name, client = version.name, store.client
    with store.reporting("setting aliases"):
        if champion is not None and not _same(champion, version):
            client.set_registered_model_alias(name, PREVIOUS, champion.version)
        client.set_registered_model_alias(name, CHAMPION, version.version)
    if _same(find_version(store, name, CHALLENGER), version):
        with store.reporting("removing the alias challenger"):
            client.delete_registered_model_alias(name, CHALLENGER)
