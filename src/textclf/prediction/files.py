"""The files of one batch prediction: each is predicted, found done, or refused; they share the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from textclf import store
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.data.cleaning import clean_texts
from textclf.errors import (
    ConfigError,
    DataError,
    ModelError,
    SomeFilesFailedError,
    TextclfError,
    first_lines,
    follows_from_interrupt,
)
from textclf.language import _
from textclf.prediction.answers import KnownAnswers
from textclf.prediction.inputs import InputError, InputFiles, open_input, printable, reading_input
from textclf.prediction.ledger import Job, Ledger
from textclf.prediction.pipeline import Pipeline
from textclf.prediction.progress import Progress
from textclf.prediction.refusals import FileState, Refusals, file_state
from textclf.prediction.shards import FileJob, Run
from textclf.reading.compression import reading
from textclf.reading.data_file import DataFile
from textclf.reading.detection import TRAINING_FORMATS
from textclf.records import EngineChoice, FailedFile, PredictedFile, RefusedFile
from textclf.registry.lookup import load_resolved
from textclf.registry.versions import ChosenModel
from textclf.tables import one_line

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier, Sample
    from textclf.model.settings import ClassifierSettings

logger = logging.getLogger(__name__)

Load = Callable[[str | None, "Sample | None"], "Classifier"]
"""Loads the model; with the `engine_name` of a classifier, for exactly that engine, else for the fastest on the sample.
"""

_SAMPLE, _SAMPLED_BATCHES = 256, 16
"""How many texts engines are measured with, and among how many times as many rows they are looked for."""


def loading(home: Home, model: ChosenModel, config: PredictConfig) -> Load:
    """Returns what loads a registered model as the configuration asks for it."""

    def load(engine: str | None, sample: Sample | None) -> Classifier:
        asked, precision = engine or config.engine, config.mixed_precision
        return load_resolved(home, model, engine=asked, mixed_precision=precision, sample=sample)

    return load


@dataclass
class FileBatch:
    """The files of one run, which share a model and what is remembered.

    Attributes:
        config: What to predict and how.
        model: The model.
        load: Loads it; called only if there is something to predict.
        run_id: Written to each row.
        folder: Holds shards and records.
        inputs: The files.
        redo: Id of the redo that the run belongs to.
        progress: Learns of each file.
        pipeline: Runs the stages of the work.
        beside: In a shadow run, the champion's record of each input, which is the champion's output.
    """

    config: PredictConfig
    model: ChosenModel
    load: Load
    run_id: str
    folder: Path
    inputs: InputFiles
    redo: str | None
    progress: Progress
    pipeline: Pipeline
    beside: Mapping[Path, PredictedFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._run: Run | None = None
        self._concerns_all = False
        self._refusals = Refusals(self.folder, self.config)

    def predict(self) -> None:
        """Predicts every file, or finds out why it cannot be predicted.

        Raises:
            SomeFilesFailedError: Files of a folder failed, for reasons that are not in them; all others are done.
            TextclfError: The model cannot be loaded, or the input is a single file and cannot be predicted.
        """
        progress = self.progress
        postponed, failed = [], []
        for path, output in self.inputs.pairs:
            try:
                outcome = self._outcome(path, output)
            except (DataError, InputError) as error:
                progress.add(RefusedFile(input=path, reason=str(error), refused_before=False, moved_to=None))
                raise
            except Exception as error:
                if not self.inputs.folder or self._concerns_all or follows_from_interrupt(error):
                    raise
                expected = isinstance(error, TextclfError)
                reason = str(error) if expected else f"{type(error).__name__}: {error}".removesuffix(": ")
                logger.error("Failed: %s: %s", printable(path), reason, exc_info=not expected)
                failed.append(FailedFile(input=Path(printable(path)), reason=reason))
                progress.add(failed[-1])
                continue
            if outcome is None:
                postponed.append(printable(path.name))
                progress.postponed(postponed[-1])
            else:
                progress.add(outcome)
        if failed:
            reasons = first_lines([f"{file.input.name}: {one_line(file.reason)}" for file in failed])
            raise SomeFilesFailedError(
                f"{len(failed):,} of {len(self.inputs.pairs):,} files could not be predicted, the others are done:\n"
                f"{reasons}\nThe next run tries them again; their committed shards are kept."
            )
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
                job = FileJob(self._run_for(path, ledger), source, ledger)
                ledger.begin(path, self.run_id)
                return job.predict()
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
        """Loads the model; notes whether it is the reason of an error, and not the file that texts are drawn from."""
        reads = False

        def sample(settings: ClassifierSettings) -> tuple[list[str], list[str] | None]:
            nonlocal reads
            reads = True
            found = _sample(source, self.config, self.model, settings)
            reads = False
            return found

        try:
            return self._loaded(self.load(None, sample))
        except Exception as error:
            self._concerns_all = not reads or isinstance(error, ConfigError)
            raise

    def _loaded(self, classifier: Classifier) -> Run:
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
            beside=self.beside,
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
