"""What an audit found: the records behind its JSON, its report and its summaries.

The field names are the keys of `textclf data audit --json`. Counts are of rows unless they say otherwise; `by split`
means one entry for each of train, validation and test.
"""

from __future__ import annotations

from textclf.config.sources import Split
from textclf.records import Quarantined, Record


class Example(Record):
    """One row, to look at."""

    split: Split
    source: str
    """The file it stands in."""
    row: int
    """Its number in that file, from 1."""
    label: str
    text: str
    """Cleaned, and cut at 300 Chinese characters."""


class ExamplePair(Record):
    """Two rows that belong together."""

    first: Example
    second: Example
    similarity: float
    """1 for equal texts, else the share of n-grams in common (Jaccard)."""


class Duplicates(Record):
    """Equal texts inside one split."""

    exact: int
    """Rows whose original text stands in an earlier row."""
    normalized: int
    """Rows whose text stands in an earlier row, width and white space aside; includes the exact ones."""
    texts: int
    """Different texts (normalised) that stand in more than one row."""


class Conflicts(Record):
    """Equal texts with different labels inside one split."""

    texts: int
    rows: int


class CrossSplit(Record):
    """What a split shares with earlier ones."""

    exact: int
    """Rows whose original text also stands in train."""
    normalized: int
    """Rows whose text also stands in train, width and white space aside; includes the exact ones."""
    near: int | None
    """Rows with a near duplicate in train and no equal text there; null if near duplicates were not looked for."""
    other_label: int
    """Rows counted in `normalized` whose text stands in train with another label only."""
    leak_free: int
    """Rows whose text stands in no earlier split and in no earlier row of the same split."""


class NearDuplicates(Record):
    """Texts that are nearly the same: pairs of different normalised texts, whatever their splits."""

    threshold: float
    ngram_size: int
    pairs: int
    """Pairs of different texts whose similarity reaches the threshold."""
    complete: bool = True
    """False if many texts are nearly the same as each other: then not every pair of them is listed."""
    rows: dict[Split, int]
    """By split: rows whose text has a near duplicate in an earlier text of the same split."""


class LabelShift(Record):
    """How the labels of a split differ from those of train."""

    total_variation: float
    """Half the sum of the differences of the shares: 0 for equal distributions, 1 for disjoint ones."""
    p_value: float
    """Of Pearson's chi-squared test that both splits have the same distribution."""


class Labels(Record):
    """Labels by split."""

    counts: dict[Split, dict[str, int]]
    shift: dict[Split, LabelShift]
    """For validation and test."""
    median_characters: dict[str, float]
    """Median length of the training texts, by label: where it differs much, length gives the label away."""


class Distribution(Record):
    """How a length is distributed."""

    minimum: int
    median: float
    mean: float
    p95: float
    p99: float
    maximum: int


class Lengths(Record):
    """How long the texts of a split are."""

    characters: Distribution
    tokens: Distribution | None
    """Special tokens included; null if no vocabulary was at hand."""
    max_length: int
    cut: int | None
    """Rows longer than `max_length` tokens, scaled up from a sample where there are very many; null like `tokens`."""
    histogram: tuple[tuple[int, int], ...]
    """Character lengths: upper bound (inclusive) of each bin, and rows in it."""


class Decision(Record):
    """What the policy did with one kind of finding."""

    finding: str
    """`leaks`, `conflicts` or `duplicates`, as in the configuration."""
    choice: str
    """What the configuration says, e.g. `drop`."""
    rows: int
    """Training rows that this removed."""


class Examples(Record):
    """Up to ten examples of each finding."""

    duplicates: tuple[ExamplePair, ...]
    conflicts: tuple[ExamplePair, ...]
    leaks: tuple[ExamplePair, ...]
    """The first row of a pair stands in train, the second in validation or test."""
    near_duplicates: tuple[ExamplePair, ...]
    personal_data: dict[str, tuple[Example, ...]]
    """By kind. In all examples the data themselves are hidden behind asterisks."""
    damaged: tuple[Example, ...]


class Findings(Record):
    """All that an audit found, before the policy was applied, and what the policy did."""

    version: str
    """The data version that was audited."""
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
    """Whose vocabulary the tokens were counted with; null if none was at hand."""
    unknown_token_share: dict[Split, float] | None
    """Share of tokens that the vocabulary does not have."""
    personal_data: dict[Split, dict[str, int]]
    """Rows with at least one, by kind: `mobile_phone`, `landline_phone`, `email`, `identity_card`."""
    damaged: dict[Split, int]
    """Rows whose characters look lost in a wrong conversion of encodings."""
    dates: dict[Split, tuple[str, str]] | None
    """First and last day of each split; null if the contract names no date column."""
    decisions: tuple[Decision, ...]
    rows_after: dict[Split, int]
    """Rows that training and evaluation get."""
    version_after: str
    """The data version after the policy was applied."""
    seconds: float
    examples: Examples
