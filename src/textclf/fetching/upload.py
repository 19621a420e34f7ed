"""Uploads a folder to a repository of a hub, through the hub's own client."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from textclf.config.home import Environment
from textclf.config.sources import ModelSource
from textclf.errors import HubError, HubUnreachableError
from textclf.fetching.access import Access, access_to
from textclf.fetching.providers import BusyHubError, huggingface_client, modelscope_client


def upload_folder(
    folder: Path, target: ModelSource, *, message: str, public: bool, license: str | None, environment: Environment
) -> str:
    """Uploads all files of a folder; files that the repository has besides them stay.

    A repository that does not exist is made, private unless `public`; an existing one stays as it is. An upload that
    was interrupted is completed by the next one: the clients skip large files that the hub has already.

    Args:
        folder: The files.
        target: The hub and the repository.
        message: Of the commit.
        public: Whether a new repository can be seen by everybody.
        license: Of a new repository on ModelScope; Hugging Face reads it from the model card.
        environment: Addresses and tokens.

    Returns:
        The address of the repository.

    Raises:
        HubUnreachableError: The hub refused the connection, did not answer in time, or stayed busy.
        HubError: There is no token, or the hub refuses it or the name.
    """
    access = access_to(target, environment, scope="write")
    where = f"{target.provider} {target.name} at {access.endpoint}"
    if not access.headers:
        raise HubError(f"Uploading to {where} is not possible without a token: {access.advice}.")
    try:
        if target.provider == "huggingface":
            return _to_huggingface(folder, target, access, message, public)
        return _to_modelscope(folder, target, access, message, public, license)
    except (BusyHubError, HubUnreachableError) as error:
        raise HubUnreachableError(
            f"Uploading to {where} failed: {error}.\nThe same command goes on where it stopped."
        ) from error
    except HubError as error:
        raise HubError(f"Uploading to {where} failed: {error}.") from error


def _to_huggingface(folder: Path, target: ModelSource, access: Access, message: str, public: bool) -> str:
    from huggingface_hub import constants

    # Mirrors do not have Xet's storage; each hub takes large files over HTTP.
    constants.HF_HUB_DISABLE_XET = True
    with huggingface_client(target, access) as api:
        address = api.create_repo(target.name, private=not public, exist_ok=True)
        try:
            api.upload_folder(repo_id=target.name, folder_path=folder, commit_message=message)
        except RuntimeError as error:
            # The client says only which file it was.
            raise HubError(f"{error} {error.__cause__ or ''}".strip()) from error
    return str(address)


def _to_modelscope(
    folder: Path, target: ModelSource, access: Access, message: str, public: bool, license: str | None
) -> str:
    # The client prints a report of its own.
    with modelscope_client(target, access) as api, redirect_stdout(StringIO()):
        if not api.repo_exists(target.name, "model"):
            visibility = "public" if public else "private"
            # Without one, the client would state Apache-2.0.
            api.create_repo(target.name, "model", visibility=visibility, license=license or "other")
        api.upload_folder(target.name, "model", folder, commit_message=message, use_cache=False)
    return f"{access.endpoint}/models/{target.name}"
