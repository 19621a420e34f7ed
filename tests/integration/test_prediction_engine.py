"""What a job computes: equal texts once, every shard of a file with one engine, and who answered in a ladder."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prediction_support import WordClassifier, model, predict, read_quarantine, read_rows, reviews, run, write_rows

from textclf.config.data import CleaningConfig
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import ModelError
from textclf.model.classifier import Answers, Classifier
from textclf.prediction.batch import predict_files
from textclf.records import PredictionSummary


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", tracking_uri="")


class Words(WordClassifier):
    """A `WordClassifier` of an engine, which shows in its scores.

    Args:
        engine: Name of the engine.
        fails_at: The call (from 1) that fails.
    """

    def __init__(self, engine: str, *, fails_at: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.engine_name = engine
        self.calls_left = fails_at

    def _answer(
        self, texts: Sequence[str], text_pairs: Sequence[str] | None, *, batch_size: int, progress: Any
    ) -> Answers:
        self.calls_left -= 1
        if self.calls_left == 0:
            raise KeyboardInterrupt("the machine is taken away")
        super()._answer(texts, text_pairs, batch_size=batch_size, progress=progress)
        score = np.float32({"fast": 0.75, "slow": 0.625}[self.engine_name])
        rungs = np.array([len(text) > 10 for text in texts], dtype=np.int8)
        return Answers(np.full((len(texts), 2), [score, 1 - score], np.float32), rungs)


class Ladder(Words):
    rungs = ("linear", "encoder")

    def __init__(self, engine: str) -> None:
        super().__init__(engine)
        self.expected_shares = {"linear": 0.8, "encoder": 0.2}


class Machine:
    """Predicts with the first of its engines, or with the one that is asked for."""

    def __init__(self, home: Home, *engines: str, fails_at: int = 0) -> None:
        self.home = home
        self.classifiers: list[Words] = []
        self._engines = engines
        self._fails_at = fails_at

    def load(self, engine: str | None, sample: object) -> Classifier:
        name = engine or self._engines[0]
        if name not in self._engines:
            raise ModelError(f"{name} needs instructions that this processor lacks.")
        self.classifiers.append(Words(name, fails_at=self._fails_at))
        return self.classifiers[-1]

    def predict(self, source: Path, output: Path) -> PredictionSummary:
        config = PredictConfig(input=source, output=output, rows_per_shard=100)
        folder = self.home.predictions
        return predict_files(config, model(), self.load, run_id="r", folder=folder, report=lambda summary: None)


# Equal texts


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_equal_texts_are_computed_once_over_all_shards_and_files(tmp_path: Path, home: Home, ending: str) -> None:
    repeated = [{"id": "x", "text": f" 很好的酒店{number % 7}！"} for number in range(60)]
    folder, output = tmp_path / "in", tmp_path / "out"
    write_rows(folder / f"a.{ending}", [*reviews(30), *repeated, *reviews(30)])
    write_rows(folder / f"b.{ending}", [*repeated, {"id": "y", "text": "新"}])
    classifier = WordClassifier()
    a, b = predict(home, folder, output, classifier=classifier, rows_per_shard=10)
    assert classifier.texts == [*(row["text"] for row in reviews(30)), *(f"很好的酒店{n}!" for n in range(7)), "新"]
    assert (a.rows_repeated, b.rows_repeated) == (60 - 7 + 30, 60)

    alone = Home(root=tmp_path / "alone", tracking_uri="")
    for name in ("a", "b"):
        predict(alone, folder / f"{name}.{ending}", tmp_path / f"{name}.{ending}", rows_per_shard=10)
        rows, expected = read_rows(output / f"{name}.{ending}"), read_rows(tmp_path / f"{name}.{ending}")
        assert [{**row, "predicted_at": ""} for row in rows] == [{**row, "predicted_at": ""} for row in expected]


def test_a_run_that_is_resumed_gives_the_same_rows(tmp_path: Path, home: Home) -> None:
    rows = [{"id": str(number), "text": f"很{'好' if number % 3 else '差'}{number % 150}"} for number in range(1000)]
    source = write_rows(tmp_path / "in.csv", rows)

    class Failing(WordClassifier):
        def _answer(self, texts: Sequence[str], *others: Any, **settings: Any) -> Answers:
            if "很好149" in texts:
                raise RuntimeError("stopped")
            return super()._answer(texts, *others, **settings)

    with pytest.raises(RuntimeError, match="stopped"):
        predict(home, source, tmp_path / "out.csv", classifier=Failing(), rows_per_shard=100)
    (resumed,) = predict(home, source, tmp_path / "out.csv", rows_per_shard=100)
    predict(Home(root=tmp_path / "alone", tracking_uri=""), source, tmp_path / "whole.csv", rows_per_shard=100)
    assert [(row["id"], row["label"], row["score"]) for row in read_rows(tmp_path / "out.csv")] == [
        (row["id"], row["label"], row["score"]) for row in read_rows(tmp_path / "whole.csv")
    ]
    # Of the 150 texts, the first run computed 100, and the second all again that it met in later shards.
    assert resumed.rows_repeated == 1000 - 100 - 150


# One engine per file


def test_an_unfinished_file_keeps_its_engine_on_another_machine(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    texts = [{"text": f"酒店{number}"} for number in range(900)]
    for name, rows in (("a", texts[:300]), ("b", texts[300:600]), ("c", texts[600:])):
        write_rows(folder / f"{name}.csv", rows)
    with pytest.raises(KeyboardInterrupt, match="taken away"):
        Machine(home, "slow", fails_at=6).predict(folder, output)
    other = Machine(home, "fast", "slow")
    caplog.set_level(logging.INFO)
    summary = other.predict(folder, output)
    assert [(file.input.name, file.skipped, file.engine) for file in summary.files] == [
        ("a.csv", True, "slow"),
        ("b.csv", False, "slow"),
        ("c.csv", False, "fast"),
    ]
    assert summary.engine is not None
    assert summary.engine.name == "fast"
    for name, score in (("a", "0.625"), ("b", "0.625"), ("c", "0.75")):
        assert {row["score"] for row in read_rows(output / f"{name}.csv")} == {score}
    assert "b.csv is continued with the engine slow" in caplog.text
    assert [len(classifier.texts) for classifier in other.classifiers] == [300, 100], "two shards were committed"
    assert all(file.skipped for file in Machine(home, "fast").predict(folder, output).files)


def test_an_engine_that_cannot_be_had_costs_the_shards_and_is_named(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": f"酒店{number}"} for number in range(500)])
    with pytest.raises(KeyboardInterrupt, match="taken away"):
        Machine(home, "fast", fails_at=4).predict(source, tmp_path / "out.csv")
    other = Machine(home, "slow")
    (file,) = other.predict(source, tmp_path / "out.csv").files
    assert "engine fast, which cannot be used here: fast needs instructions that this processor lacks" in caplog.text
    assert file.engine == "slow"
    assert len(other.classifiers[0].texts) == 500
    assert {row["score"] for row in read_rows(tmp_path / "out.csv")} == {"0.625"}


def test_shards_of_two_engines_are_never_mixed(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": f"酒店{number}"} for number in range(500)])
    with pytest.raises(KeyboardInterrupt, match="taken away"):
        Machine(home, "fast", fails_at=5).predict(source, tmp_path / "out.csv")
    # The first shard is now of another engine, as after a run that began anew and was killed.
    with pytest.raises(KeyboardInterrupt, match="taken away"):
        Machine(home, "slow", fails_at=2).predict(source, tmp_path / "out.csv")
    (file,) = Machine(home, "fast", "slow").predict(source, tmp_path / "out.csv").files
    assert file.engine == "slow"
    assert {row["score"] for row in read_rows(tmp_path / "out.csv")} == {"0.625"}


# The ladder


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_each_row_says_which_model_of_a_ladder_answered(
    tmp_path: Path, home: Home, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"text": f"{'很长的评论' * 3 if number % 2 else '短'}{number:03}"} for number in range(300)]
    source = write_rows(tmp_path / f"in.{ending}", rows)
    summary = run(home, source, tmp_path / f"out.{ending}", classifier=Ladder("fast"), answered_by=True)
    (file,) = summary.files
    assert file.rung_counts == {"linear": 150, "encoder": 150}
    assert summary.expected_shares == {"linear": 0.8, "encoder": 0.2}
    found = read_rows(tmp_path / f"out.{ending}")
    assert [row["answered_by"] for row in found] == ["linear", "encoder"] * 150
    assert list(found[0]).index("answered_by") == list(found[0]).index("model_name") - 1
    assert "'encoder' answered 50.0 % of the rows, but 20.0 % of the validation rows" in caplog.text


def test_the_column_needs_a_ladder_and_is_left_out_by_default(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": f"短{number}"} for number in range(50)])
    (with_ladder,) = predict(home, source, tmp_path / "a.csv", classifier=Ladder("fast"))
    (without,) = predict(home, source, tmp_path / "b.csv", answered_by=True)
    for name in ("a", "b"):
        assert "answered_by" not in read_rows(tmp_path / f"{name}.csv")[0]
    assert (with_ladder.rung_counts, without.rung_counts) == ({"linear": 50, "encoder": 0}, {"words": 50})
    assert "validation rows" not in caplog.text, "fifty rows say little about shares"


# Bad input


def test_texts_that_are_empty_after_cleaning_and_shards_without_a_text(tmp_path: Path, home: Home) -> None:
    empty = [{"text": text} for text in ("<br/>", "\u200b", "&nbsp;", "<b></b> ", "\ufeff", "　")]
    source = write_rows(tmp_path / "in.jsonl", [*empty, {"text": "好"}, *empty])
    classifier = WordClassifier()
    (file,) = predict(home, source, tmp_path / "out.parquet", classifier=classifier, rows_per_shard=3)
    assert (file.rows_read, file.rows_predicted, file.rows_quarantined) == (13, 1, 12)
    assert classifier.texts == ["好"]
    assert file.quarantine is not None
    assert {entry["reason"] for entry in read_quarantine(file.quarantine)} == {"empty after cleaning", "empty text"}
    only_bad = write_rows(tmp_path / "bad.jsonl", empty)
    (file,) = predict(home, only_bad, tmp_path / "bad.csv", classifier=classifier, probabilities=True)
    assert (file.rows_predicted, file.rows_quarantined, len(classifier.texts)) == (0, 6, 1)


def test_a_text_of_a_megabyte_is_predicted_if_the_model_takes_it(tmp_path: Path, home: Home) -> None:
    long = "很好的酒店，" * 60_000
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("好", long, "差")), encoding="utf-8")
    patient = WordClassifier(cleaning=CleaningConfig(max_characters=1_000_000))
    (file,) = predict(home, source, tmp_path / "out.csv", classifier=patient)
    assert file.rows_predicted == 3
    assert [row["text"] for row in read_rows(tmp_path / "out.csv")] == ["好", long, "差"]
    (file,) = predict(home, source, tmp_path / "short.csv")
    assert file.quarantine is not None
    (bad,) = read_quarantine(file.quarantine)
    assert (bad["row"], bad["content"]["text"]) == (2, long)
