"""The records of batch predictions, for who writes them (`ledger`) and who only asks (`jobs`, `shadow`, `prune`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import Field

from textclf import store
from textclf.config.home import Home
from textclf.errors import StorageError
from textclf.records import PredictedFile, Record

logger = logging.getLogger(__name__)

JOB_FILE = "job.json"


class JobRecord(Record):
    """A job that has begun."""

    input: Path
    output: Path
    model: str
    version: int
    run_id: str
    begun_at: datetime


class ShardRecord(Record):
    """One committed shard."""

    first_row: int
    """In the input, from 1."""
    rows_read: int
    rows_predicted: int
    rows_escaped: int
    """Rows in which a tab or line break was written as two characters (TSV)."""
    label_counts: dict[str, int]
    reasons: dict[str, int]
    """Quarantined rows by reason."""
    engine: str
    """What computed it: `Classifier.engine_name`."""
    rows_repeated: int
    """Predicted rows that were not computed, because an equal text had been."""
    rung_counts: dict[str, int]
    """Predicted rows by the rung that answered."""
    agreement: dict[str, dict[str, int]] = Field(default_factory=dict)
    """In a shadow run: rows by the champion's label, then by the label of the version beside it."""


class FinishedRecord(Record):
    """One finished output, with the digests that show whether it has changed since."""

    key: str
    """The job's key; any other job writes the output again."""
    file: PredictedFile
    output_sha256: str
    quarantine_sha256: str | None
    model_name: str
    model_version: int
    model_id: str
    alias: str | None = None
    """The alias that referred to the model; None in records of textclf 0.2.0."""
    textclf_version: str
    run_id: str
    redo: str | None
    """The redo that wrote it."""
    finished_at: datetime


def versions_used(home: Home, name: str, *, since: datetime) -> set[int]:
    """Returns the versions of a registered model that outputs finished since a time refer to.

    Raises:
        StorageError: A record cannot be read; what it refers to must not be deleted.
    """
    records = finished_records(home.predictions, strict=True)
    return {each.model_version for each in records if each.model_name == name and each.finished_at >= since}


def finished_records(folder: Path, *, strict: bool = False) -> Iterator[FinishedRecord]:
    """Reads the records of all finished outputs in a folder of jobs.

    Args:
        folder: The folder.
        strict: Whether to fail at a record that cannot be read; else it is left out, and the next prediction of that
            file says what is wrong.

    Raises:
        StorageError: One cannot be read.
    """
    for file in (folder / "done").glob("*.json"):
        try:
            yield FinishedRecord.model_validate_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if not strict:
                # An earlier version wrote it, or it is being replaced.
                logger.debug("%s is left out: %s", file, error)
                continue
            raise StorageError(f"The record {file} of a finished prediction cannot be read: {error}") from error


def job_record(folder: Path) -> JobRecord | None:
    """Reads which job a folder is of; None if it is none, or one of textclf 0.4.0 or older."""
    try:
        return JobRecord.model_validate_json((folder / JOB_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def output_key(output: Path) -> str:
    """Digests the path of an output, which belongs to one job at a time."""
    return store.digest_of(str(output))


def holder_of(folder: Path, output: Path) -> str | None:
    """Says which process predicts an output now; None if none does."""
    from filelock import FileLock, Timeout

    path = lock_file(folder, f"output-{output_key(output)}")
    if not path.exists():
        return None
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return holder_in(path)
    lock.release()
    return None


def lock_file(folder: Path, name: str) -> Path:
    """Returns the file that locks a job or an output; beside it, `.holder` names the process."""
    return folder / "locks" / f"{name}.lock"


def holder_in(lock: Path) -> str:
    """Says which process holds a lock."""
    holder = lock.with_suffix(".holder")
    return holder.read_text(encoding="utf-8") if holder.exists() else "another process"
