"""Folders that are found again by digest: written whole or not at all, and checked before they are used.

A stored folder holds its files and a `manifest.json` with the record that describes it and the sha256 of every file.
It is built beside its place and renamed into it, so a killed process leaves nothing half-written behind, and two
processes that make the same folder at once both end with a good one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

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
    """Finds a stored folder again.

    Args:
        folder: Where it would be.
        record: The class of the record in its manifest.

    Returns:
        The record, or None if there is no such folder or a file in it is missing or damaged; the damaged folder is
        then removed, so that it is made again.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return None
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        damaged = [name for name, sha256 in content["files"].items() if file_sha256(folder / name) != sha256]
        found = record.model_validate(content["record"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        damaged, found = [f"{MANIFEST} ({error})"], None
    if damaged or found is None:
        logger.warning("The stored folder %s is damaged (%s) and will be made again.", folder, ", ".join(damaged))
        shutil.rmtree(folder)
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
        StorageError: The disk is full or must not be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise storage_error(folder, error) from error
    try:
        yield temporary
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish(temporary: Path, folder: Path, record: Record) -> None:
    """Moves a filled folder to its place, with its manifest; keeps what another process put there first."""
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    content = {
        "record": record.model_dump(mode="json"),
        "files": {path.relative_to(temporary).as_posix(): file_sha256(path) for path in files},
    }
    write_text(temporary / MANIFEST, json.dumps(content, ensure_ascii=False, indent=1))
    try:
        temporary.rename(folder)
    except OSError:
        if not (folder / MANIFEST).is_file():
            raise
        logger.info("Another process made %s at the same time; that one is used.", folder)


def write_text(path: Path, text: str) -> None:
    """Writes a small UTF-8 file so that it appears whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that it appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def storage_error(path: Path, error: OSError) -> StorageError:
    """Words a failed write for the user, with the space that is left."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    return StorageError(
        f"Writing to {path} failed: {error.strerror or error}. {free / 1e6:,.0f} MB are free there.\n"
        "Free some space, or set TEXTCLF_HOME to a directory on a larger disk, and start the same command again."
    )
