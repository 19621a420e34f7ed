"""Simple classifiers that a fine-tuned model has to beat: the majority class, and TF-IDF with logistic regression."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textclf.errors import DataError

logger = logging.getLogger(__name__)

MAJORITY = "majority"
TFIDF = "tfidf-logistic-regression"
BASELINES = (MAJORITY, TFIDF)

_ROWS_FOR_PRUNING = 1_000
_LONGEST_NGRAM = 3
# Between the texts of a pair: a sign that texts do not use, and not white space, which the vectorizer shortens. At this
# length no n-gram reaches from one text into the other; those that hold the sign mark where a text ends or begins.
_PAIR_SEPARATOR = "␟" * (_LONGEST_NGRAM - 1)


@dataclass(frozen=True)
class Baseline:
    """A fitted scikit-learn classifier of texts that knows all labels, also those it never saw.

    Attributes:
        estimator: What scikit-learn fitted.
        num_labels: How many labels there are.
    """

    estimator: Any
    num_labels: int

    def predict_proba(self, texts: Sequence[str], text_pairs: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Classifies texts, or pairs of them.

        Args:
            texts: Any number of them, also none.
            text_pairs: The second text of each; None for single texts.

        Returns:
            Probabilities of shape [texts, labels], float32, columns in the order of the label ids. A label
            without training rows has probability 0.
        """
        probabilities = np.zeros((len(texts), self.num_labels), dtype=np.float32)
        if len(texts):
            probabilities[:, self.estimator.classes_] = self.estimator.predict_proba(join_pairs(texts, text_pairs))
        return probabilities


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
    """Fits baselines on the training texts.

    Args:
        train_texts: The texts, cleaned as the model gets them.
        train_labels: Label ids, shape [texts].
        train_pairs: The second text of each; None for single texts.
        train_weights: How many rows each one counts for, shape [texts]; None counts each once.
        num_labels: How many labels there are, with those that no training text has.
        seed: For the order in which the solver takes the rows.
        names: Which ones.

    Returns:
        The fitted classifiers by name.

    Raises:
        DataError: No texts, texts and labels of different number, fewer than two classes among the labels, a
            label id outside the range, or no text with a character in it.
    """
    if len(train_texts) != len(train_labels):
        raise DataError(f"Found {len(train_texts):,} training texts but {len(train_labels):,} labels.")
    classes = np.unique(train_labels)
    if len(classes) < 2:
        raise DataError(
            f"The baselines need training texts of at least two classes; found {len(classes)} in "
            f"{len(train_texts):,} texts."
        )
    if classes[0] < 0 or classes[-1] >= num_labels:
        raise DataError(
            f"Training labels must lie between 0 and {num_labels - 1}; found {classes[0]} to {classes[-1]}."
        )
    fitted = {}
    if MAJORITY in names:
        fitted[MAJORITY] = majority_baseline(train_labels, num_labels, train_weights=train_weights)
    if TFIDF in names:
        texts = join_pairs(train_texts, train_pairs)
        fitted[TFIDF] = tfidf_baseline(texts, train_labels, num_labels, train_weights=train_weights, seed=seed)
    return fitted


def majority_baseline(
    train_labels: NDArray[np.int64], num_labels: int, *, train_weights: NDArray[np.float32] | None = None
) -> Baseline:
    """Fits a classifier that ignores the text: it predicts each label with its share of the training rows.

    Args:
        train_labels: Label ids, shape [texts], at least one.
        num_labels: How many labels there are.
        train_weights: How many rows each one counts for, shape [texts]; None counts each once.

    Returns:
        The classifier; its most probable label is the most frequent one.
    """
    from sklearn.dummy import DummyClassifier

    features = np.zeros((len(train_labels), 1))
    dummy = DummyClassifier(strategy="prior").fit(features, train_labels, sample_weight=train_weights)
    return Baseline(dummy, num_labels)


def tfidf_baseline(
    train_texts: Sequence[str],
    train_labels: NDArray[np.int64],
    num_labels: int,
    *,
    train_weights: NDArray[np.float32] | None = None,
    seed: int,
) -> Baseline:
    """Fits logistic regression on TF-IDF of character 1- to 3-grams.

    Characters need no word segmentation, and single ones carry meaning in Chinese. From 1,000 texts on, n-grams
    that only one text has are left out. More than two classes are fitted as one against the rest: as good as a
    common softmax here, and several times faster.

    Pairs of texts are one text each here: the classifier knows which n-grams there are and how often, but not which of
    the two texts they stand in. Weights count in the regression; how rare an n-gram is, is counted in texts.

    Args:
        train_texts: The texts; pairs joined to one (`join_pairs`).
        train_labels: Label ids, shape [texts], of at least two classes.
        num_labels: How many labels there are.
        train_weights: How many rows each one counts for, shape [texts]; None counts each once.
        seed: For the order in which the solver takes the rows.

    Returns:
        The classifier.

    Raises:
        DataError: No text has a character in it.
    """
    from sklearn import config_context
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    if not any(text.strip() for text in train_texts):
        raise DataError("The TF-IDF baseline found no character in any training text.")
    started = time.perf_counter()
    logger.debug("Fitting the TF-IDF + logistic-regression baseline on %s texts.", f"{len(train_texts):,}")
    vectorizer = TfidfVectorizer(
        analyzer="char",
        ngram_range=(1, _LONGEST_NGRAM),
        sublinear_tf=True,
        min_df=2 if len(train_texts) >= _ROWS_FOR_PRUNING else 1,
        dtype=np.float32,
    )
    # The dual problem grows with the rows, not with the hundreds of thousands of n-grams. At this tolerance,
    # LIBLINEAR's own, the scores on ChnSentiCorp and TNEWS are those of 1e-4 in a quarter of the time.
    regression = LogisticRegression(C=10.0, solver="liblinear", dual=True, tol=0.1, max_iter=1_000, random_state=seed)
    # The only way for weights to reach the regression through the others.
    with config_context(enable_metadata_routing=True):
        regression.set_fit_request(sample_weight=True)
        pipeline = make_pipeline(vectorizer, OneVsRestClassifier(regression))
        pipeline.fit(list(train_texts), train_labels, sample_weight=train_weights)
    logger.debug("Fitted the TF-IDF + logistic-regression baseline in %.1f s.", time.perf_counter() - started)
    return Baseline(pipeline, num_labels)


def join_pairs(texts: Sequence[str], text_pairs: Sequence[str] | None) -> list[str]:
    """Makes one text of each pair, for classifiers that know no pairs.

    Args:
        texts: Any number of them, also none.
        text_pairs: The second text of each; None for single texts.

    Returns:
        One text each; single texts as they are.
    """
    if text_pairs is None:
        return list(texts)
    return [f"{text}{_PAIR_SEPARATOR}{pair}" for text, pair in zip(texts, text_pairs, strict=True)]
