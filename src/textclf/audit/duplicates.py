"""Finds equal and nearly equal texts: within a split, with different labels, and across splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textclf.audit.findings import Conflicts, CrossSplit, Duplicates, Example, ExamplePair, NearDuplicates
from textclf.audit.near_duplicates import find_near_duplicates
from textclf.config.data import AuditConfig
from textclf.config.sources import Split
from textclf.data.personal_data import hide_personal_data
from textclf.data.prepared import SplitRows
from textclf.data.splits import normalize
from textclf.tables import shorten

EXAMPLES = 10
_EXAMPLE_COLUMNS = 600
# Any odd 64-bit number: spreads a label id over all bits before it is combined with a digest.
_SPREAD = 0x9E3779B97F4A7C15 - (1 << 64)


def later_copies(digests: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks the rows whose digest appears in an earlier row: bool[rows]."""
    copies = np.ones(len(digests), dtype=bool)
    copies[np.unique(digests, return_index=True)[1]] = False
    return copies


def with_label(fingerprints: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Combines text and label of each row into one digest: int64[rows]."""
    with np.errstate(over="ignore"):
        return fingerprints ^ ((labels + 1) * np.int64(_SPREAD))


def conflicting(fingerprints: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks the rows whose text has more than one label: bool[rows]."""
    first_of_label = ~later_copies(with_label(fingerprints, labels))
    texts, counts = np.unique(fingerprints[first_of_label], return_counts=True)
    return np.isin(fingerprints, texts[counts > 1])


def count_duplicates(rows: SplitRows) -> Duplicates:
    """Counts equal texts within a split."""
    _, counts = np.unique(rows.fingerprints, return_counts=True)
    return Duplicates(
        exact=int(later_copies(rows.originals).sum()),
        normalized=int(later_copies(rows.fingerprints).sum()),
        texts=int((counts > 1).sum()),
    )


def count_conflicts(rows: SplitRows) -> Conflicts:
    """Counts equal texts with different labels within a split."""
    marked = conflicting(rows.fingerprints, rows.labels)
    return Conflicts(texts=len(np.unique(rows.fingerprints[marked])), rows=int(marked.sum()))


@dataclass(frozen=True)
class NearTexts:
    """Pairs of near duplicates, as positions in `texts`; see `near_duplicates.NearPairs`."""

    texts: NDArray[np.int64]
    """Digests of the distinct texts, sorted."""
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float32]
    complete: bool

    def near(self, rows: SplitRows, others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Marks the rows that have a near duplicate (not an equal text) among the digests `others`: bool[rows]."""
        among = np.isin(self.texts, others)
        marked = np.zeros(len(self.texts), dtype=bool)
        marked[self.right[among[self.left]]] = True
        marked[self.left[among[self.right]]] = True
        return marked[np.searchsorted(self.texts, rows.fingerprints)]


def find_near(splits: dict[Split, SplitRows], audit: AuditConfig) -> NearTexts | None:
    """Finds near duplicates among all splits, train first; None if the configuration turns the search off."""
    if not audit.near_duplicates:
        return None
    fingerprints = np.concatenate([rows.fingerprints for rows in splits.values()])
    texts, first = np.unique(fingerprints, return_index=True)
    whole = [text for rows in splits.values() for text in _whole_texts(rows)]
    # Training texts first: in a large group of similar texts, the first ones are compared with all others.
    order = np.argsort(first)
    found = find_near_duplicates(
        ["\x1f".join(map(normalize, whole[index])) for index in first[order]],
        threshold=audit.near_duplicate_threshold,
        ngram_size=audit.near_duplicate_ngram_size,
    )
    return NearTexts(texts, order[found.left], order[found.right], found.similarity, found.complete)


def _whole_texts(rows: SplitRows) -> Iterator[tuple[str, ...]]:
    return zip(rows.texts) if rows.pairs is None else zip(rows.texts, rows.pairs, strict=True)


def count_near(splits: dict[Split, SplitRows], near: NearTexts, audit: AuditConfig) -> NearDuplicates:
    """Counts near duplicates by split."""
    return NearDuplicates(
        threshold=audit.near_duplicate_threshold,
        ngram_size=audit.near_duplicate_ngram_size,
        pairs=len(near.left),
        complete=near.complete,
        rows={split: _later_near(rows, near) for split, rows in splits.items()},
    )


def _later_near(rows: SplitRows, near: NearTexts) -> int:
    texts, first, counts = np.unique(rows.fingerprints, return_index=True, return_counts=True)
    place = np.full(len(near.texts), -1)
    place[np.searchsorted(near.texts, texts)] = first
    weight = np.zeros(len(near.texts), dtype=np.int64)
    weight[np.searchsorted(near.texts, texts)] = counts
    inside = (place[near.left] >= 0) & (place[near.right] >= 0)
    left, right = near.left[inside], near.right[inside]
    later = np.unique(np.where(place[left] > place[right], left, right))
    return int(weight[later].sum())


def compare_with_train(rows: SplitRows, train: SplitRows, near: NearTexts | None, leak_free: int) -> CrossSplit:
    """Counts what a split shares with train; `leak_free` is passed through."""
    shared = np.isin(rows.fingerprints, train.fingerprints)
    same_label = np.isin(with_label(rows.fingerprints, rows.labels), with_label(train.fingerprints, train.labels))
    return CrossSplit(
        exact=int(np.isin(rows.originals, train.originals).sum()),
        normalized=int(shared.sum()),
        near=None if near is None else int((near.near(rows, train.fingerprints) & ~shared).sum()),
        other_label=int((shared & ~same_label).sum()),
        leak_free=leak_free,
    )


def example(rows: SplitRows, index: int) -> Example:
    """Shows the row at a position, with personal data masked."""
    text = rows.texts[index] if rows.pairs is None else f"{rows.texts[index]} ‖ {rows.pairs[index]}"
    return Example(
        split=rows.split,
        source=rows.sources[index],
        row=int(rows.numbers[index]),
        label=rows.label_names[rows.labels[index]],
        # Masked before truncation: a truncated number would not be recognised.
        text=shorten(hide_personal_data(text), _EXAMPLE_COLUMNS),
    )


def duplicate_examples(rows: SplitRows) -> Iterator[ExamplePair]:
    """Pairs rows with the first row of the same text."""
    texts, first = np.unique(rows.fingerprints, return_index=True)
    for index in np.flatnonzero(later_copies(rows.fingerprints))[:EXAMPLES]:
        earlier = first[np.searchsorted(texts, rows.fingerprints[index])]
        yield ExamplePair(first=example(rows, int(earlier)), second=example(rows, int(index)), similarity=1.0)


def conflict_examples(rows: SplitRows) -> Iterator[ExamplePair]:
    """Pairs rows with an earlier row of the same text but another label."""
    marked = np.flatnonzero(conflicting(rows.fingerprints, rows.labels))
    earlier: dict[int, int] = {}
    shown: set[int] = set()
    for index in map(int, marked):
        first = earlier.setdefault(int(rows.fingerprints[index]), index)
        if rows.labels[first] != rows.labels[index] and first not in shown and len(shown) < EXAMPLES:
            shown.add(first)
            yield ExamplePair(first=example(rows, first), second=example(rows, index), similarity=1.0)


def leak_examples(rows: SplitRows, train: SplitRows) -> Iterator[ExamplePair]:
    """Pairs training rows with their copies in another split."""
    texts, first = np.unique(train.fingerprints, return_index=True)
    for index in np.flatnonzero(np.isin(rows.fingerprints, texts))[: EXAMPLES // 2]:
        copied = first[np.searchsorted(texts, rows.fingerprints[index])]
        yield ExamplePair(first=example(train, int(copied)), second=example(rows, int(index)), similarity=1.0)


def near_examples(splits: dict[Split, SplitRows], near: NearTexts) -> Iterator[ExamplePair]:
    """Shows pairs of near duplicates, those across splits first."""
    place: dict[int, tuple[Split, int]] = {}
    wanted = np.unique(np.concatenate([near.left, near.right]))
    for split, rows in reversed(splits.items()):
        texts, first = np.unique(rows.fingerprints, return_index=True)
        at = np.searchsorted(near.texts, texts)
        inside = np.isin(at, wanted)
        place.update({int(text): (split, int(index)) for text, index in zip(at[inside], first[inside], strict=True)})
    order = list(splits)
    pairs = []
    for left, right, similarity in zip(near.left, near.right, near.similarity, strict=True):
        ends = sorted((place[int(left)], place[int(right)]), key=lambda end: (order.index(end[0]), end[1]))
        pairs.append((ends[0], ends[1], float(similarity)))
    pairs.sort(key=lambda pair: (pair[0][0] == pair[1][0], pair[2], pair[0][1]))
    for (split, index), (other, other_index), similarity in pairs[:EXAMPLES]:
        yield ExamplePair(
            first=example(splits[split], index), second=example(splits[other], other_index), similarity=similarity
        )
