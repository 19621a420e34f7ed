"""MinHash: short signatures of texts whose agreement estimates how many n-grams the texts share.

The probability that two texts have the same smallest hash under a random permutation is the Jaccard similarity of
their n-gram sets. Several such places form a band; texts that agree in a complete band are candidates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from textclf.language import _
from textclf.progress import progress_bar

# A chunk of 32-bit hashes that stays in a core's cache during all permutations.
_CHUNK_CHARACTERS = 2**17
_MAX_ROWS = 16
_MAX_PERMUTATIONS = 160
_MISSED_AT_THRESHOLD = 0.01
_SEED = 20260731


@dataclass(frozen=True)
class Bands:
    """How places of a signature are grouped: `count` bands of `rows` places."""

    count: int
    rows: int


@dataclass(frozen=True)
class Signatures:
    """The part of the signatures that is kept."""

    band_keys: npt.NDArray[np.uint32]
    """Shape (bands, texts): equal where two texts agree in the complete band."""
    places: npt.NDArray[np.uint8]
    """Shape (texts, permutations): the last byte of each place, enough to count how many agree."""


def choose_bands(threshold: float) -> Bands:
    """Chooses the most selective bands that miss at most 1 % of the pairs exactly at a threshold from 0.5 to 1.

    Longer bands yield fewer accidental candidates but more of them are needed, and every place costs time: at most 160
    places are used.
    """
    for rows in range(_MAX_ROWS, 1, -1):
        found_by_band = threshold**rows
        count = 1 if found_by_band == 1 else math.ceil(math.log(_MISSED_AT_THRESHOLD) / math.log1p(-found_by_band))
        if rows * count <= _MAX_PERMUTATIONS:
            break
    return Bands(count, rows)


def hash_ngrams(texts: Sequence[str], ngram_size: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Hashes the character n-grams of texts.

    Args:
        texts: At least one text, without white space. A text shorter than `ngram_size` is one n-gram.
        ngram_size: Characters per n-gram.

    Returns:
        The hashes of all n-grams, text by text, repetitions included; and the number of n-grams per text.
    """
    # The texts have no white space, so a padded text cannot equal an n-gram of another one.
    filled = [text.ljust(ngram_size) for text in texts]
    codes = np.frombuffer("".join(filled).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    hashes = np.zeros(len(codes) - ngram_size + 1, dtype=np.uint64)
    for offset in range(ngram_size):
        hashes += codes[offset : offset + len(hashes)]
        _mix(hashes)
    lengths = np.fromiter(map(len, filled), dtype=np.int64, count=len(filled))
    inside = np.ones(len(hashes), dtype=bool)
    inside[(np.cumsum(lengths)[:-1, None] - np.arange(1, ngram_size)).ravel()] = False
    return hashes[inside], lengths - ngram_size + 1


def sign(texts: Sequence[str], ngram_size: int, bands: Bands) -> Signatures:
    """Computes signatures of about `permutations + 4 * bands` bytes per text; `texts` have no white space."""
    random = np.random.default_rng(_SEED)
    permutations = bands.count * bands.rows
    factors = random.integers(2**32, size=permutations, dtype=np.uint32) | np.uint32(1)
    masks = random.integers(2**32, size=permutations, dtype=np.uint32)
    band_keys = np.empty((bands.count, len(texts)), dtype=np.uint32)
    places = np.empty((len(texts), permutations), dtype=np.uint8)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    parts = list(chunks(lengths + ngram_size, _CHUNK_CHARACTERS))
    for part in progress_bar(parts, desc=_("signing texts"), unit=" parts", delay=2, leave=False):
        hashes, counts = hash_ngrams(texts[part], ngram_size)
        folded = (hashes >> np.uint64(32)).astype(np.uint32)
        starts = np.cumsum(counts) - counts
        permuted = np.empty_like(folded)
        smallest = np.empty((permutations, len(counts)), dtype=np.uint32)
        for place in range(permutations):
            np.multiply(folded, factors[place], out=permuted)
            np.bitwise_xor(permuted, masks[place], out=permuted)
            np.minimum.reduceat(permuted, starts, out=smallest[place])
        places[part] = smallest.T.astype(np.uint8)
        for band in range(bands.count):
            key = np.zeros(len(counts), dtype=np.uint64)
            for place in smallest[band * bands.rows : (band + 1) * bands.rows]:
                key += place
                _mix(key)
            band_keys[band, part] = key >> np.uint64(32)
    return Signatures(band_keys, places)


def chunks(sizes: npt.NDArray[np.int64], limit: int) -> Iterator[slice]:
    """Cuts a sequence of items into runs of total size at most `limit`; a larger item has a run of its own."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        reached = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, reached + limit, side="right")))
        yield slice(start, stop)
        start = stop


def _mix(values: npt.NDArray[np.uint64]) -> None:
    """Spreads every bit over all 64, in place and without collisions (the finaliser of SplitMix64)."""
    values += np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
