"""Downloading one file: resumed where it stopped, given up when it stalls, checked when it is whole.

The clients' own downloads are not used. That of huggingface_hub throws away what has arrived when the process
dies, that of modelscope ends any file after an hour, and both wait as long as a server's Retry-After tells them.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.errors import HubError, HubUnreachableError, IntegrityError
from textclf.fetching.access import Access
from textclf.fetching.patience import ANSWER_SECONDS, STALL_SECONDS, Patience, pause
from textclf.store import digest_of, storage_error

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 64 * 1024
_RETRIES = 3
_LONGEST_RETRY_AFTER_SECONDS = 5.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub's listing announces it.

    Attributes:
        path: Inside the repository, with forward slashes.
        url: Where its content is.
        revision: What the url belongs to; keeps parts of different revisions apart where no hash is announced.
        size_bytes: None if the hub does not say.
        sha256: None if the hub does not say.
        git_sha1: Git's object id, which hubs give for files that are not in large file storage.
    """

    path: str
    url: str
    revision: str
    size_bytes: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def part_name(self) -> str:
        """Name of its partial file: another content never continues it."""
        return f"{digest_of(self.path, self.size_bytes, self.sha256 or self.git_sha1 or self.revision)}.part"


class _CutShortError(Exception):
    """The body ended early; what arrived is kept."""


class _BusyError(Exception):
    """The server asks for patience."""

    def __init__(self, status: int, retry_after_seconds: float | None) -> None:
        super().__init__(f"it answered {status}")
        self.retry_after_seconds = retry_after_seconds


def download(file: RemoteFile, folder: Path, access: Access, patience: Patience) -> Path:
    """Downloads one file, or the rest of it.

    Args:
        file: What to download.
        folder: Where its partial file lies.
        access: How the hub is asked.
        patience: How long silence may last.

    Returns:
        Where the whole, checked file lies, in `folder`.

    Raises:
        HubUnreachableError: The server refused, stalled, stayed busy, or cut the body off again and again.
        IntegrityError: The bytes are not the announced ones, twice.
        HubError: The server has no such file, or access to it is not granted.
        StorageError: Writing failed.
    """
    part = folder / file.part_name
    for is_last_try in (False, True):
        with _session(access) as session:
            _fill(file, part, session, access, patience)
        try:
            _check(file, part)
        except IntegrityError as error:
            part.unlink()
            if is_last_try:
                raise
            logger.warning("%s. It is downloaded once more.", error)
        else:
            break
    return part


def _session(access: Access) -> requests.Session:
    import requests

    class TokenSession(requests.Session):
        """Takes no password from ~/.netrc: one kept for git would be sent in place of the token, or of nothing."""

        def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
            if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
                prepared_request.headers.pop("Authorization", None)

    session = TokenSession()
    session.auth = lambda request: request
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "textclf", **access.headers})
    return session


def _fill(file: RemoteFile, part: Path, session: requests.Session, access: Access, patience: Patience) -> None:
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        if file.size_bytes is not None and before >= file.size_bytes and (before or part.exists()):
            return
        try:
            _receive(file, part, before, session, access, patience)
            return
        except _BusyError as busy:
            delay = 1.0 if busy.retry_after_seconds is None else busy.retry_after_seconds
            failures += 1
            if failures > _RETRIES or delay > min(_LONGEST_RETRY_AFTER_SECONDS, patience.limit(ANSWER_SECONDS)):
                raise HubUnreachableError(f"{file.path}: {busy}, and asks to wait {delay:.0f} s") from busy
            logger.info("%s: %s; trying again in %.0f s.", file.path, busy, delay)
            pause(delay, patience)
        except _CutShortError as cut:
            arrived = part.stat().st_size if part.exists() else 0
            failures = failures + 1 if arrived <= before else 0
            if failures > _RETRIES:
                raise HubUnreachableError(f"{file.path} is cut short again and again, last {cut}") from cut
            logger.warning("%s was cut short, %s; going on from there.", file.path, cut)
            if failures:
                pause(0.5, patience)


def _receive(
    file: RemoteFile, part: Path, start: int, session: requests.Session, access: Access, patience: Patience
) -> None:
    from tqdm import tqdm

    with _answer(file, start, session, access, patience) as response:
        if start and response.status_code == 416:
            part.unlink()
            raise _CutShortError("the server does not know the part that had arrived")
        _check_status(file, response, access)
        resumed = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if start and not (response.status_code == 206 and resumed and int(resumed.group(1)) == start):
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else file.size_bytes
        if start:
            logger.info("Going on with %s at %s bytes.", file.path, f"{start:,}")
        bar = tqdm(
            total=total, initial=start, unit="B", unit_scale=True, desc=Path(file.path).name, disable=None, leave=False
        )
        arrived = start
        with bar, _writing(part), part.open("r+b" if start else "wb") as sink:
            sink.seek(start)
            for chunk in _chunks(file, response, patience):
                if file.size_bytes is not None and arrived + len(chunk) > file.size_bytes:
                    # One byte too many is kept: the check then finds the wrong size and says so.
                    sink.write(chunk[: file.size_bytes + 1 - arrived])
                    return
                sink.write(chunk)
                arrived += len(chunk)
                bar.update(len(chunk))
        if total is not None and arrived < total:
            raise _CutShortError(f"after {arrived:,} of {total:,} bytes")


@contextmanager
def _answer(
    file: RemoteFile, start: int, session: requests.Session, access: Access, patience: Patience
) -> Iterator[requests.Response]:
    import requests

    headers = {"Range": f"bytes={start}-"} if start else {}
    timeout = (patience.limit(ANSWER_SECONDS), patience.limit(STALL_SECONDS))
    asked = time.monotonic()
    try:
        response = session.get(file.url, headers=headers, timeout=timeout, stream=True)
    except requests.Timeout as error:
        waited = time.monotonic() - asked
        patience.waited(waited)
        raise HubUnreachableError(f"{file.path}: the server gave no answer within {waited:.0f} s") from error
    except requests.ConnectionError as error:
        patience.waited(time.monotonic() - asked)
        raise HubUnreachableError(f"{file.path}: {connection_problem(error)}") from error
    except requests.RequestException as error:
        raise HubError(f"{file.path}: {error}") from error
    with response:
        yield response


def _chunks(file: RemoteFile, response: requests.Response, patience: Patience) -> Iterator[bytes]:
    import requests
    from urllib3.exceptions import ReadTimeoutError

    last = time.monotonic()
    try:
        for chunk in response.iter_content(_CHUNK_BYTES):
            yield chunk
            last = time.monotonic()
    except requests.RequestException as error:
        if isinstance(error, requests.Timeout) or (error.args and isinstance(error.args[0], ReadTimeoutError)):
            silence = time.monotonic() - last
            patience.waited(silence)
            raise HubUnreachableError(f"{file.path} stalled: no bytes for {silence:.0f} s") from error
        raise _CutShortError("the connection broke off") from error


def _check_status(file: RemoteFile, response: requests.Response, access: Access) -> None:
    status = response.status_code
    if status in (429, 500, 502, 503, 504):
        value = response.headers.get("Retry-After", "")
        raise _BusyError(status, float(value) if value.isdigit() else None)
    if status in (401, 403):
        raise HubError(f"access to {file.path} is not granted ({status}); {access.advice}")
    if status in (404, 410):
        raise HubError(f"{file.path} was listed but is not found ({status})")
    if status not in (200, 206):
        raise HubError(f"{file.path}: unexpected answer {status} {response.reason}")


def _check(file: RemoteFile, part: Path) -> None:
    size = part.stat().st_size
    if file.size_bytes is not None and size != file.size_bytes:
        received = f"more than {file.size_bytes:,}" if size > file.size_bytes else f"{size:,}"
        raise IntegrityError(f"{file.path} has {received} bytes, but the hub announced {file.size_bytes:,}")
    if file.sha256 is None and file.git_sha1 is None:
        return
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with part.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    expected = file.sha256 or file.git_sha1
    if digest.hexdigest() != expected:
        raise IntegrityError(
            f"{file.path} arrived with {digest.name} {digest.hexdigest()}, but the hub announced {expected}"
        )


@contextmanager
def _writing(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(part, error) from error


def connection_problem(error: BaseException) -> str:
    """Words the deepest reason for a failed connection."""
    text = str(error)
    if "refused" in text:
        return "the connection was refused"
    if any(sign in text for sign in ("resolve", "Name or service not known", "getaddrinfo", "nodename")):
        return "its name cannot be resolved"
    if "certificate" in text.lower() or "SSL" in text:
        return f"no trusted connection: {text}"
    return f"the connection failed: {text}"
