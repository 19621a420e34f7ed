"""The small frozen records that travel between the steps: paths, digests, MLflow ids and counts."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from textclf.config.sources import Split


class Record(BaseModel):
    """Base of all records: frozen, and written to JSON as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Attempt(Record):
    """One try at one source."""

    source: str
    """What was asked, e.g. `huggingface lansinuote/ChnSentiCorp at https://hf-mirror.com`."""
    seconds: float
    failure: str | None
    """Why it failed; None if it worked."""


class FetchedFile(Record):
    """One file as it was fetched."""

    path: str
    """Relative to the folder, with forward slashes."""
    sha256: str
    size_bytes: int


class FetchedData(Record):
    """A raw data set on disk."""

    digest: str
    """Of the files' names and sha256."""
    folder: Path
    files: tuple[FetchedFile, ...]
    splits: dict[Split, tuple[str, ...]]
    """Paths (relative to the folder) that make up each split, one or more. What is to be split stands under `train`."""
    origin: str
    """The source it came from, with revision, for people."""
    uri: str = ""
    """Address of the source: of the repository on its hub, or of the folder on this machine."""
    revision: str | None = None
    """The commit on the hub, or the branch where the hub does not tell it; None for local files."""
    cached: bool
    attempts: tuple[Attempt, ...]


class FetchedModel(Record):
    """A model folder on disk, as `from_pretrained` reads it."""

    digest: str
    folder: Path
    files: tuple[FetchedFile, ...]
    origin: str
    cached: bool
    attempts: tuple[Attempt, ...]


class Quarantined(Record):
    """Rows that break the contract, of one kind."""

    reason: str
    rows: int
    examples: tuple[str, ...]
    """The first ten: file, row number, and what was found."""


class PreparedData(Record):
    """A cleaned data set: one Parquet file a split with columns row, source, id, text, label and more.

    `textclf.data.prepare.prepare` and `textclf.audit.audit.audit` say which columns there are.
    """

    digest: str
    folder: Path
    name: str
    """Short name of the data set."""
    version: str
    """The data version: digest of the row sets and of the contract. The same rows in another order, format or file
    layout have the same one."""
    labels: tuple[str, ...]
    """Label names in the order of their ids."""
    rows: dict[Split, int]
    label_counts: dict[Split, dict[str, int]]
    quarantined: dict[str, int]
    """How many rows broke the contract, by kind; the rows stand in `quarantine.jsonl`."""
    leaked: dict[Split, int]
    """How many validation and test texts also stand, exactly, in an earlier split or earlier in their own."""
    split_digests: dict[Split, str]
    """Digest of each split's set of rows, whatever file they came from."""
    test_leakfree_digest: str = ""
    """Digest of the test rows that are no copies of earlier ones."""
    contract: str
    """Digest of the rules that every row keeps."""
    origin: str
    uri: str = ""
    """Address of the source that the rows came from."""
    revision: str | None = None
    files: tuple[FetchedFile, ...] = ()
    """The raw files."""
    relabelled_from: str | None = None
    """The data version whose labels were corrected to make this one."""
    audited_from: str | None = None
    """The data version before the audit removed rows; None if there was no audit."""
    removed: dict[str, int] = {}
    """Training rows that the audit's policy removed, by finding; the rows stand in `removed.jsonl`."""
    cached: bool


class EncodedData(Record):
    """An encoded data set: Arrow on disk with columns row, input_ids, label; and its tokenizer."""

    digest: str
    folder: Path
    vocabulary_size: int
    max_length: int
    rows: dict[Split, int]
    truncated: dict[Split, int]
    """How many texts were cut at max_length."""
    mean_tokens: float
    unknown_share: float
    """Share of unknown tokens among the training tokens."""
    cached: bool

    @property
    def tokenizer_folder(self) -> Path:
        """The tokenizer, as `from_pretrained` reads it."""
        return self.folder / "tokenizer"


class TrainedModel(Record):
    """A fine-tuned model folder."""

    run_id: str
    folder: Path
    best_metric: float
    """The validation metric of the kept checkpoint."""
    epochs: float
    steps: int
    seconds: float
    resumed_from_step: int | None


class EvaluatedModel(Record):
    """What was measured."""

    run_id: str
    metrics: dict[str, float]
    """By MLflow name, e.g. `test/f1_macro`."""
    baselines: dict[str, dict[str, float]]
    """Metrics of each baseline, by its name."""
    report_folder: Path
    """Plots, predictions and tables, as logged to MLflow."""
    engine: str
    """Runtime and precision that predicted, e.g. `torch-bf16`."""
    precision: Literal["no", "bf16", "fp16"]
    measured_ms: int
    """When, in milliseconds since 1970: MLflow takes a value of the same step and time only once."""


class Decision(Record):
    """Why a new version became champion, or did not."""

    run_id: str
    name: str
    version: int
    decided: Literal["champion", "challenger"]
    rule: Literal["first", "already", "as_good", "worse", "undefined", "incomparable"]
    """`first`: there was no champion. `already`: it was given the alias by hand. `as_good` and `worse` compare scores.
    `undefined`: the metric has no value over these rows. `incomparable`: the champion has other labels or takes other
    texts."""
    metric: str
    rows: Literal["test", "test_leakfree"]
    """Over which rows: leak-free ones where there are any."""
    row_count: int
    rows_digest: str
    engine: str
    """Runtime and precision that both models predicted with."""
    ours: float | None
    """The new version's score; None if it is undefined."""
    champion_version: int | None
    theirs: float | None
    """The champion's score, over the same rows with the same engine; None if it was not compared."""
    baselines: dict[str, float]
    """Scores of the baselines over the same rows."""
    decided_at: datetime


class RegisteredModel(Record):
    """A registered version and what became of it."""

    decision: Decision
    reason: str
    """The decision in a sentence."""

    @property
    def run_id(self) -> str:
        """The MLflow run that made it."""
        return self.decision.run_id

    @property
    def name(self) -> str:
        """Name of the registered model."""
        return self.decision.name

    @property
    def version(self) -> int:
        """Its number."""
        return self.decision.version

    @property
    def is_champion(self) -> bool:
        """Whether it became the champion."""
        return self.decision.decided == "champion"


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
    """True if the file had been done before with the same model and settings."""


class PredictionSummary(Record):
    """One batch prediction."""

    model: str
    version: int
    files: tuple[PredictedFile, ...]
    seconds: float
