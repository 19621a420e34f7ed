"""Records of data and models that were fetched, and of data on its way to training."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from textclf.config.sources import Split
from textclf.records.base import Record


class Attempt(Record):
    """One attempt at one source."""

    source: str
    """The source, e.g. `huggingface lansinuote/ChnSentiCorp at https://hf-mirror.com`."""
    seconds: float
    failure: str | None
    """Why it failed; None if it worked."""


class FetchedFile(Record):
    """One fetched file."""

    path: str
    """Relative to the folder, with forward slashes."""
    sha256: str
    size_bytes: int


class FetchedData(Record):
    """A raw data set on disk."""

    digest: str
    """Digest of the files' names and contents."""
    folder: Path
    files: tuple[FetchedFile, ...]
    splits: dict[Split, tuple[str, ...]]
    """Paths, relative to the folder, by split. Data that is still to be split is `train`."""
    origin: str
    """The source with its revision, for display."""
    uri: str = ""
    """Address of the repository on its hub, or path of the folder on this machine."""
    revision: str | None = None
    """The commit on the hub, or the branch if the hub does not report the commit; None for local files."""
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
    """Rows that break the contract for one reason."""

    reason: str
    rows: int
    examples: tuple[str, ...]
    """The first ten: file, row number and finding."""


class PreparedData(Record):
    """A cleaned data set: one Parquet file per split with columns row, source, id, text, label and more.

    `textclf.data.prepare.prepare` and `textclf.audit.audit.audit` describe the columns.
    """

    digest: str
    folder: Path
    name: str
    """Short name of the data set."""
    version: str
    """The data version: digest of the row sets and the contract, whatever the order, format and layout of files."""
    labels: tuple[str, ...]
    """Label names in the order of their ids."""
    rows: dict[Split, int]
    label_counts: dict[Split, dict[str, int]]
    quarantined: dict[str, int]
    """Number of rows that broke the contract, by reason; the rows are in `quarantine.jsonl`."""
    leaked: dict[Split, int]
    """Number of validation and test texts with an exact copy in an earlier split or earlier in their own."""
    split_digests: dict[Split, str]
    """Digest of each split's set of rows, whichever files they came from."""
    test_leakfree_digest: str = ""
    """Digest of the test rows that are not copies of earlier ones."""
    contract: str
    """Digest of the rules that every row meets."""
    origin: str
    uri: str = ""
    """Address of the source."""
    revision: str | None = None
    files: tuple[FetchedFile, ...] = ()
    """The raw files."""
    relabelled_from: str | None = None
    """The data version whose labels were corrected to make this one."""
    audited_from: str | None = None
    """The data version before the audit removed rows; None if there was no audit."""
    removed: dict[str, int] = Field(default_factory=dict)
    """Number of training rows that the audit's policy removed, by finding; the rows are in `removed.jsonl`."""
    cached: bool


class EncodedData(Record):
    """An encoded data set: Arrow on disk with columns row, input_ids, label; and its tokenizer."""

    digest: str
    folder: Path
    vocabulary_size: int
    max_length: int
    rows: dict[Split, int]
    truncated: dict[Split, int]
    """Number of texts cut at max_length."""
    mean_tokens: float
    unknown_share: float
    """Share of unknown tokens among the training tokens."""
    cached: bool

    @property
    def tokenizer_folder(self) -> Path:
        """The tokenizer's folder, as `from_pretrained` reads it."""
        return self.folder / "tokenizer"
