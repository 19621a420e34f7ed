"""A ladder of classifiers: each rung answers the texts it is sure of, and the rest climb to the next, dearer one.

Its folder holds `textclf.json`, `ladder.json` and, under `rungs/`, a complete model folder for each rung.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textclf import __version__
from textclf.errors import ModelError
from textclf.model.classifier import Answers, Choices, Classifier
from textclf.model.devices import AskedPrecision
from textclf.model.settings import ClassifierSettings, read_settings
from textclf.records import GuaranteedLadder, LadderCalibration, LadderRung, Record
from textclf.store import sync, temporary_folder, write_text

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

_NAME = "ladder: "
LADDER_FILE, RUNGS_FOLDER = "ladder.json", "rungs"


class StoredRung(LadderRung):
    """A rung with its model folder."""

    folder: str
    """Relative to the ladder's folder, with forward slashes."""
    engine: str
    """Runtime and precision that its threshold was set with."""
    texts_per_second: float | None
    """Its speed as measured when the ladder was made; None if it was not."""


class StoredLadder(Record):
    """What `ladder.json` holds: the rungs and the guarantee."""

    textclf_version: str = __version__
    rungs: tuple[StoredRung, ...]
    """The cheapest first; the last one answers all that reaches it."""
    max_disagreement: float
    """With confidence 1 - `error_probability`, at most this share of rows gets another label than the full model's."""
    error_probability: float
    rows: int
    """Number of calibration rows."""
    disagreements: int
    """See `GuaranteedLadder`."""
    data_version: str
    """The data that the calibration rows are from."""


def sure(probabilities: NDArray[np.float32], threshold: float | None) -> NDArray[np.bool_]:
    """Tells which rows a rung answers, bool[rows]: those whose top probability is at least the threshold.

    A row without valid probabilities climbs. A rung without threshold answers all.
    """
    if threshold is None:
        return np.ones(len(probabilities), dtype=np.bool_)
    # A float32 compared as float32 would round the threshold, too.
    found: NDArray[np.bool_] = probabilities.max(axis=1).astype(np.float64) >= threshold
    return found


def who_answers(rungs: Sequence[LadderRung], probabilities: Mapping[str, NDArray[np.float32]]) -> NDArray[np.int8]:
    """Tells which rung answers each row if every rung's probabilities of all rows are known, int8[rows]."""
    answered_by = np.full(len(probabilities[rungs[-1].name]), len(rungs) - 1, dtype=np.int8)
    for index, rung in reversed(list(enumerate(rungs))):
        answered_by[sure(probabilities[rung.name], rung.threshold)] = index
    return answered_by


def ladder_answers(ladder: GuaranteedLadder, probabilities: Mapping[str, NDArray[np.float32]]) -> Answers:
    """Returns what a ladder says of rows if every rung's probabilities of all of them are known.

    Args:
        ladder: Its rungs and thresholds.
        probabilities: By the name of the rung, float32[rows, labels].
    """
    answered_by = who_answers(ladder.rungs, probabilities)
    every = np.stack([probabilities[name] for name in ladder.names])
    return Answers(every[answered_by, np.arange(len(answered_by))], answered_by)


class LadderClassifier(Classifier):
    """Asks the next rung only about texts that the rungs before are not sure of.

    All rungs are loaded at once: the engines of a job must be known before its first text is answered.

    Attributes:
        ladder: The rungs, their thresholds and the guarantee.
    """

    def __init__(
        self,
        folder: Path,
        settings: ClassifierSettings,
        ladder: StoredLadder,
        *,
        engine: str,
        mixed_precision: AskedPrecision,
        choices: Choices | None,
    ) -> None:
        super().__init__(settings)
        self.ladder = ladder
        self.rungs = tuple(rung.name for rung in ladder.rungs)
        self.expected_shares = {rung.name: rung.share for rung in ladder.rungs}
        asked = _by_rung(engine, self.rungs)
        self._classifiers = [
            _load_rung(folder, rung, asked[rung.name], mixed_precision, choices) for rung in ladder.rungs
        ]
        self.engine_name = _NAME + ", ".join(classifier.engine_name for classifier in self._classifiers)
        self.engine_reason = self._classifiers[-1].engine_reason

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: ClassifierSettings,
        *,
        engine: str = "auto",
        mixed_precision: AskedPrecision = "auto",
        choices: Choices | None = None,
    ) -> LadderClassifier:
        """Loads a folder that `save_ladder` wrote.

        Raises:
            ModelError: A description is missing or damaged, or a rung does not fit the ladder or cannot be used.
        """
        try:
            ladder = StoredLadder.model_validate_json((folder / LADDER_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"The ladder in {folder} cannot be loaded: {error}\nExpected {LADDER_FILE}, as training writes it."
            ) from error
        _check_rungs({rung.name: folder / rung.folder for rung in ladder.rungs}, settings)
        return cls(folder, settings, ladder, engine=engine, mixed_precision=mixed_precision, choices=choices)

    def _answer(
        self,
        texts: Sequence[str],
        text_pairs: Sequence[str] | None,
        *,
        batch_size: int,
        progress: tqdm[Any] | None,
    ) -> Answers:
        """Lets each rung answer what it is sure of; the bar advances by texts that have their final answer."""
        probabilities = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        answered_by = np.zeros(len(texts), dtype=np.int8)
        waiting = np.arange(len(texts))
        for index, (rung, classifier) in enumerate(zip(self.ladder.rungs, self._classifiers, strict=True)):
            if not len(waiting):
                break
            last = rung.threshold is None
            found = classifier._answer(
                [texts[row] for row in waiting.tolist()],
                None if text_pairs is None else [text_pairs[row] for row in waiting.tolist()],
                batch_size=batch_size,
                progress=progress if last else None,
            )
            answered = sure(found.probabilities, rung.threshold)
            rows = waiting[answered]
            probabilities[rows] = found.probabilities[answered]
            answered_by[rows] = index
            if progress is not None and not last:
                progress.update(len(rows))
            waiting = waiting[~answered]
        return Answers(probabilities, answered_by)


def _load_rung(
    folder: Path, rung: StoredRung, engine: str, mixed_precision: AskedPrecision, choices: Choices | None
) -> Classifier:
    try:
        loaded = Classifier.load(folder / rung.folder, engine=engine, mixed_precision=mixed_precision, choices=choices)
    except ModelError as error:
        raise ModelError(f"The rung {rung.name} of the ladder in {folder} cannot be used: {error}") from error
    if loaded.engine_name != rung.engine:
        logger.info(
            "The rung %s of the ladder computes with %s here; the ladder was calibrated with %s. Its guarantee allows "
            "for other rounding, but not for the labels that differ between engines.",
            rung.name,
            loaded.engine_name,
            rung.engine,
        )
    return loaded


def _by_rung(engine: str, rungs: Sequence[str]) -> dict[str, str]:
    """Returns the engine that is asked of each rung; the name of a ladder's engine names those of its rungs."""
    if not engine.startswith(_NAME):
        return dict.fromkeys(rungs, engine)
    engines = engine.removeprefix(_NAME).split(", ")
    if len(engines) != len(rungs):
        raise ModelError(f"The engine {engine!r} is that of a ladder with other rungs: expected {', '.join(rungs)}.")
    return dict(zip(rungs, engines, strict=True))


def save_ladder(
    folder: Path,
    ladder: GuaranteedLadder,
    calibration: LadderCalibration,
    *,
    folders: Mapping[str, Path],
    engines: Mapping[str, str],
    texts_per_second: Mapping[str, float],
    data_version: str,
) -> StoredLadder:
    """Writes the folder of a ladder, completely or not at all; an existing one is replaced.

    The files of the rungs are linked if the file system can, else copied.

    Args:
        folder: Its place.
        ladder: One of `calibration.ladders`.
        calibration: The guarantee.
        folders: The model folder of each rung, by name.
        engines: Runtime and precision that computed the calibration rows, by rung.
        texts_per_second: Measured speeds by rung; those not measured are missing.
        data_version: The data that the calibration rows are from.

    Raises:
        ModelError: A rung has other labels, cleaning or inputs than the full model.
        StorageError: The disk is full or not writable.
    """
    full = _settings(folders[ladder.names[-1]], ladder.names[-1])
    settings = full.model_copy(update={"kind": "ladder", "textclf_version": __version__})
    _check_rungs({name: folders[name] for name in ladder.names}, settings)
    stored = StoredLadder(
        rungs=tuple(
            StoredRung(
                **rung.model_dump(),
                folder=f"{RUNGS_FOLDER}/{rung.name}",
                engine=engines[rung.name],
                texts_per_second=texts_per_second.get(rung.name),
            )
            for rung in ladder.rungs
        ),
        max_disagreement=calibration.max_disagreement,
        error_probability=calibration.error_probability,
        rows=calibration.rows,
        disagreements=ladder.disagreements,
        data_version=data_version,
    )
    with temporary_folder(folder.parent, folder.name) as draft:
        made = draft / "new"
        for rung in stored.rungs:
            shutil.copytree(folders[rung.name], made / rung.folder, copy_function=_link_or_copy)
        settings.write(made)
        write_text(made / LADDER_FILE, stored.model_dump_json(indent=1))
        for path in [*made.rglob("*"), made]:
            sync(path)
        # A killed run's ladder; renamed first, so that no reader finds a half-removed folder.
        with suppress(FileNotFoundError):
            folder.rename(draft / "old")
        made.rename(folder)
        sync(folder.parent)
    return stored


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _settings(folder: Path, rung: str) -> ClassifierSettings:
    try:
        return read_settings(folder)
    except (OSError, ValueError) as error:
        raise ModelError(f"The rung {rung} of a ladder has no model folder: {error}") from error


def _check_rungs(folders: Mapping[str, Path], ladder: ClassifierSettings) -> None:
    for name, folder in folders.items():
        found = _settings(folder, name)
        for field in ("labels", "cleaning", "pairs"):
            ours, theirs = getattr(ladder, field), getattr(found, field)
            if ours != theirs:
                raise ModelError(
                    f"The rung {name} in {folder} does not fit its ladder: expected {field} {ours}, found {theirs}.\n"
                    "All rungs must be trained on the same data with the same cleaning."
                )
