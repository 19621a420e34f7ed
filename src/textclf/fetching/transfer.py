"""Downloads one file: resumes after an interruption, gives up when it stalls, and checks the result.

The clients' own downloads are not used: huggingface_hub discards a partial file when the process dies, modelscope
aborts any file after an hour, and both wait for as long as a server's Retry-After says.
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
from textclf.progress import progress_bar
from textclf.store import digest_of, writing

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 64 * 1024
_RETRIES = 3
_LONGEST_RETRY_AFTER_SECONDS = 5.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class RemoteFile:
    """A file as listed by the hub.

    Attributes:
        path: Inside the repository, with forward slashes.
        url: Address of its content.
        revision: The revision of the url; separates partial files of different revisions if the hub gives no hash.
        size_bytes: None if unknown.
        sha256: None if unknown.
        git_sha1: Git's object id, which hubs give for files outside large file storage.
    """

    path: str
    url: str
    revision: str
    size_bytes: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def part_name(self) -> str:
        """Name of the partial file, which depends on the expected content."""
        return f"{digest_of(self.path, self.size_bytes, self.sha256 or self.git_sha1 or self.revision)}.part"


class _CutShortError(Exception):
    """The body ended early; the received part is kept."""


class _BusyError(Exception):
    """The server asks to try again later."""

    def __init__(self, status: int, retry_after_seconds: float | None) -> None:
        super().__init__(f"it answered {status}")
        self.retry_after_seconds = retry_after_seconds


def download(file: RemoteFile, folder: Path, access: Access, patience: Patience) -> Path:
    """Downloads one file, or the rest of it, into `folder`.

    Returns:
        The path of the complete, checked file.

    Raises:
        HubUnreachableError: The server refused, stalled, stayed busy, or kept cutting the body short.
        IntegrityError: The bytes differed from the announced ones twice.
        HubError: The server has no such file, or denies access to it.
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
            logger.warning("%s. Downloading it once more.", error)
        else:
            break
    return part


def _session(access: Access) -> requests.Session:
    import requests

    class TokenSession(requests.Session):
        """Ignores ~/.netrc: a password kept there for git would be sent instead of the token."""

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
                raise HubUnreachableError(f"{file.path}: {busy} and asks to wait {delay:.0f} s") from busy
            logger.info("%s: %s; retrying in %.0f s.", file.path, busy, delay)
            pause(delay, patience)
        except _CutShortError as cut:
            arrived = part.stat().st_size if part.exists() else 0
            failures = failures + 1 if arrived <= before else 0
            if failures > _RETRIES:
                raise HubUnreachableError(f"{file.path} was cut short repeatedly, last {cut}") from cut
            logger.warning("%s was cut short %s; resuming.", file.path, cut)
            if failures:
                pause(0.5, patience)


def _receive(
    file: RemoteFile, part: Path, start: int, session: requests.Session, access: Access, patience: Patience
) -> None:
    with _answer(file, start, session, access, patience) as response:
        if start and response.status_code == 416:
            part.unlink()
            raise _CutShortError("because the server rejects the range")
        _check_status(file, response, access)
        resumed = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if start and not (response.status_code == 206 and resumed and int(resumed.group(1)) == start):
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else file.size_bytes
        if start:
            logger.info("Resuming %s at %s bytes.", file.path, f"{start:,}")
        bar = progress_bar(
            total=total, initial=start, unit="B", unit_scale=True, desc=Path(file.path).name, leave=False
        )
        arrived = start
        with bar, writing(part), part.open("r+b" if start else "wb") as sink:
            sink.seek(start)
            for chunk in _chunks(file, response, patience):
                if file.size_bytes is not None and arrived + len(chunk) > file.size_bytes:
                    # One surplus byte is kept, so that the check reports the wrong size.
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
        raise HubUnreachableError(f"{file.path}: no answer within {waited:.0f} s") from error
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
        raise _CutShortError("by a lost connection") from error


def _check_status(file: RemoteFile, response: requests.Response, access: Access) -> None:
    status = response.status_code
    if status in (429, 500, 502, 503, 504):
        value = response.headers.get("Retry-After", "")
        raise _BusyError(status, float(value) if value.isdigit() else None)
    if status in (401, 403):
        raise HubError(f"access to {file.path} is denied ({status}); {access.advice}")
    if status in (404, 410):
        raise HubError(f"{file.path} is listed but not found ({status})")
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


def connection_problem(error: BaseException) -> str:
    """Describes the root cause of a failed connection."""
    text = str(error)
    if "refused" in text:
        return "the connection was refused"
    if any(sign in text for sign in ("resolve", "Name or service not known", "getaddrinfo", "nodename")):
        return "the host name cannot be resolved"
    if "certificate" in text.lower() or "SSL" in text:
        return f"the connection is not trusted: {text}"
    return f"the connection failed: {text}"
