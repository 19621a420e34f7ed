"""Shared by the tests of the audit: clean reviews, files of them, and an audit of a folder."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from textclf.audit.audit import audit, read_findings
from textclf.audit.findings import Findings
from textclf.config import Home, TrainConfig
from textclf.data.prepare import prepare
from textclf.fetching.local import local_files
from textclf.records import PreparedData

CHARACTERS = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]
Row = tuple[str, str]


def reviews(count: int, *, seed: int, length: int = 40) -> list[Row]:
    """Unrelated texts with alternating labels."""
    chance = random.Random(seed)
    return [("".join(chance.choices(CHARACTERS, k=length)), "好" if index % 2 else "坏") for index in range(count)]


def write_split(folder: Path, split: str, rows: Iterable[Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["text\tlabel", *("\t".join(row) for row in rows)]
    (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")


def audit_folder(folder: Path, home: Path, **sections: dict[str, Any]) -> tuple[PreparedData, Findings]:
    """Prepares and audits the files of a folder."""
    config = TrainConfig.model_validate({"data": {"contract": {"max_quarantined_share": 1}}, **sections})
    place = Home(root=home, tracking_uri="")
    prepared = prepare(local_files([folder]), data=config.data, cleaning=config.cleaning, home=place)
    audited = audit(prepared, None, settings=config.audit, max_length=config.encoding.max_length, folder=place.prepared)
    return audited, read_findings(audited)
