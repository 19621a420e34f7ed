"""Checks files against the sha256 values in their source, before and after the download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textclf.config.sources import Source
from textclf.errors import HubError, IntegrityError
from textclf.fetching.providers import Listing
from textclf.records import FetchedFile


def check_stated(source: Source, files: Sequence[FetchedFile]) -> None:
    """Checks fetched files against their source.

    Raises:
        IntegrityError: The sha256 of a file differs.
        HubError: The source gives the sha256 of a file that is not among them.
    """
    _check_names(source.sha256, [file.path for file in files])
    for file in files:
        expected = source.sha256.get(file.path)
        if expected is not None and file.sha256 != expected:
            raise wrong_bytes(file.path, expected, file.sha256)


def check_announced(source: Source, listing: Listing, chosen: Sequence[str]) -> None:
    """Checks a hub's listing against the source, to avoid a download that is known to be wrong.

    Raises:
        IntegrityError: The announced sha256 of a file differs.
        HubError: The source gives the sha256 of a file that is not among the chosen ones.
    """
    stated = source.sha256
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
    """Returns the error for a file whose sha256 is not the one in the source."""
    return IntegrityError(f"{path} does not have the sha256 in the source: expected {expected}, found {found}")
