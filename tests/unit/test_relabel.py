from __future__ import annotations

import csv
import datetime
import json
import logging
import shutil
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from textclf.config import Home, TrainConfig
from textclf.correction.relabel import Relabelled, relabel, relabelled_summary
from textclf.correction.suspects import Suspect, Suspects, row_digest
from textclf.correction.table import write_suspects
from textclf.data.prepare import prepare
from textclf.data.versions import LINEAGE_FILE
from textclf.errors import DataError, StorageError
from textclf.fetching import fetch_data
from textclf.records import FetchedData, PreparedData

THINGS = ("房间", "早餐", "服务", "位置", "前台", "电池", "屏幕", "键盘", "故事", "翻译")
REVIEWS = [(f"{thing}{'很好' if label else '很差'}", label) for thing in THINGS for label in (0, 1)]
NAMES = {"0": "差评", "1": "好评"}


class Data:
    """Raw data in a folder, its configuration, and the data prepared from it."""

    def __init__(self, folder: Path, cleaning: str = "standard", **fields: Any) -> None:
        self.folder = folder
        self.home = Home(root=folder.parent / "home", tracking_uri="unused")
        values = {"labels": NAMES, "sources": [{"provider": "local", "path": str(folder)}], **fields}
        self.config = TrainConfig.model_validate({"data": values, "cleaning": {"rule": cleaning}})
        self.fetched: FetchedData = fetch_data(self.config.data.sources, home=self.home)
        self.prepared: PreparedData = prepare(
            self.fetched, data=self.config.data, cleaning=self.config.cleaning, home=self.home
        )

    def rows(self) -> dict[tuple[str, int], dict[str, Any]]:
        """The prepared rows by file and row number."""
        return {
            (row["source"], row["row"]): row
            for split in ("train", "validation", "test")
            for row in pq.read_table(self.prepared.folder / f"{split}.parquet").to_pylist()
        }

    def table(self, answers: Mapping[tuple[str, int], str], name: str = "table.csv") -> Path:
        """A table filled in with answers, by file and row number."""
        names = self.prepared.labels
        rows = self.rows()
        listed = tuple(
            Suspect(
                split="train",
                source=source,
                row=number,
                id="",
                text=rows[source, number]["text"],
                text_pair=None,
                label=names[rows[source, number]["label"]],
                suggested_label=names[0],
                quality=0.1,
                suggested_probability=0.9,
                issue=True,
                conflict=False,
                copies=0,
                row_digest=row_digest(rows[source, number]["original"], names[rows[source, number]["label"]]),
            )
            for source, number in answers
        )
        found = Suspects(
            version=self.prepared.version,
            labels=names,
            texts=1,
            conflicts=0,
            issues=1,
            suspects=listed,
        )
        path = self.folder.parent / name
        write_suspects(found, path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            written = list(csv.DictReader(file))
        for row, answer in zip(written, answers.values(), strict=True):
            row["correct_label"] = answer
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(written[0]))
            writer.writeheader()
            writer.writerows(written)
        return path

    def relabel(self, answers: Mapping[tuple[str, int], str]) -> Relabelled:
        return self.with_table(self.table(answers))

    def with_table(self, table: Path) -> Relabelled:
        output = self.folder.parent / "corrected"
        data, cleaning = self.config.data, self.config.cleaning
        return relabel(table, self.fetched, self.prepared, data=data, cleaning=cleaning, folder=output)


def write_csv(path: Path, rows: list[tuple[object, ...]], header: tuple[str, ...] = ("text", "label")) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([header, *rows])


def write_held_out(folder: Path) -> None:
    """Writes a validation and a test file, so that nothing is cut from the training rows."""
    for split in ("validation", "test"):
        write_csv(folder / f"{split}.csv", [(f"{split}，很好", 1), (f"{split}，很差", 0)])


def texts_by_split(data: Data) -> dict[str, list[str]]:
    """The prepared texts of each split."""
    return {
        split: pq.read_table(data.prepared.folder / f"{split}.parquet")["text"].to_pylist()
        for split in ("train", "validation", "test")
    }


def read(record: Relabelled, split: str = "train") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(record.folder / f"{split}.parquet").to_pylist()
    return rows


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Three splits as CSV; row 1 of train has two copies with its label and one without."""
    train = [(text, label, f"作者{index}") for index, (text, label) in enumerate(REVIEWS)]
    header = ("text", "label", "author")
    text, label = REVIEWS[0]
    write_csv(tmp_path / "raw" / "train.csv", [*train, (f" {text} ", label, "抄的")], header)
    write_csv(
        tmp_path / "raw" / "validation.csv", [("地毯很脏，失望", 0, "甲"), (text, 1, "乙"), ("早上好", 1, "丁")], header
    )
    write_csv(tmp_path / "raw" / "test.csv", [(text, label, "丙"), ("非常满意，下次再来", 1, "丁")], header)
    return Data(tmp_path / "raw")


def test_labels_change_and_everything_else_stays(data: Data) -> None:
    record = data.relabel({("train.csv", 3): "好评", ("train.csv", 4): "差评", ("validation.csv", 3): "0"})
    with (data.folder / "train.csv").open(encoding="utf-8", newline="") as file:
        before = list(csv.DictReader(file))
    after = read(record)
    assert [row["label"] for row in before[2:4]] == ["0", "1"]
    assert [row["label"] for row in after[2:4]] == ["1", "0"]
    before[2]["label"], before[3]["label"] = "1", "0"
    assert after == before
    assert [row["label"] for row in read(record, "validation")] == ["0", "1", "0"]
    assert (record.corrected, record.removed, record.copies, record.unreadable) == (3, 0, 0, 0)
    assert record.rows == {"train": 21, "validation": 3, "test": 2}


def test_copies_with_the_same_label_are_corrected_too_in_all_splits(data: Data) -> None:
    record = data.relabel({("train.csv", 1): "好评"})
    assert (record.corrected, record.copies) == (3, 2)
    assert read(record)[0]["label"] == "1"
    assert read(record)[-1] == {"text": f" {REVIEWS[0][0]} ", "label": "1", "author": "抄的"}
    assert read(record, "test")[0]["label"] == "1"
    assert read(record, "validation")[1]["label"] == "1"


def test_rows_are_removed_with_their_copies(data: Data) -> None:
    record = data.relabel({("train.csv", 1): "删除", ("train.csv", 2): "delete", ("train.csv", 3): "好评"})
    assert (record.corrected, record.removed, record.copies) == (1, 4, 2)
    assert record.rows == {"train": 18, "validation": 3, "test": 1}
    assert [row["author"] for row in read(record)][:2] == ["作者2", "作者3"]
    changes = {(change.from_label, change.to_label): change.rows for change in record.changes}
    assert changes == {("差评", None): 3, ("好评", None): 1, ("差评", "好评"): 1}


def test_the_result_can_be_prepared_and_knows_its_parent(data: Data) -> None:
    record = data.relabel({("train.csv", 3): "好评", ("train.csv", 1): "删除"})
    again = Data(record.folder)
    assert again.prepared.relabelled_from == data.prepared.version == record.version
    assert again.prepared.version != data.prepared.version
    assert again.prepared.rows == record.rows
    counts = data.prepared.label_counts["train"]
    assert again.prepared.label_counts["train"] == {"差评": counts["差评"] - 3, "好评": counts["好评"] + 1}


def test_undoing_corrections_restores_the_first_data_version(data: Data) -> None:
    there = Data(data.relabel({("train.csv", 3): "好评"}).folder)
    back = Data(there.relabel({("train.parquet", 3): "差评"}).folder)
    assert back.prepared.version == data.prepared.version != there.prepared.version


def test_the_lineage_says_where_the_labels_came_from(data: Data) -> None:
    record = data.relabel({("train.csv", 1): "好评"})
    lineage = json.loads((record.folder / LINEAGE_FILE).read_text(encoding="utf-8"))
    assert lineage["version"] == data.prepared.version
    assert lineage["table"] == "table.csv" and len(lineage["table_sha256"]) == 64
    assert lineage["changes"] == [{"from_label": "差评", "to_label": "好评", "rows": 3}]
    assert lineage["copies"] == 2 and str(data.folder) in lineage["origin"]


def test_the_summary_says_what_was_changed_and_where_it_is(data: Data) -> None:
    record = data.relabel({("train.csv", 1): "好评", ("train.csv", 2): "删除"})
    summary = relabelled_summary(record)
    first = f"Corrected 3 labels and removed 1 row of data version {data.prepared.version}"
    assert summary.startswith(f"{first}; 2 of them are copies that table.csv does not name.\n")
    assert "  差评 -> 好评: 3\n  好评 -> (removed): 1\n" in summary
    assert summary.endswith(f"(train 20, validation 3, test 2 rows) is in {record.folder}.")


def test_the_summary_counts_in_words_where_there_is_nothing_or_one(data: Data) -> None:
    record = data.relabel({("train.csv", 3): "好评"})
    first = relabelled_summary(record).splitlines()[0]
    assert first == f"Corrected 1 label and removed no rows of data version {data.prepared.version}."


def test_the_same_table_gives_the_same_folder_and_the_old_data_stays(data: Data) -> None:
    before = {path: path.read_bytes() for path in data.folder.iterdir()}
    first = data.relabel({("train.csv", 3): "好评"})
    second = data.relabel({("train.csv", 3): "好评"})
    assert second.folder == first.folder and second.cached and not first.cached
    assert second.model_copy(update={"cached": False}) == first
    assert data.relabel({("train.csv", 5): "好评"}).folder != first.folder
    assert {path: path.read_bytes() for path in data.folder.iterdir()} == before


def many_reviews() -> list[tuple[str, int]]:
    return [(f"{text}住了{nights}晚", label) for text, label in REVIEWS for nights in range(1, 7)]


def test_rows_of_cut_splits_stay_where_they_were_cut(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [*many_reviews(), ("没有标签", "")]
    write_csv(tmp_path / "raw" / "train.csv", rows)
    data = Data(tmp_path / "raw", contract={"max_quarantined_share": 0.1})
    before = texts_by_split(data)
    # Four of each split: without them, the cut by label would differ.
    chosen = [
        place
        for texts in before.values()
        for place in [place for place, row in data.rows().items() if row["label"] == 0 and row["text"] in texts][:4]
    ]
    record = data.relabel({place: "好评" for place in chosen})
    assert record.rows == {**data.prepared.rows, "train": data.prepared.rows["train"] + 1}
    assert read(record)[-1] == {"text": "没有标签", "label": ""}
    again = Data(record.folder, contract={"max_quarantined_share": 0.1})
    assert texts_by_split(again) == before
    changed = {rows[number - 1][0] for _, number in chosen}
    assert all(changed & set(texts) for texts in before.values())
    assert {row["text"] for split in before for row in read(record, split) if row["label"] == "1"} == changed | {
        text for text, label in rows if label == 1
    }


def test_undoing_corrections_of_cut_splits_restores_the_first_data_version(tmp_path: Path) -> None:
    write_csv(tmp_path / "raw" / "train.csv", list(many_reviews()))
    data = Data(tmp_path / "raw")
    tested = next(row for row in pq.read_table(data.prepared.folder / "test.parquet").to_pylist() if row["label"] == 0)
    there = Data(data.relabel({("train.csv", tested["row"]): "好评"}).folder)
    (place,) = [
        place for place, row in there.rows().items() if row["text"] == tested["text"] and place[0] == "test.parquet"
    ]
    back = Data(there.relabel({place: "差评"}).folder)
    assert back.prepared.version == data.prepared.version != there.prepared.version


def test_a_split_with_its_own_file_stays_complete_next_to_one_that_was_cut(tmp_path: Path) -> None:
    write_csv(tmp_path / "raw" / "train.csv", list(many_reviews()))
    write_csv(tmp_path / "raw" / "test.csv", [("非常满意", 1), ("", 0), ("太吵了", 0)])
    data = Data(tmp_path / "raw", contract={"max_quarantined_share": 0.5})
    record = data.relabel({("test.csv", 3): "好评", ("train.csv", 1): "好评"})
    assert [row["text"] for row in read(record, "test")] == ["非常满意", "", "太吵了"]
    assert list(record.rows) == ["train", "validation", "test"]
    assert texts_by_split(Data(record.folder, contract={"max_quarantined_share": 0.5})) == texts_by_split(data)


def test_cut_splits_have_the_same_columns_as_the_training_rows(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": text, "label": label, **({"stars": 5} if index == 0 else {})}, ensure_ascii=False)
        for index, (text, label) in enumerate(many_reviews())
    ]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = Data(tmp_path / "raw").relabel({("train.jsonl", 1): "好评"})
    schemas = {str(pq.read_schema(record.folder / f"{split}.parquet")) for split in record.rows}
    assert len(record.rows) == 3 and len(schemas) == 1


@pytest.mark.parametrize(
    ("rule", "copy", "is_copy"),
    [
        ("standard", "房间<br/>很差", True),
        ("standard", "房间，很差", False),
        ("tutorial", "房间，很差", True),
        ("none", "房间<br/>很差", False),
        ("none", "房间 很差", True),
    ],
)
def test_copies_are_rows_that_are_one_text_to_the_model(tmp_path: Path, rule: str, copy: str, is_copy: bool) -> None:
    write_held_out(tmp_path / "raw")
    write_csv(tmp_path / "raw" / "train.csv", [*REVIEWS, (copy, 0)])
    data = Data(tmp_path / "raw", cleaning=rule)
    prepared = data.rows()
    assert (prepared["train.csv", 1]["fingerprint"] == prepared["train.csv", 21]["fingerprint"]) == is_copy
    record = data.relabel({("train.csv", 1): "好评"})
    assert read(record)[-1] == {"text": copy, "label": "1" if is_copy else "0"}
    assert (record.corrected, record.copies) == (1 + is_copy, int(is_copy))


def test_pairs_are_copies_where_both_cleaned_texts_are(tmp_path: Path) -> None:
    header = ("text", "text2", "label")
    rows: list[tuple[object, ...]] = [(text, f"{text}吗", label) for text, label in REVIEWS]
    copies: list[tuple[object, ...]] = [("房间<b>很差</b>", "房间很差 吗", 0), ("房间很差", "房间很差了吗", 0)]
    for split in ("train", "validation", "test"):
        write_csv(tmp_path / "raw" / f"{split}.csv", [*rows, *copies] if split == "train" else rows[2:6], header)
    record = Data(tmp_path / "raw", text_pair_column="text2").relabel({("train.csv", 1): "好评"})
    assert [row["label"] for row in read(record)[-2:]] == ["1", "0"]


STARS = {"1": "差评", "2": "差评", "3": "中评", "4": "好评", "5": "好评"}


def starred(folder: Path) -> Data:
    """Stars merged into three labels; rows 1 and 31 are copies with different stars of one label."""
    rows = [(f"{thing}{star}分", star) for thing in THINGS[:6] for star in range(1, 6)]
    write_csv(folder / "train.csv", [*rows, ("房间 1分", 2)])
    for split in ("validation", "test"):
        write_csv(folder / f"{split}.csv", [(f"{split}{star}", star) for star in range(1, 6)])
    return Data(folder, labels=STARS)


@pytest.mark.parametrize(("answer", "written"), [("好评", "4"), ("5", "5"), ("4", "4"), ("中评", "3")])
def test_with_merged_labels_a_name_means_the_first_value(tmp_path: Path, answer: str, written: str) -> None:
    record = starred(tmp_path / "raw").relabel({("train.csv", 1): answer})
    assert read(record)[0]["label"] == read(record)[-1]["label"] == written
    assert (record.corrected, record.copies) == (2, 1)
    assert [(change.from_label, change.to_label) for change in record.changes] == [("差评", STARS[written])]
    assert [row["label"] for row in read(record)[1:6]] == ["2", "3", "4", "5", "1"]


@pytest.mark.parametrize("answer", ["差评", "1", "2"])
def test_of_merged_labels_one_with_the_name_that_the_row_has_changes_nothing(tmp_path: Path, answer: str) -> None:
    data = starred(tmp_path / "raw")
    with pytest.raises(DataError, match="changes nothing"):
        data.relabel({("train.csv", 31): answer})
    record = data.relabel({("train.csv", 31): answer, ("train.csv", 3): "好评"})
    assert (record.corrected, read(record)[0]["label"], read(record)[-1]["label"]) == (1, "1", "2")


def test_a_table_of_other_data_is_refused_with_every_row(data: Data, tmp_path: Path) -> None:
    table = data.table({("train.csv", 3): "好评", ("train.csv", 5): "好评", ("train.csv", 20): "差评"})
    content = table.read_text(encoding="utf-8").replace("reviews", "x")
    table.write_text(content.replace("train.csv,20,", "other.csv,20,"), encoding="utf-8")
    shutil.copytree(data.folder, tmp_path / "other" / "raw")
    rows = [(text, label, "") for text, label in REVIEWS[2:5]]
    write_csv(tmp_path / "other" / "raw" / "train.csv", rows, ("text", "label", "author"))
    other = Data(tmp_path / "other" / "raw")
    with pytest.raises(DataError) as caught:
        other.with_table(table)
    message = str(caught.value)
    assert "3 rows" in message
    assert "row 2: train.csv, row 3 now has another text or label" in message
    assert "row 3: train.csv has no readable row 5" in message
    assert "row 4: the data has no file 'other.csv'" in message
    assert data.prepared.version in message and other.prepared.version in message
    assert not (tmp_path / "other" / "corrected").exists()


def test_a_row_whose_label_has_changed_since_is_refused(data: Data) -> None:
    table = data.table({("train.csv", 3): "好评"})
    file = data.folder / "train.csv"
    file.write_text(file.read_text(encoding="utf-8").replace("早餐很差,0", "早餐很差,1"), encoding="utf-8")
    with pytest.raises(DataError, match=r"row 2: train\.csv, row 3 now has another text or label"):
        Data(data.folder).with_table(table)


def test_answers_that_contradict_each_other_are_refused(data: Data) -> None:
    with pytest.raises(DataError, match="row 3: row 2 contradicts it"):
        data.relabel({("train.csv", 1): "好评", ("train.csv", 21): "删除"})


@pytest.mark.parametrize("answer", ["", "差评"])
def test_a_table_that_changes_nothing_is_refused(data: Data, answer: str) -> None:
    with pytest.raises(DataError, match="changes nothing"):
        data.relabel({("train.csv", 1): answer})


def test_rows_that_cannot_be_read_are_written_beside_the_data(tmp_path: Path) -> None:
    write_held_out(tmp_path / "raw")
    write_csv(tmp_path / "raw" / "train.csv", list(REVIEWS))
    with (tmp_path / "raw" / "train.csv").open("a", encoding="utf-8") as file:
        file.write("太多,1,列\n")
    data = Data(tmp_path / "raw")
    record = data.relabel({("train.csv", 1): "好评"})
    (line,) = (record.folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    broken = json.loads(line)
    assert (broken["split"], broken["source"], broken["row"]) == ("train", "train.csv", 21)
    assert "太多" in broken["content"] and broken["reason"]
    assert record.unreadable == 1 and record.rows == {"train": 20, "validation": 2, "test": 2}
    assert Data(record.folder).prepared.quarantined == {}


def test_rows_that_break_the_contract_are_carried_along(tmp_path: Path) -> None:
    write_held_out(tmp_path / "raw")
    write_csv(tmp_path / "raw" / "train.csv", [*REVIEWS, ("没有标签", ""), ("", 1)])
    record = Data(tmp_path / "raw").relabel({("train.csv", 1): "好评"})
    assert read(record)[-2:] == [{"text": "没有标签", "label": ""}, {"text": "", "label": "1"}]


def test_parquet_keeps_the_types_of_its_columns(tmp_path: Path) -> None:
    count = len(REVIEWS)
    columns = {
        "text": pa.array([text for text, _ in REVIEWS], pa.large_string()),
        "label": pa.array([label for _, label in REVIEWS], pa.int8()),
        "when": pa.array([datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)] * count, pa.timestamp("us", "UTC")),
        "price": pa.array([Decimal("1.50")] * count, pa.decimal128(9, 2)),
        "tags": pa.array([["好", None], *[None] * (count - 1)], pa.list_(pa.string())),
        "shop": pa.array(["甲"] * count).dictionary_encode(),
        "place": pa.array([{"x": 1.5}] * count),
    }
    write_held_out(tmp_path / "raw")
    before = pa.table(columns)
    pq.write_table(before, tmp_path / "raw" / "train.parquet")
    record = Data(tmp_path / "raw").relabel({("train.parquet", 1): "好评", ("train.parquet", 2): "差评"})
    after = pq.read_table(record.folder / "train.parquet")
    assert after.schema.equals(before.schema)
    assert after["label"].to_pylist()[:3] == [1, 0, 0]
    assert after.drop_columns(["label"]).to_pylist() == before.drop_columns(["label"]).to_pylist()


def test_json_lines_keep_numbers_and_turn_nested_values_into_text(tmp_path: Path) -> None:
    extras: list[dict[str, Any]] = [
        {"stars": 1, "score": 1, "ok": True, "more": {"a": 1}, "mixed": 1},
        {"stars": None, "score": 0.5, "ok": False, "more": ["好"], "mixed": "一"},
        {},
    ]
    extras += [{"number": 2**60}] * (len(REVIEWS) - 3)
    lines = [
        json.dumps({"text": text, "label": label, **extra}, ensure_ascii=False)
        for (text, label), extra in zip(REVIEWS, extras, strict=True)
    ]
    write_held_out(tmp_path / "raw")
    (tmp_path / "raw" / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = Data(tmp_path / "raw").relabel({("train.jsonl", 1): "好评"})
    first, second, third, fourth, *_ = read(record)
    assert first == {
        **{"text": REVIEWS[0][0], "label": 1, "stars": 1, "score": 1.0, "ok": True},
        **{"more": '{"a": 1}', "mixed": "1", "number": None},
    }
    assert (second["score"], second["more"], second["mixed"], second["ok"]) == (0.5, '["好"]', "一", False)
    assert third["stars"] is third["more"] is third["number"] is None
    assert fourth["number"] == 2**60


def test_a_label_of_another_type_turns_the_column_into_text(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in REVIEWS]
    write_held_out(tmp_path / "raw")
    (tmp_path / "raw" / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = Data(tmp_path / "raw")
    labels = {**NAMES, "other": "其他"}
    table = data.table({("train.jsonl", 1): "其他"})
    contract = data.config.data.model_copy(update={"labels": labels})
    record = relabel(
        table, data.fetched, data.prepared, data=contract, cleaning=data.config.cleaning, folder=tmp_path / "corrected"
    )
    assert [row["label"] for row in read(record)][:3] == ["other", "1", "0"]


def test_a_workbook_is_corrected(tmp_path: Path) -> None:
    write_held_out(tmp_path / "raw")
    with xlsxwriter.Workbook(tmp_path / "raw" / "train.xlsx") as book:
        sheet = book.add_worksheet()
        for number, row in enumerate([("text", "label"), *REVIEWS]):
            sheet.write_row(number, 0, row)
    record = Data(tmp_path / "raw").relabel({("train.xlsx", 1): "好评"})
    assert [(row["text"], row["label"]) for row in read(record)] == [
        (REVIEWS[0][0], "1"),
        *((text, str(label)) for text, label in REVIEWS[1:]),
    ]


def test_files_of_different_formats_become_one(tmp_path: Path) -> None:
    write_held_out(tmp_path / "raw")
    write_csv(tmp_path / "raw" / "train-1.csv", list(REVIEWS[:10]))
    table = pa.table({"text": [text for text, _ in REVIEWS[10:]], "label": [label for _, label in REVIEWS[10:]]})
    pq.write_table(table.append_column("year", pa.array([2026] * 10)), tmp_path / "raw" / "train-2.parquet")
    files = {"train": "train-*", "validation": "validation.csv", "test": "test.csv"}
    source = {"provider": "local", "path": str(tmp_path / "raw"), "files": files}
    data = Data(tmp_path / "raw", sources=[source])
    record = data.relabel({("train-1.csv", 1): "好评", ("train-2.parquet", 10): "差评"})
    rows = read(record)
    assert [row["label"] for row in rows] == ["1", *(str(label) for _, label in REVIEWS[1:19]), "0"]
    assert [row["year"] for row in rows] == [None] * 10 + [2026] * 10


def test_labels_without_names_are_corrected_by_their_values(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        write_csv(tmp_path / "raw" / f"{split}.csv", [(text, "好评" if label else "差评") for text, label in REVIEWS])
    record = Data(tmp_path / "raw", labels=None).relabel({("train.csv", 1): "好评"})
    assert read(record)[0] == {"text": REVIEWS[0][0], "label": "好评"}


def test_prepared_data_that_is_gone_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    write_csv(tmp_path / "raw" / "train.csv", list(many_reviews()))
    data = Data(tmp_path / "raw")
    table = data.table({("train.csv", 1): "好评"})
    (data.prepared.folder / "validation.parquet").unlink()
    with pytest.raises(StorageError, match=r"prepared data in .* cannot be read"):
        data.with_table(table)
    assert list((tmp_path / "corrected").glob("*/*")) == []


def test_what_was_changed_is_said_by_the_summary_and_not_in_the_log_as_well(
    data: Data, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        data.relabel({("train.csv", 3): "好评"})
    assert [record for record in caplog.records if record.name == "textclf.correction.relabel"] == []


def test_nothing_half_written_remains(data: Data, tmp_path: Path) -> None:
    table = data.table({("train.csv", 3): "好评"})
    (tmp_path / "corrected").write_text("a file in the way", encoding="utf-8")
    with pytest.raises(StorageError, match="corrected"):
        data.with_table(table)
    assert (tmp_path / "corrected").read_text(encoding="utf-8") == "a file in the way"
