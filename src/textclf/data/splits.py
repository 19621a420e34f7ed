"""Cuts splits without leaks, and finds the leaks of splits that were cut elsewhere."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

from textclf.config.sources import SPLITS, Split


@dataclass(slots=True)
class Rows:
    """The rows of a split, column by column (`ContractRow`).

    Attributes:
        numbers: Row numbers in the source files, from 1.
        sources: Paths of the source files inside the raw data set.
        ids: The id of each row, or its source and number.
        texts: Cleaned texts.
        pairs: Cleaned second texts, or empty strings.
        labels: Label values.
        originals: `text_digest` of the texts as in the file.
        fingerprints: `fingerprint` of the cleaned texts.
        dates: Days, or empty strings.
        groups: Groups; an empty string is not a group.
    """

    numbers: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    pairs: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    originals: list[int] = field(default_factory=list)
    fingerprints: list[int] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, indices: list[int]) -> Rows:
        """Returns the rows at these positions."""
        taken = Rows()
        for column in fields(self):
            values = getattr(self, column.name)
            setattr(taken, column.name, [values[index] for index in indices])
        return taken


def text_digest(*texts: str) -> int:
    """Digests texts as a signed 64-bit number; two of a million different texts share one with probability 3e-8."""
    joined = "\x1f".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little", signed=True)


def normalize(text: str) -> str:
    """Removes what may differ between copies of a text: width and other compatibility forms, and all white space.

    White space between Chinese characters means nothing, and copies often differ in it.

    Example:
        >>> normalize("很 好！")
        '很好!'
    """
    # Again at the end: without the white space, a letter and a mark may be adjacent.
    return unicodedata.normalize("NFKC", "".join(unicodedata.normalize("NFKC", text).split()))


def fingerprint(*texts: str) -> int:
    """Digests the cleaned text of a row, or both texts of a pair, so that copies (`normalize`) have the same digest."""
    return text_digest(*map(normalize, texts))


def cut(rows: Rows, fractions: dict[Split, float], seed: int) -> dict[Split, Rows]:
    """Cuts splits from the training rows, stratified by label.

    Rows with the same text, cleaned or original, stay together, and so do rows of one group. Where a text goes depends
    only on the texts and the seed, not on the order of the rows or the file format; the rows keep their order. Each
    label contributes to a new split in proportion, with at least one row if it has more different texts than splits
    to cut.

    Args:
        rows: All training rows.
        fractions: Share of the rows for each split to cut.
        seed: Chooses the texts.

    Returns:
        The new splits, and the remaining rows as `train`.
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
        stratum.sort(key=lambda members: min(_order(rows, index, key) for index in members))
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
    """Returns, for each validation and test row, whether it is not an exact copy of an earlier row.

    Earlier are the rows of `train` and, for `test`, of `validation`, and the rows before it in its split.
    """
    seen = set(splits["train"].fingerprints)
    result: dict[Split, list[bool]] = {}
    for split in SPLITS[1:]:
        result[split] = []
        for value in splits[split].fingerprints:
            result[split].append(value not in seen)
            seen.add(value)
    return result


def content_digest(rows: Iterable[Sequence[object]]) -> str:
    """Digests rows, regardless of their order and file format, as a hexadecimal sha256.

    Each row is given as text, second text and label name, and its weight if it has one.
    """
    digests = sorted(hashlib.blake2b(json.dumps(row).encode(), digest_size=16).digest() for row in rows)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _order(rows: Rows, index: int, key: bytes) -> bytes:
    text = f"{rows.texts[index]}\x1f{rows.pairs[index]}" if rows.pairs[index] else rows.texts[index]
    return hashlib.blake2b(text.encode(), digest_size=16, key=key).digest()


def _groups(rows: Rows) -> list[int]:
    """Returns the group of each row: rows with an equal text, fingerprint or group share one, directly or not."""
    parents: list[int] = list(range(len(rows)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first: dict[object, int] = {}
    for index, (text, pair, copy, group) in enumerate(
        zip(rows.texts, rows.pairs, rows.fingerprints, rows.groups, strict=True)
    ):
        for key in ((text, pair), copy, *((group,) if group else ())):
            parents[root(index)] = root(first.setdefault(key, index))
    return [root(index) for index in range(len(rows))]
