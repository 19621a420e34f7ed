"""Hold raw data against its contract without preparing it: what is wrong, on one page, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TextIO

from pydantic import computed_field

from textclf.config.data import CleaningConfig, DataConfig
from textclf.config.sources import SPLITS, Split
from textclf.data.contract import Contract, check_columns
from textclf.data.labels import MAX_LABELS, check_training_labels, label_names
from textclf.data.quarantine import Quarantine, describe_kinds
from textclf.data.repeated_ids import RepeatedIds
from textclf.data.rows import RowReader
from textclf.errors import DataError
from textclf.records import FetchedData, Quarantined, Record
from textclf.store import appearing, storage_error
from textclf.tables import align, shorten

# More different values than this are no labels; counting on would only take memory.
_MOST_LABEL_VALUES = 100 * MAX_LABELS
_LABELS_SHOWN = 30


class CheckedData(Record):
    """What a check found; the keys of `textclf data check --json`."""

    origin: str
    files: tuple[str, ...]
    """Each file with what was detected: format, encoding, delimiter, columns."""
    rows: dict[Split, int]
    """All rows that were read, broken ones included."""
    quarantined: tuple[Quarantined, ...]
    labels: dict[Split, dict[str, int]]
    """Rows by label, those that keep the contract."""
    problems: tuple[str, ...]
    """What is wrong with the data as a whole: labels, amount."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def holds(self) -> bool:
        """Whether the contract holds."""
        return not self.quarantined and not self.problems


def check_data(
    fetched: FetchedData, *, data: DataConfig, cleaning: CleaningConfig, quarantine_path: Path | None = None
) -> CheckedData:
    """Reads all rows once and holds them against the contract.

    Memory does not grow with the rows: a CSV of 5 GB takes about 150 MB, with ids 350 MB.

    Args:
        fetched: The raw data.
        data: The contract.
        cleaning: The rule for texts and their greatest length.
        quarantine_path: Gets the rows that break the contract, as JSON lines: split, source, row, reason, content.

    Returns:
        What was found.

    Raises:
        DataError: A file cannot be read as what it is, or columns are missing.
        StorageError: A file could not be read, or the quarantine not be written.
    """
    files = check_columns(fetched, data)
    try:
        with ExitStack() as stack:
            file: TextIO | None = None
            if quarantine_path:
                quarantine_path.parent.mkdir(parents=True, exist_ok=True)
                draft = stack.enter_context(appearing(quarantine_path))
                file = stack.enter_context(draft.open("w", encoding="utf-8"))
            contract, quarantine = Contract(data, cleaning), Quarantine(file)
            reader = RowReader(files, contract, quarantine, stack.enter_context(closing(RepeatedIds())))
            summaries = tuple(file.summary(fetched.folder) for file in files.values())
            return _Check(fetched, summaries, data, contract, quarantine, reader).run()
    except OSError as error:
        raise storage_error(quarantine_path or Path(error.filename or "."), error) from error


class _Check:
    def __init__(
        self,
        fetched: FetchedData,
        files: tuple[str, ...],
        data: DataConfig,
        contract: Contract,
        quarantine: Quarantine,
        reader: RowReader,
    ) -> None:
        self._fetched = fetched
        self._files = files
        self._data = data
        self._contract = contract
        self._quarantine = quarantine
        self._reader = reader
        self._problems: list[str] = []

    def run(self) -> CheckedData:
        labels: dict[Split, Counter[str]] = {}
        rows: dict[Split, int] = {}
        for split in SPLITS:
            if split in self._fetched.splits:
                kept, labels[split] = self._read_split(split)
                rows[split] = kept + self._quarantine.rows(split)
                if not rows[split]:
                    self._problems.append(f"The split {split} has no rows.")
                if split == "train":
                    self._find_labels(labels[split])
        names = self._contract.labels or {}
        counts = {split: _by_name(counter, names) for split, counter in labels.items()}
        self._check_labels(counts)
        return CheckedData(
            origin=self._fetched.origin,
            files=self._files,
            rows=rows,
            quarantined=self._quarantine.kinds(),
            labels=counts,
            problems=tuple(self._problems),
        )

    def _read_split(self, split: Split) -> tuple[int, Counter[str]]:
        kept = 0
        labels: Counter[str] = Counter()
        for _, _, row in self._reader.read(split, self._fetched.splits[split]):
            kept += 1
            if row.label in labels or len(labels) < _MOST_LABEL_VALUES:
                labels.update(self._contract.label_values(row.label))
        return kept, labels

    def _find_labels(self, counts: Counter[str]) -> None:
        if self._contract.labels is not None or not counts:
            return
        try:
            self._contract.labels = label_names(counts, self._data.label_column)
        except DataError as error:
            self._problems.append(str(error))

    def _check_labels(self, counts: dict[Split, dict[str, int]]) -> None:
        names = (self._contract.labels or {}).values()
        train = counts.get("train", {})
        try:
            if not any(train.values()):
                raise DataError("No training row keeps the contract.")
            check_training_labels(
                {name: train.get(name, 0) for name in names} or train, minimum=self._data.contract.min_rows_per_label
            )
        except DataError as error:
            self._problems.append(str(error))


def _by_name(counts: Counter[str], names: Mapping[str, str]) -> dict[str, int]:
    # Several values may have the same name.
    named: Counter[str] = Counter()
    for value, count in counts.items():
        named[names.get(value, value)] += count
    return dict(named)


def check_page(checked: CheckedData) -> str:
    """Words a check for people: files, rows, labels, what is wrong, and whether the contract holds."""
    splits = list(checked.rows)
    totals = Counter({name: 0 for counts in checked.labels.values() for name in counts})
    for counts in checked.labels.values():
        totals.update(counts)
    table = [["label", *splits]]
    for name, _ in totals.most_common(_LABELS_SHOWN):
        table.append(
            [shorten(" ".join(name.split()), 40), *(f"{checked.labels[split].get(name, 0):,}" for split in splits)]
        )
    if len(totals) > _LABELS_SHOWN:
        table.append([f"and {len(totals) - _LABELS_SHOWN:,} more", *("" for _ in splits)])
    table.append(["all rows read", *(f"{checked.rows[split]:,}" for split in splits)])
    parts = ["\n".join(checked.files), align(table)]
    if checked.quarantined:
        broken = sum(kind.rows for kind in checked.quarantined)
        share = broken / sum(checked.rows.values())
        parts.append(f"{broken:,} rows ({share:.1%}) break the contract:\n{describe_kinds(checked.quarantined)}")
    parts += checked.problems
    parts.append("The contract holds." if checked.holds else "The contract is broken.")
    return "\n\n".join(parts)
