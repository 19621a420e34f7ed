"""What the training rows say of a text: those most like it, and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from textclf.data.prepared import SplitRows
from textclf.model.ngrams import LONGEST_NGRAM

MOST_TRAINING_ROWS = 50_000
"""Of more training rows, so many are drawn: finding neighbours should take seconds."""


class Neighbour(NamedTuple):
    """A training text, its label, and how similar it is (cosine of TF-IDF, 0 to 1)."""

    text: str
    label: str
    similarity: float


def nearest(texts: Sequence[str], train: SplitRows, *, count: int, seed: int = 0) -> list[list[Neighbour]]:
    """Finds the training rows that share most character n-grams with each text, the most similar first.

    Args:
        texts: Cleaned texts.
        train: The training rows.
        count: How many neighbours each text gets; those without anything in common are left out.
        seed: Draws the rows if there are too many.
    """
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    if len(train) > MOST_TRAINING_ROWS:
        train = train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[:MOST_TRAINING_ROWS]))
    # Hashed, so that memory does not grow with the number of different n-grams.
    vectorizer = HashingVectorizer(analyzer="char", ngram_range=(1, LONGEST_NGRAM), norm=None, alternate_sign=False)
    weights = TfidfTransformer(sublinear_tf=True)
    known = weights.fit_transform(vectorizer.transform(train.texts))
    similarities = weights.transform(vectorizer.transform(texts)) @ known.T
    found = []
    for row in range(len(texts)):
        start, end = similarities.indptr[row : row + 2]
        values, places = similarities.data[start:end], similarities.indices[start:end]
        best = np.argsort(-values, kind="stable")[:count]
        found.append(
            [
                Neighbour(train.texts[place], train.label_names[train.labels[place]], float(value))
                for place, value in zip(places[best], values[best], strict=True)
            ]
        )
    return found
