"""Batch prediction of files with a registered model: shard by shard, so that a killed run goes on where it stopped.

A file is read in shards of `rows_per_shard` rows. Each shard is checked, predicted and committed as a unit
(`textclf.prediction.ledger`); the output is put together from the shards and takes its place at once. What is
committed is never computed again. Rows that cannot be predicted go to the quarantine file beside the output, one
JSON object a line with `source` (name of the input file), `row` (number in it, from 1, a header line not counted),
`reason` and `content` (the row's values, or its text where it could not be read); there is no such file if there is no
such row.

Ids are not looked at: two rows with the same id, or with none, are two predicted rows.
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

    Args:
        config: What to predict, with which model, to where.
        home: Where MLflow's store and the record of finished files lie.
        run_id: This run, written to each row.

    Returns:
        What was done, file by file; files that were done before are marked.

    Raises:
        ModelNotFoundError: There is no model behind the alias.
        TrackingError: MLflow's store failed.
        TextclfError: As `predict_files`.
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
    """Predicts a file, or each supported file of a folder, that was not done before.

    Args:
        config: What to predict and how.
        model: The registered model; its name and version are written to each row.
        load: Loads it; called only if there is something to predict.
        run_id: This run, written to each row that it predicts. Rows that an earlier, killed run committed keep that
            run's id and time.
        folder: Where shards and records are kept; they must outlive the process to be of use.

    Returns:
        One record for each file, in the order of `list_inputs`; `skipped` where the file was done before and `redo` is
        off.

    Raises:
        ConfigError: The paths cannot be used, or the text columns do not suit the model.
        DataError: A file cannot be used: empty, damaged, of another format than its ending says, without the text
            columns, or changed while it was read. In a folder the other files are predicted first, and all files that
            cannot be used or read are named.
        ModelError: The model cannot be loaded, or returns something other than one finite probability for each text
            and label.
        StorageError: The input file cannot be read, the disk is full, an output cannot be written, or rows are lost.
            Committed shards stay.
    """
    pairs = list_inputs(config)
    if not pairs:
        logger.info("Nothing to predict: %s has no file that ends in %s.", config.input, ", ".join(FORMATS))
    failures = _Failures(of_folder=config.input.expanduser().is_dir())
    done: dict[Path, PredictedFile] = {}
    pending: list[tuple[DataFile, Ledger]] = []
    with redoing(folder, config.input, config.output) if config.redo else nullcontext() as redo:
        for path, output in pairs:
            with failures.collected(path):
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
                with failures.collected(source.path), ledger.locked():
                    # Another process may have finished it while this one waited.
                    done[source.path] = ledger.finished(source.path) or FileJob(run, source, ledger).predict()
    if failures.messages:
        raise DataError(
            f"{len(failures.messages)} of {len(pairs)} files in {config.input} could not be predicted; the others are "
            f"done.\n{first_lines(sorted(failures.messages))}\nFix these files or move them away, and start again."
        )
    return tuple(done[path] for path, _ in pairs)


def _text_pair_column(config: PredictConfig, classifier: Classifier, model: ChosenModel) -> str | None:
    if not classifier.pairs:
        if config.text_pair_column is not None:
            raise ConfigError(
                f"text_pair_column is {config.text_pair_column!r}, but the model {model.name} version {model.version} "
                "classifies single texts.\nLeave text_pair_column out, or choose a model of pairs."
            )
        return None
    column = config.text_pair_column or "text_pair"
    if column == config.text_column:
        raise ConfigError(
            f"The model {model.name} version {model.version} classifies pairs of texts, but both are to be read from "
            f"the column {column!r}.\nSet text_column and text_pair_column to two columns."
        )
    return column


class _Failures:
    """What is wrong with single files of a folder; the failure of a file that was named itself is raised at once."""

    def __init__(self, *, of_folder: bool) -> None:
        self.messages: list[str] = []
        self._of_folder = of_folder

    @contextmanager
    def collected(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (DataError, InputError) as error:
            if not self._of_folder:
                raise
            logger.error("%s was not predicted: %s", printable(path), error)
            self.messages.append(f"{printable(path.name)}: {error}")
