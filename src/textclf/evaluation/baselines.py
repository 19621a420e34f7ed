"""Simple classifiers that a fine-tuned model must beat: the majority class, and TF-IDF with logistic regression."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from textclf.model.linear import LinearModel, classes_of

MAJORITY = "majority"
TFIDF = "tfidf-logistic-regression"
BASELINES = (MAJORITY, TFIDF)


class Baseline(Protocol):
    """A fitted classifier of texts that knows all labels, even those without training texts."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The settings that matter, by scikit-learn's names."""
        ...

    def probabilities(self, texts: Sequence[str], text_pairs: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Returns float32[texts, labels] probabilities of texts or pairs; 0 for labels without training texts."""
        ...


@dataclass(frozen=True, eq=False)
class MajorityModel:
    """Ignores the text: a label's probability is its share of the training rows, float32[labels]."""

    shares: NDArray[np.float32]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """As of scikit-learn's DummyClassifier."""
        return {"strategy": "prior"}

    def probabilities(self, texts: Sequence[str], text_pairs: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Returns the shares for each text."""
        return np.tile(self.shares, (len(texts), 1))


def fit_baselines(
    train_texts: Sequence[str],
    train_labels: NDArray[np.int64],
    *,
    train_pairs: Sequence[str] | None = None,
    train_weights: NDArray[np.float32] | None = None,
    num_labels: int,
    seed: int,
    names: Collection[str] = BASELINES,
) -> dict[str, Baseline]:
    """Fits the named baselines on cleaned training texts, and returns them by name; see `LinearModel.fit`.

    Raises:
        DataError: Texts and labels differ in number, the labels have fewer than two classes or an id outside the
            range, or all texts are empty.
    """
    classes_of(train_labels, len(train_texts), num_labels)
    fitted: dict[str, Baseline] = {}
    if MAJORITY in names:
        rows = np.bincount(train_labels, weights=train_weights, minlength=num_labels)
        fitted[MAJORITY] = MajorityModel((rows / rows.sum()).astype(np.float32))
    if TFIDF in names:
        fitted[TFIDF] = LinearModel.fit(
            train_texts,
            train_labels,
            text_pairs=train_pairs,
            weights=train_weights,
            num_labels=num_labels,
            seed=seed,
        )
    return fitted
