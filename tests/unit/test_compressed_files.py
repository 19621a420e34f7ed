"""Compressed files give the rows of what they hold; their size and that of others does not show in the memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from textclf.errors import DataError
from textclf.reading.data_file import DataFile


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("数据/", b"")
        archive.writestr("数据/评论.csv", content)
        archive.writestr("__MACOSX/数据/._评论.csv", b"\0\5")
        archive.writestr("数据/.DS_Store", b"\0\0")
    return stream.getvalue()


COMPRESSORS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    ".csv.gz": ("gzip", gzip.compress),
    ".csv.bz2": ("bzip2", bz2.compress),
    ".csv.xz": ("xz", lzma.compress),
    ".csv.zst": ("zstd", lambda content: pa.compress(content, codec="zstd", asbytes=True)),
    ".csv.zip": ("zip", zipped),
    ".zip": ("zip", zipped),
}
CONTENT = "text,label\n" + '"房间很大,\n服务周到",1\n太差了,0\n' * 20_000


def rows_of(path: Any) -> Any:
    return [row for batch in DataFile.open(path).batches() for row in batch.rows]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
@pytest.mark.parametrize("ending", COMPRESSORS)
def test_the_rows_and_the_encoding_are_those_of_the_content(tmp_path: Path, ending: Any, encoding: str) -> None:
    compression, compress = COMPRESSORS[ending]
    path = tmp_path / f"reviews{ending}"
    path.write_bytes(compress(CONTENT.encode(encoding)))
    (tmp_path / "plain.csv").write_bytes(CONTENT.encode(encoding))
    rows = rows_of(path)
    assert rows == rows_of(tmp_path / "plain.csv")
    assert rows[:2] == [{"text": "房间很大,\n服务周到", "label": "1"}, {"text": "太差了", "label": "0"}]
    assert len(rows) == 40_000
    found = DataFile.open(path)
    assert (found.format, found.compression, found.encoding, found.delimiter) == ("csv", compression, encoding, ",")
    assert found.columns == ("text", "label")
    assert found.size_bytes == path.stat().st_size


@pytest.mark.parametrize("ending", [ending for ending in COMPRESSORS if "zip" not in ending])
def test_files_that_were_put_one_after_the_other_are_read_to_the_end(tmp_path: Path, ending: Any) -> None:
    _, compress = COMPRESSORS[ending]
    path = tmp_path / f"reviews{ending}"
    first, second = compress(CONTENT.encode()), compress("很好,9\n".encode())
    path.write_bytes(first + second)
    rows = rows_of(path)
    assert (len(rows), rows[-1]) == (40_001, {"text": "很好", "label": "9"})
    # If the second is damaged at its beginning, some tools stop there and lose its rows.
    path.write_bytes(first + b"\1" + second[1:])
    with pytest.raises(DataError, match=r"is damaged, cut short or has other bytes after its end"):
        DataFile.open(path)


def test_padding_between_the_parts_of_an_xz_file(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv.xz"
    path.write_bytes(lzma.compress("text\n好\n".encode()) + b"\0" * 8 + lzma.compress("坏\n".encode()) + b"\0" * 4)
    assert [row["text"] for row in rows_of(path)] == ["好", "坏"]


@pytest.mark.parametrize(
    ("name", "content", "row"),
    [
        ("reviews.tsv.gz", 'text\tlabel\n"好\t1\n', {"text": '"好', "label": "1"}),
        ("reviews.jsonl.gz", '{"text": "好", "label": 1}\n', {"text": "好", "label": 1}),
        ("reviews.ndjson.gz", '{"text": "好", "label": 1}\n', {"text": "好", "label": 1}),
    ],
)
def test_the_other_text_formats(tmp_path: Path, name: str, content: str, row: Any) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()))
    assert rows_of(path) == [row]


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
def test_the_names_of_members_are_shown_as_their_author_wrote_them(tmp_path: Path, encoding: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for letter in "ab":
            archive.writestr(letter * len("评论.csv".encode(encoding)), "text\n好\n")
    content = stream.getvalue()
    for letter, name in (("a", "评论.csv"), ("b", "新闻.csv")):
        content = content.replace((letter * len(name.encode(encoding))).encode(), name.encode(encoding))
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"  - 评论\.csv\n  - 新闻\.csv"):
        DataFile.open(tmp_path / "a.zip")


@pytest.mark.parametrize("ending", [*COMPRESSORS, ".csv", ".tsv", ".jsonl"])
def test_memory_does_not_grow_with_the_content(tmp_path: Path, ending: Any) -> None:
    _, compress = COMPRESSORS.get(ending, (None, bytes))
    line = b'{"text": "%b"}\n' if ending == ".jsonl" else b"%b\t1\n" if ending == ".tsv" else b"%b,1\n"
    path = tmp_path / f"many{ending}"
    path.write_bytes(compress((b"" if ending == ".jsonl" else line % b"text") + line % (b"x" * 990) * 60_000))
    tracemalloc.start()
    assert sum(len(batch.rows) for batch in DataFile.open(path).batches(rows_per_batch=500)) == 60_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The window of xz alone is 8 MiB.
    assert peak < 25_000_000
