"""Reads JSON lines: one object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

from textclf.reading.lines import Broken, Item, Lines

_COLUMN_SAMPLE_ROWS = 1000
# Far below the nesting that Python can write.
_MOST_LEVELS = 200


def json_columns(lines: Lines) -> list[str]:
    """Returns the keys of the first 1,000 objects."""
    objects = (item for item in islice(json_rows(lines), _COLUMN_SAMPLE_ROWS) if isinstance(item, dict))
    return list(dict.fromkeys(name for item in objects for name in item))


def json_rows(lines: Lines) -> Iterator[Item]:
    """Yields every row, broken or not."""
    blank = 0
    for line, problem in lines:
        if not line.strip():
            blank += 1
            continue
        for _ in range(blank):
            yield Broken("blank line", "")
        blank = 0
        yield Broken(problem, line) if problem else _json_item(line)


def _json_item(line: str) -> Item:
    try:
        value = json.loads(line)
    except RecursionError:
        return Broken("not valid JSON: nested too deeply", line)
    except ValueError as error:
        return Broken(f"not valid JSON: {error}", line)
    if line.count("[") + line.count("{") > _MOST_LEVELS and _is_deep(value):
        return Broken("not valid JSON: nested too deeply", line)
    if not isinstance(value, dict):
        return Broken(f"not a JSON object: a {type(value).__name__}", line)
    if "\\u" in line:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            return Broken(f"not valid Unicode: half a surrogate pair ({half})", line)
    return value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_MOST_LEVELS):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)
