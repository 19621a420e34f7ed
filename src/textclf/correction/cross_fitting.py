"""Out-of-fold predictions: probabilities for every row from a model that never saw that row."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from textclf.config.schema import EncodingConfig, ModelConfig, TrainingConfig
from textclf.config.sources import Split
from textclf.data.prepared import SplitRows
from textclf.errors import DataError
from textclf.language import _
from textclf.progress import progress_bar
from textclf.records import FetchedModel, PreparedData
from textclf.store import digest_of, temporary_folder

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from textclf.model.linear import LinearModel
    from textclf.model.settings import ClassifierSettings

logger = logging.getLogger(__name__)

FOLDS = 5
# Of the regression on log-count ratios; docs/experiments.md explains the choice.
_RATIO_INVERSE_REGULARISATION = 0.1
_VALIDATION_SHARE = 10


def tfidf_probabilities(rows: SplitRows, *, seed: int) -> NDArray[np.float64]:
    """Cross-fits two linear models of character n-grams and averages their probabilities.

    The first is the TF-IDF baseline, the second a logistic regression whose features are weighted by the log-count
    ratios of naive Bayes. Together they find more wrong labels than either alone (docs/experiments.md).

    Args:
        rows: Distinct texts; label -1 excludes a text from the fits.
        seed: Of the folds and the solvers.

    Returns:
        float64[texts, labels]; each row sums to 1.

    Raises:
        DataError: There are too few rows, or all texts are empty.
    """
    from textclf.model.linear import LinearModel, join_pairs

    texts = np.array(join_pairs(rows.texts, rows.pairs), dtype=object)
    probabilities = np.zeros((len(texts), len(rows.label_names)))
    for train, held_out in folds(rows, seed):
        train_texts, held_out_texts = list(texts[train]), list(texts[held_out])
        linear = LinearModel.fit(train_texts, rows.labels[train], num_labels=len(rows.label_names), seed=seed)
        first = linear.probabilities(held_out_texts)
        second = _ratio_probabilities(linear, train_texts, rows.labels[train], held_out_texts, seed)
        probabilities[held_out] = (first + second) / 2
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def model_probabilities(
    rows: SplitRows,
    *,
    prepared: PreparedData,
    fetched: FetchedModel | None,
    settings: ClassifierSettings,
    model: ModelConfig,
    encoding: EncodingConfig,
    training: TrainingConfig,
    folder: Path,
) -> NDArray[np.float64]:
    """Cross-fits the configured model: fine-tunes it once per fold, on all rows outside the fold.

    A tenth of those rows selects the checkpoint.

    Args:
        rows: Distinct texts; label -1 excludes a text from the fits.
        prepared: The data set that the rows come from.
        fetched: As in `training.train.train`, like the four arguments that follow.
        settings: See there.
        model: See there.
        encoding: See there.
        training: See there; its seed also deals the folds.
        folder: Where temporary folders are created.

    Returns:
        float64[texts, labels]; each row sums to 1.

    Raises:
        DataError: There are too few rows, or the vocabulary does not fit the language of the texts.
        ModelError: The model cannot be built or loaded.
        StorageError: The disk is full or not writable.
    """
    from textclf.model.classifier import Classifier
    from textclf.model.tokens import encode
    from textclf.training.train import train

    probabilities = np.zeros((len(rows.texts), len(rows.label_names)))
    for number, (others, held_out) in enumerate(folds(rows, training.seed)):
        with temporary_folder(folder, "suspects") as draft:
            part = _prepare_fold(rows, others, prepared, draft / "data", seed=training.seed, number=number)
            encoded = encode(part, fetched, model=model, encoding=encoding, folder=draft / "encoded")
            trained = train(
                encoded,
                fetched,
                settings=settings,
                model=model,
                encoding=encoding,
                training=training,
                run_id=f"fold-{number}",
                folder=draft / "checkpoints",
                log_metrics=_log_nothing,
            )
            classifier = Classifier.load(trained.folder, mixed_precision=training.mixed_precision)
            asked = rows.take(held_out)
            probabilities[held_out] = classifier.predict(
                asked.texts, asked.pairs, batch_size=training.per_device_eval_batch_size
            )
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def folds(rows: SplitRows, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Iterates over the folds; arguments as in `tfidf_probabilities`.

    Yields:
        The indices of the rows to fit on and of the rows to predict, int64.

    Raises:
        DataError: There are too few rows to fit on, or too few with a second label.
    """
    fold = deal(rows.labels, FOLDS, seed)
    others = [np.flatnonzero((fold != number) & (rows.labels >= 0)) for number in range(FOLDS)]
    usable = int((rows.labels >= 0).sum())
    if usable < 2 * FOLDS or any(len(np.unique(rows.labels[indices])) < 2 for indices in others):
        raise DataError(
            f"There are too few rows to look for wrong labels: found {usable:,} distinct texts without conflicting "
            f"labels whose label another text shares, expected at least {2 * FOLDS}, "
            "two of each of two labels.\nAdd rows."
        )
    for number in progress_bar(range(FOLDS), desc=_("looking for wrong labels"), unit=" folds", delay=2):
        yield others[number], np.flatnonzero(fold == number)


def deal(labels: NDArray[np.int64], parts: int, seed: int) -> NDArray[np.int64]:
    """Deals rows to parts, stratified by label; returns the number of each row's part, int64[rows] from 0.

    Unlike scikit-learn's stratified folds, it accepts labels with fewer rows than there are parts.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[by_label] = np.arange(len(labels)) % parts
    return fold


def _ratio_probabilities(
    linear: LinearModel, train_texts: list[str], train_labels: NDArray[np.int64], texts: list[str], seed: int
) -> NDArray[np.float64]:
    """Fits one regression per label on the n-grams of `linear`, weighted by the log-count ratios of naive Bayes.

    See Wang and Manning (2012). `linear` was fitted on the same texts.
    """
    from sklearn.linear_model import LogisticRegression

    present, asked = (_ngrams_in(batch, linear) for batch in (train_texts, texts))
    classes = np.unique(train_labels)
    probabilities = np.zeros((len(texts), linear.num_labels))
    # Two labels need only one regression.
    for label in classes[1:] if len(classes) == 2 else classes:
        is_label = train_labels == label
        with_label = np.asarray(present[is_label].sum(axis=0)).ravel() + 1
        without = np.asarray(present[~is_label].sum(axis=0)).ravel() + 1
        ratio = np.log(with_label / with_label.sum()) - np.log(without / without.sum())
        ratio = ratio.astype(np.float32)
        regression = LogisticRegression(
            C=_RATIO_INVERSE_REGULARISATION, solver="liblinear", dual=True, tol=0.1, max_iter=1_000, random_state=seed
        )
        regression.fit(present.multiply(ratio).tocsr(), is_label)
        probabilities[:, label] = regression.predict_proba(asked.multiply(ratio).tocsr())[:, 1]
    if len(classes) == 2:
        probabilities[:, classes[0]] = 1 - probabilities[:, classes[1]]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def _ngrams_in(texts: list[str], linear: LinearModel) -> csr_matrix:
    """Returns which of the model's n-grams are in which text: 1 or absent, float32[texts, n-grams]."""
    from scipy.sparse import csr_matrix

    batches = [(first + found.texts, found.features) for first, found in linear.ngrams.count(texts)]
    in_text, features = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    ones = np.ones(len(features), dtype=np.float32)
    return csr_matrix((ones, (in_text, features)), shape=(len(texts), len(linear.keys)))


def _prepare_fold(
    rows: SplitRows, others: NDArray[np.int64], prepared: PreparedData, folder: Path, *, seed: int, number: int
) -> PreparedData:
    part = deal(rows.labels[others], _VALIDATION_SHARE, seed)
    indices: dict[Split, NDArray[np.int64]] = {"train": others[part > 0], "validation": others[part == 0]}
    folder.mkdir()
    for split, chosen in indices.items():
        pq.write_table(rows.take(chosen).table, folder / f"{split}.parquet")
    digest = digest_of(prepared.digest, seed, number)
    return prepared.model_copy(
        update={
            "digest": digest,
            "folder": folder,
            "rows": {split: len(chosen) for split, chosen in indices.items()},
            "split_digests": {split: digest_of(digest, split) for split in indices},
        }
    )


def _log_nothing(metrics: dict[str, float], step: int) -> None:
    """Discards metrics: the folds belong to no MLflow run."""
