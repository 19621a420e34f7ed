"""Texts that are equal are answered once: the distinct texts of a shard, and the answers that a run remembers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from textclf.model.classifier import Answers

# An entry takes about 150 bytes and its probabilities: 30 MB for a few labels. From 84 labels on, the second limit
# counts, so that thousands of labels do not take gigabytes.
_MOST_TEXTS = 200_000
_MOST_BYTES = 64 << 20

Text = tuple[str, ...]
"""A cleaned text, or a pair of them."""


@dataclass(frozen=True, slots=True)
class DistinctTexts:
    """The texts of some rows, each once.

    Attributes:
        texts: In the order of their first row.
        keys: A digest of each.
        places: Index into `texts` of each row: int64[rows].
    """

    texts: list[Text]
    keys: list[bytes]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[Text]) -> DistinctTexts:
        """Finds the distinct texts of some rows."""
        position: dict[Text, int] = {}
        places = np.fromiter((position.setdefault(text, len(position)) for text in texts), np.int64, len(texts))
        return cls(list(position), [_key(text) for text in position], places)


class KnownAnswers:
    """The newest answers of one classifier, by digest of the text: at most 200,000 texts and 64 MiB of probabilities.

    What is not remembered is computed again.

    Args:
        labels: Number of labels.
        most_texts: How many texts are remembered.
    """

    def __init__(self, labels: int, *, most_texts: int = _MOST_TEXTS) -> None:
        capacity = max(min(most_texts, _MOST_BYTES // (4 * labels)), 1)
        self._slot_of: dict[bytes, int] = {}
        self._key_in: list[bytes] = []
        self._next = 0
        # The system gives memory to what is written, not to what is reserved.
        self._probabilities = np.empty((capacity, labels), dtype=np.float32)
        self._rungs = np.empty(capacity, dtype=np.int8)

    def answer(self, distinct: DistinctTexts, compute: Callable[[list[Text]], Answers]) -> tuple[Answers, int]:
        """Answers texts, and calls `compute` with those that are not remembered, if any.

        Returns:
            The answers in the order of `distinct.texts`, and how many of them were computed.
        """
        slots = np.array([self._slot_of.get(key, -1) for key in distinct.keys], dtype=np.int64)
        # A copy: the slots are used again below.
        answers = Answers(self._probabilities[slots], self._rungs[slots])
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            computed = compute([distinct.texts[index] for index in missing])
            answers.probabilities[missing] = computed.probabilities
            answers.rungs[missing] = computed.rungs
            self._remember([distinct.keys[index] for index in missing], computed)
        return answers, len(missing)

    def _remember(self, keys: list[bytes], answers: Answers) -> None:
        capacity = len(self._rungs)
        first = max(len(keys) - capacity, 0)
        for index in range(first, len(keys)):
            slot, key = self._next, keys[index]
            if slot < len(self._key_in):
                del self._slot_of[self._key_in[slot]]
                self._key_in[slot] = key
            else:
                self._key_in.append(key)
            self._slot_of[key] = slot
            self._next = (slot + 1) % capacity
        slots = [self._slot_of[key] for key in keys[first:]]
        self._probabilities[slots] = answers.probabilities[first:]
        self._rungs[slots] = answers.rungs[first:]


def _key(text: Text) -> bytes:
    # With the length of the first text, ("ab", "c") and ("a", "bc") differ.
    return blake2b(f"{len(text[0])}:{''.join(text)}".encode(), digest_size=16).digest()
