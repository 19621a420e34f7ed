"""Sequences of packed texts with words hidden, other words in each pass (dynamic whole-word masking).

A batch is a function of seed, pass and sequence alone: a run that is resumed gets the masks that it would have had.

Import it only where training happens, because it imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from textclf.training.packing import MASKED_FIRST, SPECIAL, TEXT_START, WORD_START, Sequences

IGNORED = -100
"""The label of a token that is not masked."""
# Of the masked tokens: replaced by the mask, and by another token; the rest is shown (Devlin et al. 2018,
# arXiv:1810.04805, section 3.1).
SHARE_MASK, SHARE_OTHER = 0.8, 0.1


class MaskedSequences(Dataset[dict[str, NDArray[np.int64]]]):
    """The sequences of a split with masks.

    Item `pass * len(self) + index` is sequence `index` with the masks of that pass: `input_ids`, `labels` (the true
    token where one is masked, elsewhere `IGNORED`) and `texts` (the number of the text that each token belongs to, from
    0), each int64[sequence_length].

    Args:
        sequences: The packed texts.
        share: Share of the tokens that is masked.
        first_token: Whether the first token of a text has a label, too: that of a masked token of the text.
        mask_id: Id of the mask.
        ordinary: Ids of the tokens that may replace another one.
        seed: Chooses the words.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        share: float,
        first_token: bool,
        mask_id: int,
        ordinary: NDArray[np.int64],
        seed: int,
    ) -> None:
        self._sequences = sequences
        self._share = share
        self._first_token = first_token
        self._mask_id = mask_id
        self._ordinary = ordinary
        self._seed = seed

    def __len__(self) -> int:
        return len(self._sequences.ids)

    def __getitem__(self, item: int) -> dict[str, NDArray[np.int64]]:
        index = item % len(self)
        generator = np.random.default_rng((self._seed, item))
        ids = self._sequences.ids[index].astype(np.int64)
        flags = self._sequences.flags[index]
        masked = masked_words(flags, self._share, generator)
        labels = np.where(masked, ids, IGNORED)
        chance = generator.random(len(ids))
        others = generator.choice(self._ordinary, len(ids))
        ids[masked & (chance < SHARE_MASK)] = self._mask_id
        replaced = masked & (chance >= SHARE_MASK) & (chance < SHARE_MASK + SHARE_OTHER)
        ids[replaced] = others[replaced]
        texts = np.cumsum(flags & TEXT_START != 0)
        if self._first_token:
            _label_first_tokens(labels, masked, flags, texts, generator)
        return {"input_ids": ids, "labels": labels, "texts": texts}


def masked_words(flags: NDArray[np.uint8], share: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Chooses whole words until about a share of the tokens is masked, at least one word if there is any.

    Words that are masked first are always chosen.

    Args:
        flags: What each token is (`Sequences.flags`): uint8[tokens].
        share: Share of the tokens.
        generator: Chooses.

    Returns:
        Whether each token is masked: bool[tokens].
    """
    special = flags & SPECIAL != 0
    words = np.cumsum((flags & WORD_START != 0) | special)
    words -= words[0]
    lengths = np.bincount(words)
    candidates = generator.permutation(np.unique(words[~special]))
    always = np.zeros(len(lengths), dtype=bool)
    always[words[flags & MASKED_FIRST != 0]] = True
    candidates = candidates[np.argsort(~always[candidates], kind="stable")]
    wanted = round(share * len(flags))
    before = np.cumsum(lengths[candidates]) - lengths[candidates]
    chosen = always
    # The nearest number of tokens: a word belongs if at least half of it fits.
    chosen[candidates[(before + lengths[candidates] / 2 <= wanted) | (before == 0)]] = True
    masked: NDArray[np.bool_] = chosen[words] & ~special
    return masked


def _label_first_tokens(
    labels: NDArray[np.int64],
    masked: NDArray[np.bool_],
    flags: NDArray[np.uint8],
    texts: NDArray[np.int64],
    generator: np.random.Generator,
) -> None:
    """Gives the first token of each text that has a masked token the label of one of them, if possible masked first."""
    for start in np.flatnonzero(flags & TEXT_START):
        mine = masked & (texts == texts[start])
        preferred = np.flatnonzero(mine & (flags & MASKED_FIRST != 0))
        places = preferred if len(preferred) else np.flatnonzero(mine)
        if len(places):
            labels[start] = labels[generator.choice(places)]


class PassSampler(Sampler[int]):
    """Random order of the sequences in each pass, with the pass in the number (`MaskedSequences`).

    The order depends only on seed and pass.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._pass = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._pass)
        order = torch.randperm(self._count, generator=generator)
        return iter((order + self._pass * self._count).tolist())

    def set_epoch(self, epoch: int) -> None:
        """Changes order and masks; accelerate calls it at the start of each pass."""
        self._pass = epoch


def collate(items: Sequence[dict[str, NDArray[np.int64]]]) -> dict[str, torch.Tensor]:
    """Makes a batch: int64[sequences, sequence_length] by name."""
    return {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0]}
