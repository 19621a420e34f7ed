"""Data versions: what identifies a data set, where it came from, and which of them this home holds."""

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
    """Names a data version.

    Args:
        split_digests: Digest of each split's set of rows.
        contract: Digest of the contract.

    Returns:
        Twelve hexadecimal digits: the same for the same rows and rules, whatever files the rows came in.
    """
    return digest_of(dict(sorted(split_digests.items())), contract)[:12]


def lineage_of(folder: Path) -> str | None:
    """Says which data version a raw data set was made from, if correcting labels made it.

    Args:
        folder: Where the raw files lie.

    Raises:
        DataError: The lineage file is damaged.
        OSError: It is there and cannot be read.
    """
    file = folder / LINEAGE_FILE
    if not file.is_file():
        return None
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} does not say which data version was relabelled: it is damaged.\n"
            "Apply the corrected table again with `textclf data relabel`, or remove the file to go on without lineage."
        ) from error


def known_versions(home: Home) -> list[PreparedData]:
    """Finds the data sets in a home, as prepared and after an audit.

    Args:
        home: Where prepared data lies.

    Returns:
        The records, by version, then by folder.

    Raises:
        StorageError: A manifest cannot be read.
    """
    found = []
    for file in home.prepared.glob(f"*/{MANIFEST}"):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))["record"]
        except FileNotFoundError:
            # Another process has just replaced it.
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"The manifest {file} cannot be read: {error}\nRemove {file.parent}: it is made again when needed."
            ) from error
        try:
            found.append(PreparedData.model_validate({**record, "folder": file.parent}))
        except ValidationError:
            # A tokenised data set, or one of another version of textclf, whose records have other fields.
            continue
    return sorted(found, key=lambda prepared: (prepared.version, prepared.folder))
