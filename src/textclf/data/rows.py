"""Reads the rows of raw data that meet the contract, and quarantines the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

from textclf.config.sources import Split
from textclf.data.contract import Contract, ContractRow
from textclf.data.quarantine import Quarantine
from textclf.data.repeated_ids import RepeatedIds
from textclf.language import _
from textclf.progress import progress_bar
from textclf.reading.data_file import DataFile

_NUMBER_BITS = 40


class RowReader:
    """Reads the rows of raw files and checks each against the contract and for a repeated id.

    Args:
        files: All files, by their paths inside the raw data set.
        contract: Checks each row.
        quarantine: Receives the rows that break the contract, in the order of each file.
        ids: Finds repeated ids.
    """

    def __init__(
        self, files: Mapping[str, DataFile], contract: Contract, quarantine: Quarantine, ids: RepeatedIds
    ) -> None:
        self._files = files
        self._contract = contract
        self._quarantine = quarantine
        self._ids = ids
        self._sources = list(files)

    def read(self, split: Split, sources: Iterable[str]) -> Iterator[tuple[str, int, ContractRow]]:
        """Yields the source file, number and content of every row of a split that meets the contract.

        Raises:
            DataError: A file is damaged, or was changed while it was read.
            StorageError: A file or the ids could not be read.
            OSError: The quarantine cannot be written.
        """
        with progress_bar(desc=_("reading {split}").format(split=split), unit=" rows", delay=2) as progress:
            for source in sources:
                begin = self._sources.index(source) << _NUMBER_BITS
                for batch in self._files[source].batches(columns=self._contract.columns):
                    broken: list[tuple[int, str, object]] = [
                        (row.number, row.reason, row.content) for row in batch.broken
                    ]
                    for number, row in zip(batch.numbers, batch.rows, strict=True):
                        checked = self._check_id(self._contract.check(row), begin + number)
                        if isinstance(checked, str):
                            broken.append((number, checked, row))
                        else:
                            yield source, number, checked
                    for number, reason, content in sorted(broken, key=itemgetter(0)):
                        self._quarantine.add(split, source, number, reason, content)
                    progress.update(len(batch.rows) + len(batch.broken))
                self._files[source].check_unchanged()

    def _check_id(self, row: ContractRow | str, place: int) -> ContractRow | str:
        if isinstance(row, str) or row.id is None:
            return row
        first = self._ids.first(row.id, place)
        if first == place:
            return row
        earlier = self._sources[first >> _NUMBER_BITS], first & ((1 << _NUMBER_BITS) - 1)
        return f"repeated id: {row.id!r}, as in {earlier[0]}, row {earlier[1]:,}"
