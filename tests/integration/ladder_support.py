"""A ladder of a linear model and a tiny encoder on disk, for tests of what it answers and where it loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from registry_support import Place, make_place, save_tiny

from textclf.data.prepared import SplitRows, read_split
from textclf.model.classifier import Classifier
from textclf.model.ladder import save_ladder
from textclf.model.linear import LinearModel
from textclf.model.linear_classifier import save_linear_classifier
from textclf.model.settings import ClassifierSettings
from textclf.records import GuaranteedLadder, LadderCalibration, LadderRung


class Made:
    """A ladder on disk, and what it is made of."""

    def __init__(self, folder: Path, *, pairs: bool = False) -> None:
        self.place: Place = make_place(folder / "place", pairs=pairs)
        self.folders = {"linear": folder / "linear", "encoder": folder / "encoder"}
        train = read_split(self.place.prepared, "train")
        labels = self.place.prepared.labels
        model = LinearModel.fit(
            train.texts, train.labels, text_pairs=train.pairs, num_labels=len(labels), seed=1, weights=train.weights
        )
        save_linear_classifier(self.folders["linear"], model, ClassifierSettings.of(self.place.config, labels))
        save_tiny(self.place, self.folders["encoder"])
        self.rows: SplitRows = read_split(self.place.prepared, "test")
        self.probabilities = {
            name: Classifier.load(each, mixed_precision="no").predict(self.rows.texts, self.rows.pairs)
            for name, each in self.folders.items()
        }
        # So that each rung answers some.
        self.threshold = float(np.median(self.probabilities["linear"].max(axis=1)))
        self.ladder = self.with_threshold(self.threshold)
        self.folder = self.save(folder / "ladder", self.ladder)

    def with_threshold(self, threshold: float) -> GuaranteedLadder:
        linear = LadderRung(name="linear", threshold=threshold, share=0.5)
        return GuaranteedLadder(rungs=(linear, LadderRung(name="encoder", threshold=None, share=0.5)), disagreements=3)

    def save(self, folder: Path, ladder: GuaranteedLadder) -> Path:
        calibration = LadderCalibration(
            max_disagreement=0.01, error_probability=0.05, rows=900, rows_needed=299, tested=1, ladders=(ladder,)
        )
        save_ladder(
            folder,
            ladder,
            calibration,
            folders=self.folders,
            engines={"linear": "linear", "encoder": "torch-fp32"},
            texts_per_second={"linear": 2000.0},
            data_version="v1",
        )
        return folder
