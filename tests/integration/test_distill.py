"""A student with fewer layers: where it begins, what it learns from, and what a kill leaves of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import training_support as support

from textclf.config import Home, TrainConfig
from textclf.data.prepared import read_split
from textclf.errors import ConfigError, DataError, ModelError
from textclf.model.classifier import Classifier
from textclf.model.settings import read_settings
from textclf.model.student import build_student, kept_layers
from textclf.records import DistilledModel, EncodedData, PreparedData, TrainedModel
from textclf.training.distill import distill
from textclf.training.teacher import Teacher
from textclf.training.train import train
from textclf.training.unlabelled import check_unlabelled

ROWS = {"train": 128, "validation": 48, "test": 24}
LAYERS = {"architecture": {**support.TINY, "num_hidden_layers": 3, "vocabulary_size": 200}}
STUDENT = {"enabled": True, "num_hidden_layers": 2, "num_train_epochs": 2, "learning_rate": 5e-3}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # Tiny matrices: more threads only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclasses.dataclass(frozen=True)
class Place:
    """A fine-tuned model, and the data that it was trained on."""

    config: TrainConfig
    prepared: PreparedData
    encoded: EncodedData
    trained: TrainedModel

    def distil(self, folder: Path, log: Callable[[dict[str, float], int], None], **changed: Any) -> DistilledModel:
        return distill(
            self.trained,
            self.prepared,
            self.encoded,
            distillation=self.config.distillation.model_copy(update=changed),
            data=self.config.data,
            training=self.config.training,
            encoding=self.config.encoding,
            folder=folder,
            log_metrics=log,
        )

    def answers(self, student: DistilledModel, split: str) -> tuple[Any, Any]:
        """The labels that the student and its teacher give to a split."""
        rows = pq.read_table(self.prepared.folder / f"{split}.parquet").to_pydict()
        texts = [rows["text"], *([rows["text_pair"]] if "text_pair" in rows else [])]
        found = [
            Classifier.load(folder, mixed_precision="no").predict(*texts)
            for folder in (student.folder, self.trained.folder)
        ]
        return found[0].argmax(axis=1), found[1].argmax(axis=1)


def make_place(config: TrainConfig, home: Home, folder: Path) -> Place:
    prepared, encoded, _ = support.make_encoded(config, home)
    arguments = support.train_arguments(config, prepared.labels)
    trained = train(encoded, None, **arguments, run_id="run", folder=folder, log_metrics=ignore)
    return Place(config, prepared, encoded, trained)


def ignore(metrics: dict[str, float], step: int) -> None:
    pass


def raised() -> Classifier:
    raise AssertionError("the teacher is not needed")


def config_of(data: Path, /, **sections: Mapping[str, Any]) -> TrainConfig:
    training = {"learning_rate": 5e-3}
    return support.make_config(data, **{"model": LAYERS, "training": training, "distillation": STUDENT, **sections})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return support.make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def place(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Place:
    data = support.write_reviews(tmp_path_factory.mktemp("reviews"), ROWS)
    return make_place(config_of(data), home, tmp_path_factory.mktemp("run"))


class TestWhereItBegins:
    @pytest.mark.parametrize(
        ("kind", "layers"),
        [
            ("Bert", "bert.encoder.layer"),
            ("Roberta", "roberta.encoder.layer"),
            ("Electra", "electra.encoder.layer"),
            ("DistilBert", "distilbert.transformer.layer"),
        ],
    )
    def test_layers_embeddings_and_head_are_those_of_the_teacher(self, kind: str, layers: str, tmp_path: Path) -> None:
        teacher = self.saved(kind, tmp_path, num_hidden_layers=5).state_dict()
        student = build_student(tmp_path, 3)
        assert student.config.num_hidden_layers == 3
        assert kept_layers(3, 5) == (0, 2, 4)
        source = {f"{layers}.{place}.": f"{layers}.{layer}." for place, layer in enumerate(kept_layers(3, 5))}
        copied = set()
        for name, tensor in student.state_dict().items():
            prefix = next((prefix for prefix in source if name.startswith(prefix)), None)
            theirs = name.replace(prefix, source[prefix]) if prefix else name
            assert torch.equal(tensor, teacher[theirs]), name
            copied.add(theirs)
        assert {name for name in teacher if name not in copied} == {
            name for name in teacher if name.startswith((f"{layers}.1.", f"{layers}.3."))
        }

    def test_a_model_whose_layers_cannot_be_told_apart_is_refused(self, tmp_path: Path) -> None:
        # ALBERT uses the weights of one layer again and again.
        self.saved("Albert", tmp_path, num_hidden_layers=4)
        with pytest.raises(ModelError, match="AlbertForSequenceClassification cannot be told apart: expected one list"):
            build_student(tmp_path, 2)

    def test_a_student_needs_fewer_layers(self, place: Place, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"num_hidden_layers is 3, but the fine-tuned model has 3"):
            place.distil(tmp_path / "student", ignore, num_hidden_layers=3)
        assert not (tmp_path / "student").exists()

    @staticmethod
    def saved(kind: str, folder: Path, *, num_hidden_layers: int) -> Any:
        import transformers

        torch.manual_seed(0)
        shape = {**support.TINY, "num_hidden_layers": num_hidden_layers, "embedding_size": 32, "vocab_size": 50}
        config = getattr(transformers, f"{kind}Config")(**shape, dim=32, hidden_dim=64, n_heads=2)
        model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
        model.save_pretrained(folder)
        return model


@pytest.fixture(scope="module")
def metrics() -> list[tuple[int, dict[str, float]]]:
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "student"


@pytest.fixture(scope="module")
def student(place: Place, folder: Path, metrics: list[tuple[int, dict[str, float]]]) -> DistilledModel:
    return place.distil(folder, lambda found, step: metrics.append((step, found)))


class TestDistillation:
    def test_it_is_a_complete_classifier_with_fewer_layers(self, place: Place, student: DistilledModel) -> None:
        assert (student.layers, student.teacher_layers, student.labelled_rows) == ((0, 2), 3, 128)
        config = json.loads((student.folder / "config.json").read_text(encoding="utf-8"))
        assert config["num_hidden_layers"] == 2
        ours, theirs = (read_settings(model.folder) for model in (student, place.trained))
        # Each is calibrated by itself.
        assert ours.model_copy(update={"temperature": theirs.temperature}) == theirs
        given, wanted = place.answers(student, "test")
        assert (given == wanted).mean() > 0.9

    def test_the_record_tells_how_often_it_agrees_with_its_teacher(self, place: Place, student: DistilledModel) -> None:
        given, wanted = place.answers(student, "validation")
        assert student.agreement == student.metrics["agreement"] == pytest.approx((given == wanted).mean())
        truth = read_split(place.prepared, "validation").labels
        assert student.metrics["accuracy"] == pytest.approx((given == truth).mean())

    def test_metrics_arrive_while_it_trains_under_names_of_its_own(
        self, student: DistilledModel, metrics: list[tuple[int, dict[str, float]]]
    ) -> None:
        assert {name.split("/")[0] for _, found in metrics for name in found} == {"student"}
        assert [step for step, found in metrics if "student/train/loss" in found] == list(range(1, 17))
        assert [step for step, found in metrics if "student/validation/agreement" in found] == [8, 16]

    def test_a_student_that_is_done_is_not_trained_again(
        self, place: Place, folder: Path, student: DistilledModel, metrics: list[tuple[int, dict[str, float]]]
    ) -> None:
        before = len(metrics)
        assert place.distil(folder, lambda found, step: metrics.append((step, found))) == student
        assert len(metrics) == before
        assert not list(folder.glob("checkpoint-*"))

    def test_the_teacher_is_asked_once(self, place: Place, folder: Path, student: DistilledModel) -> None:
        texts = {split: place.prepared.folder / f"{split}.parquet" for split in ("train", "validation")}
        labels = len(place.prepared.labels)
        kept = Teacher(raised, labels, folder / "teacher", batch_size=8).answers(texts)
        asked = Classifier.load(place.trained.folder, mixed_precision="no")
        for split, path in texts.items():
            probabilities = np.exp(kept[split]) / np.exp(kept[split]).sum(axis=1, keepdims=True)
            expected = asked.predict(pq.read_table(path)["text"].to_pylist())
            np.testing.assert_allclose(probabilities, expected, atol=1e-5)
        # As after a kill in the middle, on a disk that lost the end of a file.
        damaged = folder.with_name("damaged")
        shutil.copytree(folder / "teacher", damaged)
        (part,) = damaged.glob("train-*.npy")
        part.write_bytes(part.read_bytes()[:-9])
        again = Teacher(lambda: asked, labels, damaged, batch_size=8).answers(texts)
        np.testing.assert_allclose(again["train"], kept["train"], atol=1e-4)


class TestUnlabelledTexts:
    @pytest.fixture
    def files(self, place: Place, tmp_path: Path) -> Path:
        """Files in three formats with good, broken and forbidden rows, the shortest of them first by name."""
        folder = tmp_path / "more"
        folder.mkdir()
        known = {split: read_split(place.prepared, split).texts for split in ("train", "validation", "test")}
        first = ["房间很好，早餐满意", "", known["test"][0], known["validation"][3], known["train"][5]]
        lines = ["text", *(f'"{text}"' for text in first)]
        (folder / "a.csv").write_text("\n".join(lines) + "\n", encoding="gb18030")
        second: list[dict[str, object]] = [
            {"text": "服务很差"},
            {"text": None},
            {"other": 1},
            {"text": " 房间很好， 早餐满意"},
        ]
        lines = [*(json.dumps(row, ensure_ascii=False) for row in second), "{broken"]
        (folder / "b.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        pq.write_table(
            pa.table({"text": [f"位置很好 {number}" for number in range(20)], "id": range(20)}), folder / "c.parquet"
        )
        return folder

    def test_usable_ones_are_learned_from_and_the_others_are_counted(
        self, place: Place, files: Path, tmp_path: Path
    ) -> None:
        student = place.distil(tmp_path / "student", ignore, unlabelled=(files,), num_train_epochs=1)
        found = student.unlabelled
        assert found is not None
        assert (found.files, found.read, found.kept, found.held_out, found.copies) == (3, 30, 22, 2, 2)
        assert found.broken == {"missing text": 2, "empty text": 1, "not valid JSON": 1}
        used = pq.read_table(tmp_path / "student" / "unlabelled.parquet")["text"].to_pylist()
        assert used[:2] == ["房间很好,早餐满意", "服务很差"] and len(used) == 22
        held_out = {text for split in ("validation", "test") for text in read_split(place.prepared, split).texts}
        assert held_out.isdisjoint(used)
        assert student.steps == -(-(128 + 22) // 16), "an epoch is the training rows and the unlabelled texts"

    def test_there_is_a_limit(self, place: Place, files: Path, tmp_path: Path) -> None:
        student = place.distil(
            tmp_path / "student", ignore, unlabelled=(files / "c.parquet",), unlabelled_rows=5, num_train_epochs=1
        )
        assert student.unlabelled is not None and (student.unlabelled.read, student.unlabelled.kept) == (5, 5)

    def test_another_file_after_a_kill_begins_anew(self, place: Place, files: Path, tmp_path: Path) -> None:
        folder = tmp_path / "student"

        def stop(metrics: dict[str, float], step: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            place.distil(folder, stop, unlabelled=(files / "c.parquet",))
        assert len(pq.read_table(folder / "unlabelled.parquet")) == 20
        pq.write_table(pa.table({"text": ["只有一行"]}), files / "c.parquet")
        student = place.distil(folder, ignore, unlabelled=(files / "c.parquet",), num_train_epochs=1)
        assert student.unlabelled is not None and student.unlabelled.kept == 1

    def test_files_without_a_usable_text_are_an_error(self, place: Place, tmp_path: Path) -> None:
        test = read_split(place.prepared, "test").texts
        pq.write_table(pa.table({"text": test}), tmp_path / "test.parquet")
        with pytest.raises(DataError, match=r"none of the 24 rows can be used: 24 are in validation or test"):
            place.distil(tmp_path / "student", ignore, unlabelled=(tmp_path / "test.parquet",))

    def test_mistakes_are_found_before_training(self, place: Place, files: Path) -> None:
        pq.write_table(pa.table({"content": ["很好"]}), files / "d.parquet")
        values = place.config.model_dump()
        values["distillation"]["unlabelled"] = [files / "missing", files / "a.csv", files / "d.parquet"]
        with pytest.raises(ConfigError) as error:
            check_unlabelled(TrainConfig.model_validate(values))
        assert "There is no file or folder" in str(error.value)
        assert "d.parquet lacks 'text'; it has the columns 'content'" in str(error.value)
        assert "a.csv" not in str(error.value)
        values["distillation"]["enabled"] = False
        check_unlabelled(TrainConfig.model_validate(values))


def test_pairs_and_weighted_rows(home: Home, tmp_path: Path) -> None:
    data = support.write_pairs(tmp_path / "pairs", {"train": 64, "validation": 16, "test": 8})
    config = config_of(
        data,
        data={"text_pair_column": "text_pair"},
        training={"learning_rate": 5e-3, "num_train_epochs": 1},
        distillation={**STUDENT, "num_train_epochs": 1},
    )
    place = make_place(config, home, tmp_path / "run")
    table = read_split(place.prepared, "train").table
    weighted = table.append_column("weight", pa.array([2.0] * len(table), pa.float32()))
    prepared = support.replace_training_rows(place.prepared, weighted, tmp_path / "weighted")
    from textclf.model.tokens import encode

    encoded = encode(prepared, None, model=config.model, encoding=config.encoding, folder=home.prepared)
    pairs = {"text": ["甲房", "甲房", "甲房"], "text_pair": ["乙早乙早", None, "甲房甲"]}
    pq.write_table(pa.table(pairs), tmp_path / "pairs.parquet")
    student = dataclasses.replace(place, prepared=prepared, encoded=encoded).distil(
        tmp_path / "student", ignore, unlabelled=(tmp_path / "pairs.parquet",)
    )
    assert student.unlabelled is not None
    assert (student.unlabelled.kept, student.unlabelled.broken) == (2, {"missing text (second text)": 1})
    assert Classifier.load(student.folder).pairs
    given, wanted = place.answers(student, "test")
    assert given.shape == wanted.shape == (8,)
