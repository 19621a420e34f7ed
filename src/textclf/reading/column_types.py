"""One Arrow type for a column whose values come from a file without types."""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

import pyarrow as pa

Kind = Literal["boolean", "integer", "large integer", "number", "text"]
"""`large integer`: one that a float does not hold exactly. `text`: everything else, nested values too."""

EXACT_IN_FLOAT = 2**53
"""The largest integer up to which a float holds every one exactly."""
_INT64_LIMIT = 2**63


def kind_of(value: object) -> Kind | None:
    """Tells the kind of a value; None has none."""
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
    """Tells the kind of the values of an Arrow type."""
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_floating(type_):
        return "number"
    if pa.types.is_integer(type_):
        return "integer" if type_.bit_width <= 32 else "large integer"
    return "text"


def column_type(kinds: Set[Kind | None]) -> pa.DataType:
    """Chooses the Arrow type that holds all values of a column, given their kinds; null aside."""
    found = kinds - {None}
    if found == {"boolean"}:
        return pa.bool_()
    if found and found <= {"integer", "large integer"}:
        return pa.int64()
    if found and found <= {"integer", "number"}:
        return pa.float64()
    return pa.string()
