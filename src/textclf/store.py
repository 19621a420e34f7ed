"""Folders that are found again by digest: written whole or not at all, and checked before they are used.

A stored folder holds its files and a `manifest.json` with the record that describes it and the sha256 of every file.
It is built beside its place and renamed into it, so a killed process leaves nothing half-written behind, and two
processes that make the same folder at once both end with a good one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from textclf.errors import StorageError
from textclf.records import Record

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
AnyRecord = TypeVar("AnyRecord", bound=Record)


def digest_of(*parts: object) -> str:
    """Digests values that JSON can write, in order.

    Returns:
        The first 32 hexadecimal digits of a sha256, enough to name a folder.
    """
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_sha256(path: Path) -> str:
    """Digests a file's bytes without reading it into memory at once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(folder: Path, record: type[AnyRecord]) -> AnyRecord | None:
    """Finds a stored folder again and checks that its files are as they were written.

    Args:
        folder: Where it would be.
        record: The class of the record in its manifest.

    Returns:
        The record; its fields `folder` and `cached`, if it has them, say where it is now and that it was found. None
        if there is no such folder, or if a file in it is missing or damaged, which is logged.

    Raises:
        StorageError: The folder cannot be read.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        here = {"folder": folder, "cached": True}
        known = {name: value for name, value in here.items() if name in record.model_fields}
        found = record.model_validate({**manifest["record"], **known})
        damaged = [name for name, sha256 in manifest["files"].items() if file_sha256(folder / name) != sha256]
    except FileNotFoundError as error:
        if not folder.is_dir():
            return None
        damaged = [str(error.filename)]
    except OSError as error:
        raise StorageError(f"The stored data in {folder} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        damaged = [MANIFEST]
    if damaged:
        logger.warning("The stored data in %s is damaged (%s): it is made again.", folder, ", ".join(damaged))
        return None
    return found


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Gives a new empty folder to fill; it goes when the block ends, unless `publish` moved it.

    Args:
        folder: The place it will take.

    Yields:
        The folder to fill, on the same file system.

    Raises:
        StorageError: The folder cannot be made, or something in the block could not be written: disk full, no
            permission. Nothing half-written remains.
    """
    draft = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name[:16]}-", dir=folder.parent))
        yield draft
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        if draft:
            shutil.rmtree(draft, ignore_errors=True)


def publish(draft: Path, folder: Path, record: AnyRecord) -> AnyRecord:
    """Moves a filled folder to its place in one step, with its manifest.

    Args:
        draft: The folder that `building` gave.
        folder: Its place.
        record: What describes it.

    Returns:
        The record; that of the other process, if one has put the same folder there meanwhile.

    Raises:
        OSError: It could not be written.
    """
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    manifest = {
        "record": record.model_dump(mode="json"),
        "files": {path.relative_to(draft).as_posix(): file_sha256(path) for path in files},
    }
    write_text(draft / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1))
    draft.chmod(0o755)
    if folder.exists():
        if theirs := find(folder, type(record)):
            return theirs
        # Renamed first, so that no reader meets a folder that is being emptied.
        damaged = draft.with_name(f"{draft.name}-damaged")
        with suppress(FileNotFoundError):
            folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        draft.rename(folder)
    except OSError:
        if theirs := find(folder, type(record)):
            return theirs
        raise
    return record


def write_text(path: Path, text: str) -> None:
    """Writes a small UTF-8 file so that it appears whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that it appears whole or not at all."""
    with appearing(path) as temporary:
        temporary.write_bytes(content)


def write_output(path: Path, content: bytes) -> None:
    """Writes a file that a user asked for, and the folders above it; it appears whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        raise storage_error(path, error) from error


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Gives the path of a file to write; when the block ends it takes its place, and if the block fails it goes.

    Args:
        path: The place; a file that is there is replaced.

    Yields:
        Where to write, in the same folder.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def storage_error(path: Path, error: OSError) -> StorageError:
    """Words a failed write for the user, with the space that is left."""
    if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
        return StorageError(
            f"Writing to {path} failed: {error.strerror}.\n"
            "Name a place in a folder that exists and that you may write to; for what lies in the home directory, set "
            "TEXTCLF_HOME to such a folder."
        )
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    return StorageError(
        f"Writing to {path} failed: {error.strerror or error}. {free / 1e6:,.0f} MB are free there.\n"
        "Free some space, or set TEXTCLF_HOME to a directory on a larger disk, and start the same command again."
    )
