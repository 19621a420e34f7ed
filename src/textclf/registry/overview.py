"""Lists the versions of a registered model, and shows all that is known about one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from textclf.evaluation.candidates import candidate_name
from textclf.evaluation.metric_intervals import interval_of, score_text
from textclf.evaluation.scores import deciding_rows
from textclf.language import _
from textclf.records import Decision, Interval, Record
from textclf.registry.champions import Champion
from textclf.registry.decision_page import decision_text
from textclf.registry.promotion import ARCHIVED_TAG
from textclf.registry.reference import named_model, named_version
from textclf.registry.shadow import ShadowRows, shadow_rows
from textclf.registry.versions import KIND_TAG, SPEED_TAG, TRAINING_TAG, recorded_decision
from textclf.tables import align, display_width, pad
from textclf.tracking.pages import DECISION_TAG, full_address, version_page
from textclf.tracking.runs import VERSION_TAG
from textclf.tracking.store import MISSING, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


_COVERAGE = "test/coverage_at/"


class Version(Record):
    """What is known about a version; the keys of `textclf models show --json`."""

    name: str
    version: int
    aliases: tuple[str, ...]
    kind: str | None
    """`encoder`, `student`, `linear` or `ladder`; None if another program registered it."""
    registered: datetime
    metric: str
    """What is compared, e.g. `test_leakfree/f1_macro`."""
    score: float | None
    interval: Interval | None
    """Of the score, 95 %."""
    decision: str | None
    """In short."""
    data_version: str | None
    texts_per_second: str | None
    run_id: str | None
    training_run_id: str | None
    """The run of the training that registered it; that of a linear model may be another one than its own."""
    coverage: dict[str, float]
    """Share of the test rows that get a label, by the `min_precision` that predictions may ask for."""
    archived: str | None
    """Since when it is no longer offered."""
    shadow: ShadowRows | None
    """The rows that it has answered beside the champion."""


def list_versions(store: TrackingStore, name: str) -> tuple[Version, ...]:
    """Lists the versions of a model, newest first.

    Raises:
        ModelNotFoundError: There is no such model.
        TrackingError: The store failed.
    """
    model = named_model(store, name)
    aliases: dict[str, list[str]] = {}
    for alias, number in model.aliases.items():
        aliases.setdefault(str(number), []).append(alias)
    with store.reporting(f"listing the versions of {name}"):
        found = list(store.client.search_model_versions(f"name='{name}'"))
    # The search omits the aliases.
    versions = [_version(store, each, aliases.get(str(each.version), [])) for each in found]
    return tuple(sorted(versions, key=lambda each: -each.version))


def show_version(store: TrackingStore, reference: str) -> tuple[Version, Decision | None]:
    """Collects what is known about a version, and the record of the decision about it.

    Raises:
        ConfigError: The reference names no version.
        ModelNotFoundError: There is no such version.
        TrackingError: The store failed.
    """
    found = named_version(store, reference)
    return _version(store, found, list(found.aliases)), recorded_decision(found)


def _version(store: TrackingStore, found: ModelVersion, aliases: list[str]) -> Version:
    decision = recorded_decision(found)
    metrics, tags = _run_of(store, found)
    # Of what another candidate was chosen over, only the short form of the decision is kept.
    metric = f"{decision.rows}/{decision.metric}" if decision else f"{deciding_rows(metrics)}/f1_macro"
    return Version(
        name=found.name,
        version=int(found.version),
        aliases=tuple(sorted(aliases)),
        kind=found.tags.get(KIND_TAG),
        registered=datetime.fromtimestamp((found.creation_timestamp or 0) / 1000, tz=UTC),
        metric=metric,
        score=metrics.get(metric, decision and decision.ours),
        interval=interval_of(metrics, metric),
        decision=found.tags.get(DECISION_TAG),
        data_version=tags.get(VERSION_TAG),
        texts_per_second=found.tags.get(SPEED_TAG),
        run_id=found.run_id or None,
        training_run_id=found.tags.get(TRAINING_TAG),
        coverage={name.removeprefix(_COVERAGE): value for name, value in metrics.items() if name.startswith(_COVERAGE)},
        archived=found.tags.get(ARCHIVED_TAG),
        shadow=shadow_rows(found),
    )


def _run_of(store: TrackingStore, found: ModelVersion) -> tuple[dict[str, float], dict[str, str]]:
    from mlflow.exceptions import MlflowException

    if not found.run_id:
        return {}, {}
    with store.reporting(f"reading the run {found.run_id}"):
        try:
            data = store.client.get_run(found.run_id).data
        except MlflowException as error:
            if error.error_code != MISSING:
                raise
            return {}, {}
    return data.metrics, data.tags


def models_table(found: tuple[Champion, ...]) -> str:
    """Formats registered models with their champions for a terminal."""
    rows = [[_("model"), _("champion"), _("since (UTC)"), _("score"), _("challenger"), _("data version")]]
    for each in found:
        score = "–" if each.score is None else f"{each.metric} {each.score:.4f}"
        rows.append(
            [
                each.name,
                str(each.version or "–"),
                f"{each.since:%Y-%m-%d %H:%M}" if each.since else "–",
                score,
                str(each.challenger or "–"),
                each.data_version or "–",
            ]
        )
    return align(rows, text_columns=6)


def versions_table(found: tuple[Version, ...]) -> str:
    """Formats versions for a terminal."""
    rows = [[_("version"), _("aliases"), _("kind"), _("score"), _("registered (UTC)"), _("decision")]]
    for each in found:
        aliases = _("archived") if each.archived else ", ".join(each.aliases)
        rows.append(
            [
                str(each.version),
                aliases or "–",
                _kind(each),
                score_text(each.score, each.interval),
                f"{each.registered:%Y-%m-%d %H:%M}",
                each.decision or "–",
            ]
        )
    return align(rows, text_columns=6)


def version_page_text(store: TrackingStore, version: Version, decision: Decision | None) -> str:
    """Formats a version and the decision about it for a terminal."""
    facts = {
        _("Version:"): f"{version.name}/{version.version}",
        _("Aliases:"): ", ".join(version.aliases) or "–",
        _("Kind:"): _kind(version),
        _("Registered:"): f"{version.registered:%Y-%m-%d %H:%M} UTC",
        _("Score:"): f"{version.metric} {score_text(version.score, version.interval)}",
        _("Speed:"): version.texts_per_second or "–",
        _("Abstaining:"): "; ".join(
            _("precision {precision}: {share:.1%} get a label").format(precision=precision, share=share)
            for precision, share in sorted(version.coverage.items())
        )
        or "–",
        _("Beside the champion:"): _("{rows:,} rows, {share:.1%} with the same label").format(
            rows=version.shadow.rows, share=version.shadow.agreed / version.shadow.rows
        )
        if version.shadow and version.shadow.rows
        else "–",
        _("Data version:"): version.data_version or "–",
        _("MLflow run:"): version.run_id or "–",
        _("Archived:"): version.archived or _("no"),
    }
    if page := full_address(store.home, version_page(version.name, version.version)):
        facts[_("Page:")] = page
    width = max(display_width(name) for name in facts)
    lines = "\n".join(pad([name, value], [width, 0], text_columns=2) for name, value in facts.items())
    if decision is None:
        return f"{lines}\n\n{_('There is no record of a decision about it.')}"
    return f"{lines}\n\n{decision_text(decision)}"


def _kind(version: Version) -> str:
    for kind in ("encoder", "student", "linear", "ladder"):
        if version.kind == kind:
            return candidate_name(kind)
    return version.kind or "–"
