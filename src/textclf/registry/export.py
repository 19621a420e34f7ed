"""Copies a registered version to a folder that others can use without MLflow and without textclf's registry."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from textclf.errors import StorageError
from textclf.registry.reference import named_version
from textclf.registry.versions import ChosenModel, fetch_folder
from textclf.store import building, file_sha256, write_text
from textclf.tracking.store import TrackingStore

CHECKSUMS = "SHA256SUMS"
"""As `sha256sum --check` reads it."""


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
