"""Logistic regression on TF-IDF of character n-grams, as a few arrays: it predicts with numpy alone.

Scikit-learn fits it; what it predicts equals what scikit-learn would, several times faster.
On disk it is `linear.safetensors` with the arrays and `linear.json` with the rest.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textclf.errors import DataError, ModelError
from textclf.model.ngrams import LONGEST_NGRAM, NgramIndex, ngram_keys
from textclf.store import write_bytes, write_text

logger = logging.getLogger(__name__)

LINEAR_FILE, LINEAR_WEIGHTS_FILE = "linear.json", "linear.safetensors"
# Of the two files: raise it when an older textclf could not read them.
_FORMAT = 1
_ROWS_FOR_PRUNING = 1_000
# Characters times labels of a batch: bounds the memory for weights of its n-grams.
_CELLS = 1 << 20
# Between the texts of a pair: a character that texts do not use; the vectorizer would collapse white space. At this
# length no n-gram spans both texts, and n-grams with the separator mark where a text ends or begins.
_PAIR_SEPARATOR = "␟" * (LONGEST_NGRAM - 1)


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A fitted classifier of texts that knows all labels, even those without training texts.

    Attributes:
        keys: The known n-grams, packed (`ngrams.ngram_keys`), int64[features].
        idf: Inverse document frequency, float32[features].
        coefficients: float32[features, regressions]; two classes need only one regression.
        intercepts: float64[regressions].
        classes: Label ids with training texts, ascending, int64[classes].
        num_labels: Number of labels.
        parameters: The settings of the fit, by scikit-learn's names.
    """

    keys: NDArray[np.int64]
    idf: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    intercepts: NDArray[np.float64]
    classes: NDArray[np.int64]
    num_labels: int
    parameters: Mapping[str, Any]

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: NDArray[np.int64],
        *,
        text_pairs: Sequence[str] | None = None,
        weights: NDArray[np.float32] | None = None,
        num_labels: int,
        seed: int,
    ) -> LinearModel:
        """Fits logistic regression on TF-IDF of character 1- to 3-grams.

        Characters need no word segmentation, and single ones carry meaning in Chinese. From 1,000 texts on, n-grams
        that occur in only one text are dropped. More than two classes are fitted as one against the rest: as good as a
        joint softmax here, and several times faster. The model does not see which text of a pair an n-gram is in.

        Args:
            texts: Cleaned texts.
            labels: Label ids, int64[texts].
            text_pairs: The second text of each pair; None for single texts.
            weights: How many rows each text counts for, float32[texts]; None counts each once. They apply to the
                regression, not to document frequencies.
            num_labels: Includes labels that no text has.
            seed: The order in which the solver visits the rows.

        Raises:
            DataError: Texts and labels differ in number, the labels have fewer than two classes or an id outside the
                range, or all texts are empty.
        """
        from sklearn import config_context
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier

        classes = classes_of(labels, len(texts), num_labels)
        if not any(text.strip() for text in chain(texts, text_pairs or ())):
            raise DataError("The TF-IDF baseline found no character in any training text.")
        started = time.perf_counter()
        logger.debug("Fitting TF-IDF and logistic regression on %s texts.", f"{len(texts):,}")
        ngrams = {
            "analyzer": "char",
            "ngram_range": (1, LONGEST_NGRAM),
            "min_df": 2 if len(texts) >= _ROWS_FOR_PRUNING else 1,
            "sublinear_tf": True,
        }
        # The dual problem grows with the rows, not with the hundreds of thousands of n-grams. At LIBLINEAR's own
        # tolerance, the scores on ChnSentiCorp and TNEWS equal those at 1e-4 in a quarter of the time.
        solver = {"C": 10.0, "solver": "liblinear", "dual": True, "tol": 0.1, "random_state": seed}
        vectorizer = TfidfVectorizer(dtype=np.float32, **ngrams)
        features = vectorizer.fit_transform(join_pairs(texts, text_pairs))
        # Without metadata routing, weights do not reach the regression.
        with config_context(enable_metadata_routing=True):
            regression = LogisticRegression(max_iter=1_000, **solver).set_fit_request(sample_weight=True)
            fitted = OneVsRestClassifier(regression).fit(features, labels, sample_weight=weights).estimators_
        logger.debug("Fitted TF-IDF and logistic regression in %.1f s.", time.perf_counter() - started)
        return cls(
            keys=ngram_keys(vectorizer.get_feature_names_out().tolist()),
            idf=vectorizer.idf_,
            # In half precision, one label in 10,000 changes.
            coefficients=np.concatenate([each.coef_ for each in fitted]).T.astype(np.float32, order="C"),
            intercepts=np.concatenate([each.intercept_ for each in fitted]),
            classes=classes,
            num_labels=num_labels,
            parameters={**ngrams, "ngram_range": str(ngrams["ngram_range"]), **solver},
        )

    @cached_property
    def ngrams(self) -> NgramIndex:
        """Finds the known n-grams in texts."""
        return NgramIndex(self.keys)

    def probabilities(self, texts: Sequence[str], text_pairs: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Returns float32[texts, labels] probabilities of texts or pairs; 0 for labels without training texts.

        A text's probabilities do not depend on the texts beside it.
        """
        regressions = len(self.intercepts)
        decisions = np.zeros((len(texts), regressions))
        characters = max(1, _CELLS // max(64, regressions))
        for first, found in self.ngrams.count(join_pairs(texts, text_pairs), characters=characters):
            values = (np.log(found.counts.astype(np.float32)) + 1) * self.idf.take(found.features)
            # Texts without known n-grams are absent.
            starts = np.flatnonzero(np.diff(found.texts, prepend=-1))
            present = found.texts[starts]
            norms = np.sqrt(np.bincount(found.texts, values**2)[present])
            weighted = self.coefficients.take(found.features, axis=0)
            weighted *= values[:, None]
            decisions[first + present] = np.add.reduceat(weighted, starts) / norms[:, None]
        # The logistic function, without overflow.
        shares = np.exp(-np.logaddexp(0, -(decisions + self.intercepts)))
        if regressions == 1:
            shares = np.hstack([1 - shares, shares])
        probabilities = np.zeros((len(texts), self.num_labels), dtype=np.float32)
        probabilities[:, self.classes] = shares / shares.sum(axis=1, keepdims=True)
        return probabilities

    def save(self, folder: Path) -> None:
        """Writes `linear.safetensors` and `linear.json`, each completely or not at all.

        Raises:
            OSError: They cannot be written.
        """
        from safetensors.numpy import save

        names = ("keys", "idf", "coefficients", "intercepts", "classes")
        weights = save({name: getattr(self, name) for name in names})
        description = {
            "format": _FORMAT,
            "num_labels": self.num_labels,
            "parameters": dict(self.parameters),
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
        # Weights of another model under the old description are noticed by their digest.
        write_bytes(folder / LINEAR_WEIGHTS_FILE, weights)
        write_text(folder / LINEAR_FILE, json.dumps(description, indent=1))

    @classmethod
    def load(cls, folder: Path) -> LinearModel:
        """Reads what `save` wrote, without pickle.

        Raises:
            ModelError: A file is missing, damaged, or of a newer textclf.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            description = json.loads((folder / LINEAR_FILE).read_text(encoding="utf-8"))
            if description["format"] > _FORMAT:
                raise ModelError(
                    f"The linear model in {folder} was written by a newer textclf: found format "
                    f"{description['format']}, expected at most {_FORMAT}.\nUpgrade textclf."
                )
            weights = (folder / LINEAR_WEIGHTS_FILE).read_bytes()
            if hashlib.sha256(weights).hexdigest() != description["sha256"]:
                raise ValueError(f"{LINEAR_WEIGHTS_FILE} is not the file that {LINEAR_FILE} describes")
            return cls(num_labels=description["num_labels"], parameters=description["parameters"], **load(weights))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ModelError(
                f"The linear model in {folder} cannot be loaded: {error}\n"
                f"Expected {LINEAR_FILE} and {LINEAR_WEIGHTS_FILE}, as training writes them."
            ) from error


def classes_of(labels: NDArray[np.int64], texts: int, num_labels: int) -> NDArray[np.int64]:
    """Returns the label ids of training texts, ascending.

    Raises:
        DataError: They cannot be learnt from: see `LinearModel.fit`.
    """
    if texts != len(labels):
        raise DataError(f"Found {texts:,} training texts but {len(labels):,} labels.")
    classes = np.unique(labels)
    if len(classes) < 2:
        raise DataError(
            f"The baselines need training texts of at least two classes; found {len(classes)} in {texts:,} texts."
        )
    if classes[0] < 0 or classes[-1] >= num_labels:
        raise DataError(
            f"Training labels must lie between 0 and {num_labels - 1}; found {classes[0]} to {classes[-1]}."
        )
    return classes


def join_pairs(texts: Sequence[str], text_pairs: Sequence[str] | None) -> Sequence[str]:
    """Joins each pair into one text, for classifiers that take single texts; single texts stay as they are."""
    if text_pairs is None:
        return texts
    return [f"{text}{_PAIR_SEPARATOR}{pair}" for text, pair in zip(texts, text_pairs, strict=True)]
