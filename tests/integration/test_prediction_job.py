"""Batch prediction of real files, with a small deterministic classifier instead of a model."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from prediction_support import (
    SCRIPT,
    WordClassifier,
    model,
    not_loaded,
    predict,
    read_quarantine,
    read_rows,
    reviews,
    start,
    write_rows,
)

from textclf.config.data import CleaningConfig
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, DataError, ModelError, StorageError
from textclf.prediction.batch import predict_files
from textclf.prediction.inputs import list_inputs


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", tracking_uri="")


FORMATS = ["csv", "tsv", "jsonl", "parquet"]


@pytest.mark.parametrize("output_ending", FORMATS)
@pytest.mark.parametrize("input_ending", FORMATS)
def test_every_format_can_be_written_as_every_format(
    tmp_path: Path, home: Home, input_ending: str, output_ending: str
) -> None:
    source = write_rows(tmp_path / f"in.{input_ending}", reviews(25))
    output = tmp_path / "out" / f"predicted.{output_ending}"
    (file,) = predict(home, source, output, rows_per_shard=10, probabilities=True)
    rows = read_rows(output)
    assert [(row["id"], row["text"]) for row in rows] == [(row["id"], row["text"]) for row in reviews(25)]
    assert list(rows[0]) == [
        *["id", "text", "label", "score", "probability_负面", "probability_正面"],
        *["model_name", "model_version", "predicted_at", "run_id"],
    ]
    assert [row["label"] for row in rows] == ["正面" if number % 3 else "负面" for number in range(25)]
    for row in rows:
        assert float(row["score"]) == max(float(row["probability_负面"]), float(row["probability_正面"])) > 0.5
        assert (row["model_name"], int(row["model_version"]), row["run_id"]) == ("textclf-reviews", 3, "run-1")
    assert (file.rows_read, file.rows_predicted, file.rows_quarantined, file.quarantine) == (25, 25, 0, None)
    assert file.label_counts == {"负面": 9, "正面": 16}
    assert sorted(path.name for path in output.parent.iterdir()) == [output.name]
    assert not [path for path in home.predictions.iterdir() if path.name not in ("done", "locks")]


def test_bad_rows_go_to_the_quarantine_and_never_stop_the_job(tmp_path: Path, home: Home) -> None:
    good = '{"id": 1, "text": "很好"}'
    lines = [
        good,
        '{"id": 2, "text": null}',
        '{"id": 3}',
        '{"id": 4, "text": "  "}',
        '{"id": 5, "text": 12}',
        '{"id": 6, "text": "没有结束',
        "[1, 2]",
        '{"id": 8, "text": "半个\\ud83d"}',
        json.dumps({"id": 9, "text": "长" * 200_000}, ensure_ascii=False),
        good,
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    output = tmp_path / "out.csv"
    (file,) = predict(home, source, output, rows_per_shard=4)
    assert file.quarantine == tmp_path / "out.csv.quarantine.jsonl"
    bad = read_quarantine(file.quarantine)
    assert [entry["row"] for entry in bad] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert bad[0] == {"source": "in.jsonl", "row": 2, "reason": "missing text", "content": {"id": 2, "text": None}}
    assert bad[4]["content"] == lines[5]
    assert bad[7]["content"]["text"] == "长" * 200_000
    assert "max_characters" in bad[7]["reason"]
    assert [row["id"] for row in read_rows(output)] == ["1", "1"]
    assert (file.rows_read, file.rows_predicted, file.rows_quarantined) == (10, 2, 8)


def test_nul_bytes_wrong_fields_and_open_quotes_in_csv_are_quarantined(tmp_path: Path, home: Home) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes('id,text\n1,很\0好\n2,好,多\n3,"没有结束\n4,很好\n'.encode())
    (file,) = predict(home, source, tmp_path / "out.csv")
    assert file.quarantine is not None
    assert [entry["row"] for entry in read_quarantine(file.quarantine)] == [1, 2, 3]
    assert [row["id"] for row in read_rows(tmp_path / "out.csv")] == ["4"]


def test_pairs_of_texts_stay_in_order_and_each_is_computed_once(tmp_path: Path, home: Home) -> None:
    rows = [{"问": "好", "答": "一"}, {"问": "差", "答": "一"}, {"问": "差", "答": "好"}, {"问": " 好", "答": "一"}]
    source = write_rows(tmp_path / "in.csv", rows)
    classifier = WordClassifier(pairs=True)
    columns = {"text_column": "问", "text_pair_column": "答"}
    (file,) = predict(home, source, tmp_path / "out.csv", classifier=classifier, **columns)
    assert classifier.texts == ["好|一", "差|一", "差|好"]
    assert [(row["问"], row["答"], row["label"]) for row in read_rows(tmp_path / "out.csv")] == [
        ("好", "一", "正面"),
        ("差", "一", "负面"),
        ("差", "好", "正面"),
        (" 好", "一", "正面"),
    ]
    assert file.rows_quarantined == 0


def test_a_bad_second_text_is_quarantined_like_a_bad_first_one(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"id": 1, "text": "好", "text_pair": "一"},
        {"id": 2, "text": "好", "text_pair": None},
        {"id": 3, "text": "好"},
        {"id": 4, "text": "好", "text_pair": " "},
        {"id": 5, "text": "好", "text_pair": 5},
        {"id": 6, "text": "好", "text_pair": "长" * 200},
        {"id": 7, "text": "", "text_pair": "一"},
        {"id": 8, "text": "差", "text_pair": "二"},
    ]
    source = write_rows(tmp_path / "in.jsonl", rows)
    classifier = WordClassifier(pairs=True, cleaning=CleaningConfig(max_characters=100))
    caplog.set_level(logging.INFO)
    (file,) = predict(home, source, tmp_path / "out.csv", classifier=classifier)
    assert file.quarantine is not None
    assert [(entry["row"], entry["reason"]) for entry in read_quarantine(file.quarantine)] == [
        (2, "missing text (second text)"),
        (3, "missing text (second text)"),
        (4, "empty text (second text)"),
        (5, "text is not a string (found int) (second text)"),
        (6, "longer than cleaning.max_characters (100) (second text)"),
        (7, "empty text"),
    ]
    assert [row["id"] for row in read_rows(tmp_path / "out.csv")] == ["1", "8"]
    assert "missing text (second text) (2)" in caplog.text
    assert "longer than cleaning.max_characters (second text) (1)" in caplog.text


def test_a_missing_second_column_is_named_with_the_field_to_set(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": "好", "答": "一"}])
    with pytest.raises(DataError, match=r"(?s)text_pair_column 'text_pair'; its columns are 'text', '答'.*pairs"):
        predict(home, source, tmp_path / "out.csv", classifier=WordClassifier(pairs=True))
    with pytest.raises(ConfigError, match="text_column and text_pair_column are both 'text'"):
        predict(home, source, tmp_path / "out.csv", classifier=WordClassifier(pairs=True), text_pair_column="text")
    assert predict(home, source, tmp_path / "out.csv", classifier=WordClassifier(pairs=True), text_pair_column="答")[
        0
    ].rows_predicted


def test_a_second_column_for_a_model_for_single_texts_is_refused_before_any_work(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": "好", "答": "一"}])
    classifier = WordClassifier()
    with pytest.raises(ConfigError, match=r"text_pair_column is '答', but the model textclf-reviews version 3"):
        predict(home, source, tmp_path / "out.csv", classifier=classifier, text_pair_column="答")
    assert classifier.texts == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv"]


def test_another_second_column_is_another_job(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": "差", "甲": "好", "乙": "差"}])
    labels = []
    for column in ("甲", "乙"):
        classifier = WordClassifier(pairs=True)
        predict(home, source, tmp_path / "out.jsonl", classifier=classifier, text_pair_column=column)
        labels.append(read_rows(tmp_path / "out.jsonl")[0]["label"])
    assert labels == ["正面", "负面"]


def test_a_row_of_one_megabyte_is_predicted_if_the_model_allows_it(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": "好" * 350_000}, {"text": "差"}])
    classifier = WordClassifier(cleaning=CleaningConfig(max_characters=1_000_000))
    (file,) = predict(home, source, tmp_path / "out.parquet", classifier=classifier)
    assert file.rows_predicted == 2
    assert read_rows(tmp_path / "out.parquet")[0]["text"] == "好" * 350_000


def test_a_stale_quarantine_file_is_removed_when_no_row_is_bad(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": "好", "n": "1"}, {"text": "", "n": "2"}])
    (file,) = predict(home, source, tmp_path / "out.csv")
    assert file.quarantine is not None and file.quarantine.exists()
    write_rows(source, [{"text": "好", "n": "1"}])
    (again,) = predict(home, source, tmp_path / "out.csv")
    assert again.quarantine is None
    assert not file.quarantine.exists()


def test_rows_without_an_id_get_their_row_number(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": "好"}, {"text": "差"}])
    predict(home, source, tmp_path / "out.jsonl", rows_per_shard=1)
    assert [row["row"] for row in read_rows(tmp_path / "out.jsonl")] == [1, 2]
    predict(home, source, tmp_path / "named.jsonl", id_column="text")
    assert "row" not in read_rows(tmp_path / "named.jsonl")[0]


def test_rows_with_the_same_id_are_all_predicted_in_order(tmp_path: Path, home: Home) -> None:
    source = write_rows(
        tmp_path / "in.csv", [{"id": "7", "text": "好"}, {"id": "7", "text": "差"}, {"id": "", "text": "好"}]
    )
    predict(home, source, tmp_path / "out.csv")
    assert [(row["id"], row["label"]) for row in read_rows(tmp_path / "out.csv")] == [
        ("7", "正面"),
        ("7", "负面"),
        ("", "正面"),
    ]


def test_a_gold_label_in_the_input_stays(tmp_path: Path, home: Home) -> None:
    rows = [{"text": "好", "id": 1}] * 2000 + [{"text": "好", "id": 2, "label": "负面"}]
    source = write_rows(tmp_path / "in.jsonl", rows)
    predict(home, source, tmp_path / "out.csv")
    last = read_rows(tmp_path / "out.csv")[-1]
    assert (last["label"], last["predicted_label"]) == ("负面", "正面")


def test_unsure_labels_are_left_out_on_request(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": "好"}, {"text": "也许还算可以吧"}, {"text": "差"}])
    sure = WordClassifier(abstain_below={"0.95": 0.7})
    (file,) = predict(home, source, tmp_path / "out.csv", classifier=sure, min_precision=0.95, probabilities=True)
    rows = read_rows(tmp_path / "out.csv")
    assert [row["label"] for row in rows] == ["正面", "abstain", "负面"]
    assert float(rows[1]["score"]) < 0.7
    assert file.label_counts == {"正面": 1, "负面": 1, "abstain": 1}
    # Without the wish, it is another job with all labels.
    predict(home, source, tmp_path / "out.csv", classifier=sure)
    assert [row["label"] for row in read_rows(tmp_path / "out.csv")] == ["正面", "负面", "负面"]
    with pytest.raises(ConfigError, match=r"no score from which 0\.99 of its labels are right; it has some for: 0\.95"):
        predict(home, source, tmp_path / "out.csv", classifier=sure, min_precision=0.99)


def test_the_same_text_is_computed_once_per_shard(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [{"text": text} for text in ["好", "差", "好", " 好 "] * 5])
    classifier = WordClassifier()
    predict(home, source, tmp_path / "out.csv", classifier=classifier)
    assert classifier.texts == ["好", "差"]
    assert len(read_rows(tmp_path / "out.csv")) == 20


@pytest.mark.parametrize("file_encoding", ["auto", "gb18030"])
def test_gb18030_becomes_utf8_that_excel_recognizes(tmp_path: Path, home: Home, file_encoding: str) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes("编号,评论\n1,房间很好\n2,服务很差\n".encode("gb18030"))
    predict(home, source, tmp_path / "out.csv", text_column="评论", id_column="编号", file_encoding=file_encoding)
    content = (tmp_path / "out.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    assert content.decode("utf-8-sig").splitlines()[1].startswith("1,房间很好,正面,")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_of_the_input_is_kept(tmp_path: Path, home: Home, mark: bytes) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(mark + "text\n好\n".encode())
    predict(home, source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf") == bool(mark)


def test_files_without_a_header_line(tmp_path: Path, home: Home) -> None:
    (tmp_path / "in.tsv").write_text('1\t他说"好\n2\t差\n', encoding="utf-8")
    predict(home, tmp_path / "in.tsv", tmp_path / "out.tsv", column_names=("id", "text"))
    assert [(row["id"], row["label"]) for row in read_rows(tmp_path / "out.tsv")] == [("1", "正面"), ("2", "负面")]


def test_a_header_line_alone_gives_an_output_without_rows(tmp_path: Path, home: Home) -> None:
    (tmp_path / "in.csv").write_text("id,text\n", encoding="utf-8")
    (file,) = predict(home, tmp_path / "in.csv", tmp_path / "out.parquet")
    assert file.rows_read == 0
    assert pq.read_table(tmp_path / "out.parquet").column_names[:4] == ["id", "text", "label", "score"]


def test_missing_columns_are_named_with_those_that_exist(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [{"评论": "好", "店": "甲"}])
    with pytest.raises(DataError, match=r"text_column 'text' and id_column 'nr'; its columns are '评论', '店'"):
        predict(home, source, tmp_path / "out.csv", id_column="nr")
    assert not (tmp_path / "out.csv").exists()


def test_a_damaged_parquet_file_leaves_no_output(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.parquet", reviews(100))
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged or cut short"):
        predict(home, source, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("gone.csv", "out.csv", "does not exist"),
        ("in.csv", "in.csv", "is the same file as the input"),
        ("in.csv", "link.csv", "is the same file as the input"),
        ("in.csv", "out.xlsx", "has the ending '.xlsx'"),
        ("in.doc", "out.csv", r"has the ending '.doc': expected one of .csv, .*\.csv\.zst"),
        ("in.csv", "folder", "is a folder, but input"),
        ("folder", "folder/out", "lies inside it"),
        ("folder", "folder", "is the input folder"),
        ("folder", "out.csv", "is a file, but input"),
        ("in.csv", "in.doc/out.csv", "is a file"),
    ],
)
def test_paths_that_cannot_be_used_are_refused_before_any_work(
    tmp_path: Path, source: str, output: str, message: str
) -> None:
    write_rows(tmp_path / "in.csv", [{"text": "好"}])
    (tmp_path / "in.doc").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.csv").hardlink_to(tmp_path / "in.csv")
    with pytest.raises(ConfigError, match=message):
        list_inputs(PredictConfig(input=tmp_path / source, output=tmp_path / output))


def test_a_folder_gives_a_folder_with_files_of_the_same_names(tmp_path: Path, home: Home) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    for name in ("a.csv", "a.jsonl", "b.TSV", "c.ndjson", "d.parquet"):
        write_rows(folder / name.lower(), reviews(5))
    (folder / "b.tsv").rename(folder / "b.TSV")
    (folder / "a.csv").write_text("text\n\n好\n", encoding="utf-8")
    for ignored in (".hidden.csv", "~$a.csv", "a.csv.quarantine.jsonl", "a.csv.part", "readme.doc"):
        (folder / ignored).write_text("?")
    write_rows(folder / "deeper" / "e.csv", reviews(5))
    files = predict(home, folder, output)
    names = ["a.csv", "a.jsonl", "b.TSV", "c.ndjson", "d.parquet"]
    assert [file.output.name for file in files] == names
    assert sorted(path.name for path in output.iterdir()) == sorted([*names, "a.csv.quarantine.jsonl"])


def test_the_next_run_predicts_only_new_and_changed_files(tmp_path: Path, home: Home) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    write_rows(folder / "monday.csv", [{"text": "好一"}])
    write_rows(folder / "tuesday.csv", [{"text": "好二"}])
    predict(home, folder, output)
    again = predict_files(
        PredictConfig(input=folder, output=output),
        model(),
        not_loaded,
        run_id="run-2",
        folder=home.predictions,
        report=lambda summary: None,
    )
    assert [(file.input.name, file.skipped) for file in again.files] == [("monday.csv", True), ("tuesday.csv", True)]

    write_rows(folder / "tuesday.csv", [{"text": "好三"}])
    write_rows(folder / "wednesday.csv", [{"text": "好四"}])
    classifier = WordClassifier()
    files = predict(home, folder, output, classifier=classifier)
    assert [file.skipped for file in files] == [True, False, False]
    assert classifier.texts == ["好三", "好四"]


def test_an_empty_folder_has_nothing_to_predict(tmp_path: Path, home: Home) -> None:
    (tmp_path / "in").mkdir()
    assert predict(home, tmp_path / "in", tmp_path / "out") == ()


def test_a_file_is_predicted_again_only_if_something_changed(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", [*reviews(5), {"id": "bad", "text": ""}])
    output = tmp_path / "out.csv"

    def computed(**settings: Any) -> bool:
        classifier = WordClassifier()
        (file,) = predict(home, source, output, classifier=classifier, **settings)
        assert file.skipped == (not classifier.texts)
        assert (file.rows_read, file.rows_predicted, file.rows_quarantined) == (6, 5, 1)
        return bool(classifier.texts)

    assert computed()
    assert not computed()
    assert not computed(batch_size=7)
    assert computed(redo=True)
    assert computed(version=4, when_champion_changes="redo")
    assert computed(when_champion_changes="redo"), "the output is version 4's now"
    assert computed(probabilities=True)
    assert computed()
    with output.open("a") as file:
        file.write("more\n")
    assert computed(), "the output was changed by hand"
    output.unlink()
    assert computed()
    (tmp_path / "out.csv.quarantine.jsonl").unlink()
    assert computed()
    source = source.rename(tmp_path / "renamed.csv")
    assert not computed(), "the same content under another name"


def test_a_file_with_a_damaged_record_is_predicted_again(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", reviews(5))
    predict(home, source, tmp_path / "out.csv")
    (record,) = (home.predictions / "done").iterdir()
    record.write_text("{", encoding="utf-8")
    (file,) = predict(home, source, tmp_path / "out.csv")
    assert not file.skipped


def test_two_files_with_the_same_content_are_two_outputs(tmp_path: Path, home: Home) -> None:
    for name in ("a.csv", "b.csv"):
        write_rows(tmp_path / "in" / name, reviews(5))
    assert [file.skipped for file in predict(home, tmp_path / "in", tmp_path / "out")] == [False, False]
    assert [file.skipped for file in predict(home, tmp_path / "in", tmp_path / "out")] == [True, True]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_killed_run_resumes_where_it_stopped(tmp_path: Path, home: Home, ending: str) -> None:
    source = write_rows(tmp_path / f"in.{ending}", [*reviews(450), {"id": "bad", "text": ""}, *reviews(510)[450:]])
    output, log = tmp_path / f"out.{ending}", tmp_path / "log"
    for _ in range(2):
        killed = start(home, source, output, log, kill_at_commit=3)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not output.exists()
        assert not list(tmp_path.glob("*.quarantine.jsonl"))
        log.unlink()
    finished = start(home, source, output, log)
    assert finished.returncode == 0, finished.stderr
    # Each killed run committed two shards.
    assert "4 of the 6 shards" in finished.stdout
    texts = [row["text"] for row in reviews(510)]
    assert log.read_text(encoding="utf-8").splitlines() == texts[400:]
    assert [row["text"] for row in read_rows(output)] == texts
    assert [entry["row"] for entry in read_quarantine(tmp_path / f"out.{ending}.quarantine.jsonl")] == [451]
    assert not [path for path in home.predictions.iterdir() if path.name not in ("done", "locks")]


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.soak)])
def test_a_run_killed_at_any_moment_leaves_a_complete_output_or_none(tmp_path: Path, home: Home, kills: int) -> None:
    rows = reviews(1000 * kills)
    source, output, log = write_rows(tmp_path / "in.csv", rows), tmp_path / "out.csv", tmp_path / "log"
    request = {
        "config": {"input": str(source), "output": str(output), "rows_per_shard": 20},
        "home": str(home.root),
        "log": str(log),
    }
    for kill in range(kills):
        before = log.stat().st_size if log.exists() else 0
        process = subprocess.Popen([sys.executable, SCRIPT, json.dumps(request)], stdout=subprocess.DEVNULL)
        while process.poll() is None and not (log.exists() and log.stat().st_size > before + 7000 * (kill % 5)):
            time.sleep(0.001)
        process.kill()
        process.wait()
        if output.exists():
            break
    predict(home, source, output, rows_per_shard=20)
    assert [row["text"] for row in read_rows(output)] == [row["text"] for row in rows]
    predict(home, source, output, rows_per_shard=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "in.csv", "log", "out.csv"]


def test_a_damaged_shard_is_predicted_again(tmp_path: Path, home: Home) -> None:
    source, output, log = write_rows(tmp_path / "in.csv", reviews(300)), tmp_path / "out.csv", tmp_path / "log"
    start(home, source, output, log, kill_at_commit=3)
    part = next(home.predictions.glob("*/00000/rows"))
    part.write_bytes(part.read_bytes()[:-5])
    classifier = WordClassifier()
    predict(home, source, output, classifier=classifier, rows_per_shard=100)
    texts = [row["text"] for row in reviews(300)]
    assert classifier.texts == texts[:100] + texts[200:]
    assert [row["text"] for row in read_rows(output)] == texts


@pytest.mark.parametrize(
    ("largest_file", "computed_before"),
    [pytest.param(60_000, 500, id="output too large"), pytest.param(9_000, 100, id="shard too large")],
)
def test_a_full_disk_keeps_what_was_predicted(
    tmp_path: Path, home: Home, largest_file: int, computed_before: int
) -> None:
    rows = [*reviews(500)]
    if largest_file < 10_000:
        rows[250:251] = [{"id": "r250", "text": "很差的酒店250", "note": "x"}]
    rows = [{**row, "note": "" if number < 100 else "x" * 50} for number, row in enumerate(rows)]
    source, output, log = write_rows(tmp_path / "in.csv", rows), tmp_path / "out.csv", tmp_path / "log"
    output.write_text("yesterday's", encoding="utf-8")
    failed = start(home, source, output, log, largest_file=largest_file)
    assert failed.returncode == 1
    assert "File too large" in failed.stderr and "MB are free" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert output.read_text(encoding="utf-8") == "yesterday's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "in.csv", "log", "out.csv"]
    classifier = WordClassifier()
    predict(home, source, output, classifier=classifier, rows_per_shard=100)
    assert classifier.texts == [row["text"] for row in rows[computed_before:]]
    assert [row["id"] for row in read_rows(output)] == [row["id"] for row in rows]


def test_two_processes_do_not_predict_the_same_file_twice(tmp_path: Path, home: Home) -> None:
    source, output, log = write_rows(tmp_path / "in.csv", reviews(1000)), tmp_path / "out.csv", tmp_path / "log"
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(start, home, source, output, log) for _ in range(2)]
        said = [process.result().stdout for process in both]
    assert sum("Done before (1)" in text for text in said) == 1
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1000
    assert len(read_rows(output)) == 1000


def test_the_second_process_logs_which_process_it_waits_for(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    source, output = write_rows(tmp_path / "in.csv", reviews(10)), tmp_path / "out.csv"
    entered, go = Event(), Event()

    class Slow(WordClassifier):
        def answer(self, *texts: Any, **settings: Any) -> Any:
            entered.set()
            assert go.wait(60)
            return super().answer(*texts, **settings)

    caplog.set_level(logging.INFO)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(predict, home, source, output, classifier=Slow())
        assert entered.wait(60)
        second = pool.submit(predict, home, source, output, version=4, when_champion_changes="redo")
        while not second.done() and "Waiting" not in caplog.text:
            time.sleep(0.01)
        go.set()
        assert not first.result()[0].skipped
        assert not second.result()[0].skipped
    assert f"is being predicted by process {os.getpid()} on" in caplog.text
    assert {row["model_version"] for row in read_rows(output)} == {"4"}


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, home: Home) -> None:
    source = write_rows(tmp_path / "in.csv", reviews(30))

    class Growing(WordClassifier):
        def answer(self, *texts: Any, **settings: Any) -> Any:
            if not self.texts:
                with source.open("a", encoding="utf-8") as file:
                    file.write("r31,很好\n")
            return super().answer(*texts, **settings)

    with pytest.raises(DataError, match="was changed while it was being read"):
        predict(home, source, tmp_path / "out.csv", classifier=Growing(), rows_per_shard=10)
    assert not (tmp_path / "out.csv").exists()
    assert not list(home.predictions.glob("*/0*"))
    assert predict(home, source, tmp_path / "out.csv")[0].rows_read == 31


def test_nan_probabilities_are_not_written(tmp_path: Path, home: Home) -> None:
    class Broken(WordClassifier):
        def answer(self, *texts: Any, **settings: Any) -> Any:
            answers = super().answer(*texts, **settings)
            return replace(answers, probabilities=answers.probabilities * np.float32("nan"))

    source = write_rows(tmp_path / "in.csv", reviews(3))
    with pytest.raises(ModelError, match="textclf-reviews version 3 cannot be used"):
        predict(home, source, tmp_path / "out.csv", classifier=Broken())
    assert not (tmp_path / "out.csv").exists()


def test_a_home_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    source = write_rows(tmp_path / "in.csv", reviews(3))
    with pytest.raises(StorageError, match="TEXTCLF_HOME"):
        predict(Home(root=tmp_path / "home", tracking_uri=""), source, tmp_path / "out.csv")


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_the_length_of_the_file(tmp_path: Path, home: Home, ending: str) -> None:
    peaks = []
    # With the shorter file, Arrow's memory pools have already reached their full size.
    for count in (24_000, 64_000):
        rows = [{**row, "note": "备注" * 100} for row in reviews(count)]
        source = write_rows(tmp_path / f"in{count}.{ending}", rows)
        settings = {"input": str(source), "output": str(tmp_path / f"out{count}.{ending}"), "rows_per_shard": 2000}
        done = start(home, source, tmp_path, tmp_path / "log", config=settings)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.rsplit(maxsplit=1)[-1]))
    # The additional 40,000 rows would take over 60 MB in memory.
    assert peaks[1] - peaks[0] < 30_000


def test_the_log_summarizes_a_file(tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture) -> None:
    rows = [*[{"text": "好"}] * 3, {"text": "差"}, {"text": None}, {"text": "一\n行"}]
    source = write_rows(tmp_path / "in.jsonl", rows)
    caplog.set_level(logging.INFO)
    predict(home, source, tmp_path / "out.tsv")
    assert "6 rows read, 5 predicted (正面 60.0%, 负面 40.0%)" in caplog.text
    assert "1 rows were quarantined: missing text (1)" in caplog.text
    assert "In 1 rows of" in caplog.text
