"""Lists the champions: what predicts now, since when, how well, and trained on which data."""

from __future__ import annotations

from datetime import UTC, datetime

from textclf.errors import ModelNotFoundError
from textclf.records import Record
from textclf.registry.aliases import CHALLENGER, CHAMPION, read_history
from textclf.registry.reference import named_version
from textclf.registry.versions import recorded_decision
from textclf.tracking.runs import VERSION_TAG
from textclf.tracking.store import TrackingStore


class Champion(Record):
    """A registered model and the version that predictions use."""

    name: str
    version: int | None
    """None if the model has no champion."""
    since: datetime | None
    """When it became champion; if there is no record of that, when it was registered."""
    metric: str | None
    """What was compared, for example `test_leakfree/f1_macro`."""
    score: float | None
    data_version: str | None
    challenger: int | None
    """The version that is not champion but was registered last, if there is one."""


def champions(store: TrackingStore) -> tuple[Champion, ...]:
    """Lists all registered models by name, with their champions.

    Raises:
        TrackingError: The store failed.
    """
    with store.reporting("listing the champions"):
        return tuple(
            _champion(store, model.name, model.aliases)
            for model in sorted(store.client.search_registered_models(), key=lambda model: str(model.name))
        )


def _champion(store: TrackingStore, name: str, aliases: dict[str, str]) -> Champion:
    challenger = int(aliases[CHALLENGER]) if CHALLENGER in aliases else None
    if CHAMPION not in aliases:
        return Champion(
            name=name, version=None, since=None, metric=None, score=None, data_version=None, challenger=challenger
        )
    try:
        version = named_version(store, f"{name}/{aliases[CHAMPION]}")
    except ModelNotFoundError:
        # The version was deleted under its alias.
        number = int(aliases[CHAMPION])
        return Champion(
            name=name, version=number, since=None, metric=None, score=None, data_version=None, challenger=challenger
        )
    since = datetime.fromtimestamp((version.creation_timestamp or 0) / 1000, tz=UTC)
    metric = score = None
    if decision := recorded_decision(version):
        metric, score = f"{decision.rows}/{decision.metric}", decision.ours
        if decision.decided == "champion":
            since = decision.decided_at
    for change in read_history(store, name):
        if change.after.get(CHAMPION) == int(version.version) != change.before.get(CHAMPION):
            since = change.when
    tags = store.client.get_run(version.run_id).data.tags if version.run_id else {}
    return Champion(
        name=name,
        version=int(version.version),
        since=since,
        metric=metric,
        score=score,
        data_version=tags.get(VERSION_TAG),
        challenger=challenger,
    )
