"""Export engines of a training's encoders, and find out which of them may be used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from textclf.config.engine import EngineConfig
from textclf.config.sources import Split
from textclf.data.prepared import SplitRows, read_split
from textclf.errors import DataError, EngineUnavailable, TextclfError
from textclf.evaluation.intervals import Metric, decision_metric
from textclf.evaluation.parity import measure_parity
from textclf.evaluation.scores import MEASURED
from textclf.model.classifier import Classifier
from textclf.model.engines.choice import PARITY_FILE, read_parity
from textclf.model.engines.engine import EngineRecord, engine_folder, read_engine
from textclf.model.engines.export import engines_to_export, export_engine
from textclf.model.engines.machine import int8_instructions
from textclf.records import (
    DistilledModel,
    EncodedData,
    EvaluatedModel,
    ExportedEngine,
    ExportedEngines,
    ParityReport,
    PreparedData,
    TrainedModel,
)
from textclf.store import write_output
from textclf.tracking.store import TrackingStore

logger = logging.getLogger(__name__)

EXPORT_TAG = "textclf.engine_export"
"""A run's tag: which engines its models have, or why they have none."""

# MLflow refuses longer tags.
_LONGEST_TAG = 5000

Probabilities = Mapping[Split, NDArray[np.float32]]


def export_engines(
    trained: TrainedModel,
    evaluated: EvaluatedModel,
    prepared: PreparedData,
    encoded: EncodedData,
    *,
    engine: EngineConfig,
    metric: str,
    seed: int,
    store: TrackingStore,
    student: DistilledModel | None = None,
) -> ExportedEngines:
    """Exports engines of the fine-tuned model, and of its student, into their folders, with parity reports.

    Engines are calibrated on training texts. An export that fails, or an engine that does not agree with its model,
    is no reason to fail: it is not used, and the log, the result and the run's tag `textclf.engine_export` say why.
    Called again after a kill, it makes no engine again that is intact, and measures none again that has its report.

    Args:
        trained: The fine-tuned model.
        evaluated: Has its probabilities of validation and test rows; without them, torch computes them now.
        prepared: The rows.
        encoded: The token ids of the training rows.
        engine: Which engines, and what they must keep to.
        metric: That of the registration; if it is not one of decisions, macro F1 is compared.
        seed: Of the training; draws the training texts.
        store: Gets the tag.
        student: The student, if there is one.

    Raises:
        TrackingError: MLflow's store failed.
        StorageError: The prepared data cannot be read.
    """
    rows = {split: read_split(prepared, split) for split in MEASURED}
    folders = {"encoder": trained.folder} | ({"student": student.folder} if student else {})
    names = engines_to_export(engine.export, int8_instructions()[0])
    engines = []
    for model, folder in folders.items():
        reference = evaluated.probabilities if model == "encoder" else {}
        step = _Step(folder, rows, encoded, evaluated, reference, engine, decision_metric(metric), seed)
        engines += [step.run(model, name) for name in names]
    result = ExportedEngines(run_id=trained.run_id, engines=tuple(engines))
    for made in result.engines:
        log = logger.info if made.is_used else logger.warning
        log("Export: %s of the %s. %s", made.name, made.model, sentence(made))
    tag = "\n".join(f"{made.model}, {made.name}: {sentence(made)}" for made in result.engines)
    with store.reporting("saying what was exported"):
        store.client.set_tag(trained.run_id, EXPORT_TAG, tag[:_LONGEST_TAG])
    return result


def sentence(made: ExportedEngine) -> str:
    """Says in English whether an engine is used, and why."""
    if made.problem is not None:
        return f"It cannot be used. {made.problem}"
    assert made.parity is not None
    return f"It may be used: {made.parity.reason}" if made.parity.passed else made.parity.reason


@dataclass(frozen=True)
class _Step:
    """The export of one model."""

    folder: Path
    rows: Mapping[Split, SplitRows]
    encoded: EncodedData
    evaluated: EvaluatedModel
    reference: Mapping[Split, Path]
    """The model's probabilities, if they are known."""
    limits: EngineConfig
    metric: Metric
    seed: int

    def run(self, model: str, name: str) -> ExportedEngine:
        """Exports and compares; what fails is in the result."""
        place = engine_folder(self.folder, name)
        record: EngineRecord | None = None
        parity: ParityReport | None = None
        problem = None
        try:
            record = _intact(place) or export_engine(
                self.folder, name, *calibration_rows(self.encoded, self.limits.calibration_texts, self.seed)
            )
            parity = _known_parity(place) or self._compare(name)
        # OpenVINO and torch raise RuntimeErrors, also when memory runs out.
        except (TextclfError, RuntimeError, MemoryError) as error:
            problem = f"{type(error).__name__}: {error}" if not isinstance(error, TextclfError) else str(error)
            if record is not None:
                parity = ParityReport(engine=name, passed=False, reason=f"It was not compared: {problem}")
                _write(place, parity)
        return ExportedEngine.model_validate(
            {
                "model": model,
                "name": name,
                "parity": parity,
                "problem": problem,
                "calibration_rows": record.calibration_rows if record else 0,
                "size_bytes": sum(file.size_bytes for file in record.files) if record else 0,
                "seconds": record.seconds if record else 0.0,
            }
        )

    def _compare(self, name: str) -> ParityReport:
        reference, engine = self._probabilities()
        report = measure_parity(
            self.folder,
            name,
            reference,
            self.rows,
            reference_engine=engine,
            limits=self.limits,
            metric=self.metric,
        )
        _write(engine_folder(self.folder, name), report)
        return report

    def _probabilities(self) -> tuple[Probabilities, str]:
        """Returns the model's own answers, and what computed them."""
        if set(MEASURED) <= set(self.reference):
            found = {split: np.load(self.reference[split], allow_pickle=False) for split in MEASURED}
            return found, self.evaluated.engine
        classifier = Classifier.load(self.folder, engine="torch", mixed_precision=self.evaluated.precision)
        found = {split: classifier.predict(rows.texts, rows.pairs) for split, rows in self.rows.items()}
        return found, classifier.engine_name


def _intact(place: Path) -> EngineRecord | None:
    """Returns the engine that this run made before it was interrupted."""
    if not place.exists():
        return None
    try:
        return read_engine(place)
    except EngineUnavailable as error:
        logger.warning("Export: %s It is made again.", error)
        return None


def _known_parity(place: Path) -> ParityReport | None:
    try:
        known = read_parity(place)
    except EngineUnavailable:
        return None
    # One without figures is of a comparison that failed.
    return known if known.agreement else None


def _write(place: Path, report: ParityReport) -> None:
    write_output(place / PARITY_FILE, report.model_dump_json(indent=1).encode())


def calibration_rows(encoded: EncodedData, count: int, seed: int) -> tuple[list[list[int]], list[list[int]] | None]:
    """Draws training texts at random: their token ids, and for pairs the type of each token.

    Raises:
        DataError: The encoded training rows cannot be read.
    """
    path = encoded.folder / "train.arrow"
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_stream(source).read_all()
            drawn = np.random.default_rng(seed).permutation(table.num_rows)[:count]
            rows = table.take(np.sort(drawn))
            types = rows["token_type_ids"].to_pylist() if "token_type_ids" in rows.column_names else None
            return rows["input_ids"].to_pylist(), types
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"The token ids in {path} cannot be read: {error}\nRemove {path.parent} to rebuild them."
        ) from error
