"""What a batch prediction remembers between runs: committed shards, finished files, and who is at work.

All of it lies under `<home>/predictions/`:

    <job key>/00000/   a committed shard: `rows`, `quarantine` and the manifest with their sha256
    done/              one record for each finished output
    redo/              one id for each `redo` that has not ended
    locks/             one file for each job and each output that was ever locked

The job key digests everything that the predicted rows depend on, so that a shard is used again only where it would
come out the same. A redo has job folders of its own, so that it resumes its own shards and no others. A job's folder
goes when its file is finished; one whose input changed after a killed run stays and may be deleted by hand whenever
nothing runs.
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
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from textclf import __version__, store
from textclf.config.schema import PredictConfig
from textclf.errors import DataError, StorageError
from textclf.reading.data_file import DataFile
from textclf.reading.detection import FORMATS
from textclf.records import PredictedFile, Record
from textclf.registry.versions import ChosenModel

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

    key: str
    """Of the job; any other job writes the output anew."""
    file: PredictedFile
    output_sha256: str
    quarantine_sha256: str | None
    model_name: str
    model_version: int
    model_id: str
    textclf_version: str
    run_id: str
    redo: str | None
    """The redo that wrote it."""
    finished_at: datetime


def job_key(source: DataFile, output: Path, config: PredictConfig, model: ChosenModel) -> str:
    """Digests what the predicted rows depend on: content, not place, of the input; model; settings; code."""
    return store.digest_of(
        source.sha256,
        source.format,
        FORMATS[output.suffix.lower()],
        model.name,
        model.version,
        model.model_id,
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


@contextmanager
def redoing(folder: Path, source: Path, output: Path) -> Iterator[str]:
    """Gives the id of a redo: that of an earlier one of the same paths which did not come to its end, else a new one.

    The redo ends when the block ends without an error.

    Raises:
        StorageError: The folder cannot be read or written to.
    """
    marker = folder / "redo" / store.digest_of(os.path.realpath(source), os.path.realpath(output))
    with _told(marker):
        if marker.exists():
            redo = marker.read_text(encoding="utf-8")
            logger.info("The redo that was interrupted goes on; files that it had finished are left alone.")
        else:
            redo = uuid.uuid4().hex
            marker.parent.mkdir(parents=True, exist_ok=True)
            store.write_text(marker, redo)
    yield redo
    with _told(marker):
        marker.unlink(missing_ok=True)


class Ledger:
    """The memory of one job, that is of one input with one model and one output.

    Args:
        folder: Holds the memory of all jobs.
        key: The job's key.
        output: The file to be written.
        redo: The redo that the job belongs to; what was finished before it does not count.
    """

    def __init__(self, folder: Path, key: str, output: Path, redo: str | None) -> None:
        self.key = key
        self.output = output
        self.redo = redo
        self._folder = folder / (f"{key}-{redo}" if redo else key)
        self._locks = folder / "locks"
        self._output_key = store.digest_of(str(output))
        self._done = folder / "done" / f"{self._output_key}.json"
        # Another home that writes to the same output must not use the same temporary file.
        self._suffix = f".{store.digest_of(str(folder))[:8]}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from the job and from its output; waits while one is at work on either.

        Raises:
            StorageError: The home cannot be written to.
        """
        # Whoever holds an output waits for nothing else, so two processes cannot wait for each other.
        with self._lock(f"job-{self.key}"), self._lock(f"output-{self._output_key}"):
            yield

    def finished(self, path: Path) -> PredictedFile | None:
        """Finds the record of the output, if it and its quarantine file still are what this job wrote.

        Args:
            path: Where the input lies now.

        Returns:
            The record with `skipped` set; None if the job never finished the output, or it is gone or was changed.
        """
        record = self._record()
        if record is None or record.key != self.key or (self.redo and record.redo != self.redo):
            return None
        files = ((record.file.output, record.output_sha256), (record.file.quarantine, record.quarantine_sha256))
        for written, sha256 in files:
            if written is not None and not (written.is_file() and store.file_sha256(written) == sha256):
                logger.info("%s was predicted before, but is gone or was changed since.", written)
                return None
        logger.info("%s was done before with the same model and settings: %s stays.", path, self.output)
        return record.file.model_copy(update={"input": path, "skipped": True})

    def explain(self, model: ChosenModel) -> None:
        """Logs why an output that another model or another version of textclf has written is made again."""
        record = self._record()
        if record is None:
            # Version 0.1.0 named its records after the job and the output.
            if self.output.exists() and any(self._done.parent.glob(f"*-{self._output_key[:16]}.json")):
                logger.info(
                    "%s was predicted before by an earlier version of textclf; it is predicted again.", self.output
                )
            return
        before = (record.model_name, record.model_version, record.model_id, record.textclf_version)
        if before != (model.name, model.version, model.model_id, __version__):
            same_name = before[:2] == (model.name, model.version) and record.model_id != model.model_id
            logger.info(
                "%s was predicted before with %sversion %d of the model %s by textclf %s; it is predicted again.",
                self.output,
                "another " if same_name else "",
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

    def finish(self, file: PredictedFile, model: ChosenModel, run_id: str) -> None:
        """Records that the output is complete, and forgets the shards.

        Raises:
            StorageError: The home cannot be written to.
        """
        record = FinishedRecord(
            key=self.key,
            file=file,
            output_sha256=store.file_sha256(file.output),
            quarantine_sha256=store.file_sha256(file.quarantine) if file.quarantine else None,
            model_name=model.name,
            model_version=model.version,
            model_id=model.model_id,
            textclf_version=__version__,
            run_id=run_id,
            redo=self.redo,
            finished_at=datetime.now(UTC),
        )
        with _told(self._done):
            self._done.parent.mkdir(parents=True, exist_ok=True)
            store.write_text(self._done, record.model_dump_json(indent=1))
        shutil.rmtree(self._folder, ignore_errors=True)

    def shard_folder(self, index: int) -> Path:
        """Where the shard of this index (from 0) lies when it is committed."""
        return self._folder / f"{index:05d}"

    def committed(self, index: int, first_row: int, rows_read: int) -> ShardRecord | None:
        """Finds a committed shard; one that is damaged or holds other rows is made again."""
        record = store.find(self.shard_folder(index), ShardRecord)
        if record and (record.first_row, record.rows_read) != (first_row, rows_read):
            shutil.rmtree(self.shard_folder(index))
            return None
        return record

    def commit(self, index: int, write: Callable[[BinaryIO, BinaryIO], ShardRecord]) -> ShardRecord:
        """Writes a shard as a unit: all of it or nothing.

        Args:
            index: From 0.
            write: Writes the rows to the first stream and the quarantined rows to the second.

        Raises:
            StorageError: The disk is full or the home cannot be written to; the shards before stay committed.
        """
        folder = self.shard_folder(index)
        with store.building(folder) as draft:
            with (draft / "rows").open("wb") as rows, (draft / "quarantine").open("wb") as quarantine:
                record = write(rows, quarantine)
            return store.publish(draft, folder, record)

    @contextmanager
    def replacing(self, path: Path, *, size_bytes: int) -> Iterator[BinaryIO]:
        """Gives a stream whose content takes the place of a file at once when the block ends without an error.

        `size_bytes` is about how large it will be, for the message when the disk is full.

        Raises:
            StorageError: The disk is full or the folder cannot be written to. Nothing half-written stays.
            DataError: The name is too long.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with store.appearing(path, suffix=self._suffix) as temporary, temporary.open("wb") as stream:
                yield stream
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
            with _told(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    by = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
                    logger.info("Waiting: %s is being predicted by %s.", self.output, by)
                    lock.acquire(poll_interval=0.5)
                holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            yield
        finally:
            lock.release()


@contextmanager
def _told(path: Path) -> Iterator[None]:
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
        "Free some space or name another output, and start the same command again: what was predicted is kept."
    )
