"""Prepared data sets on disk: one folder a digest, complete or not there at all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf.errors import StorageError
from textclf.records import PreparedData

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"


def load(folder: Path) -> PreparedData | None:
    """Finds a prepared data set and checks that its files are as they were written.

    Args:
        folder: Where it stands if it was made before.

    Returns:
        Its record, with `cached` set; None if it is not there or is damaged, which is logged.

    Raises:
        StorageError: The folder cannot be read.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        record = PreparedData.model_validate({**manifest["prepared"], "folder": folder, "cached": True})
        damaged = [name for name, sha256 in manifest["files"].items() if _sha256(folder / name) != sha256]
    except FileNotFoundError as error:
        if not folder.is_dir():
            return None
        damaged = [str(error.filename)]
    except OSError as error:
        raise StorageError(f"The prepared data in {folder} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        damaged = [_MANIFEST]
    if damaged:
        logger.warning("The prepared data in %s is damaged (%s): it is made again.", folder, ", ".join(damaged))
        return None
    return record


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder to fill; it is removed afterwards unless it was published.

    Args:
        folder: Where its content is going to stand.

    Yields:
        A folder beside that one.

    Raises:
        StorageError: The folder cannot be made, or something inside the block could not be written: disk full, no
            permission. The message says how much space is free.
    """
    draft = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name[:16]}-", dir=folder.parent))
        yield draft
    except OSError as error:
        written = sum(path.stat().st_size for path in draft.iterdir()) if draft else 0
        raise StorageError(
            f"The prepared data could not be written to {folder}: {error.strerror or error}.\n"
            f"Written before that: {written:,} bytes; free on that disk: {_free_bytes(folder)}.\n"
            "Make space there or give yourself permission to write, or set TEXTCLF_HOME to another directory. "
            "Nothing half-written remains."
        ) from error
    finally:
        if draft:
            shutil.rmtree(draft, ignore_errors=True)


def write_table(table: pa.Table, path: Path) -> None:
    """Writes a Parquet file and waits until the disk has it.

    Args:
        table: The rows.
        path: The new file.

    Raises:
        OSError: It could not be written; the message says how many bytes the rows take.
    """
    import pyarrow.parquet as pq

    try:
        with path.open("wb") as stream:
            pq.write_table(table, stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"{reason} ({path.name} needs up to {table.nbytes:,} bytes)") from error


def publish(record: PreparedData, draft: Path) -> PreparedData:
    """Moves a filled folder to its place in one step.

    Args:
        record: The record of the data set; its `folder` is the place.
        draft: The folder that `building` gave.

    Returns:
        The record; with `cached` set if another process has put the same data set there meanwhile.

    Raises:
        OSError: It could not be written.
    """
    names = sorted(path.name for path in draft.iterdir())
    manifest = {"prepared": record.model_dump(mode="json"), "files": {name: _sha256(draft / name) for name in names}}
    with (draft / _MANIFEST).open("w", encoding="utf-8") as stream:
        json.dump(manifest, stream, ensure_ascii=False, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    draft.chmod(0o755)
    if record.folder.exists():
        theirs = load(record.folder)
        if theirs:
            return theirs
        # Renamed first, so that no reader meets a folder that is being emptied.
        damaged = draft.with_name(f"{draft.name}-damaged")
        with suppress(FileNotFoundError):
            record.folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        draft.rename(record.folder)
    except OSError:
        if theirs := load(record.folder):
            return theirs
        raise
    return record


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _free_bytes(folder: Path) -> str:
    for path in folder.parents:
        with suppress(OSError):
            return f"{shutil.disk_usage(path).free:,} bytes"
    return "unknown"
