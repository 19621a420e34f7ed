"""Slices of the test rows, and which of them are worse than the rest by more than chance."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from textclf.data.prepared import SplitRows
from textclf.evaluation.slices import chinese_share, measure_slices, slice_masks, slice_metrics

TEXTS = ["很好", "x" * 20, "好" * 100, "长" * 400, "good 很好的酒店", "ok"]


def split(
    texts: list[str],
    *,
    sources: list[str] | None = None,
    leakfree: list[bool] | None = None,
    groups: list[str] | None = None,
) -> SplitRows:
    columns = {
        "text": texts,
        "label": [0] * len(texts),
        "source": sources or ["a.csv"] * len(texts),
        "leakfree": leakfree or [True] * len(texts),
        **({"group": groups} if groups else {}),
    }
    return SplitRows("test", ("负面", "正面"), pa.table(columns))


def test_rows_are_cut_by_length_language_file_leaks_and_by_the_user() -> None:
    rows = split(TEXTS, sources=["a.csv"] * 3 + ["b.csv"] * 3, leakfree=[False, *[True] * 5])
    found = slice_masks(rows, {"hotels": '"酒店" in text', "none": "length > 9999", "all": "True"})
    assert {name: np.flatnonzero(mask).tolist() for name, mask in found.items()} == {
        "length under 20": [0, 4, 5],
        "length 20 to 99": [1],
        "length 100 to 299": [2],
        "length from 300": [3],
        "Chinese": [0, 2, 3],
        "mixed languages": [4],
        "not Chinese": [1, 5],
        "file a.csv": [0, 1, 2],
        "file b.csv": [3, 4, 5],
        "leaked": [0],
        "leak-free": [1, 2, 3, 4, 5],
        "hotels": [4],
        "none": [],
        "all": [0, 1, 2, 3, 4, 5],
    }


def test_rows_are_cut_by_group_unless_there_are_too_many() -> None:
    rows = split(["很好"] * 30, groups=["北京", "上海", ""] * 10)
    found = slice_masks(rows, {"北京 or none": 'group == "北京" or group == ""'})
    counts = {name: int(mask.sum()) for name, mask in found.items()}
    assert counts == {"group 上海": 10, "group 北京": 10, "北京 or none": 20}
    assert slice_masks(split(["很好"] * 30, groups=[f"author {number}" for number in range(30)]), {}) == {}


def test_slices_that_tell_nothing_are_left_out() -> None:
    assert slice_masks(split(["很好", "很差"]), {}) == {}


@pytest.mark.parametrize(("text", "share"), [("很好！123", 1.0), ("ok好", 1 / 3), ("", 0.0), ("123", 0.0), ("𠮷", 1.0)])
def test_the_share_of_chinese(text: str, share: float) -> None:
    assert chinese_share(text) == pytest.approx(share)


def test_a_slice_is_worse_only_by_more_than_chance() -> None:
    right = np.full(1000, True)
    right[:60] = False
    weak = np.zeros(1000, dtype=bool)
    weak[:100] = True
    few = np.zeros(1000, dtype=bool)
    few[[0, 999]] = True
    found = measure_slices(right, {"few": few, "weak": weak, "rest": ~weak, "none": np.zeros(1000, dtype=bool)})
    assert [(each.name, each.rows, each.worse) for each in found] == [
        ("weak", 100, True),
        ("few", 2, False),
        ("rest", 900, False),
        ("none", 0, False),
    ]
    assert (found[0].accuracy, found[3].accuracy) == (0.4, None)
    metrics = slice_metrics(found)
    assert (metrics["slice/weak/accuracy"], metrics["slice/weak/rows"]) == (0.4, 100)
    assert metrics["slice/weak/accuracy/low"] < 0.4 < metrics["slice/weak/accuracy/high"]
    assert "slice/none/accuracy" not in metrics


def test_names_of_files_become_names_that_mlflow_accepts() -> None:
    rows = split(["很好", "很差"], sources=["五月/评论（1）.csv", "june(2).csv"])
    metrics = slice_metrics(measure_slices(np.array([True, False]), slice_masks(rows, {})))
    assert {name for name in metrics if name.endswith("/accuracy")} == {
        "slice/file 五月_评论_1_.csv/accuracy",
        "slice/file june_2_.csv/accuracy",
    }


def test_slices_drawn_by_chance_are_hardly_ever_called_worse() -> None:
    generator = np.random.default_rng(5)
    named = 0
    for _ in range(100):
        right = generator.random(500) < 0.9
        masks = {str(number): generator.random(500) < 0.2 for number in range(20)}
        named += any(each.worse for each in measure_slices(right, masks))
    assert named <= 10
