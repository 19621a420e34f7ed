from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textclf.config.sources import SPLITS, Split
from textclf.correction.cross_fitting import deal, tfidf_probabilities
from textclf.correction.suspects import Suspects, find_suspects, judge, row_digest
from textclf.data.splits import fingerprint, text_digest
from textclf.errors import DataError
from textclf.records import PreparedData

LABELS = ("差评", "好评")
THINGS = ("房间", "早餐", "服务", "位置", "前台", "电池", "屏幕", "键盘", "故事", "翻译", "内容", "纸张")
WORDS = (("很差", "失望", "讨厌", "糟糕"), ("很好", "满意", "喜欢", "不错"), ("一般", "普通", "凑合", "平平"))
Row = tuple[str, int]


def reviews(count: int, *, classes: int = 2, seed: int = 0) -> list[Row]:
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        label = number % classes
        parts = [chance.choice(THINGS) + chance.choice(WORDS[label]) for _ in range(3)]
        rows.append((f"{'，'.join(parts)}。第{number}次", label))
    return rows


def prepared_data(folder: Path, splits: dict[Split, list[Row]], labels: tuple[str, ...] = LABELS) -> PreparedData:
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        rows = splits.get(split, [])
        texts = [text for text, _ in rows]
        columns = {
            "row": pa.array(range(1, len(rows) + 1), pa.int64()),
            "source": pa.array([f"{split}.csv"] * len(rows), pa.string()),
            "id": pa.array([f"{split}-{index}" for index in range(len(rows))], pa.string()),
            "text": pa.array(texts, pa.string()),
            "label": pa.array([label for _, label in rows], pa.int64()),
            "original": pa.array([text_digest(text) for text in texts], pa.int64()),
            "fingerprint": pa.array([fingerprint(text) for text in texts], pa.int64()),
        }
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    return PreparedData(
        digest="d",
        folder=folder,
        name="reviews",
        version="0123456789ab",
        labels=labels,
        rows={split: len(splits.get(split, [])) for split in SPLITS},
        label_counts={},
        quarantined={},
        leaked={},
        split_digests={},
        contract="c",
        origin="test",
        cached=False,
    )


def suspects_in(
    folder: Path, splits: dict[Split, list[Row]], *, labels: tuple[str, ...] = LABELS, limit: int = 200, seed: int = 1
) -> Suspects:
    prepared = prepared_data(folder / "data", splits, labels)
    return find_suspects(prepared, estimate=partial(tfidf_probabilities, seed=seed), limit=limit)


def test_planted_errors_of_all_splits_come_first(tmp_path: Path) -> None:
    rows = reviews(240)
    planted = {7, 50, 151, 210, 233}
    wrong = [(text, 1 - label if index in planted else label) for index, (text, label) in enumerate(rows)]
    found = suspects_in(tmp_path, {"train": wrong[:200], "validation": wrong[200:220], "test": wrong[220:]})
    first = found.suspects[: len(planted)]
    assert {suspect.text for suspect in first} == {rows[index][0] for index in planted}
    assert {(suspect.split, suspect.row) for suspect in first} == {
        ("train", 8),
        ("train", 51),
        ("train", 152),
        ("validation", 11),
        ("test", 14),
    }
    for suspect in first:
        assert suspect.issue and not suspect.conflict
        assert {suspect.label, suspect.suggested_label} == set(LABELS)
        assert 0 <= suspect.quality < 0.5 < suspect.suggested_probability <= 1
        assert suspect.source == f"{suspect.split}.csv"
    assert found.issues >= len(planted)
    assert (found.texts, found.conflicts, found.version) == (240, 0, "0123456789ab")


def test_the_list_starts_with_the_worst_and_omits_labels_that_fit_best(tmp_path: Path) -> None:
    rows = [(text, 1 - label if index % 13 == 0 else label) for index, (text, label) in enumerate(reviews(200))]
    found = suspects_in(tmp_path, {"train": rows}).suspects
    qualities = [suspect.quality for suspect in found]
    assert qualities == sorted(qualities)
    assert all(suspect.suggested_label != suspect.label for suspect in found)
    assert 10 <= len(found) < 100
    shorter = suspects_in(tmp_path, {"train": rows}, limit=5).suspects
    assert shorter == found[:5]


def test_the_same_seed_gives_the_same_list(tmp_path: Path) -> None:
    rows = [(text, 1 - label if index % 13 == 0 else label) for index, (text, label) in enumerate(reviews(100))]
    assert suspects_in(tmp_path, {"train": rows}) == suspects_in(tmp_path, {"train": rows})


def test_copies_are_judged_once_and_counted(tmp_path: Path) -> None:
    rows = reviews(100)
    text, label = rows[3]
    wrong = [*rows[:3], (text, 1 - label), *rows[4:]]
    spaced = text.replace("，", " ， ")
    found = suspects_in(tmp_path, {"train": wrong, "test": [(text, 1 - label), (spaced, 1 - label)]})
    (suspect,) = [suspect for suspect in found.suspects if suspect.text in (text, spaced)]
    assert (suspect.split, suspect.row, suspect.copies) == ("train", 4, 2)
    assert found.texts == 100


def test_a_copy_does_not_vouch_for_its_own_wrong_label(tmp_path: Path) -> None:
    rows = reviews(100)
    text, label = rows[3]
    copies = [(text, 1 - label)] * 30
    found = suspects_in(tmp_path, {"train": [*rows[:3], *rows[4:], *copies]})
    assert found.suspects[0].text == text
    assert found.suspects[0].copies == 29


def test_copies_with_different_labels_come_first_and_are_adjacent(tmp_path: Path) -> None:
    rows = reviews(100)
    wrong = [(text, 1 - label if index == 40 else label) for index, (text, label) in enumerate(rows)]
    text, label = rows[8]
    found = suspects_in(tmp_path, {"train": wrong, "test": [(text, 1 - label)]})
    wrong_side, right_side = found.suspects[:2]
    assert (wrong_side.text, wrong_side.split, wrong_side.label) == (text, "test", LABELS[1 - label])
    assert (right_side.text, right_side.split, right_side.label) == (text, "train", LABELS[label])
    assert wrong_side.suggested_label == right_side.suggested_label == LABELS[label]
    assert wrong_side.conflict and right_side.conflict and not found.suspects[2].conflict
    assert found.suspects[2].text == rows[40][0]
    assert found.conflicts == 1


def test_conflicts_leave_half_of_the_list_to_others(tmp_path: Path) -> None:
    rows = reviews(200)
    conflicting = [(text, 1 - label) for text, label in rows[:20]]
    wrong = [(text, 1 - label if index >= 190 else label) for index, (text, label) in enumerate(rows)]
    found = suspects_in(tmp_path, {"train": wrong, "test": conflicting}, limit=11)
    assert [suspect.conflict for suspect in found.suspects] == [True] * 4 + [False] * 7
    assert found.conflicts == 20


def test_several_labels_each_get_the_right_suggestion(tmp_path: Path) -> None:
    rows = reviews(300, classes=3)
    wrong = [(text, (label + 1) % 3 if index in (10, 101, 212) else label) for index, (text, label) in enumerate(rows)]
    found = suspects_in(tmp_path, {"train": wrong}, labels=(*LABELS, "中评"))
    names = (*LABELS, "中评")
    assert {(suspect.text, suspect.suggested_label) for suspect in found.suspects[:3]} == {
        (rows[index][0], names[rows[index][1]]) for index in (10, 101, 212)
    }


def test_labels_with_fewer_rows_than_folds_do_not_stop_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [*reviews(60), ("价格一般，普通", 2), ("服务一般，凑合", 2), ("完全不同的东西", 3)]
    found = suspects_in(tmp_path, {"train": rows}, labels=(*LABELS, "中评", "其他"))
    assert found.texts == 63
    assert "完全不同的东西" not in {suspect.text for suspect in found.suspects}
    assert "'其他'" in caplog.text


def test_pairs_are_judged_together(tmp_path: Path) -> None:
    prepared = prepared_data(tmp_path / "data", {"train": reviews(60)})
    for split in ("train", "validation", "test"):
        path = prepared.folder / f"{split}.parquet"
        table = pq.read_table(path)
        # Only the second texts are informative.
        pairs = pa.array(table["text"].to_pylist(), pa.string())
        same = pa.array(["这句话怎么样"] * table.num_rows, pa.string())
        table = table.set_column(table.schema.get_field_index("text"), "text", same).append_column("text_pair", pairs)
        labels = [1 - label if index == 5 else label for index, label in enumerate(table["label"].to_pylist())]
        table = table.set_column(table.schema.get_field_index("label"), "label", pa.array(labels, pa.int64()))
        pq.write_table(table, path)
    found = find_suspects(prepared, estimate=partial(tfidf_probabilities, seed=1))
    assert found.suspects[0].row == 6
    assert found.suspects[0].text_pair == reviews(60)[5][0]


def test_too_few_rows_are_refused_with_the_number_that_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"4 distinct texts.*at least 10"):
        suspects_in(tmp_path, {"train": reviews(4)})


def test_folds_have_equal_shares_of_each_label() -> None:
    labels = np.repeat([0, 1, 2], [50, 25, 3])
    fold = deal(labels, 5, 0)
    assert np.bincount(fold[labels == 0]).tolist() == [10] * 5
    assert np.bincount(fold[labels == 1]).tolist() == [5] * 5
    assert np.bincount(fold[labels == 2], minlength=5).max() == 1
    assert fold.tolist() == deal(labels, 5, 0).tolist() != deal(labels, 5, 1).tolist()


def test_rows_that_are_not_judged_are_never_issues() -> None:
    labels = np.array([0, 1] * 10 + [-1])
    probabilities = np.where(labels[:, None] == [[0, 1]], 0.9, 0.1)
    labels[0] = 1
    quality, issues = judge(labels, probabilities)
    assert issues.nonzero()[0].tolist() == [0]
    assert quality[0] == pytest.approx(0.1)
    assert quality[-1] == 1


def test_a_row_digest_is_nothing_that_a_spreadsheet_takes_for_a_number() -> None:
    digests = {row_digest(number, label) for number in range(-50, 50) for label in LABELS}
    assert len(digests) == 200
    assert all(digest[0] == "r" and len(digest) == 17 for digest in digests)
