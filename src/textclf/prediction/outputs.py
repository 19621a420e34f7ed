r"""What a batch prediction writes: the columns of its output, and each output format.

A sink turns one shard's rows into a part file, and the parts of all shards into the finished file. All formats hold
the same columns; README and `docs/operations.md` describe them for users:

- Every column of the input comes back under its name, in order, then follow ours (`added_columns`).
- If the input has a column of the same name as one of ours (a gold `label`, say), the input's column stays as it is
  and ours gets the prefix `predicted_`, repeated until the name is free.
- Text formats are UTF-8. CSV is quoted as RFC 4180 says. TSV has no quoting: a tab or a line break inside a value is
  written as the two characters `\t`, `\n` or `\r`, and the number of such rows is returned to be reported.
- JSON and text have no dates, bytes or decimals: they are written in ISO 8601, Base64 and digits; JSON has no NaN or
  infinity: they are written as null. Parquet keeps the types of a Parquet input.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from textclf.errors import DataError

if TYPE_CHECKING:
    from textclf.reading.detection import FileFormat

Kind = Literal["integer", "text", "number", "time"]
Row = dict[str, object]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CSV_SPECIAL = re.compile(r'[",\r\n]')
_TSV_SPECIAL = re.compile(r"[\t\r\n]")
_TSV_ESCAPES = {"\t": "\\t", "\r": "\\r", "\n": "\\n"}


class AddedColumn(NamedTuple):
    """A column that the prediction adds to the input's."""

    name: str
    kind: Kind


def added_columns(
    input_columns: Iterable[str], *, with_row: bool, probability_labels: Sequence[str]
) -> list[AddedColumn]:
    """Names the columns that a prediction adds, out of the way of the input's.

    Args:
        input_columns: The input's columns.
        with_row: Whether the rows have no id of their own: a column `row` with the row number (from 1) is added.
        probability_labels: Labels that get a column `probability_LABEL`; none unless asked for.

    Returns:
        `row` (optional), `label`, `score`, `probability_…` (optional), `model_name`, `model_version`, `predicted_at`,
        `run_id`, in this order; a name that the input has gets the prefix `predicted_` until it is free.

    Example:
        >>> [column.name for column in added_columns(["text", "label"], with_row=True, probability_labels=[])][:3]
        ['row', 'predicted_label', 'score']
    """
    wanted: list[tuple[str, Kind]] = [("row", "integer")] if with_row else []
    wanted += [("label", "text"), ("score", "number")]
    wanted += [(f"probability_{label}", "number") for label in probability_labels]
    wanted += [("model_name", "text"), ("model_version", "integer"), ("predicted_at", "time"), ("run_id", "text")]
    taken = {*input_columns}
    columns = []
    for name, kind in wanted:
        while name in taken:
            name = f"predicted_{name}"
        taken.add(name)
        columns.append(AddedColumn(name, kind))
    return columns


def to_json(value: object) -> str:
    """Writes any value that a reader returns as one line of JSON, with null for what JSON cannot say."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, default=_plain)


class Sink(ABC):
    """Writes one output format.

    Args:
        input_columns: The input's columns, in order.
        added: The columns that the prediction adds after them.
    """

    def __init__(self, input_columns: Sequence[str], added: Sequence[AddedColumn]) -> None:
        self.input_columns = tuple(input_columns)
        self.added = tuple(added)

    @abstractmethod
    def write_part(self, stream: BinaryIO, rows: Sequence[Row], values: Sequence[Sequence[object]]) -> int:
        """Writes the rows of one shard.

        Args:
            stream: Where to.
            rows: The input's rows as a reader gave them.
            values: One tuple a row with the values of the added columns: int, str, float or datetime in UTC.

        Returns:
            In how many rows a value had to be escaped because the format cannot hold it as it is.

        Raises:
            DataError: A value does not fit into the output's columns (Parquet).
            OSError: The disk is full or the stream cannot be written to.
        """

    @abstractmethod
    def assemble(self, stream: BinaryIO, parts: Iterable[Path]) -> None:
        """Writes the finished file from the parts of all shards, in order, in bounded memory.

        Raises:
            OSError: The disk is full, or a part cannot be read.
        """


class JsonLinesSink(Sink):
    """JSON lines: each row with the keys that it came with."""

    def write_part(self, stream: BinaryIO, rows: Sequence[Row], values: Sequence[Sequence[object]]) -> int:
        """See `Sink.write_part`."""
        names = [column.name for column in self.added]
        for row, ours in zip(rows, values, strict=True):
            line = to_json({**row, **dict(zip(names, ours, strict=True))})
            stream.write(line.encode() + b"\n")
        return 0

    def assemble(self, stream: BinaryIO, parts: Iterable[Path]) -> None:
        """See `Sink.assemble`."""
        _concatenate(stream, parts)


class DelimitedSink(Sink):
    """CSV, or with `tabs` TSV: a header, then one row per line; U+FEFF, if asked for, tells Excel that it is UTF-8."""

    def __init__(
        self, input_columns: Sequence[str], added: Sequence[AddedColumn], *, tabs: bool, byte_order_mark: bool
    ) -> None:
        super().__init__(input_columns, added)
        self.tabs = tabs
        self.byte_order_mark = byte_order_mark

    def write_part(self, stream: BinaryIO, rows: Sequence[Row], values: Sequence[Sequence[object]]) -> int:
        """See `Sink.write_part`."""
        escaped = 0
        for row, ours in zip(rows, values, strict=True):
            fields = [_to_text(value) for value in (*(row.get(name) for name in self.input_columns), *ours)]
            escaped += self.tabs and any(_TSV_SPECIAL.search(field) for field in fields)
            stream.write(self._line(fields))
        return escaped

    def assemble(self, stream: BinaryIO, parts: Iterable[Path]) -> None:
        """See `Sink.assemble`."""
        stream.write(_BYTE_ORDER_MARK if self.byte_order_mark else b"")
        stream.write(self._line([*self.input_columns, *(column.name for column in self.added)]))
        _concatenate(stream, parts)

    def _line(self, fields: Sequence[str]) -> bytes:
        if self.tabs:
            line = "\t".join(_TSV_SPECIAL.sub(lambda found: _TSV_ESCAPES[found[0]], field) for field in fields)
        else:
            line = ",".join(
                '"' + field.replace('"', '""') + '"' if _CSV_SPECIAL.search(field) else field for field in fields
            )
        return line.encode() + b"\n"


class ParquetSink(Sink):
    """Parquet with one fixed schema and a row group per shard."""

    def __init__(self, input_schema: pa.Schema, added: Sequence[AddedColumn]) -> None:
        super().__init__(input_schema.names, added)
        types = {
            "integer": pa.int64(),
            "text": pa.string(),
            "number": pa.float32(),
            "time": pa.timestamp("us", tz="UTC"),
        }
        self.schema = pa.schema([*input_schema, *(pa.field(column.name, types[column.kind]) for column in added)])

    def write_part(self, stream: BinaryIO, rows: Sequence[Row], values: Sequence[Sequence[object]]) -> int:
        """See `Sink.write_part`."""
        arrays = [_array([row.get(name) for row in rows], self.schema.field(name)) for name in self.input_columns]
        arrays += [
            pa.array([ours[index] for ours in values], type=self.schema.field(column.name).type)
            for index, column in enumerate(self.added)
        ]
        pq.write_table(pa.Table.from_arrays(arrays, schema=self.schema), stream, compression="zstd")
        return 0

    def assemble(self, stream: BinaryIO, parts: Iterable[Path]) -> None:
        """See `Sink.assemble`."""
        with pq.ParquetWriter(stream, self.schema, compression="zstd") as writer:
            for part in parts:
                with pq.ParquetFile(part) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group).cast(self.schema))


def make_sink(
    output_format: FileFormat, input_schema: pa.Schema, added: Sequence[AddedColumn], *, byte_order_mark: bool
) -> Sink:
    """Makes the sink of a format; the types of the input's columns matter to Parquet only."""
    if output_format == "parquet":
        return ParquetSink(input_schema, added)
    if output_format == "jsonl":
        return JsonLinesSink(input_schema.names, added)
    return DelimitedSink(input_schema.names, added, tabs=output_format == "tsv", byte_order_mark=byte_order_mark)


def _concatenate(stream: BinaryIO, parts: Iterable[Path]) -> None:
    for part in parts:
        with part.open("rb") as source:
            shutil.copyfileobj(source, stream, 1 << 20)


def _to_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (bool, list, tuple, dict)):
        return to_json(value)
    return repr(value) if isinstance(value, float) else str(_plain(value))


def _plain(value: object) -> object:
    """What JSON and text hold in place of a date, bytes, decimal and the like."""
    if isinstance(value, datetime.datetime) and value.tzinfo is datetime.UTC:
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _array(values: list[object], field: pa.Field) -> pa.Array:
    if pa.types.is_string(field.type):
        # A column of text and other JSON values is a text column; the others go into it as JSON.
        values = [value if value is None or isinstance(value, str) else to_json(value) for value in values]
    try:
        return pa.array(values, type=field.type)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DataError(
            f"Column {field.name!r} cannot be written to Parquet as {field.type}: {error}\nName an output that ends in "
            ".jsonl, or take the column out of the input."
        ) from error
