"""Batch prediction of files: shard by shard, so that a killed run goes on where it stopped.

A file is read in shards of `rows_per_shard` rows. Each shard is checked, predicted and committed as a unit
(`textclf.prediction.ledger`); the output is put together from the shards and takes its place at once. What is
committed is never computed again. Rows that cannot be predicted go to the quarantine file beside the output, one
JSON object a line with `row` (number in the input, from 1, a header line not counted), `reason` and `content` (the
row's values, or its text where it could not be read); there is no such file if there is no such row.

Ids are not looked at: two rows with the same id, or with none, are two predicted rows.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, DataError, first_lines
from textclf.prediction.inputs import list_inputs, open_input
from textclf.prediction.ledger import Ledger, job_key
from textclf.prediction.shards import FileJob, Run
from textclf.reading.detection import FORMATS
from textclf.records import PredictedFile

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier

logger = logging.getLogger(__name__)

__all__ = ["finished_file", "list_inputs", "pending_files", "predict_files"]


def finished_file(
    config: PredictConfig, path: Path, output: Path, *, model_name: str, model_version: int, home: Home
) -> PredictedFile | None:
    """Finds out whether a file was done before: same content, model version and settings, and its output untouched.

    Args:
        config: How the file is predicted; its `redo` plays no part.
        path: The input file.
        output: The file that its predictions go to.
        model_name: The registered model.
        model_version: Its version.
        home: Where the record would be.

    Returns:
        What was done, with `skipped` set; None if the file is still to be predicted.

    Raises:
        DataError: The input is missing, empty or of another format than its ending says.
        StorageError: It cannot be read.
    """
    key = job_key(open_input(path, config), output, config, model_name=model_name, model_version=model_version)
    found = Ledger(home, key, output).finished()
    return found and found.model_copy(update={"input": path})


def pending_files(
    config: PredictConfig, *, model_name: str, model_version: int, home: Home
) -> tuple[list[tuple[Path, Path]], list[PredictedFile]]:
    """Tells what is to do before a model is loaded for it.

    Args:
        config: What to predict; with `redo`, everything is to do.
        model_name: The registered model.
        model_version: Its version.
        home: Where finished files are recorded.

    Returns:
        The pairs (input, output) that are still to be predicted, and the records of those done before. In a folder,
        a file that cannot be used counts as to do: `predict_files` reports it after the others are done.

    Raises:
        ConfigError: The paths cannot be used (`list_inputs`).
        DataError: The input file is empty or of another format than its ending says.
        StorageError: An input cannot be read.
    """
    pairs = list_inputs(config)
    pending: list[tuple[Path, Path]] = []
    finished: list[PredictedFile] = []
    for path, output in pairs:
        try:
            found = finished_file(config, path, output, model_name=model_name, model_version=model_version, home=home)
        except DataError:
            if not config.input.expanduser().is_dir():
                raise
            found = None
        if found is None or config.redo:
            pending.append((path, output))
        else:
            finished.append(found)
    return pending, finished


def predict_files(
    config: PredictConfig,
    *,
    classifier: Classifier,
    model_name: str,
    model_version: int,
    run_id: str,
    home: Home,
) -> tuple[PredictedFile, ...]:
    """Predicts a file, or each supported file of a folder, that was not done before.

    Args:
        config: What to predict and how.
        classifier: The model, with the cleaning that it was trained with.
        model_name: The registered model, written to each row.
        model_version: Its version, written to each row.
        run_id: This run, written to each row that it predicts. Rows that an earlier, killed run committed keep that
            run's id and time.
        home: Where shards and records are kept; they must outlive the process to be of use.

    Returns:
        One record a file, in the order of `list_inputs`; `skipped` where the file was done before and `redo` is off.

    Raises:
        ConfigError: The paths cannot be used, or the text columns do not suit the model.
        DataError: A file cannot be used: empty, damaged, of another format than its ending says, without the text
            columns, or changed while it was read. In a folder the other files are predicted first, and all such files
            are named.
        ModelError: The model returns something other than one finite probability a label for each text.
        StorageError: The disk is full, something cannot be read or written, or rows are lost. Committed shards stay.
    """
    run = Run(
        config=config,
        classifier=classifier,
        text_pair_column=_text_pair_column(config, classifier, f"{model_name} version {model_version}"),
        model_name=model_name,
        model_version=model_version,
        run_id=run_id,
        predicted_at=datetime.now(UTC).replace(microsecond=0),
    )
    files: list[PredictedFile] = []
    failures: list[str] = []
    pairs = list_inputs(config)
    if not pairs:
        logger.info("Nothing to predict: %s has no file that ends in %s.", config.input, ", ".join(FORMATS))
    for path, output in pairs:
        try:
            files.append(_predict_file(run, path, output, home))
        except DataError as error:
            if not config.input.expanduser().is_dir():
                raise
            logger.error("%s was not predicted: %s", path, error)
            failures.append(f"{path.name}: {error}")
    if failures:
        raise DataError(
            f"{len(failures)} of {len(pairs)} files in {config.input} could not be predicted; the others are done.\n"
            f"{first_lines(failures)}\nMend these files or move them away, and start again."
        )
    return tuple(files)


def _text_pair_column(config: PredictConfig, classifier: Classifier, model: str) -> str | None:
    if not classifier.pairs:
        if config.text_pair_column is not None:
            raise ConfigError(
                f"text_pair_column is {config.text_pair_column!r}, but the model {model} classifies single texts.\n"
                "Leave text_pair_column out, or choose a model of pairs."
            )
        return None
    column = config.text_pair_column or "text_pair"
    if column == config.text_column:
        raise ConfigError(
            f"The model {model} classifies pairs of texts, but both are to be read from the column {column!r}.\n"
            "Set text_column and text_pair_column to two columns."
        )
    return column


def _predict_file(run: Run, path: Path, output: Path, home: Home) -> PredictedFile:
    source = open_input(path, run.config)
    key = job_key(source, output, run.config, model_name=run.model_name, model_version=run.model_version)
    ledger = Ledger(home, key, output)
    with ledger.locked():
        if run.config.redo:
            ledger.forget()
        elif finished := ledger.finished():
            # A run that was killed between its last two steps may have left them.
            ledger.forget_shards()
            logger.info("%s was done before with the same model and settings: %s stays.", path, output)
            return finished.model_copy(update={"input": path})
        job = FileJob(run, source, ledger, output)
        return job.write_output(job.predict_shards())
