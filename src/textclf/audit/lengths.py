"""How long texts are, in characters and in tokens, and how many a length limit cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from textclf.audit.findings import Distribution, Lengths
from textclf.audit.scripts import CharacterClass, character_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

TOKENIZED_TEXTS = 20_000
"""Of more texts than these only an evenly spaced sample of this size is tokenised."""
TEXTS_PER_BATCH = 1_000
BINS = 24
"""Most bins of the histogram; what is beyond the 99th percentile is in the last one."""
# As the vocabulary of bert-base-chinese splits Chinese reviews: most numbers are one token, many words are two.
TOKENS_PER_WORD = 1.3
TOKENS_PER_NUMBER = 1.1


def measure_lengths(
    texts: Sequence[str],
    *,
    max_length: int,
    tokenizer: PreTrainedTokenizerBase | None,
    pairs: Sequence[str] | None = None,
) -> tuple[Lengths, float | None]:
    """Measures how long the texts of a split are.

    Characters are those of all texts. Tokens are counted with the tokenizer, special tokens included and nothing cut:
    for all texts up to 20,000, else for 20,000 of them, evenly spaced, and `cut` is scaled up. Without a tokenizer they
    are estimated for all texts: one for each Han, kana or hangul character and each sign, 1.3 for each word of other
    letters, 1.1 for each number, none for white space, and two special tokens (three with a second text), rounded.

    Args:
        texts: At least one text, cleaned.
        max_length: Limit in tokens, special tokens included.
        tokenizer: A fast tokenizer; None estimates.
        pairs: The second text of each row; both count together.

    Returns:
        The lengths, and the share of the tokens, special ones aside, that the vocabulary does not have (None without
        a tokenizer).

    Raises:
        ValueError: There are no texts, or not as many second texts.
    """
    import numpy as np

    if not texts:
        raise ValueError("There are no texts to measure; expected at least one.")
    characters = _characters(texts)
    if pairs is not None:
        if len(pairs) != len(texts):
            raise ValueError(f"There are {len(texts):,} texts and {len(pairs):,} second texts; expected as many.")
        characters = characters + _characters(pairs)
    unknown_share = None
    if tokenizer is None:
        estimated = _estimated(texts) + 2
        if pairs is not None:
            estimated = estimated + _estimated(pairs) + 1
        tokens = np.rint(estimated).astype(np.int64)
    else:
        sample = _evenly_spaced(len(texts))
        tokens, unknown_share = _counted(
            [texts[row] for row in sample], None if pairs is None else [pairs[row] for row in sample], tokenizer
        )
    lengths = Lengths(
        characters=_distribution(characters),
        tokens=_distribution(tokens),
        max_length=max_length,
        cut=round(int((tokens > max_length).sum()) * len(texts) / len(tokens)),
        histogram=_histogram(characters),
    )
    return lengths, unknown_share


def _characters(texts: Sequence[str]) -> NDArray[np.int64]:
    import numpy as np

    return np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))


def _evenly_spaced(count: int) -> list[int]:
    kept = min(count, TOKENIZED_TEXTS)
    return [row * count // kept for row in range(kept)]


def _counted(
    texts: Sequence[str], pairs: Sequence[str] | None, tokenizer: PreTrainedTokenizerBase
) -> tuple[NDArray[np.int64], float]:
    import numpy as np

    special = tokenizer.num_special_tokens_to_add(pair=pairs is not None)
    lengths: list[int] = []
    unknown = 0
    for start in range(0, len(texts), TEXTS_PER_BATCH):
        batch = slice(start, start + TEXTS_PER_BATCH)
        encoded = tokenizer(
            list(texts[batch]),
            None if pairs is None else list(pairs[batch]),
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        lengths += map(len, encoded)
        unknown += sum(ids.count(tokenizer.unk_token_id) for ids in encoded)
    return np.array(lengths, dtype=np.int64), unknown / max(sum(lengths) - special * len(lengths), 1)


def _estimated(texts: Sequence[str]) -> NDArray[np.float64]:
    import numpy as np

    kinds = CharacterClass
    cost = np.ones(len(kinds))
    cost[kinds.SPACE] = 0
    cost[[kinds.LATIN, kinds.CYRILLIC, kinds.OTHER]] = TOKENS_PER_WORD
    cost[kinds.DIGIT] = TOKENS_PER_NUMBER
    tokens = np.zeros(len(texts))
    for batch in _batches(texts):
        classes, rows, first = character_classes(texts[batch])
        counted = (classes < kinds.LATIN) | first
        tokens[batch] = np.bincount(rows[counted], cost[classes[counted]], minlength=len(texts[batch]))
    return tokens


def _batches(texts: Sequence[str]) -> Iterator[slice]:
    for start in range(0, len(texts), TEXTS_PER_BATCH):
        yield slice(start, min(start + TEXTS_PER_BATCH, len(texts)))


def _distribution(lengths: NDArray[np.int64]) -> Distribution:
    import numpy as np

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
    import numpy as np

    maximum, usual = int(lengths.max()), int(np.percentile(lengths, 99))
    width = next(width for width in _round_widths() if usual <= width * (BINS - 1))
    bounds = [*range(width, min(usual + width, maximum), width), maximum]
    bins = np.bincount(np.searchsorted(bounds, lengths), minlength=len(bounds))
    return tuple(zip(bounds, bins.tolist(), strict=True))


def _round_widths() -> Iterator[int]:
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power) if power == 1 else (power, 2 * power, 5 * power // 2, 5 * power)
        power *= 10
