"""The findings of an audit: the records behind its JSON, its report and its summaries.

The field names are the keys of `textclf data audit --json`. Counts are of rows unless stated otherwise. "Equal" texts
differ at most in character width and white space.
"""

from __future__ import annotations

from textclf.config.sources import Split
from textclf.records import Quarantined, Record


class Example(Record):
    """One row."""

    split: Split
    source: str
    row: int
    """Number in the file `source`, from 1."""
    label: str
    text: str
    """Cleaned, truncated to 300 Chinese characters, with personal data masked."""


class ExamplePair(Record):
    """Two rows that belong together."""

    first: Example
    second: Example
    similarity: float
    """1 for equal texts, else the share of common n-grams (Jaccard)."""


class Duplicates(Record):
    """Equal texts within a split."""

    exact: int
    """Rows whose original text also appears in an earlier row."""
    normalized: int
    """Rows with an equal text in an earlier row; includes the exact ones."""
    texts: int
    """Distinct texts that appear in several rows."""


class Conflicts(Record):
    """Equal texts with different labels within a split."""

    texts: int
    rows: int


class CrossSplit(Record):
    """What a split shares with earlier ones."""

    exact: int
    """Rows whose original text also appears in train."""
    normalized: int
    """Rows with an equal text in train; includes the exact ones."""
    near: int | None
    """Rows with a near duplicate but no equal text in train; null if the search is turned off."""
    other_label: int
    """Rows counted in `normalized` whose text has only other labels in train."""
    leak_free: int
    """Rows without an equal text in an earlier split or earlier in the same split."""


class NearDuplicates(Record):
    """Texts that are nearly the same, in any split."""

    threshold: float
    ngram_size: int
    pairs: int
    """Pairs of distinct texts whose similarity reaches the threshold."""
    complete: bool = True
    """False if not every pair is listed, because a large group of texts is nearly the same."""
    rows: dict[Split, int]
    """Rows with a near duplicate earlier in the same split."""


class LabelShift(Record):
    """How the labels of a split differ from those of train."""

    total_variation: float
    """Half the sum of the absolute differences of the shares: 0 for equal distributions, 1 for disjoint ones."""
    p_value: float
    """Of Pearson's chi-squared test for equal distributions."""


class Labels(Record):
    """Labels by split."""

    counts: dict[Split, dict[str, int]]
    shift: dict[Split, LabelShift]
    """For validation and test."""
    median_characters: dict[str, float]
    """Median length of the training texts by label; large differences mean that length gives the label away."""


class Distribution(Record):
    """Distribution of a length."""

    minimum: int
    median: float
    mean: float
    p95: float
    p99: float
    maximum: int


class Lengths(Record):
    """Lengths of the texts of a split."""

    characters: Distribution
    tokens: Distribution | None
    """With special tokens; null without a vocabulary."""
    max_length: int
    cut: int | None
    """Rows longer than `max_length` tokens, estimated from a sample of a large split; null without a vocabulary."""
    histogram: tuple[tuple[int, int], ...]
    """Upper bound (inclusive, in characters) and rows of each bin."""


class Decision(Record):
    """What the policy did about one kind of finding."""

    finding: str
    """`leaks`, `conflicts` or `duplicates`, as in the configuration."""
    choice: str
    """The configured value, e.g. `drop`."""
    rows: int
    """Training rows removed."""


class Examples(Record):
    """Up to ten examples of each finding."""

    duplicates: tuple[ExamplePair, ...]
    conflicts: tuple[ExamplePair, ...]
    leaks: tuple[ExamplePair, ...]
    """The first row of a pair is in train, the second in validation or test."""
    near_duplicates: tuple[ExamplePair, ...]
    personal_data: dict[str, tuple[Example, ...]]
    """By kind."""
    damaged: tuple[Example, ...]


class Findings(Record):
    """All findings, before the policy was applied, and what the policy did."""

    version: str
    """The audited data version."""
    name: str
    origin: str
    rows: dict[Split, int]
    quarantined: tuple[Quarantined, ...]
    duplicates: dict[Split, Duplicates]
    conflicts: dict[Split, Conflicts]
    cross_split: dict[Split, CrossSplit]
    """For validation and test."""
    near_duplicates: NearDuplicates | None
    labels: Labels
    lengths: dict[Split, Lengths]
    tokenizer: str | None
    """Source of the vocabulary that counted the tokens."""
    unknown_token_share: dict[Split, float] | None
    personal_data: dict[Split, dict[str, int]]
    """Rows with at least one occurrence, by kind: `mobile_phone`, `landline_phone`, `email`, `identity_card`."""
    damaged: dict[Split, int]
    """Rows that look damaged by a wrong encoding conversion."""
    dates: dict[Split, tuple[str, str]] | None
    """First and last day; null if the contract names no date column."""
    decisions: tuple[Decision, ...]
    rows_after: dict[Split, int]
    version_after: str
    seconds: float
    examples: Examples
