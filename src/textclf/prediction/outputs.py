r"""What a batch prediction writes: the columns of its output, and each output format.

A sink writes each shard's rows to a part file and assembles the parts into the finished file. All formats have the same
columns (README and `docs/operations.md` describe them for users): those of the input, unchanged and in order, then
those of `added_columns`.

- Text formats are UTF-8. CSV is quoted according to RFC 4180. TSV has no quoting: a tab or line break inside a value
  becomes the two characters `\t`, `\n` or `\r`; such rows are counted.
- JSON and text hold dates as ISO 8601, bytes as Base64 and decimals as digits; JSON holds NaN and infinity as null.
  Parquet keeps the types of a Parquet input.
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
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from textclf.errors import DataError

if TYPE_CHECKING:
    from textclf.reading.detection import FileFormat

Row = dict[str, object]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CSV_SPECIAL = re.compile(r'[",\r\n]')
_TSV_SPECIAL = re.compile(r"[\t\r\n]")
_TSV_ESCAPES = {"\t": "\\t", "\r": "\\r", "\n": "\\n"}


def added_columns(
    input_columns: Iterable[str], *, with_row: bool, probability_labels: Sequence[str], with_rung: bool = False
) -> pa.Schema:
    """Returns the columns that a prediction adds to the input's.

    A name that the input has already (a gold `label`, say) gets the prefix `predicted_` until it is free.

    Args:
        input_columns: Names that are taken.
        with_row: Whether to add the row number (from 1), for rows that have no id.
        probability_labels: Labels that get a column `probability_LABEL`.
        with_rung: Whether to add which model of a ladder answered.

    Example:
        >>> added_columns(["text", "label"], with_row=True, probability_labels=[]).names[:3]
        ['row', 'predicted_label', 'score']
    """
    wanted = [("row", pa.int64())] if with_row else []
    wanted += [("label", pa.string()), ("score", pa.float32())]
    wanted += [(f"probability_{label}", pa.float32()) for label in probability_labels]
    wanted += [("answered_by", pa.string())] if with_rung else []
    wanted += [("model_name", pa.string()), ("model_version", pa.int64())]
    wanted += [("predicted_at", pa.timestamp("us", tz="UTC")), ("run_id", pa.string())]
    taken = {*input_columns}
    columns = []
    for name, kind in wanted:
        while name in taken:
            name = f"predicted_{name}"
        taken.add(name)
        columns.append((name, kind))
    return pa.schema(columns)


def column_named(wanted: str, added: pa.Schema) -> str:
    """Returns the name that a column of `added_columns` has got.

    Example:
        >>> column_named("label", added_columns(["text", "label"], with_row=False, probability_labels=[]))
        'predicted_label'
    """
    return str(next(name for name in added.names if re.fullmatch(f"(predicted_)*{wanted}", name)))


def to_json(value: object) -> str:
    """Formats any value that a reader returns as one line of JSON, with null for NaN and infinity."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, default=_plain)


class Sink(ABC):
    """Writes one output format: the input's columns, then the added ones."""

    def __init__(self, input_schema: pa.Schema, added: pa.Schema) -> None:
        self.input_columns = input_schema.names
        self.added = added

    @abstractmethod
    def write_part(self, stream: BinaryIO, rows: Sequence[Row], columns: Sequence[Sequence[object]]) -> int:
        """Writes the rows of one shard, and returns in how many of them a value was escaped.

        Args:
            stream: The part file.
            rows: As read from the input.
            columns: The values of each added column: int, str, float or datetime in UTC.

        Raises:
            DataError: A value does not fit the type of its column (Parquet).
            OSError: The disk is full or the stream cannot be written to.
        """

    @abstractmethod
    def assemble(self, stream: BinaryIO, parts: Iterable[Path]) -> None:
        """Writes the finished file from the parts in order, in bounded memory.

        Raises:
            OSError: The disk is full, or a part cannot be read.
        """


class _JsonLinesSink(Sink):
    """Each row with its own keys."""

    def write_part(self, stream: BinaryIO, rows: Sequence[Row], columns: Sequence[Sequence[object]]) -> int:
        for row, ours in zip(rows, zip(*columns, strict=True), strict=True):
            line = to_json({**row, **dict(zip(self.added.names, ours, strict=True))})
            stream.write(line.encode() + b"\n")
        return 0

    def assemble(self, stream: BinaryIO, parts: Iterable[Path]) -> None:
        _concatenate(stream, parts)


class _DelimitedSink(Sink):
    """CSV, or with `tabs` TSV, with a header line; Excel recognizes UTF-8 by the byte order mark."""

    def __init__(self, input_schema: pa.Schema, added: pa.Schema, *, tabs: bool, byte_order_mark: bool) -> None:
        super().__init__(input_schema, added)
        self.tabs = tabs
        self.byte_order_mark = byte_order_mark

    def write_part(self, stream: BinaryIO, rows: Sequence[Row], columns: Sequence[Sequence[object]]) -> int:
        escaped = 0
        for row, ours in zip(rows, zip(*columns, strict=True), strict=True):
            fields = [_to_text(value) for value in (*(row.get(name) for name in self.input_columns), *ours)]
            escaped += self.tabs and any(_TSV_SPECIAL.search(field) for field in fields)
            stream.write(self._line(fields))
        return escaped

    def assemble(self, stream: BinaryIO, parts: Iterable[Path]) -> None:
        stream.write(_BYTE_ORDER_MARK if self.byte_order_mark else b"")
        stream.write(self._line([*self.input_columns, *self.added.names]))
        _concatenate(stream, parts)

    def _line(self, fields: Sequence[str]) -> bytes:
        if self.tabs:
            line = "\t".join(_TSV_SPECIAL.sub(lambda found: _TSV_ESCAPES[found[0]], field) for field in fields)
        else:
            line = ",".join(
                '"' + field.replace('"', '""') + '"' if _CSV_SPECIAL.search(field) else field for field in fields
            )
        return line.encode() + b"\n"


class _ParquetSink(Sink):
    """One fixed schema, one row group per shard."""

    def __init__(self, input_schema: pa.Schema, added: pa.Schema) -> None:
        super().__init__(input_schema, added)
        self.schema = pa.schema([*input_schema, *added])

    def write_part(self, stream: BinaryIO, rows: Sequence[Row], columns: Sequence[Sequence[object]]) -> int:
        arrays = [_array([row.get(name) for row in rows], self.schema.field(name)) for name in self.input_columns]
        arrays += [pa.array(column, type=kind) for column, kind in zip(columns, self.added.types, strict=True)]
        pq.write_table(pa.Table.from_arrays(arrays, schema=self.schema), stream, compression="zstd")
        return 0

    def assemble(self, stream: BinaryIO, parts: Iterable[Path]) -> None:
        with pq.ParquetWriter(stream, self.schema, compression="zstd") as writer:
            for part in parts:
                with pq.ParquetFile(part) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group).cast(self.schema))


def make_sink(output_format: FileFormat, input_schema: pa.Schema, added: pa.Schema, *, byte_order_mark: bool) -> Sink:
    """Returns the sink of a format; only Parquet uses the columns' types."""
    if output_format == "parquet":
        return _ParquetSink(input_schema, added)
    if output_format == "jsonl":
        return _JsonLinesSink(input_schema, added)
    return _DelimitedSink(input_schema, added, tabs=output_format == "tsv", byte_order_mark=byte_order_mark)


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
    """Returns what JSON and text hold in place of a date, bytes, a decimal and the like."""
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
        # In a text column of JSON lines, values of other types are written as JSON.
        values = [value if value is None or isinstance(value, str) else to_json(value) for value in values]
    try:
        return pa.array(values, type=field.type)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DataError(
            f"Column {field.name!r} cannot be written to Parquet as {field.type}: {error}\nChoose an output that ends "
            "in .jsonl, or remove the column from the input."
        ) from error
