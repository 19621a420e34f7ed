"""What batch predictions have done, are doing and have yet to do: read from the ledger, without loading a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from textclf import store
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import JobNotFoundError
from textclf.prediction.inputs import list_inputs
from textclf.prediction.job_records import (
    ShardRecord,
    finished_records,
    holder_of,
    job_record,
    output_key,
)
from textclf.prediction.refusals import Refusals
from textclf.records import Record

_ID_LENGTH = 12


class Job(Record):
    """The prediction of one file; the keys of `textclf jobs list --json`."""

    id: str
    """Digests the path of the output: the same for each prediction of it."""
    state: Literal["running", "unfinished", "next", "refused", "done"]
    """`running`: a process works on it. `unfinished`: none does, and shards are committed; the next run goes on.
    `next`: nothing is done yet, or the file was written to since, or its output is gone. `refused`: it cannot be
    predicted until it changes."""
    input: Path
    output: Path
    rows_read: int = 0
    rows_predicted: int = 0
    rows_quarantined: int = 0
    shards: int = 0
    """Committed shards of an unfinished job."""
    model: str | None = None
    version: int | None = None
    engine: str | None = None
    since: datetime | None = None
    """When it was finished, or begun."""
    by: str | None = None
    """The process that works on it."""
    reason: str | None = None
    """Why it was refused."""
    quarantine: Path | None = None
    label_counts: dict[str, int] = Field(default_factory=dict)


def list_jobs(home: Home, config: PredictConfig | None = None) -> tuple[Job, ...]:
    """Lists all jobs of a home: what is worked on first, then what is to be done, then what is done, newest first.

    Args:
        home: Remembers the jobs.
        config: Whose input files are looked for, too, whether they are done or not.

    Raises:
        ConfigError: The paths of the configuration cannot be used.
        StorageError: The input folder cannot be listed.
    """
    jobs: dict[str, Job] = {}
    # What was begun before an output was finished, of another content or model, is only left over.
    for job in sorted((*_begun(home), *_done(home)), key=lambda job: (job.state == "running", job.since)):
        jobs[job.id] = job
    if config is not None:
        for job in _waiting(home, config):
            known = jobs.get(job.id)
            if known is None or (known.state == "done" and (job.state == "refused" or _is_outdated(known))):
                jobs[job.id] = job
    order = ("running", "unfinished", "next", "refused", "done")
    return tuple(
        sorted(
            jobs.values(),
            key=lambda job: (order.index(job.state), -(job.since.timestamp() if job.since else 0), str(job.input)),
        )
    )


def find_job(home: Home, wanted: str, config: PredictConfig | None = None) -> Job:
    """Finds a job by its id, its beginning, or the path or name of its input or output.

    Raises:
        JobNotFoundError: There is none, or there are several.
        ConfigError, StorageError: As for `list_jobs`.
    """
    path = Path(wanted).expanduser().absolute()
    jobs = list_jobs(home, config)
    found = [job for job in jobs if job.id == wanted or path in (job.input, job.output)] or [
        job for job in jobs if job.id.startswith(wanted) or wanted in (job.input.name, job.output.name)
    ]
    if len(found) != 1:
        several = f"{len(found)} jobs are called {wanted}: {', '.join(job.id for job in found[:10])}."
        raise JobNotFoundError(several if found else f"There is no job {wanted}; `textclf jobs list` lists all.")
    return found[0]


def _begun(home: Home) -> Iterator[Job]:
    for folder in home.predictions.glob("*/"):
        record = job_record(folder)
        if record is None:
            continue
        # Unverified: the run that goes on verifies them, and it may remove the folder at any moment.
        shards = [found for place in sorted(folder.glob("[0-9]*")) if (found := store.stated(place, ShardRecord))]
        by = holder_of(home.predictions, record.output)
        read, predicted = sum(each.rows_read for each in shards), sum(each.rows_predicted for each in shards)
        labels: Counter[str] = Counter()
        for shard in shards:
            labels.update(shard.label_counts)
        yield Job(
            id=_id(record.output),
            state="running" if by else "unfinished",
            input=record.input,
            output=record.output,
            rows_read=read,
            rows_predicted=predicted,
            rows_quarantined=read - predicted,
            shards=len(shards),
            model=record.model,
            version=record.version,
            engine=shards[0].engine if shards else None,
            since=record.begun_at,
            by=by,
            label_counts=labels,
        )


def _done(home: Home) -> Iterator[Job]:
    for record in finished_records(home.predictions):
        file = record.file
        yield Job(
            id=_id(file.output),
            state="done",
            input=file.input,
            output=file.output,
            rows_read=file.rows_read,
            rows_predicted=file.rows_predicted,
            rows_quarantined=file.rows_quarantined,
            model=record.model_name,
            version=record.model_version,
            engine=file.engine,
            since=record.finished_at,
            quarantine=file.quarantine,
            label_counts=file.label_counts,
        )


def _waiting(home: Home, config: PredictConfig) -> Iterator[Job]:
    reasons = Refusals(home.predictions, config).reasons()
    for path, output in list_inputs(config).pairs:
        reason = reasons.get(path.name)
        state: Literal["refused", "next"] = "refused" if reason else "next"
        yield Job(id=_id(output), state=state, input=path, output=output, reason=reason)


def _is_outdated(job: Job) -> bool:
    """Returns whether the next run predicts a finished file again: its output is gone, or it was written to since."""
    assert job.since is not None
    try:
        return not job.output.exists() or job.input.stat().st_mtime > job.since.timestamp()
    except OSError:
        return False


def _id(output: Path) -> str:
    return output_key(output)[:_ID_LENGTH]
