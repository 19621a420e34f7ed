from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import pytest
import python_calamine
import xlsxwriter

from textclf.correction.suspects import Suspect, Suspects, row_digest
from textclf.correction.table import check_target, read_corrections, write_suspects
from textclf.errors import ConfigError, DataError, StorageError
from textclf.language import speaking

LABELS = {"0": "差评", "1": "好评"}
ENDINGS = [".xlsx", ".csv"]
Table = list[dict[str, str]]


def suspects(texts: Sequence[str], *, pairs: bool = False) -> Suspects:
    rows = tuple(
        Suspect(
            split="train",
            source="reviews.csv",
            row=number,
            id=f"reviews.csv:{number}",
            text=text,
            text_pair="第二句" if pairs else None,
            label="差评",
            suggested_label="好评",
            quality=number / 100,
            suggested_probability=1 - number / 100,
            issue=number == 2,
            conflict=number == 1,
            copies=number - 1,
            row_digest=row_digest(number, "差评"),
        )
        for number, text in enumerate(texts, start=1)
    )
    return Suspects(
        version="0123456789ab",
        labels=tuple(LABELS.values()),
        texts=10,
        conflicts=1,
        issues=1,
        suspects=rows,
    )


def cells(path: Path) -> Table:
    """The cells that a person sees in a spreadsheet."""
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"))))
    header, *rows = python_calamine.CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()
    return [dict(zip(map(str, header), map(str, row), strict=True)) for row in rows]


def save(path: Path, rows: Table, *, encoding: str = "utf-8-sig", delimiter: str = ",") -> Path:
    """Saves a table as a spreadsheet does."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(stream.getvalue().encode(encoding))
    return path


def filled_in(folder: Path, words: Sequence[str]) -> Table:
    """A table with one row per word, which fills `correct_label`."""
    path = folder / "written.csv"
    write_suspects(suspects([f"第{number}条，很好" for number in range(len(words))]), path)
    return [{**row, "correct_label": word} for row, word in zip(cells(path), words, strict=True)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_shows_what_a_person_needs(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"suspects{ending}"
    write_suspects(suspects(["很好", "不错", "满意"]), path)
    rows = cells(path)
    assert list(rows[0]) == [
        *("rank", "split", "source", "row", "id", "text", "label", "suggested_label", "correct_label"),
        *("quality", "mark", "copies", "row_digest", "data_version"),
    ]
    assert [row["text"] for row in rows] == ["很好", "不错", "满意"]
    assert [row["mark"] for row in rows] == ["conflict", "issue", ""]
    assert {row["correct_label"] for row in rows} == {""}
    assert [float(row["copies"]) for row in rows] == [0, 1, 2]
    assert rows[1]["label"] == "差评" and rows[1]["suggested_label"] == "好评"
    assert read_corrections(path, LABELS) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_pairs_show_both_texts(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"suspects{ending}"
    write_suspects(suspects(["第一句"], pairs=True), path)
    assert (cells(path)[0]["text"], cells(path)[0]["text_pair"]) == ("第一句", "第二句")


DANGEROUS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "https://example.com/", "{=1}", "x\ny"]


def test_no_text_becomes_a_formula_or_a_link_in_a_workbook(tmp_path: Path) -> None:
    path = tmp_path / "suspects.xlsx"
    write_suspects(suspects(DANGEROUS), path)
    assert [row["text"] for row in cells(path)] == DANGEROUS
    with ZipFile(path) as archive:
        sheets = [archive.read(name).decode() for name in archive.namelist() if "worksheets/sheet" in name]
    assert len(sheets) == 2
    assert not any("<f>" in sheet or "<hyperlink" in sheet for sheet in sheets)


def test_no_text_begins_like_a_formula_in_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "suspects.csv"
    write_suspects(suspects([*DANGEROUS, "-1"]), path)
    texts = [row["text"] for row in cells(path)]
    assert not any(text.startswith(("=", "+", "@", "\t")) for text in texts)
    assert texts[2] == "'-2+3" and texts[-1] == "-1"
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_text_longer_than_a_cell_is_cut(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"suspects{ending}"
    write_suspects(suspects(["好" * 40_000, "短"]), path)
    first, second = (row["text"] for row in cells(path))
    assert first.endswith("好…") and 10_000 < len(first) < 32_767
    assert second == "短"


def test_a_workbook_offers_the_labels_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "suspects.xlsx"
    write_suspects(suspects(["很好", "不错"]), path)
    with ZipFile(path) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert 'type="list"' in sheet and 'sqref="I2:I3"' in sheet
    assert "<autoFilter" in sheet and 'state="frozen"' in sheet
    book = python_calamine.CalamineWorkbook.from_path(str(path))
    assert book.sheet_names == ["suspects", "Help"]
    page = book.get_sheet_by_index(1).to_python()
    assert [row[2] for row in page[1:4]] == ["差评", "好评", "delete"]
    assert page[0][0] == "How to fill it in"
    assert "'Help'!$C$2:$C$4" in sheet


def test_a_table_in_another_language_says_the_same_and_is_understood(tmp_path: Path) -> None:
    path, workbook = tmp_path / "可疑.csv", tmp_path / "可疑.xlsx"
    with speaking("zh"):
        write_suspects(suspects(["很好", "不错"]), path)
        write_suspects(suspects(["很好", "不错"]), workbook)
    assert python_calamine.CalamineWorkbook.from_path(str(workbook)).sheet_names == ["可疑标签", "说明"]
    first, second = cells(path)
    assert not re.search("[a-z]{3}", " ".join([*first, first["数据集"], first["标记"]]))
    assert first["标记"] == "冲突"
    filled = save(tmp_path / "填写.csv", [{**first, "正确标签": "删除"}, {**second, "正确标签": "好评"}])
    with speaking("en"):
        assert [correction.label for correction in read_corrections(filled, LABELS)] == [None, "1"]
        with pytest.raises(ConfigError, match="filled in"):
            check_target(filled)


def test_what_is_filled_in_comes_back(tmp_path: Path) -> None:
    words = ["好评", "", "1", "delete", "删除", " 好评 ", "DELETE", "１", "0"]
    path = save(tmp_path / "filled.csv", filled_in(tmp_path, words))
    found = read_corrections(path, LABELS)
    assert [item.row for item in found] == [1, 3, 4, 5, 6, 7, 8, 9]
    assert [item.label for item in found] == ["1", "1", None, None, "1", None, "1", "0"]
    assert {item.source for item in found} == {"reviews.csv"}
    assert {item.data_version for item in found} == {"0123456789ab"}
    assert found[0].row_digest == row_digest(1, "差评")
    assert found[1].place == "row 4"


@pytest.mark.parametrize(("encoding", "delimiter"), [("gb18030", ","), ("utf-8", ";"), ("utf-8-sig", "\t")])
def test_a_csv_file_may_be_saved_with_another_encoding_or_delimiter(
    tmp_path: Path, encoding: str, delimiter: str
) -> None:
    rows = filled_in(tmp_path, ["好评", "", "删除"])
    path = save(tmp_path / "again.csv", rows, encoding=encoding, delimiter=delimiter)
    assert [(item.row, item.label) for item in read_corrections(path, LABELS)] == [(1, "1"), (3, None)]


def test_rows_may_be_sorted_and_deleted_and_columns_moved_and_added(tmp_path: Path) -> None:
    rows = filled_in(tmp_path, ["好评", "", "删除", "好评"])
    kept = [{" Row_Digest ": row.pop("row_digest"), "谁看的": "小王", **row} for row in reversed(rows)][1:]
    kept[1:1] = [dict.fromkeys(kept[0], "")]
    for row in kept:
        for dropped in ("text", "rank", "data_version"):
            del row[dropped]
    found = read_corrections(save(tmp_path / "sorted.csv", kept), LABELS)
    assert [(item.place, item.row, item.label) for item in found] == [("row 2", 3, None), ("row 5", 1, "1")]


def test_a_workbook_may_contain_typed_numbers(tmp_path: Path) -> None:
    (row,) = filled_in(tmp_path, [""])
    path = tmp_path / "typed.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        for column, (name, value) in enumerate({**row, "row": 1.0, "correct_label": 1.0}.items()):
            sheet.write(0, column, name)
            sheet.write(1, column, value)
    (found,) = read_corrections(path, LABELS)
    assert (found.row, found.label) == (1, "1")


def test_a_name_takes_precedence_over_a_value_and_the_word_for_removal(tmp_path: Path) -> None:
    path = save(tmp_path / "filled.csv", filled_in(tmp_path, ["1", "0", "delete", "a", "A"]))
    labels = {"0": "1", "1": "0", "2": "delete", "3": "a", "4": "A"}
    assert [item.label for item in read_corrections(path, labels)] == ["0", "1", "2", "3", "4"]


def test_a_name_of_several_values_means_the_first(tmp_path: Path) -> None:
    path = save(tmp_path / "filled.csv", filled_in(tmp_path, ["好评", "差评", "5", "2", "Good"]))
    labels = {"1": "差评", "2": "差评", "4": "好评", "5": "好评", "6": "good", "7": "good"}
    assert [item.label for item in read_corrections(path, labels)] == ["4", "1", "5", "2", "6"]


def test_every_bad_row_is_named_with_what_may_be_meant(tmp_path: Path) -> None:
    rows = filled_in(tmp_path, ["好坪", "好评", "好评", "", "好评", *["错"] * 12])
    rows[1]["row_digest"] = "1.23E+15"
    rows[2]["row"] = "三"
    rows[3]["row_digest"] = "not looked at"
    rows[4]["source"] = ""
    with pytest.raises(DataError) as caught:
        read_corrections(save(tmp_path / "bad.csv", rows), LABELS)
    message = str(caught.value)
    assert "16 rows" in message
    assert "row 2: unknown label '好坪', did you mean '好评'?" in message
    assert "row 3: row_digest '1.23E+15' is damaged" in message
    assert "row 4: row '三' is not a row number" in message
    assert "row 6: source is empty" in message
    assert all(f"row {number}: unknown label '错'" in message for number in range(7, 19))
    assert "row 5:" not in message


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": row["label"]} for row in filled_in(tmp_path, ["好评"])]
    with pytest.raises(
        DataError, match=r"lacks the columns .*'correct_label', 'row_digest'.*it has \['text', 'label'\]"
    ):
        read_corrections(save(tmp_path / "other.csv", rows), LABELS)


def test_another_ending_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.xlsx or \.csv"):
        write_suspects(suspects(["很好"]), tmp_path / "suspects.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match=r"suspects\.csv"):
        write_suspects(suspects(["很好"]), tmp_path / "file" / "suspects.csv")
