"""A corpus of files as users really have them: each is refused with a reason, or read with every row accounted for."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from textclf.errors import DataError, EmptyFileError, StorageError, TextclfError
from textclf.reading.data_file import DataFile, ReadingOptions

GOOD = "text,label\n房间很大,1\n太差了,0\n"
GOOD_ROWS = [("房间很大", "1"), ("太差了", "0")]
CHINESE = "房间很大，服务周到，下次还会再来"


@dataclass(frozen=True)
class Refused:
    """The file is refused at the call, with this error."""

    message: str
    kind: type[TextclfError] = DataError


@dataclass(frozen=True)
class Read:
    """The rows that survive, as tuples of their values, and the broken ones: number and the reason's beginning."""

    rows: list[tuple[object, ...]]
    broken: dict[int, str] = field(default_factory=dict)
    columns: list[str] = field(default_factory=lambda: ["text", "label"])


@dataclass(frozen=True)
class Case:
    name: str
    maker: Callable[[Path], object]
    outcome: Refused | Read
    file: str = "a.csv"
    options: dict[str, Any] = field(default_factory=dict)


def holds(content: str | bytes, encoding: str = "utf-8") -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)


def workbook(*rows: tuple[object, ...]) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        stream = io.BytesIO()
        with xlsxwriter.Workbook(stream) as book:
            sheet = book.add_worksheet("评论")
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
        path.write_bytes(stream.getvalue())

    return make


def stray_cell(path: Path) -> None:
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["text", "label"])
        sheet.write(1_048_575, 16_383, "x")


def archive(members: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


def encrypted_archive(path: Path) -> None:
    content = bytearray(archive({"reviews.csv": GOOD}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)


def changed_archive(path: Path) -> None:
    content = archive({"reviews.csv": CHINESE})
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        checksum = file.infolist()[0].CRC.to_bytes(4, "little")
    path.write_bytes(content.replace(checksum, b"\x01\x02\x03\x04"))


def parquet(path: Path, share: float = 1) -> None:
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": [f"评论{number}" for number in range(2000)]}), stream)
    path.write_bytes(stream.getvalue()[: int(len(stream.getvalue()) * share)])


def cut_parquet(path: Path) -> None:
    parquet(path, share=0.5)


def loop(path: Path) -> None:
    path.symlink_to(path)


def forbidden(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    holds(GOOD)(path)
    path.chmod(0)


def long_line(path: Path) -> None:
    path.write_bytes(b"text,label\n" + b"x" * (17 << 20) + "\n太差了,0\n".encode())


def bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(b"text,label\n")
        for _ in range(40):
            stream.write(b"x" * (1 << 20))
        stream.write("\n太差了,0\n".encode())


def nothing(path: Path) -> None:
    assert not path.exists()


MARK = "\ufeff"
OLE = codecs.decode("d0cf11e0a1b11ae1", "hex")
LONG_NUMBER = "1" * 5000 + "}"
QUOTED_1000 = '"' + "一行\n" * 1000 + '"'
EMPTY = Refused(r"is empty: it has neither columns nor rows", EmptyFileError)
CUT = Refused(r"is damaged, cut short or has other bytes after its end: .+\nFetch or write it again")

CASES = [
    # Nothing to read
    Case("no bytes", holds(b""), EMPTY),
    Case("a byte order mark only", holds(MARK), EMPTY),
    Case("blank lines only", holds("\n\r\n \n"), EMPTY),
    Case("a header line only", holds("text,label\n"), Read([])),
    Case("a header line without an end", holds("text,label"), Read([])),
    # Lines and their ends
    Case("blank lines", holds("text,label\n好,1\n\n坏,0\n\n\n"), Read([("好", "1"), ("坏", "0")], {2: "blank line"})),
    Case("lines that end in CR", holds(GOOD.replace("\n", "\r")), Refused(r"seem to end in lone carriage returns")),
    Case("mixed line ends", holds("text,label\r\n房间很大,1\n太差了,0\r\n\r\n"), Read(GOOD_ROWS)),
    Case(
        "a CR in a row",
        holds("text,label\n好\r的,1\n坏,0\n"),
        Read([("坏", "0")], {1: "not valid CSV: a lone carriage"}),
    ),
    Case(
        "NUL bytes in a row",
        holds(b"text,label\nab\0\0c,1\n" + "太差了,0\n".encode()),
        Read([("太差了", "0")], {1: "NUL byte: at column 3"}),
    ),
    Case("a line of 17 MiB", long_line, Read([("太差了", "0")], {1: "longer than 16 MiB: 17,825,793 bytes"})),
    # Encodings
    Case(
        "UTF-8 with a cut character",
        holds(GOOD.encode() + "好".encode()[:2] + b",1\n"),
        Read(GOOD_ROWS, {3: "not valid UTF-8: byte 0xe5 at column 1"}),
    ),
    Case(
        "UTF-8 that ends within a character",
        holds(GOOD.encode() + "好".encode()[:2]),
        Read(GOOD_ROWS, {3: "not valid UTF-8: byte 0xe5 at column 1"}),
    ),
    Case(
        "GB18030 with a damaged line",
        holds(GOOD.encode("gb18030") + b"ok \xff,1\n"),
        Refused(r"neither UTF-8 nor GB18030(?s:.*)set file_encoding to gb18030"),
    ),
    Case(
        "GB18030 with a damaged line, named",
        holds(GOOD.encode("gb18030") + b"ok \xff,1\n"),
        Read(GOOD_ROWS, {3: "not valid GB18030: byte 0xff at column 4"}),
        options={"file_encoding": "gb18030"},
    ),
    Case("GB18030 with a byte order mark", holds(MARK + GOOD, "gb18030"), Read(GOOD_ROWS)),
    Case("Latin-1", holds("text,label\ncafé,1\nnaïve,0\ntrès,1\n", "latin-1"), Refused(r"neither UTF-8 nor GB18030")),
    Case(
        "Big5, named",
        holds("text,label\n宏碁很好,1\n", "cp950"),
        Read([("宏碁很好", "1")]),
        options={"file_encoding": "big5"},
    ),
    Case("UTF-16 without a mark", holds(GOOD, "utf-16-le"), Refused(r"looks like UTF-16 text or a binary file")),
    Case(
        "UTF-16 without a mark, named", holds(GOOD, "utf-16-be"), Read(GOOD_ROWS), options={"file_encoding": "utf-16"}
    ),
    Case("UTF-16, little end first", holds(MARK + GOOD, "utf-16-le"), Read(GOOD_ROWS)),
    Case("UTF-16, big end first", holds(MARK + GOOD, "utf-16-be"), Read(GOOD_ROWS)),
    Case(
        "what Excel calls Unicode text", holds((MARK + GOOD).replace(",", "\t"), "utf-16-le"), Read(GOOD_ROWS), "a.tsv"
    ),
    Case(
        "UTF-16 with half a character and cut short",
        holds((MARK + GOOD).encode("utf-16-le") + b"\x3d\xd8,\x001\x00\n\x00" + b"\x7d\x59,"),
        Read(GOOD_ROWS, {3: "not valid UTF-16: half a character at column 1", 4: "not valid UTF-16: half a character"}),
    ),
    Case("not UTF-16 as is said", holds(GOOD), Refused(r"is not utf-16 text"), options={"file_encoding": "utf-16"}),
    Case("UTF-32", holds(GOOD, "utf-32"), Refused(r"looks like UTF-32 text")),
    Case("a byte order mark before the header", holds(MARK + GOOD), Read(GOOD_ROWS)),
    Case("two byte order marks", holds(MARK + MARK + GOOD), Read(GOOD_ROWS)),
    # Quotes and fields
    Case(
        "an unclosed quote",
        holds('text,label\n"房间很大,1\n太差了,0\n'),
        Read([("太差了", "0")], {1: "not valid CSV: a quote is opened and not closed"}),
    ),
    Case("a quote in the middle", holds('text,label\n15" 的屏幕,1\n'), Read([('15" 的屏幕', "1")])),
    Case(
        "text after a closing quote",
        holds('text,label\n"好"的,1\n太差了,0\n'),
        Read([("太差了", "0")], {1: "not valid CSV: a quote inside a quoted value"}),
    ),
    Case(
        "a quoted value of 1,000 lines",
        holds(f"text,label\n{QUOTED_1000},1\n太差了,0\n"),
        Read(
            [("太差了", "0")],
            {1: "not valid CSV: a quote is opened"}
            | dict.fromkeys(range(2, 1001), "wrong number of fields: expected 2, found 1")
            | {1001: "not valid CSV: a quote is opened"},
        ),
    ),
    Case(
        "too few and too many fields",
        holds("text,label\n好\n好,1,2\n太差了,0\n"),
        Read([("太差了", "0")], {1: "wrong number of fields: expected 2, found 1", 2: "wrong number of fields"}),
    ),
    # Headers
    Case("a name twice", holds("text,label,text\n好,1,好\n"), Refused(r"more than one column named 'text'")),
    Case("a blank header line", holds("\ntext,label\n好,1\n"), Refused(r"header line .* cannot be read: it is blank")),
    Case("a header line in quotes", holds('"text","label"\n好,1\n'), Read([("好", "1")])),
    Case("a name of two lines", holds('"评\n论",label\n好,1\n'), Read([("好", "1")], columns=["评\n论", "label"])),
    Case(
        "a quote never closed in the header line",
        holds('"text,label\n好,1\n'),
        Refused(r"header line .* a quote is opened"),
    ),
    Case("a header line with a bad byte", holds(b"te\xff,label\n" + "好,1\n坏,0\n".encode()), Refused("header line")),
    # Delimiters
    Case("semicolons", holds("text;label\n好,很好;1\n坏;0\n"), Read([("好,很好", "1"), ("坏", "0")])),
    Case("vertical bars", holds("text|label\n好|1\n坏|0\n"), Read([("好", "1"), ("坏", "0")])),
    Case("tabs", holds('text\tlabel\n"好\t很好"\t1\n坏\t0\n'), Read([("好\t很好", "1"), ("坏", "0")])),
    Case("one semicolon per row", holds("text,label\n好;坏,1\n行;否,0\n"), Read([("好;坏", "1"), ("行;否", "0")])),
    Case("one column", holds("text\n好\n坏\n"), Read([("好",), ("坏",)], columns=["text"])),
    Case(
        "another delimiter than is said",
        holds("text;label\n好;1\n"),
        Refused(r"should be separated by commas .* separated by semicolons(?s:.*)Set delimiter to auto or ';'"),
        options={"delimiter": ","},
    ),
    Case("commas in a TSV", holds(GOOD), Refused(r"separated by commas(?s:.*)Rename it to \.csv"), "a.tsv"),
    # Other formats under this name
    Case("a web page", holds("<!DOCTYPE html>\n<html></html>\n"), Refused(r"looks like a web page")),
    Case("a Parquet file", parquet, Refused(r"looks like a Parquet file")),
    Case("a workbook", workbook(("text", "label"), ("好", 1)), Refused(r"looks like .* or an Excel workbook")),
    Case("gzip", holds(gzip.compress(GOOD.encode())), Refused(r"looks like a gzip archive")),
    # JSON lines
    Case("a JSON array", holds('[{"text": "好"}]\n'), Refused(r"a JSON array"), "a.jsonl"),
    Case("indented JSON", holds(json.dumps({"text": "好"}, indent=1)), Refused(r"indented JSON"), "a.jsonl"),
    Case(
        "JSON lines with a cut last line",
        holds('{"text": "好", "label": 1}\n{"text": "坏", "la'),
        Read([("好", 1)], {2: "not valid JSON: Unterminated string"}),
        "a.jsonl",
    ),
    Case(
        "JSON of great depth, and no object",
        holds('{"text": "好", "label": 1}\n' + "[" * 200_000 + "\n[1]\nnull\n"),
        Read(
            [("好", 1)],
            {
                2: "not valid JSON: nested too deeply",
                3: "not a JSON object: a list",
                4: "not a JSON object: a NoneType",
            },
        ),
        "a.jsonl",
    ),
    Case(
        "numbers that JSON does not have, and one of 5,000 digits",
        holds(
            '{"text": "好", "label": NaN}\n{"text": "坏", "label": -Infinity}\n{"text": "坏", "label": ' + LONG_NUMBER
        ),
        Read([("好", math.nan), ("坏", -math.inf)], {3: "not valid JSON: Exceeds the limit (4300 digits)"}),
        "a.jsonl",
    ),
    Case(
        "half a surrogate pair",
        holds('{"text": "好", "label": 1}\n{"text": "\\ud83d", "label": 0}\n'),
        Read([("好", 1)], {2: "not valid Unicode: half a surrogate pair"}),
        "a.jsonl",
    ),
    # Parquet
    Case("Parquet cut short", cut_parquet, Refused(r"a\.parquet is damaged or cut short"), "a.parquet"),
    Case("CSV as Parquet", holds(GOOD), Refused(r"without Parquet's signature"), "a.parquet"),
    # Excel
    Case("CSV as a workbook", holds(GOOD), Refused(r"ends in \.xlsx but looks like plain text"), "a.xlsx"),
    Case("a web page as a workbook", holds("<html><table></table></html>"), Refused(r"looks like a web page"), "a.xls"),
    Case("an encrypted workbook", holds(OLE + b"\0" * 4096), Refused(r"encrypted with a password"), "a.xlsx"),
    Case(
        "a new workbook as an old one", workbook(("text",), ("好",)), Refused(r"ends in \.xls but looks like"), "a.xls"
    ),
    Case("an old workbook that is damaged", holds(OLE + b"\xff" * 4096), Refused(r"a\.xls is damaged"), "a.xls"),
    Case("a workbook cut short", holds(b"PK\x03\x04" + b"\0" * 500), Refused(r"a\.xlsx is damaged"), "a.xlsx"),
    Case("an archive as a workbook", holds(archive({"a.csv": GOOD})), Refused(r"a\.xlsx is damaged"), "a.xlsx"),
    Case("a workbook without rows", workbook(), Refused(r"The sheet '评论' of .* is empty", EmptyFileError), "a.xlsx"),
    Case("a workbook with a header only", workbook(("text", "label")), Read([]), "a.xlsx"),
    Case("a workbook with a name twice", workbook(("text", "text")), Refused(r"more than one column named"), "a.xlsx"),
    Case(
        "a workbook with a title above the header",
        workbook(("2026年评论", ""), ("text", "label"), ("好", 1)),
        Refused(r"no name for column 2 of 2(?s:.*)delete any title above it"),
        "a.xlsx",
    ),
    Case(
        "a workbook with a stray cell far away",
        stray_cell,
        Refused(r"reach to row 1,048,576 and column 16,384"),
        "a.xlsx",
    ),
    # Compression
    Case("gzip cut short", holds(gzip.compress(GOOD.encode())[:-9]), CUT, "a.csv.gz"),
    Case("bzip2 cut short", holds(bz2.compress(GOOD.encode())[:-9]), CUT, "a.csv.bz2"),
    Case("xz cut short", holds(lzma.compress(GOOD.encode())[:-9]), CUT, "a.csv.xz"),
    Case("gzip with other bytes after it", holds(gzip.compress(GOOD.encode()) + b"<html>"), CUT, "a.csv.gz"),
    Case("bzip2 with other bytes after it", holds(bz2.compress(GOOD.encode()) + b"<html>"), CUT, "a.csv.bz2"),
    Case("xz with other bytes after it", holds(lzma.compress(GOOD.encode()) + b"<html>" * 9), CUT, "a.csv.xz"),
    Case(
        "text as gzip", holds(GOOD), Refused(r"is not compressed with gzip(?s:.*)remove \.gz from its name"), "a.csv.gz"
    ),
    Case(
        "bzip2 as gzip", holds(bz2.compress(GOOD.encode())), Refused(r"is a bzip2 file(?s:.*)end in \.bz2"), "a.csv.gz"
    ),
    Case("gzip without any content", holds(gzip.compress(b"")), EMPTY, "a.csv.gz"),
    Case("gzip of a web page", holds(gzip.compress(b"<html></html>")), Refused(r"looks like a web page"), "a.csv.gz"),
    Case("compressed Parquet", parquet, Refused(r"a compressed \.parquet file, which cannot be read"), "a.parquet.gz"),
    Case(
        "a line that grows to 40 MiB", bomb, Read([("太差了", "0")], {1: "longer than 16 MiB: 41,943,041"}), "a.csv.gz"
    ),
    Case(
        "an archive of two files",
        holds(archive({"甲.csv": GOOD, "乙.csv": GOOD})),
        Refused(r"must hold exactly one data file, but it holds 2:\n  - 甲\.csv\n  - 乙\.csv\nUnpack it"),
        "a.zip",
    ),
    Case("an archive of nothing", holds(archive({})), Refused(r"holds 0\.\nUnpack it"), "a.csv.zip"),
    Case("an archive of a document", holds(archive({"a.doc": GOOD})), Refused(r"a file that ends in '\.doc'"), "a.zip"),
    Case("an archive of a text", holds(archive({"a.txt": GOOD})), Read(GOOD_ROWS), "a.zip"),
    Case("an encrypted archive", encrypted_archive, Refused(r"reviews\.csv in the ZIP .* is encrypted"), "a.zip"),
    Case("an archive with a wrong checksum", changed_archive, CUT, "a.zip"),
    Case("an archive cut short", holds(archive({"a.csv": GOOD})[:-30]), CUT, "a.zip"),
    # Paths
    Case("a folder", lambda path: path.mkdir(), Refused(r"is a directory")),
    Case("no file", nothing, Refused(r"does not exist")),
    Case("no permission", forbidden, Refused(r"could not be read: Permission denied", StorageError)),
    Case("a link to itself", loop, Refused(r"could not be read: Too many levels of symbolic links", StorageError)),
    Case("an unknown ending", holds(GOOD), Refused(r"expected one of \.csv, .*found '\.doc'"), "a.doc"),
    Case("no ending", holds(GOOD), Refused(r"found ''"), "reviews"),
    Case("an ending in upper case", holds(GOOD), Read(GOOD_ROWS), "A.CSV"),
    Case("two endings in upper case", holds(gzip.compress(GOOD.encode())), Read(GOOD_ROWS), "A.CSV.GZ"),
    Case("a workbook in upper case", workbook(("text", "label"), ("好", 1)), Read([("好", "1")]), "A.XLSX"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_file(case: Case, tmp_path: Path) -> None:
    path = tmp_path / case.file
    case.maker(path)
    if isinstance(case.outcome, Refused):
        with pytest.raises(case.outcome.kind, match=case.outcome.message) as caught:
            DataFile.open(path, ReadingOptions(**case.options))
        assert type(caught.value) is case.outcome.kind
        assert case.file in str(caught.value), "the message names the file"
        return
    batches = list(DataFile.open(path, ReadingOptions(**case.options)).batches())
    broken = {row.number: row.reason for batch in batches for row in batch.broken}
    rows = [tuple(row.values()) for batch in batches for row in batch.rows]
    assert repr(rows) == repr(case.outcome.rows), "NaN is not equal to itself"
    assert broken.keys() == case.outcome.broken.keys()
    assert {n: r for n, r in broken.items() if not r.startswith(case.outcome.broken[n])} == {}
    numbers = sorted([*broken, *(number for batch in batches for number in batch.numbers)])
    assert numbers == list(range(1, len(numbers) + 1)), "each row once, none lost"
    assert list(DataFile.open(path, ReadingOptions(**case.options)).columns) == case.outcome.columns
