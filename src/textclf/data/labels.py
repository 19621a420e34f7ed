"""From what stands in a label column to label names and ids."""

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
    """Reads one value of a label column.

    Strings lose the white space around them; `True` and `False` read so; 1.0 reads as 1, because a column of whole
    numbers with gaps is often stored as floats.

    Args:
        value: What a reader found.
        names: Label names by value, as the configuration gives them: what stands there is a label, whatever it looks
            like.

    Returns:
        The value as a string; None if the row has no label.

    Raises:
        ValueError: It cannot be a label: a number with a fraction, or neither text nor number.
    """
    if value is None or value != value:
        return None
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r:.80} is a {type(value).__name__}, neither text nor a whole number")
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
    """Makes label names out of the values that stand in the training rows.

    Args:
        values: How often each value stands there.
        column: Name of the label column, for messages.

    Returns:
        The name of each value, which is the value itself, sorted; whole numbers by size.

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
    """Checks that a classifier can be trained on the rows of each label.

    Args:
        counts: Training rows by label name, zero included.
        minimum: Fewest rows that each label must have.

    Returns:
        A warning for each label with fewer than five training rows.

    Raises:
        DataError: There is one label only, a label without any training row, or one with fewer than the minimum.
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
            "Add rows for them, or take them out of data.labels."
        )
    few = [f"{name!r}: {count:,}" for name, count in counts.items() if count < minimum]
    if few:
        raise DataError(
            f"{len(few):,} labels have fewer training rows than the contract asks for, {minimum:,} "
            f"(data.contract.min_rows_per_label):\n{first_lines(few)}\nAdd rows for them, or lower the bound."
        )
    return [
        f"The label {name!r} has only {count} training row{'s' * (count > 1)}: it can hardly be learnt."
        for name, count in counts.items()
        if count < _FEW_ROWS
    ]
