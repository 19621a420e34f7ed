"""One Arrow type a column for rows that come from files of different formats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from textclf.reading.column_types import Kind, column_type, kind_of, kind_of_type


class ColumnTypes:
    """Finds a type for each column that holds all of its values, and makes tables of it.

    Columns of Parquet files keep their types. In other files whole numbers, numbers and yes or no are kept; a column
    with values of several kinds, or with nested ones, becomes text: nested values as JSON, the others as they print.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, set[Kind | None]] = {}
        self._declared: dict[str, set[pa.DataType]] = {}
        self._text: set[str] = set()

    def add_schema(self, schema: pa.Schema) -> None:
        """Takes the columns of a Parquet file."""
        for field in schema:
            self._declared.setdefault(field.name, set()).add(field.type)

    def add_rows(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Takes rows of another file."""
        for row in rows:
            for name, value in row.items():
                self._kinds.setdefault(name, set()).add(kind_of(value))

    def must_hold(self, column: str, words: Iterable[str]) -> None:
        """Makes a column text if its type cannot hold words that will be put into it."""
        type_ = self._type(column)
        try:
            for word in words:
                _typed(word, type_)
        except pa.ArrowException:
            self._text.add(column)

    def schema(self) -> pa.Schema:
        """The columns with their types, in the order in which they came."""
        return pa.schema([(name, self._type(name)) for name in {**self._declared, **self._kinds}])

    def table(self, rows: Sequence[Mapping[str, object]]) -> pa.Table:
        """Makes a table of rows that were added before; what a row lacks is null.

        Words in a column of another type (a corrected label among whole numbers) are read as values of that type.
        """
        schema = self.schema()
        columns = []
        for field in schema:
            values = [row.get(field.name) for row in rows]
            if pa.types.is_string(field.type):
                values = [_as_text(value) for value in values]
            elif not _is_text(field.type):
                values = [_typed(value, field.type) if isinstance(value, str) else value for value in values]
            columns.append(pa.array(values, field.type))
        return pa.table(columns, schema=schema)

    @contextmanager
    def writer(self, path: Path) -> Iterator[pq.ParquetWriter]:
        """Opens a new Parquet file with the columns.

        Yields:
            What takes the tables.

        Raises:
            OSError: It cannot be written.
        """
        with pq.ParquetWriter(path, self.schema(), compression="zstd") as writer:
            yield writer

    def _type(self, name: str) -> pa.DataType:
        kinds, declared = self._kinds.get(name, set()), self._declared.get(name, set())
        if name in self._text:
            return pa.string()
        if len(declared) == 1 and not kinds - {None}:
            return next(iter(declared))
        return column_type(kinds | {kind_of_type(type_) for type_ in declared})


def _is_text(type_: pa.DataType) -> bool:
    value = type_.value_type if pa.types.is_dictionary(type_) else type_
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def _typed(word: str, type_: pa.DataType) -> object:
    if _is_text(type_):
        return word
    return pa.scalar(word).cast(type_).as_py()


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)
