"""The texts that the benchmarks classify."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from pathlib import Path


def read_texts(data: Path) -> list[str]:
    """Reads the column text of a Parquet file, or of those in a folder, and returns its different texts, cleaned.

    Both sides of a comparison see what the library's standard rule makes of the texts.

    Raises:
        SystemExit: There is no such file.
    """
    import pyarrow.parquet as pq

    from textclf.data.cleaning import clean_text

    files = sorted(data.glob("*.parquet")) if data.is_dir() else [data] if data.is_file() else []
    if not files:
        raise SystemExit(f"There is no *.parquet in {data}: name a folder with --data.")
    found = [text for file in files for text in pq.read_table(file, columns=["text"])["text"].to_pylist()]
    return list(dict.fromkeys(clean for text in found if (clean := clean_text(text, "standard"))))


def draw(texts: Sequence[str], rows: int, *, seed: int, without: Collection[str] = ()) -> list[str]:
    """Draws different texts in random order.

    Raises:
        SystemExit: There are too few.
    """
    left = [text for text in texts if text not in without]
    if len(left) < rows:
        raise SystemExit(f"The data has {len(left):,} different texts; {rows:,} are needed.")
    return random.Random(seed).sample(left, rows)


def write_texts(texts: Sequence[str], target: Path) -> Path:
    """Writes a Parquet file with the columns id and text, and returns its path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": range(len(texts)), "text": list(texts)}), target)
    return target
