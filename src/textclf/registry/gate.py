"""Decides whether a new version becomes champion: compares both over the same rows, encoders with the same engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from textclf.config.registration import RegistrationConfig
from textclf.data.prepared import read_split
from textclf.evaluation.metric_intervals import interval_of
from textclf.evaluation.scores import comparison_tags, deciding_rows
from textclf.records import (
    CandidateKind,
    Candidates,
    CandidateScore,
    Decision,
    EvaluatedModel,
    PreparedData,
    RegisteredModel,
)
from textclf.registry.aliases import CHALLENGER, CHAMPION, change_aliases, deciding_alone, reconcile, with_champion
from textclf.registry.contest import Contest, Entrant, checks, contest, keep_seen_rows
from textclf.registry.decision_page import decision_page
from textclf.registry.descriptions import describe
from textclf.registry.history import describe_history
from textclf.registry.page.html import MODEL_PAGE, model_page
from textclf.registry.shadow import shadow_rows
from textclf.registry.versions import RECORD_TAG, add_version, find_version
from textclf.registry.wording import decision_sentence, short_comparison, short_decision
from textclf.tracking.pages import DECISION_TAG
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

LOOK_TAG = "textclf.look"
"""The start of the tags of a registered model that say which runs were decided about on which rows."""
RECORD_FILE, PAGE_FILE = "decision.json", "decision.md"
NEEDS_TWO_CLASSES = frozenset({"roc_auc_macro", "average_precision_macro"})


def register(
    candidates: Candidates,
    evaluated: EvaluatedModel,
    prepared: PreparedData,
    *,
    name: str,
    rules: RegistrationConfig,
    store: TrackingStore,
) -> RegisteredModel:
    """Registers the candidates, each as a version; the chosen one becomes challenger or champion.

    It becomes champion if it passes all checks and there is no champion, or if the champion answers the same rows and
    the rule holds: see `textclf.registry.contest`. Staying challenger is a normal end.

    Called again for the same run, it resumes where it stopped. Runs of one home decide one after the other. If several
    homes share a tracking server, the champion is read again just before the aliases are set, and compared again if it
    has changed; MLflow offers no lock for the rest.

    Returns:
        The version and the decision with its reason.

    Raises:
        TrackingError: MLflow's store failed.
    """
    keep_seen_rows(store, evaluated.run_id, prepared)
    # The chosen one last, so that it has the highest number, unless an earlier run has registered it (a linear model).
    order = sorted(candidates.found, key=lambda candidate: candidate.kind == candidates.chosen)
    versions = {each.kind: add_version(store, each, prepared, name, evaluated.run_id) for each in order}
    version, chosen = versions[candidates.chosen], candidates.of(candidates.chosen)
    entrant = Entrant.of(chosen, evaluated, prepared)
    with deciding_alone(store.home):
        reconcile(store, name)
        look = _look(store, name, evaluated.run_id, _rows_digest(entrant))
        champion = find_version(store, name, CHAMPION)
        while True:
            decision = _decide(store, version, champion, entrant, rules, look)
            decision = decision.model_copy(update=_alternatives(candidates, versions, decision))
            compared, champion = champion, find_version(store, name, CHAMPION)
            if _same(compared, champion):
                break
            logger.info("Register: the champion has changed in the meantime; comparing with the new one.")
        _record(store, decision, passed_over=[found for found in versions.values() if not _same(found, champion)])
        new = int(version.version)
        change_aliases(
            store,
            name,
            lambda aliases: (
                with_champion(aliases, new) if decision.decided == "champion" else {**aliases, CHALLENGER: new}
            ),
            action="training",
            why=short_decision(decision),
            evidence=evaluated.run_id,
        )
        experiment = describe(store, decision, chosen, evaluated, prepared)
        describe_history(store, name)
    # Drawing takes seconds, in which nobody who rolls back should have to wait.
    page = model_page(decision, entrant, candidates)
    with store.reporting("logging the page of the model"):
        store.client.log_text(evaluated.run_id, page, MODEL_PAGE)
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


def _same(one: ModelVersion | None, other: ModelVersion | None) -> bool:
    return (one and int(one.version)) == (other and int(other.version))


def _rows_digest(entrant: Entrant) -> str:
    return comparison_tags(entrant.prepared)[f"textclf.{deciding_rows(entrant.candidate.metrics)}_digest"]


def _look(store: TrackingStore, name: str, run_id: str, digest: str) -> int:
    """Counts the trainings that were decided about on these rows, this one included, and notes it.

    Each training has a tag of its own, so that none is lost when two note theirs at once or a version is deleted.
    """
    start = f"{LOOK_TAG}.{digest[:16]}."
    with store.reporting("counting the decisions on these rows"):
        earlier = [tag for tag in store.client.get_registered_model(name).tags if tag.startswith(start)]
        if start + run_id in earlier:
            return len(earlier)
        store.client.set_registered_model_tag(name, start + run_id, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    return len(earlier) + 1


def _decide(
    store: TrackingStore,
    version: ModelVersion,
    champion: ModelVersion | None,
    entrant: Entrant,
    rules: RegistrationConfig,
    look: int,
) -> Decision:
    chosen, evaluated = entrant.candidate, entrant.evaluated
    rows = deciding_rows(chosen.metrics)
    already = champion is not None and _same(champion, version)
    if already and RECORD_TAG in version.tags:
        recorded = Decision.model_validate_json(version.tags[RECORD_TAG])
        # A linear model may have been chosen by an earlier training on the same data.
        if recorded.decided == "champion" and recorded.run_id == evaluated.run_id:
            return recorded
    checked = checks(entrant, rules)
    met = all(check.passed for check in checked)
    compared: Contest | None = None
    if already:
        rule = "already"
    elif champion is None:
        rule = "first" if met else "unmet"
    else:
        compared = contest(store, champion, entrant, rules=rules, look=look)
        rule = compared.outcome if met else "unmet"
        if rule in ("non_inferior", "superior") and not _shadowed_enough(version, rules):
            rule = "awaiting_shadow"
    comparison, known = compared and compared.comparison, compared and compared.known_to_champion
    return Decision.model_validate(
        {
            "run_id": evaluated.run_id,
            "name": version.name,
            "version": version.version,
            "decided": "champion" if rule in ("first", "already", "non_inferior", "superior") else "challenger",
            "rule": rule,
            "metric": rules.metric,
            "rows": rows,
            "row_count": compared.rows if compared else len(entrant.rows),
            "rows_digest": _rows_digest(entrant),
            "kind": chosen.kind,
            "engine": chosen.engine,
            "interval": None if known else interval_of(chosen.metrics, f"{rows}/{rules.metric}"),
            "ours": comparison.first if comparison else entrant.metric(rules.metric),
            "champion_version": champion and champion.version,
            "theirs": comparison and comparison.second,
            "baselines": {
                baseline: found[f"{rows}/{rules.metric}"]
                for baseline, found in evaluated.baselines.items()
                if f"{rows}/{rules.metric}" in found
            },
            "decided_at": datetime.now(UTC),
            "comparison": comparison,
            "champion_margin": rules.champion_margin,
            "rows_known_to_champion": known,
            "look": look,
            "rows_needed": compared and compared.rows_needed,
            "checks": checked,
            "problem": compared and compared.problem,
            "minimum_shadow_rows": rules.minimum_shadow_rows,
        }
    )


def _shadowed_enough(version: ModelVersion, rules: RegistrationConfig) -> bool:
    found = shadow_rows(version)
    return (found.rows if found else 0) >= rules.minimum_shadow_rows


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
            interval=interval_of(each.metrics, f"{decision.rows}/{decision.metric}"),
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
