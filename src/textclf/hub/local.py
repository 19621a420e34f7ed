"""Models and data sets that lie on this machine and are used in place."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Sequence
from pathlib import Path

from textclf.config.sources import HubDataSource, LocalDataSource, LocalModelSource, Split
from textclf.errors import HubError
from textclf.hub.cache import Entry, content_digest
from textclf.hub.expectations import AnySource, check_stated
from textclf.hub.providers import RepositoryKind
from textclf.hub.selection import find_splits, select_model_files
from textclf.records import FetchedFile
from textclf.store import file_sha256


def local_entry(kind: RepositoryKind, source: AnySource) -> Entry:
    """Digests a folder or file where it lies; nothing is copied.

    Args:
        kind: What it should hold.
        source: A local source, or the sample.

    Raises:
        HubError: It does not exist, cannot be read, or holds nothing of that kind.
        IntegrityError: A file has another sha256 than the source states.
    """
    if isinstance(source, LocalModelSource | LocalDataSource):
        path = source.path.expanduser().absolute()
        origin = f"local {path}"
    else:
        path = Path(str(importlib.resources.files("textclf.data"))) / "sample"
        origin = "the sample that ships with textclf"
    if not path.exists():
        raise HubError(f"there is no {path}")
    chosen: tuple[str, ...]
    if path.is_file():
        if kind == "model":
            raise HubError(f"{path} is a file; a model is a folder with config.json")
        if isinstance(source, LocalDataSource) and source.files:
            raise HubError(f"{path} is one file, so `files` of the source has nothing to choose from; leave it out")
        folder, chosen = path.parent, (path.name,)
    else:
        existing = _files_below(path)
        if kind == "model":
            chosen = select_model_files(existing)
        else:
            splits = splits_of(source, existing)
            chosen = tuple(sorted({name for names in splits.values() for name in names}))
        folder = path
    try:
        files = tuple(
            FetchedFile(path=name, sha256=file_sha256(folder / name), size_bytes=(folder / name).stat().st_size)
            for name in chosen
        )
    except OSError as error:
        raise HubError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    check_stated(source, files)
    return Entry(digest=content_digest(files), folder=folder, origin=origin, files=files)


def _files_below(folder: Path) -> list[str]:
    found: list[str] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend((Path(place) / name).relative_to(folder).as_posix() for name in names)
    return found


def splits_of(source: AnySource, paths: Sequence[str]) -> dict[Split, tuple[str, ...]]:
    """Says which of a source's files make up which split; a local source that is one file is all `train`.

    Raises:
        HubError: As `find_splits` does.
    """
    if isinstance(source, LocalDataSource) and source.path.expanduser().is_file():
        return {"train": tuple(paths)}
    patterns = source.files if isinstance(source, HubDataSource | LocalDataSource) else {}
    return find_splits(paths, patterns)
