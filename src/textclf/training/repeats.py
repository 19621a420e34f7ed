"""Training rows that repeat another are trained once, with their number as weight."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datasets import Dataset

logger = logging.getLogger(__name__)

SEQUENCES = ("input_ids", "token_type_ids")


def merge_repeats(rows: Dataset) -> Dataset:
    """Keeps the first of the rows that have the same tokens and label; its weight is the sum of theirs.

    To the model they are one row: texts that differ only where they are cut, or in what the tokenizer ignores, are
    merged; rows with the same tokens and different labels stay. Rows without a column `weight` count once. The rows
    keep their order. If none repeats another, they are returned as they are; else the result is in memory.
    """
    from datasets import Dataset

    table: pa.Table = rows.with_format("arrow")[:]
    places: dict[bytes, int] = {}
    firsts: list[int] = []
    merged = np.empty(len(table), dtype=np.int64)
    for index, key in enumerate(_keys(table)):
        if key not in places:
            places[key] = len(firsts)
            firsts.append(index)
        merged[index] = places[key]
    if len(firsts) == len(table):
        return rows
    weights = table["weight"].to_numpy() if "weight" in table.column_names else None
    sums = np.bincount(merged, weights).astype(np.float32)
    logger.info(
        "Train: %s of %s rows repeat another with the same tokens and label; each of those is trained once, weighted "
        "by its copies.",
        f"{len(table) - len(firsts):,}",
        f"{len(table):,}",
    )
    kept = table.take(firsts)
    names = [name for name in kept.column_names if name != "weight"]
    return Dataset(kept.select(names).append_column("weight", pa.array(sums)))


def _keys(table: pa.Table) -> Iterator[bytes]:
    """A digest of each row's tokens and label."""
    names = [name for name in SEQUENCES if name in table.column_names]
    for batch in table.select([*names, "label"]).to_batches():
        ends = [batch.column(name).offsets.to_numpy() for name in names]
        tokens = [batch.column(name).values.to_numpy() for name in names]
        for row, label in enumerate(batch.column("label").to_pylist()):
            digest = hashlib.blake2b(str(label).encode(), digest_size=16)
            for end, values in zip(ends, tokens, strict=True):
                digest.update(values[end[row] : end[row + 1]].tobytes())
            yield digest.digest()
