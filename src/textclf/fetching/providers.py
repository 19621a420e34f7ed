"""Lists the files of a repository through its hub's own client."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from textclf.config.home import Environment, without_credentials
from textclf.config.sources import Source
from textclf.errors import HubError, HubUnreachableError
from textclf.extras import require
from textclf.fetching.access import Access, access_to
from textclf.fetching.patience import ANSWER_SECONDS, Patience, pause, within
from textclf.fetching.transfer import RemoteFile, connection_problem

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from modelscope_hub import HubApi

logger = logging.getLogger(__name__)

RepositoryKind = Literal["model", "dataset"]

_BUSY_STATUS = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Listing:
    """The contents of a repository.

    Attributes:
        revision: The commit if the hub reports it, else the branch or tag.
        files: By path inside the repository.
        access: How to request its files.
    """

    revision: str
    files: dict[str, RemoteFile]
    access: Access


def list_repository(source: Source, kind: RepositoryKind, environment: Environment, patience: Patience) -> Listing:
    """Asks a hub for the files of a repository.

    Raises:
        HubUnreachableError: The hub refused the connection, did not answer in time, or stayed busy.
        HubError: The repository or revision does not exist, access is denied, or the answer is not a hub's.
    """
    ask = _ask_huggingface if source.provider == "huggingface" else _ask_modelscope
    access = access_to(source, environment)
    end = time.monotonic() + patience.limit(ANSWER_SECONDS)
    while True:
        asked = time.monotonic()
        limit = max(0.5, end - asked)
        try:
            listing = within(limit, partial(ask, source, kind, access, limit))
        except TimeoutError as error:
            patience.waited(time.monotonic() - asked)
            raise HubUnreachableError(f"no answer within {limit:.0f} s") from error
        except BusyHubError as busy:
            patience.waited(time.monotonic() - asked)
            if time.monotonic() + busy.delay_seconds >= end:
                raise HubUnreachableError(str(busy)) from busy
            logger.info("%s %s: %s; retrying in %.0f s.", source.provider, source.name, busy, busy.delay_seconds)
            pause(busy.delay_seconds, patience)
        except HubUnreachableError:
            patience.waited(time.monotonic() - asked)
            raise
        else:
            return _checked(listing)


def _checked(listing: Listing) -> Listing:
    for path in listing.files:
        parts = PurePosixPath(path).parts
        if path.startswith("/") or "\\" in path or ".." in parts or not parts:
            raise HubError(f"it lists a file with the unsafe path {path!r}")
    return listing


class BusyHubError(Exception):
    """The hub asks to try again later.

    Args:
        message: What it answered.
        delay_seconds: After how long.
    """

    def __init__(self, message: str, delay_seconds: float) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds


def _ask_huggingface(source: Source, kind: RepositoryKind, access: Access, limit: float) -> Listing:
    from huggingface_hub import constants, hf_hub_url

    with huggingface_client(source, access) as api:
        describe = api.model_info if kind == "model" else api.dataset_info
        info = describe(source.name, revision=source.revision, files_metadata=True, timeout=limit)
    revision = info.sha or source.revision or constants.DEFAULT_REVISION
    files = {}
    for sibling in info.siblings or []:
        large = sibling.lfs
        files[sibling.rfilename] = RemoteFile(
            path=sibling.rfilename,
            url=hf_hub_url(source.name, sibling.rfilename, repo_type=kind, revision=revision, endpoint=access.endpoint),
            revision=revision,
            size_bytes=large.size if large else sibling.size,
            sha256=large.sha256 if large else None,
            git_sha1=None if large else sibling.blob_id,
        )
    return Listing(revision=revision, files=files, access=access)


@contextmanager
def huggingface_client(source: Source, access: Access) -> Iterator[HfApi]:
    """Yields Hugging Face's client; its failures become ours.

    Raises:
        HubUnreachableError: The hub refused the connection, or did not answer in time.
        BusyHubError: The hub asks to try again later.
        HubError: The repository or revision does not exist, access is denied, or the answer is not a hub's.
    """
    from httpx2 import HTTPError, TimeoutException
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    # Otherwise the client first asks huggingface.co, whatever the endpoint, for a list used by its telemetry.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        yield HfApi(endpoint=access.address, token=access.token or False, library_name="textclf")
    except HfHubHTTPError as error:
        raise _huggingface_failure(error, source, access) from error
    except OfflineModeIsEnabled as error:
        raise HubError("HF_HUB_OFFLINE is set in the environment; unset it, or use `offline: true`") from error
    except TimeoutException as error:
        raise HubUnreachableError("no answer in time") from error
    except HTTPError as error:
        raise HubUnreachableError(connection_problem(error)) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HubError(f"the answer is not from a Hugging Face hub ({error}); check the endpoint") from error


def _huggingface_failure(error: HfHubHTTPError, source: Source, access: Access) -> Exception:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    status = error.response.status_code
    if status in _BUSY_STATUS:
        value = error.response.headers.get("Retry-After", "")
        delay = float(value) if value.isdigit() else 1.0
        return BusyHubError(f"busy: it answered {status}, Retry-After {value or 'not given'}", delay)
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"the repository has no revision {source.revision!r}")
    if isinstance(error, GatedRepoError) or status in (401, 403):
        return HubError(f"access denied ({status}), or no such repository; {access.advice}")
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return HubError(f"no such repository, or it is private ({status}); check the name")
    return HubError(f"unexpected answer {status}: {error}")


def _ask_modelscope(source: Source, kind: RepositoryKind, access: Access, limit: float) -> Listing:
    revision = source.revision or "master"
    with modelscope_client(source, access) as api:
        entries = api.list_repo_files(source.name, kind, revision=revision)
        files = {
            entry.path: RemoteFile(
                path=entry.path,
                url=without_credentials(api.legacy.get_download_url(source.name, kind, entry.path, revision)),
                revision=revision,
                # The client turns a missing size into 0, which would prevent resuming.
                size_bytes=entry.size or None,
                sha256=entry.sha256,
            )
            for entry in entries
            if entry.type != "tree"
        }
    return Listing(revision=revision, files=files, access=access)


@contextmanager
def modelscope_client(source: Source, access: Access) -> Iterator[HubApi]:
    """Yields ModelScope's client; its failures become ours.

    Raises:
        HubUnreachableError: The hub refused the connection, did not answer in time, or stayed busy.
        HubError: The repository or revision does not exist, access is denied, or the answer is not a hub's.
        TextclfError: The client is not installed.
    """
    require("modelscope-hub", purpose="Using ModelScope")
    # The hub client of modelscope on its own: modelscope itself imports torch.
    from modelscope_hub import HubApi, HubConfig
    from modelscope_hub.errors import (
        APIError,
        AuthenticationError,
        NetworkError,
        NotExistError,
        PermissionDeniedError,
        RateLimitError,
        RequestTimeoutError,
        ServerError,
    )
    from modelscope_hub.errors import HubError as ClientError

    # What it reports, it raises too.
    logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
    # The client stores a session id and reads pickled cookies in its configuration folder: give it an empty one.
    with tempfile.TemporaryDirectory(prefix="textclf-modelscope-", ignore_cleanup_errors=True) as folder:
        config = HubConfig(
            endpoint=access.address,
            cache_dir=Path(folder),
            config_dir=Path(folder),
            token=access.token,
        )
        try:
            yield HubApi(config)
        except (AuthenticationError, PermissionDeniedError) as error:
            raise HubError(f"access denied ({error.status_code}); {access.advice}") from error
        except NotExistError as error:
            revision = source.revision or "master"
            raise HubError(f"no such repository, or no revision {revision!r} of it; check the name") from error
        except (RateLimitError, ServerError) as error:
            # The client has already retried.
            raise HubUnreachableError(f"still busy: it answered {error.status_code}") from error
        except RequestTimeoutError as error:
            raise HubUnreachableError("no answer in time") from error
        except NetworkError as error:
            raise HubUnreachableError(connection_problem(error)) from error
        except APIError as error:
            raise HubError(f"unexpected answer {error.status_code}: {error.message}") from error
        except ClientError as error:
            raise HubError(str(error)) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HubError(f"the answer is not from ModelScope ({error}); check the endpoint") from error
