"""When files count as predicted before: with real models of two stores, after an upgrade, and with `redo`."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
from pathlib import Path
from typing import Any

import pytest
import registry_support as support
from prediction_support import WordClassifier, model, predict, read_rows, reviews, run, start, write_rows

from textclf import __version__, store
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import ModelNotFoundError
from textclf.prediction.batch import predict_batch, predict_files
from textclf.records import PredictionSummary
from textclf.registry.versions import choose_model
from textclf.summaries.prediction import prediction_summary
from textclf.tracking.store import TrackingStore

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # Raised when MLflow is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # Raised when MLflow saves an input example.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", tracking_uri="")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> support.Place:
    return support.make_place(tmp_path_factory.mktemp("place"))


def labels(source: Path, home: Home) -> tuple[set[str], bool]:
    """Predicts with the registered champion; returns the labels in the output, and whether it was skipped."""
    config = PredictConfig(input=source, output=source.with_name("out.jsonl"), model=support.NAME)
    (file,) = predict_batch(config, home=home, run_id="run-1", report=lambda _: None).files
    return {row["label"] for row in read_rows(file.output)}, file.skipped


# Models


def test_the_same_version_in_another_store_predicts_again(place: support.Place, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.csv", reviews(3))
    homes = []
    for always in ("好评", "差评"):
        other = place.in_home(tmp_path / always)
        assert support.make_version(other, always=always).version == 1
        homes.append(Home(root=tmp_path / "home", tracking_uri=other.home.tracking_uri))
    assert labels(source, homes[0]) == ({"好评"}, False)
    assert labels(source, homes[0]) == ({"好评"}, True)
    assert labels(source, homes[1]) == ({"差评"}, False)
    assert labels(source, homes[0]) == ({"好评"}, False)


def test_a_model_that_was_deleted_and_recreated_predicts_again(
    place: support.Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_rows(tmp_path / "in.csv", reviews(3))
    place = place.in_home(tmp_path / "home")
    for always in ("好评", "差评"):
        assert support.make_version(place, always=always).version == 1
        caplog.clear()
        caplog.set_level(logging.INFO)
        assert labels(source, place.home) == ({always}, False)
        TrackingStore.open(place.home).client.delete_registered_model(support.NAME)
    assert f"with another version 1 of the model {support.NAME} by textclf {__version__}" in caplog.text


def test_versions_without_a_logged_model_are_distinguished(place: support.Place, tmp_path: Path) -> None:
    place = place.in_home(tmp_path / "home")
    opened = TrackingStore.open(place.home)
    client = opened.client
    found = set()
    for _ in range(2):
        client.create_registered_model(support.NAME)
        version = client.create_model_version(support.NAME, source=str(tmp_path / "folder"))
        client.set_registered_model_alias(support.NAME, "champion", version.version)
        chosen = choose_model(opened, support.NAME, "champion")
        assert chosen == choose_model(opened, support.NAME, "champion")
        found.add(chosen.model_id)
        client.delete_registered_model(support.NAME)
    assert len(found) == 2


def test_a_run_without_a_model_is_reported(tmp_path: Path) -> None:
    other = Home(root=tmp_path / "home", tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    source = write_rows(tmp_path / "in.csv", reviews(3))
    config = PredictConfig(input=source, output=tmp_path / "out.csv", model=support.NAME)
    reports: list[PredictionSummary] = []
    with pytest.raises(ModelNotFoundError):
        predict_batch(config, home=other, run_id="run-1", report=reports.append)
    assert [(report.model, report.version, report.files) for report in reports] == [(support.NAME, None, ())]


# A new champion


def test_a_promotion_predicts_only_new_files(tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    for name in ("monday.csv", "tuesday.csv", "wednesday.csv", "thursday.csv"):
        write_rows(folder / name, reviews(3))
    predict(home, folder, output)
    write_rows(folder / "friday.csv", reviews(2))
    write_rows(folder / "monday.csv", reviews(4))
    (output / "tuesday.csv").unlink()
    caplog.set_level(logging.INFO)

    summary = run(home, folder, output, version=4)
    states = {file.input.stem: (file.version, file.skipped) for file in summary.files}
    old, new = (3, True), (4, False)
    assert states == {"monday": new, "tuesday": new, "wednesday": old, "thursday": old, "friday": new}
    assert "done before by version 3" in prediction_summary(summary)
    assert {row["model_version"] for row in read_rows(output / "thursday.csv")} == {"3"}
    assert "Done before (2): these outputs are kept." in caplog.text
    assert [file.version for file in predict(home, folder, output)] == [4, 4, 3, 4, 3], "a rollback keeps them, too"

    files = predict(home, folder, output, version=4, when_champion_changes="redo")
    assert {(file.input.stem, file.version) for file in files if not file.skipped} == {
        ("thursday", 4),
        ("wednesday", 4),
    }
    assert all(file.skipped for file in predict(home, folder, output, version=4, when_champion_changes="redo"))


def test_another_model_alias_or_setting_is_another_job(tmp_path: Path, home: Home) -> None:
    source, output = write_rows(tmp_path / "in.csv", reviews(3)), tmp_path / "out.csv"
    predict(home, source, output)
    assert not predict(home, source, output, version=4, alias="challenger")[0].skipped
    assert predict(home, source, output, version=4)[0].skipped, "the same version gives the same rows"
    assert not predict(home, source, output, version=5, probabilities=True)[0].skipped
    other = dataclasses.replace(model(6), name="textclf-other")
    classifier: Any = WordClassifier()
    config = PredictConfig(input=source, output=output, probabilities=True)
    (file,) = predict_files(
        config,
        other,
        lambda engine, sample: classifier,
        run_id="run",
        folder=home.predictions,
        report=lambda summary: None,
    ).files
    assert not file.skipped


# Upgrades


def write_record_of_0_2_0(source: Path, output: Path, home: Home) -> None:
    """Writes what textclf 0.2.0 left behind; with its own code, so the key is that of five reviews and a bad row."""
    quarantine = output.with_name("out.csv.quarantine.jsonl")
    output.write_text("id,text,label\n", encoding="utf-8")
    quarantine.write_text("{}\n", encoding="utf-8")
    file = {"input": str(source), "output": str(output), "quarantine": str(quarantine), "rows_read": 6}
    record = {
        "key": "c4e48ab0eb8620e5a7fe8bfd1da41897",
        "file": {**file, "rows_predicted": 5, "rows_quarantined": 1, "label_counts": {"正面": 5}, "skipped": False},
        "output_sha256": store.file_sha256(output),
        "quarantine_sha256": store.file_sha256(quarantine),
        "model_name": "textclf-reviews",
        "model_version": 3,
        "model_id": "m-3",
        "textclf_version": "0.2.0",
        "run_id": "run-0",
        "redo": None,
        "finished_at": "2026-11-01T00:00:00Z",
    }
    path = home.predictions / "done" / f"{store.digest_of(str(output))}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")


def test_files_that_version_0_2_0_finished_are_kept(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [*reviews(5), {"id": "bad", "text": ""}])
    output = tmp_path / "out.csv"
    for version in (3, 4):
        write_record_of_0_2_0(source, output, home)
        (file,) = predict(home, source, output, version=version)
        assert (file.skipped, file.version, file.rows_read) == (True, 3, 6)
        for settings in ({"probabilities": True}, {"delimiter": ","}, {"sheet": "x"}):
            write_record_of_0_2_0(source, output, home)
            assert not predict(home, source, output, version=version, **settings)[0].skipped
    write_record_of_0_2_0(source, output, home)
    assert not predict(home, source, output, version=4, when_champion_changes="redo")[0].skipped


def test_the_log_says_which_version_predicted_before(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    source, output = write_rows(tmp_path / "in.csv", reviews(5)), tmp_path / "out.csv"
    caplog.set_level(logging.INFO)
    predict(home, source, output)
    assert "predicted again" not in caplog.text
    predict(home, source, output, version=4, when_champion_changes="redo")
    assert f"{output} was predicted before with version 3 of the model textclf-reviews by textclf" in caplog.text


def test_records_and_shards_of_version_0_1_0_are_logged_and_not_used(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    source, output = write_rows(tmp_path / "in.csv", reviews(5)), tmp_path / "out.csv"
    output.write_text("id,text,label\n", encoding="utf-8")
    key, done = "0" * 32, home.predictions / "done"
    done.mkdir(parents=True)
    file = {"input": str(source), "output": str(output), "quarantine": None, "rows_read": 0, "rows_predicted": 0}
    record = {
        "file": {**file, "rows_quarantined": 0, "label_counts": {}, "skipped": False},
        "output_sha256": store.file_sha256(output),
        "quarantine_sha256": None,
        "model_name": "textclf-reviews",
        "model_version": 3,
        "run_id": "run-0",
        "finished_at": "2026-11-01T00:00:00Z",
    }
    name = f"{key}-{store.digest_of(str(output))[:16]}.json"
    (done / name).write_text(json.dumps(record), encoding="utf-8")
    (home.predictions / key / "00000").mkdir(parents=True)
    caplog.set_level(logging.INFO)
    (predicted,) = predict(home, source, output)
    assert (predicted.skipped, predicted.rows_predicted) == (False, 5)
    assert f"{output} exists, but no record of its prediction; it is predicted again." in caplog.text
    (again,) = predict(home, source, output)
    assert again.skipped


def test_a_record_of_another_version_is_not_trusted(tmp_path: Path, home: Home) -> None:
    source, output = write_rows(tmp_path / "in.csv", reviews(5)), tmp_path / "out.csv"
    predict(home, source, output)
    (record,) = (home.predictions / "done").iterdir()
    content = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({**content, "new_field": 1}), encoding="utf-8")
    (file,) = predict(home, source, output)
    assert not file.skipped


# Redo


def test_a_killed_redo_resumes_and_the_next_one_starts_from_scratch(tmp_path: Path, home: Home) -> None:
    source, output, log = write_rows(tmp_path / "in.csv", reviews(500)), tmp_path / "out.csv", tmp_path / "log"
    predict(home, source, output, rows_per_shard=100)

    def redo(run_id: str, **wanted: Any) -> Any:
        return start(home, source, output, log, config={"redo": True}, run_id=run_id, **wanted)

    killed = redo("first", kill_at_commit=3)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert {row["run_id"] for row in read_rows(output)} == {"run-1"}, (
        "the old output stays until the new one is complete"
    )
    log.unlink()
    finished = redo("second")
    assert "2 of the 5 shards" in finished.stdout
    assert [row["run_id"] for row in read_rows(output)] == ["first"] * 200 + ["second"] * 300
    texts = [row["text"] for row in reviews(500)]
    assert log.read_text(encoding="utf-8").splitlines() == texts[200:]

    assert redo("third").returncode == 0
    assert {row["run_id"] for row in read_rows(output)} == {"third"}
    classifier = WordClassifier()
    predict(home, source, output, classifier=classifier, rows_per_shard=100)
    assert classifier.texts == [], "what a redo has written counts as done for later runs"
    assert sorted(path.name for path in home.predictions.iterdir()) == ["done", "locks", "redo"]


def test_a_redo_of_a_folder_resumes_after_the_files_that_it_finished(tmp_path: Path, home: Home) -> None:
    folder, output, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    # The files are equal: the first must not take the second one's shards.
    for name in ("a.csv", "b.csv"):
        write_rows(folder / name, reviews(300))
    predict(home, folder, output, rows_per_shard=100)

    def redo(run_id: str, **wanted: Any) -> list[list[str]]:
        start(home, folder, output, log, config={"redo": True}, run_id=run_id, **wanted)
        return [[row["run_id"] for row in read_rows(output / name)] for name in ("a.csv", "b.csv")]

    assert redo("first", kill_at_commit=6) == [["first"] * 300, ["run-1"] * 300]
    assert redo("second") == [["first"] * 300, ["first"] * 200 + ["second"] * 100]
    assert redo("third") == [["third"] * 300, ["third"] * 300]


def test_equal_files_keep_their_shards_when_the_second_one_is_killed(tmp_path: Path, home: Home) -> None:
    folder, output, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    for name in ("a.csv", "b.csv"):
        write_rows(folder / name, reviews(300))
    assert start(home, folder, output, log, kill_at_commit=6).returncode == -signal.SIGKILL
    classifier = WordClassifier()
    files = predict(home, folder, output, classifier=classifier, rows_per_shard=100)
    assert [file.skipped for file in files] == [True, False]
    assert classifier.texts == [row["text"] for row in reviews(300)[200:]]


def test_a_redo_with_an_unusable_file_is_finished(tmp_path: Path, home: Home) -> None:
    folder, output, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    write_rows(folder / "a.csv", reviews(3))
    (folder / "b.csv").write_text("<html>", encoding="utf-8")
    for run_id in ("first", "second"):
        done = start(home, folder, output, log, config={"redo": True}, run_id=run_id)
        assert done.returncode == 0 and f"Refused: {folder / 'b.csv'}" in done.stdout
        assert {row["run_id"] for row in read_rows(output / "a.csv")} == {run_id}
