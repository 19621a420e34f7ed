"""What a batch prediction has done so far."""

from __future__ import annotations

import time
from collections.abc import Callable

from textclf.prediction.inputs import InputFiles
from textclf.records import EngineChoice, FailedFile, PredictedFile, PredictionSummary, RefusedFile
from textclf.registry.versions import ChosenModel


class Progress:
    """Collects the outcome of each file, and reports the summary so far after each."""

    def __init__(self, model: ChosenModel, report: Callable[[PredictionSummary], None]) -> None:
        self._model = model
        self._total = 0
        self._ignored: tuple[str, ...] = ()
        self._report = report
        self._started = time.monotonic()
        self._files: list[PredictedFile] = []
        self._refused: list[RefusedFile] = []
        self._failed: list[FailedFile] = []
        self._postponed: list[str] = []
        self._engine: EngineChoice | None = None
        self._expected_shares: dict[str, float] | None = None

    def found(self, inputs: InputFiles) -> None:
        """Adds the files to predict."""
        self._total = len(inputs.pairs)
        self._ignored = inputs.ignored

    def uses(self, engine: EngineChoice, expected_shares: dict[str, float] | None) -> None:
        """Notes what computes, now that the model is loaded."""
        self._engine = engine
        self._expected_shares = expected_shares

    def add(self, file: PredictedFile | RefusedFile | FailedFile) -> None:
        """Adds a file that is predicted, refused or failed."""
        match file:
            case RefusedFile():
                self._refused.append(file)
            case FailedFile():
                self._failed.append(file)
            case _:
                self._files.append(file)
        self.report()

    def postponed(self, name: str) -> None:
        """Adds a file that the next run tries again."""
        self._postponed.append(name)
        self.report()

    def settled(self, refused: list[RefusedFile]) -> None:
        """Replaces the refused files, now that it is known where they are."""
        self._refused = refused

    def report(self) -> None:
        """Reports the summary so far."""
        self._report(self.summary())

    def summary(self) -> PredictionSummary:
        """Returns the summary so far."""
        reached = len(self._files) + len(self._refused) + len(self._failed) + len(self._postponed)
        # Validating all records again after each of thousands of files would take minutes.
        return PredictionSummary.model_construct(
            model=self._model.name,
            version=self._model.version,
            files=tuple(self._files),
            seconds=time.monotonic() - self._started,
            refused=tuple(self._refused),
            failed=tuple(self._failed),
            postponed=tuple(self._postponed),
            waiting=self._total - reached,
            ignored=self._ignored,
            engine=self._engine,
            expected_shares=self._expected_shares,
        )
