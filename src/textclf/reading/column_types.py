"""The Arrow type for a column of a file without types."""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

import pyarrow as pa

Kind = Literal["boolean", "integer", "large integer", "number", "text"]
"""`large integer`: one that a float may not hold exactly. `text`: everything else, including nested values."""

EXACT_IN_FLOAT = 2**53
"""A float holds every integer up to this one exactly."""
_INT64_LIMIT = 2**63


def kind_of(value: object) -> Kind | None:
    """Returns the kind of a value; None for None."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "number"
    if isinstance(value, int) and -_INT64_LIMIT <= value < _INT64_LIMIT:
        return "integer" if abs(value) <= EXACT_IN_FLOAT else "large integer"
    return "text"


def kind_of_type(type_: pa.DataType) -> Kind:
    """Returns the kind of an Arrow type's values."""
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_floating(type_):
        return "number"
    if pa.types.is_integer(type_):
        return "integer" if type_.bit_width <= 32 else "large integer"
    return "text"


def column_type(kinds: Set[Kind | None]) -> pa.DataType:
    """Returns the Arrow type that holds values of all these kinds, and nulls."""
    found = kinds - {None}
    if found == {"boolean"}:
        return pa.bool_()
    if found and found <= {"integer", "large integer"}:
        return pa.int64()
    if found and found <= {"integer", "number"}:
        return pa.float64()
    return pa.string()
