"""Batch prediction of Excel, compressed and empty files, which are read as training reads them."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from prediction_support import model, not_loaded, predict, read_quarantine, read_rows, reviews, run, write_rows

from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import DataError
from textclf.prediction.batch import predict_files
from textclf.prediction.inputs import check_inputs
from textclf.reading.detection import TRAINING_FORMATS

ROWS = b"id,text\n1,\xe5\xbe\x88\xe5\xa5\xbd\n2,\n3,\xe5\xbe\x88\xe5\xb7\xae\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", tracking_uri="")


def zipped(content: bytes, member: str = "reviews.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__MACOSX/._x", "")
        archive.writestr(member, content)
    return buffer.getvalue()


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


def write_workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with xlsxwriter.Workbook(path) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return path


# Names


def test_each_input_of_a_folder_has_an_output_of_its_own(tmp_path: Path, home: Home) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    contents: dict[str, bytes] = {
        "reviews.csv": ROWS,
        "reviews.csv.gz": gzip.compress(ROWS),
        "reviews.csv.bz2": bz2.compress(ROWS),
        "reviews.csv.xz": lzma.compress(ROWS),
        "reviews.csv.zst": zstd(ROWS),
        "reviews.csv.zip": zipped(ROWS),
        "reviews.zip": zipped('{"id": 1, "text": "好"}\n'.encode(), "x.jsonl"),
        "reviews.jsonl.gz": gzip.compress('{"id": 1, "text": "好"}\n'.encode()),
        "reviews.tsv.GZ": gzip.compress("id\ttext\n1\t好\n".encode()),
        "reviews.txt": "id;text\n1;好\n".encode(),
        "table.txt": "id\ttext\n1\t好,很\n".encode(),
    }
    for name, content in contents.items():
        (inbox / name).write_bytes(content)
    write_workbook(inbox / "reviews.xlsx", 一=[["id", "text"], [1, "好"], [2, "差"]])
    files = {file.input.name: file for file in predict(home, inbox, tmp_path / "out")}
    assert {name: file.output.name for name, file in files.items()} == {
        "reviews.csv": "reviews.csv",
        "reviews.csv.bz2": "reviews.csv.bz2.csv",
        "reviews.csv.gz": "reviews.csv.gz.csv",
        "reviews.csv.xz": "reviews.csv.xz.csv",
        "reviews.csv.zip": "reviews.csv.zip.csv",
        "reviews.csv.zst": "reviews.csv.zst.csv",
        "reviews.jsonl.gz": "reviews.jsonl.gz.jsonl",
        "reviews.tsv.GZ": "reviews.tsv.GZ.tsv",
        "reviews.txt": "reviews.txt.csv",
        "reviews.xlsx": "reviews.xlsx.csv",
        "reviews.zip": "reviews.zip.csv",
        "table.txt": "table.txt.csv",
    }
    expected = [("1", "很好", "正面"), ("3", "很差", "负面")]
    for name, file in files.items():
        rows = [(row["id"], row["text"], row["label"]) for row in read_rows(file.output)]
        if name.startswith("reviews.csv"):
            assert rows == expected
            assert file.quarantine is not None
            assert [(bad["source"], bad["row"]) for bad in read_quarantine(file.quarantine)] == [(name, 2)]
    assert read_rows(files["table.txt"].output)[0]["text"] == "好,很"
    assert read_rows(files["reviews.jsonl.gz"].output)[0]["id"] == 1
    assert all(file.skipped for file in predict(home, inbox, tmp_path / "out"))


def test_two_inputs_never_write_one_output(tmp_path: Path, home: Home) -> None:
    inbox = tmp_path / "in"
    write_rows(inbox / "a.xlsx.csv", reviews(3))
    write_workbook(inbox / "a.xlsx", 一=[["text"], ["好"]])
    summary = run(home, inbox, tmp_path / "out", refused_files="move")
    assert [file.input.name for file in summary.files] == ["a.xlsx.csv"]
    (refused,) = summary.refused
    assert "a.xlsx would be that of a.xlsx.csv in the same folder" in refused.reason
    assert len(read_rows(tmp_path / "out" / "a.xlsx.csv")) == 3
    (inbox / "a.xlsx.csv").unlink()
    assert [file.rows_read for file in predict(home, inbox, tmp_path / "out")] == [1]


def test_every_ending_that_training_reads_is_read(tmp_path: Path, home: Home) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    for ending in TRAINING_FORMATS:
        (inbox / f"a{ending}").touch()
    summary = run(home, inbox, tmp_path / "out")
    assert {file.input.suffix for file in summary.files} == set(TRAINING_FORMATS)
    assert len({file.output for file in summary.files}) == len(TRAINING_FORMATS)


# Excel


def test_a_workbook_becomes_csv_that_excel_recognizes(tmp_path: Path, home: Home) -> None:
    rows = [["编号", "评论"], [1, "很好"], [None, None], [3, "很差"], [4, ""]]
    source = write_workbook(tmp_path / "reviews.xlsx", 说明=[["无关"]], 评论=rows)
    config = {"text_column": "评论", "id_column": "编号", "sheet": "评论"}
    check_inputs(PredictConfig.model_validate({"input": source, "output": tmp_path / "labelled.csv", **config}))
    (file,) = predict(home, source, tmp_path / "labelled.csv", **config)
    content = (tmp_path / "labelled.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    predicted = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert [(row["编号"], row["label"]) for row in predicted] == [("1", "正面"), ("3", "负面")]
    assert file.quarantine is not None
    bad = [(row["row"], row["reason"]) for row in read_quarantine(file.quarantine)]
    assert bad == [(2, "blank row"), (4, "missing text")]
    with pytest.raises(DataError, match="no sheet '三'"):
        check_inputs(PredictConfig(input=source, output=tmp_path / "labelled.csv", sheet="三"))


def test_another_sheet_is_another_job(tmp_path: Path, home: Home) -> None:
    source = write_workbook(tmp_path / "in.xlsx", 一=[["text"], ["好"]], 二=[["text"], ["差"]])
    for sheet, label in (("一", "正面"), ("二", "负面"), (None, "正面")):
        (file,) = predict(home, source, tmp_path / "out.parquet", sheet=sheet)
        assert not file.skipped
        assert pq.read_table(file.output)["label"].to_pylist() == [label]


def test_a_finished_workbook_is_not_opened_again(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_workbook(tmp_path / "in" / "a.xlsx", 一=[["text"], ["好"]])
    predict(home, source.parent, tmp_path / "out")
    # Whoever opened the workbook would need this module.
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    summary = predict_files(
        PredictConfig(input=source.parent, output=tmp_path / "out"),
        model(),
        not_loaded,
        run_id="run-2",
        folder=home.predictions,
        report=lambda summary: None,
    )
    assert [file.skipped for file in summary.files] == [True]


# Other single files and settings


def test_a_compressed_file_is_predicted_into_any_format(tmp_path: Path, home: Home) -> None:
    source = tmp_path / "reviews.csv.gz"
    source.write_bytes(gzip.compress(ROWS))
    for output in ("out.csv", "out.tsv", "out.jsonl", "out.parquet"):
        check_inputs(PredictConfig(input=source, output=tmp_path / output))
        (file,) = predict(home, source, tmp_path / output)
        assert [row["label"] for row in read_rows(file.output)] == ["正面", "负面"]


def test_a_zip_archive_of_json_lines_is_not_checked_for_columns(tmp_path: Path) -> None:
    source = tmp_path / "a.zip"
    source.write_bytes(zipped(b'{"id": 1}\n{"id": 2, "text": "x"}\n', "a.jsonl"))
    check_inputs(PredictConfig(input=source, output=tmp_path / "out.csv"))


def test_the_delimiter_can_be_set(tmp_path: Path, home: Home) -> None:
    source = tmp_path / "in.csv"
    source.write_text("text|a,b,c\n好|1,2,3\n", encoding="utf-8")
    (file,) = predict(home, source, tmp_path / "out.jsonl", delimiter="|")
    assert read_rows(file.output)[0]["a,b,c"] == "1,2,3"


# Empty files


def empty_workbook(header: list[Any]) -> Callable[[Path], object]:
    return lambda path: write_workbook(path, 一=[header] if header else [])


EMPTY: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no bytes, csv": (".csv", lambda path: path.touch()),
    "no bytes, tsv": (".tsv", lambda path: path.touch()),
    "no bytes, jsonl": (".jsonl", lambda path: path.touch()),
    "no bytes, parquet": (".parquet", lambda path: path.touch()),
    "no bytes, xlsx": (".xlsx", lambda path: path.touch()),
    "no bytes, csv.gz": (".csv.gz", lambda path: path.touch()),
    "byte order mark": (".csv", lambda path: path.write_bytes(b"\xef\xbb\xbf")),
    "blank lines": (".jsonl", lambda path: path.write_bytes(b"\n\n")),
    "header, csv": (".csv", lambda path: path.write_bytes(b"text\n")),
    "header, txt": (".txt", lambda path: path.write_bytes(b"text\r\n")),
    "header, gz": (".csv.gz", lambda path: path.write_bytes(gzip.compress(b"text\n"))),
    "nothing, gz": (".csv.gz", lambda path: path.write_bytes(gzip.compress(b""))),
    "nothing, zip": (".zip", lambda path: path.write_bytes(zipped(b""))),
    "header, xlsx": (".xlsx", empty_workbook(["text"])),
    "nothing, xlsx": (".xlsx", empty_workbook([])),
    "no rows, parquet": (".parquet", lambda path: pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)),
}


@pytest.mark.parametrize("case", EMPTY)
def test_a_file_without_rows_has_an_output_without_rows(tmp_path: Path, home: Home, case: str) -> None:
    ending, write = EMPTY[case]
    source = tmp_path / f"in{ending}"
    write(source)
    check_inputs(PredictConfig(input=source, output=tmp_path / "out.csv"))
    for output in (tmp_path / "out.csv", tmp_path / "out.parquet"):
        (file,) = predict(home, source, output)
        assert (file.rows_read, file.quarantine) == (0, None)
        assert read_rows(output) == []
    assert pq.read_table(tmp_path / "out.parquet").column_names[:3] == ["text", "row", "label"]
    assert predict(home, source, tmp_path / "out.parquet")[0].skipped


def test_an_empty_file_has_the_configured_columns(tmp_path: Path, home: Home) -> None:
    (tmp_path / "in.csv").touch()
    predict(home, tmp_path / "in.csv", tmp_path / "out.csv", id_column="nr", text_column="评论")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").startswith("nr,评论,label,score")
    predict(home, tmp_path / "in.csv", tmp_path / "out.csv", column_names=("text", "shop"))
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").startswith("text,shop,row,label,score")


def test_an_empty_file_that_is_filled_later_is_predicted(tmp_path: Path, home: Home) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    (inbox / "a.csv").touch()
    assert [file.rows_read for file in predict(home, inbox, tmp_path / "out")] == [0]
    write_rows(inbox / "a.csv", reviews(3))
    assert [(file.rows_read, file.skipped) for file in predict(home, inbox, tmp_path / "out")] == [(3, False)]
