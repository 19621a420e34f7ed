"""The cache of fetched files: one folder per content digest, found by the requested source."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from textclf.config.home import Home
from textclf.errors import HubError, StorageError
from textclf.records import FetchedFile, Record
from textclf.store import MANIFEST, digest_of, file_sha256, write_text, writing

logger = logging.getLogger(__name__)


class StoredFile(FetchedFile):
    """A file of an entry, as recorded in the manifest."""

    mtime_ns: int
    """Modification time at the last correct sha256; with an unchanged size and time, the file is not hashed again."""


class Manifest(Record):
    """The files of an entry."""

    digest: str
    files: tuple[StoredFile, ...]


class IndexEntry(Record):
    """The entry that a source led to."""

    digest: str
    origin: str
    uri: str = ""
    revision: str | None = None


class Entry(IndexEntry):
    """An intact entry of the cache."""

    folder: Path
    files: tuple[FetchedFile, ...]


class DamagedEntryError(HubError):
    """A cache entry has a missing or altered file."""


class Cache:
    """Finds, checks and adds entries under `<home>/data/raw`.

    `<digest>/` holds files and a manifest, `.index/<specification digest>.json` leads from a source to its entry, and
    `.partial/<specification digest>/` holds the partial files of an unfinished fetch. A specification is what
    identifies a source.
    """

    def __init__(self, home: Home) -> None:
        self.root = home.raw

    def find(self, specification: Mapping[str, Any]) -> Entry | None:
        """Finds the entry of a source.

        Sizes are always compared; a file is hashed again only if its modification time has changed.

        Returns:
            The entry, or None if the source was never fetched into this cache.

        Raises:
            DamagedEntryError: A file is missing or altered; the message names it.
            StorageError: The cache cannot be read or written.
        """
        try:
            return self._find(self.root / ".index" / f"{digest_of(specification)}.json")
        except OSError as error:
            raise StorageError(f"The cache {self.root} cannot be read: {error}") from error

    def _find(self, index: Path) -> Entry | None:
        if not index.is_file():
            return None
        try:
            found = IndexEntry.model_validate_json(index.read_bytes())
        except ValidationError as error:
            raise DamagedEntryError(f"{index} is not an index entry") from error
        folder = self.root / found.digest
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise DamagedEntryError(f"{folder / MANIFEST} is not a manifest") from error
        self._check(folder, manifest)
        files = tuple(FetchedFile(path=f.path, sha256=f.sha256, size_bytes=f.size_bytes) for f in manifest.files)
        return Entry(folder=folder, files=files, **found.model_dump())

    def _check(self, folder: Path, manifest: Manifest) -> None:
        refreshed = []
        for file in manifest.files:
            path = folder / file.path
            try:
                state = path.stat()
            except FileNotFoundError:
                raise DamagedEntryError(f"{path} is missing") from None
            if state.st_size != file.size_bytes:
                raise DamagedEntryError(f"{path} has {state.st_size:,} bytes, expected {file.size_bytes:,}")
            if state.st_mtime_ns != file.mtime_ns:
                found = file_sha256(path)
                if found != file.sha256:
                    raise DamagedEntryError(f"{path} has sha256 {found}, expected {file.sha256}")
            refreshed.append(file.model_copy(update={"mtime_ns": state.st_mtime_ns}))
        if tuple(refreshed) != manifest.files:
            # A copied home has other times; without this, every run would hash everything again. A read-only home
            # stays usable.
            with contextlib.suppress(PermissionError):
                _write_manifest(folder, manifest.model_copy(update={"files": tuple(refreshed)}))

    def remove(self, specification: Mapping[str, Any]) -> None:
        """Removes a damaged entry and its index entry, so that it is fetched again.

        Raises:
            StorageError: The files cannot be removed.
        """
        index = self.root / ".index" / f"{digest_of(specification)}.json"
        with writing(self.root):
            try:
                digest = IndexEntry.model_validate_json(index.read_bytes()).digest
            except (FileNotFoundError, ValidationError):
                digest = None
            index.unlink(missing_ok=True)
            if digest is not None:
                self._discard(self.root / digest)

    @contextlib.contextmanager
    def fetching(self, specification: Mapping[str, Any]) -> Iterator[Path]:
        """Locks the folder for partial files of one source.

        A second process that wants the same source waits here until the first has finished, and then finds it in the
        cache. Partial files survive a failure or a kill, so that the next attempt can resume.

        Yields:
            The folder.

        Raises:
            StorageError: The cache cannot be written.
        """
        from filelock import FileLock, Timeout

        folder = self.root / ".partial" / digest_of(specification)
        with writing(self.root):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder.with_suffix(".lock"))
            try:
                lock.acquire(blocking=False)
            except Timeout:
                logger.info("Waiting for another run that is fetching the same source.")
                lock.acquire(poll_interval=0.1)
        try:
            with writing(self.root):
                folder.mkdir(exist_ok=True)
            yield folder
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()
            lock.release()

    def add(
        self,
        specification: Mapping[str, Any],
        partial: Path,
        files: Mapping[str, Path],
        *,
        origin: str,
        uri: str,
        revision: str | None,
    ) -> Entry:
        """Moves complete files into the cache; the entry appears in one step or not at all.

        Args:
            specification: What identifies the source.
            partial: The folder of the fetch; it is removed.
            files: The current place of each file, by its path in the entry.
            origin: The source with its revision, for display.
            uri: Address of the repository.
            revision: The commit that was fetched.

        Returns:
            The entry; an existing intact entry with the same digest is kept.

        Raises:
            HubError: A file has the name of the manifest.
            StorageError: The cache cannot be written.
        """
        if MANIFEST in files:
            raise HubError(f"a file named {MANIFEST} cannot be fetched: the cache uses this name itself")
        with writing(self.root):
            assembled = partial / "assembled"
            shutil.rmtree(assembled, ignore_errors=True)
            stored = []
            for path, arrived in sorted(files.items()):
                place = assembled / path
                place.parent.mkdir(parents=True, exist_ok=True)
                arrived.replace(place)
                state = place.stat()
                sha256 = file_sha256(place)
                stored.append(
                    StoredFile(path=path, sha256=sha256, size_bytes=state.st_size, mtime_ns=state.st_mtime_ns)
                )
            digest = content_digest(stored)
            manifest = Manifest(digest=digest, files=tuple(stored))
            _write_manifest(assembled, manifest)
            self._publish(assembled, self.root / digest)
            index = self.root / ".index" / f"{digest_of(specification)}.json"
            index.parent.mkdir(exist_ok=True)
            record = IndexEntry(digest=digest, origin=origin, uri=uri, revision=revision)
            write_text(index, record.model_dump_json())
            shutil.rmtree(partial, ignore_errors=True)
        entry = self.find(specification)
        if entry is None:
            raise HubError(f"the entry {self.root / digest} vanished while it was being added")
        return entry

    def _publish(self, assembled: Path, folder: Path) -> None:
        try:
            assembled.rename(folder)
            return
        except OSError:
            if not folder.exists():
                raise
        try:
            self._check(folder, Manifest.model_validate_json((folder / MANIFEST).read_bytes()))
        except (DamagedEntryError, FileNotFoundError, ValidationError) as damage:
            logger.warning("Replacing a damaged cache entry: %s.", damage)
            self._discard(folder)
            assembled.rename(folder)

    def _discard(self, folder: Path) -> None:
        if not folder.exists():
            return
        # Renamed first, so that no other process sees half an entry.
        grave = self.root / ".partial" / f"{folder.name}.{os.getpid()}.removed"
        grave.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(grave)
        shutil.rmtree(grave)


def content_digest(files: Sequence[FetchedFile]) -> str:
    """Digests names and contents: the same files have the same digest, wherever they come from."""
    return digest_of(sorted((file.path, file.sha256) for file in files))


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    write_text(folder / MANIFEST, json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False, indent=1))
