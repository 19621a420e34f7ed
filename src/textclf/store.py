"""Folders that are found again by digest: written whole or not at all, and checked before they are used.

A stored folder holds its files and a `manifest.json` with the record that describes it and the sha256 of every file.
It is built beside its place and renamed into it, so a killed process leaves nothing half-written behind, and two
processes that make the same folder at once both end with a good one.
"""

from __future__ import annotations

import errno
import fcntl
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
_DRAFT, _OWNER = ".draft", ".owner"
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
    with temporary_folder(folder.parent, folder.name) as draft:
        yield draft


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """Gives a new folder `<parent>/.<name>-….draft`, which goes when the block ends.

    A process that is killed leaves its draft behind; the next use of `parent` removes it. Which process lives is told
    by a lock on a file in the draft: the operating system drops it with the process.

    Raises:
        StorageError: The folder cannot be made, or something in the block could not be written.
    """
    draft = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_drafts_of_the_dead(parent)
        draft = Path(tempfile.mkdtemp(prefix=f".{name[:16]}-", suffix=_DRAFT, dir=parent))
        unlocked = draft / f"{_OWNER}.new"
        with unlocked.open("wb") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            # Under this name other processes see it; it was never there without its lock.
            unlocked.rename(draft / _OWNER)
            yield draft
    except OSError as error:
        raise storage_error(parent / name, error) from error
    finally:
        if draft:
            shutil.rmtree(draft, ignore_errors=True)


def _remove_drafts_of_the_dead(parent: Path) -> None:
    for owner in parent.glob(f".*{_DRAFT}/{_OWNER}"):
        # Locked, its process lives; gone, it has just finished.
        with suppress(OSError), owner.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            logger.info("Removing %s, which a process that was killed has left.", owner.parent)
            shutil.rmtree(owner.parent, ignore_errors=True)


def publish(draft: Path, folder: Path, record: AnyRecord) -> AnyRecord:
    """Moves a filled folder to its place in one step, with its manifest, so that it survives a power failure.

    Args:
        draft: The folder that `building` gave.
        folder: Its place.
        record: What describes it.

    Returns:
        The record; that of the other process, if one has put the same folder there meanwhile.

    Raises:
        OSError: It could not be written.
    """
    paths = sorted(path for path in draft.rglob("*") if path.name != _OWNER)
    files = [path for path in paths if path.is_file()]
    manifest = {
        "record": record.model_dump(mode="json"),
        "files": {path.relative_to(draft).as_posix(): file_sha256(path) for path in files},
    }
    for path in paths:
        _sync(path)
    write_text(draft / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1))
    draft.chmod(0o755)
    if folder.exists():
        if theirs := find(folder, type(record)):
            return theirs
        # Renamed first, so that no reader meets a folder that is being emptied.
        with temporary_folder(folder.parent, "damaged") as removed, suppress(FileNotFoundError):
            folder.rename(removed / folder.name)
    try:
        draft.rename(folder)
    except OSError:
        if theirs := find(folder, type(record)):
            return theirs
        raise
    _sync(folder.parent)
    (folder / _OWNER).unlink(missing_ok=True)
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
def appearing(path: Path, *, suffix: str | None = None) -> Iterator[Path]:
    """Gives the path of a file to write; when the block ends it takes its place, and if the block fails it goes.

    Args:
        path: The place; a file that is there is replaced, for good even if the power fails right after.
        suffix: Ends the name until then; None takes one of this process. One that stays the same has the next try
            replace what a killed process left.

    Yields:
        Where to write, in the same folder.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}{suffix or f'.{os.getpid()}'}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Waits until a file's content, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
