"""Lengths of texts in characters and tokens, and how many texts a length limit cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textclf.audit.findings import Distribution, Lengths
from textclf.data.prepared import SplitRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZED_TEXTS = 20_000
"""Of more texts, only an evenly spaced sample of this size is tokenised."""
BINS = 24
"""Maximum number of histogram bins; the last one includes everything beyond the 99th percentile."""
_TEXTS_PER_BATCH = 1_000


def measure_lengths(
    rows: SplitRows, *, max_length: int, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[Lengths, float | None]:
    """Measures the texts of a split (at least one); the two texts of a pair count together.

    Tokens include special tokens and are counted without truncation. Of more than 20,000 texts, a sample is tokenised,
    and `cut` is scaled up.

    Args:
        rows: The split.
        max_length: Limit in tokens, special tokens included.
        tokenizer: A fast tokenizer; None skips the tokens.

    Returns:
        The lengths, and the share of unknown tokens, special tokens aside (None without a tokenizer).
    """
    characters = np.fromiter(map(len, rows.texts), dtype=np.int64, count=len(rows))
    if rows.pairs is not None:
        characters += np.fromiter(map(len, rows.pairs), dtype=np.int64, count=len(rows))
    tokens, unknown_share = _count_tokens(rows, tokenizer) if tokenizer else (None, None)
    lengths = Lengths(
        characters=_distribution(characters),
        tokens=None if tokens is None else _distribution(tokens),
        max_length=max_length,
        cut=None if tokens is None else round(int((tokens > max_length).sum()) * len(rows) / len(tokens)),
        histogram=_histogram(characters),
    )
    return lengths, unknown_share


def _count_tokens(rows: SplitRows, tokenizer: PreTrainedTokenizerBase) -> tuple[NDArray[np.int64], float]:
    special = tokenizer.num_special_tokens_to_add(pair=rows.pairs is not None)
    lengths: list[int] = []
    unknown = 0
    size = min(len(rows), TOKENIZED_TEXTS)
    sample = rows.take(np.arange(size) * len(rows) // size)
    for start in range(0, size, _TEXTS_PER_BATCH):
        batch = slice(start, start + _TEXTS_PER_BATCH)
        encoded = tokenizer(
            sample.texts[batch],
            None if sample.pairs is None else sample.pairs[batch],
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        lengths += map(len, encoded)
        unknown += sum(ids.count(tokenizer.unk_token_id) for ids in encoded)
    return np.array(lengths, dtype=np.int64), unknown / max(sum(lengths) - special * len(lengths), 1)


def _distribution(lengths: NDArray[np.int64]) -> Distribution:
    median, p95, p99 = (float(value) for value in np.percentile(lengths, [50, 95, 99]))
    return Distribution(
        minimum=int(lengths.min()),
        median=median,
        mean=float(lengths.mean()),
        p95=p95,
        p99=p99,
        maximum=int(lengths.max()),
    )


def _histogram(lengths: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    maximum, usual = int(lengths.max()), int(np.percentile(lengths, 99))
    widths = (1, 2, 5, *(int(width * 10**power) for power in range(1, 12) for width in (1, 2, 2.5, 5)))
    width = next(width for width in widths if width * (BINS - 1) >= usual)
    bounds = [*range(width, min(usual + width, maximum), width), maximum]
    bins = np.bincount(np.searchsorted(bounds, lengths), minlength=len(bounds))
    return tuple(zip(bounds, bins.tolist(), strict=True))
