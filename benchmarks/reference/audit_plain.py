"""A data audit written plainly with pandas and datasketch, as a reference for textclf.

    python benchmarks/reference/audit_plain.py train.parquet validation.parquet test.parquet

The first file is the training split. Files are Parquet, CSV or, with the ending .tsv, tab-separated without quotes,
and have a column text. It needs datasketch (2.0 was used), which textclf does not, and uses nothing from textclf.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
import unicodedata
from pathlib import Path

import pandas as pd
from datasketch import MinHash, MinHashLSH

PERMUTATIONS = 128
THRESHOLD = 0.8
NGRAM_SIZE = 3


def read(file: Path) -> pd.Series:
    """Reads the texts of a split."""
    if file.suffix == ".csv":
        rows = pd.read_csv(file, keep_default_na=False, usecols=["text"], dtype=str)
    elif file.suffix == ".tsv":
        rows = pd.read_csv(file, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False, usecols=["text"], dtype=str)
    else:
        rows = pd.read_parquet(file, columns=["text"])
    return rows["text"]


def normalize(text: str) -> str:
    """Applies NFKC and removes white space."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def ngrams(text: str) -> list[bytes]:
    """Returns the character n-grams of a text; a shorter text is a single one."""
    return [text[start : start + NGRAM_SIZE].encode() for start in range(max(1, len(text) - NGRAM_SIZE + 1))]


def count_near_pairs(texts: list[str]) -> int:
    """Counts the pairs whose estimated similarity reaches the threshold."""
    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    hashes: list[MinHash] = []
    pairs = 0
    for number, text in enumerate(texts):
        minhash = MinHash(num_perm=PERMUTATIONS)
        minhash.update_batch(ngrams(text))
        pairs += sum(minhash.jaccard(hashes[other]) >= THRESHOLD for other in index.query(minhash))
        index.insert(number, minhash)
        hashes.append(minhash)
    return pairs


def main() -> None:
    """Reads the splits, counts, and prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="one file per split, the training split first")
    files = parser.parse_args().files

    started = time.perf_counter()
    raw = [read(file) for file in files]
    normalized = [texts.map(normalize) for texts in raw]
    splits = {
        file.name: {
            "rows": len(texts),
            "exact_duplicates": int(texts.duplicated().sum()),
            "normalized_duplicates": int(same.duplicated().sum()),
            "exact_in_train": int(texts.isin(raw[0]).sum()) if number else None,
            "normalized_in_train": int(same.isin(normalized[0]).sum()) if number else None,
        }
        for number, (file, texts, same) in enumerate(zip(files, raw, normalized, strict=True))
    }
    exact_seconds = time.perf_counter() - started
    distinct = pd.concat(normalized).drop_duplicates().tolist()
    pairs = count_near_pairs(distinct)
    seconds = time.perf_counter() - started
    counts = {"splits": splits, "distinct_texts": len(distinct), "near_duplicate_pairs": pairs}
    print(json.dumps({**counts, "exact_seconds": exact_seconds, "seconds": seconds}, ensure_ascii=False))


if __name__ == "__main__":
    main()
