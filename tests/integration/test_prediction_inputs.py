"""How a batch prediction handles inputs of every encoding, and inputs that cannot be read."""

from __future__ import annotations

import codecs
import csv
import io
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from prediction_support import (
    WordClassifier,
    last_report,
    predict,
    read_quarantine,
    read_rows,
    reviews,
    run,
    start,
    write_rows,
)

from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, DataError
from textclf.prediction.inputs import check_inputs, list_inputs
from textclf.records import PredictionSummary

NOT_UTF8 = os.fsdecode(b"\xff\xfe.csv")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", tracking_uri="")


@pytest.mark.parametrize(
    ("codec", "mark", "file_encoding"),
    [
        ("utf-16-le", codecs.BOM_UTF16_LE, "auto"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "utf-16"),
        ("utf-16-le", b"", "utf-16"),
        ("big5", b"", "big5"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_utf16_and_big5_become_utf8_that_excel_recognizes(
    tmp_path: Path, home: Home, codec: str, mark: bytes, file_encoding: str, ending: str
) -> None:
    text = write_rows(tmp_path / f"rows.{ending}", [{"id": 1, "text": "房間很好"}, {"id": 2, "text": "太差"}])
    source = tmp_path / f"in.{ending}"
    source.write_bytes(mark + text.read_text(encoding="utf-8").encode(codec))
    check_inputs(PredictConfig(input=source, output=tmp_path / "out.csv", file_encoding=file_encoding))
    predict(home, source, tmp_path / "out.csv", file_encoding=file_encoding)
    content = (tmp_path / "out.csv").read_bytes()
    assert content.startswith(codecs.BOM_UTF8)
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert [(row["text"], row["label"]) for row in rows] == [("房間很好", "正面"), ("太差", "负面")]


def test_a_file_whose_name_is_not_utf8_is_named_and_the_others_are_predicted(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    for name in ("a.csv", NOT_UTF8, "z.csv"):
        write_rows(folder / name, reviews(3))
    caplog.set_level(logging.INFO)
    summary = run(home, folder, tmp_path / "out")
    (refused,) = PredictionSummary.model_validate_json(summary.model_dump_json()).refused
    assert refused.input.name == r"\xff\xfe.csv" and "not valid UTF-8" in refused.reason
    caplog.text.encode()
    assert run(home, folder, tmp_path / "out").refused[0].refused_before
    (moved,) = run(home, folder, tmp_path / "out", refused_files="move").refused
    assert moved.moved_to == folder / "refused" / r"\xff\xfe.csv"
    assert sorted(os.fsencode(path.name) for path in (folder / "refused").iterdir()) == [
        b"\xff\xfe.csv",
        b"\xff\xfe.csv.reason.txt",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.csv", "z.csv"]


@pytest.mark.parametrize("field", ["input", "output"])
def test_a_path_that_is_not_utf8_is_refused_before_any_work(tmp_path: Path, field: str) -> None:
    source = write_rows(tmp_path / "in.csv", reviews(3))
    paths = {"input": source, "output": tmp_path / "out.csv", field: source.rename(tmp_path / NOT_UTF8)}
    with pytest.raises(ConfigError, match=rf"{field} .*\\xff\\xfe\.csv is not valid UTF-8"):
        list_inputs(PredictConfig.model_validate(paths))


def test_files_that_cannot_be_read_are_named_and_the_others_are_predicted(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    write_rows(folder / "a.csv", reviews(3))
    (folder / "gone.csv").symlink_to("nowhere.csv")
    (folder / "loop.csv").symlink_to("loop.csv")
    # Opens, but every read fails.
    (folder / "memory.csv").symlink_to("/proc/self/mem")
    # Opening it would wait for a writer.
    os.mkfifo(folder / "pipe.csv")
    write_rows(folder / "z.csv", reviews(3))
    summary = run(home, folder, tmp_path / "out")
    reasons = {refused.input.name: refused.reason for refused in summary.refused}
    assert list(reasons) == ["gone.csv", "loop.csv", "memory.csv"]
    assert "does not exist" in reasons["gone.csv"] and "levels" in reasons["loop.csv"]
    assert "error" in reasons["memory.csv"]
    assert summary.ignored == ("pipe.csv",)
    assert [refused.refused_before for refused in run(home, folder, tmp_path / "out").refused[:2]] == [True, True]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.csv", "z.csv"]


def test_an_input_that_disappears_is_named_and_the_others_are_predicted(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    for name in ("a.csv", "b.csv", "c.csv"):
        write_rows(folder / name, reviews(3))

    class Removing(WordClassifier):
        def answer(self, *texts: Any, **settings: Any) -> Any:
            (folder / "b.csv").unlink(missing_ok=True)
            return super().answer(*texts, **settings)

    summary = run(home, folder, tmp_path / "out", classifier=Removing())
    assert (summary.postponed, summary.refused) == (("b.csv",), ())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.csv", "c.csv"]


def test_a_name_too_long_for_the_quarantine_file_affects_only_its_file(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    long = "长" * 78 + ".csv"
    write_rows(folder / long, [*reviews(2), {"id": "bad", "text": ""}])
    write_rows(folder / "z.csv", reviews(3))
    (refused,) = run(home, folder, tmp_path / "out").refused
    assert "too long for the file system" in refused.reason
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["z.csv"]
    write_rows(folder / long, reviews(2))
    assert [file.output.name for file in predict(home, folder, tmp_path / "out")] == ["z.csv", long]


def test_a_file_that_does_not_fit_on_the_disk_stops_no_other_and_goes_on_later(tmp_path: Path, home: Home) -> None:
    folder, output, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    write_rows(folder / "a.csv", reviews(20))
    write_rows(folder / "b.csv", [{**row, "note": "x" * 50} for row in reviews(500)])
    write_rows(folder / "c.csv", reviews(20))
    failed = start(home, folder, output, log, largest_file=60_000)
    assert failed.returncode == 1
    assert "b.csv failed: File too large" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert sorted(path.name for path in output.iterdir()) == ["a.csv", "c.csv"]
    assert [file.input.name for file in last_report(failed).failed] == ["b.csv"]
    classifier = WordClassifier()
    files = predict(home, folder, output, classifier=classifier, rows_per_shard=100)
    assert [file.skipped for file in files] == [True, False, True]
    assert classifier.texts == [], "its shards were committed"


def test_quarantined_rows_have_the_new_name_of_an_input_that_was_renamed(tmp_path: Path, home: Home) -> None:
    rows = [*reviews(250), {"id": "bad", "text": ""}]
    source, log = write_rows(tmp_path / "in.csv", [rows[-1], *rows]), tmp_path / "log"
    start(home, source, tmp_path / "out.csv", log, kill_at_commit=2)
    renamed = source.rename(tmp_path / "renamed.csv")
    predict(home, renamed, tmp_path / "out.csv", rows_per_shard=100)
    bad = read_quarantine(tmp_path / "out.csv.quarantine.jsonl")
    assert [(entry["source"], entry["row"]) for entry in bad] == [("renamed.csv", 1), ("renamed.csv", 252)]
    assert list(bad[0]) == ["source", "row", "reason", "content"]
    assert len(read_rows(tmp_path / "out.csv")) == 250


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_missing_column_is_reported_before_anything_starts(tmp_path: Path, ending: str) -> None:
    source = write_rows(tmp_path / f"in.{ending}", [{"评论": "好", "店": "甲"}])
    paths = {"input": source, "output": tmp_path / "out.csv"}
    with pytest.raises(DataError, match="text_column 'text' and id_column 'nr'; its columns are '评论', '店'"):
        check_inputs(PredictConfig.model_validate({**paths, "id_column": "nr"}))
    check_inputs(PredictConfig.model_validate({**paths, "text_column": "评论"}))
    if ending != "parquet":
        check_inputs(PredictConfig.model_validate({**paths, "column_names": ("text", "shop")}))


def test_mistakes_in_paths_and_first_bytes_are_reported_before_anything_starts(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    with pytest.raises(ConfigError, match="does not exist"):
        check_inputs(PredictConfig(input=tmp_path / "in.csv", output=output))
    with pytest.raises(ConfigError, match="cannot be used: File name too long"):
        check_inputs(PredictConfig(input=tmp_path / ("a" * 300), output=output))
    (tmp_path / "in.csv").write_bytes(b"PAR1\x15")
    with pytest.raises(DataError, match="looks like a Parquet file"):
        check_inputs(PredictConfig(input=tmp_path / "in.csv", output=output))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "bad.csv").touch()
    check_inputs(PredictConfig(input=tmp_path / "folder", output=tmp_path / "out"))


@pytest.mark.parametrize("codec", ["utf-8", "gb18030", "utf-16"])
def test_only_the_first_bytes_are_checked(tmp_path: Path, codec: str) -> None:
    source = tmp_path / "in.csv"
    rows = "text\n" + "房间很好\n" * 20_000
    # The rest of the file is not text.
    source.write_bytes(rows.encode(codec) + b"\xff\xff\xff\n" * 100_000)
    check_inputs(PredictConfig(input=source, output=tmp_path / "out.csv"))
    with pytest.raises(DataError, match="text_column 'no'; its columns are 'text'"):
        check_inputs(PredictConfig(input=source, output=tmp_path / "out.csv", text_column="no"))
