"""The rows that an audit looks at: the prepared splits in memory, column by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textclf.audit.findings import Example
from textclf.config.sources import Split
from textclf.data.personal_data import hide_personal_data
from textclf.records import PreparedData
from textclf.tables import shorten

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_EXAMPLE_COLUMNS = 600


@dataclass(frozen=True)
class SplitRows:
    """One prepared split.

    Attributes:
        split: Which one.
        table: All its columns, as `prepare` wrote them.
        texts: Cleaned texts.
        pairs: Cleaned second texts, or None.
        labels: Label ids, int64[rows].
        originals: Digests of the texts as they stand in the files, int64[rows].
        fingerprints: Digests that copies share, int64[rows].
        label_names: In the order of their ids.
    """

    split: Split
    table: pa.Table
    texts: list[str]
    pairs: list[str] | None
    labels: NDArray[np.int64]
    originals: NDArray[np.int64]
    fingerprints: NDArray[np.int64]
    label_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: NDArray[np.int64]) -> SplitRows:
        """Returns the rows at these positions, int64[rows]."""
        return SplitRows(
            split=self.split,
            table=self.table.take(indices),
            texts=[self.texts[index] for index in indices],
            pairs=None if self.pairs is None else [self.pairs[index] for index in indices],
            labels=self.labels[indices],
            originals=self.originals[indices],
            fingerprints=self.fingerprints[indices],
            label_names=self.label_names,
        )

    def example(self, index: int) -> Example:
        """Shows the row at a position, its personal data behind asterisks."""
        text = self.texts[index] if self.pairs is None else f"{self.texts[index]} ‖ {self.pairs[index]}"
        return Example(
            split=self.split,
            source=self.table["source"][index].as_py(),
            row=self.table["row"][index].as_py(),
            label=self.label_names[self.labels[index]],
            # Hidden before it is cut: a number that is cut would not be recognised.
            text=shorten(hide_personal_data(text), _EXAMPLE_COLUMNS),
        )


def read_rows(prepared: PreparedData) -> dict[Split, SplitRows]:
    """Reads a prepared data set into memory: about 300 bytes a row and its text.

    Raises:
        OSError: A file could not be read.
    """
    import pyarrow.parquet as pq

    rows: dict[Split, SplitRows] = {}
    for split in prepared.rows:
        table = pq.read_table(prepared.folder / f"{split}.parquet")
        rows[split] = SplitRows(
            split=split,
            table=table,
            texts=table["text"].to_pylist(),
            pairs=table["text_pair"].to_pylist() if "text_pair" in table.column_names else None,
            labels=table["label"].to_numpy(),
            originals=table["original"].to_numpy(),
            fingerprints=table["fingerprint"].to_numpy(),
            label_names=prepared.labels,
        )
    return rows
