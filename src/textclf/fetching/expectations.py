"""What a source states about its files, against what a hub announces and what arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textclf.config.sources import (
    DataSource,
    HubDataSource,
    HubModelSource,
    LocalDataSource,
    LocalModelSource,
    ModelSource,
)
from textclf.errors import HubError, IntegrityError
from textclf.fetching.providers import Listing
from textclf.records import FetchedFile

AnySource = ModelSource | DataSource
AnyHubSource = HubModelSource | HubDataSource


def stated_sha256(source: AnySource) -> Mapping[str, str]:
    """The sha256 that a source states, by file path; the sample states none."""
    if isinstance(source, HubModelSource | HubDataSource | LocalModelSource | LocalDataSource):
        return source.sha256
    return {}


def check_stated(source: AnySource, files: Sequence[FetchedFile]) -> None:
    """Compares files with what the source states.

    Raises:
        IntegrityError: A file has another sha256.
        HubError: The source states the sha256 of a file that is not among them.
    """
    stated = stated_sha256(source)
    _check_names(stated, [file.path for file in files])
    for file in files:
        expected = stated.get(file.path)
        if expected is not None and file.sha256 != expected:
            raise wrong_bytes(file.path, expected, file.sha256)


def check_announced(source: AnySource, listing: Listing, chosen: Sequence[str]) -> None:
    """Compares what a hub announces with what the source states, to spare a download that is known to be wrong.

    Raises:
        IntegrityError: A hub announces another sha256.
        HubError: The source states the sha256 of a file that is not among the chosen.
    """
    stated = stated_sha256(source)
    _check_names(stated, chosen)
    for path in chosen:
        announced = listing.files[path].sha256
        if path in stated and announced is not None and announced != stated[path]:
            raise wrong_bytes(path, stated[path], announced)


def _check_names(stated: Mapping[str, str], chosen: Sequence[str]) -> None:
    unknown = sorted(set(stated) - set(chosen))
    if unknown:
        raise HubError(f"`sha256` names {', '.join(unknown)}, but the files are {', '.join(chosen)}")


def wrong_bytes(path: str, expected: str, found: str) -> IntegrityError:
    """Words a difference from what the source states."""
    return IntegrityError(f"{path} has another sha256 than the source states: expected {expected}, found {found}")
