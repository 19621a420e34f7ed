"""Reads label columns: values, names, and whether there are enough rows of each."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping

from textclf.data.personal_data import hide_personal_data
from textclf.errors import DataError, first_lines

MAX_LABELS = 1000
_FEW_ROWS = 5
_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]+)\.0*")
_FRACTION = re.compile(r"[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?")


def label_value(value: object, names: Mapping[str, str] | None) -> str | None:
    """Reads one value of a label column as a stripped string; None if the row has no label.

    1.0 becomes `1`, because a column of integers with gaps is often stored as floats.

    Args:
        value: The value as read.
        names: The configured label names by value; each of these values is a label, whatever it looks like.

    Raises:
        ValueError: It cannot be a label: a number with a fraction, or neither text nor number.
    """
    if value is None or value != value:
        return None
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r:.80} is a {type(value).__name__}, neither text nor an integer")
    key = str(value).strip()
    if not key:
        return None
    if names and key in names:
        return key
    if whole := _WHOLE_NUMBER.fullmatch(key):
        return whole[1]
    if isinstance(value, float) or _FRACTION.fullmatch(key):
        raise ValueError(f"{key} is a number with a fraction")
    return key


def label_names(values: Counter[str], column: str) -> dict[str, str]:
    """Returns the name of each label value in the training rows: the value itself; sorted, integers by size.

    Args:
        values: Rows by value.
        column: Name of the label column, for messages.

    Raises:
        DataError: There are so many values that the column cannot hold labels.
    """
    rows = values.total()
    if len(values) > MAX_LABELS or (len(values) > 20 and 2 * len(values) > rows):
        examples = first_lines([f"{hide_personal_data(value)[:60]!r}" for value in values], limit=5)
        raise DataError(
            f"The column {column!r} does not look like labels: {len(values):,} different values in {rows:,} rows "
            f"(at most {MAX_LABELS:,} are expected, and each in several rows).\n{examples}\n"
            "Set data.label_column to the column that holds the labels."
        )
    if all(re.fullmatch(r"-?[0-9]+", value) for value in values):
        return {value: value for value in sorted(values, key=lambda value: (int(value), value))}
    return {value: value for value in sorted(values)}


def check_training_labels(counts: Mapping[str, int], *, minimum: int = 1) -> list[str]:
    """Checks that there are enough training rows of each label.

    Args:
        counts: Training rows by label name, including zero.
        minimum: Minimum number of rows per label.

    Returns:
        A warning for each label with fewer than five training rows.

    Raises:
        DataError: There is only one label, or a label has no training rows or fewer than the minimum.
    """
    found = [name for name, count in counts.items() if count]
    if len(counts) < 2 or len(found) < 2:
        raise DataError(
            f"All {sum(counts.values()):,} training rows have the label {found[0] if found else None!r}; at least two "
            "labels are needed to train a classifier.\nCheck data.label_column, or add rows of another label."
        )
    if len(found) < len(counts):
        absent = [f"{name!r}" for name, count in counts.items() if not count]
        raise DataError(
            f"{len(absent):,} labels have no training row:\n{first_lines(absent)}\n"
            "Add rows for them, or remove them from data.labels."
        )
    few = [f"{name!r}: {count:,}" for name, count in counts.items() if count < minimum]
    if few:
        raise DataError(
            f"{len(few):,} labels have fewer training rows than the minimum of {minimum:,} "
            f"(data.contract.min_rows_per_label):\n{first_lines(few)}\nAdd rows for them, or lower the minimum."
        )
    return [
        f"The label {name!r} has only {count} training row{'s' * (count > 1)}, too few to learn it well."
        for name, count in counts.items()
        if count < _FEW_ROWS
    ]
