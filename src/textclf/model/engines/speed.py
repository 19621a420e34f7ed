"""How many texts a second an engine or a classifier predicts on this machine, measured with texts it will meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

FEWEST_TEXTS = 32
"""With fewer texts, what is measured says little about a job."""
_FIRST_TEXTS = 16
_SECONDS = 0.4
"""A call that takes so long counts; with the shorter ones before it, an engine is measured in about a second."""

Predict = Callable[[Sequence[str], Sequence[str] | None], object]


def texts_per_second(
    predict: Predict, texts: Sequence[str], text_pairs: Sequence[str] | None, *, max_characters: int
) -> float:
    """Measures in about a second, with more and more of the texts until a call takes long enough to count.

    Engines that get through different numbers of texts are compared by characters, since a few texts may happen to be
    long, and the figure is for texts of the mean length.

    Args:
        predict: Predicts texts, or pairs of them.
        texts: At least one.
        text_pairs: Their second texts.
        max_characters: A text costs no more than this many, because the rest is cut.
    """
    order = np.random.default_rng(0).permutation(len(texts)).tolist()
    shuffled = [texts[index] for index in order]
    pairs = None if text_pairs is None else [text_pairs[index] for index in order]
    costs = [
        min(len(text) + len(pair), max_characters)
        for text, pair in zip(shuffled, pairs or [""] * len(shuffled), strict=True)
    ]
    # The first call also allocates memory.
    predict(shuffled[:_FIRST_TEXTS], pairs and pairs[:_FIRST_TEXTS])
    count = _FIRST_TEXTS
    while True:
        started = time.perf_counter()
        predict(shuffled[:count], pairs and pairs[:count])
        took = time.perf_counter() - started
        if took >= _SECONDS or count >= len(texts):
            return sum(costs[:count]) / took / (sum(costs) / len(costs))
        count *= 2
