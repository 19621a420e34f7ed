"""Preparing a data set: what is kept, what is quarantined, what is refused."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textclf.config.data import CleaningConfig, ContractConfig, DataConfig
from textclf.config.home import Home
from textclf.data.prepare import prepare
from textclf.errors import ConfigError, DataError
from textclf.fetching.local import local_files
from textclf.records import FetchedData, PreparedData

REAL_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_real_data = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="the real data sets are not next to the repository (../shared/data)"
)
PLENTY = "".join(f"评论第{i}号，内容{'很好' if i % 2 else '很差'}。\t{i % 2}\n" for i in range(40))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", tracking_uri="")


def fetched(folder: Path, digest: str = "0" * 64, **splits: str | tuple[str, ...]) -> FetchedData:
    names = {split: (paths,) if isinstance(paths, str) else paths for split, paths in splits.items()}
    return FetchedData(digest=digest, folder=folder, files=(), splits=names, origin="a test", cached=False, attempts=())


def run(
    raw: FetchedData, home: Home, *, rule: str = "standard", seed: int = 7, most_broken: float = 1, **data: object
) -> PreparedData:
    contract = ContractConfig(max_quarantined_share=most_broken, **data.pop("contract", {}))
    data["split"] = {"seed": seed, **data.get("split", {})}
    return prepare(raw, data=DataConfig(contract=contract, **data), cleaning=CleaningConfig(rule=rule), home=home)


def tables(prepared: PreparedData) -> dict[str, list[dict[str, object]]]:
    return {split: pq.read_table(prepared.folder / f"{split}.parquet").to_pylist() for split in prepared.rows}


def quarantine(prepared: PreparedData) -> list[dict[str, object]]:
    return [json.loads(line) for line in (prepared.folder / "quarantine.jsonl").read_text("utf-8").splitlines()]


def splits_of(folder: Path, header: str, train: str, rest: str = "好\t1\n坏\t0\n") -> FetchedData:
    for split, body in {"train": train, "validation": rest, "test": rest}.items():
        (folder / f"{split}.tsv").write_text(f"{header}\n{body}", encoding="utf-8", newline="")
    digest = hashlib.sha256(f"{header}\n{train}\n{rest}".encode()).hexdigest()
    return fetched(folder, digest, train="train.tsv", validation="validation.tsv", test="test.tsv")


class TestRows:
    def test_what_is_kept_and_what_is_quarantined(self, folder: Path, home: Home) -> None:
        body = "房间很大！\t1\n\t1\n没有标签\t \n<br>\t0\n只有一列\n太差了\t0\n带NUL\0\t0\n"
        prepared = run(splits_of(folder, "text\tlabel", body), home)
        assert [(row["row"], row["id"], row["text"], row["label"]) for row in tables(prepared)["train"]] == [
            (1, "train.tsv:1", "房间很大!", 1),
            (6, "train.tsv:6", "太差了", 0),
        ]
        assert prepared.quarantined == {
            "empty text": 1,
            "unlabelled": 1,
            "empty after cleaning": 1,
            "wrong number of fields": 1,
            "NUL byte": 1,
        }
        assert [(row["split"], row["source"], row["row"], row["reason"]) for row in quarantine(prepared)] == [
            ("train", "train.tsv", 2, "empty text"),
            ("train", "train.tsv", 3, "unlabelled"),
            ("train", "train.tsv", 4, "empty after cleaning"),
            ("train", "train.tsv", 5, "wrong number of fields: expected 2, found 1"),
            ("train", "train.tsv", 7, "NUL byte: at column 5"),
        ]
        assert {"text": "没有标签", "label": " "} in [row["content"] for row in quarantine(prepared)]
        assert prepared.labels == ("0", "1")
        assert prepared.rows == {"train": 2, "validation": 2, "test": 2}
        assert prepared.label_counts["train"] == {"0": 1, "1": 1}
        assert prepared.leaked == {"validation": 0, "test": 2}

    def test_types_of_the_written_columns(self, folder: Path, home: Home) -> None:
        prepared = run(splits_of(folder, "text\tlabel", "甲\t1\n乙\t0\n"), home)
        train, test = (pq.read_schema(prepared.folder / f"{split}.parquet") for split in ("train", "test"))
        expected = {"row": "int64", "source": "string", "id": "string", "text": "string", "label": "int64"}
        expected |= {"original": "int64", "fingerprint": "int64"}
        assert {field.name: str(field.type) for field in train} == expected
        assert {field.name: str(field.type) for field in test} == {**expected, "leakfree": "bool"}

    def test_several_files_and_formats_make_one_split(self, folder: Path, home: Home) -> None:
        (folder / "a.csv").write_text("text,label\n甲,1\n乙,0\n", encoding="gb18030")
        (folder / "b.jsonl").write_text('{"label": 1.0, "text": "丙"}\n{"label": true, "text": 5}\n', encoding="utf-8")
        pq.write_table(pa.table({"text": ["丁", None, "戊"], "label": [0.0, 1.0, None]}), folder / "c.parquet")
        raw = fetched(folder, train=("a.csv", "b.jsonl", "c.parquet"), validation="a.csv", test="a.csv")
        prepared = run(raw, home)
        rows = tables(prepared)["train"]
        assert [(row["source"], row["row"], row["text"], row["label"]) for row in rows] == [
            ("a.csv", 1, "甲", 1),
            ("a.csv", 2, "乙", 0),
            ("b.jsonl", 1, "丙", 1),
            ("c.parquet", 1, "丁", 0),
        ]
        assert prepared.quarantined == {"text is not a string (found int)": 1, "missing text": 1, "unlabelled": 1}

    def test_one_row_of_one_megabyte(self, folder: Path, home: Home) -> None:
        prepared = run(splits_of(folder, "text\tlabel", "字" * 350_000 + "\t1\n甲\t1\n乙\t0\n"), home)
        assert prepared.quarantined == {"longer than cleaning.max_characters (100,000)": 1}
        assert len(quarantine(prepared)[0]["content"]["text"]) == 350_000

    def test_ids_come_from_their_column(self, folder: Path, home: Home) -> None:
        raw = splits_of(folder, "id\ttext\tlabel", "a1\t甲\t1\na2\t乙\t0\n", rest="")
        (folder / "validation.tsv").write_text("id\ttext\tlabel\nb1\t丙\t1\n", encoding="utf-8")
        (folder / "test.tsv").write_text("id\ttext\tlabel\nc1\t丁\t1\n", encoding="utf-8")
        assert [row["id"] for row in tables(run(raw, home, id_column="id"))["train"]] == ["a1", "a2"]

    def test_a_headerless_file(self, folder: Path, home: Home) -> None:
        (folder / "a.tsv").write_text(PLENTY, encoding="utf-8")
        prepared = run(fetched(folder, train="a.tsv"), home, column_names=("text", "label"))
        assert sum(prepared.rows.values()) == 40

    def test_texts_that_the_model_sees_as_one_are_copies(self, folder: Path, home: Home) -> None:
        raw = splits_of(
            folder, "text\tlabel", "房间很干净\u200b，服务好<br/>\t1\n很差\t0\n", rest="房间很干净，服务好\t1\n"
        )
        prepared = run(raw, home)
        assert prepared.leaked == {"validation": 1, "test": 1}
        train, test = (tables(prepared)[split][0] for split in ("train", "test"))
        assert train["fingerprint"] == test["fingerprint"]
        assert train["original"] != test["original"]

    def test_values_with_the_same_name_become_one_label(self, folder: Path, home: Home) -> None:
        stars = {"1": "负面", "2": "负面", "4": "正面", "5": "正面"}
        raw = splits_of(folder, "text\tlabel", "甲\t5\n乙\t1\n丙\t4\n丁\t2\n", rest="戊\t4\n己\t1\n")
        prepared = run(raw, home, labels=stars)
        assert prepared.labels == ("负面", "正面")
        assert [row["label"] for row in tables(prepared)["train"]] == [1, 0, 1, 0]
        assert prepared.label_counts["train"] == {"负面": 2, "正面": 2}

    def test_rows_of_a_refused_data_set_are_kept_to_look_at(self, folder: Path, home: Home) -> None:
        raw = splits_of(folder, "text\tlabel", "甲\t1\n乙\t0\n丙\t\n")
        with pytest.raises(DataError, match="The broken rows read so far are in") as caught:
            run(raw, home, most_broken=0.1)
        path = Path(str(caught.value).rpartition(" are in ")[2].rstrip("."))
        assert [json.loads(line)["row"] for line in path.read_text("utf-8").splitlines()] == [3]

    def test_a_file_that_changed_after_it_was_fetched_is_refused(self, folder: Path, home: Home) -> None:
        splits_of(folder, "text\tlabel", "甲\t1\n乙\t0\n")
        raw = local_files([folder])
        (folder / "train.tsv").write_text("text\tlabel\n甲\t0\n乙\t1\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"train\.tsv was changed after it was fetched"):
            run(raw, home)
        assert not home.prepared.exists()

    def test_the_order_of_pairs_does_not_matter(self, folder: Path, home: Home) -> None:
        lines = [f"同一个问题\t回答第{i}号\t{i % 2}" for i in range(200)]
        versions = []
        for order in (1, -1):
            (folder / "a.tsv").write_text("text\tsecond\tlabel\n" + "\n".join(lines[::order]) + "\n", encoding="utf-8")
            raw = fetched(folder, digest=f"{order + 1:064}", train="a.tsv")
            versions.append(run(raw, home, text_pair_column="second").version)
        assert versions[0] == versions[1]


class TestMoreColumns:
    HEADER = "text\tsecond\tlabel\tday\tauthor"

    def run(self, folder: Path, home: Home, body: str, rest: str = "新\t的\t1\t2026-01-05\tz\n", **data: object) -> Any:
        columns = {"text_pair_column": "second", "date_column": "day", "group_column": "author"}
        return run(splits_of(folder, self.HEADER, body, rest), home, **columns, **data)

    def test_second_text_day_and_group_are_kept(self, folder: Path, home: Home) -> None:
        prepared = self.run(folder, home, "问\t答！\t1\t2026年3月1日\ta\n问\t错\t0\t20260302\t\n")
        rows = tables(prepared)["train"]
        assert [(row["text"], row["text_pair"], row["date"], row["group"]) for row in rows] == [
            ("问", "答!", "2026-03-01", "a"),
            ("问", "错", "2026-03-02", ""),
        ]
        assert rows[0]["fingerprint"] != rows[1]["fingerprint"], "the pair is the text, not its first half"

    def test_what_breaks_the_contract(self, folder: Path, home: Home) -> None:
        body = (
            "问\t答\t1\t2026-02-30\ta\n问\t<br>\t0\t2026-02-01\ta\n很长的\t答\t0\t2026/2/1\ta\n"
            "短\t答\t1\t2026.2.1\ta\n甲乙\t丙\t1\t2026.2.1\ta\n"
        )
        prepared = self.run(folder, home, body, rest="新的\t的\t1\t2026-01-05\tz\n", contract={"min_characters": 2})
        assert [row["reason"] for row in quarantine(prepared)] == [
            "shorter than data.contract.min_characters (2)",
            "shorter than data.contract.min_characters (2)",
            "shorter than data.contract.min_characters (2)",
        ]
        prepared = self.run(folder, home, body)
        assert [row["reason"] for row in quarantine(prepared)] == [
            "not a date: '2026-02-30'",
            "empty after cleaning (second text)",
        ]

    def test_rows_of_one_group_never_part(self, folder: Path, home: Home) -> None:
        lines = [f"评论第{i}号\t{i % 2}\t作者{i % 40}" for i in range(400)]
        (folder / "a.tsv").write_text("text\tlabel\tauthor\n" + "\n".join(lines) + "\n", encoding="utf-8")
        prepared = run(fetched(folder, train="a.tsv"), home, group_column="author")
        groups = {split: {row["group"] for row in rows} for split, rows in tables(prepared).items()}
        assert prepared.rows == {"train": 320, "validation": 40, "test": 40}
        assert not groups["train"] & groups["validation"]
        assert not groups["train"] & groups["test"]
        assert not groups["validation"] & groups["test"]


class TestLabels:
    def test_names_from_the_configuration_keep_their_order(self, folder: Path, home: Home) -> None:
        raw = splits_of(folder, "text\tlabel", "甲\t1\n乙\t0\n")
        prepared = run(raw, home, labels={1: "正面", 0: "负面"})
        assert prepared.labels == ("正面", "负面")
        assert [row["label"] for row in tables(prepared)["train"]] == [0, 1]
        assert prepared.label_counts["test"] == {"正面": 1, "负面": 1}

    def test_numbers_are_sorted_by_size_and_words_by_letter(self, folder: Path, home: Home) -> None:
        body = "甲\t10\n乙\t9\n丙\t1.0\n"
        assert run(splits_of(folder, "text\tlabel", body, "丁\t9\n"), home).labels == ("1", "9", "10")
        body = "甲\tsport\n乙\tart\n"
        assert run(splits_of(folder, "text\tlabel", body, "丁\tart\n"), home).labels == ("art", "sport")

    @pytest.mark.parametrize("labels", [None, {0: "负面", 1: "正面"}])
    def test_unknown_labels_are_quarantined_and_too_many_of_them_are_refused(
        self, folder: Path, home: Home, labels: dict[int, str] | None
    ) -> None:
        raw = splits_of(folder, "text\tlabel", "甲\t1\n乙\t0\n", rest="丙\t1\n" + "丁\t2\n" * 12)
        prepared = run(raw, home, labels=labels)
        assert prepared.quarantined == {"unknown label": 24}
        assert prepared.rows == {"train": 2, "validation": 1, "test": 1}
        with pytest.raises(DataError) as caught:
            run(raw, home, labels=labels, most_broken=0.5)
        message = str(caught.value)
        assert "The split validation breaks the contract of the data: 12 of 13 rows (92.3%) cannot be used" in message
        assert "at most 50.0% are allowed (data.contract.max_quarantined_share)" in message
        assert ("data.labels has 0 (负面), 1 (正面)" if labels else "the training rows have 0, 1") in message
        assert "validation.tsv, row 2: '2'" in message
        assert "and 2 more" in message

    def test_a_column_of_scores(self, folder: Path, home: Home) -> None:
        for values in ("0.73 0.21 1.0", "nan 0.5 0.25"):
            body = "".join(f"文{i}\t{value}\n" for i, value in enumerate(values.split()))
            with pytest.raises(DataError, match=r"train\.tsv, row 2: 0\.\d+ is a number(?s:.*)looks like scores"):
                run(splits_of(folder, "text\tlabel", body), home, most_broken=0.1)
        pq.write_table(pa.table({"text": ["甲", "乙"], "label": [0.5, 0.25]}), folder / "a.parquet")
        with pytest.raises(DataError, match="looks like scores"):
            run(fetched(folder, train="a.parquet"), home)

    def test_numbers_with_a_fraction_may_be_labels_if_they_are_named(self, folder: Path, home: Home) -> None:
        raw = splits_of(folder, "text\tlabel", "甲\t3.5\n乙\t4.0\n", rest="丙\t3.5\n")
        assert run(raw, home, labels={3.5: "三星半", "4": "四星"}).labels == ("三星半", "四星")

    def test_values_that_are_neither_text_nor_number(self, folder: Path, home: Home) -> None:
        (folder / "a.jsonl").write_text('{"text": "甲", "label": ["x"]}\n', encoding="utf-8")
        with pytest.raises(DataError, match=r"1 not a label:\n.*a\.jsonl, row 1: \['x'\] is a list"):
            run(fetched(folder, train="a.jsonl"), home)

    def test_one_class_only(self, folder: Path, home: Home) -> None:
        with pytest.raises(DataError, match="All 2 training rows have the label '1'"):
            run(splits_of(folder, "text\tlabel", "甲\t1\n乙\t1\n", rest="丙\t1\n"), home)

    def test_a_label_without_training_rows(self, folder: Path, home: Home) -> None:
        raw = splits_of(folder, "text\tlabel", "甲\t1\n乙\t0\n")
        with pytest.raises(DataError, match="1 labels have no training row:\n  - '中性'"):
            run(raw, home, labels={0: "负面", 1: "正面", 2: "中性"})

    def test_a_label_with_few_training_rows(self, folder: Path, home: Home, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            run(splits_of(folder, "text\tlabel", "甲\t1\n" * 5 + "乙\t0\n"), home)
        assert caplog.messages == ["The label '0' has only 1 training row, too few to learn it well."]

    def test_a_column_with_too_many_values(self, folder: Path, home: Home) -> None:
        body = "".join(f"文{i}\t标签{i}\n" for i in range(30))
        with pytest.raises(DataError, match="does not look like labels: 30 different values in 30 rows"):
            run(splits_of(folder, "text\tlabel", body), home)


class TestRefused:
    def test_missing_columns_are_reported_for_all_files_together(self, folder: Path, home: Home) -> None:
        raw = splits_of(folder, "label\ttext_a", "1\t甲\n0\t乙\n")
        with pytest.raises(DataError) as caught:
            run(raw, home)
        message = str(caught.value)
        assert "Expected: 'text' (data.text_column), 'label' (data.label_column)" in message
        for split in ("train", "validation", "test"):
            assert f"{split}.tsv lacks 'text'; it has the columns ['label', 'text_a']" in message
        assert "Did you mean 'text_a'? Set data.text_column to it: --data.text_column text_a" in message
        assert "data.column_names" in message

    def test_repeated_and_missing_ids_are_quarantined(self, folder: Path, home: Home) -> None:
        raw = splits_of(folder, "id\ttext\tlabel", "a\t甲\t1\nb\t乙\t0\n\t己\t0\na\t丙\t0\n", rest="c\t丁\t1\n")
        (folder / "test.tsv").write_text("id\ttext\tlabel\nb\t丁\t1\nd\t戊\t1\n", encoding="utf-8")
        prepared = run(raw, home, id_column="id")
        assert prepared.quarantined == {"repeated id": 2, "no id": 1}
        assert [(row["source"], row["row"], row["reason"]) for row in quarantine(prepared)] == [
            ("train.tsv", 3, "no id"),
            ("train.tsv", 4, "repeated id: 'a', as in train.tsv, row 1"),
            ("test.tsv", 1, "repeated id: 'b', as in train.tsv, row 2"),
        ]
        with pytest.raises(DataError, match=r"make the ids unique, or remove data\.id_column"):
            run(raw, home, id_column="id", most_broken=0.1)

    def test_a_header_line_and_nothing_else(self, folder: Path, home: Home) -> None:
        with pytest.raises(DataError, match=r"split validation has no rows: validation\.tsv"):
            run(splits_of(folder, "text\tlabel", "甲\t1\n乙\t0\n", rest=""), home)

    def test_only_rows_that_break_the_contract(self, folder: Path, home: Home) -> None:
        with pytest.raises(DataError, match=r"3 of 3 rows(?s:.*)2 unlabelled:\n(?s:.*)1 empty text:\n"):
            run(splits_of(folder, "text\tlabel", "甲\t\n乙\t\n\t0\n"), home)

    def test_a_label_with_fewer_rows_than_the_contract_asks_for(self, folder: Path, home: Home) -> None:
        raw = splits_of(folder, "text\tlabel", "甲\t1\n乙\t0\n丙\t1\n")
        with pytest.raises(DataError, match=r"1 labels have fewer training rows(?s:.*)'0': 1\n"):
            run(raw, home, contract={"min_rows_per_label": 2})

    def test_several_labels_per_row_are_not_for_training(self, folder: Path, home: Home) -> None:
        with pytest.raises(ConfigError, match="training needs one label per row"):
            run(splits_of(folder, "text\tlabel", "甲\t1|0\n"), home, label_separator="|")

    def test_no_training_rows_at_all(self, folder: Path, home: Home) -> None:
        with pytest.raises(DataError, match=r"has no training rows; it has: test"):
            run(fetched(folder, test="test.tsv"), home)

    def test_nothing_remains_after_a_refusal(self, folder: Path, home: Home) -> None:
        with pytest.raises(DataError):
            run(splits_of(folder, "text\tlabel", "甲\t1\n"), home)
        assert list(home.prepared.iterdir()) == []


class TestSplits:
    def many(self, folder: Path, order: int = 1, name: str = "a.tsv") -> FetchedData:
        # Every fifth text occurs three times, with different width and spacing.
        lines = []
        for i in range(200):
            lines.append(f"评论第{i}号，内容很长！\t{i % 4 // 3}")
            if i % 5 == 0:
                lines += [f"评论 第{i}号,内容很长!\t{i % 4 // 3}", f"评论第{i}号，内容　很长！\t0"]
        (folder / name).write_text("text\tlabel\n" + "\n".join(lines[::order]) + "\n", encoding="utf-8")
        return fetched(folder, digest=f"{order:064}", train=name)

    @pytest.mark.parametrize("rule", ["standard", "tutorial", "none"])
    def test_no_text_stands_in_two_splits(self, folder: Path, home: Home, rule: str) -> None:
        prepared = run(self.many(folder), home, rule=rule)
        texts = {
            split: {"".join(str(row["text"]).replace("，", ",").replace("！", "!").split()) for row in rows}
            for split, rows in tables(prepared).items()
        }
        assert not texts["train"] & texts["validation"]
        assert not texts["train"] & texts["test"]
        assert not texts["validation"] & texts["test"]

    def test_size_strata_and_order(self, folder: Path, home: Home) -> None:
        prepared = run(self.many(folder), home, split={"validation_fraction": 0.1, "test_fraction": 0.2})
        assert prepared.rows == {"train": 196, "validation": 28, "test": 56}
        for split in prepared.rows:
            share = prepared.label_counts[split]["1"] / prepared.rows[split]
            assert share == pytest.approx(0.21, abs=0.05)
            rows = [row["row"] for row in tables(prepared)[split]]
            assert rows == sorted(rows)

    def test_the_cut_depends_on_the_seed_but_not_on_the_order_of_the_rows(self, folder: Path, home: Home) -> None:
        first = run(self.many(folder), home)
        same = run(self.many(folder, order=-1, name="b.tsv"), home)
        other = run(self.many(folder), home, seed=8)
        assert same.split_digests == first.split_digests
        assert other.split_digests != first.split_digests

    def test_only_the_missing_split_is_cut(self, folder: Path, home: Home) -> None:
        self.many(folder)
        (folder / "v.tsv").write_text("text\tlabel\n新的\t1\n", encoding="utf-8")
        prepared = run(fetched(folder, train="a.tsv", validation="v.tsv"), home)
        assert prepared.rows == {"train": 252, "validation": 1, "test": 28}

    def test_too_few_rows_to_cut(self, folder: Path, home: Home) -> None:
        (folder / "a.tsv").write_text("text\tlabel\n甲\t1\n乙\t0\n", encoding="utf-8")
        with pytest.raises(DataError, match="too few training rows to cut the split validation from them: 2 in all"):
            run(fetched(folder, train="a.tsv"), home)

    def test_copies_are_found_whatever_the_rule(self, folder: Path, home: Home) -> None:
        for rule in ("standard", "tutorial", "none"):
            raw = splits_of(folder, "text\tlabel", "很好！\t1\n很差\t0\n", rest="很 好!\t1\n新的\t0\n新的\t0\n")
            prepared = run(raw, home, rule=rule)
            assert [row["leakfree"] for row in tables(prepared)["validation"]] == [False, True, False]
            assert [row["leakfree"] for row in tables(prepared)["test"]] == [False, False, False]
            assert prepared.leaked == {"validation": 2, "test": 3}


@needs_real_data
class TestRealData:
    @pytest.fixture
    def reviews(self) -> FetchedData:
        folder = REAL_DATA / "chnsenticorp" / "data"
        names = {split: next(folder.glob(f"{split}-*")).name for split in ("train", "validation", "test")}
        return fetched(folder, **names)

    @pytest.mark.parametrize("rule", ["standard", "none"])
    def test_the_leak_free_reviews(self, home: Home, reviews: FetchedData, rule: str) -> None:
        prepared = run(reviews, home, rule=rule)
        expected = json.loads((REAL_DATA / "chnsenticorp" / "test_leakfree_row_idx.json").read_text("utf-8"))
        assert [row["row"] - 1 for row in tables(prepared)["test"] if row["leakfree"]] == expected
        assert prepared.rows == {"train": 9600, "validation": 1200, "test": 1200}
        assert prepared.quarantined == {}

    def test_the_same_reviews_as_parquet_and_as_tsv(self, home: Home, reviews: FetchedData) -> None:
        raw = fetched(REAL_DATA / "chnsenticorp" / "tsv", train="train.tsv", validation="dev.tsv", test="test.tsv")
        assert run(raw, home, text_column="text_a").split_digests == run(reviews, home).split_digests

    def test_headlines_without_header_line(self, home: Home) -> None:
        raw = fetched(REAL_DATA / "tnews", train="train.tsv", validation="dev.tsv")
        prepared = run(raw, home, column_names=("text", "label"))
        assert prepared.rows["train"] + prepared.rows["test"] == 53360
        assert len(prepared.labels) == 15
