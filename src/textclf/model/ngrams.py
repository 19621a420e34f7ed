"""Counts the character n-grams of texts as scikit-learn's vectorizer does, with numpy alone and several times faster.

An n-gram of up to three characters is packed into one int64, its key: 21 bits a character, and every character counts
one more than its code point, so that n-grams of different lengths have different keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST_NGRAM = 3
_BITS = 21
# The vectorizer replaces runs of white space, but leaves single characters as they are.
_WHITE_SPACES = re.compile(r"\s\s+")
# Spreads keys over the buckets: 2^64 divided by the golden ratio (Fibonacci hashing).
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# Of a batch: its arrays stay in the processor's cache.
_CHARACTERS = 1 << 14


@dataclass(frozen=True, eq=False)
class NgramCounts:
    """How often texts contain n-grams: three arrays of one length, ordered by text.

    Attributes:
        texts: Which text, int64.
        features: Which n-gram, int64.
        counts: How often, int64, at least 1.
    """

    texts: NDArray[np.int64]
    features: NDArray[np.int64]
    counts: NDArray[np.int64]


def ngram_keys(ngrams: Sequence[str]) -> NDArray[np.int64]:
    """Packs n-grams of one to three characters; returns int64[ngrams]."""
    characters, lengths = _characters(ngrams)
    firsts = np.cumsum(lengths) - lengths
    keys: NDArray[np.int64] = characters[firsts]
    for position in range(1, LONGEST_NGRAM):
        longer = lengths > position
        keys[longer] = (keys[longer] << _BITS) | characters[firsts[longer] + position]
    return keys


class NgramIndex:
    """Finds n-grams among known ones; their positions are called features.

    A hash table in three arrays: the keys ordered by bucket, the feature of each, and where each bucket starts. With
    two to four buckets a key, most n-grams need one look.
    """

    def __init__(self, keys: NDArray[np.int64]) -> None:
        self._bits = len(keys).bit_length() + 1
        buckets = self._buckets(keys)
        self._features = np.argsort(buckets, kind="stable")
        # The start of an empty bucket is a key of another bucket, or this one of none.
        self._keys = np.append(keys[self._features], -1)
        self._starts = np.zeros((1 << self._bits) + 1, dtype=np.int32)
        np.cumsum(np.bincount(buckets, minlength=1 << self._bits), out=self._starts[1:])

    def count(self, texts: Sequence[str], *, characters: int = _CHARACTERS) -> Iterator[tuple[int, NgramCounts]]:
        """Counts known n-grams, in lower case and with single white spaces, in batches of at least one text.

        Memory grows with the longest text: about 200 bytes a character.

        Args:
            texts: They may contain any code point, even unpaired surrogates.
            characters: Of a batch, unless a single text is longer.

        Yields:
            The position of the batch's first text in `texts`, and the counts; their `texts` count from there.
        """
        first, size = 0, 0
        batch: list[str] = []
        for position, text in enumerate(texts):
            normal = _WHITE_SPACES.sub(" ", text.lower())
            if batch and size + len(normal) > characters:
                yield first, self._count(batch)
                first, size, batch = position, 0, []
            batch.append(normal)
            size += len(normal)
        if batch:
            yield first, self._count(batch)

    def _count(self, texts: Sequence[str]) -> NgramCounts:
        unigrams, lengths = _characters(texts)
        owners = np.repeat(np.arange(len(texts)), lengths)
        bigrams = (unigrams[:-1] << _BITS) | unigrams[1:]
        trigrams = (bigrams[:-1] << _BITS) | unigrams[2:]
        # Those that reach into the next text are left out.
        within = [slice(None), owners[:-1] == owners[1:], owners[:-2] == owners[2:]]
        keys = np.concatenate([unigrams, bigrams[within[1]], trigrams[within[2]]])
        owners = np.concatenate([owners, owners[:-1][within[1]], owners[:-2][within[2]]])
        places = self._places(keys)
        known = np.flatnonzero(places >= 0)
        size = len(self._keys)
        # Sorting brings equal n-grams of a text together.
        occurrences = owners.take(known) * size + places.take(known)
        occurrences.sort()
        firsts = np.flatnonzero(np.diff(occurrences, prepend=-1))
        each = occurrences.take(firsts)
        in_text = each // size
        features = self._features.take(each - in_text * size)
        return NgramCounts(in_text, features, np.diff(firsts, append=len(occurrences)))

    def _places(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns where each key stands in the table, -1 for unknown ones."""
        buckets = self._buckets(keys)
        places = self._starts.take(buckets)
        hits = self._keys.take(places) == keys
        found = np.where(hits, places, -1)
        sought = np.flatnonzero(~hits)
        places, ends = places[sought] + 1, self._starts.take(buckets[sought] + 1)
        while len(sought):
            left = places < ends
            sought, places, ends = sought[left], places[left], ends[left]
            hits = self._keys.take(places) == keys.take(sought)
            found[sought[hits]] = places[hits]
            sought, places, ends = sought[~hits], places[~hits] + 1, ends[~hits]
        return found

    def _buckets(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        return ((keys.view(np.uint64) * _MULTIPLIER) >> np.uint64(64 - self._bits)).view(np.int64)


def _characters(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the characters of all texts one after the other, by code point from 1, and the length of each text."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return codes.astype(np.int64) + 1, np.fromiter(map(len, texts), np.int64, len(texts))
