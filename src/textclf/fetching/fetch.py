"""Fetches a model or data set from the first of its sources that works."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textclf.config.home import Environment, Home
from textclf.config.sources import SAMPLE_DATA, SAMPLE_ENCODER, DataSource, ModelSource, Source
from textclf.errors import ConfigError, HubError, HubUnreachableError, IntegrityError, StorageError, redacted
from textclf.fetching.access import endpoint_of
from textclf.fetching.cache import Cache, DamagedEntryError, Entry
from textclf.fetching.expectations import check_announced, check_stated, wrong_bytes
from textclf.fetching.local import local_data_exists, local_entry, splits_of
from textclf.fetching.patience import Patience
from textclf.fetching.providers import Listing, RepositoryKind, list_repository
from textclf.fetching.selection import find_splits, select_model_files
from textclf.fetching.transfer import download
from textclf.records import Attempt, FetchedData, FetchedModel
from textclf.store import file_sha256

logger = logging.getLogger(__name__)

Registered = Callable[[Source], Entry]
"""Finds a model in the registry."""

# Left for other writes during a download.
_SPARE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class _Found:
    entry: Entry
    cached: bool
    source: Source


def fetch_model(
    sources: Sequence[ModelSource],
    *,
    home: Home,
    offline: bool = False,
    environment: Environment | None = None,
    registered: Registered | None = None,
) -> FetchedModel:
    """Fetches a model: configuration, tokenizer and safetensors weights.

    Looks in the cache for each source in turn, then tries the sources in order. Files are checked against the size and
    hash that the hub announces and the `sha256` of the source. Interrupted downloads resume. A local folder is used in
    place, and so is the encoder that ships with textclf.

    Args:
        sources: In order of preference.
        home: Contains the cache.
        offline: Use only the cache and local folders; never open a connection.
        environment: Addresses and tokens; read from the process's environment by default.
        registered: Finds a source whose provider is `registry`; raises HubError if it is not there.

    Returns:
        The folder, as `from_pretrained` reads it, with the digests of its files and the attempts made.

    Raises:
        ConfigError: There are no sources.
        HubUnreachableError: Every source failed in a way that may be temporary.
        IntegrityError: Every source had unexpected bytes.
        HubError: No source worked. The message lists the attempts and the alternatives.
        StorageError: The cache cannot be read or written.
    """
    found, attempts = _fetch("model", sources, home, offline, environment or Environment(), registered)
    known = found.entry.model_dump(exclude={"uri", "revision"})
    return FetchedModel(**known, cached=found.cached, attempts=attempts)


def fetch_data(
    sources: Sequence[DataSource], *, home: Home, offline: bool = False, environment: Environment | None = None
) -> FetchedData:
    """Fetches the raw files of a data set; parameters and errors are those of `fetch_model`.

    `files` of the source selects the files; by default, those in a known format whose names begin with train,
    validation, valid, dev or test. A local source may be a single file, which is then `train`.

    Returns:
        The folder, its files by split with their digests, and the attempts made.
    """
    found, attempts = _fetch("dataset", sources, home, offline, environment or Environment())
    entry = found.entry
    splits = splits_of(found.source, [file.path for file in entry.files])
    return FetchedData(**entry.model_dump(), splits=splits, cached=found.cached, attempts=attempts)


def _fetch(
    kind: RepositoryKind,
    sources: Sequence[Source],
    home: Home,
    offline: bool,
    environment: Environment,
    registered: Registered | None = None,
) -> tuple[_Found, tuple[Attempt, ...]]:
    thing = "model" if kind == "model" else "data set"
    if not sources:
        raise ConfigError(f"The {thing} has no source: give at least one in `sources`.")
    cache = Cache(home)
    begun = time.monotonic()
    if (found := _first_cached(cache, kind, sources, offline)) is not None:
        logger.info("The %s is in the cache: %s, in %s.", thing, found.entry.origin, found.entry.folder)
        return found, (
            Attempt(source=f"the cache, from {found.entry.origin}", seconds=time.monotonic() - begun, failure=None),
        )
    patience = Patience(sum(source.is_hub for source in sources))
    attempts: list[Attempt] = []
    failures: list[HubError] = []
    for source in sources:
        begun = time.monotonic()
        name = _describe(source, environment)
        logger.info("Looking for the %s: %s.", thing, name)
        try:
            if source.provider == "registry" and registered is not None:
                found = _Found(entry=registered(source), cached=False, source=source)
            else:
                found = _try_source(cache, kind, source, offline, environment, patience)
        except HubError as error:
            # The clients quote the addresses that they requested, including signed CDN addresses.
            failure = redacted(str(error))
            failures.append(error)
            attempts.append(Attempt(source=name, seconds=time.monotonic() - begun, failure=failure))
            logger.warning("%s failed: %s", name, failure)
            if source.is_hub:
                patience.next_source()
        else:
            attempts.append(Attempt(source=name, seconds=time.monotonic() - begun, failure=None))
            logger.info("The %s is in %s (%d files).", thing, found.entry.folder, len(found.entry.files))
            return found, tuple(attempts)
    raise _combined(failures)(_message(kind, attempts, home, offline))


def _first_cached(cache: Cache, kind: RepositoryKind, sources: Sequence[Source], offline: bool) -> _Found | None:
    for source in sources:
        if not source.is_hub:
            if source.path is None or local_data_exists(source.path):
                return None
            continue
        try:
            entry = _cached(cache, kind, source)
        except HubError as error:
            if not offline:
                logger.warning("A cache entry is unusable and is fetched again: %s.", error)
            if isinstance(error, DamagedEntryError) and not offline:
                cache.remove(_specification(kind, source))
            return None
        if entry is not None:
            return _Found(entry=entry, cached=True, source=source)
    return None


def _cached(cache: Cache, kind: RepositoryKind, source: Source) -> Entry | None:
    entry = cache.find(_specification(kind, source))
    if entry is not None:
        check_stated(source, entry.files)
    return entry


def _try_source(
    cache: Cache,
    kind: RepositoryKind,
    source: Source,
    offline: bool,
    environment: Environment,
    patience: Patience,
) -> _Found:
    if not source.is_hub:
        return _Found(entry=local_entry(kind, source), cached=False, source=source)
    if offline:
        try:
            entry = _cached(cache, kind, source)
        except DamagedEntryError as error:
            raise HubError(f"`offline` is set and the cache entry is damaged: {error}") from error
        if entry is None:
            raise HubError(f"`offline` is set and it is not in the cache {cache.root}")
        return _Found(entry=entry, cached=True, source=source)
    specification = _specification(kind, source)
    with cache.fetching(specification) as partial:
        # Another run may have fetched it while this one waited.
        try:
            entry = _cached(cache, kind, source)
        except (DamagedEntryError, IntegrityError):
            entry = None
        if entry is not None:
            return _Found(entry=entry, cached=True, source=source)
        listing = list_repository(source, kind, environment, patience)
        chosen = _choose(source, listing)
        check_announced(source, listing, chosen)
        _check_space(partial, listing, chosen)
        arrived: dict[str, Path] = {}
        for path in chosen:
            arrived[path] = download(listing.files[path], partial, listing.access, patience)
            expected = source.sha256.get(path)
            if expected is not None and (actual := file_sha256(arrived[path])) != expected:
                arrived[path].unlink()
                raise wrong_bytes(path, expected, actual)
        endpoint = endpoint_of(source, environment)
        entry = cache.add(
            specification,
            partial,
            arrived,
            origin=redacted(f"{source.provider} {source.name}@{listing.revision} at {endpoint}"),
            uri=redacted(f"{endpoint}/{'datasets/' if kind == 'dataset' else ''}{source.name}"),
            revision=listing.revision,
        )
        return _Found(entry=entry, cached=False, source=source)


def _choose(source: Source, listing: Listing) -> tuple[str, ...]:
    if isinstance(source, DataSource):
        splits = find_splits(listing.files, source.files)
        return tuple(sorted({path for paths in splits.values() for path in paths}))
    return select_model_files(listing.files)


def _check_space(partial: Path, listing: Listing, chosen: Sequence[str]) -> None:
    needed = 0
    for file in (listing.files[path] for path in chosen):
        part = partial / file.part_name
        needed += max(0, (file.size_bytes or 0) - (part.stat().st_size if part.exists() else 0))
    free = shutil.disk_usage(partial).free
    if needed + _SPARE_BYTES > free:
        raise StorageError(
            f"The download needs {needed / 1e6:,.0f} MB, but only {free / 1e6:,.0f} MB are free in {partial}.\n"
            "Free some space, or set TEXTCLF_HOME to a directory on a larger disk."
        )


def _specification(kind: RepositoryKind, source: Source) -> dict[str, Any]:
    return {
        "kind": kind,
        "provider": source.provider,
        "name": source.name,
        "revision": source.revision,
        # Only the configured one: a mirror from the environment serves the same files, and is not known offline.
        "endpoint": source.endpoint,
        "files": source.files if isinstance(source, DataSource) else {},
    }


def _describe(source: Source, environment: Environment) -> str:
    if source.is_hub:
        pinned = f"@{source.revision}" if source.revision else ""
        return redacted(f"{source.provider} {source.name}{pinned} at {endpoint_of(source, environment)}")
    if source.provider == "registry":
        return f"registry {source.name}" + (f" version {source.revision}" if source.revision else "")
    if source.path is not None:
        return f"local {source.path}"
    return SAMPLE_ENCODER if isinstance(source, ModelSource) else SAMPLE_DATA


def _combined(failures: Sequence[HubError]) -> Callable[[str], HubError]:
    classes: tuple[type[HubError], ...] = (HubUnreachableError, IntegrityError)
    return next((kind for kind in classes if all(isinstance(failure, kind) for failure in failures)), HubError)


def _message(kind: RepositoryKind, attempts: Sequence[Attempt], home: Home, offline: bool) -> str:
    thing = "model" if kind == "model" else "data set"
    tried = "\n".join(f"  - {attempt.source}: {attempt.failure} ({attempt.seconds:.1f} s)" for attempt in attempts)
    message = f"The {thing} could not be fetched from any source. Tried:\n{tried}"
    if all(attempt.source.startswith(("local ", "registry ")) for attempt in attempts):
        # Hubs and mirrors are no help here.
        return message
    layout = (
        "config.json, model.safetensors and the tokenizer's files (tokenizer.json or vocab.txt)"
        if kind == "model"
        else "files such as train.parquet, validation.parquet and test.parquet (or .jsonl, .tsv, .csv)"
    )
    fill = (
        f"  - fill the cache: run once without `offline`, or copy {home.raw} from another machine"
        if offline
        else f"  - work offline: copy {home.raw} from another machine and set `offline: true`"
    )
    return (
        f"{message}\nAlternatives:\n"
        "  - a mirror: set HF_ENDPOINT=https://hf-mirror.com in the environment, or `endpoint` of a source\n"
        "  - another hub: a source with provider `modelscope` or `huggingface`\n"
        f"  - a folder on this machine: a source with provider `local` and a `path` that contains {layout}\n{fill}"
    )
