"""Changes the aliases of a registered model, one process at a time, and keeps a record of every change in MLflow.

A change is three steps: its record is stored, the aliases are set (the champion's is one write of MLflow's), and a tag
says that it is done. After a kill or an outage between them, the next change first completes or takes back this one, so
that the champion is either the old or the new version, and the history says which. Aliases that somebody has changed in
MLflow meanwhile are recorded, too.

MLflow has no lock: processes of one home wait for each other; of several homes, the last one wins.
"""

from __future__ import annotations

import getpass
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pydantic import Field

from textclf.config.home import Home
from textclf.records import AliasChange, Record
from textclf.records.registration import AliasAction
from textclf.tracking.store import TrackingStore

logger = logging.getLogger(__name__)

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
CHANGE_TAG = "textclf.alias_change"
"""The start of the tags of a registered model that hold its history: number and a random part follow, so that no record
replaces another."""
KNOWN_TAG = "textclf.aliases"
"""The tag that says what the aliases were after the last change."""

Aliases = Mapping[str, int]
"""Versions by alias."""


class _Known(Record):
    """The aliases after the last complete change, and the number of that change (0: none yet)."""

    number: int
    aliases: dict[str, int] = Field(default_factory=dict)


def _lock_file(home: Home) -> Path:
    return home.root / ".register.lock"


@contextmanager
def deciding_alone(home: Home) -> Iterator[None]:
    """Lets one process of a home at a time decide and change aliases."""
    from filelock import FileLock, Timeout

    lock = FileLock(_lock_file(home))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Waiting for another process that changes aliases.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def notice_changes(store: TrackingStore, name: str) -> None:
    """Records what somebody has changed in MLflow, unless another process is deciding, which does it itself.

    Raises:
        TrackingError: The store failed, or there is no such model.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(_lock_file(store.home)).acquire(timeout=0):
            reconcile(store, name)
    except Timeout:
        logger.info("Another process is changing aliases; what it changes is not shown yet.")


def change_aliases(
    store: TrackingStore,
    name: str,
    plan: Callable[[Aliases], Aliases],
    *,
    action: AliasAction,
    why: str,
    evidence: str | None = None,
) -> AliasChange | None:
    """Changes the aliases of a registered model, within `deciding_alone`.

    Args:
        store: The registry.
        name: Name of the registered model.
        plan: Returns the aliases that should be, from those that are.
        action: What changes them.
        why: The reason, for people.
        evidence: The MLflow run whose decision leads to it.

    Returns:
        The record; None if the aliases were so before.

    Raises:
        TrackingError: The store failed. The next change completes this one or takes it back.
    """
    reconcile(store, name)
    before = current_aliases(store, name)
    after = dict(plan(before))
    if after == before:
        return None
    change = _record(store, name, action, why, before, after, evidence)
    _apply(store, name, before, after)
    _remember(store, name, change.number, after)
    return change


def current_aliases(store: TrackingStore, name: str) -> dict[str, int]:
    """Reads the versions by alias.

    Raises:
        TrackingError: The store failed, or there is no such model.
    """
    with store.reporting(f"reading the aliases of {name}"):
        found = store.client.get_registered_model(name).aliases
    return {alias: int(version) for alias, version in found.items()}


def read_history(store: TrackingStore, name: str) -> tuple[AliasChange, ...]:
    """Reads all recorded changes of the aliases of a model, oldest first.

    Raises:
        TrackingError: The store failed, or there is no such model.
    """
    tags = _tags(store, name)
    changes = [AliasChange.model_validate_json(value) for tag, value in tags.items() if tag.startswith(CHANGE_TAG)]
    return tuple(sorted(changes, key=lambda change: (change.number, change.when)))


def reconcile(store: TrackingStore, name: str) -> None:
    """Completes or takes back a change that was interrupted, and records what somebody has changed in MLflow.

    Only within `deciding_alone`: the change of another process would look interrupted.

    Raises:
        TrackingError: The store failed.
    """
    tags = _tags(store, name)
    history = read_history(store, name)
    known = _Known.model_validate_json(tags[KNOWN_TAG]) if KNOWN_TAG in tags else None
    now = current_aliases(store, name)
    if history and (known is None or known.number < history[-1].number):
        last = history[-1]
        if all(now.get(alias) in (last.before.get(alias), last.after.get(alias)) for alias in {*now, *last.after}):
            # Where the champion stays, nothing speaks against completing it.
            done = now.get(CHAMPION) == last.after.get(CHAMPION)
            if done:
                logger.info("Completing change %d of the aliases of %s, which was interrupted.", last.number, name)
                _apply(store, name, now, last.after)
                _remember(store, name, last.number, last.after)
            else:
                logger.info("Taking back change %d of the aliases of %s, which was interrupted.", last.number, name)
                why = f"Change {last.number} was interrupted."
                undone = _record(store, name, "undone", why, last.after, last.before, last.evidence)
                _apply(store, name, now, last.before)
                _remember(store, name, undone.number, last.before)
            return
        known = _Known(number=last.number, aliases=last.after)
    if known is not None and known.aliases != now:
        logger.info("The aliases of %s were changed in MLflow; recording it.", name)
        change = _record(store, name, "by_hand", "Changed in MLflow.", known.aliases, now, None, who="unknown")
        _remember(store, name, change.number, now)
    elif known is None:
        # Aliases from before there were records.
        _remember(store, name, 0, now)


def _record(
    store: TrackingStore,
    name: str,
    action: AliasAction,
    why: str,
    before: Aliases,
    after: Aliases,
    evidence: str | None,
    *,
    who: str | None = None,
) -> AliasChange:
    history = read_history(store, name)
    change = AliasChange(
        number=history[-1].number + 1 if history else 1,
        when=datetime.now(UTC),
        who=who or _user(),
        action=action,
        why=why,
        before=dict(before),
        after=dict(after),
        evidence=evidence,
    )
    tag = f"{CHANGE_TAG}.{change.number:06}.{uuid4().hex[:8]}"
    with store.reporting(f"recording a change of the aliases of {name}"):
        store.client.set_registered_model_tag(name, tag, change.model_dump_json())
    return change


def _apply(store: TrackingStore, name: str, before: Aliases, after: Aliases) -> None:
    """Sets what differs: the champion last of those that are set, so that `previous` never lacks it."""
    with store.reporting(f"changing the aliases of {name}"):
        for alias in sorted(after, key=lambda alias: alias == CHAMPION):
            if before.get(alias) != after[alias]:
                store.client.set_registered_model_alias(name, alias, str(after[alias]))
        for alias in before.keys() - after.keys():
            store.client.delete_registered_model_alias(name, alias)


def _remember(store: TrackingStore, name: str, number: int, aliases: Aliases) -> None:
    known = _Known(number=number, aliases=dict(aliases))
    with store.reporting(f"recording the aliases of {name}"):
        store.client.set_registered_model_tag(name, KNOWN_TAG, known.model_dump_json())


def _tags(store: TrackingStore, name: str) -> dict[str, str]:
    with store.reporting(f"reading the history of {name}"):
        return dict(store.client.get_registered_model(name).tags)


def _user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container without an account for its user.
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def with_champion(aliases: Aliases, version: int) -> dict[str, int]:
    """Plans that a version becomes champion: the champion before becomes `previous`, an older challenger nothing."""
    planned = {alias: found for alias, found in aliases.items() if alias != CHALLENGER or found > version}
    if aliases.get(CHAMPION) not in (None, version):
        planned[PREVIOUS] = aliases[CHAMPION]
    return {**planned, CHAMPION: version}
