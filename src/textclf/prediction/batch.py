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
import os
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, DataError
from textclf.prediction.inputs import InputError, list_inputs, open_input, printable
from textclf.prediction.ledger import Ledger, job_key, redoing
from textclf.prediction.progress import Progress
from textclf.prediction.shards import FileJob, Run
from textclf.records import PredictionSummary, RefusedFile
from textclf.registry.versions import ChosenModel, choose_model, load_classifier
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier

logger = logging.getLogger(__name__)


def predict_batch(
    config: PredictConfig, *, home: Home, run_id: str, report: Callable[[PredictionSummary], None]
) -> PredictionSummary:
    """Predicts a file, or each new file of a folder, with the registered model behind an alias.

    Args:
        config: What to predict and how.
        home: Holds what is remembered between runs.
        run_id: Written to each row.
        report: Gets the summary so far after each file, and before any error leaves this function.

    Returns:
        As `predict_files`.

    Raises:
        ModelNotFoundError: The alias refers to no model.
        TrackingError: MLflow's store failed.
        TextclfError: As for `predict_files`.
    """
    try:
        store = TrackingStore.open(home)
        model = choose_model(store, config.model, config.alias)
    except BaseException:
        report(PredictionSummary(model=config.model, version=None, files=(), seconds=0))
        raise
    logger.info("Predict: %s@%s is version %d.", model.name, config.alias, model.version)
    load = partial(load_classifier, store, model, mixed_precision=config.mixed_precision)
    return predict_files(config, model, load, run_id=run_id, folder=home.predictions, report=report)


def predict_files(
    config: PredictConfig,
    model: ChosenModel,
    load: Callable[[], Classifier],
    *,
    run_id: str,
    folder: Path,
    report: Callable[[PredictionSummary], None],
) -> PredictionSummary:
    """Predicts a file, or each file of a folder, unless it was predicted before.

    A file of a folder that cannot be predicted is refused and does not stop the others; a single file raises.

    Args:
        config: What to predict and how.
        model: Its name and version are written to each row.
        load: Loads the model; called only if there is something to predict.
        run_id: Written to each row that this run predicts; rows that a killed run committed keep its id and time.
        folder: Holds shards and records; must outlive the process.
        report: Gets the summary so far after each file, and before any error leaves this function.

    Returns:
        What became of each file, by name.

    Raises:
        ConfigError: The paths cannot be used, or the text columns do not fit the model.
        DataError: The input is a single file, and it is damaged, not in the format of its ending, lacks a column, or
            changed while it was read.
        ModelError: The model cannot be loaded or does not return one finite probability per text and label.
        StorageError: The disk is full, an output cannot be written, rows are lost, or a single input file cannot be
            read. Committed shards are kept.
    """
    inputs = list_inputs(config)
    if not inputs.pairs:
        logger.info("Nothing to predict: %s has no file that can be read.", config.input)
    progress = Progress(model, inputs, report)
    run: Run | None = None
    try:
        with redoing(folder, config.input, config.output) if config.redo else nullcontext() as redo:
            for path, output in inputs.pairs:
                try:
                    source = open_input(path, config)
                    ledger = Ledger(folder, job_key(source, output, config, model), output, redo)
                    file = ledger.finished(path)
                    if file is None:
                        ledger.explain(model)
                        run = run or _start(config, model, load(), run_id)
                        with ledger.locked():
                            # Another process may have finished it while this one waited.
                            file = ledger.finished(path) or FileJob(run, source, ledger).predict()
                except (DataError, InputError) as error:
                    if not os.path.lexists(path):
                        progress.postponed(printable(path.name))
                    else:
                        logger.error("%s was not predicted: %s", printable(path), error)
                        progress.refused(
                            RefusedFile(
                                input=Path(printable(path)), reason=str(error), refused_before=False, moved_to=None
                            )
                        )
                    if not inputs.is_folder:
                        raise
                else:
                    progress.done(file)
    finally:
        progress.report()
    return progress.summary()


def _start(config: PredictConfig, model: ChosenModel, classifier: Classifier, run_id: str) -> Run:
    column = _text_pair_column(config, classifier, model)
    return Run(config, model, classifier, column, run_id, predicted_at=datetime.now(UTC).replace(microsecond=0))


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
