"""Fine-tuning with real parts: a tiny BERT on texts that are easy to tell apart."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_support as support

from textclf.config import Home, TrainConfig
from textclf.errors import HubError, ModelError, StorageError
from textclf.model.build import build_classifier
from textclf.model.classifier import Classifier
from textclf.records import TrainedModel
from textclf.training.train import train

ROWS = {"train": 128, "validation": 48, "test": 24}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # Tiny matrices: more threads only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return support.make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.write_reviews(tmp_path_factory.mktemp("reviews"), ROWS)


@pytest.fixture(scope="module")
def pretrained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = data.joinpath("train.tsv").read_text(encoding="utf-8").splitlines()
    return support.make_pretrained(tmp_path_factory.mktemp("model") / "bert", texts)


class Run:
    """One training: its record and all metrics it reported."""

    def __init__(self, config: TrainConfig, home: Home, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.prepared, self.encoded, self.fetched = support.make_encoded(config, home)
        self.record = self.start()

    def start(self) -> TrainedModel:
        self.folder.mkdir(parents=True, exist_ok=True)
        return train(
            self.encoded,
            self.fetched,
            **support.train_arguments(self.config, self.prepared.labels),
            run_id="run",
            folder=self.folder,
            log_metrics=lambda metrics, step: self.metrics.append((step, metrics)),
        )

    def values(self, name: str) -> list[tuple[int, float]]:
        return [(step, metrics[name]) for step, metrics in self.metrics if name in metrics]

    def accuracy(self, split: str = "test") -> float:
        import pyarrow.parquet as pq

        table = pq.read_table(self.prepared.folder / f"{split}.parquet")
        found = Classifier.load(self.record.folder).predict(table["text"].to_pylist())
        return float((found.argmax(axis=1) == np.array(table["label"].to_pylist())).mean())


@pytest.fixture(scope="module")
def run(data: Path, home: Home, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(support.make_config(data), home, tmp_path_factory.mktemp("run"))


class TestFineTuning:
    def test_it_learns(self, run: Run) -> None:
        assert run.accuracy() > 0.9
        losses = [value for _, value in run.values("train/loss")]
        assert losses[0] == pytest.approx(math.log(2), abs=0.2), "an untrained head knows nothing"
        assert np.mean(losses[-5:]) < 0.3

    def test_the_record(self, run: Run) -> None:
        assert (run.record.steps, run.record.epochs, run.record.resumed_from_step) == (24, 3.0, None)
        assert run.record.folder == run.folder / "model"
        assert run.record.seconds > 0

    def test_metrics_arrive_while_it_trains(self, run: Run) -> None:
        for name in ("loss", "learning_rate", "gradient_norm", "samples_per_second", "tokens_per_second", "epoch"):
            points = run.values(f"train/{name}")
            assert [step for step, _ in points] == list(range(1, 25)), name
            assert all(math.isfinite(value) and value >= 0 for _, value in points), name
        rates = [value for _, value in run.values("train/learning_rate")]
        peak = run.config.training.learning_rate
        assert max(rates) == pytest.approx(peak)
        assert 0 < rates.index(max(rates)) <= 4, "10 % warm-up"
        assert rates[-1] < 0.1 * peak
        assert all(value > 0 for _, value in run.values("train/samples_per_second"))
        assert all(value > 0 for _, value in run.values("train/tokens_per_second"))

    def test_validation_metrics_arrive_after_each_epoch(self, run: Run) -> None:
        for name in ("loss", "accuracy", "f1_macro"):
            points = run.values(f"validation/{name}")
            assert [step for step, _ in points] == [8, 16, 24], name
        names = {name for _, metrics in run.metrics for name in metrics}
        assert {name.split("/")[0] for name in names} == {"train", "validation"}
        assert not [name for name in names if "runtime" in name or name.startswith("validation/epoch")]

    def test_the_folder_is_a_plain_model_with_label_names(self, run: Run) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        config = json.loads((run.record.folder / "config.json").read_text(encoding="utf-8"))
        assert config["id2label"] == {"0": run.prepared.labels[0], "1": run.prepared.labels[1]}
        assert set(config["id2label"].values()) == {"好评", "差评"}
        assert config["label2id"] == {label: index for index, label in enumerate(run.prepared.labels)}
        assert config["problem_type"] == "single_label_classification"
        assert (run.record.folder / "model.safetensors").is_file()
        assert not list(run.record.folder.glob("*.bin"))
        model = AutoModelForSequenceClassification.from_pretrained(run.record.folder)
        tokenizer = AutoTokenizer.from_pretrained(run.record.folder)
        with torch.inference_mode():
            logits = model(**tokenizer("早餐很好，房间满意", return_tensors="pt")).logits
        assert model.config.id2label[int(logits.argmax())] == "好评"

    def test_a_run_that_is_done_is_not_trained_again(self, run: Run) -> None:
        before = len(run.metrics)
        assert run.start() == run.record
        assert len(run.metrics) == before
        assert not list(run.folder.glob("checkpoint-*"))

    def test_the_same_seed_gives_the_same_model(self, run: Run, data: Path, home: Home, tmp_path: Path) -> None:
        again = Run(support.make_config(data), home, tmp_path / "again")
        other = Run(support.make_config(data, training={"seed": 8}), home, tmp_path / "other")
        assert again.values("train/loss") == run.values("train/loss")
        assert other.values("train/loss") != run.values("train/loss")


class TestBestCheckpoint:
    def test_the_best_by_macro_f1_is_kept(self, data: Path, home: Home, tmp_path: Path) -> None:
        import pyarrow.parquet as pq
        from sklearn.metrics import f1_score

        # Validation rows with each other's labels: the more is learnt, the worse they are classified.
        swapped = shutil.copytree(data, tmp_path / "swapped")
        rows = (swapped / "validation.tsv").read_text(encoding="utf-8")
        rows = rows.replace("\t好评", "\t?").replace("\t差评", "\t好评").replace("\t?", "\t差评")
        (swapped / "validation.tsv").write_text(rows, encoding="utf-8")
        run = Run(support.make_config(swapped), home, tmp_path / "run")
        scores = [value for _, value in run.values("validation/f1_macro")]
        assert len(scores) == 3
        assert scores[0] > scores[-1] + 0.2
        assert run.record.best_metric == pytest.approx(scores[0])
        table = pq.read_table(run.prepared.folder / "validation.parquet")
        found = Classifier.load(run.record.folder).predict(table["text"].to_pylist()).argmax(axis=1)
        assert f1_score(table["label"].to_pylist(), found, average="macro") == pytest.approx(scores[0])

    def test_it_stops_when_nothing_gets_better(self, data: Path, home: Home, tmp_path: Path) -> None:
        config = support.make_config(
            data,
            # So small a rate changes no prediction.
            training={"learning_rate": 1e-9, "num_train_epochs": 20, "early_stopping_patience": 2},
        )
        run = Run(config, home, tmp_path / "run")
        assert run.record.epochs == 3
        assert run.record.steps == 24

    def test_null_never_stops(self, data: Path, home: Home, tmp_path: Path) -> None:
        training = {"learning_rate": 1e-9, "num_train_epochs": 5, "early_stopping_patience": None}
        run = Run(support.make_config(data, training=training), home, tmp_path / "run")
        assert run.record.epochs == 5

    def test_the_lowest_loss_can_decide(self, data: Path, home: Home, tmp_path: Path) -> None:
        training = {"metric_for_best_model": "loss", "num_train_epochs": 2}
        run = Run(support.make_config(data, training=training), home, tmp_path / "run")
        assert run.record.best_metric == pytest.approx(min(value for _, value in run.values("validation/loss")))


def test_three_classes(home: Home, tmp_path: Path) -> None:
    rows = {"train": 180, "validation": 48, "test": 48}
    data = support.write_reviews(tmp_path / "reviews", rows, classes=3)
    # With dropout, whether a model this small leaves the majority classes is luck: of five seeds, two or three do.
    architecture = {**support.TINY, "vocabulary_size": 200, "dropout": 0.0}
    config = support.make_config(data, model={"architecture": architecture}, training={"num_train_epochs": 6})
    run = Run(config, home, tmp_path / "run")
    assert set(run.prepared.labels) == {"好评", "差评", "中评"}
    assert run.accuracy() > 0.8
    assert Classifier.load(run.record.folder).predict(["一般"]).shape == (1, 3)


def test_steps_can_be_limited_and_batches_added_up(data: Path, home: Home, tmp_path: Path) -> None:
    training = {"max_steps": 3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 8}
    run = Run(support.make_config(data, training=training), home, tmp_path / "run")
    assert run.record.steps == 3
    assert len(run.values("train/loss")) == 3
    assert run.values("validation/f1_macro"), "the last state is measured too"


class TestStartingPoints:
    def config(self, data: Path, folder: Path, **sections: Any) -> TrainConfig:
        training = {"max_steps": 2, **sections.pop("training", {})}
        return support.make_config(data, pretrained=folder, training=training, **sections)

    def build(self, config: TrainConfig, home: Home) -> Any:
        prepared, encoded, fetched = support.make_encoded(config, home)
        return build_classifier(fetched, encoded, model=config.model, labels=prepared.labels, seed=config.training.seed)

    def test_weights_of_a_folder(self, data: Path, pretrained: Path, home: Home, tmp_path: Path) -> None:
        from safetensors.torch import load_file

        config = self.config(data, pretrained)
        stored = load_file(pretrained / "model.safetensors")
        model = self.build(config, home)
        assert torch.equal(
            model.bert.embeddings.word_embeddings.weight, stored["bert.embeddings.word_embeddings.weight"]
        )
        assert model.classifier.out_features == 2
        assert Run(config, home, tmp_path / "run").record.steps == 2

    def test_only_the_shape_of_a_folder(self, data: Path, pretrained: Path, home: Home, tmp_path: Path) -> None:
        bare = shutil.copytree(pretrained, tmp_path / "bare")
        (bare / "model.safetensors").unlink()
        config = self.config(data, bare, model={"initialization": "random"})
        assert self.build(config, home).config.hidden_size == support.TINY["hidden_size"]
        assert Run(config, home, tmp_path / "run").record.steps == 2

    def test_a_folder_without_weights(self, data: Path, pretrained: Path, home: Home, tmp_path: Path) -> None:
        bare = shutil.copytree(pretrained, tmp_path / "bare")
        (bare / "model.safetensors").unlink()
        with pytest.raises(ModelError, match=r"(?s)cannot be loaded: .*set model\.initialization to random"):
            self.build(self.config(data, bare), home)

    def test_pickled_weights_are_refused(self, data: Path, pretrained: Path, home: Home, tmp_path: Path) -> None:
        from safetensors.torch import load_file

        folder = shutil.copytree(pretrained, tmp_path / "pickled")
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        config = self.config(data, folder)
        with pytest.raises(HubError, match=r"only as pytorch_model\.bin, but only safetensors are read"):
            self.build(config, home)
        prepared, encoded, fetched = support.make_encoded(self.config(data, pretrained), home)
        fetched = fetched.model_copy(update={"folder": folder})
        with pytest.raises(ModelError, match=r"(?s)cannot be loaded: .*model\.safetensors"):
            build_classifier(fetched, encoded, model=config.model, labels=prepared.labels, seed=1)

    def test_damaged_weights(self, data: Path, pretrained: Path, home: Home, tmp_path: Path) -> None:
        folder = shutil.copytree(pretrained, tmp_path / "damaged")
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        with pytest.raises(ModelError, match=r"The model in .* cannot be loaded"):
            self.build(self.config(data, folder), home)

    def test_a_damaged_result(self, run: Run, tmp_path: Path) -> None:
        folder = shutil.copytree(run.record.folder, tmp_path / "damaged")
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        with pytest.raises(ModelError, match=r"The classifier in .* cannot be loaded"):
            Classifier.load(folder)

    @pytest.mark.parametrize("name", ["", "textclf.json", "config.json", "model.safetensors", "tokenizer.json"])
    def test_a_result_that_is_missing_or_incomplete(self, run: Run, tmp_path: Path, name: str) -> None:
        folder = tmp_path / "model"
        if name:
            shutil.copytree(run.record.folder, folder)
            (folder / name).unlink()
        with pytest.raises(ModelError, match=r"(?s)The (classifier|tokenizer) in .*model (cannot|has)"):
            Classifier.load(folder)

    def test_more_tokens_than_positions(self, data: Path, pretrained: Path, home: Home) -> None:
        config = self.config(data, pretrained, encoding={"max_length": 600})
        with pytest.raises(ModelError, match=r"encoding\.max_length is 600, but the model .* at most 512"):
            self.build(config, home)

    def test_a_classifier_of_other_labels_gets_a_new_head(self, run: Run, home: Home, tmp_path: Path) -> None:
        rows = {"train": 60, "validation": 24, "test": 24}
        data = support.write_reviews(tmp_path / "reviews", rows, classes=3)
        model = self.build(self.config(data, run.record.folder), home)
        assert model.classifier.out_features == 3
        assert set(model.config.id2label.values()) == {"好评", "差评", "中评"}

    def test_the_small_encoder_that_was_really_pretrained(self, data: Path, home: Home, tmp_path: Path) -> None:
        folder = support.shared("models/mini-zh")
        training = {"max_steps": 12, "learning_rate": 5e-4}
        run = Run(self.config(data, folder, training=training), home, tmp_path / "run")
        assert run.accuracy() > 0.9


def test_a_folder_that_cannot_be_written(data: Path, home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    config = support.make_config(data, training={"num_train_epochs": 1})
    prepared, encoded, fetched = support.make_encoded(config, home)
    with pytest.raises(StorageError, match="failed"):
        train(
            encoded,
            fetched,
            **support.train_arguments(config, prepared.labels),
            run_id="run",
            folder=tmp_path / "file" / "run",
            log_metrics=lambda metrics, step: None,
        )
