"""Reads the rows of a prepared data set: the only reader of the Parquet files that `prepare` and `audit` write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from textclf.config.sources import SPLITS, Split
from textclf.errors import StorageError
from textclf.records import PreparedData


@dataclass(frozen=True)
class SplitRows:
    """Rows of one prepared split. A column is converted on first access.

    Attributes:
        split: The split.
        label_names: In the order of their ids.
        table: All columns, as written by `prepare`.
    """

    split: Split
    label_names: tuple[str, ...]
    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def texts(self) -> list[str]:
        """Cleaned texts."""
        return self._list("text")

    @cached_property
    def pairs(self) -> list[str] | None:
        """Cleaned second texts; None for single texts."""
        return self._list("text_pair") if "text_pair" in self.table.column_names else None

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Label ids, int64[rows]."""
        return self._array("label")

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """Row numbers in the source files, from 1, int64[rows]."""
        return self._array("row")

    @cached_property
    def sources(self) -> list[str]:
        """The source file of each row, relative to the raw data set."""
        return self._list("source")

    @cached_property
    def groups(self) -> list[str] | None:
        """The group of each row, empty without one; None if the data names no column for groups."""
        return self._list("group") if "group" in self.table.column_names else None

    @cached_property
    def leakfree(self) -> NDArray[np.bool_] | None:
        """Whether each row is not a copy of an earlier row of any split, bool[rows]; None for train."""
        return self._array("leakfree") if "leakfree" in self.table.column_names else None

    @cached_property
    def weights(self) -> NDArray[np.float32] | None:
        """How often each row counts, float32[rows]; None if all count once."""
        return self._array("weight") if "weight" in self.table.column_names else None

    @cached_property
    def originals(self) -> NDArray[np.int64]:
        """Digests of the texts as in the files, int64[rows]."""
        return self._array("original")

    @cached_property
    def fingerprints(self) -> NDArray[np.int64]:
        """Digests that are equal for copies of a text, int64[rows]."""
        return self._array("fingerprint")

    def take(self, indices: NDArray[np.int64]) -> SplitRows:
        """Returns the rows at these positions, int64[rows]."""
        return replace(self, table=self.table.take(indices))

    def where(self, mask: NDArray[np.bool_]) -> SplitRows:
        """Returns the rows that a mask marks, bool[rows]."""
        return replace(self, table=self.table.filter(pa.array(mask)))

    def _list(self, column: str) -> list[str]:
        values: list[str] = self.table[column].to_pylist()
        return values

    def _array(self, column: str) -> NDArray[Any]:
        values: NDArray[Any] = self.table[column].to_numpy()
        return values


def read_split(prepared: PreparedData, split: Split) -> SplitRows:
    """Reads a split of a prepared data set, audited or not; about 150 bytes per row plus its text.

    Raises:
        StorageError: The file is missing, damaged or cannot be read.
    """
    path = prepared.folder / f"{split}.parquet"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(
            f"The prepared data in {path} cannot be read: {error}\nRemove {path.parent} to have it rebuilt."
        ) from error
    return SplitRows(split, prepared.labels, table)


def read_splits(prepared: PreparedData) -> dict[Split, SplitRows]:
    """Reads all splits as `read_split` does, train first."""
    return {split: read_split(prepared, split) for split in SPLITS if split in prepared.rows}
