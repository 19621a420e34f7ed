"""The story of a registered model: every version and every change of its aliases, as a table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from textclf.language import _
from textclf.records import AliasChange, Record
from textclf.registry.aliases import Aliases, read_history
from textclf.registry.reference import named_model
from textclf.tables import align, markdown_table
from textclf.tracking.descriptions import is_ours, sealed, unsealed
from textclf.tracking.pages import DECISION_TAG
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

# In a description, what follows is replaced at every change. It does not show.
_MARK = "[//]: # (history)"
_SHOWN = 20


class Event(Record):
    """Something that happened to a model: a version was registered, or aliases were changed."""

    when: datetime
    change: AliasChange | None
    """None for a version that was registered and got no alias."""
    version: int | None
    """The version that was registered; None for a change of aliases."""
    why: str


def history(store: TrackingStore, name: str) -> tuple[Event, ...]:
    """Tells what happened to a model, oldest first: the changes in their order, whatever the clock said.

    Versions that never had an alias come before the first change that was recorded after them.

    Raises:
        ModelNotFoundError: There is no such model.
        TrackingError: The store failed.
    """
    named_model(store, name)
    changes = read_history(store, name)
    told = {version for change in changes for version in change.after.values()}
    with store.reporting(f"listing the versions of {name}"):
        versions = list(store.client.search_model_versions(f"name='{name}'"))
    silent = sorted((found for found in versions if int(found.version) not in told), key=lambda one: int(one.version))
    events = [_registered(version) for version in silent]
    place = 0
    for change in changes:
        while place < len(events) and events[place].change is None and events[place].when < change.when:
            place += 1
        events.insert(place, Event(when=change.when, change=change, version=None, why=change.why))
        place += 1
    return tuple(events)


def _registered(version: ModelVersion) -> Event:
    when = datetime.fromtimestamp((version.creation_timestamp or 0) / 1000, tz=UTC)
    why = version.tags.get(DECISION_TAG, "")
    return Event(when=when, change=None, version=int(version.version), why=why)


def history_rows(events: tuple[Event, ...]) -> list[list[str]]:
    """Returns the lines of a table of events, with its heading."""
    rows = [[_("when (UTC)"), _("what"), _("who"), _("why")]]
    for event in events:
        what, who = _("version {version} registered").format(version=event.version), ""
        if event.change:
            what = f"{action_name(event.change)}: {moves(event.change.before, event.change.after)}"
            who = event.change.who
        rows.append([f"{event.when:%Y-%m-%d %H:%M}", what, who or "–", event.why or "–"])
    return rows


def history_table(events: tuple[Event, ...]) -> str:
    """Formats events for a terminal."""
    return align(history_rows(events), text_columns=4)


def action_name(change: AliasChange) -> str:
    """Names what changed aliases, in the current language."""
    names = {
        "training": _("training"),
        "promote": _("promoted"),
        "rollback": _("rolled back"),
        "archive": _("archived"),
        "prune": _("pruned"),
        "by_hand": _("changed in MLflow"),
        "undone": _("undone"),
    }
    return names[change.action]


def moves(before: Aliases, after: Aliases) -> str:
    """Says which aliases moved, such as `champion 1 → 2, previous – → 1`."""
    return ", ".join(
        f"{alias} {before.get(alias, '–')} → {after.get(alias, '–')}"
        for alias in sorted({*before, *after})
        if before.get(alias) != after.get(alias)
    )


def describe_history(store: TrackingStore, name: str) -> None:
    """Writes the last events into the description of the registered model, unless a person has written that.

    Raises:
        TrackingError: The store failed.
    """
    model = named_model(store, name)
    if not is_ours(model.description):
        return
    rows = history_rows(history(store, name))
    table = markdown_table([rows[0], *reversed(rows[1:][-_SHOWN:])], text_columns=4)
    text = unsealed(model.description or "").partition(f"\n\n{_MARK}")[0]
    with store.reporting(f"describing {name}"):
        page = f"{text}\n\n{_MARK}\n\n## {_('History')}\n\n{table}"
        store.client.update_registered_model(name, sealed(page))
