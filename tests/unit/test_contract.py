"""What a row must be, and which splits and versions come of it."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from textclf.config import CleaningConfig, DataConfig, Home
from textclf.data.contract import (
    Contract,
    ContractRow,
    check_columns,
    check_local_sources,
    contract_digest,
    parse_day,
)
from textclf.data.prepare import prepare
from textclf.data.splits import fingerprint, normalize, text_digest
from textclf.errors import DataError
from textclf.fetching.local import local_files


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2026-05-01", "2026-05-01"),
        ("2026/5/1 08:30", "2026-05-01"),
        ("2026.05.01", "2026-05-01"),
        ("20260501", "2026-05-01"),
        ("2026年5月1日", "2026-05-01"),
        ("2026-05-01T08:30:00+08:00", "2026-05-01"),
        (datetime.datetime(2026, 5, 1, 8), "2026-05-01"),
        (datetime.date(2026, 5, 1), "2026-05-01"),
        (20260501, "2026-05-01"),
        ("2026-02-30", None),
        ("2026-05-011", None),
        ("05/01/2026", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_days(value: Any, day: str | None) -> None:
    assert parse_day(value) == day


def check(row: dict[str, object], **data: object) -> ContractRow | str:
    return Contract(DataConfig.model_validate(data), CleaningConfig()).check(row)


def test_several_labels_are_a_set() -> None:
    many = {"label_separator": "|", "labels": {"a": "甲", "b": "乙", "c": "丙"}}
    for value in ("b|a", " a | b|", ["b", "a", "a"]):
        row = check({"text": "好", "label": value}, **many)
        assert isinstance(row, ContractRow)
        assert row.label == "a|b"
    assert check({"text": "好", "label": "|"}, **many) == "unlabelled"
    assert check({"text": "好", "label": "a|x"}, **many) == "unknown label: 'x'"


def test_copies_share_a_fingerprint_and_not_the_digest_of_the_original() -> None:
    assert fingerprint("很 好！") == fingerprint("很好!") != fingerprint("很好")
    assert text_digest("很 好！") != text_digest("很好!")
    assert fingerprint("很好", "很差") != fingerprint("很好很差")


@settings(max_examples=500)
@given(text=st.text(st.one_of(st.characters(), st.sampled_from("e\u0301 　\u200bé！!\u00a8好")), max_size=12))
@example(text="e \u0301")
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert not any(character.isspace() for character in once)
    assert fingerprint(text) == fingerprint(once)


@pytest.mark.parametrize(
    ("header", "hints"),
    [
        ("评论,标签", ["Did you mean '评论'? Set data.text_column", "Did you mean '标签'? Set data.label_column"]),
        ("review_text,class", ["'review_text'? Set data.text_column", "'class'? Set data.label_column"]),
        ("Text,Label", ["'Text'? Set data.text_column", "'Label'? Set data.label_column"]),
        ("text,sentiment_score", ["'sentiment_score'? Set data.label_column"]),
    ],
)
def test_an_obvious_column_is_suggested(tmp_path: Path, header: str, hints: list[str]) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n好,1\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        check_columns(local_files([tmp_path / "a.csv"]), DataConfig())
    for hint in hints:
        assert hint in str(caught.value)


def test_the_contract_is_the_rules_and_not_the_way_files_are_read() -> None:
    first = contract_digest(DataConfig(), CleaningConfig())
    assert contract_digest(DataConfig(delimiter=";", file_encoding="gb18030", name="other"), CleaningConfig()) == first
    assert contract_digest(DataConfig(split={"seed": 7}), CleaningConfig()) == first
    tolerant = DataConfig(contract={"max_quarantined_share": 0.5})
    assert contract_digest(tolerant, CleaningConfig()) == first, "it says when a run stops, not what a row is"
    assert contract_digest(DataConfig(contract={"min_characters": 2}), CleaningConfig()) != first
    assert contract_digest(DataConfig(id_column="id"), CleaningConfig()) != first
    assert contract_digest(DataConfig(), CleaningConfig(rule="none")) != first
    forth, back = ({"0": "坏", "1": "好"}, {"1": "好", "0": "坏"})
    assert contract_digest(DataConfig(labels=forth), CleaningConfig()) != contract_digest(
        DataConfig(labels=back), CleaningConfig()
    ), "the order of the labels is that of their ids"


TEXTS = st.text(st.sampled_from("好坏很店书机 !！　a1"), min_size=1, max_size=6).filter(lambda text: text.strip())
ROWS = st.lists(st.tuples(TEXTS, st.sampled_from("01"), st.sampled_from("甲乙丙丁戊己")), min_size=40, max_size=80)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, order=st.randoms(use_true_random=False), seed=st.integers(0, 100))
def test_splits_share_no_text_and_no_group_and_do_not_depend_on_order_or_encoding(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, order: Any, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("raw")
    rows = [*rows, *((f"第{i}号{'好' if i % 2 else '坏'}", str(i % 2), f"组{i}") for i in range(60))]
    home = Home(root=folder / "home", tracking_uri="")
    versions = []
    for number, encoding in enumerate(("utf-8", "gb18030")):
        file = folder / f"{number}.tsv"
        file.write_bytes(("text\tlabel\tgroup\n" + "".join("\t".join(row) + "\n" for row in rows)).encode(encoding))
        data = DataConfig(group_column="group", split={"seed": seed})
        prepared = prepare(local_files([file]), data=data, cleaning=CleaningConfig(), home=home)
        tables = [pq.read_table(prepared.folder / f"{split}.parquet") for split in prepared.rows]
        for column in ("group", "fingerprint", "text"):
            values = [set(table[column].to_pylist()) for table in tables]
            assert sum(map(len, values)) == len(set().union(*values)), column
        versions.append(prepared.version)
        order.shuffle(rows)
    assert versions[0] == versions[1]


class TestLocalSources:
    """Problems with local data are reported before anything starts, from its first bytes."""

    def data(self, *paths: Path, **values: Any) -> DataConfig:
        return DataConfig(sources=[{"provider": "local", "path": path} for path in paths], **values)

    def test_what_is_well(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("text,label\n好,1\n", encoding="utf-8")
        check_local_sources(self.data(tmp_path))
        check_local_sources(self.data(tmp_path / "nowhere.csv", tmp_path / "train.csv"))
        hub = {"provider": "huggingface", "name": "nobody/nothing"}
        check_local_sources(DataConfig(sources=[hub, {"provider": "local", "path": tmp_path / "nowhere.csv"}]))

    @pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
    def test_columns_that_are_missing(self, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "a.csv"
        path.write_text("评论,标签\n" + "房间很大,1\n" * 20_000, encoding=encoding)
        with pytest.raises(DataError) as beforehand:
            check_local_sources(self.data(path))
        with pytest.raises(DataError) as later:
            check_columns(local_files([path]), self.data(path))
        assert str(beforehand.value) == str(later.value)

    def test_only_the_beginning_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv.gz"
        path.write_bytes(gzip.compress(("text,label\n" + "好,1\n" * 500_000).encode(), 1)[:-8])
        check_local_sources(self.data(path))
        with pytest.raises(DataError, match="damaged"):
            check_columns(local_files([path]), self.data(path))

    @pytest.mark.parametrize("content", [b"", b"text,text\n", b"<html></html>\n"])
    def test_what_cannot_be_used_at_all(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.csv"):
            check_local_sources(self.data(tmp_path / "a.csv"))
        with pytest.raises(DataError, match=r"b\.csv does not exist"):
            check_local_sources(self.data(tmp_path / "b.csv"))
