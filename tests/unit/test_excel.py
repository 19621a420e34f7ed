"""Sheets of workbooks are read as rows with the values that a person sees in them."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from textclf.errors import DataError
from textclf.reading.data_file import BrokenRow, DataFile, ReadingOptions

# Without white space between its parts, as programs write it.
ODS_CONTENT = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
    ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
    ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" office:version="1.2">'
    '<office:body><office:spreadsheet><table:table table:name="评论"><table:table-row>'
    '<table:table-cell office:value-type="string"><text:p>text</text:p></table:table-cell>'
    '<table:table-cell office:value-type="string"><text:p>label</text:p></table:table-cell>'
    "</table:table-row><table:table-row>"
    '<table:table-cell office:value-type="string"><text:p>很好</text:p></table:table-cell>'
    '<table:table-cell office:value-type="float" office:value="1"><text:p>1</text:p></table:table-cell>'
    "</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"
)


def write(path: Path, **sheets: list[list[object]]) -> Path:
    with xlsxwriter.Workbook(path) as book:
        formats = {
            datetime.datetime: book.add_format({"num_format": "yyyy-mm-dd hh:mm"}),
            datetime.date: book.add_format({"num_format": "yyyy-mm-dd"}),
            datetime.time: book.add_format({"num_format": "hh:mm:ss"}),
        }
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                for column, value in enumerate(row):
                    if type(value) in formats:
                        sheet.write_datetime(number, column, value, formats[type(value)])
                    else:
                        sheet.write(number, column, value)
    return path


def read(
    path: Path, *, batching: dict[str, Any] | None = None, **options: Any
) -> tuple[list[dict[str, object]], list[BrokenRow]]:
    batches = list(DataFile.open(path, ReadingOptions(**options)).batches(**(batching or {})))
    return [row for batch in batches for row in batch.rows], [row for batch in batches for row in batch.broken]


def test_values_are_what_a_person_sees(tmp_path: Path) -> None:
    values = [
        "房间很大,\n“好”",
        1,
        1.5,
        True,
        datetime.date(2026, 5, 1),
        datetime.datetime(2026, 5, 1, 8, 30),
        datetime.datetime(2026, 5, 1),
        datetime.time(8, 30),
        2**60,
        None,
    ]
    names = ["text", "whole", "part", "yes", "day", "moment", "midnight", "time", "large", "empty"]
    rows, broken = read(write(tmp_path / "a.xlsx", 评论=[names, values, ["次"]]))
    assert broken == []
    assert list(rows[0].values()) == [
        "房间很大,\n“好”",
        "1",
        "1.5",
        "True",
        "2026-05-01",
        "2026-05-01T08:30:00",
        "2026-05-01",
        "08:30:00",
        str(float(2**60)),
        None,
    ]
    assert rows[1] == {"text": "次", **dict.fromkeys(names[1:])}


def test_labels_that_are_numbers_and_names_that_are_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", 评论=[["text", 2024.0, datetime.date(2026, 5, 1)], ["好", 0, 1]])
    assert read(path)[0] == [{"text": "好", "2024": "0", "2026-05-01": "1"}]


def test_the_sheet_is_chosen_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", 甲=[["text"], ["一"]], 乙=[["text"], ["二"]])
    assert read(path)[0] == [{"text": "一"}]
    assert read(path, sheet="乙")[0] == [{"text": "二"}]
    found = DataFile.open(path, ReadingOptions(sheet="乙"))
    assert (found.format, found.sheet, found.columns, found.encoding) == ("excel", "乙", ("text",), None)
    assert DataFile.open(path).sheet == "甲"
    with pytest.raises(DataError, match=r"no sheet '丙'\. Its sheets:\n  - 甲\n  - 乙\n"):
        DataFile.open(path, ReadingOptions(sheet="丙"))


def test_a_chart_is_no_sheet(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as book:
        chart = book.add_chart({"type": "bar"})
        chart.add_series({"values": "=评论!$A$1"})
        book.add_chartsheet("图").set_chart(chart)
        book.add_worksheet("评论").write_column(0, 0, ["text", "好"])
    assert DataFile.open(tmp_path / "a.xlsx").sheet == "评论"


def test_rows_without_any_value_count_only_between_others(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", 评论=[["text", "label"], [], ["好", 1], [None, ""], [None], ["坏", 0], [""], []])
    (batch,) = DataFile.open(path).batches()
    assert batch.numbers == [2, 5]
    assert batch.broken == [BrokenRow(number, "blank row", "") for number in (1, 3, 4)]


def test_a_table_that_begins_further_down_and_right(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", 评论=[[], [], [None, "text", "label"], [None, "好", 1]])
    rows, broken = read(path)
    assert rows == [{"text": "好", "label": "1"}]
    assert broken == []


def test_columns_without_a_name_at_the_end(tmp_path: Path) -> None:
    empty = [["text", "label", "", ""], ["好", 1, "", ""]]
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as book:
        sheet = book.add_worksheet("评论")
        for number, row in enumerate(empty):
            for column, value in enumerate(row):
                if value == "":
                    # Excel keeps the empty text that such a formula gives, so that the cell counts as used.
                    sheet.write_formula(number, column, '=""', None, "")
                else:
                    sheet.write(number, column, value)
    assert read(tmp_path / "a.xlsx")[0] == [{"text": "好", "label": "1"}]
    path = write(tmp_path / "b.xlsx", 评论=[["text", "label"], ["好", 1, None, "很好"]])
    with pytest.raises(DataError, match=r"no name for column 3 of 4"):
        DataFile.open(path)


def test_a_formula_that_failed_is_an_empty_cell(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as book:
        sheet = book.add_worksheet("评论")
        sheet.write_row(0, 0, ["text", "label"])
        sheet.write(1, 0, "好")
        sheet.write_formula(1, 1, "=1/0", None, "#DIV/0!")
    assert read(tmp_path / "a.xlsx")[0] == [{"text": "好", "label": None}]


def test_an_open_document(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", ODS_CONTENT)
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
    assert read(tmp_path / "a.ods")[0] == [{"text": "很好", "label": "1"}]


def test_many_rows_come_in_batches(tmp_path: Path) -> None:
    rows = [["text", "label"], *([f"评论{number}", number % 2] for number in range(2500))]
    batches = list(DataFile.open(write(tmp_path / "a.xlsx", 评论=rows)).batches(rows_per_batch=1000))
    assert [len(batch.rows) for batch in batches] == [1000, 1000, 500]
    assert batches[2].numbers[-1] == 2500
    assert batches[2].rows[-1] == {"text": "评论2499", "label": "1"}


@pytest.mark.parametrize("columns", [1, 3])
def test_a_sheet_of_formulas_that_failed_is_refused(tmp_path: Path, columns: int) -> None:
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as book:
        sheet = book.add_worksheet("评论")
        for row in range(3):
            for column in range(columns):
                sheet.write_formula(row, column, "=1/0", None, "#DIV/0!")
    with pytest.raises(DataError, match=r"No cell of the sheet '评论' of .*a\.xlsx holds a value"):
        DataFile.open(tmp_path / "a.xlsx")
