"""Every row of a file is either read or reported as broken; no reader loses one."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf.errors import DataError
from textclf.reading.data_file import BrokenRow, DataFile, ReadingOptions

REAL_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_real_data = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="the real data sets are not next to the repository (../shared/data)"
)

UNCLOSED = "a quote is opened and not closed within 1,000 lines"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(
    path: Path, *, batching: dict[str, Any] | None = None, **options: Any
) -> tuple[list[dict[str, object]], list[BrokenRow]]:
    rows: list[dict[str, object]] = []
    broken: list[BrokenRow] = []
    last = 0
    for batch in DataFile.open(path, ReadingOptions(**options)).batches(**(batching or {})):
        assert len(batch.numbers) == len(batch.rows)
        numbers = sorted(batch.numbers + [row.number for row in batch.broken])
        assert numbers == list(range(last + 1, last + 1 + len(numbers))), "each row once, in order"
        last = numbers[-1]
        rows += batch.rows
        broken += batch.broken
    return rows, broken


class TestTsv:
    def test_a_quote_is_an_ordinary_character(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", 'label\ttext\n1\t"没有结束的引号\n0\t15" 的屏幕\n1\t"好"\n')
        rows, broken = read(path)
        assert [row["text"] for row in rows] == ['"没有结束的引号', '15" 的屏幕', '"好"']
        assert broken == []

    def test_only_a_line_feed_ends_a_row(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", "text\tlabel\r\n甲\u2028乙\x0b\x85\t1\r\n丙\r丁\t0\n")
        rows, broken = read(path)
        assert [row["text"] for row in rows] == ["甲\u2028乙\x0b\x85", "丙\r丁"]
        assert [row["label"] for row in rows] == ["1", "0"]
        assert broken == []

    def test_wrong_number_of_fields(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", "text\tlabel\n好\t1\n坏\n很\t坏\t0\n行\t1\n")
        rows, broken = read(path)
        assert [row["text"] for row in rows] == ["好", "行"]
        assert broken == [
            BrokenRow(2, "wrong number of fields: expected 2, found 1", "坏"),
            BrokenRow(3, "wrong number of fields: expected 2, found 3", "很\t坏\t0"),
        ]

    def test_names_for_a_file_without_header_line(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", "好\t1\n坏\t0\n")
        rows, broken = read(path, column_names=("text", "label"))
        assert rows == [{"text": "好", "label": "1"}, {"text": "坏", "label": "0"}]
        assert broken == []

    def test_names_for_a_file_that_has_them(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", "text\tlabel\n好\t1\n")
        with pytest.raises(DataError, match="is a header line, equal to column_names"):
            DataFile.open(path, ReadingOptions(column_names=("text", "label")))

    @needs_real_data
    def test_real_reviews_with_unbalanced_quotes(self) -> None:
        rows, broken = read(REAL_DATA / "chnsenticorp" / "tsv" / "train.tsv")
        assert (len(rows), len(broken)) == (9600, 0)

    @needs_real_data
    def test_real_headlines_without_header_line(self) -> None:
        rows, broken = read(REAL_DATA / "tnews" / "train.tsv", column_names=("text", "label"))
        assert (len(rows), len(broken)) == (53360, 0)


class TestCsv:
    def test_quotes_commas_and_line_ends_inside_values(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", 'text,label\n"第一行\n第二行, ""引用""",1\n15" 的屏幕,0\n"",1\n')
        rows, broken = read(path)
        assert [row["text"] for row in rows] == ['第一行\n第二行, "引用"', '15" 的屏幕', ""]
        assert broken == []

    @pytest.mark.parametrize("after", ["", '"第三",1\n', '说"好",1\n'])
    def test_an_unclosed_quote_breaks_its_own_row_only(self, tmp_path: Path, after: str) -> None:
        path = write(tmp_path / "a.csv", f'text,label\n第一,1\n"没有结束,0\n第二,0\n{after}')
        rows, broken = read(path)
        assert [row["text"] for row in rows][:2] == ["第一", "第二"]
        assert len(rows) == (3 if after else 2)
        assert [(row.number, row.content) for row in broken] == [(2, '"没有结束,0')]
        assert "quote" in broken[0].reason

    def test_an_unclosed_quote_before_more_text_than_a_row_may_hold(self, tmp_path: Path) -> None:
        line = "字" * 1000 + ",1\n"
        path = write(tmp_path / "a.csv", 'text,label\n"没有结束,0\n' + line * 6000)
        rows, broken = read(path)
        assert len(rows) == 6000
        assert broken == [BrokenRow(1, f"not valid CSV: {UNCLOSED}", '"没有结束,0')]

    @pytest.mark.parametrize(("between", "swallowed"), [(1500, False), (200, False), (50, True)])
    def test_two_stray_quotes_far_apart(self, tmp_path: Path, between: int, swallowed: bool) -> None:
        path = write(tmp_path / "a.csv", 'label,text\n1,"没有结束\n' + "0,好\n" * between + '1,"很好"\n0,15",x\n')
        rows, broken = read(path)
        assert len(rows) == between + 1
        assert [row.number for row in broken] == [1, between + 3]
        path = write(tmp_path / "b.csv", 'text,label\n"没有结束,1\n' + "好,0\n" * between + '他说好"\n')
        rows, broken = read(path)
        if swallowed:
            assert (len(rows), len(broken)) == (0, 1), "as long as some texts are: one broken row with all its lines"
            assert broken[0].content.count("好,0") == between
        else:
            assert (len(rows), len(broken)) == (between, 2)

    def test_a_value_of_very_many_lines_is_logged(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = write(tmp_path / "a.csv", 'label,text\n1,"没有结束\n' + "0,好\n" * 150 + '1,他说好"\n')
        assert len(read(path)[0]) == 1
        assert "A row has 152 lines, perhaps because of an unclosed quote. It begins: '1," in caplog.text

    def test_wrong_number_of_fields(self, tmp_path: Path) -> None:
        rows, broken = read(write(tmp_path / "a.csv", "text,label\n好,很好,1\n坏,0\n"))
        assert rows == [{"text": "坏", "label": "0"}]
        assert broken == [BrokenRow(1, "wrong number of fields: expected 2, found 3", "好,很好,1")]

    def test_blank_lines_count_only_between_rows(self, tmp_path: Path) -> None:
        rows, broken = read(write(tmp_path / "a.csv", "text,label\n\n好,1\r\n\n\r\n坏,0\n\n\n"))
        assert len(rows) == 2
        assert [(row.number, row.reason) for row in broken] == [(n, "blank line") for n in (1, 3, 4)]

    def test_one_column_may_be_empty(self, tmp_path: Path) -> None:
        rows, broken = read(write(tmp_path / "a.csv", "text\n好\n\n坏\n"))
        assert [row["text"] for row in rows] == ["好", "", "坏"]
        assert broken == []

    def test_header_with_a_line_end_inside_quotes(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", '"评论\n文本",label\n好,1\n')
        assert DataFile.open(path).columns == ("评论\n文本", "label")
        assert read(path)[0] == [{"评论\n文本": "好", "label": "1"}]

    def test_a_row_of_one_megabyte(self, tmp_path: Path) -> None:
        text = "字" * 350_000
        rows, broken = read(write(tmp_path / "a.csv", f'text,label\n"{text}",1\n短,0\n'))
        assert [len(str(row["text"])) for row in rows] == [350_000, 1]
        assert broken == []

    def test_a_line_longer_than_any_row_may_be(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", b"text,label\n" + b"x" * (17 << 20) + b",1\nshort,0\n")
        rows, broken = read(path)
        assert rows == [{"text": "short", "label": "0"}]
        assert broken[0].number == 1
        assert broken[0].reason.startswith("longer than 16 MiB: 17,825,795 bytes")
        assert broken[0].content == "x" * 100_000

    def test_a_nul_byte_breaks_its_row(self, tmp_path: Path) -> None:
        rows, broken = read(write(tmp_path / "a.csv", b"text,label\nab\0c,1\nok,0\n"))
        assert rows == [{"text": "ok", "label": "0"}]
        assert broken == [BrokenRow(1, "NUL byte: at column 3", "ab\0c,1")]

    @settings(max_examples=300, deadline=None)
    @given(body=st.lists(st.sampled_from(['"', '""', ",", "\n", "a,b\n", '"c,d"', "好"]), max_size=20).map("".join))
    def test_valid_csv_reads_as_the_standard_library_reads_it(
        self, tmp_path_factory: pytest.TempPathFactory, body: Any
    ) -> None:
        rows, broken = read(write(tmp_path_factory.mktemp("csv") / "a.csv", "text,label\n" + body))
        try:
            expected = list(csv.reader(io.StringIO(body), strict=True))
        except csv.Error:
            assert broken
            return
        while expected and not expected[-1]:
            expected.pop()
        assert [list(row.values()) for row in rows] == [values for values in expected if len(values) == 2]
        assert len(rows) + len(broken) == len(expected)

    def test_every_row_of_many_blocks_in_its_place(self, tmp_path: Path) -> None:
        random = Random(7)
        lines, expected, broken = ["text,label\n"], [], []
        for number in range(1, 20_001):
            text = "".join(
                random.choices(["很好", "服务", ",", '"', "\n", "。"], [9, 9, 1, 1, 1, 1], k=random.randint(3, 40))
            )
            if number % 997 == 0:
                lines.append(f'"{number}"坏,0\n')
                broken.append(number)
            elif number % 1999 == 0:
                lines.append(f"\udcff{number},0\n")
                broken.append(number)
            else:
                lines.append('"{}",{}{}'.format(text.replace('"', '""'), number, random.choice(["\n", "\r\n"])))
                expected.append((text, str(number)))
        rows, found = read(write(tmp_path / "a.csv", "".join(lines).encode(errors="surrogateescape")))
        assert [tuple(row.values()) for row in rows] == expected
        assert [row.number for row in found] == broken


class TestDelimiter:
    @pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
    @pytest.mark.parametrize("names", [None, ("text", "label", "source")])
    @pytest.mark.parametrize("fixed", [True, False])
    def test_each_is_found_or_taken(
        self, tmp_path: Path, delimiter: str, names: tuple[str, ...] | None, fixed: bool
    ) -> None:
        values = [["好" * 9, "1", "网"], [f'"很好{delimiter}真的\n不错"', "1", "店"], ["坏；，。", "0", "网"]]
        lines = [*([] if names else [["text", "label", "source"]]), *values]
        path = write(tmp_path / "a.csv", "".join(delimiter.join(line) + "\n" for line in lines))
        options = {"column_names": names} | ({"delimiter": delimiter} if fixed else {})
        rows, broken = read(path, **options)
        assert [list(row.values()) for row in rows] == [[value.strip('"') for value in line] for line in values]
        assert list(rows[0]) == ["text", "label", "source"]
        assert broken == []
        assert DataFile.open(path, ReadingOptions(**options)).delimiter == delimiter

    @pytest.mark.parametrize(
        ("content", "delimiter", "columns"),
        [
            ("text,label\n好;坏|行,1\n好;坏|行,0\n", ",", 2),
            ("text;label\n好,坏,行;1\n好;0\n", ";", 2),
            ("a;b;c|d\n1;2;3|4\n", ";", 3),
            ('"好;很好",label\n好,1\n', ",", 2),
            ("text\n好,很好\n坏\n", ",", 1),
            ("text,label\n" + "好,很,好,1\n" * 30, ",", 2),
            ('text;label\n"' + "好,很好\n" * 50 + '";1\n', ";", 2),
        ],
    )
    def test_what_divides_the_first_lines_into_equal_parts(
        self, tmp_path: Path, content: str, delimiter: str, columns: int
    ) -> None:
        found = DataFile.open(write(tmp_path / "a.csv", content))
        assert (found.delimiter, len(found.columns)) == (delimiter, columns)

    def test_one_that_is_fixed_is_used_although_another_would_divide_better(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "a|b,c\n1|2,3\n")
        assert read(path, delimiter="|")[0] == [{"a": "1", "b,c": "2,3"}]
        assert read(write(tmp_path / "b.csv", "text\n好\n"), delimiter=";")[0] == [{"text": "好"}]

    def test_one_that_the_file_does_not_have(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "好;1\n坏;0\n")
        with pytest.raises(DataError, match=r"separated by commas \(delimiter\) but .* by semicolons"):
            DataFile.open(path, ReadingOptions(delimiter=",", column_names=("text", "label")))


class TestJsonLines:
    def test_rows_and_broken_rows(self, tmp_path: Path) -> None:
        lines = [
            '{"text": "好\\n", "label": 1}',
            "",
            '{"text": "坏", ',
            '["坏", 0]',
            '{"text": "\\ud83d", "label": 0}',
            "[" * 100_000,
            '{"text": "\\ud83d\\ude00\u2028", "label": null, "extra": [1]}',
        ]
        rows, broken = read(write(tmp_path / "a.jsonl", "\n".join(lines) + "\n\n"))
        assert rows == [{"text": "好\n", "label": 1}, {"text": "😀\u2028", "label": None, "extra": [1]}]
        assert [row.number for row in broken] == [2, 3, 4, 5, 6]
        assert broken[0].reason == "blank line"
        assert broken[1].reason.startswith("not valid JSON")
        assert broken[1].content == lines[2]
        assert broken[2].reason == "not a JSON object: a list"
        assert broken[3].reason == "not valid Unicode: half a surrogate pair (\\ud83d)"
        assert broken[4].reason == "not valid JSON: nested too deeply"

    def test_columns_are_the_keys_of_all_objects(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.ndjson", '{"text": "好"}\n{"text": "坏", "label": 0}\n')
        assert DataFile.open(path).columns == ("text", "label")


class TestParquet:
    def test_rows_keep_their_types(self, tmp_path: Path) -> None:
        table = pa.table({"text": ["好", None, "坏"], "label": [1, 0, None], "more": [{"a": 1}, {"a": 2}, None]})
        pq.write_table(table, tmp_path / "a.parquet")
        rows, broken = read(tmp_path / "a.parquet", batching={"rows_per_batch": 2})
        assert rows == table.to_pylist()
        assert broken == []

    def test_a_value_that_is_not_utf8_breaks_its_row(self, tmp_path: Path) -> None:
        text = pa.array([b"ok", b"\xb5\xe3", "好".encode()]).cast(pa.binary())
        text = pa.Array.from_buffers(pa.string(), 3, text.buffers())
        pq.write_table(pa.table({"text": text, "label": [0, 1, 2]}), tmp_path / "a.parquet")
        rows, broken = read(tmp_path / "a.parquet")
        assert [row["text"] for row in rows] == ["ok", "好"]
        assert broken[0].number == 2
        assert broken[0].reason == "column 'text' is not valid UTF-8: byte 0xb5 at offset 0"
        assert json.loads(broken[0].content) == {"text": "\\xb5\\xe3", "label": 1}

    @pytest.mark.parametrize("damage", ["cut", "footer", "page"])
    def test_damage_is_reported_with_the_name_of_the_file(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "a.parquet"
        table = pa.table({"text": [f"评论{i}" for i in range(5000)]})
        pq.write_table(table, path, write_page_checksum=True, use_dictionary=False)
        content = bytearray(path.read_bytes())
        if damage == "cut":
            content = content[: len(content) // 2]
        else:
            at = len(content) - 20 if damage == "footer" else len(content) // 2
            content[at : at + 8] = b"\xff" * 8
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.parquet is damaged or cut short"):
            read(path)


class TestEncodings:
    TEXT = "text\tlabel\n" + "房间很大，服务周到。\t1\n太差了\t0\n" * 50

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
    @pytest.mark.parametrize("given", ["auto", "same"])
    def test_each_encoding_gives_the_same_rows(self, tmp_path: Path, encoding: str, given: str) -> None:
        path = write(tmp_path / "a.tsv", self.TEXT.encode(encoding))
        assert DataFile.open(path).encoding == encoding
        rows, broken = read(path, file_encoding="auto" if given == "auto" else encoding)
        assert rows[0] == {"text": "房间很大，服务周到。", "label": "1"}
        assert (len(rows), len(broken)) == (100, 0)

    def test_a_mark_is_taken_off_even_where_the_configuration_does_not_expect_it(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", self.TEXT.encode("utf-8-sig"))
        assert read(path, file_encoding="utf-8")[0][0] == {"text": "房间很大，服务周到。", "label": "1"}

    def test_a_few_damaged_lines_do_not_make_a_file_gb18030(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", self.TEXT.encode() + "服务 好\t1\n".encode("gb18030") + "太差了\t0\n".encode())
        assert DataFile.open(path).encoding == "utf-8"
        rows, broken = read(path)
        assert len(rows) == 101
        assert broken == [
            BrokenRow(101, "not valid UTF-8: byte 0xb7 at column 1", "\\xb7\\xfe\\xce\\xf1 \\xba\\xc3\t1")
        ]

    def test_damaged_lines_in_gb18030_that_is_named(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", self.TEXT.encode("gb18030") + b"ok \xff\t1\n")
        with pytest.raises(DataError, match=r"neither UTF-8 nor GB18030.*byte 0xb7 at offset 11 \(line 2\)"):
            DataFile.open(path)
        rows, broken = read(path, file_encoding="gb18030")
        assert len(rows) == 100
        assert broken == [BrokenRow(101, "not valid GB18030: byte 0xff at column 4", "ok \\xff\t1")]

    def test_another_encoding_than_the_configuration_says(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", self.TEXT.encode("gb18030"))
        with pytest.raises(DataError, match=r"is not utf-8 text(?s:.*)file_encoding to auto"):
            DataFile.open(path, ReadingOptions(file_encoding="utf-8"))

    def test_a_character_across_two_pieces_of_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", "text\n" + "字" * 700_000 + "\n")
        assert DataFile.open(path).encoding == "utf-8"


class TestFormat:
    @pytest.mark.parametrize(
        ("name", "content", "looks_like"),
        [
            ("a.csv", b"PK\x03\x04....", "a ZIP archive or an Excel workbook"),
            ("a.csv", b"\x1f\x8b\x08\x00", "a gzip archive"),
            ("a.tsv", b"PAR1\x15\x04", "a Parquet file"),
            ("a.csv", "text,label\n".encode("utf-16-le"), "UTF-16 text or a binary file"),
            ("a.csv", b"<!DOCTYPE html>\n<html></html>\n", "a web page or XML"),
            ("a.csv", b'{"text": "a", "label": 1}\n', "JSON lines"),
            ("a.jsonl", b'[{"text": "a"}]\n', "a JSON array"),
            ("a.jsonl", b'{\n  "text": "a"\n}\n', "indented JSON"),
            ("a.jsonl", b"text,label\na,1\n", "text in which no line begins with '{'"),
            ("a.parquet", b"text,label\na,1\n", "a file without Parquet's signature PAR1"),
            ("a.parquet", b'{"text": "a"}\n', "JSON lines"),
        ],
    )
    def test_content_that_belies_the_ending(self, tmp_path: Path, name: str, content: bytes, looks_like: str) -> None:
        with pytest.raises(DataError) as caught:
            DataFile.open(write(tmp_path / name, content))
        assert looks_like in str(caught.value)
        assert name in str(caught.value)

    def test_commas_in_a_tsv(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"separated by commas.*\n.*\.csv"):
            DataFile.open(write(tmp_path / "a.tsv", "好,1\n坏,0\n"), ReadingOptions(column_names=("text", "label")))

    @pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n"])
    @pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
    def test_an_empty_file(self, tmp_path: Path, content: bytes, ending: str) -> None:
        with pytest.raises(DataError, match="is empty"):
            DataFile.open(write(tmp_path / f"a{ending}", content))

    def test_an_unknown_ending_and_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"expected one of \.csv, .*found '\.doc'"):
            DataFile.open(write(tmp_path / "a.doc", "text,label\n"))
        with pytest.raises(DataError, match="does not exist"):
            DataFile.open(tmp_path / "a.csv")

    def test_a_header_line_and_nothing_else(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,label\n")
        assert DataFile.open(path).columns == ("text", "label")
        assert list(DataFile.open(path).batches()) == []

    def test_columns_that_are_named_twice(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="more than one column named 'text'"):
            DataFile.open(write(tmp_path / "a.csv", "text,label,text\n"))


def test_parquet_values_that_python_has_no_form_for_break_their_row_only(tmp_path: Path) -> None:
    days = pa.array([0, 2**31 - 1], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"text": ["好", "坏"], "day": days}), tmp_path / "a.parquet")
    batches = list(DataFile.open(tmp_path / "a.parquet").batches())
    assert [row["text"] for batch in batches for row in batch.rows] == ["好"]
    broken = [row for batch in batches for row in batch.broken]
    assert [(row.number, row.reason.split(":")[0]) for row in broken] == [(2, "column 'day' cannot be read")]
    [whole] = DataFile.open(tmp_path / "a.parquet").batches(columns=["text"])
    assert whole.rows == [{"text": "好"}, {"text": "坏"}]


class TestLineEnds:
    @pytest.mark.parametrize("end", ["\r\n", "\n"])
    def test_line_ends_inside_quotes_stay_as_they_are(self, tmp_path: Path, end: str) -> None:
        values = ["第一行\r\n第二行", "第一行\n第二行", "第一行\r第二行", "空行\r\n\r\n之后\r\n"]
        body = "".join(f'"{value}",1{end}' for value in values)
        # The damaged line makes the block of lines go the slow way.
        for damaged in (b"", b"\xff,0" + end.encode()):
            path = write(tmp_path / "a.csv", f"text,label{end}{body}".encode() + damaged + body.encode())
            rows, broken = read(path)
            assert [row["text"] for row in rows] == values * 2
            assert [(row.number, row.content) for row in broken] == ([(5, "\\xff,0")] if damaged else [])

    def test_a_value_of_blank_lines_across_two_blocks(self, tmp_path: Path) -> None:
        value = "好" + "\r\n" * 40
        lines = [f'"{value}",{number}\r\n' for number in range(20_000)]
        rows, broken = read(write(tmp_path / "a.csv", "text,label\r\n" + "".join(lines) + "\r\n\r\n"))
        assert (len(rows), broken) == (20_000, [])
        assert {row["text"] for row in rows} == {value}

    def test_broken_rows_are_shown_without_their_line_end(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", 'text,label\r\n好,1,2\r\n"坏"x,0\r\n\r\n"未完,0\r\n')
        assert [row.content for row in read(path)[1]] == ["好,1,2", '"坏"x,0', "", '"未完,0']


@pytest.mark.parametrize("depth", [250, 900, 960, 990])
def test_json_that_is_nested_as_deep_as_can_be_read_breaks_its_row(tmp_path: Path, depth: int) -> None:
    line = f'{{"text": "好\\u4f60", "more": {"[" * depth}{"]" * depth}}}'
    rows, broken = read(write(tmp_path / "a.jsonl", f'{line}\n{{"text": "{"[" * 300}", "label": 1}}\n'))
    assert [(row.number, row.reason) for row in broken] == [(1, "not valid JSON: nested too deeply")]
    assert rows == [{"text": "[" * 300, "label": 1}]


def test_a_file_that_changes_between_its_rows_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + "好,1\n" * 10)
    file = DataFile.open(path)
    batches = file.batches(rows_per_batch=5)
    next(batches)
    file.check_unchanged()
    with path.open("a", encoding="utf-8") as stream:
        stream.write("坏,0\n")
    assert len(list(batches)) == 2
    with pytest.raises(DataError, match=r"a\.csv was changed while it was being read"):
        file.check_unchanged()


class TestTextFiles:
    @pytest.mark.parametrize(
        ("content", "options", "format_", "rows"),
        [
            (
                "label\ttext\n1\t\"很, 好\n0\t'差'\n",
                {},
                "tsv",
                [{"label": "1", "text": '"很, 好'}, {"label": "0", "text": "'差'"}],
            ),
            (
                "体育\t比赛开始, 了\r\n财经\t股市, 涨了\r\n",
                {"column_names": ("label", "text")},
                "tsv",
                [{"label": "体育", "text": "比赛开始, 了"}, {"label": "财经", "text": "股市, 涨了"}],
            ),
            ('text,label\n"很, 好\r\n",1\n', {}, "csv", [{"text": "很, 好\r\n", "label": "1"}]),
            ("text|label\n好|1\n", {"delimiter": "|"}, "csv", [{"text": "好", "label": "1"}]),
            ('text\tlabel\r\n"好\t1\r\n', {"delimiter": "\t"}, "tsv", [{"text": '"好', "label": "1"}]),
        ],
    )
    def test_the_delimiter_tells_the_format(
        self, tmp_path: Path, content: str, options: dict[str, Any], format_: str, rows: list[dict[str, object]]
    ) -> None:
        for ending, data in ((".txt", content.encode()), (".txt.gz", gzip.compress(content.encode()))):
            path = write(tmp_path / f"a{ending}", data)
            assert DataFile.open(path, ReadingOptions(**options)).format == format_
            assert read(path, **options) == (rows, [])
