"""The configured model finds wrong labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from training_support import make_config, make_data, make_home, make_pretrained, write_reviews

from textclf.config import TrainConfig
from textclf.correction.cross_fitting import model_probabilities
from textclf.correction.suspects import Estimate, find_suspects
from textclf.errors import StorageError
from textclf.model.settings import ClassifierSettings
from textclf.records import FetchedModel, PreparedData

SHORT = {"num_train_epochs": 2, "evaluations_per_epoch": 1, "per_device_train_batch_size": 8}


def with_planted_errors(folder: Path, lines: tuple[int, ...]) -> set[int]:
    """Swaps the labels of some training rows; returns their row numbers."""
    path = folder / "train.tsv"
    rows = path.read_text(encoding="utf-8").split("\n")
    for number in lines:
        text, label = rows[number].split("\t")
        rows[number] = f"{text}\t{'差评' if label == '好评' else '好评'}"
    path.write_text("\n".join(rows), encoding="utf-8")
    return set(lines)


def estimator(prepared: PreparedData, fetched: FetchedModel | None, config: TrainConfig, *, folder: Path) -> Estimate:
    return partial(
        model_probabilities,
        prepared=prepared,
        fetched=fetched,
        settings=ClassifierSettings.of(config, prepared.labels),
        model=config.model,
        encoding=config.encoding,
        training=config.training,
        folder=folder,
    )


def test_a_new_model_finds_planted_errors_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    folder = write_reviews(tmp_path / "data", {"train": 120, "validation": 20, "test": 20})
    planted = with_planted_errors(folder, (5, 60, 119))
    config = make_config(folder, training=SHORT)
    prepared, model = make_data(config, home)
    before = {path: path.stat().st_mtime_ns for path in home.root.rglob("*")}
    estimate = estimator(prepared, model, config, folder=home.root)
    found = find_suspects(prepared, estimate=estimate, limit=10)
    assert {(suspect.split, suspect.row) for suspect in found.suspects[:3]} == {("train", row) for row in planted}
    assert all(0 <= suspect.quality < suspect.suggested_probability <= 1 for suspect in found.suspects)
    assert {path: path.stat().st_mtime_ns for path in home.root.rglob("*")} == before


def test_it_starts_from_the_configured_model(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    folder = write_reviews(tmp_path / "data", {"train": 40, "validation": 10, "test": 10})
    texts = (folder / "train.tsv").read_text(encoding="utf-8").split("\n")
    pretrained = make_pretrained(tmp_path / "model", texts)
    config = make_config(folder, pretrained=pretrained, training={**SHORT, "max_steps": 2})
    prepared, model = make_data(config, home)
    estimate = estimator(prepared, model, config, folder=home.root)
    first = find_suspects(prepared, estimate=estimate)
    assert first == find_suspects(prepared, estimate=estimate)
    assert first.texts == 60


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    folder = write_reviews(tmp_path / "data", {"train": 40, "validation": 10, "test": 10})
    config = make_config(folder, training=SHORT)
    prepared, model = make_data(config, home)
    (tmp_path / "in the way").write_text("", encoding="utf-8")
    blocked = tmp_path / "in the way"
    estimate = estimator(prepared, model, config, folder=blocked)
    with pytest.raises(StorageError, match="in the way"):
        find_suspects(prepared, estimate=estimate)
