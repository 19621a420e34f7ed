"""Data versions: what identifies a data set, what it was made from, and which ones a home holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from textclf.config.home import Home
from textclf.config.sources import Split
from textclf.errors import DataError, StorageError
from textclf.records import PreparedData
from textclf.store import MANIFEST, digest_of

LINEAGE_FILE = "textclf-lineage.json"


def version_of(split_digests: Mapping[Split, str], contract: str) -> str:
    """Returns a data version: twelve hexadecimal digits, the same for the same rows and rules, whatever the files.

    Args:
        split_digests: `content_digest` of each split.
        contract: `contract_digest`.
    """
    return digest_of(dict(sorted(split_digests.items())), contract)[:12]


def lineage_of(folder: Path) -> str | None:
    """Returns the data version whose labels were corrected to make the raw data set in a folder; None if none was.

    Raises:
        DataError: The lineage file is damaged.
        OSError: It exists and cannot be read.
    """
    file = folder / LINEAGE_FILE
    if not file.is_file():
        return None
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} does not say which data version was relabelled: it is damaged.\n"
            "Apply the corrected table again with `textclf data relabel`, or remove the file to continue without "
            "lineage."
        ) from error


def known_versions(home: Home) -> list[PreparedData]:
    """Returns the records of the prepared and the audited data sets in a home, by version, then by folder.

    Raises:
        StorageError: A manifest cannot be read.
    """
    found = []
    for file in home.prepared.glob(f"[!.]*/{MANIFEST}"):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))["record"]
        except FileNotFoundError:
            # Another process has just replaced it.
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"The manifest {file} cannot be read: {error}\nRemove {file.parent}: it is rebuilt when needed."
            ) from error
        try:
            found.append(PreparedData.model_validate({**record, "folder": file.parent}))
        except ValidationError:
            # A tokenised data set, or one from another version of textclf, whose records have other fields.
            continue
    return sorted(found, key=lambda prepared: (prepared.version, prepared.folder))
