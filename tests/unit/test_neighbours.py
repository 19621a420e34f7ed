"""The training rows most like a text."""

from __future__ import annotations

import pyarrow as pa
import pytest

from textclf.data.prepared import SplitRows
from textclf.evaluation import neighbours
from textclf.evaluation.neighbours import nearest

TRAIN = ["酒店房间很干净", "酒店房间很脏", "手机电池不耐用", "xyz"]


def rows(texts: list[str]) -> SplitRows:
    table = pa.table({"text": texts, "label": [number % 2 for number in range(len(texts))]})
    return SplitRows("train", ("正面", "负面"), table)


def test_the_most_similar_come_first_with_their_labels() -> None:
    (found,) = nearest(["房间很干净"], rows(TRAIN), count=2)
    assert [(each.text, each.label) for each in found] == [("酒店房间很干净", "正面"), ("酒店房间很脏", "负面")]
    assert 1 > found[0].similarity > found[1].similarity > 0
    ((same,),) = nearest(["酒店房间很脏"], rows(TRAIN), count=1)
    assert same.similarity == pytest.approx(1)


def test_rows_without_anything_in_common_are_no_neighbours() -> None:
    assert nearest(["完全无关"], rows(["酒店"]), count=3) == [[]]


def test_of_many_rows_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_TRAINING_ROWS", 10)
    texts = [f"第{number}家酒店" for number in range(100)]
    (found,) = nearest(["酒店"], rows(texts), count=50)
    assert len(found) == 10
    assert found == nearest(["酒店"], rows(texts), count=50)[0]
