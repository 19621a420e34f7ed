"""How many rows a version has predicted beside the champion: one tag of the version for each home that predicts."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from textclf.records import Record
from textclf.store import digest_of
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_TAG = "textclf.shadow."


class ShadowRows(Record):
    """The rows that a version has answered beside the champion."""

    rows: int
    agreed: int
    """Rows for which it gave the champion's label."""
    noted_at: datetime


def note_shadow(store: TrackingStore, name: str, version: int, *, rows: int, agreed: int) -> None:
    """Notes how many rows a version has answered in this home so far; said twice, it counts once.

    Raises:
        TrackingError: The store failed.
    """
    noted = ShadowRows(rows=rows, agreed=agreed, noted_at=datetime.now(UTC).replace(microsecond=0))
    tag = _TAG + digest_of(socket.gethostname(), str(store.home.root))[:16]
    with store.reporting("noting the rows that were predicted beside the champion"):
        store.client.set_model_version_tag(name, str(version), tag, noted.model_dump_json())


def shadow_rows(version: ModelVersion) -> ShadowRows | None:
    """Sums the rows that a version has answered, over all homes; None if it has never predicted beside a champion."""
    noted = [ShadowRows.model_validate_json(value) for tag, value in version.tags.items() if tag.startswith(_TAG)]
    if not noted:
        return None
    return ShadowRows(
        rows=sum(each.rows for each in noted),
        agreed=sum(each.agreed for each in noted),
        noted_at=max(each.noted_at for each in noted),
    )
