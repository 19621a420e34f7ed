"""Probabilities for every row from a model that never saw that row: out-of-fold predictions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from textclf.config.schema import TrainConfig
from textclf.config.sources import Split
from textclf.data.prepared import SplitRows
from textclf.errors import DataError
from textclf.records import FetchedModel, PreparedData
from textclf.store import digest_of, temporary_folder

if TYPE_CHECKING:
    from textclf.evaluation.baselines import Baseline

logger = logging.getLogger(__name__)

FOLDS = 5
# The regression on log-count ratios; docs/experiments.md tells how it was chosen.
_RATIO_INVERSE_REGULARISATION = 0.1
_VALIDATION_SHARE = 10


def tfidf_probabilities(rows: SplitRows, *, seed: int) -> NDArray[np.float64]:
    """Cross-fits two linear models of character n-grams, and takes the mean of their probabilities.

    The first is the TF-IDF baseline, the second a logistic regression whose features are weighted by the log-count
    ratios of naive Bayes. Together they find more wrong labels than each alone (docs/experiments.md).

    Args:
        rows: Different texts; label -1 marks those that take no part in fits.
        seed: Deals the folds, and is the solvers'.

    Returns:
        float64[texts, labels]; each row sums to 1.

    Raises:
        DataError: The rows are too few, or no text has a character in it.
    """
    from textclf.evaluation.baselines import join_pairs, tfidf_baseline

    texts = np.array(join_pairs(rows.texts, rows.pairs), dtype=object)
    probabilities = np.zeros((len(texts), len(rows.label_names)))
    for train, held_out in folds(rows, seed):
        baseline = tfidf_baseline(list(texts[train]), rows.labels[train], len(rows.label_names), seed=seed)
        held_out_texts = list(texts[held_out])
        first = baseline.predict_proba(held_out_texts)
        second = _ratio_probabilities(baseline, list(texts[train]), rows.labels[train], held_out_texts, seed)
        probabilities[held_out] = (first + second) / 2
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def model_probabilities(
    rows: SplitRows,
    *,
    prepared: PreparedData,
    config: TrainConfig,
    model: FetchedModel | None,
    seed: int,
    folder: Path,
) -> NDArray[np.float64]:
    """Cross-fits the configured model: fine-tunes it once a fold, on all rows outside the fold.

    A tenth of those rows picks the checkpoint. What the trainings write goes into temporary folders.

    Args:
        rows: Different texts; label -1 marks those that take no part in fits.
        prepared: The data set that the rows are of.
        config: The whole configuration of the training.
        model: The model to start from; None makes a new one.
        seed: Deals the folds.
        folder: Where the temporary folders are made.

    Returns:
        float64[texts, labels]; each row sums to 1.

    Raises:
        DataError: The rows are too few, or the vocabulary does not fit the language of the texts.
        ModelError: The model cannot be built or loaded.
        StorageError: The disk is full or must not be written to.
    """
    from textclf.model.classifier import Classifier, ClassifierSettings
    from textclf.model.tokens import encode
    from textclf.training.train import train

    probabilities = np.zeros((len(rows.texts), len(rows.label_names)))
    for number, (others, held_out) in enumerate(folds(rows, seed)):
        with temporary_folder(folder, "suspects") as draft:
            part = _prepare_fold(rows, others, prepared, draft / "data", seed=seed, number=number)
            encoded = encode(part, model, model=config.model, encoding=config.encoding, folder=draft / "encoded")
            trained = train(
                encoded,
                model,
                settings=ClassifierSettings.of(config, prepared.labels),
                model=config.model,
                encoding=config.encoding,
                training=config.training,
                run_id=f"fold-{number}",
                folder=draft / "checkpoints",
                log_metrics=_log_nothing,
            )
            classifier = Classifier.load(trained.folder, mixed_precision=config.training.mixed_precision)
            asked = rows.take(held_out)
            batch_size = config.training.per_device_eval_batch_size
            probabilities[held_out] = classifier.predict(asked.texts, asked.pairs, batch_size=batch_size)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def folds(rows: SplitRows, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Goes through the folds, with a bar where it takes long.

    Args:
        rows: Different texts; label -1 marks those that take no part in fits.
        seed: Deals the folds.

    Yields:
        int64, the indices of the rows to fit on, and those of the rows to predict.

    Raises:
        DataError: There are too few rows that take part in fits, or too few of them have another label than the rest.
    """
    fold = deal(rows.labels, FOLDS, seed)
    others = [np.flatnonzero((fold != number) & (rows.labels >= 0)) for number in range(FOLDS)]
    usable = int((rows.labels >= 0).sum())
    if usable < 2 * FOLDS or any(len(np.unique(rows.labels[indices])) < 2 for indices in others):
        raise DataError(
            f"There are too few rows to look for wrong labels: {usable:,} different texts without conflict whose label "
            f"another text has too; at least {2 * FOLDS} are needed, and two of each of two labels.\nAdd rows."
        )
    for number in tqdm(range(FOLDS), desc="looking for wrong labels", unit=" folds", disable=None, delay=2):
        yield others[number], np.flatnonzero(fold == number)


def deal(labels: NDArray[np.int64], parts: int, seed: int) -> NDArray[np.int64]:
    """Deals rows to parts so that every part gets an equal share of each label, as far as that goes.

    Unlike scikit-learn's stratified folds it takes labels with fewer rows than there are parts.

    Args:
        labels: int64[rows].
        parts: How many.
        seed: Shuffles the rows first.

    Returns:
        int64[rows], the number of each row's part, from 0.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[by_label] = np.arange(len(labels)) % parts
    return fold


def _ratio_probabilities(
    baseline: Baseline,
    train_texts: list[str],
    train_labels: NDArray[np.int64],
    texts: list[str],
    seed: int,
) -> NDArray[np.float64]:
    """Fits one regression a label on the n-grams that a text has, each weighted by how much it speaks for the label.

    The weights are the log-count ratios of naive Bayes (Wang and Manning, 2012).

    Args:
        baseline: The TF-IDF baseline that was fitted on the same texts; its n-grams are used.
        train_texts: The texts to fit on.
        train_labels: int64[texts], their label ids, of at least two labels.
        texts: The texts to predict.
        seed: For the order in which the solver takes the rows.

    Returns:
        float64[texts to predict, labels]; each row sums to 1.
    """
    from sklearn.linear_model import LogisticRegression

    vectorizer = baseline.estimator[0]
    present, asked = (vectorizer.transform(batch).sign() for batch in (train_texts, texts))
    classes = np.unique(train_labels)
    probabilities = np.zeros((len(texts), baseline.num_labels))
    # Of two labels, one regression says it all.
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
    """The trainings of the folds belong to no MLflow run."""
