"""Cutting splits without leaks, and finding the leaks of splits that were cut elsewhere."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from textclf.config.sources import SPLITS, Split


@dataclass(slots=True)
class Rows:
    """The rows of a split, column by column.

    Attributes:
        numbers: Row numbers in the source file, from 1.
        sources: Paths of the source files inside the raw data set.
        ids: Names of the rows.
        texts: Cleaned texts.
        labels: Label values as they stand in the file.
        fingerprints: Of the original texts (`fingerprint`).
    """

    numbers: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    fingerprints: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, indices: list[int]) -> Rows:
        """Returns the rows at these positions."""
        columns = (self.numbers, self.sources, self.ids, self.texts, self.labels, self.fingerprints)
        return Rows(*([column[index] for index in indices] for column in columns))  # type: ignore[arg-type]


def fingerprint(text: str) -> bytes:
    """Digests a text so that two texts have the same one if they differ at most in width and white space.

    White space is left out altogether: between Chinese characters it says nothing, and copies often differ in it.

    Args:
        text: The original text; the rule that cleans it does not matter.

    Returns:
        16 bytes.
    """
    normalized = "".join(unicodedata.normalize("NFKC", text).split())
    return hashlib.blake2b(normalized.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def cut(rows: Rows, fractions: dict[Split, float], seed: int) -> dict[Split, Rows]:
    """Cuts splits from the training rows, stratified by label.

    Rows with the same text, cleaned or original, stay together. Which texts go where depends on the texts and the
    seed alone, not on the order of the rows or the format of the file; the rows keep their order. A label gives rows
    to a new split in proportion, at least one where it has more different texts than there are splits.

    Args:
        rows: All training rows.
        fractions: Share of the rows for each split to cut.
        seed: Picks the texts.

    Returns:
        The splits that were cut, and what is left as `train`.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(_groups(rows)):
        groups[group].append(index)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for members in groups.values():
        counts = Counter(rows.labels[index] for index in members)
        strata[max(sorted(counts), key=counts.__getitem__)].append(members)
    key = seed.to_bytes(8, "little")
    taken: dict[int, Split] = {}
    for stratum in strata.values():
        stratum.sort(key=lambda members: min(_order(rows.texts[index], key) for index in members))
        size = sum(map(len, stratum))
        spare = stratum
        for split, fraction in fractions.items():
            wanted = max(round(fraction * size), int(len(stratum) > len(fractions)))
            left = []
            for members in spare:
                if len(members) <= wanted:
                    taken.update(dict.fromkeys(members, split))
                    wanted -= len(members)
                else:
                    left.append(members)
            spare = left
    places: dict[Split, list[int]] = {split: [] for split in ("train", *fractions)}
    for index in range(len(rows)):
        places[taken.get(index, "train")].append(index)
    return {split: rows.take(indices) for split, indices in places.items()}


def leak_free(splits: dict[Split, Rows]) -> dict[Split, list[bool]]:
    """Tells which validation and test rows are no exact copies of a row that comes earlier.

    Args:
        splits: The rows of all splits.

    Returns:
        One value a row for `validation` (compared with `train` and the earlier rows of `validation`) and for `test`
        (compared with `train`, `validation` and the earlier rows of `test`).
    """
    seen = set(splits["train"].fingerprints)
    result: dict[Split, list[bool]] = {}
    for split in SPLITS[1:]:
        result[split] = []
        for value in splits[split].fingerprints:
            result[split].append(value not in seen)
            seen.add(value)
    return result


def content_digest(rows: Iterable[tuple[str, str]]) -> str:
    """Digests texts and label names so that neither the order of the rows nor the format of the file matters.

    Args:
        rows: Text and label name of each row.

    Returns:
        A sha256, hexadecimal.
    """
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def _order(text: str, key: bytes) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16, key=key).digest()


def _groups(rows: Rows) -> list[int]:
    """The group of each row: rows with an equal cleaned text or an equal fingerprint share one, directly or not."""
    parents: list[int] = list(range(len(rows)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first: dict[str | bytes, int] = {}
    for index, keys in enumerate(zip(rows.texts, rows.fingerprints, strict=True)):
        for value in keys:
            parents[root(index)] = root(first.setdefault(value, index))
    return [root(index) for index in range(len(rows))]
