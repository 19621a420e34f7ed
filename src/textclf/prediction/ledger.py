"""What a batch prediction remembers between runs: committed shards, finished files, and who is at work.

All of it lies under `<home>/predictions/`:

    <job key>/00000/   a committed shard: `rows`, `quarantine` and the manifest with their sha256
    done/              one record a finished output
    locks/             one file a job and an output that were ever locked

The job key digests everything that the predicted rows depend on, so that a shard is used again only where it would
come out the same. A job's folder goes when its file is finished; one whose input changed after a killed run stays
and may be deleted by hand at any time that nothing runs.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from textclf import __version__, store
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import StorageError
from textclf.reading.data_file import DataFile
from textclf.reading.detection import FORMATS
from textclf.records import PredictedFile, Record

logger = logging.getLogger(__name__)

# Raised when the same input and model would give other part files than before.
_PART_FORMAT = 2
_MEGABYTE = 1e6


class ShardRecord(Record):
    """One committed shard."""

    first_row: int
    """Number of its first row in the input, from 1."""
    rows_read: int
    rows_predicted: int
    rows_escaped: int
    """Rows in which a tab or line break had to be written as two characters (TSV)."""
    label_counts: dict[str, int]
    reasons: dict[str, int]
    """How many rows were quarantined, by reason."""


class FinishedRecord(Record):
    """One finished output, and how to tell that it still is what was written."""

    file: PredictedFile
    output_sha256: str
    quarantine_sha256: str | None
    model_name: str
    model_version: int
    run_id: str
    finished_at: datetime


def job_key(source: DataFile, output: Path, config: PredictConfig, *, model_name: str, model_version: int) -> str:
    """Digests what the predicted rows depend on: content, not place, of the input; model; settings; code."""
    return store.digest_of(
        source.sha256,
        source.format,
        FORMATS[output.suffix.lower()],
        model_name,
        model_version,
        config.text_column,
        config.text_pair_column,
        config.id_column,
        config.column_names,
        config.file_encoding,
        config.probabilities,
        config.rows_per_shard,
        config.mixed_precision,
        __version__,
        _PART_FORMAT,
    )


class Ledger:
    """The memory of one job, that is of one input with one model and one output.

    Args:
        home: Its `predictions` folder is used.
        key: The job's key.
        output: The file to be written.
    """

    def __init__(self, home: Home, key: str, output: Path) -> None:
        self._folder = home.predictions / key
        self._locks = home.predictions / "locks"
        self._key = key
        self._output = output
        output_key = store.digest_of(str(output))
        self._output_lock = f"output-{output_key}"
        self._done = home.predictions / "done" / f"{key}-{output_key[:16]}.json"
        # Another home that writes to the same output must not use the same temporary file.
        self._suffix = f".{store.digest_of(str(home.root))[:8]}.partial"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from the job and from its output; waits while one is at work on either.

        Raises:
            StorageError: The home cannot be written to.
        """
        # Whoever holds an output waits for nothing else, so two processes cannot wait for each other.
        with self._lock(f"job-{self._key}"), self._lock(self._output_lock):
            yield

    def finished(self) -> PredictedFile | None:
        """Finds the record of the output, if it and its quarantine file still are what was written.

        Returns:
            The record with `skipped` set; None if the output was never finished, is gone or was changed.
        """
        try:
            record = FinishedRecord.model_validate_json(self._done.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            logger.warning("The record %s cannot be read (%s); %s is predicted again.", self._done, error, self._output)
            return None
        files = ((record.file.output, record.output_sha256), (record.file.quarantine, record.quarantine_sha256))
        for path, sha256 in files:
            if path is not None and not (path.is_file() and store.file_sha256(path) == sha256):
                logger.info("%s was predicted before, but is gone or was changed since.", path)
                return None
        return record.file.model_copy(update={"skipped": True})

    def finish(self, record: FinishedRecord) -> None:
        """Records that the output is complete, and forgets the shards.

        Raises:
            StorageError: The home cannot be written to.
        """
        try:
            self._done.parent.mkdir(parents=True, exist_ok=True)
            store.write_text(self._done, record.model_dump_json(indent=1))
        except OSError as error:
            raise store.storage_error(self._done, error) from error
        self.forget_shards()

    def forget_shards(self) -> None:
        """Removes what the job has committed."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def forget(self) -> None:
        """Removes all memory of the job, so that it is done again from the first row."""
        self._done.unlink(missing_ok=True)
        self.forget_shards()

    def shard_folder(self, index: int) -> Path:
        """Where the shard of this index (from 0) lies when it is committed."""
        return self._folder / f"{index:05d}"

    def committed(self, index: int) -> ShardRecord | None:
        """Finds a committed shard; a damaged one is removed, so that it is made again."""
        return store.find(self.shard_folder(index), ShardRecord)

    def discard(self, index: int) -> None:
        """Removes a committed shard, so that it is made again."""
        shutil.rmtree(self.shard_folder(index))

    def commit(self, index: int, write: Callable[[BinaryIO, BinaryIO], ShardRecord]) -> ShardRecord:
        """Writes a shard as a unit: all of it or nothing.

        Args:
            index: From 0.
            write: Writes the rows to the first stream and the quarantined rows to the second.

        Raises:
            StorageError: The disk is full or the home cannot be written to; the shards before stay committed.
        """
        folder = self.shard_folder(index)
        with store.building(folder) as temporary:
            with (temporary / "rows").open("wb") as rows, (temporary / "quarantine").open("wb") as quarantine:
                record = write(rows, quarantine)
                for stream in (rows, quarantine):
                    stream.flush()
                    os.fsync(stream.fileno())
            store.publish(temporary, folder, record)
            _sync_folder(folder.parent)
        return record

    @contextmanager
    def replacing(self, path: Path, *, size_bytes: int) -> Iterator[BinaryIO]:
        """Gives a stream whose content takes the place of a file at once when the block ends without an error.

        Args:
            path: The file; it is untouched until then.
            size_bytes: How large it will be, about; for the message when the disk is full.

        Raises:
            StorageError: The disk is full or the folder cannot be written to. Nothing half-written stays.
        """
        temporary = path.with_name(f".{path.name}{self._suffix}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as stream:
                    yield stream
                    stream.flush()
                    os.fsync(stream.fileno())
                temporary.replace(path)
                _sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise _output_error(path, size_bytes, error) from error

    def remove(self, path: Path) -> None:
        """Removes the quarantine file of an earlier run, if there is one.

        Raises:
            StorageError: It cannot be removed.
        """
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _output_error(path, 0, error) from error

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        path = self._locks / f"{name}.lock"
        holder = path.with_suffix(".holder")
        lock = FileLock(path)
        try:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=0)
            except Timeout:
                by = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
                logger.info("Waiting: %s is being predicted by %s.", self._output, by)
                lock.acquire(poll_interval=0.5)
            except OSError as error:
                raise store.storage_error(path, error) from error
            try:
                holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            except OSError as error:
                raise store.storage_error(holder, error) from error
            yield
        finally:
            lock.release()


def _output_error(path: Path, size_bytes: int, error: OSError) -> StorageError:
    existing = next(parent for parent in path.parents if parent.exists())
    free = shutil.disk_usage(existing).free
    return StorageError(
        f"Writing {path} failed: {error.strerror or error}. About {size_bytes / _MEGABYTE:,.1f} MB are needed and "
        f"{free / _MEGABYTE:,.1f} MB are free there.\n"
        "Free some space or name another output, and start the same command again: what was predicted is kept."
    )


def _sync_folder(folder: Path) -> None:
    """Makes renames in a folder survive a power failure, where the system lets folders be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
