"""One Arrow type per column for rows from files of different formats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from textclf.reading.column_types import Kind, column_type, kind_of, kind_of_type


class ColumnTypes:
    """Finds a type for each column that can represent all of its values, and builds tables.

    Parquet columns keep their types. In other files, integers, floats and booleans keep theirs; a column with mixed or
    nested values becomes text: nested values as JSON, the others as printed.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, set[Kind | None]] = {}
        self._declared: dict[str, set[pa.DataType]] = {}
        self._text: set[str] = set()

    def add_schema(self, schema: pa.Schema) -> None:
        """Registers the columns of a Parquet file."""
        for field in schema:
            self._declared.setdefault(field.name, set()).add(field.type)

    def add_rows(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Registers rows of another file."""
        for row in rows:
            for name, value in row.items():
                self._kinds.setdefault(name, set()).add(kind_of(value))

    def must_hold(self, column: str, words: Iterable[str]) -> None:
        """Turns a column into text unless its type can represent all of `words`."""
        type_ = self._type(column)
        try:
            for word in words:
                _typed(word, type_)
        except pa.ArrowException:
            self._text.add(column)

    def schema(self) -> pa.Schema:
        """The columns with their types, in order of first appearance."""
        return pa.schema([(name, self._type(name)) for name in {**self._declared, **self._kinds}])

    def table(self, rows: Sequence[Mapping[str, object]]) -> pa.Table:
        """Builds a table of registered rows; missing values are null.

        A string in a column of another type (a corrected label among integers) is converted to that type.
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
