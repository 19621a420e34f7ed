"""Engines are exported in training and compared with their model; jobs choose the fastest by measurement."""

from __future__ import annotations

import dataclasses
import html
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_support as support
from lean_support import without
from safetensors.numpy import load_file, save_file

from textclf.config import Home, TrainConfig
from textclf.config.engine import EngineConfig
from textclf.data.prepared import read_split
from textclf.evaluation.engines import EXPORT_TAG, calibration_rows, export_engines
from textclf.evaluation.parity import measure_parity
from textclf.model.classifier import Choices, Classifier
from textclf.model.engines.choice import PARITY_FILE, read_parity
from textclf.model.engines.engine import engine_folder, read_engine
from textclf.model.engines.export import export_engine
from textclf.model.settings import ClassifierSettings
from textclf.records import (
    DistilledModel,
    EncodedData,
    EvaluatedModel,
    ExportedEngine,
    ExportedEngines,
    MeasuredEngines,
    PreparedData,
    TrainedModel,
)
from textclf.registry.versions import requirements
from textclf.summaries.engines import engines_summary
from textclf.tracking.store import TrackingStore
from textclf.training.train import train

INT8 = "openvino-int8"
TEXTS = [f"房间很{word}，第{number}次来" for number in range(20) for word in ("好评", "差劲")]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclasses.dataclass(frozen=True)
class Place:
    """A fine-tuned model, and the data that it was trained on."""

    config: TrainConfig
    home: Home
    prepared: PreparedData
    encoded: EncodedData
    trained: TrainedModel

    @property
    def engine(self) -> Path:
        return engine_folder(self.trained.folder, INT8)

    def export(self, student: DistilledModel | None = None, **limits: Any) -> ExportedEngines:
        return export_engines(
            self.trained,
            EvaluatedModel(
                run_id=self.trained.run_id,
                metrics={},
                baselines={},
                report_folder=self.home.root,
                engine="torch-fp32",
                precision="no",
                measured_ms=1,
            ),
            self.prepared,
            self.encoded,
            engine=EngineConfig.model_validate({"export": INT8, **limits}),
            metric="accuracy",
            seed=7,
            store=TrackingStore.open(self.home),
            student=student,
        )

    def copied(self, folder: Path) -> Place:
        """The same with a model folder of its own."""
        shutil.copytree(self.trained.folder, folder)
        return dataclasses.replace(self, trained=self.trained.model_copy(update={"folder": folder}))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A model without an engine."""
    folder = tmp_path_factory.mktemp("parity")
    data = support.write_reviews(folder / "reviews", {"train": 128, "validation": 60, "test": 60})
    config = support.make_config(data, training={"num_train_epochs": 4, "learning_rate": 1e-2})
    home = support.make_home(folder / "home")
    prepared, encoded, _ = support.make_encoded(config, home)
    store = TrackingStore.open(home)
    run_id = store.client.create_run(store.experiment("parity")).info.run_id
    arguments = support.train_arguments(config, prepared.labels)
    trained = train(
        encoded, None, **arguments, run_id=run_id, folder=folder / "run", log_metrics=lambda metrics, step: None
    )
    return Place(config, home, prepared, encoded, trained)


@pytest.fixture(scope="module")
def exported(place: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, ExportedEngine]:
    """The same with an engine."""
    made = place.copied(tmp_path_factory.mktemp("exported") / "model")
    (engine,) = made.export(calibration_texts=10).engines
    return made, engine


def tag(place: Place) -> str:
    tags: dict[str, str] = support.connect(place.home).get_run(place.trained.run_id).data.tags
    return tags[EXPORT_TAG]


class TestParity:
    def test_an_engine_that_agrees_passes_and_its_report_has_the_figures(
        self, exported: tuple[Place, ExportedEngine]
    ) -> None:
        place, made = exported
        assert made.is_used and made.problem is None and made.calibration_rows == 10 and made.size_bytes > 10_000
        report = read_parity(place.engine)
        assert report == made.parity
        assert report.passed and report.reference == "torch-fp32" and report.runtime_version
        engine = Classifier.load(place.trained.folder, engine=INT8)
        model = Classifier.load(place.trained.folder, engine="torch", mixed_precision="no")
        for split in ("validation", "test"):
            rows = read_split(place.prepared, split)
            ours, theirs = engine.predict(rows.texts), model.predict(rows.texts)
            found = report.agreement[split]
            assert found.rows == len(rows)
            assert found.equal == (ours.argmax(axis=1) == theirs.argmax(axis=1)).sum()
            assert found.interval.low < found.equal / found.rows <= found.interval.high
            assert found.largest == pytest.approx(np.abs(ours - theirs).max(), abs=1e-6)
            assert 0 < found.mean == pytest.approx(np.abs(ours - theirs).mean(), abs=1e-6)
        assert list(report.metrics) == ["test", "test_leakfree"]
        test = read_split(place.prepared, "test")
        metric = report.metrics["test"]
        assert metric.metric == "accuracy"
        assert metric.second == pytest.approx((model.predict(test.texts).argmax(axis=1) == test.labels).mean())
        assert "openvino" in requirements(place.trained.folder)

    def test_a_run_that_goes_on_makes_and_measures_nothing_again(
        self, exported: tuple[Place, ExportedEngine], caplog: pytest.LogCaptureFixture
    ) -> None:
        place, made = exported
        before = {path: path.stat().st_mtime_ns for path in place.engine.iterdir()}
        (again,) = place.export(calibration_texts=10).engines
        assert again == made
        assert {path: path.stat().st_mtime_ns for path in place.engine.iterdir()} == before

    def test_a_killed_run_measures_what_has_no_report_and_makes_again_what_is_damaged(
        self, exported: tuple[Place, ExportedEngine], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        place = exported[0].copied(tmp_path / "model")
        written = (place.engine / "model.bin").stat().st_mtime_ns
        (place.engine / PARITY_FILE).write_text("{", encoding="utf-8")
        assert place.export().engines[0].is_used
        assert (place.engine / "model.bin").stat().st_mtime_ns == written
        (place.engine / "model.bin").write_bytes(b"damaged")
        assert place.export(calibration_texts=12).engines[0].calibration_rows == 12
        assert "damaged" in caplog.text and read_engine(place.engine).calibration_rows == 12
        assert read_parity(place.engine).passed

    def test_an_engine_of_other_weights_is_not_used_and_the_report_says_so(
        self, place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        place = place.copied(tmp_path / "model")
        weights = place.trained.folder / "model.safetensors"
        original, tensors = weights.read_bytes(), load_file(weights)
        tensors["classifier.weight"] = -tensors["classifier.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
        export_engine(place.trained.folder, INT8, *calibration_rows(place.encoded, 10, 1))
        weights.write_bytes(original)
        (made,) = place.export().engines
        assert made.parity is not None and not made.is_used
        assert "99.50% are needed" in made.parity.reason and made.parity.reason in tag(place)
        assert made.parity.reason in caplog.text
        classifier = Classifier.load(place.trained.folder, mixed_precision="no")
        assert classifier.engine_name == "torch-fp32"
        assert classifier.engine_reason is not None and "is not used: only" in classifier.engine_reason
        shown = engines_summary(ExportedEngines(run_id="run", engines=(made,)), None)
        assert "the configuration demands, and is not used." in shown
        test = made.parity.agreement["test"]
        assert f"{test.equal} ({test.equal / test.rows:.2%})" in html.unescape(shown).replace("\\", "")

    @pytest.mark.parametrize(("flipped", "passes"), [(1, True), (12, False)])
    def test_a_loss_of_the_metric_counts_unless_it_may_be_chance(
        self, exported: tuple[Place, ExportedEngine], flipped: int, passes: bool
    ) -> None:
        """Against a reference that is right more often by so many test rows."""
        place, _ = exported
        rows = {split: read_split(place.prepared, split) for split in ("validation", "test")}
        engine = Classifier.load(place.trained.folder, engine=INT8)
        reference = {split: engine.predict(rows[split].texts) for split in rows}
        right = np.flatnonzero(reference["test"].argmax(axis=1) == rows["test"].labels)[:flipped]
        # Labels that only the reference knows.
        swapped = rows["test"].labels.copy()
        swapped[right] = 1 - swapped[right]
        test = dataclasses.replace(
            rows["test"],
            table=rows["test"].table.set_column(
                rows["test"].table.column_names.index("label"), "label", [swapped.tolist()]
            ),
        )
        reference["test"][right] = reference["test"][right, ::-1]
        report = measure_parity(
            place.trained.folder,
            INT8,
            reference,
            {"validation": rows["validation"], "test": test},
            reference_engine="torch-fp32",
            limits=EngineConfig(min_agreement=0.5),
            metric="accuracy",
        )
        assert report.metrics["test"].difference == pytest.approx(-flipped / len(test))
        assert report.passed is passes
        assert passes or "worse by more than 0.005 and not by chance" in report.reason

    def test_all_engines_are_exported_for_other_machines(self, place: Place, tmp_path: Path) -> None:
        made = place.copied(tmp_path / "model")
        result = made.export(export="all", calibration_texts=10, min_agreement=0.5, margin=0.2)
        assert [(each.name, each.is_used) for each in result.engines] == [(INT8, True), ("onnxruntime-int8", True)]
        assert {"openvino", "onnxruntime"} <= set(requirements(made.trained.folder))
        assert "without training texts" in engines_summary(result, None)
        choices = Choices(tmp_path / "choices", lambda _: (TEXTS, None))
        Classifier.load(made.trained.folder, choices=choices)
        (kept,) = (tmp_path / "choices").iterdir()
        speeds = MeasuredEngines.model_validate_json(kept.read_text(encoding="utf-8")).texts_per_second
        assert {name.rpartition("-")[0] for name in speeds} == {"openvino", "onnxruntime", "torch"}
        asked = Classifier.load(made.trained.folder, engine="onnxruntime-int8")
        assert asked.engine_name == "onnxruntime-int8"
        assert len(asked.predict(TEXTS)) == len(TEXTS)

    def test_a_student_gets_an_engine_too(self, exported: tuple[Place, ExportedEngine], tmp_path: Path) -> None:
        place, _ = exported
        folder = tmp_path / "student"
        shutil.copytree(place.trained.folder, folder, ignore=shutil.ignore_patterns("engines"))
        student = DistilledModel(
            run_id=place.trained.run_id,
            folder=folder,
            layers=(0,),
            teacher_layers=2,
            agreement=1.0,
            metrics={},
            labelled_rows=1,
            unlabelled=None,
            epochs=1.0,
            steps=1,
            seconds=1.0,
            resumed_from_step=None,
        )
        result = place.export(student, calibration_texts=10)
        assert [(made.model, made.is_used) for made in result.engines] == [("encoder", True), ("student", True)]
        assert read_parity(engine_folder(folder, INT8)).passed
        assert tag(place).splitlines()[1].startswith(f"student, {INT8}: It may be used")

    def test_calibration_rows_are_random_training_rows(self, place: Place) -> None:
        ids, types = calibration_rows(place.encoded, 10, 1)
        others, _ = calibration_rows(place.encoded, 10, 2)
        assert len(ids) == len(others) == 10 and ids != others and types is None
        assert calibration_rows(place.encoded, 10, 1) == (ids, types)
        every, _ = calibration_rows(place.encoded, 1000, 1)
        assert len(every) == place.encoded.rows["train"] and all(row in every for row in ids)


class TestFailure:
    def test_without_the_packages_the_model_stays_as_it_is_and_the_extra_is_named(
        self, place: Place, tmp_path: Path
    ) -> None:
        place = place.copied(tmp_path / "model")
        record = tmp_path / "place.json"
        record.write_text(
            json.dumps(
                {
                    "trained": place.trained.model_dump(mode="json"),
                    "prepared": place.prepared.model_dump(mode="json"),
                    "encoded": place.encoded.model_dump(mode="json"),
                    "home": str(place.home.root),
                    "uri": place.home.tracking_uri,
                }
            )
        )
        program = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_parity import Place
from textclf.config import Home
from textclf.records import EncodedData, PreparedData, TrainedModel
given = json.loads(Path({str(record)!r}).read_text())
place = Place(None, Home(root=Path(given["home"]), tracking_uri=given["uri"]),
    PreparedData(**given["prepared"]), EncodedData(**given["encoded"]), TrainedModel(**given["trained"]))
print(place.export().model_dump_json())
"""
        environment = without(tmp_path / "lean", {"openvino": "openvino", "nncf": "nncf"})
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        (made,) = ExportedEngines.model_validate_json(done.stdout.splitlines()[-1]).engines
        assert made.problem is not None and not made.is_used
        assert "openvino" in made.problem and "textclf[train]" in made.problem
        assert made.problem in tag(place) and "Traceback" not in done.stderr
        assert not (place.trained.folder / "engines").exists()
        assert "openvino" not in requirements(place.trained.folder)
        assert "needs openvino and nncf" in engines_summary(ExportedEngines(run_id="run", engines=(made,)), None)

    def test_weights_that_cannot_be_read_are_a_reason_not_an_error(self, place: Place, tmp_path: Path) -> None:
        place = place.copied(tmp_path / "model")
        (place.trained.folder / "model.safetensors").write_bytes(b"damaged")
        (made,) = place.export().engines
        assert made.problem is not None and "SafetensorError" in made.problem


class TestChoice:
    def load(self, place: Place, choices: Path, *, measuring: bool = True, texts: Sequence[str] = TEXTS) -> Classifier:
        asked: list[ClassifierSettings] = []

        def sample(settings: ClassifierSettings) -> tuple[list[str], None]:
            asked.append(settings)
            return list(texts), None

        return Classifier.load(
            place.trained.folder, mixed_precision="no", choices=Choices(choices, sample if measuring else None)
        )

    def test_the_first_job_measures_and_later_ones_know(
        self, exported: tuple[Place, ExportedEngine], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        place, _ = exported
        caplog.set_level(logging.INFO)
        first = self.load(place, tmp_path)
        (file,) = tmp_path.iterdir()
        kept = MeasuredEngines.model_validate_json(file.read_text())
        assert set(kept.texts_per_second) == {INT8, "torch-fp32"} and kept.texts == len(TEXTS)
        assert first.engine_name == kept.fastest
        assert first.engine_reason is not None
        assert first.engine_reason.startswith(f"{kept.fastest} is the fastest here: ")
        others = [self.load(place, tmp_path), self.load(place, tmp_path, measuring=False)]
        assert {(other.engine_name, other.engine_reason) for other in others} == {
            (first.engine_name, first.engine_reason)
        }
        assert caplog.text.count("Engine: measured with") == 1

    @pytest.mark.parametrize("fastest", [INT8, "torch-fp32"])
    def test_what_was_measured_decides(
        self, exported: tuple[Place, ExportedEngine], tmp_path: Path, fastest: str
    ) -> None:
        place, _ = exported
        self.load(place, tmp_path)
        (file,) = tmp_path.iterdir()
        kept = MeasuredEngines.model_validate_json(file.read_text())
        speeds = {INT8: 24.0, "torch-fp32": 24.0, fastest: 61.0}
        file.write_text(kept.model_copy(update={"texts_per_second": speeds}).model_dump_json())
        loaded = self.load(place, tmp_path, measuring=False)
        assert loaded.engine_name == fastest
        (other,) = {INT8, "torch-fp32"} - {fastest}
        assert loaded.engine_reason == f"{fastest} is the fastest here: 61 texts/s, {other} 24."

    def test_without_a_sample_nothing_is_measured(self, exported: tuple[Place, ExportedEngine], tmp_path: Path) -> None:
        place, _ = exported
        assert self.load(place, tmp_path, measuring=False).engine_name == INT8
        assert not list(tmp_path.iterdir())

    def test_a_file_of_a_few_texts_decides_nothing_for_later_jobs(
        self, exported: tuple[Place, ExportedEngine], tmp_path: Path
    ) -> None:
        place, _ = exported
        assert self.load(place, tmp_path, texts=TEXTS[:5]).engine_name == INT8
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("change", ["machine", "damaged", "model"])
    def test_a_choice_that_is_of_another_machine_or_damaged_is_made_again(
        self, exported: tuple[Place, ExportedEngine], tmp_path: Path, caplog: pytest.LogCaptureFixture, change: str
    ) -> None:
        place, _ = exported
        self.load(place, tmp_path)
        (file,) = tmp_path.iterdir()
        content = json.loads(file.read_text())
        right = json.loads(file.read_text())
        content["texts_per_second"] = {"torch-fp32": 1e9, INT8: 1.0}
        if change == "machine":
            content["machine"] |= {"processor": "another"}
        else:
            content["engines"] = ["another"]
        file.write_text("{" if change == "damaged" else json.dumps(content))
        caplog.set_level(logging.INFO)
        caplog.clear()
        self.load(place, tmp_path)
        assert caplog.text.count("Engine: measured with") == 1
        assert "is made again" in caplog.text
        again = json.loads(file.read_text())
        assert (again["machine"], again["engines"]) == (right["machine"], right["engines"])

    def test_a_damaged_engine_falls_back_to_torch_aloud(
        self, exported: tuple[Place, ExportedEngine], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        place = exported[0].copied(tmp_path / "model")
        self.load(place, tmp_path / "choices")
        (file,) = (tmp_path / "choices").iterdir()
        kept = MeasuredEngines.model_validate_json(file.read_text())
        speeds = {INT8: 61.0, "torch-fp32": 24.0}
        file.write_text(kept.model_copy(update={"texts_per_second": speeds}).model_dump_json())
        (place.engine / "model.bin").write_bytes(b"damaged")
        for choices in (tmp_path / "choices", tmp_path / "none"):
            caplog.clear()
            loaded = self.load(place, choices)
            assert loaded.engine_name == "torch-fp32"
            assert "torch computes, because the exported engine cannot be used" in caplog.text
            assert loaded.engine_reason is not None and "model.bin" in loaded.engine_reason

    def test_a_place_that_cannot_be_written_is_no_reason_to_fail(
        self, exported: tuple[Place, ExportedEngine], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("")
        assert self.load(exported[0], blocked / "engines").engine_reason is not None
        assert "the choice is not kept" in caplog.text
