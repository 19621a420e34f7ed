"""Records of batch predictions."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import Field

from textclf.records.base import Record
from textclf.records.engines import EngineChoice


class PredictedFile(Record):
    """One input file after a batch prediction."""

    input: Path
    output: Path
    quarantine: Path | None
    rows_read: int
    rows_predicted: int
    rows_quarantined: int
    label_counts: dict[str, int]
    skipped: bool
    """True if the file was predicted before with the same settings, and its output is kept."""
    version: int | None = None
    """Version of the model that predicted it."""
    engine: str | None = None
    """What computed its rows, e.g. `torch-bf16`; None in records of textclf 0.2.0."""
    rows_repeated: int = 0
    """Rows that were not computed, because the run knew the answer to an equal text."""
    rung_counts: dict[str, int] = Field(default_factory=dict)
    """Rows that each model of a ladder answered; other classifiers have one entry."""

    row_column: str | None = None
    """The output's column with the number of each row; None if rows have ids."""
    label_column: str | None = None
    """The output's column with the label; None in records of textclf 0.4.0."""
    finished_at: datetime | None = None
    agreement: dict[str, dict[str, int]] = Field(default_factory=dict)
    """In a shadow run: rows by the champion's label, then by the label of the version beside it."""


class Shadow(Record):
    """What a version said beside the champion."""

    alias: str
    version: int | None
    """None if no version has the alias, or it could not be looked up."""
    files: tuple[PredictedFile, ...] = ()
    """Those that this run predicted: the input is the champion's output, the output a table with both labels."""
    rows_so_far: int = 0
    """Rows that this version has answered beside the champion, in all runs of this home."""
    agreed_so_far: int = 0
    problem: str | None = None
    """Why it could not answer all; the champion's predictions do not depend on it."""


class RefusedFile(Record):
    """A file of the input folder that cannot be predicted."""

    input: Path
    r"""For display: bytes of the name that are not UTF-8 are written as `\xNN`."""
    reason: str
    """What failed, what was expected and found, and what to do."""
    refused_before: bool
    """True if an earlier run refused the same content; it is not tried again."""
    moved_to: Path | None
    """Where it was moved; None if it stayed in the input folder."""


class FailedFile(Record):
    """A file of the input folder that failed for a reason that is not in the file; the next run tries it again."""

    input: Path
    r"""For display: bytes of the name that are not UTF-8 are written as `\xNN`."""
    reason: str


class PredictionSummary(Record):
    """One batch prediction, finished or as far as it came.

    The input folder's files are `files`, `refused`, `failed`, `postponed` and `waiting`.
    """

    model: str
    version: int | None
    """None if no version of the model was found."""
    files: tuple[PredictedFile, ...]
    seconds: float
    refused: tuple[RefusedFile, ...] = ()
    failed: tuple[FailedFile, ...] = ()
    postponed: tuple[str, ...] = ()
    """Names of files that another program changed or removed while they were read; the next run tries them again."""
    waiting: int = 0
    """Number of files that were not reached; 0 if the run finished."""
    ignored: tuple[str, ...] = ()
    """Names in the input folder that are not read: other endings, and folders (with a slash); not hidden files."""
    engine: EngineChoice | None = None
    """None if no model was loaded."""
    expected_shares: dict[str, float] | None = None
    """Share of the validation rows that each model of a ladder answered; None without a ladder."""
    shadow: Shadow | None = None
    """None if none was asked for, or it has not begun yet."""
