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
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from textclf import store
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.data.cleaning import clean_texts
from textclf.errors import ConfigError, DataError, ModelError
from textclf.language import _
from textclf.prediction.answers import KnownAnswers
from textclf.prediction.inputs import InputError, InputFiles, list_inputs, open_input, printable, reading_input
from textclf.prediction.ledger import Job, Ledger, redoing
from textclf.prediction.pipeline import Pipeline
from textclf.prediction.progress import Progress
from textclf.prediction.refusals import FileState, Refusals, file_state
from textclf.prediction.shards import FileJob, Run
from textclf.reading.compression import reading
from textclf.reading.data_file import DataFile
from textclf.reading.detection import TRAINING_FORMATS
from textclf.records import EngineChoice, PredictedFile, PredictionSummary, RefusedFile
from textclf.registry.lookup import load_resolved, resolve_model
from textclf.registry.versions import ChosenModel

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier, Sample
    from textclf.model.settings import ClassifierSettings

logger = logging.getLogger(__name__)

Load = Callable[[str | None, "Sample | None"], "Classifier"]
"""Loads the model; with the `engine_name` of a classifier, for exactly that engine, else for the fastest on the sample.
"""

_SAMPLE, _SAMPLED_BATCHES = 256, 16
"""How many texts engines are measured with, and among how many times as many rows they are looked for."""
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

    def load(engine: str | None, sample: Sample | None) -> Classifier:
        asked, precision = engine or config.engine, config.mixed_precision
        return load_resolved(home, model, engine=asked, mixed_precision=precision, sample=sample)

    return predict_files(config, model, load, run_id=run_id, folder=home.predictions, report=report)


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
            _Batch(config, model, load, run_id, folder, inputs, redo, progress, pipeline).predict()
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


@dataclass
class _Batch:
    """The files of one run, which share a model and what is remembered."""

    config: PredictConfig
    model: ChosenModel
    load: Load
    run_id: str
    folder: Path
    inputs: InputFiles
    redo: str | None
    progress: Progress
    pipeline: Pipeline

    def __post_init__(self) -> None:
        self._run: Run | None = None
        self._refusals = Refusals(self.folder, self.config)

    def predict(self) -> None:
        """Predicts every file, or finds out why it cannot be predicted."""
        progress = self.progress
        postponed = []
        for path, output in self.inputs.pairs:
            try:
                outcome = self._outcome(path, output)
            except (DataError, InputError) as error:
                progress.add(RefusedFile(input=path, reason=str(error), refused_before=False, moved_to=None))
                raise
            if outcome is None:
                postponed.append(printable(path.name))
                progress.postponed(postponed[-1])
            else:
                progress.add(outcome)
        if self.inputs.folder:
            progress.settled(self._refusals.settle(postponed))

    def _outcome(self, path: Path, output: Path) -> PredictedFile | RefusedFile | None:
        """Returns None for a file of a folder that another program changed or removed meanwhile.

        Raises:
            DataError, InputError: The input is a single file, and it cannot be predicted.
        """
        before = file_state(path)
        source: DataFile | None = None
        try:
            if problem := self.inputs.problems.get(path):
                raise DataError(problem)
            if file := self._workbook_done(path, output):
                return file
            source = open_input(path, self.config)
            ledger = Ledger(self.folder, Job(source.sha256, source.format, output, self.config, self.model), self.redo)
            if file := ledger.finished(path):
                return file
            if self.inputs.folder and (refused := self._refusals.find(path, self._refusal_key(source), before)):
                return refused
            ledger.explain()
            self._run = self._run or self._start(source)
            with ledger.locked():
                # Another process may have finished it while this one waited.
                if file := ledger.finished(path):
                    return file
                return FileJob(self._run_for(path, ledger), source, ledger).predict()
        except (DataError, InputError) as error:
            if not self.inputs.folder:
                raise
            if before is None or file_state(path) != before:
                logger.warning(
                    "%s changed or was removed while it was read; the next run tries it again.", printable(path)
                )
                return None
            key = self._refusal_key(source) if source else self._refusals.key(str(error), _content(path, before))
            return self._refusals.add(path, key, before, str(error), movable=path not in self.inputs.problems)

    def _workbook_done(self, path: Path, output: Path) -> PredictedFile | None:
        """Returns the record of a finished workbook; digesting it is much faster than opening it."""
        if TRAINING_FORMATS.get(path.suffix.lower()) != "excel":
            return None
        with reading_input(), reading(path):
            sha256 = store.file_sha256(path)
        return Ledger(self.folder, Job(sha256, "excel", output, self.config, self.model), self.redo).finished(path)

    def _refusal_key(self, source: DataFile) -> str:
        """Digests what the refusal of a file that could be opened depends on."""
        model = self.model
        return self._refusals.key(source.sha256, model.name, model.version, model.model_id)

    def _start(self, source: DataFile) -> Run:
        classifier = self.load(None, partial(_sample, source, self.config, self.model))
        reason = classifier.engine_reason or _("It is the only engine of this model.")
        self.progress.uses(EngineChoice(name=classifier.engine_name, reason=reason), classifier.expected_shares)
        logger.info("Engine: %s. %s", classifier.engine_name, reason)
        return Run(
            config=self.config,
            model=self.model,
            classifier=classifier,
            known=KnownAnswers(len(classifier.labels)),
            pipeline=self.pipeline,
            text_pair_column=_text_pair_column(self.config, self.model, pairs=classifier.pairs),
            abstain_below=classifier.threshold(self.config.min_precision),
            run_id=self.run_id,
            predicted_at=datetime.now(UTC).replace(microsecond=0),
        )

    def _run_for(self, path: Path, ledger: Ledger) -> Run:
        """Returns a run with the engine that made the shards of an unfinished file, if this machine has it."""
        assert self._run is not None
        ours, theirs = self._run.classifier.engine_name, ledger.engine()
        if theirs is None or theirs == ours:
            return self._run
        problem = "it was loaded as another one"
        try:
            classifier = self.load(theirs, None)
            if classifier.engine_name == theirs:
                logger.info("%s is continued with the engine %s, which its shards are from.", path, theirs)
                return replace(self._run, classifier=classifier, known=KnownAnswers(len(classifier.labels)))
        except ModelError as error:
            problem = str(error)
        logger.warning(
            "The shards of %s that an earlier run committed are from the engine %s, which cannot be used here: %s\n"
            "They are predicted anew with %s.",
            *(path, theirs, problem, ours),
        )
        return self._run


def _content(path: Path, state: FileState) -> object:
    """Returns what identifies a file's content, also if it cannot be read."""
    try:
        return store.file_sha256(path)
    except OSError:
        return state


def _named(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{what} ({len(names):,}): {', '.join(names[:_NAMED])}{more}."


def _sample(
    source: DataFile, config: PredictConfig, model: ChosenModel, settings: ClassifierSettings
) -> tuple[list[str], list[str] | None]:
    """Returns the first different texts of a file that can be predicted; none if they are not near its beginning."""
    second = _text_pair_column(config, model, pairs=settings.pairs)
    columns = [name for name in (config.text_column, second) if name is not None]
    found: dict[tuple[str, ...], None] = {}
    with reading_input():
        for batch in islice(source.batches(rows_per_batch=_SAMPLE), _SAMPLED_BATCHES):
            for row in batch.rows:
                cleaned = clean_texts([row.get(name) for name in columns], settings.cleaning)
                if not isinstance(cleaned, str):
                    found[cleaned] = None
            if len(found) >= _SAMPLE:
                break
    texts = list(found)[:_SAMPLE]
    return [text[0] for text in texts], [text[1] for text in texts] if second else None


def _text_pair_column(config: PredictConfig, model: ChosenModel, *, pairs: bool) -> str | None:
    if not pairs:
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
