"""A file that fails for a reason that is not in it: the others are predicted, and the next run tries it again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prediction_support import WordClassifier, predict, read_rows, reviews, run, write_rows

from textclf.config.home import Home
from textclf.errors import ConfigError, ModelError, SomeFilesFailedError
from textclf.model.classifier import Answers
from textclf.records import PredictionSummary
from textclf.summaries.prediction import prediction_summary


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", tracking_uri="")


class BreaksOn(WordClassifier):
    """Raises an exception at a text with 炸, or gives it NaN for an answer."""

    def __init__(self, error: BaseException | None) -> None:
        super().__init__()
        self.error = error

    def _answer(self, texts: Any, text_pairs: Any, *, batch_size: int, progress: Any) -> Answers:
        answers = super()._answer(texts, text_pairs, batch_size=batch_size, progress=progress)
        if any("炸" in text for text in texts):
            if self.error:
                raise self.error
            answers.probabilities[:] = np.nan
        return answers


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Five files, the second and the fourth of which break the classifier; the last cannot be read at all."""
    for number, name in enumerate("abcd"):
        rows = reviews(30)
        if number % 2:
            rows[17]["text"] = f"炸了{name}"
        write_rows(tmp_path / "in" / f"{name}.csv", rows)
    (tmp_path / "in" / "e.csv").write_bytes(b"%PDF-1.7")
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, "The model textclf-reviews version 3 cannot be used"),
        (ModelError("the engine refuses"), "the engine refuses"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("CUDA error: an illegal memory access"), "RuntimeError: CUDA error"),
        (OSError(5, "Input/output error"), "OSError"),
        (RecursionError("too deep"), "RecursionError"),
    ],
)
def test_whatever_one_file_raises_the_others_are_predicted(
    inbox: Path, tmp_path: Path, home: Home, error: BaseException | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reports: list[PredictionSummary] = []
    with pytest.raises(
        SomeFilesFailedError, match=r"2 of 5 files could not be predicted, the others are done"
    ) as caught:
        run(home, inbox, tmp_path / "out", classifier=BreaksOn(error), report=reports.append, rows_per_shard=10)
    assert f"b.csv: {reason}" in str(caught.value)
    summary = reports[-1]
    assert [file.input.name for file in summary.files] == ["a.csv", "c.csv"]
    assert [file.input.name for file in summary.refused] == ["e.csv"]
    assert [file.input.name for file in summary.failed] == ["b.csv", "d.csv"]
    assert all(reason in file.reason for file in summary.failed)
    assert summary.waiting == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.csv", "c.csv"]
    page = prediction_summary(summary)
    assert "## Files that failed" in page and "| b.csv |" in page
    assert sum(record.getMessage().startswith("Failed: ") for record in caplog.records) == 2


def test_the_next_run_tries_a_failed_file_again_and_keeps_its_shards(inbox: Path, tmp_path: Path, home: Home) -> None:
    with pytest.raises(SomeFilesFailedError):
        run(home, inbox, tmp_path / "out", classifier=BreaksOn(MemoryError()), rows_per_shard=10)
    repaired = WordClassifier()
    again = run(home, inbox, tmp_path / "out", classifier=repaired, rows_per_shard=10)
    assert [(file.input.name, file.skipped) for file in again.files] == [
        ("a.csv", True),
        ("b.csv", False),
        ("c.csv", True),
        ("d.csv", False),
    ]
    # A run that fails hides no refusal from the next one.
    assert (again.failed, [file.refused_before for file in again.refused]) == ((), [False])
    # The first ten rows of both were committed before the text that broke the classifier, by which alone they differ.
    assert len(repaired.texts) == 21
    for name in "bd":
        alone = tmp_path / f"{name}.csv"
        predict(home, inbox / f"{name}.csv", alone, rows_per_shard=10)
        assert alone.read_bytes() == (tmp_path / "out" / f"{name}.csv").read_bytes()
        assert len(read_rows(alone)) == 30


def test_what_concerns_all_files_ends_the_run_at_once(inbox: Path, tmp_path: Path, home: Home) -> None:
    loads = []

    class Unloadable:
        def __getattr__(self, name: str) -> Any:
            loads.append(name)
            raise ModelError("its weights are damaged")

    reports: list[PredictionSummary] = []
    with pytest.raises(ModelError, match="its weights are damaged"):
        run(home, inbox, tmp_path / "out", classifier=Unloadable(), report=reports.append)
    assert len(loads) == 1 and reports[-1].waiting == 5
    with pytest.raises(ConfigError, match="text_pair_column"):
        run(home, inbox, tmp_path / "out", text_pair_column="text")


def test_a_strange_error_while_the_first_file_is_opened_stops_no_other(
    inbox: Path, tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textclf.prediction import files

    opened = files.open_input

    def strange(path: Path, config: Any) -> Any:
        if path.name == "a.csv":
            raise OverflowError("a library's mistake")
        return opened(path, config)

    monkeypatch.setattr(files, "open_input", strange)
    reports: list[PredictionSummary] = []
    with pytest.raises(SomeFilesFailedError, match=r"1 of 5 files.*\n.*a\.csv: OverflowError: a library's mistake"):
        run(home, inbox, tmp_path / "out", report=reports.append)
    assert [file.input.name for file in reports[-1].files] == ["b.csv", "c.csv", "d.csv"]


def test_ctrl_c_is_no_failure_of_a_file(inbox: Path, tmp_path: Path, home: Home) -> None:
    reports: list[PredictionSummary] = []
    with pytest.raises(KeyboardInterrupt):
        run(home, inbox, tmp_path / "out", classifier=BreaksOn(KeyboardInterrupt()), report=reports.append)
    assert reports[-1].failed == () and reports[-1].waiting == 4


def test_a_single_file_raises_its_own_error(inbox: Path, tmp_path: Path, home: Home) -> None:
    with pytest.raises(ModelError, match="the engine refuses"):
        run(home, inbox / "b.csv", tmp_path / "b.csv", classifier=BreaksOn(ModelError("the engine refuses")))
