"""Stores folders by digest: written completely or not at all, and checked before use.

A stored folder contains its files and a `manifest.json` with the record that describes it and the sha256 of every file.
It is built next to its final place and renamed, so a killed process leaves nothing half-written, and two processes that
build the same folder at the same time both end with an intact one.
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
    """Digests values, in order, as JSON.

    Returns:
        The first 32 hexadecimal digits of a sha256, enough to name a folder.
    """
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_sha256(path: Path) -> str:
    """Digests a file block by block."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(folder: Path, record: type[AnyRecord]) -> AnyRecord | None:
    """Finds a stored folder and checks that its files are unchanged.

    Returns:
        The record, with the current `folder` and with `cached` true if it has these fields. None if the folder does not
        exist, or if a file is missing or damaged, which is logged.

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
        logger.warning("The stored data in %s is damaged (%s) and is rebuilt.", folder, ", ".join(damaged))
        return None
    return found


def stated(folder: Path, record: type[AnyRecord]) -> AnyRecord | None:
    """Reads what a stored folder says of itself, without reading its files; None if it is gone or damaged."""
    try:
        return record.model_validate(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["record"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Creates an empty draft of `folder`, which is removed when the block ends, unless `publish` moved it.

    Yields:
        The draft, on the same file system.

    Raises:
        StorageError: The draft cannot be created, or a write in the block failed. Nothing half-written remains.
    """
    with temporary_folder(folder.parent, folder.name) as draft:
        yield draft


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """Creates a folder `<parent>/.<name>-….draft`, which is removed when the block ends.

    The draft of a killed process is removed by the next use of `parent`. A lock on a file in the draft shows that its
    process is alive: the operating system releases it when the process ends.

    Raises:
        StorageError: The folder cannot be created, or a write in the block failed.
    """
    draft = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_drafts_of_the_dead(parent)
        draft = Path(tempfile.mkdtemp(prefix=f".{name[:16]}-", suffix=_DRAFT, dir=parent))
        unlocked = draft / f"{_OWNER}.new"
        with unlocked.open("wb") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            # Other processes look for this name, which never exists without its lock.
            unlocked.rename(draft / _OWNER)
            yield draft
    except OSError as error:
        raise storage_error(parent / name, error) from error
    finally:
        if draft:
            shutil.rmtree(draft, ignore_errors=True)


def _remove_drafts_of_the_dead(parent: Path) -> None:
    for owner in parent.glob(f".*{_DRAFT}/{_OWNER}"):
        # If it is locked, its process is alive; if it is gone, the process has just finished.
        with suppress(OSError), owner.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            logger.info("Removing %s, left behind by a killed process.", owner.parent)
            shutil.rmtree(owner.parent, ignore_errors=True)


def publish(draft: Path, folder: Path, record: AnyRecord) -> AnyRecord:
    """Writes the manifest and moves a draft from `building` to its place in one step that survives a power failure.

    Returns:
        The record, or that of another process that has published the same folder in the meantime.

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
        sync(path)
    write_text(draft / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1))
    draft.chmod(0o755)
    if folder.exists():
        if theirs := find(folder, type(record)):
            return theirs
        # Renamed first, so that no reader finds a half-removed folder.
        with temporary_folder(folder.parent, "damaged") as removed, suppress(FileNotFoundError):
            folder.rename(removed / folder.name)
    try:
        draft.rename(folder)
    except OSError:
        if theirs := find(folder, type(record)):
            return theirs
        raise
    sync(folder.parent)
    (folder / _OWNER).unlink(missing_ok=True)
    return record


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file that appears complete or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file that appears complete or not at all."""
    with appearing(path) as temporary:
        temporary.write_bytes(content)


def write_output(path: Path, content: bytes) -> None:
    """Writes a file that a user asked for, as `write_bytes` does, and creates its parent folders.

    Raises:
        StorageError: It cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)


@contextmanager
def appearing(path: Path, *, suffix: str | None = None) -> Iterator[Path]:
    """Yields a temporary path in the same folder, which is renamed to `path` when the block succeeds.

    The replacement survives a power failure. If the block fails, the temporary file is removed.

    Args:
        path: The final place; an existing file is replaced.
        suffix: Suffix of the temporary name, by default the process id. With a fixed one, the next attempt overwrites
            what a killed process left behind.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}{suffix or f'.{os.getpid()}'}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError inside the block into a StorageError."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def storage_error(path: Path, error: OSError) -> StorageError:
    """Describes a failed write, with the free space."""
    if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
        return StorageError(
            f"Writing to {path} failed: {error.strerror}.\n"
            "Choose a place in an existing folder with write permission; for files in the home directory, set "
            "TEXTCLF_HOME to such a folder."
        )
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    return StorageError(
        f"Writing to {path} failed: {error.strerror or error}. {free / 1e6:,.0f} MB are free there.\n"
        "Free some space, or set TEXTCLF_HOME to a directory on a larger disk, and start the same command again."
    )
