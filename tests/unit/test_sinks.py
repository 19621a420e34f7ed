"""What each output format looks like, and whether values survive it."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textclf.prediction.outputs import Sink, added_columns, make_sink, to_json
from textclf.reading.data_file import DataFile

ADDED = pa.schema([("label", pa.string()), ("score", pa.float32()), ("at", pa.timestamp("us", tz="UTC"))])
AT = datetime.datetime(2026, 11, 5, 8, 15, tzinfo=datetime.UTC)
TEXT_SCHEMA = pa.schema([("text", pa.string()), ("shop", pa.string())])


def written(sink: Sink, folder: Path, *shards: list[dict[str, Any]]) -> tuple[bytes, int]:
    """Returns the file assembled from some shards, and how many rows were escaped."""
    parts = []
    escaped = 0
    for index, rows in enumerate(shards):
        part = folder / f"part-{index}"
        with part.open("wb") as stream:
            escaped += sink.write_part(stream, rows, [[value] * len(rows) for value in ("正面", 0.75, AT)])
        parts.append(part)
    stream_out = io.BytesIO()
    sink.assemble(stream_out, parts)
    return stream_out.getvalue(), escaped


def test_added_columns_have_a_fixed_order() -> None:
    columns = added_columns(["text"], with_row=True, probability_labels=["负面", "正面"])
    assert columns.names == [
        "row",
        "label",
        "score",
        "probability_负面",
        "probability_正面",
        "model_name",
        "model_version",
        "predicted_at",
        "run_id",
    ]


@pytest.mark.parametrize(
    ("input_columns", "name"),
    [
        (["text"], "label"),
        (["text", "label"], "predicted_label"),
        (["text", "label", "predicted_label"], "predicted_predicted_label"),
    ],
)
def test_an_added_column_gives_way_to_a_column_of_the_input(input_columns: list[str], name: str) -> None:
    columns = added_columns(input_columns, with_row=False, probability_labels=[]).names
    assert columns[0] == name
    assert not set(columns) & set(input_columns)


def test_csv_is_quoted_so_that_every_value_survives(tmp_path: Path) -> None:
    values = ['逗号,引号"换行\n回车\r两者\r\n完', " 空格 ", "", "制表\t符", '"', "'=1+1"]
    rows = [{"text": value, "shop": "店"} for value in values]
    content, escaped = written(make_sink("csv", TEXT_SCHEMA, ADDED, byte_order_mark=False), tmp_path, rows)
    found = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert [row["text"] for row in found] == values
    assert found[0] == {"text": values[0], "shop": "店", "label": "正面", "score": "0.75", "at": "2026-11-05T08:15:00Z"}
    assert escaped == 0


def test_our_own_reader_reads_what_the_csv_sink_writes(tmp_path: Path) -> None:
    values = ['逗号,引号"换行\n完', "普通", "a\tb"]
    rows = [{"text": value, "shop": "店"} for value in values]
    content, _ = written(make_sink("csv", TEXT_SCHEMA, ADDED, byte_order_mark=True), tmp_path, rows)
    (tmp_path / "out.csv").write_bytes(content)
    (batch,) = DataFile.open(tmp_path / "out.csv").batches()
    assert not batch.broken
    assert [row["text"] for row in batch.rows] == values


def test_tsv_writes_tabs_and_line_breaks_as_two_characters_and_counts_the_rows(tmp_path: Path) -> None:
    rows = [{"text": "一\t二\n三\r四", "shop": "店"}, {"text": r"C:\new \t", "shop": '半个"引号'}]
    content, escaped = written(make_sink("tsv", TEXT_SCHEMA, ADDED, byte_order_mark=False), tmp_path, rows)
    lines = content.decode().splitlines()
    assert lines[1].split("\t")[:2] == [r"一\t二\n三\r四", "店"]
    assert lines[2].split("\t")[:2] == [r"C:\new \t", '半个"引号']
    assert escaped == 1


@pytest.mark.parametrize("output_format", ["csv", "tsv"])
def test_a_byte_order_mark_is_written_once(tmp_path: Path, output_format: Any) -> None:
    sink = make_sink(output_format, TEXT_SCHEMA, ADDED, byte_order_mark=True)
    content, _ = written(sink, tmp_path, [{"text": "好", "shop": ""}], [{"text": "差", "shop": ""}])
    assert content.startswith(b"\xef\xbb\xbf")
    assert content.count(b"\xef\xbb\xbf") == 1
    assert content.count(b"text") == 1


def test_json_lines_keep_each_rows_own_keys_and_types(tmp_path: Path) -> None:
    rows = [{"text": "好\n差", "stars": 5, "tags": ["房间", None]}, {"text": "😀", "extra": {"a": True}}]
    content, _ = written(make_sink("jsonl", TEXT_SCHEMA, ADDED, byte_order_mark=True), tmp_path, rows[:1], rows[1:])
    lines = [json.loads(line) for line in content.decode().splitlines()]
    ours = {"label": "正面", "score": 0.75, "at": "2026-11-05T08:15:00Z"}
    assert lines == [{**row, **ours} for row in rows]
    assert "好" in content.decode()


def test_json_has_null_for_what_json_cannot_express() -> None:
    value = {"a": float("nan"), "b": [float("inf"), 1.5], "c": b"\x00\xff", "d": decimal.Decimal("1.10")}
    assert json.loads(to_json(value)) == {"a": None, "b": [None, 1.5], "c": "AP8=", "d": "1.10"}


def test_parquet_keeps_the_types_of_the_input_and_has_one_row_group_per_shard(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["好", "差"]),
            "when": pa.array([1, None], pa.timestamp("ns", "Asia/Shanghai")),
            "price": pa.array([decimal.Decimal("1.10"), decimal.Decimal("2.25")], pa.decimal128(9, 2)),
            "tags": pa.array([["a"], []], pa.list_(pa.string())),
            "place": pa.array([{"x": 1, "y": 2.5}, None], pa.struct([("x", pa.int8()), ("y", pa.float32())])),
            "kind": pa.array(["p", "q"]).dictionary_encode(),
            "bytes": pa.array([b"\x00", b"\xff"], pa.binary()),
            "day": pa.array([datetime.date(2026, 1, 2), None], pa.date32()),
            "count": pa.array([1, 2], pa.uint16()),
            "weights": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    (batch,) = DataFile.open(tmp_path / "in.parquet").batches()
    schema = pq.read_schema(tmp_path / "in.parquet")
    sink = make_sink("parquet", schema, ADDED, byte_order_mark=False)
    content, _ = written(sink, tmp_path, batch.rows[:1], batch.rows[1:])
    file = pq.ParquetFile(io.BytesIO(content))
    found = file.read()
    assert found.select(table.column_names).to_pylist() == table.to_pylist()
    assert [found.schema.field(name).type for name in table.column_names] == schema.types
    assert found.schema.field("score").type == pa.float32()
    assert found.column("at").to_pylist() == [AT, AT]
    assert file.num_row_groups == 2


def test_a_column_of_mixed_json_values_becomes_text_in_parquet(tmp_path: Path) -> None:
    sink = make_sink("parquet", TEXT_SCHEMA, ADDED, byte_order_mark=False)
    content, _ = written(sink, tmp_path, [{"text": "好", "shop": {"a": 1}}, {"text": "差", "shop": 7}, {"text": "中"}])
    assert pq.read_table(io.BytesIO(content)).column("shop").to_pylist() == ['{"a": 1}', "7", None]


@pytest.mark.parametrize("output_format", ["csv", "tsv", "jsonl", "parquet"])
def test_no_rows_give_a_file_that_can_be_read(tmp_path: Path, output_format: Any) -> None:
    content, _ = written(make_sink(output_format, TEXT_SCHEMA, ADDED, byte_order_mark=False), tmp_path)
    if output_format == "parquet":
        assert pq.read_table(io.BytesIO(content)).column_names == ["text", "shop", "label", "score", "at"]
    else:
        assert len(content.splitlines()) == (0 if output_format == "jsonl" else 1)
