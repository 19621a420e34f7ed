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
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.prediction.files import FileBatch, Load, loading
from textclf.prediction.inputs import list_inputs
from textclf.prediction.ledger import redoing
from textclf.prediction.pipeline import Pipeline
from textclf.prediction.progress import Progress
from textclf.prediction.shadow import predict_shadow
from textclf.records import PredictionSummary
from textclf.registry.lookup import resolve_model
from textclf.registry.versions import ChosenModel

logger = logging.getLogger(__name__)

_NAMED = 10
"""How many names a line of the log holds."""
# In fewer rows, shares differ by chance.
_ROWS_FOR_SHARES = 200
_SHARE_TOLERANCE = 0.15


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
        model = resolve_model(home, config.model, config.alias)
    except BaseException:
        report(PredictionSummary(model=config.model, version=None, files=(), seconds=0))
        raise
    logger.info("Predict: %s@%s is version %d.", model.name, config.alias, model.version)
    load = loading(home, model, config)
    summary = predict_files(config, model, load, run_id=run_id, folder=home.predictions, report=report)
    if config.shadow is None:
        return summary
    shadow = predict_shadow(config, model, summary.files, home=home, run_id=run_id)
    summary = summary.model_copy(update={"shadow": shadow})
    report(summary)
    return summary


def predict_files(
    config: PredictConfig,
    model: ChosenModel,
    load: Load,
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
        load: Loads the model, or raises `ModelError` if it does not have the engine; called only if there is something
            to predict.
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
    progress = Progress(model, report)
    try:
        inputs = list_inputs(config)
        progress.found(inputs)
        if not inputs.pairs:
            logger.info("Nothing to predict: %s has no file that can be read.", config.input)
        if inputs.ignored:
            logger.info("%s", _named(f"Not read in {inputs.folder}", inputs.ignored))
        redo_id = redoing(folder, config.input, config.output) if config.redo else nullcontext()
        with redo_id as redo, Pipeline() as pipeline:
            FileBatch(config, model, load, run_id, folder, inputs, redo, progress, pipeline).predict()
    finally:
        progress.report()
    summary = progress.summary()
    if skipped := sum(file.skipped for file in summary.files):
        logger.info("Done before (%d): these outputs are kept.", skipped)
    if known := [file.input.name for file in summary.refused if file.refused_before]:
        logger.warning("%s", _named("Refused by an earlier run and not tried again", known))
    _check_shares(summary)
    return summary


def _check_shares(summary: PredictionSummary) -> None:
    """Warns if the full model of a ladder answers much more or less often than on validation rows."""
    counts = Counter[str]()
    for file in summary.files:
        counts.update({} if file.skipped else file.rung_counts)
    if not summary.expected_shares or counts.total() < _ROWS_FOR_SHARES:
        return
    rung, expected = list(summary.expected_shares.items())[-1]
    found = counts[rung] / counts.total()
    if abs(found - expected) > _SHARE_TOLERANCE:
        logger.warning(
            "The model %r answered %.1f %% of the rows, but %.1f %% of the validation rows: these texts are unlike "
            "them, and labels may differ from the full model's more often than the ladder guarantees.\nPredict with "
            "the full model, or train with texts like these.",
            *(rung, 100 * found, 100 * expected),
        )


def _named(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{what} ({len(names):,}): {', '.join(names[:_NAMED])}{more}."
