"""The models that a training makes besides the encoder: the linear model, the ladder; and what each says and costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textclf.config.evaluation import EvaluationConfig
from textclf.config.schema import LadderConfig
from textclf.config.sources import Split
from textclf.data.prepared import SplitRows, read_split
from textclf.errors import DataError
from textclf.evaluation.baseline_runs import fit, measure_baselines
from textclf.evaluation.baselines import TFIDF
from textclf.evaluation.closer import closer_metrics, look_closer
from textclf.evaluation.guarantee import calibrate_ladder, verify_ladder, why_no_ladder
from textclf.evaluation.measure import LINEAR_FOLDER
from textclf.evaluation.scores import (
    ENGINE_TAG,
    MEASURED,
    all_metrics,
    comparison_tags,
    log_metrics,
    write_probabilities,
)
from textclf.heads.abstaining import fit_thresholds
from textclf.heads.single_label import SingleLabel
from textclf.model.classifier import Classifier
from textclf.model.engines.speed import texts_per_second
from textclf.model.ladder import ladder_answers, save_ladder
from textclf.model.linear import LinearModel
from textclf.model.linear_classifier import save_linear_classifier
from textclf.model.settings import read_settings
from textclf.records import (
    Candidate,
    CandidateKind,
    DistilledModel,
    EvaluatedModel,
    GuaranteedLadder,
    LadderCalibration,
    LadderVerification,
    PreparedData,
    TrainedModel,
)
from textclf.store import writing
from textclf.tracking.datasets import dataset_inputs
from textclf.tracking.runs import VERSION_TAG
from textclf.tracking.store import TrackingStore

FOLDER = "candidates"
CANDIDATE_TAG = "textclf.candidate"


@dataclass
class CandidateModels:
    """Makes and measures the models of a training, one kind after the other.

    Attributes that appear as the candidates do:
        probabilities: What each says of the validation and test rows, float32[rows, labels].
        left_out: Why a kind is missing.
        calibration, ladder, verification: The ladder; None without one.
    """

    folder: Path
    trained: TrainedModel
    student: DistilledModel | None
    evaluated: EvaluatedModel
    prepared: PreparedData
    ladder_config: LadderConfig
    precisions: Sequence[float]
    seed: int
    name: str
    store: TrackingStore

    def __post_init__(self) -> None:
        self.rows: dict[Split, SplitRows] = {split: read_split(self.prepared, split) for split in MEASURED}
        self.probabilities: dict[str, dict[Split, NDArray[np.float32]]] = {}
        self.left_out: dict[CandidateKind, str] = {}
        self.calibration: LadderCalibration | None = None
        self.ladder: GuaranteedLadder | None = None
        self.verification: LadderVerification | None = None
        self._folders: dict[str, Path] = {}
        self._engines: dict[str, str] = {}
        self._speeds: dict[str, tuple[float, str]] = {}

    def candidates(self, wanted: Sequence[CandidateKind]) -> Iterator[Candidate]:
        """Yields the wanted candidates; the ladder also needs the others."""
        self._add_encoder()
        if "student" in wanted or "ladder" in wanted:
            self._add_student()
        if "linear" in wanted or "ladder" in wanted:
            self._add_linear()
        for kind in ("encoder", "student", "linear"):
            if kind in wanted and kind in self._folders:
                yield self._candidate(kind)
        if "ladder" in wanted and self._add_ladder():
            yield self._candidate("ladder")

    def looked_closer_at(self, candidate: Candidate, evaluation: EvaluationConfig) -> Candidate:
        """Adds slices and behaviour to the metrics of a candidate, which the encoder has from its evaluation."""
        classifier = Classifier.load(candidate.folder, engine="torch", mixed_precision=self.evaluated.precision)
        probabilities = self.probabilities[candidate.kind]["test"]
        slices, behaviour = look_closer(
            classifier, self.rows["test"], probabilities, evaluation=evaluation, seed=self.seed, batch_size=1024
        )
        metrics = candidate.metrics | closer_metrics(slices, behaviour)
        return candidate.model_copy(update={"metrics": metrics, "slices": slices, "behaviour": behaviour})

    def _add_encoder(self) -> None:
        found = {split: np.load(path, allow_pickle=False) for split, path in self.evaluated.probabilities.items()}
        self._add("encoder", self.trained.folder, found, self.evaluated.engine)

    def _add_student(self) -> None:
        if self.student is not None:
            classifier = Classifier.load(self.student.folder, engine="torch", mixed_precision=self.evaluated.precision)
            self._add("student", self.student.folder, self._predict(classifier), classifier.engine_name)

    def _add_linear(self) -> None:
        kept, target = self.folder / LINEAR_FOLDER, self.folder / FOLDER / "linear"
        try:
            self._baseline = measure_baselines(
                self.store, self.prepared, name=self.name, seed=self.seed, keep=kept, wanted=[TFIDF]
            )[TFIDF]
            # An earlier run on the same data may have measured it.
            model = (
                LinearModel.load(kept) if kept.is_dir() else fit(self.prepared, seed=self.seed, names=[TFIDF])[TFIDF]
            )
        except DataError as error:
            self.left_out["linear"] = str(error)
            return
        assert isinstance(model, LinearModel)
        settings = read_settings(self.trained.folder).model_copy(update={"kind": "linear"})
        with writing(target):
            save_linear_classifier(target, model, settings)
        classifier = Classifier.load(target)
        self._add("linear", target, self._predict(classifier), classifier.engine_name)

    def _add_ladder(self) -> bool:
        rungs = [kind for kind in ("linear", "student", "encoder") if kind in self._folders]
        if len(rungs) == 1:
            return False
        validation = self.rows["validation"]
        usable = validation.leakfree if validation.leakfree is not None else np.ones(len(validation), dtype=bool)
        self.calibration = calibration = calibrate_ladder(
            {kind: self.probabilities[kind]["validation"][usable] for kind in rungs},
            max_disagreement=self.ladder_config.max_disagreement,
            error_probability=self.ladder_config.error_probability,
        )
        speeds: dict[str, float] = {kind: self._speed(kind)[0] for kind in rungs}
        # One that is not faster than its full model only costs.
        useful = [each for each in calibration.ladders if each.texts_per_second(speeds) > speeds["encoder"]]
        if not useful:
            self.left_out["ladder"] = why_no_ladder(calibration)
            return False
        self.ladder = ladder = max(useful, key=lambda each: each.texts_per_second(speeds))
        target = self.folder / FOLDER / "ladder"
        save_ladder(
            target,
            ladder,
            calibration,
            folders={kind: self._folders[kind] for kind in ladder.names},
            engines={kind: self._engines[kind] for kind in ladder.names},
            texts_per_second=speeds,
            data_version=self.prepared.version,
        )
        found = {
            split: ladder_answers(
                ladder, {kind: self.probabilities[kind][split] for kind in ladder.names}
            ).probabilities
            for split in self.rows
        }
        self._add("ladder", target, found, f"ladder: {', '.join(self._engines[kind] for kind in ladder.names)}")
        self.verification = verify_ladder(
            ladder, {kind: self.probabilities[kind]["test"] for kind in ladder.names}, self.rows["test"].labels
        )
        return True

    def _add(
        self, kind: CandidateKind, folder: Path, probabilities: dict[Split, NDArray[np.float32]], engine: str
    ) -> None:
        self._folders[kind], self.probabilities[kind], self._engines[kind] = folder, probabilities, engine

    def _predict(self, classifier: Classifier) -> dict[Split, NDArray[np.float32]]:
        return {split: classifier.predict(rows.texts, rows.pairs) for split, rows in self.rows.items()}

    def _speed(self, kind: CandidateKind) -> tuple[float, str]:
        """Returns the texts a second, and the engine that was that fast."""
        if kind not in self._speeds:
            rows = self.rows["validation"]
            classifier = Classifier.load(self._folders[kind])
            speed = texts_per_second(classifier.predict, rows.texts, rows.pairs, max_characters=classifier.max_length)
            self._speeds[kind] = speed, classifier.engine_name
        return self._speeds[kind]

    def _candidate(self, kind: CandidateKind) -> Candidate:
        speed, engine = self._speed(kind)
        thresholds = self._fit_thresholds(kind)
        metrics, measured_ms = self.evaluated.metrics, self.evaluated.measured_ms
        run_id = self.trained.run_id
        if kind != "encoder":
            metrics = all_metrics(self.rows, self.probabilities[kind], SingleLabel(self.prepared.labels))
            run_id, measured_ms = self._run(kind, metrics)
        return Candidate(
            kind=kind,
            run_id=run_id,
            folder=self._folders[kind],
            engine=self._engines[kind],
            metrics=metrics | thresholds,
            steps=self.trained.steps if kind == "encoder" else 0,
            measured_ms=measured_ms,
            texts_per_second=speed,
            fastest_engine=engine,
            slices=self.evaluated.slices if kind == "encoder" else (),
            behaviour=self.evaluated.behaviour if kind == "encoder" else (),
            probabilities=write_probabilities(self.folder / FOLDER / f"{kind}-probabilities", self.probabilities[kind]),
        )

    def _fit_thresholds(self, kind: CandidateKind) -> dict[str, float]:
        """Stores with a candidate below which score it should abstain, and returns what that gives on test rows.

        Returns:
            `test/coverage_at/<precision>`, the share of the test rows that get a label, and `test/precision_at/…`, the
            share of these that get the right one.
        """
        validation, test = self.rows["validation"], self.rows["test"]
        usable = np.ones(len(validation), dtype=bool) if validation.leakfree is None else validation.leakfree
        found = self.probabilities[kind]
        thresholds = fit_thresholds(validation.labels[usable], found["validation"][usable], self.precisions)
        folder = self._folders[kind]
        read_settings(folder).model_copy(update={"abstain_below": thresholds}).write(folder)
        right, scores = found["test"].argmax(axis=1) == test.labels, found["test"].max(axis=1)
        metrics = {}
        for precision, threshold in thresholds.items():
            said = scores >= threshold
            metrics[f"test/coverage_at/{precision}"] = float(said.mean())
            if said.any():
                metrics[f"test/precision_at/{precision}"] = float(right[said].mean())
        return metrics

    def _run(self, kind: CandidateKind, metrics: dict[str, float]) -> tuple[str, int]:
        """Returns the run that holds a candidate's metrics, and when they were measured in ms since 1970."""
        client = self.store.client
        if kind == "linear":
            with self.store.reporting("naming the engine of the linear model"):
                client.set_tag(self._baseline.run_id, ENGINE_TAG, self._engines[kind])
            return self._baseline.run_id, self._baseline.measured_ms
        tags = {
            "mlflow.parentRunId": self.trained.run_id,
            "textclf.kind": "candidate",
            CANDIDATE_TAG: kind,
            "textclf.data_digest": self.prepared.digest,
            VERSION_TAG: self.prepared.version,
            ENGINE_TAG: self._engines[kind],
            **comparison_tags(self.prepared),
        }
        with self.store.reporting(f"logging the {kind}"):
            experiment = self.store.experiment(self.name)
            parent = f"tags.`mlflow.parentRunId` = '{self.trained.run_id}' and tags.`{CANDIDATE_TAG}` = '{kind}'"
            runs = client.search_runs([experiment], parent)
            name = f"{client.get_run(self.trained.run_id).info.run_name}-{kind}"
            run = runs[0] if runs else client.create_run(experiment, run_name=name, tags=tags)
            client.log_inputs(run.info.run_id, list(dataset_inputs(self.prepared).values()))
            # With the time of the run: if this process is killed, the next one logs the same values.
            log_metrics(self.store, run.info.run_id, metrics, steps=0, timestamp_ms=run.info.start_time)
            client.set_terminated(run.info.run_id)
        return run.info.run_id, run.info.start_time
