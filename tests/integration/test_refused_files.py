"""Files of an inbox that cannot be predicted, that nobody reads, or that change: named, moved aside, tried again."""

from __future__ import annotations

import logging
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from prediction_support import (
    WordClassifier,
    last_report,
    model,
    not_loaded,
    predict,
    read_rows,
    reviews,
    run,
    start,
    write_rows,
)

from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, DataError, SomeFilesFailedError
from textclf.prediction.batch import predict_files
from textclf.records import PredictionSummary


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", tracking_uri="")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """An inbox with a file that is damaged, one that lacks the column, and a good one."""
    write_rows(tmp_path / "in" / "a.csv", [{"评论": "好"}])
    write_rows(tmp_path / "in" / "b.csv", reviews(3))
    (tmp_path / "in" / "c.csv").write_bytes(b"%PDF-1.7")
    return tmp_path / "in"


def refusals(summary: PredictionSummary) -> dict[str, bool]:
    """Returns whether each refused file was refused before."""
    return {refused.input.name: refused.refused_before for refused in summary.refused}


# Once per content


def test_a_file_is_new_once_and_the_others_are_predicted(
    inbox: Path, tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = run(home, inbox, tmp_path / "out")
    assert refusals(first) == {"a.csv": False, "c.csv": False}
    assert "text_column 'text'; its columns are '评论'" in first.refused[0].reason
    assert "looks like a PDF document" in first.refused[1].reason
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.csv"]
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    for name, text in (("a.csv", "text_column 'text'"), ("c.csv", "looks like a PDF document")):
        (line,) = (line for line in logged if text in line)
        assert line.startswith("Refused: ")
        assert line.count(str(inbox / name)) == 1

    caplog.clear()
    config = PredictConfig(input=inbox, output=tmp_path / "out")
    second = predict_files(
        config, model(), not_loaded, run_id="run-2", folder=home.predictions, report=lambda summary: None
    )
    assert refusals(second) == {"a.csv": True, "c.csv": True}
    assert [refused.reason for refused in second.refused] == [refused.reason for refused in first.refused]
    assert [file.skipped for file in second.files] == [True]
    assert "Refused by an earlier run and not tried again (2): a.csv, c.csv." in caplog.text
    assert "Refused: " not in caplog.text


def test_a_refused_file_is_tried_again_when_something_changes(inbox: Path, tmp_path: Path, home: Home) -> None:
    def tried(**settings: Any) -> dict[str, bool]:
        return refusals(run(home, inbox, tmp_path / "out", **settings))

    known = {"a.csv": True, "c.csv": True}
    tried()
    os.utime(inbox / "a.csv")
    assert tried(batch_size=7) == known, "the same content"
    assert tried(redo=True) == {"a.csv": False, "c.csv": False}
    assert tried() == known
    assert tried(version=4) == {"a.csv": False, "c.csv": True}, "another model may need other columns"
    assert tried(version=4) == known
    assert tried(version=4, text_column="评论") == {"b.csv": False, "c.csv": False}
    assert read_rows(tmp_path / "out" / "a.csv")[0]["label"] == "正面"
    write_rows(inbox / "c.csv", reviews(2))
    assert tried(version=4) == {"a.csv": False}, "only what is in the folder now is remembered"


def test_a_file_that_comes_back_or_has_another_name_is_new(inbox: Path, tmp_path: Path, home: Home) -> None:
    run(home, inbox, tmp_path / "out")
    (inbox / "c.csv").rename(inbox / "d.csv")
    assert refusals(run(home, inbox, tmp_path / "out")) == {"a.csv": True, "d.csv": False}
    (inbox / "d.csv").rename(inbox / "c.csv")
    assert refusals(run(home, inbox, tmp_path / "out")) == {"a.csv": True, "c.csv": False}


def test_two_jobs_with_one_inbox_remember_their_own_refusals(inbox: Path, tmp_path: Path, home: Home) -> None:
    for before in (False, True):
        assert set(refusals(run(home, inbox, tmp_path / "out")).values()) == {before}
        assert set(refusals(run(home, inbox, tmp_path / "other", text_column="body")).values()) == {before}


def test_a_large_file_that_is_damaged_at_its_end_is_predicted_only_once(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in" / "a.parquet", [{**row, "note": os.urandom(20)} for row in reviews(5000)])
    content = bytearray(source.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    source.write_bytes(content)
    assert refusals(run(home, source.parent, tmp_path / "out", rows_per_shard=100)) == {"a.parquet": False}
    classifier = WordClassifier()
    again = run(home, source.parent, tmp_path / "out", rows_per_shard=100, classifier=classifier)
    assert refusals(again) == {"a.parquet": True}
    assert classifier.texts == []


def test_a_file_without_permission_is_named_as_known_until_it_can_be_read(
    inbox: Path, tmp_path: Path, home: Home
) -> None:
    (inbox / "b.csv").chmod(0)
    for before in (False, True):
        done = start(home, inbox, tmp_path / "out", tmp_path / "log")
        assert done.returncode == 0, done.stderr
        summary = last_report(done)
        assert refusals(summary) == dict.fromkeys(("a.csv", "b.csv", "c.csv"), before)
        assert "Permission denied" in summary.refused[1].reason
    (inbox / "b.csv").chmod(0o600)
    assert [file.input.name for file in run(home, inbox, tmp_path / "out").files] == ["b.csv"]


def test_a_run_that_is_killed_hides_no_refusal(inbox: Path, tmp_path: Path, home: Home) -> None:
    settings = {"config": {"refused_files": "move"}, "kill_at_commit": 1}
    killed = start(home, inbox, tmp_path / "out", tmp_path / "log", **settings)
    assert killed.returncode == -signal.SIGKILL
    assert f"Refused: {inbox / 'a.csv'}" in killed.stdout
    summary = run(home, inbox, tmp_path / "out")
    assert refusals(summary) == {"a.csv": False, "c.csv": False}
    assert [file.rows_predicted for file in summary.files] == [3]


def test_a_damaged_record_of_refusals_costs_another_attempt(
    inbox: Path, tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    run(home, inbox, tmp_path / "out")
    (record,) = (home.predictions / "refused").iterdir()
    record.write_text("{", encoding="utf-8")
    assert set(refusals(run(home, inbox, tmp_path / "out")).values()) == {False}
    assert f"{record} cannot be read" in caplog.text
    assert set(refusals(run(home, inbox, tmp_path / "out")).values()) == {True}


def test_refusals_that_a_full_disk_cannot_hold_do_not_end_the_run(inbox: Path, tmp_path: Path, home: Home) -> None:
    (inbox / "b.csv").unlink()
    done = start(home, inbox, tmp_path / "out", tmp_path / "log", largest_file=20, config={"refused_files": "move"})
    assert done.returncode == 0, done.stderr
    assert "The refused files cannot be remembered" in done.stdout
    assert "It stays where it is, as do the other refused files" in done.stdout
    assert refusals(last_report(done)) == {"a.csv": False, "c.csv": False}
    assert sorted(path.name for path in inbox.rglob("*")) == ["a.csv", "c.csv", "refused"]


def test_a_single_file_that_cannot_be_predicted_is_an_error_each_time(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "a.csv", [{"评论": "好"}])
    for _ in range(2):
        reports: list[PredictionSummary] = []
        with pytest.raises(DataError, match="text_column 'text'") as caught:
            run(home, source, tmp_path / "out.csv", report=reports.append, refused_files="move")
        assert [(refused.input, refused.reason) for refused in reports[-1].refused] == [(source, str(caught.value))]
        assert source.exists()


# Moved aside


def test_refused_files_are_moved_aside_with_their_reasons(inbox: Path, tmp_path: Path, home: Home) -> None:
    first = run(home, inbox, tmp_path / "out")
    summary = run(home, inbox, tmp_path / "out", refused_files="move")
    refused = inbox / "refused"
    assert [file.moved_to for file in summary.refused] == [refused / "a.csv", refused / "c.csv"]
    names = ["a.csv", "a.csv.reason.txt", "c.csv", "c.csv.reason.txt"]
    assert sorted(path.name for path in refused.iterdir()) == names
    assert (refused / "c.csv").read_bytes() == b"%PDF-1.7"
    assert (refused / "c.csv.reason.txt").read_text(encoding="utf-8") == f"{first.refused[1].reason}\n"

    summary = run(home, inbox, tmp_path / "out", refused_files="move")
    assert (summary.refused, summary.ignored, len(summary.files)) == ((), (), 1)


def test_nothing_is_overwritten_among_refused_files(tmp_path: Path, home: Home) -> None:
    inbox, refused = tmp_path / "in", tmp_path / "in" / "refused"
    refused.mkdir(parents=True)
    (refused / "a.csv.gz").write_text("mine", encoding="utf-8")
    for content in ("one", "one", "two"):
        (inbox / "a.csv.gz").write_text(content, encoding="utf-8")
        summary = run(home, inbox, tmp_path / "out", refused_files="move")
        assert refusals(summary) == {"a.csv.gz": False}, "it was moved away, so this is another one"
    contents = {path.name: path.read_text(encoding="utf-8") for path in refused.iterdir() if path.suffix == ".gz"}
    assert contents == {"a.csv.gz": "mine", "a-2.csv.gz": "one", "a-3.csv.gz": "one", "a-4.csv.gz": "two"}
    assert not (refused / "a.csv.gz.reason.txt").exists()


def test_a_name_too_long_for_a_reason_stays_and_the_others_are_moved(inbox: Path, tmp_path: Path, home: Home) -> None:
    long = "长" * 82 + ".csv"
    (inbox / "a.csv").rename(inbox / long)
    moved = {
        file.input.name: file.moved_to for file in run(home, inbox, tmp_path / "out", refused_files="move").refused
    }
    assert moved == {long: None, "c.csv": inbox / "refused" / "c.csv"}


def test_a_read_only_inbox_is_predicted_and_nothing_is_moved(inbox: Path, tmp_path: Path, home: Home) -> None:
    inbox.chmod(0o555)
    try:
        done = start(home, inbox, tmp_path / "out", tmp_path / "log", config={"refused_files": "move"})
    finally:
        inbox.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot be moved") == 1
    assert "Permission denied. It stays where it is, as do the other refused files." in done.stdout
    summary = last_report(done)
    assert refusals(summary) == {"a.csv": False, "c.csv": False}
    assert [file.rows_predicted for file in summary.files] == [3]


def test_a_read_only_outbox_is_reported_before_any_work(inbox: Path, tmp_path: Path, home: Home) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    done = start(home, inbox, tmp_path / "out", tmp_path / "log")
    assert "no permission to write to" in done.stderr
    assert not (tmp_path / "log").exists()


# Outputs that cannot be written


def test_an_output_that_is_a_folder_or_the_same_file_concerns_only_its_input(tmp_path: Path, home: Home) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    for name in ("a.csv", "b.csv", "c.csv"):
        write_rows(inbox / name, reviews(2))
    (outbox / "a.csv").mkdir(parents=True)
    (outbox / "b.csv").hardlink_to(inbox / "b.csv")
    for before in (False, True):
        summary = run(home, inbox, outbox, refused_files="move")
        assert refusals(summary) == {"a.csv": before, "b.csv": before}
        assert [file.moved_to for file in summary.refused] == [None, None], "the reason is not in the file"
    (outbox / "a.csv").rmdir()
    (outbox / "b.csv").unlink()
    assert len(predict(home, inbox, outbox)) == 3


# Left alone


def test_files_that_are_not_read_are_named(
    inbox: Path, tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    (inbox / "a.csv").unlink()
    (inbox / "c.csv").unlink()
    for name in (".hidden.csv", "~$b.xlsx"):
        (inbox / name).touch()
    (inbox / "2026").mkdir()
    write_rows(inbox / "refused" / "old.csv", reviews(1))
    names = ["b.csv.part", "b.csv.quarantine.jsonl", "c.csv.reason.txt", *(f"n{number}.doc" for number in range(9))]
    for name in names:
        (inbox / name).touch()
    caplog.set_level(logging.INFO)
    summary = run(home, inbox, tmp_path / "out")
    assert summary.ignored == ("2026/", *names)
    assert f"Not read in {inbox} (13): 2026/, b.csv.part, " in caplog.text
    assert "n5.doc and 3 more." in caplog.text
    assert [file.input.name for file in summary.files] == ["b.csv"]


# Changing


def test_a_file_that_grows_while_it_is_read_is_tried_next_time(inbox: Path, tmp_path: Path, home: Home) -> None:
    class Growing(WordClassifier):
        def answer(self, *texts: Any, **settings: Any) -> Any:
            with (inbox / "b.csv").open("a", encoding="utf-8") as file:
                file.write("r9,很好\n")
            return super().answer(*texts, **settings)

    run(home, inbox, tmp_path / "out")
    write_rows(inbox / "b.csv", reviews(4))
    summary = run(home, inbox, tmp_path / "out", classifier=Growing(), refused_files="move")
    assert summary.postponed == ("b.csv",)
    assert "b.csv" not in refusals(summary)
    assert len(read_rows(tmp_path / "out" / "b.csv")) == 3, "the old output stays"
    assert run(home, inbox, tmp_path / "out").files[0].rows_read == 5


# Reports


def test_each_file_is_reported_and_a_failure_leaves_the_last_report(inbox: Path, tmp_path: Path, home: Home) -> None:
    write_rows(inbox / "d.csv", [{"text": "别的"}, {"text": "其他"}])

    class Failing(WordClassifier):
        def answer(self, texts: Any, *others: Any, **settings: Any) -> Any:
            if len(texts) == 2:
                raise RuntimeError("out of memory")
            return super().answer(texts, *others, **settings)

    reports: list[PredictionSummary] = []
    with pytest.raises(SomeFilesFailedError, match="out of memory"):
        run(home, inbox, tmp_path / "out", classifier=Failing(), report=reports.append)
    reached = [(len(report.files), len(report.refused), report.waiting) for report in reports]
    assert reached == [(0, 1, 3), (1, 1, 2), (1, 2, 1), (1, 2, 0), (1, 2, 0)]
    # A run that fails hides no refusal from the next one.
    assert refusals(run(home, inbox, tmp_path / "out")) == {"a.csv": False, "c.csv": False}


def test_an_input_that_does_not_exist_is_reported(tmp_path: Path, home: Home) -> None:
    reports: list[PredictionSummary] = []
    with pytest.raises(ConfigError, match="does not exist"):
        run(home, tmp_path / "in", tmp_path / "out", report=reports.append)
    assert [(report.version, report.files) for report in reports] == [(3, ())]


@pytest.mark.soak
def test_ten_thousand_files_take_bounded_time_and_memory(tmp_path: Path, home: Home) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    for number in range(10_000):
        content = "id,text\n1,很好\n" if number % 10 else f"<html>{number}"
        (inbox / f"{number:05}.csv").write_text(content, encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first, second = run(home, inbox, tmp_path / "out"), run(home, inbox, tmp_path / "out")
    assert (len(first.files), len(first.refused)) == (9_000, 1_000)
    assert all(file.skipped for file in second.files)
    assert set(refusals(second).values()) == {True}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "KiB"
