"""Simple classifiers that a fine-tuned model must beat: the majority class, and TF-IDF with logistic regression.

Throughout, `train_labels` are label ids: int64[texts]. `train_weights` says how many rows each text counts for:
float32[texts]; None counts each once. `text_pairs` and `train_pairs` hold the second text of each pair; None means
single texts. `num_labels` includes labels that no training text has.
"""

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

_SHOWN = ("strategy", "analyzer", "ngram_range", "min_df", "sublinear_tf", "C", "solver", "dual", "tol", "random_state")
_ROWS_FOR_PRUNING = 1_000
_LONGEST_NGRAM = 3
# Between the texts of a pair: a character that texts do not use; the vectorizer would collapse white space. At this
# length no n-gram spans both texts, and n-grams with the separator mark where a text ends or begins.
_PAIR_SEPARATOR = "␟" * (_LONGEST_NGRAM - 1)


@dataclass(frozen=True)
class Baseline:
    """A fitted scikit-learn classifier of texts that knows all labels, even those without training texts."""

    estimator: Any
    num_labels: int

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings that matter, by scikit-learn's names."""
        named = {name.rpartition("__")[2]: value for name, value in self.estimator.get_params().items()}
        return {name: named[name] for name in _SHOWN if name in named}

    def predict_proba(self, texts: Sequence[str], text_pairs: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Returns float32[texts, labels] probabilities of texts or pairs; 0 for labels without training texts."""
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
    """Fits the named baselines on cleaned training texts, and returns them by name.

    Raises:
        DataError: Texts and labels differ in number, the labels have fewer than two classes or an id outside the
            range, or all texts are empty.
    """
    from sklearn.dummy import DummyClassifier

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
        # Ignores the text: a label's probability is its share of the training rows.
        dummy = DummyClassifier(strategy="prior")
        dummy.fit(np.zeros((len(train_labels), 1)), train_labels, sample_weight=train_weights)
        fitted[MAJORITY] = Baseline(dummy, num_labels)
    if TFIDF in names:
        texts = join_pairs(train_texts, train_pairs)
        fitted[TFIDF] = tfidf_baseline(texts, train_labels, num_labels, train_weights=train_weights, seed=seed)
    return fitted


def tfidf_baseline(
    train_texts: Sequence[str],
    train_labels: NDArray[np.int64],
    num_labels: int,
    *,
    train_weights: NDArray[np.float32] | None = None,
    seed: int,
) -> Baseline:
    """Fits logistic regression on TF-IDF of character 1- to 3-grams.

    Characters need no word segmentation, and single ones carry meaning in Chinese. From 1,000 texts on, n-grams that
    occur in only one text are dropped. More than two classes are fitted as one against the rest: as good as a joint
    softmax here, and several times faster.

    Pairs must be joined (`join_pairs`); the classifier does not see which of the two texts an n-gram is in. Weights
    apply to the regression, not to document frequencies. The seed sets the order in which the solver visits the rows.

    Raises:
        DataError: All texts are empty.
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
    # The dual problem grows with the rows, not with the hundreds of thousands of n-grams. At LIBLINEAR's own
    # tolerance, the scores on ChnSentiCorp and TNEWS equal those at 1e-4 in a quarter of the time.
    regression = LogisticRegression(C=10.0, solver="liblinear", dual=True, tol=0.1, max_iter=1_000, random_state=seed)
    # Without metadata routing, weights do not reach the regression.
    with config_context(enable_metadata_routing=True):
        regression.set_fit_request(sample_weight=True)
        pipeline = make_pipeline(vectorizer, OneVsRestClassifier(regression))
        pipeline.fit(list(train_texts), train_labels, sample_weight=train_weights)
    logger.debug("Fitted the TF-IDF + logistic-regression baseline in %.1f s.", time.perf_counter() - started)
    return Baseline(pipeline, num_labels)


def join_pairs(texts: Sequence[str], text_pairs: Sequence[str] | None) -> list[str]:
    """Joins each pair into one text, for classifiers that take single texts; single texts stay as they are."""
    if text_pairs is None:
        return list(texts)
    return [f"{text}{_PAIR_SEPARATOR}{pair}" for text, pair in zip(texts, text_pairs, strict=True)]
