"""Copies a registered version to a folder or a hub, where others can use it without MLflow and textclf's registry."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from textclf.config.home import Environment
from textclf.config.sources import ModelSource
from textclf.errors import StorageError
from textclf.fetching.upload import upload_folder
from textclf.registry.card import CARD_FILE, card_license
from textclf.registry.reference import named_version
from textclf.registry.versions import ChosenModel, fetch_folder
from textclf.store import building, file_sha256, write_text
from textclf.tracking.store import TrackingStore

CHECKSUMS = "SHA256SUMS"
"""As `sha256sum --check` reads it."""


def upload_version(store: TrackingStore, reference: str, target: ModelSource, *, public: bool) -> str:
    """Uploads what `export_version` copies to a repository of a hub.

    Args:
        store: The registry.
        reference: NAME@ALIAS or NAME/VERSION.
        target: The hub and the repository, which is made if there is none.
        public: Whether a new repository can be seen by everybody.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: The reference names no version.
        HubError, HubUnreachableError: The hub did not take it.
        ModelNotFoundError, ModelError: The version or its files are missing.
        TrackingError: The store failed.
    """
    version = named_version(store, reference)
    reference = f"{version.name}/{version.version}"
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        export_version(store, reference, folder)
        card = folder / CARD_FILE
        return upload_folder(
            folder,
            target,
            message=reference,
            public=public,
            license=card_license(card.read_text(encoding="utf-8")) if card.is_file() else None,
            environment=Environment(),
        )


def export_version(store: TrackingStore, reference: str, target: Path) -> tuple[Path, ...]:
    """Copies a version's model folder: weights, tokenizer, exported engines with their parity reports, model card.

    `target` appears complete, with the digests of all files, or not at all.

    Args:
        store: The registry.
        reference: NAME@ALIAS or NAME/VERSION.
        target: A folder that does not exist yet, or is empty.

    Returns:
        The files, relative to the folder.

    Raises:
        ConfigError: The reference names no version.
        ModelNotFoundError, ModelError: The version or its files are missing.
        StorageError: The folder has content already, or cannot be written.
        TrackingError: The store failed.
    """
    version = named_version(store, reference)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StorageError(f"{target} exists already and is not empty: choose a new folder, or remove that one.")
    with TemporaryDirectory() as temporary, building(target.absolute()) as draft:
        source = fetch_folder(store, ChosenModel.of(version), Path(temporary))
        copy = draft / "model"
        shutil.copytree(source, copy)
        files = sorted(path.relative_to(copy) for path in copy.rglob("*") if path.is_file())
        lines = [f"{file_sha256(copy / file)}  {file.as_posix()}\n" for file in files]
        write_text(copy / CHECKSUMS, "".join(lines))
        if target.exists():
            target.rmdir()
        copy.rename(target)
    return (*files, Path(CHECKSUMS))
