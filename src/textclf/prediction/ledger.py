"""What a batch prediction remembers between runs, in `<home>/predictions/`.

    <job key>/job.json  which file it is, until it is finished
    <job key>/00000/   a committed shard: `rows`, `quarantine` and a manifest with their sha256
    done/              one record per finished output
    redo/              one id per unfinished `redo`
    refused/           per input folder, output and model: the files that cannot be predicted (`refusals`)
    locks/             one file per job and per output that was ever locked

The job key digests everything that the predicted rows depend on, except the engine that computes them, which each shard
records. So a shard is reused only if predicting it again would give the same rows, and the shards of a file all come
from one engine. A redo has its own job folders and resumes only those. A job's folder is removed when its file is
finished; a folder whose input changed after a killed run stays, and may be deleted while no prediction runs.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from textclf import __version__, store
from textclf.config.schema import PredictConfig
from textclf.errors import DataError, StorageError
from textclf.prediction.job_records import (
    JOB_FILE,
    FinishedRecord,
    JobRecord,
    ShardRecord,
    holder_in,
    lock_file,
    output_key,
)
from textclf.reading.detection import FORMATS, DataFormat
from textclf.records import PredictedFile
from textclf.registry.versions import ChosenModel

logger = logging.getLogger(__name__)

# Increased when the same input and model give different part files than before.
_PART_FORMAT = 2
# Every other setting changes the rows, or how they are divided into shards.
_WITHOUT_EFFECT = {
    *("input", "output", "model", "alias", "batch_size", "redo", "refused_files", "when_champion_changes"),
    *("language", "missed_runs", "shadow"),
}
# Counted only if set, so that jobs that earlier versions of textclf finished keep their keys.
_NEW_SETTINGS = {"delimiter": "auto", "sheet": None, "engine": "auto", "answered_by": False, "min_precision": None}
_MEGABYTE = 1e6


def effective_settings(config: PredictConfig) -> dict[str, object]:
    """Returns the settings that the predicted rows and their shards depend on."""
    settings = config.model_dump(exclude=_WITHOUT_EFFECT)
    return {name: value for name, value in settings.items() if value != _NEW_SETTINGS.get(name, ...)}


@dataclass(frozen=True, slots=True)
class Job:
    """The prediction of one input with one model.

    Attributes:
        sha256: Digest of the input's content.
        format: Its format.
        output: The file to write.
        config: The settings.
        model: The model that predicts.
    """

    sha256: str
    format: DataFormat
    output: Path
    config: PredictConfig
    model: ChosenModel

    def key(self) -> str:
        """Digests what the predicted rows depend on: the input's content (not its path), model, settings and code."""
        return self._key((self.model.name, self.model.version, self.model.model_id), __version__)

    def is_that_of(self, record: FinishedRecord) -> bool:
        """Returns whether the record is of the same input and settings, whatever model and textclf version."""
        model = (record.model_name, record.model_version, record.model_id)
        return record.key == self._key(model, record.textclf_version)

    def _key(self, model: tuple[str, int, str], textclf_version: str) -> str:
        formats = (self.format, FORMATS[self.output.suffix.lower()], _PART_FORMAT)
        return store.digest_of(self.sha256, formats, model, effective_settings(self.config), textclf_version)


@contextmanager
def redoing(folder: Path, source: Path, output: Path) -> Iterator[str]:
    """Yields the id of the unfinished redo of the same paths, or a new one.

    The redo is finished when the block ends without an error.

    Raises:
        StorageError: The folder cannot be read or written to.
    """
    marker = folder / "redo" / store.digest_of(os.path.realpath(source), os.path.realpath(output))
    with _as_storage_error(marker):
        if marker.exists():
            redo = marker.read_text(encoding="utf-8")
            logger.info("Resuming the interrupted redo; the files that it finished are skipped.")
        else:
            redo = uuid.uuid4().hex
            marker.parent.mkdir(parents=True, exist_ok=True)
            store.write_text(marker, redo)
    yield redo
    with _as_storage_error(marker):
        marker.unlink(missing_ok=True)


class Ledger:
    """The record of one job: one input, one model, one output.

    Args:
        folder: Holds the records of all jobs.
        job: The job.
        redo: Id of the redo that the job belongs to; files finished before that redo are predicted again.
    """

    def __init__(self, folder: Path, job: Job, redo: str | None) -> None:
        self.output = job.output
        self._job = job
        self._key = job.key()
        self._redo = redo
        self._folder = folder / (f"{self._key}-{redo}" if redo else self._key)
        self._jobs = folder
        self._output_key = output_key(self.output)
        self._done = folder / "done" / f"{self._output_key}.json"
        # Two homes that write to one output must not share a temporary file.
        self._suffix = f".{store.digest_of(str(folder))[:8]}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the job and its output exclusively; waits while another process holds either.

        Raises:
            StorageError: The home cannot be written to.
        """
        # A process that holds an output waits for nothing else, so there is no deadlock.
        with self._lock(f"job-{self._key}"), self._lock(f"output-{self._output_key}"):
            yield

    def begin(self, path: Path, run_id: str) -> None:
        """Notes which file the job is of, for people who ask what is going on; the lock must be held.

        Raises:
            StorageError: The home cannot be written to.
        """
        model = self._job.model
        record = JobRecord(
            input=path,
            output=self.output,
            model=model.name,
            version=model.version,
            run_id=run_id,
            begun_at=datetime.now(UTC),
        )
        with _as_storage_error(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            store.write_text(self._folder / JOB_FILE, record.model_dump_json(indent=1))

    def finished(self, path: Path) -> PredictedFile | None:
        """Returns the record of the input at `path`, with `skipped` set, if it was finished before.

        None if the output or its quarantine file is missing or has changed since.
        """
        record = self._record()
        if record is None or (self._redo and record.redo != self._redo) or not self._is_kept(record):
            return None
        files = ((record.file.output, record.output_sha256), (record.file.quarantine, record.quarantine_sha256))
        for written, sha256 in files:
            if written is not None and not (written.is_file() and store.file_sha256(written) == sha256):
                logger.info("%s was predicted before, but is missing or has changed since.", written)
                return None
        logger.debug("%s was done before by version %d; %s is kept.", path, record.model_version, self.output)
        return record.file.model_copy(update={"input": path, "skipped": True, "version": record.model_version})

    def _is_kept(self, record: FinishedRecord) -> bool:
        """Returns whether the output counts as finished: by this job or, with `keep`, by another version of its model.

        A version that was deleted and made again under the same number is another model.
        """
        if record.key == self._key:
            return True
        model, config = self._job.model, self._job.config
        return (
            config.when_champion_changes == "keep"
            and record.model_name == model.name
            and (record.model_version != model.version or record.model_id == model.model_id)
            and record.alias in (None, config.alias)
            and self._job.is_that_of(record)
        )

    def explain(self) -> None:
        """Logs why an output that exists is predicted again, unless its input or the settings changed."""
        record, model = self._record(), self._job.model
        if record is None:
            if self.output.exists():
                logger.info("%s exists, but no record of its prediction; it is predicted again.", self.output)
            return
        if record.key == self._key or not self._job.is_that_of(record):
            return
        remade = (record.model_name, record.model_version) == (model.name, model.version) and (
            record.model_id != model.model_id
        )
        logger.info(
            "%s was predicted before with %sversion %d of the model %s by textclf %s; it is predicted again.",
            self.output,
            "another " if remade else "",
            record.model_version,
            record.model_name,
            record.textclf_version,
        )

    def _record(self) -> FinishedRecord | None:
        try:
            return FinishedRecord.model_validate_json(self._done.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("The record %s cannot be read (%s); %s is predicted again.", self._done, error, self.output)
            return None

    def finish(self, file: PredictedFile, run_id: str) -> None:
        """Records that the output is complete, and removes the shards.

        Raises:
            StorageError: The home cannot be written to.
        """
        model, finished_at = self._job.model, datetime.now(UTC)
        record = FinishedRecord(
            key=self._key,
            file=file.model_copy(update={"finished_at": finished_at}),
            output_sha256=store.file_sha256(file.output),
            quarantine_sha256=store.file_sha256(file.quarantine) if file.quarantine else None,
            model_name=model.name,
            model_version=model.version,
            model_id=model.model_id,
            alias=self._job.config.alias,
            textclf_version=__version__,
            run_id=run_id,
            redo=self._redo,
            finished_at=finished_at,
        )
        with _as_storage_error(self._done):
            self._done.parent.mkdir(parents=True, exist_ok=True)
            store.write_text(self._done, record.model_dump_json(indent=1))
        shutil.rmtree(self._folder, ignore_errors=True)

    def shard_folder(self, index: int) -> Path:
        """Returns where the shard with this index (from 0) is committed."""
        return self._folder / f"{index:05d}"

    def engine(self) -> str | None:
        """Returns the engine of the first shard that an earlier run committed; None if there is none."""
        for folder in sorted(self._folder.glob("[0-9]*")):
            if record := store.find(folder, ShardRecord):
                return record.engine
        return None

    def committed(self, index: int, first_row: int, rows_read: int, engine: str) -> ShardRecord | None:
        """Returns a committed shard; None if it is missing, damaged, of another engine, or has other rows."""
        record = store.find(self.shard_folder(index), ShardRecord)
        if record and (record.first_row, record.rows_read, record.engine) != (first_row, rows_read, engine):
            shutil.rmtree(self.shard_folder(index))
            return None
        return record

    def commit(self, index: int, write: Callable[[BinaryIO, BinaryIO], ShardRecord]) -> ShardRecord:
        """Commits a shard completely or not at all; `write` gets a stream for rows and one for quarantined rows.

        Raises:
            StorageError: The disk is full or the home cannot be written to; earlier shards stay committed.
        """
        folder = self.shard_folder(index)
        with store.building(folder) as draft:
            with (draft / "rows").open("wb") as rows, (draft / "quarantine").open("wb") as quarantine:
                record = write(rows, quarantine)
            return store.publish(draft, folder, record)

    @contextmanager
    def replacing(self, path: Path, *, size_bytes: int) -> Iterator[BinaryIO]:
        """Yields a stream whose content replaces a file atomically when the block ends without an error.

        `size_bytes` is the approximate size, for the message if the disk is full.

        Raises:
            StorageError: The disk is full or the folder cannot be written to; no partial file is left.
            DataError: The name is too long.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with store.appearing(path, suffix=self._suffix) as temporary, temporary.open("wb") as stream:
                yield stream
        except OSError as error:
            raise _output_error(path, size_bytes, error) from error

    def remove(self, path: Path) -> None:
        """Removes the quarantine file of an earlier run, if any.

        Raises:
            StorageError: The file cannot be removed.
        """
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _output_error(path, 0, error) from error

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        path = lock_file(self._jobs, name)
        holder = path.with_suffix(".holder")
        lock = FileLock(path)
        try:
            with _as_storage_error(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    logger.info("Waiting: %s is being predicted by %s.", self.output, holder_in(path))
                    lock.acquire(poll_interval=0.5)
                holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            yield
        finally:
            lock.release()


@contextmanager
def _as_storage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise store.storage_error(path, error) from error


def _output_error(path: Path, size_bytes: int, error: OSError) -> DataError | StorageError:
    if error.errno == errno.ENAMETOOLONG:
        return DataError(f"The name of {path} is too long for the file system.\nGive the input a shorter name.")
    existing = next(parent for parent in path.parents if parent.exists())
    free = shutil.disk_usage(existing).free
    return StorageError(
        f"Writing {path} failed: {error.strerror or error}. About {size_bytes / _MEGABYTE:,.1f} MB are needed and "
        f"{free / _MEGABYTE:,.1f} MB are free there.\n"
        "Free some space or choose another output, and run the same command again: committed shards are reused."
    )
