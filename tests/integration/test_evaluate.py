"""The evaluate step: figures that can be computed again from what it leaves behind."""

from __future__ import annotations

import csv
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import registry_support as support
from training_support import connect

from textclf.records import DistilledModel

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


SENTENCES = ("我今天心情很好", "你好，我是AI助手", "我今天很生气")
BASELINES = {"majority", "tfidf-logistic-regression"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("evaluate")
    made = support.make_place(folder, rows={"train": 80, "validation": 20, "test": 40})
    # Twelve test texts are copied from train: they leak.
    train = (folder / "reviews" / "train.tsv").read_text(encoding="utf-8").splitlines()
    with (folder / "reviews" / "test.tsv").open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in train[1:13])
    prepared, encoded, _ = support.data_support.make_encoded(made.config, made.home)
    return type(made)(made.home, made.config, prepared, encoded)


def measure(place: Any) -> Any:
    trained = support.make_trained(place, {})
    return support.measure(place, trained)


@pytest.fixture(scope="module")
def evaluated(place: Any) -> Any:
    return measure(place)


@pytest.fixture(scope="module")
def artifacts(place: Any, evaluated: Any) -> Path:
    """What MLflow keeps of the run."""
    return Path(connect(place.home).get_run(evaluated.run_id).info.artifact_uri.removeprefix("file://"))


@pytest.fixture(scope="module")
def logged(place: Any, evaluated: Any) -> dict[str, float]:
    return dict(connect(place.home).get_run(evaluated.run_id).data.metrics)


def expected_metrics(labels: list[str], predicted: list[str], probabilities: Any, names: list[str]) -> dict[str, float]:
    from sklearn.metrics import (
        accuracy_score,
        average_precision_score,
        f1_score,
        log_loss,
        precision_score,
        recall_score,
        roc_auc_score,
    )

    # Each class against the rest.
    truth = [[label == name for label in labels] for name in names]
    areas = [roc_auc_score(truth[index], probabilities[:, index]) for index in range(len(names))]
    precisions = [average_precision_score(truth[index], probabilities[:, index]) for index in range(len(names))]
    return {
        "accuracy": accuracy_score(labels, predicted),
        "f1_macro": f1_score(labels, predicted, average="macro", zero_division=0),
        "f1_weighted": f1_score(labels, predicted, average="weighted", zero_division=0),
        "precision_macro": precision_score(labels, predicted, average="macro", zero_division=0),
        "recall_macro": recall_score(labels, predicted, average="macro", zero_division=0),
        "log_loss": log_loss([names.index(label) for label in labels], probabilities),
        "roc_auc_macro": sum(areas) / len(areas),
        "average_precision_macro": sum(precisions) / len(precisions),
        **{
            f"recall/{name}": recall_score(labels, predicted, labels=[name], average="macro", zero_division=0)
            for name in names
        },
    }


def test_metrics_are_those_of_scikit_learn_on_the_stored_predictions(
    place: Any, artifacts: Path, logged: dict[str, float]
) -> None:
    table = pq.read_table(artifacts / "evaluation" / "predictions.parquet")
    names = list(place.prepared.labels)
    rows = pq.read_table(place.prepared.folder / "test.parquet")
    for identity in ("source", "row"):
        assert table[identity].to_pylist() == rows[identity].to_pylist()
    assert table["label"].to_pylist() == [names[label] for label in rows["label"].to_pylist()]

    probabilities = np.stack([table[f"probability/{name}"].to_numpy() for name in names], axis=1).astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)

    def expected(keep: list[bool]) -> dict[str, float]:
        labels, predicted = (np.array(table[name].to_pylist())[keep].tolist() for name in ("label", "predicted"))
        return expected_metrics(labels, predicted, probabilities[keep], names)

    for name, value in expected([True] * len(rows)).items():
        assert logged[f"test/{name}"] == pytest.approx(value, abs=1e-6), name
    leakfree = rows["leakfree"].to_pylist()
    assert leakfree.count(False) == 12 == place.prepared.leaked["test"]
    for name, value in expected(leakfree).items():
        assert logged[f"test_leakfree/{name}"] == pytest.approx(value, abs=1e-6), name
    assert logged["test/rows"] == 52 and logged["test_leakfree/rows"] == 40
    assert {"validation/accuracy", "validation/f1_macro"} <= set(logged)


def test_the_returned_metrics_are_the_logged_ones(evaluated: Any, logged: dict[str, float]) -> None:
    assert logged == pytest.approx(evaluated.metrics, nan_ok=True)


def test_what_is_compared_between_runs_is_logged_at_one_step_and_curves_go_on(place: Any, evaluated: Any) -> None:
    client = connect(place.home)
    experiment = client.get_run(evaluated.run_id).info.experiment_id
    baselines = client.search_runs([experiment], "tags.`textclf.kind` = 'baseline'")
    for run_id in (evaluated.run_id, *(run.info.run_id for run in baselines)):
        for name in client.get_run(run_id).data.metrics:
            (point,) = client.get_metric_history(run_id, name)
            curve = name.startswith("validation/") and run_id == evaluated.run_id
            # The trained model of these tests took four steps.
            assert point.step == (4 if curve else 0), name


def test_the_model_before_fine_tuning_is_measured_too(logged: dict[str, float]) -> None:
    assert 0 <= logged["untrained/test/accuracy"] <= 1
    assert {"untrained/test/f1_macro", "untrained/test/log_loss"} <= set(logged)


def test_the_report_has_plots_mistakes_and_the_sentences(artifacts: Path) -> None:
    folder = artifacts / "evaluation"
    plots = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    assert {"confusion_matrix.png", "precision_recall.png", "reliability.png", "f1_comparison.png"} <= set(plots)
    assert all(content.startswith(b"\x89PNG\r\n\x1a\n") for content in plots.values())

    table = pq.read_table(folder / "predictions.parquet").to_pylist()
    wrong = [row for row in table if row["label"] != row["predicted"]]
    with (folder / "errors.csv").open(encoding="utf-8-sig", newline="") as file:
        errors = list(csv.DictReader(file))
    assert sorted(row["text"] for row in errors) == sorted(row["text"] for row in wrong) != []

    summary = (folder / "summary.md").read_text(encoding="utf-8")
    for sentence in SENTENCES:
        for when in ("before fine-tuning", "after fine-tuning"):
            assert f"| {when} | {sentence} |" in summary
    assert "tfidf-logistic-regression" in summary and "majority" in summary


def test_baselines_are_runs_of_their_own_and_measured_once_for_the_same_data(
    place: Any, evaluated: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert set(evaluated.baselines) == BASELINES

    def baseline_runs() -> list[Any]:
        client = connect(place.home)
        experiment = client.get_experiment_by_name("textclf-tiny").experiment_id
        return list(client.search_runs([experiment], "tags.`textclf.kind` = 'baseline'"))

    runs = baseline_runs()
    assert {run.data.tags["textclf.baseline"] for run in runs} == BASELINES
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.tags["textclf.data_digest"] == place.prepared.digest
        assert run.data.metrics == pytest.approx(evaluated.baselines[run.data.tags["textclf.baseline"]])
        assert {"test/accuracy", "test_leakfree/accuracy", "validation/accuracy"} <= set(run.data.metrics)
        splits = {given.tags[0].value: json.loads(given.dataset.schema) for given in run.inputs.dataset_inputs}
        assert set(splits) == {"train", "validation", "test"}
        assert {"name": "text", "type": "string", "required": True} in splits["train"]["mlflow_colspec"]
        assert run.data.params["data.version"] == place.prepared.version
        assert f"data version `{place.prepared.version}`" in run.data.tags["mlflow.note.content"]
    settings = {run.data.tags["textclf.baseline"]: run.data.params for run in runs}
    assert settings["majority"]["strategy"] == "prior"
    assert (settings["tfidf-logistic-regression"]["ngram_range"], settings["tfidf-logistic-regression"]["C"]) == (
        "(1, 3)",
        "10.0",
    )
    majority = evaluated.baselines["majority"]
    counts = place.prepared.label_counts["test"].values()
    assert majority["test/accuracy"] in [pytest.approx(count / sum(counts)) for count in counts]

    with caplog.at_level(logging.INFO):
        again = measure(place)
    assert "reusing those measured on this data" in caplog.text
    assert len(baseline_runs()) == 2
    for name, metrics in evaluated.baselines.items():
        assert again.baselines[name] == pytest.approx(metrics)


def test_rows_of_other_weight_give_other_baselines(place: Any, evaluated: Any, tmp_path: Path) -> None:
    table = pq.read_table(place.prepared.folder / "train.parquet")
    # One row outweighs all others, so its label is the majority's.
    labels = {label: table["label"].to_pylist().index(label) for label in (0, 1)}
    counts = list(place.prepared.label_counts["test"].values())
    for label, row in labels.items():
        weights = pa.array([1000 if index == row else 1 for index in range(len(table))], pa.float32())
        folder = tmp_path / f"weighted{label}"
        prepared = support.data_support.replace_training_rows(
            place.prepared, table.append_column("weight", weights), folder
        )
        # As the audit does: the digest of a split covers the weights.
        digests = prepared.split_digests | {"train": f"weighted for {label}"}
        prepared = prepared.model_copy(update={"split_digests": digests})
        measured = measure(type(place)(place.home, place.config, prepared, place.encoded))
        assert measured.baselines["majority"]["test/accuracy"] == pytest.approx(counts[label] / sum(counts))
        assert measured.baselines["majority"]["test/log_loss"] > evaluated.baselines["majority"]["test/log_loss"]


def test_baselines_and_the_untrained_model_can_be_left_out(place: Any) -> None:
    evaluation = place.config.evaluation.model_copy(update={"baselines": False, "untrained": False})
    config = place.config.model_copy(update={"evaluation": evaluation})
    evaluated = measure(type(place)(place.home, config, place.prepared, place.encoded))
    assert evaluated.baselines == {}
    assert not [name for name in evaluated.metrics if name.startswith("untrained")]
    summary = (evaluated.report_folder / "summary.md").read_text(encoding="utf-8")
    assert "after fine-tuning" in summary and "before fine-tuning" not in summary


def test_a_student_has_a_row_in_every_table_and_metrics_beside_those_of_its_teacher(
    place: Any, evaluated: Any, tmp_path: Path
) -> None:
    trained = support.make_trained(place, {})
    support.save_tiny(place, tmp_path, always="好评")
    student = DistilledModel(
        run_id=trained.run_id,
        folder=tmp_path,
        layers=(0,),
        teacher_layers=2,
        agreement=0.5,
        metrics={},
        labelled_rows=80,
        unlabelled=None,
        epochs=1.0,
        steps=9,
        seconds=1.0,
        resumed_from_step=None,
    )
    found = support.measure(place, trained, student=student)
    assert found.metrics == pytest.approx(evaluated.metrics), "the teacher's own are as without a student"
    report = found.report_folder
    test = pq.read_table(report / "predictions.parquet")
    share = (np.array(test["label"].to_pylist()) == "好评").mean()
    agreement = (np.array(test["predicted"].to_pylist()) == "好评").mean()
    assert found.student["test/accuracy"] == pytest.approx(share)
    assert found.student["test/agreement"] == pytest.approx(agreement)
    logged = connect(place.home).get_run(trained.run_id).data.metrics
    assert {f"student/{name}" for name in found.student} <= set(logged)
    assert logged["student/test_leakfree/f1_macro"] == pytest.approx(found.student["test_leakfree/f1_macro"])
    (last,) = connect(place.home).get_metric_history(trained.run_id, "student/validation/accuracy")
    assert last.step == 9, "the end of the student's curve"
    summary = (report / "summary.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in summary.splitlines() if line.startswith("|")]
    assert rows.count("student") == 3, "test, leak-free test, validation"
    assert "student" not in (evaluated.report_folder / "summary.md").read_text(encoding="utf-8")


# Killed and started again


DIES = """
import os, signal, sys
from pathlib import Path
import mlflow, registry_support as support
from textclf.config import Home, TrainConfig
from textclf.records import EncodedData, PreparedData, TrainedModel

method = getattr(mlflow.MlflowClient, sys.argv[1])
def last(*arguments, **more):
    method(*arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(mlflow.MlflowClient, sys.argv[1], last)
home = Home(root=Path(sys.argv[2]), tracking_uri=sys.argv[3])
kinds = (TrainConfig, PreparedData, EncodedData, TrainedModel)
config, prepared, encoded, trained = [kind.model_validate_json(text) for kind, text in zip(kinds, sys.argv[4:])]
support.measure(support.Place(home, config, prepared, encoded), trained)
"""


def measure_and_die(place: Any, trained: Any, after: str) -> None:
    """Measures in another process, which kills itself after MLflow has done one thing."""
    records = [item.model_dump_json() for item in (place.config, place.prepared, place.encoded, trained)]
    done = subprocess.run(
        [sys.executable, "-c", DIES, after, str(place.home.root), place.home.tracking_uri, *records],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_after_a_kill_each_figure_stands_in_mlflow_once(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    trained = support.make_trained(place, {})
    measure_and_die(place, trained, "log_artifacts")
    client = connect(place.home)
    killed = client.get_run(trained.run_id).data.metrics
    assert "test/f1_macro" in killed
    with caplog.at_level(logging.INFO):
        again = support.measure(place, trained)
    assert "was measured before it was interrupted" in caplog.text
    assert f"errors.csv are in evaluation/ of MLflow run {trained.run_id}" in caplog.text
    assert str(again.report_folder) not in caplog.text, "it is removed when the run ends"
    assert again.metrics == pytest.approx(killed)
    for name in ("test/f1_macro", "validation/accuracy", "untrained/test/accuracy"):
        assert len(client.get_metric_history(trained.run_id, name)) == 1, name


@pytest.mark.parametrize(
    ("after", "left"), [("create_run", "RUNNING"), ("log_inputs", "RUNNING"), ("set_terminated", "FINISHED")]
)
def test_a_kill_among_the_baselines_loses_none_and_leaves_none_open(place: Any, after: str, left: str) -> None:
    # Data of its own, on which no baseline was measured.
    digest = f"killed after {after}"
    digests = place.prepared.split_digests | {"train": digest}
    prepared = place.prepared.model_copy(update={"split_digests": digests, "digest": digest})
    alone = type(place)(place.home, place.config, prepared, place.encoded)
    trained = support.make_trained(alone, {})
    measure_and_die(alone, trained, after)

    def baseline_runs() -> dict[str, Any]:
        client = connect(place.home)
        experiment = client.get_experiment_by_name("textclf-tiny").experiment_id
        runs = client.search_runs([experiment], f"tags.`textclf.data_digest` = '{digest}'")
        assert len({run.data.tags["textclf.baseline"] for run in runs}) == len(runs)
        return {run.data.tags["textclf.baseline"]: run for run in runs}

    assert {name: run.info.status for name, run in baseline_runs().items()} == {"majority": left}
    assert set(support.measure(alone, trained).baselines) == BASELINES
    runs = baseline_runs()
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(BASELINES, "FINISHED")
    for run in runs.values():
        assert len(connect(place.home).get_metric_history(run.info.run_id, "test/f1_macro")) == 1
