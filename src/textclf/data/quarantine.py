"""Rows that break the contract: counted by kind, with examples, and written to a file."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import TextIO

from textclf.config.sources import Split
from textclf.data.personal_data import hide_personal_data
from textclf.language import _
from textclf.records import Quarantined
from textclf.tables import shorten

_EXAMPLES_OF_A_KIND = 10
_EXAMPLE_COLUMNS = 100
_VALUE_COLUMNS = 40
# As `Quarantine.add` formats an example.
_PLACE = re.compile(r"(?P<source>.*?), row (?P<row>[0-9,]+): (?P<shown>.*)", re.DOTALL)


class Quarantine:
    """Collects rows that break the contract.

    Args:
        file: Receives one JSON object per row: `split`, `source`, `row`, `reason` and `content`. None only counts.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.counts: dict[Split, Counter[str]] = {}
        self._examples: dict[str, list[str]] = {}
        self._file = file

    def add(self, split: Split, source: str, row: int, reason: str, content: object) -> None:
        """Adds one row; `row` is its number in the source file, from 1, and `content` the row as read.

        Raises:
            OSError: The file cannot be written.
        """
        kind, _, detail = reason.partition(":")
        self.counts.setdefault(split, Counter())[kind] += 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < _EXAMPLES_OF_A_KIND:
            shown = hide_personal_data(" ".join((detail.strip() or _shown(content)).split()))
            examples.append(f"{source}, row {row:,}: {shorten(shown, _EXAMPLE_COLUMNS)}")
        if self._file is not None:
            line = {"split": split, "source": source, "row": row, "reason": reason, "content": content}
            self._file.write(_as_json(line) + "\n")

    def kinds(self, splits: Iterable[Split] | None = None) -> tuple[Quarantined, ...]:
        """Returns the kinds found in some or all splits, the most frequent first; examples are from all splits."""
        chosen = self.counts if splits is None else {split: self.counts.get(split, Counter()) for split in splits}
        total = sum(chosen.values(), Counter[str]())
        return tuple(
            Quarantined(reason=kind, rows=count, examples=tuple(self._examples[kind]))
            for kind, count in total.most_common()
        )

    def rows(self, split: Split) -> int:
        """Returns the number of quarantined rows of a split."""
        return self.counts.get(split, Counter()).total()


def describe_kinds(kinds: Iterable[Quarantined]) -> str:
    """Lists kinds of broken rows and their examples, one per line, in the current language."""
    lines = []
    for kind in kinds:
        lines.append(_("{count:,} {reason}:").format(count=kind.rows, reason=reason_name(kind.reason)))
        lines += [f"  - {example_line(example)}" for example in kind.examples]
        if rest := kind.rows - len(kind.examples):
            lines.append("  - " + _("and {count:,} more").format(count=rest))
    return "\n".join(lines)


def reason_name(reason: str) -> str:
    """Names a kind of broken rows in the current language; a kind that another version added stays English."""
    names = {
        "missing text": _("missing text"),
        "empty text": _("empty text"),
        "empty after cleaning": _("empty after cleaning"),
        "shorter than data.contract.min_characters": _("shorter than data.contract.min_characters"),
        "longer than cleaning.max_characters": _("longer than cleaning.max_characters"),
        "unlabelled": _("unlabelled"),
        "unknown label": _("unknown label"),
        "not a label": _("not a label"),
        "no id": _("no id"),
        "repeated id": _("repeated id"),
        "not a date": _("not a date"),
        "blank line": _("blank line"),
        "blank row": _("blank row"),
        "wrong number of fields": _("wrong number of fields"),
        "NUL byte": _("NUL byte"),
        "second text": _("second text"),
    }
    kind, _bracket, detail = reason.removesuffix(")").partition(" (")
    if detail:
        return _("{reason} ({detail})").format(reason=reason_name(kind), detail=names.get(detail, detail))
    if (format_name := reason.removeprefix("not valid ")) != reason:
        return _("not valid {format}").format(format=format_name)
    return names.get(reason, reason)


def example_line(example: str) -> str:
    """Writes an example of `Quarantined` in the current language, if it has the expected form."""
    place = _PLACE.fullmatch(example)
    return _("{source}, row {row}: {shown}").format(**place.groupdict()) if place else example


def _shown(content: object) -> str:
    # Each value is shortened separately, so that a long text does not hide the label after it.
    if isinstance(content, dict):
        return ", ".join(f"{name}={shorten(str(value), _VALUE_COLUMNS)!r}" for name, value in content.items())
    return content if isinstance(content, str) else _as_json(content)


def _as_json(value: object) -> str:
    # A value without a JSON form (a date in Parquet) is written as text.
    return json.dumps(value, ensure_ascii=False, default=str)
