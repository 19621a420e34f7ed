"""What a home holds: rows that were predicted, and space on the disk."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from textclf.config.home import Home
from textclf.prediction.job_records import FinishedRecord, finished_records
from textclf.prediction.refusals import RefusalsRecord
from textclf.records import Record

logger = logging.getLogger(__name__)

DAYS = 30


class Rows(Record):
    """Rows of the files that were finished in some time; a file that was predicted again counts once, at its end."""

    files: int
    read: int
    predicted: int
    quarantined: int
    until: datetime | None
    """When the last of them was finished."""


class Disk(Record):
    """Space in bytes."""

    parts: dict[str, int]
    """What each part of the home takes, by its path in the home."""
    free: int
    total: int


def rows_predicted(home: Home) -> tuple[Rows | None, Rows]:
    """Counts the rows of the last run that finished a file, and those of the last 30 days."""
    records = list(finished_records(home.predictions))
    start = datetime.now(UTC) - timedelta(days=DAYS)
    recent = _count(record for record in records if record.finished_at >= start)
    if not records:
        return None, recent
    last = max(records, key=lambda record: record.finished_at).run_id
    return _count(record for record in records if record.run_id == last), recent


def refused_files(home: Home) -> dict[str, str]:
    """Lists the files of input folders that were refused and lie there still, with the first line of the reason."""
    found = {}
    for path in (home.predictions / "refused").glob("*.json"):
        try:
            record = RefusalsRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            logger.debug("%s is not listed: %s", path, error)
            continue
        found.update({name: refusal.reason.splitlines()[0] for name, refusal in record.files.items()})
    return found


def _count(records: Iterable[FinishedRecord]) -> Rows:
    counted = list(records)
    return Rows(
        files=len(counted),
        read=sum(record.file.rows_read for record in counted),
        predicted=sum(record.file.rows_predicted for record in counted),
        quarantined=sum(record.file.rows_quarantined for record in counted),
        until=max((record.finished_at for record in counted), default=None),
    )


def disk(home: Home) -> Disk:
    """Measures the parts of the home that exist."""
    folders = [home.raw, home.prepared, home.root / "data" / "relabelled", home.quarantine, home.checkpoints]
    folders += [home.artifacts, home.predictions, home.prefect, home.logs]
    parts = {str(folder.relative_to(home.root)): _size(folder) for folder in folders if folder.is_dir()}
    if store := sum(path.stat().st_size for path in home.root.glob("mlflow.db*")):
        parts["mlflow.db"] = store
    usage = shutil.disk_usage(home.root)
    return Disk(parts=parts, free=usage.free, total=usage.total)


def _size(folder: Path) -> int:
    total = 0
    for parent, _folders, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except FileNotFoundError:
                # Removed since it was listed.
                continue
    return total
