from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audit_support import audit_folder, reviews, write_split

from textclf.data.prepared import read_split, read_splits
from textclf.errors import StorageError
from textclf.records import PreparedData


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("prepared")
    rows = reviews(40, seed=1)
    for split, chosen in {
        "train": [*rows[:30], rows[0]],
        "validation": rows[30:35],
        "test": [*rows[35:], rows[0]],
    }.items():
        write_split(folder / "raw", split, chosen)
    audited, _ = audit_folder(
        folder / "raw", folder / "home", audit={"duplicates": "weight", "leaks": "keep"}, cleaning={"rule": "none"}
    )
    return audited


def test_columns_have_the_documented_types(audited: PreparedData) -> None:
    splits = read_splits(audited)
    assert list(splits) == ["train", "validation", "test"]
    train, test = splits["train"], splits["test"]
    assert len(train) == 30
    assert len(train.texts) == 30
    assert train.pairs is None
    assert {str(column.dtype) for column in (train.labels, train.numbers, train.originals, train.fingerprints)} == {
        "int64"
    }
    assert train.sources == ["train.tsv"] * 30
    assert train.leakfree is None
    assert train.weights is not None
    assert train.weights.dtype == np.float32
    assert train.weights.tolist() == [2, *[1] * 29]
    assert test.weights is None
    assert test.leakfree is not None
    assert test.leakfree.tolist() == [True] * 5 + [False]


def test_rows_are_chosen_by_position_and_by_mask(audited: PreparedData) -> None:
    test = read_split(audited, "test")
    assert test.take(np.array([2, 0])).texts == [test.texts[2], test.texts[0]]
    assert test.leakfree is not None
    assert test.where(test.leakfree).numbers.tolist() == [1, 2, 3, 4, 5]
    assert test.where(test.leakfree).label_names == audited.labels


@pytest.mark.parametrize("content", [b"PAR1 damaged", None], ids=["damaged", "missing"])
def test_a_file_that_cannot_be_read_is_an_error_that_says_what_to_remove(
    audited: PreparedData, tmp_path: Path, content: bytes | None
) -> None:
    if content:
        (tmp_path / "train.parquet").write_bytes(content)
    with pytest.raises(StorageError, match=f"{tmp_path}/train.parquet cannot be read.*\nRemove {tmp_path} to"):
        read_split(audited.model_copy(update={"folder": tmp_path}), "train")
