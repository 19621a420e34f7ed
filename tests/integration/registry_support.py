"""What the tests around MLflow share: a home with encoded data, and classifiers whose answers are known beforehand."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import training_support as data_support
from training_support import connect

from textclf.config import Home, TrainConfig
from textclf.config.registration import RegistrationConfig
from textclf.data.prepared import read_split
from textclf.evaluation.measure import evaluate
from textclf.evaluation.scores import ENGINE_TAG, comparison_tags, deciding_rows, write_probabilities
from textclf.model.build import build_classifier
from textclf.model.classifier import Classifier
from textclf.model.encoder import save_classifier
from textclf.model.linear import LinearModel
from textclf.model.linear_classifier import save_linear_classifier
from textclf.model.settings import ClassifierSettings
from textclf.records import (
    Candidate,
    Candidates,
    DistilledModel,
    EncodedData,
    EvaluatedModel,
    FetchedModel,
    PreparedData,
    RegisteredModel,
    TrainedModel,
)
from textclf.registry.gate import register
from textclf.registry.versions import choose_model, load_classifier
from textclf.tracking.runs import run_folder
from textclf.tracking.store import TrackingStore

NAME = "textclf-tiny"
MLFLOW_WARNINGS = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # MLflow, when it saves an input example.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]
"""What MLflow warns of, which is nothing to us."""


@dataclass(frozen=True)
class Place:
    """A home and the data in it."""

    home: Home
    config: TrainConfig
    prepared: PreparedData
    encoded: EncodedData

    def in_home(self, folder: Path) -> Place:
        """The same data with a new, empty MLflow store: a copy, for making its tables takes seconds."""
        home = data_support.make_home(folder)
        empty = self.home.root / "mlflow.db"
        if not empty.is_file():
            connect(self.home)
        shutil.copyfile(empty, home.root / "mlflow.db")
        return replace(self, home=home)


def make_place(
    folder: Path,
    *,
    rows: Mapping[str, int] | None = None,
    classes: int = 2,
    seed: int = 1,
    pairs: bool = False,
    **sections: Mapping[str, Any],
) -> Place:
    """Prepares and encodes small data, reviews or pairs of texts, in a new home."""
    rows = rows or {"train": 60, "validation": 20, "test": 20}
    if pairs:
        data = data_support.write_pairs(folder / "pairs", rows, seed=seed)
        sections = {"data": {"text_pair_column": "text_pair"}, **sections}
    else:
        data = data_support.write_reviews(folder / "reviews", rows, classes=classes, seed=seed)
    config = data_support.make_config(data, **sections)
    home = data_support.make_home(folder / "home")
    prepared, encoded, _ = data_support.make_encoded(config, home)
    return Place(home, config, prepared, encoded)


def save_tiny(place: Place, folder: Path, *, always: str | None = None) -> None:
    """Saves a tiny classifier with random weights, or one that gives every text the same label."""
    import torch

    labels = place.prepared.labels
    model: Any = build_classifier(None, place.encoded, model=place.config.model, labels=labels, seed=3)
    if always:
        with torch.no_grad():
            model.classifier.weight.zero_()
            model.classifier.bias.zero_()
            model.classifier.bias[labels.index(always)] = 3.0
    from textclf.model.tokens import load_tokenizer

    settings = ClassifierSettings.of(place.config, labels)
    save_classifier(folder, model, load_tokenizer(place.encoded.tokenizer_folder), settings)


def save_right(place: Place, folder: Path, *, accuracy: float) -> None:
    """Saves a linear model that has learned by heart what to say of the test rows: this share of them is right."""
    rows = read_split(place.prepared, "test")
    said = rows.labels.copy()
    wrong = round((1 - accuracy) * len(rows))
    said[:wrong] = (said[:wrong] + 1) % len(place.prepared.labels)
    weights = np.full(len(rows), 1e5, dtype=np.float32)
    learned = LinearModel.fit(
        rows.texts, said, text_pairs=rows.pairs, weights=weights, num_labels=len(place.prepared.labels), seed=0
    )
    assert (learned.probabilities(rows.texts, rows.pairs).argmax(axis=1) == said).all()
    save_linear_classifier(folder, learned, ClassifierSettings.of(place.config, place.prepared.labels))


def make_trained(
    place: Place, metrics: Mapping[str, float], *, always: str | None = None, accuracy: float | None = None
) -> TrainedModel:
    """Opens a run, records metrics as evaluation does, and saves a classifier as training does."""
    store = TrackingStore.open(place.home)
    client = store.client
    run_id = client.create_run(store.experiment(NAME)).info.run_id
    for name, value in metrics.items():
        client.log_metric(run_id, name, value)
    for tag, value in {**comparison_tags(place.prepared), ENGINE_TAG: "torch-fp32"}.items():
        client.set_tag(run_id, tag, value)
    folder = run_folder(place.home, run_id) / "model"
    if accuracy is None:
        save_tiny(place, folder, always=always)
    else:
        save_right(place, folder, accuracy=accuracy)
    return TrainedModel(
        run_id=run_id, folder=folder, best_metric=0.5, epochs=1.0, steps=4, seconds=1.0, resumed_from_step=None
    )


def make_version(
    place: Place, accuracy: float | None = None, *, always: str | None = None, **rules: Any
) -> RegisteredModel:
    """Registers a classifier that reaches an accuracy on the test rows; without one, a tiny encoder."""
    return register_again(place, make_trained(place, {}, always=always, accuracy=accuracy), **rules)


def only_encoder(trained: TrainedModel, evaluated: EvaluatedModel, metric: str, probabilities: Path) -> Candidates:
    """Returns what a training has to offer that makes no other models, as if its speed was measured."""
    encoder = Candidate(
        kind="encoder",
        run_id=trained.run_id,
        folder=trained.folder,
        engine=evaluated.engine,
        metrics=evaluated.metrics,
        steps=trained.steps,
        measured_ms=evaluated.measured_ms,
        texts_per_second=50.0,
        fastest_engine=evaluated.engine,
        probabilities={"test": probabilities},
    )
    return Candidates(
        found=(encoder,),
        left_out={},
        chosen="encoder",
        metric=metric,
        rows=deciding_rows(evaluated.metrics),
        margin=None,
        calibration=None,
        ladder=None,
        verification=None,
        picture=None,
    )


def register_again(
    place: Place,
    trained: TrainedModel,
    metrics: dict[str, float] | None = None,
    *,
    baselines: Mapping[str, dict[str, float]] | None = None,
    precision: str = "no",
    **rules: Any,
) -> RegisteredModel:
    """Registers what was trained, with what it says of the test rows; its metrics may be others.

    The few rows of these tests tell little: the margin is the largest that is allowed.
    """
    test = read_split(place.prepared, "test")
    classifier = Classifier.load(trained.folder, engine="torch", mixed_precision=cast(Any, precision))
    found = classifier.predict(test.texts, test.pairs)
    measured = classifier.head.metrics(test.labels, found)
    evaluated = EvaluatedModel(
        run_id=trained.run_id,
        metrics={f"test/{name}": measured[name] for name in ("accuracy", "log_loss")} if metrics is None else metrics,
        baselines=dict(baselines or {}),
        report_folder=trained.folder,
        engine="torch-fp32" if precision == "no" else f"torch-{precision}",
        precision=precision,
        measured_ms=1,
    )
    given = {"metric": "accuracy", "champion_margin": 0.2, **rules}
    (probabilities,) = write_probabilities(run_folder(place.home, trained.run_id), {"test": found}).values()
    return register(
        only_encoder(trained, evaluated, given["metric"], probabilities),
        evaluated,
        place.prepared,
        name=NAME,
        rules=RegistrationConfig(**given),
        store=TrackingStore.open(place.home),
    )


def load_champion(place: Place) -> Classifier:
    """Loads the classifier that predictions use."""
    store = TrackingStore.open(place.home)
    return load_classifier(store, choose_model(store, NAME, "champion"))


def measure(
    place: Place, trained: TrainedModel, fetched: FetchedModel | None = None, student: DistilledModel | None = None
) -> EvaluatedModel:
    """Evaluates what was trained, as the evaluate task does."""
    config = place.config
    return evaluate(
        trained,
        place.prepared,
        place.encoded,
        fetched,
        evaluation=config.evaluation,
        model=config.model,
        training=config.training,
        name=NAME,
        store=TrackingStore.open(place.home),
        student=student,
    )
