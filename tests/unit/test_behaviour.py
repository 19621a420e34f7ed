"""Checks of behaviour, with classifiers whose answers are known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from textclf.config.evaluation import EvaluationConfig
from textclf.data.prepared import SplitRows
from textclf.errors import DataError, StorageError
from textclf.evaluation.behaviour import (
    CHANGES,
    MOST_TEXTS,
    Case,
    behaviour_cases,
    behaviour_metrics,
    check_behaviour,
    own_cases,
    read_cases,
)
from textclf.evaluation.findings import failures_table
from textclf.heads.single_label import SingleLabel
from textclf.records import Interval

LABELS = ("负面", "正面")


class Words:
    """Says 正面 of texts with 好, as it is written there, and 负面 of others."""

    labels, pairs = LABELS, False
    head = SingleLabel(LABELS)

    def __init__(self) -> None:
        self.asked: list[str] = []

    def predict(self, texts: list[str], **_: Any) -> Any:
        self.asked += texts
        positive = np.array(["好" in text and "Ｘ" not in text for text in texts])
        return np.where(positive[:, None], [[0.1, 0.9]], [[0.8, 0.2]]).astype(np.float32)


def rows(texts: list[str]) -> SplitRows:
    return SplitRows("test", LABELS, pa.table({"text": texts, "label": [0] * len(texts)}))


def check(texts: list[str], cases: list[Case] | None = None) -> dict[str, Any]:
    model: Any = Words()
    return {each.name: each for each in check_behaviour(model, rows(texts), cases or [], seed=1, batch_size=8)}


@pytest.mark.parametrize(
    ("change", "text", "changed"),
    [
        ("final punctuation", "很好", "很好。"),
        ("final punctuation", "很好！！", "很好"),
        ("character width", "iPhone 15!", "ｉＰｈｏｎｅ １５！"),
        ("character width", "太好了！", "太好了!"),
        ("traditional or simplified", "酒店离车站很远", "酒店離車站很遠"),
        ("traditional or simplified", "飯店離車站很遠", "饭店离车站很远"),
        ("polite phrase", "很好。", "很好，谢谢。"),
        ("spaces", "好，很好", " 好， 很好 "),
    ],
)
def test_the_changes(change: str, text: str, changed: str) -> None:
    assert CHANGES[change](text) == changed


def test_a_change_that_turns_the_label_fails() -> None:
    found = check(["X很好", "房间很好", "差"])
    width = found["character width"]
    # Nothing in the other texts has another width.
    assert (width.kind, width.count, width.passed) == ("invariance", 1, 0)
    (failure,) = width.failures
    assert (failure.text, failure.variant, failure.expected, failure.found) == ("X很好", "Ｘ很好", "正面", "负面")
    assert failure.score == pytest.approx(0.8)
    assert (found["spaces"].count, found["spaces"].passed) == (3, 3)
    metrics = behaviour_metrics(list(found.values()))
    assert (metrics["behaviour/character width"], metrics["behaviour/spaces"]) == (0, 1)
    assert metrics["behaviour/spaces/low"] < 0.5
    table = failures_table(list(found.values()))
    assert table is not None and "X很好,Ｘ很好,正面,负面,0.8000" in table.decode("utf-8-sig")


def test_cases_must_get_their_label() -> None:
    cases = [Case("negation", "不好", "负面"), Case("negation", "不差，好", "正面"), Case("basics", "好", "正面")]
    found = check(["好"], cases)
    assert {name: (found[name].count, found[name].passed) for name in ("negation", "basics")} == {
        "negation": (2, 1),
        "basics": (1, 1),
    }
    assert found["negation"].failures[0].variant is None
    assert isinstance(found["basics"].interval, Interval)
    with pytest.raises(DataError, match=r"labels that the model does not have: 中评\. Its labels: 负面, 正面"):
        check(["好"], [Case("mine", "好", "中评")])


def test_a_large_test_set_costs_no_more() -> None:
    model: Any = Words()
    check_behaviour(model, rows([f"第{number}家很好" for number in range(5000)]), [], seed=1, batch_size=8)
    assert len(model.asked) <= MOST_TEXTS * (1 + len(CHANGES))


@pytest.mark.parametrize(
    ("labels", "positive"),
    [(("负面", "正面"), "正面"), (("Positive", "negative"), "Positive"), (("差评", "好评"), "好评")],
)
def test_cases_for_sentiment_come_with_textclf(labels: tuple[str, ...], positive: str) -> None:
    cases = own_cases(labels)
    assert {case.label for case in cases} == set(labels)
    per_label = [sum(case.check == "basics" and case.label == label for case in cases) for label in labels]
    assert per_label == [10, 10]
    assert Case("basics", "味道好极了", positive) in cases
    assert {case.check for case in cases} == {"basics", "negation", "turn"}
    assert own_cases(("体育", "财经")) == own_cases(("负面", "正面", "中性")) == []


def test_a_user_adds_cases(tmp_path: Path) -> None:
    file = tmp_path / "cases.tsv"
    file.write_text("check\ttext\tlabel\n反话\t可真“好”啊，三天才送到\t负面\n", encoding="utf-8")
    assert read_cases(file) == [Case("反话", "可真“好”啊，三天才送到", "负面")]
    config = EvaluationConfig(behaviour_cases=file)
    assert len(behaviour_cases(config, LABELS)) == len(own_cases(LABELS)) + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n好,正面\n", "need the columns check, text and label; missing: check"),
        (
            "check,text,label\na,,正面\na/b,好,正面\n",
            r"line 2: check, text and label must not(.|\n)*line 3: 'a/b' cannot",
        ),
        ("", "missing: check, text, label"),
    ],
)
def test_cases_that_cannot_be_used_are_reported(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "cases.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_cases(file)
    file.write_bytes("check,text,label\n一,好,正面\n".encode("gbk"))
    with pytest.raises(DataError, match="are not UTF-8"):
        read_cases(file)
    with pytest.raises(StorageError, match="cannot be read"):
        read_cases(tmp_path / "missing.csv")
