"""Models and data sets on this machine, which are used in place."""

from __future__ import annotations

import glob
import importlib.resources
import os
from collections.abc import Sequence
from pathlib import Path

from textclf.config.sources import SAMPLE_DATA, SAMPLE_ENCODER, DataSource, Source, Split
from textclf.errors import DataError, HubError, StorageError
from textclf.fetching.cache import Entry, content_digest
from textclf.fetching.expectations import check_stated
from textclf.fetching.providers import RepositoryKind
from textclf.fetching.selection import DATA_FORMATS, data_files, find_splits, name_splits, select_model_files, split_of
from textclf.reading.detection import TEXT_ENDING, data_ending
from textclf.records import FetchedData, FetchedFile
from textclf.store import file_sha256

SAMPLE = Path(str(importlib.resources.files("textclf.data"))) / "sample"
"""What ships with textclf: texts, and an encoder in `encoder`."""


def local_files(paths: Sequence[Path | str]) -> FetchedData:
    """Describes the data files named by command-line arguments, without copying them.

    Files whose names begin with train, validation, valid, dev or test (in any case) belong to these splits. If no name
    does, or there is only one file, everything is `train`.

    Args:
        paths: Files, folders or glob patterns (`**` includes subfolders). A folder stands for all data files in or
            below it, a pattern for those that it matches, except hidden files and Office lock files (`~$`). .txt files
            count if the path or pattern names them, or as described at `data_files`.

    Returns:
        The files, each once, with their digests; the folder is the nearest one that contains them all.

    Raises:
        DataError: A path does not exist or contains no data file, or some names indicate a split and others do not.
        StorageError: A file or folder cannot be read.
    """
    found: list[Path] = []
    try:
        for given in paths:
            found += given_files(Path(given).expanduser())
        if not found:
            raise DataError("No data file is given: name at least one file, folder or pattern.")
        folder, files = _described(found)
    except OSError as error:
        raise StorageError(f"{error.filename} cannot be read: {error.strerror or error}.") from error
    return FetchedData(
        digest=content_digest(files),
        folder=folder,
        files=files,
        splits=name_splits(file.path for file in files),
        origin=f"local {', '.join(str(path) for path in paths)}",
        uri=str(folder),
        cached=False,
        attempts=(),
    )


def local_entry(kind: RepositoryKind, source: Source) -> Entry:
    """Describes a local source or the sample without copying it. The path of a data set may be a glob pattern.

    Raises:
        HubError: It does not exist, cannot be read, or contains nothing of that kind.
        IntegrityError: The sha256 of a file is not the one in the source.
    """
    if source.path is not None:
        path = source.path.expanduser().absolute()
        origin, uri = f"local {path}", str(path)
    else:
        path = SAMPLE
        origin, uri = SAMPLE_DATA, ""
        if kind == "model":
            path, origin = path / "encoder", SAMPLE_ENCODER
    if not (path.exists() if kind == "model" else local_data_exists(path)):
        raise HubError(f"{path} does not exist")
    try:
        folder, files = _described(_chosen(kind, source, path), folder=path if path.is_dir() else None)
    except OSError as error:
        raise HubError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    check_stated(source, files)
    return Entry(digest=content_digest(files), folder=folder, origin=origin, uri=uri, files=files)


def folder_entry(folder: Path, origin: str) -> Entry:
    """Describes a model folder that was found elsewhere, in place.

    Raises:
        HubError: It cannot be read, or is no model folder.
    """
    try:
        names = select_model_files(_files_below(folder))
        _, files = _described([folder / name for name in names], folder=folder)
    except OSError as error:
        raise HubError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    return Entry(digest=content_digest(files), folder=folder, origin=origin, files=files)


def local_splits(source: DataSource, path: Path) -> tuple[Path, dict[Split, tuple[str, ...]]]:
    """Finds the files of a local data set without reading them.

    Args:
        source: The data set.
        path: Its path.

    Returns:
        The folder, and the paths in it by split.

    Raises:
        HubError: It does not exist, cannot be listed, or contains no training data.
    """
    path = path.expanduser().absolute()
    if not local_data_exists(path):
        raise HubError(f"{path} does not exist")
    try:
        files = _chosen("dataset", source, path)
    except OSError as error:
        raise HubError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    folder = path if path.is_dir() else _common_folder(files)
    return folder, splits_of(source, [file.relative_to(folder).as_posix() for file in files])


def local_data_exists(path: Path) -> bool:
    """Returns whether the path is a file, a folder, or a pattern that matches a data file."""
    path = path.expanduser()
    return path.exists() or (glob.has_magic(str(path)) and bool(_matching(path)))


def splits_of(source: Source, paths: Sequence[str]) -> dict[Split, tuple[str, ...]]:
    """Finds the files of each split.

    A local source is all `train` if it is one file, or if no file name indicates a split.

    Raises:
        HubError: As in `find_splits`; or some file names of a pattern indicate a split and others do not.
    """
    patterns = source.files if isinstance(source, DataSource) else {}
    if source.path is not None:
        path = source.path.expanduser()
        if path.is_file():
            return {"train": tuple(paths)}
        files = data_files(paths)
        if not patterns and path.is_dir() and files and not any(map(split_of, files)):
            return {"train": tuple(sorted(files))}
        if not path.is_dir() and not patterns:
            try:
                return name_splits(paths)
            except DataError as error:
                raise HubError(str(error)) from error
    return find_splits(paths, patterns)


def given_files(path: Path) -> list[Path]:
    """Returns the sorted absolute paths of a file, or of the data files of a folder or pattern (`local_files`).

    Raises:
        DataError: It does not exist or contains no data file.
        OSError: A folder cannot be listed.
    """
    if not path.exists() and not glob.has_magic(str(path)):
        raise DataError(f"There is no file or folder {path.absolute()}.\nCheck the spelling.")
    files = _matching(path)
    if not files:
        place = path.absolute()
        none = f"The folder {place} contains" if path.is_dir() else f"The pattern {place} matches"
        raise DataError(
            f"{none} no data file: expected names that end in {', '.join(DATA_FORMATS)}; "
            "text formats may also be compressed (e.g. .csv.gz)."
        )
    return files


def _chosen(kind: RepositoryKind, source: Source, path: Path) -> list[Path]:
    if path.is_file():
        if kind == "model":
            raise HubError(f"{path} is a file; a model is a folder with config.json")
        if isinstance(source, DataSource) and source.files:
            raise HubError(f"{path} is a single file; remove `files` from the source")
        return [path]
    if path.is_dir():
        folder, existing = path, _files_below(path)
    else:
        matching = _matching(path)
        folder = _common_folder(matching)
        existing = [file.relative_to(folder).as_posix() for file in matching]
    if kind == "model":
        return [folder / name for name in select_model_files(existing)]
    splits = splits_of(source, existing)
    return [folder / name for names in splits.values() for name in names]


def _matching(path: Path) -> list[Path]:
    """Returns the sorted absolute paths of a file, or of the data files of a folder or pattern."""
    if path.is_file():
        return [_plain(path)]
    if path.is_dir():
        files = [_plain(path) / name for name in data_files(_files_below(path))]
    else:
        # Unlike pathlib, glob skips hidden folders, as a shell does.
        matches = (_plain(Path(match)) for match in glob.iglob(str(path), recursive=True))  # noqa: PTH207
        files = [match for match in matches if match.is_file() and data_ending(match.name) and _is_visible(match.name)]
        if not str(data_ending(path.name)).startswith(TEXT_ENDING):
            kept = set(data_files(map(str, files)))
            files = [file for file in files if str(file) in kept]
    return sorted(files)


def _plain(path: Path) -> Path:
    # Absolute and without `..`, so that a file named twice counts once; symbolic links are kept.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _files_below(folder: Path) -> list[str]:
    found: list[str] = []
    for place, folders, names in os.walk(folder, onerror=_refused):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend((Path(place) / name).relative_to(folder).as_posix() for name in names if _is_visible(name))
    return found


def _refused(error: OSError) -> None:
    # A folder that cannot be listed may contain data: skipping it would silently lose rows.
    raise error


def _is_visible(name: str) -> bool:
    return not name.startswith((".", "~$"))


def _common_folder(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([file.parent for file in files]))


def _described(files: Sequence[Path], folder: Path | None = None) -> tuple[Path, tuple[FetchedFile, ...]]:
    """Returns a folder, by default the nearest one that contains all files, and the files with their digests."""
    folder = folder or _common_folder(files)
    described = (
        FetchedFile(path=file.relative_to(folder).as_posix(), sha256=file_sha256(file), size_bytes=file.stat().st_size)
        for file in sorted(set(files))
    )
    return folder, tuple(described)
