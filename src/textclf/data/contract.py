"""The contract of a data set: what its columns, and each of its rows, must be."""

from __future__ import annotations

import datetime
import difflib
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from textclf.config.data import CleaningConfig, DataConfig
from textclf.data.cleaning import clean_value
from textclf.data.labels import label_value
from textclf.errors import DataError, HubError, first_lines
from textclf.fetching.local import local_splits
from textclf.reading.data_file import DataFile, ReadingOptions, first_columns
from textclf.records import FetchedData
from textclf.store import digest_of

# Settings that do not change what a row is: where it comes from, how files are read, when a run stops.
_NO_RULES: dict[str, set[str] | bool] = {
    **dict.fromkeys(
        ("sources", "name", "license", "split", "column_names", "file_encoding", "delimiter", "sheet"), True
    ),
    "contract": {"max_quarantined_share"},
}
_DAY = re.compile(r"([0-9]{4})(?:([-/.])([0-9]{1,2})\2([0-9]{1,2})|年([0-9]{1,2})月([0-9]{1,2})日?)(?![0-9])")
_DAY_IN_DIGITS = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
# What columns are often called, to suggest if the configured one does not exist.
_USUAL_NAMES = {
    "text_column": (
        *("text", "content", "review", "comment", "sentence", "title"),
        *("文本", "内容", "评论", "正文", "标题"),
    ),
    "label_column": (
        *("label", "labels", "class", "category", "target", "sentiment", "rating", "stars", "star", "score"),
        *("标签", "类别", "分类", "情感", "星级", "评分", "等级"),
    ),
    "id_column": ("id", "uid", "编号", "序号"),
    "date_column": ("date", "time", "created_at", "日期", "时间"),
}


@dataclass(frozen=True, slots=True)
class ContractRow:
    """A row that meets the contract. What has no column is empty, or None for the id.

    Attributes:
        text: The cleaned text.
        pair: The cleaned second text.
        label: The label's value in the file, stripped; several values are sorted and joined by `data.label_separator`.
        id: The value of the id column.
        date: The day, `YYYY-MM-DD`.
        group: The value of the group column.
        originals: The text, or both texts of a pair, as in the file.
    """

    text: str
    pair: str
    label: str
    id: str | None
    date: str
    group: str
    originals: tuple[str, ...]


class Contract:
    """Checks rows against the rules of a configuration.

    Attributes:
        columns: The columns that are checked.
        labels: Label names by value. Without `data.labels` it is None, and every label is accepted, until the caller
            sets it to the names found in the training rows.
    """

    def __init__(self, data: DataConfig, cleaning: CleaningConfig) -> None:
        self.columns = tuple(data.columns.values())
        self.labels: Mapping[str, str] | None = data.labels
        self._data = data
        self._cleaning = cleaning

    def check(self, row: Mapping[str, object]) -> ContractRow | str:
        """Checks one row, apart from whether its id is unique.

        Args:
            row: Values by column, as read.

        Returns:
            The cleaned row; or why it breaks the contract, the kind of breach before a colon.
        """
        data = self._data
        value = row.get(data.text_column)
        text, reason = clean_value(value, self._cleaning)
        if text is None:
            return reason or "missing text"
        if len(text) < data.contract.min_characters:
            return f"shorter than data.contract.min_characters ({data.contract.min_characters:,})"
        originals: tuple[str, ...] = (str(value),)
        pair = ""
        if data.text_pair_column:
            second = row.get(data.text_pair_column)
            cleaned, reason = clean_value(second, self._cleaning)
            if cleaned is None:
                return f"{reason} (second text)"
            pair = cleaned
            originals = (str(value), str(second))
        try:
            label = self._label(row.get(data.label_column))
        except ValueError as error:
            return f"not a label: {error}"
        if label is None:
            return "unlabelled"
        if self.labels is not None and (unknown := self._unknown(label)):
            return f"unknown label: {unknown!r}"
        name = None
        if data.id_column:
            name = _name(row.get(data.id_column))
            if not name:
                return "no id"
        day = ""
        if data.date_column:
            found = row.get(data.date_column)
            day = parse_day(found) or ""
            if not day:
                return f"not a date: {found!r:.80}"
        return ContractRow(
            text=text,
            pair=pair,
            label=sys.intern(label),
            id=name,
            date=day,
            group=_name(row.get(data.group_column)) if data.group_column else "",
            originals=originals,
        )

    def label_values(self, label: str) -> list[str]:
        """Splits the label of a `ContractRow` into its values."""
        separator = self._data.label_separator
        return label.split(separator) if separator else [label]

    def _label(self, value: object) -> str | None:
        separator = self._data.label_separator
        if separator is None:
            return label_value(value, self._data.labels)
        if not isinstance(value, str | list | tuple):
            value = [value]
        parts = value.split(separator) if isinstance(value, str) else value
        found = {part for part in (label_value(item, self._data.labels) for item in parts) if part is not None}
        return separator.join(sorted(found)) or None

    def _unknown(self, label: str) -> str | None:
        known = self.labels or {}
        return next((value for value in self.label_values(label) if value not in known), None)


def contract_digest(data: DataConfig, cleaning: CleaningConfig) -> str:
    """Digests the rules that rows are checked against, but not how their files are read."""
    rules = data.model_dump(mode="json", exclude=_NO_RULES)
    # The order of the labels is that of their ids.
    rules["labels"] = list(data.labels.items()) if data.labels else None
    return digest_of(rules, cleaning.model_dump(mode="json"))


def parse_day(value: object) -> str | None:
    """Returns the day of a date as `YYYY-MM-DD`; None if it is not a date.

    Text may be 20260501, or begin with 2026-05-01, 2026/5/1, 2026.5.1 or 2026年5月1日, e.g. before a time of day.

    Example:
        >>> parse_day("2026年5月1日 08:30")
        '2026-05-01'
    """
    if isinstance(value, datetime.date):
        return value.isoformat()[:10]
    text = str(value).strip()
    if match := _DAY.match(text):
        year, month, day = match[1], match[3] or match[5], match[4] or match[6]
    elif match := _DAY_IN_DIGITS.fullmatch(text):
        year, month, day = match.groups()
    else:
        return None
    try:
        return datetime.date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return None


def check_columns(fetched: FetchedData, data: DataConfig) -> dict[str, DataFile]:
    """Opens every file, by its path inside the raw data set, and checks that it has the contract's columns.

    Raises:
        DataError: Columns are missing (reported for all files together, with suggestions), or a file cannot be used or
            was changed after it was fetched.
        StorageError: A file could not be read.
    """
    digests = {file.path: file.sha256 for file in fetched.files}
    files: dict[str, DataFile] = {}
    for name in dict.fromkeys(path for paths in fetched.splits.values() for path in paths):
        files[name] = file = DataFile.open(fetched.folder / name, _options(data))
        if digests.get(name, file.sha256) != file.sha256:
            raise DataError(
                f"{file.path} was changed after it was fetched; nothing was written.\n"
                "Start again when the file is complete; write it under another name and rename it when it is done."
            )
    _check_names({name: list(file.columns) for name, file in files.items()}, data)
    return files


def check_local_sources(data: DataConfig) -> None:
    """Checks early, from the beginnings of local files, whether files or columns are missing.

    Sources are tried in order, so the first local one that exists is checked; nothing is known of those after a hub.

    Raises:
        DataError: As `check_columns`, or no source exists.
        StorageError: A file could not be read.
    """
    missing = []
    for source in data.sources:
        if source.path is None:
            return
        try:
            folder, splits = local_splits(source, source.path)
        except HubError as error:
            missing.append(f"local {source.path}: {error}")
            continue
        names = dict.fromkeys(name for files in splits.values() for name in files)
        found = {name: first_columns(folder / name, _options(data)) for name in names}
        _check_names({name: list(columns) for name, columns in found.items() if columns is not None}, data)
        return
    raise DataError(f"The training data cannot be read from any source of data.sources:\n{first_lines(missing)}")


def _options(data: DataConfig) -> ReadingOptions:
    return ReadingOptions(
        file_encoding=data.file_encoding, delimiter=data.delimiter, sheet=data.sheet, column_names=data.column_names
    )


def _check_names(columns_by_file: Mapping[str, list[str]], data: DataConfig) -> None:
    wanted = {f"data.{field}": column for field, column in data.columns.items()}
    problems: list[str] = []
    hints: dict[str, None] = {}
    for name, columns in columns_by_file.items():
        absent = {setting: column for setting, column in wanted.items() if column not in columns}
        if absent:
            problems.append(f"{name} lacks {', '.join(map(repr, absent.values()))}; it has the columns {columns}")
        for setting, column in _meant(absent, columns, taken=set(wanted.values())):
            hints[f"Did you mean {column!r}? Set {setting} to it: --{setting} {shlex.quote(column)}"] = None
    if problems:
        expected = ", ".join(f"{column!r} ({setting})" for setting, column in wanted.items())
        raise DataError(
            f"Columns are missing. Expected: {expected}.\n"
            f"{first_lines(problems)}\n"
            + "".join(f"{hint}\n" for hint in hints)
            + "Set these fields to existing columns; if CSV or TSV files have no header line, set data.column_names."
        )


def _meant(absent: Mapping[str, str], columns: list[str], taken: set[str]) -> Iterator[tuple[str, str]]:
    """Suggests a column for each field: one with a similar name, else one with a common name."""
    free = [column for column in columns if column not in taken]
    folded = {column.strip().casefold(): column for column in free}
    for setting, wanted in absent.items():
        usual = _USUAL_NAMES.get(setting.removeprefix("data."), ())
        close = difflib.get_close_matches(wanted.casefold(), folded, n=1)
        close += [name for name in usual if name in folded]
        close += [name for name in folded for part in usual if part in name]
        if close:
            yield setting, folded.pop(close[0])


def _name(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None or value != value else str(value)
