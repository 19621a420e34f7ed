"""Batch prediction of files with a registered model, shard by shard, so that a killed run resumes where it stopped.

A file is read in shards of `rows_per_shard` rows. Each shard is checked, predicted and committed as a unit
(`textclf.prediction.ledger`) and never computed again; the output is assembled from the shards and replaced atomically.
Rows that cannot be predicted go to the quarantine file next to the output, which exists only if there are such rows:
one JSON object per line with `source` (the input file's name), `row` (from 1, not counting a header line), `reason` and
`content` (the row's values, or its text if it could not be parsed).

Ids are not interpreted: rows that share an id, or have none, are all predicted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, DataError, first_lines
from textclf.prediction.inputs import InputError, list_inputs, open_input, printable
from textclf.prediction.ledger import Ledger, job_key, redoing
from textclf.prediction.shards import FileJob, Run
from textclf.reading.data_file import DataFile
from textclf.reading.detection import FORMATS
from textclf.records import PredictedFile, PredictionSummary
from textclf.registry.versions import ChosenModel, choose_model, load_classifier
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier

logger = logging.getLogger(__name__)


def predict_batch(config: PredictConfig, *, home: Home, run_id: str) -> PredictionSummary:
    """Predicts a file, or each new file of a folder, with the registered model behind an alias.

    Raises:
        ModelNotFoundError: The alias refers to no model.
        TrackingError: MLflow's store failed.
        TextclfError: As for `predict_files`.
    """
    started = time.monotonic()
    store = TrackingStore.open(home)
    model = choose_model(store, config.model, config.alias)
    logger.info("Predict: %s@%s is version %d.", model.name, config.alias, model.version)
    load = partial(load_classifier, store, model, mixed_precision=config.mixed_precision)
    files = predict_files(config, model, load, run_id=run_id, folder=home.predictions)
    return PredictionSummary(model=model.name, version=model.version, files=files, seconds=time.monotonic() - started)


def predict_files(
    config: PredictConfig, model: ChosenModel, load: Callable[[], Classifier], *, run_id: str, folder: Path
) -> tuple[PredictedFile, ...]:
    """Predicts a file, or each supported file of a folder, unless it was predicted before.

    Args:
        config: What to predict and how.
        model: Its name and version are written to each row.
        load: Loads the model; called only if there is something to predict.
        run_id: Written to each row that this run predicts; rows that a killed run committed keep its id and time.
        folder: Holds shards and records; must outlive the process.

    Returns:
        One record per file, in the order of `list_inputs`; `skipped` if it was predicted before and `redo` is off.

    Raises:
        ConfigError: The paths cannot be used, or the text columns do not fit the model.
        DataError: A file is empty, damaged, not in the format of its ending, lacks a column, or changed while it was
            read. The other files of a folder are predicted first, and all failed files are listed.
        ModelError: The model cannot be loaded or does not return one finite probability per text and label.
        StorageError: The input file cannot be read, the disk is full, an output cannot be written, or rows are lost.
            Committed shards are kept.
    """
    pairs = list_inputs(config)
    if not pairs:
        logger.info("Nothing to predict: %s has no file that ends in %s.", config.input, ", ".join(FORMATS))
    failures: list[str] | None = [] if config.input.expanduser().is_dir() else None
    done: dict[Path, PredictedFile] = {}
    pending: list[tuple[DataFile, Ledger]] = []
    with redoing(folder, config.input, config.output) if config.redo else nullcontext() as redo:
        for path, output in pairs:
            with _collected(failures, path):
                source = open_input(path, config)
                ledger = Ledger(folder, job_key(source, output, config, model), output, redo)
                if file := ledger.finished(path):
                    done[path] = file
                else:
                    pending.append((source, ledger))
                    ledger.explain(model)
        if pending:
            classifier = load()
            column = _text_pair_column(config, classifier, model)
            run = Run(config, model, classifier, column, run_id, predicted_at=datetime.now(UTC).replace(microsecond=0))
            for source, ledger in pending:
                with _collected(failures, source.path), ledger.locked():
                    # Another process may have finished it while this one waited.
                    done[source.path] = ledger.finished(source.path) or FileJob(run, source, ledger).predict()
    if failures:
        command = "this command without redo" if config.redo else "the same command"
        raise DataError(
            f"{len(failures)} of {len(pairs)} files in {config.input} could not be predicted; the others are "
            f"done.\n{first_lines(sorted(failures))}\nFix these files or move them out of the folder, and run "
            f"{command} again: files that are done are skipped."
        )
    return tuple(done[path] for path, _ in pairs)


def _text_pair_column(config: PredictConfig, classifier: Classifier, model: ChosenModel) -> str | None:
    if not classifier.pairs:
        if config.text_pair_column is not None:
            raise ConfigError(
                f"text_pair_column is {config.text_pair_column!r}, but the model {model.name} version {model.version} "
                "classifies single texts.\nLeave text_pair_column out, or choose a model for pairs."
            )
        return None
    column = config.text_pair_column or "text_pair"
    if column == config.text_column:
        raise ConfigError(
            f"The model {model.name} version {model.version} classifies pairs of texts, but text_column and "
            f"text_pair_column are both {column!r}.\nSet them to two different columns."
        )
    return column


@contextmanager
def _collected(failures: list[str] | None, path: Path) -> Iterator[None]:
    """Collects a file's failure; without a list (the input is a single file) it is raised immediately."""
    try:
        yield
    except (DataError, InputError) as error:
        if failures is None:
            raise
        logger.error("%s was not predicted: %s", printable(path), error)
        failures.append(f"{printable(path.name)}: {error}".replace("\n", "\n    "))
