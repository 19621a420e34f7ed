"""Finds near duplicates: MinHash proposes pairs, and exact similarity decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from textclf.audit.minhash import Signatures, choose_bands, chunks, hash_ngrams, sign
from textclf.language import _
from textclf.progress import progress_bar

# In larger buckets (a template filled in thousands of ways), not all pairs are compared.
_WHOLE_BUCKET = 32
_PARTNERS = 4
_ENOUGH_LINKS = 4
# An estimate this many standard deviations below the threshold rules a pair out: loses 3 of 100,000.
_MARGIN = 4
_CHUNK_PAIRS = 2**16
# Pairs of a chunk are numbered in 12 bits of the sorted keys; 51 bits remain for the n-gram and one for the side.
_CHUNK_NGRAMS = 2**19
_PAIR_BITS = 12


@dataclass(frozen=True)
class NearPairs:
    """Positions of near duplicates, `left` < `right`, sorted by `left`, then `right`."""

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float32]
    """Jaccard similarity of the sets of character n-grams."""
    complete: bool
    """False if some group of similar texts was so large that only part of its pairs was compared."""


def find_near_duplicates(texts: Sequence[str], *, threshold: float, ngram_size: int) -> NearPairs:
    """Finds the pairs of texts whose sets of character n-grams have at least a given Jaccard similarity.

    Every returned pair was compared exactly. A pair at the threshold is missed with a probability of about 1 %, one
    well above it almost never. Where more than 32 texts may be alike, each is compared with the first of them and with
    the most similar ones, so that it keeps some of its near duplicates but not all: the texts that matter most as
    partners, such as the training split, should come first. The result is deterministic.

    Args:
        texts: Distinct texts, normalised and without white space; fewer than 2**32. A text shorter than `ngram_size`
            counts as one n-gram.
        threshold: From 0.5 to 1.
        ngram_size: Characters per n-gram, at least 1.
    """
    bands = choose_bands(threshold)
    signatures = sign(texts, ngram_size, bands)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    links = np.zeros(len(texts), dtype=np.int64)
    compared = np.empty(0, dtype=np.uint64)
    similarity = np.empty(0)
    complete = True
    for band in progress_bar(range(bands.count), desc=_("comparing texts"), unit=" bands", delay=2, leave=False):
        pairs, whole = _bucket_pairs(signatures.band_keys, band, links)
        complete = complete and whole
        pairs = np.setdiff1d(pairs, compared, assume_unique=True)
        pairs = pairs[_promising(pairs, signatures, threshold)]
        found = _jaccard(texts, lengths, pairs, ngram_size)
        np.add.at(links, np.concatenate(_split(pairs[found >= threshold])), 1)
        compared = np.concatenate([compared, pairs])
        similarity = np.concatenate([similarity, found])
    near = similarity >= threshold
    order = np.argsort(compared[near])
    left, right = _split(compared[near][order])
    return NearPairs(left, right, similarity[near][order].astype(np.float32), complete)


def _bucket_pairs(
    band_keys: npt.NDArray[np.uint32], band: int, links: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], bool]:
    """Pairs the texts with the same key in a band; also returns whether these are all such pairs.

    In a large bucket, texts with enough near duplicates are skipped, and texts that share the next band are neighbours.
    """
    packed = (band_keys[band].astype(np.uint64) << np.uint64(32)) | np.arange(band_keys.shape[1], dtype=np.uint64)
    packed.sort()
    key, text = packed >> np.uint64(32), (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    edges = np.flatnonzero(np.diff(key)) + 1
    starts = np.concatenate([[0], edges])
    sizes = np.diff(np.concatenate([starts, [len(key)]]))
    pairs = []

    small = (sizes > 1) & (sizes <= _WHOLE_BUCKET)
    stops = np.repeat((starts + sizes)[small], sizes[small])
    members = _ranges(starts[small], sizes[small])
    for distance in range(1, _WHOLE_BUCKET):
        inside = members + distance < stops
        members, stops = members[inside], stops[inside]
        pairs.append(_join(text[members], text[members + distance]))

    large = sizes > _WHOLE_BUCKET
    members = _ranges(starts[large], sizes[large])
    bucket = np.repeat(starts[large], sizes[large])
    one = text[members]
    for rank in range(_PARTNERS):
        pairs.append(_join(text[bucket + rank], one)[links[one] < _ENOUGH_LINKS])
    following = band_keys[(band + 1) % len(band_keys)]
    one = one[np.lexsort((one, following[one], bucket))]
    for distance in range(1, _PARTNERS + 1):
        first, second = one[:-distance], one[distance:]
        wanted = (bucket[:-distance] == bucket[distance:]) & (np.minimum(links[first], links[second]) < _ENOUGH_LINKS)
        pairs.append(_join(first[wanted], second[wanted]))

    joined = np.unique(np.concatenate(pairs))
    left, right = _split(joined)
    return joined[left < right], not large.any()


def _promising(pairs: npt.NDArray[np.uint64], signatures: Signatures, threshold: float) -> npt.NDArray[np.bool_]:
    """Marks pairs whose signatures agree nearly as often as those of near duplicates."""
    permutations = signatures.places.shape[1]
    least = permutations * threshold - _MARGIN * math.sqrt(permutations * threshold * (1 - threshold))
    left, right = _split(pairs)
    promising = np.empty(len(pairs), dtype=bool)
    for start in range(0, len(pairs), _CHUNK_PAIRS):
        part = slice(start, start + _CHUNK_PAIRS)
        agree = signatures.places[left[part]] == signatures.places[right[part]]
        promising[part] = np.count_nonzero(agree, axis=1) >= least
    return promising


def _jaccard(
    texts: Sequence[str], lengths: npt.NDArray[np.int64], pairs: npt.NDArray[np.uint64], ngram_size: int
) -> npt.NDArray[np.float64]:
    """Computes the similarity of each pair by sorting the n-grams of both texts together."""
    left, right = _split(pairs)
    similarity = np.empty(len(pairs))
    # A minimum size per pair keeps the number of pairs in a chunk within _PAIR_BITS.
    sizes = np.maximum(lengths[left] + lengths[right], _CHUNK_NGRAMS >> _PAIR_BITS)
    for part in chunks(sizes, _CHUNK_NGRAMS):
        count = part.stop - part.start
        both = [texts[index] for index in np.concatenate([left[part], right[part]]).tolist()]
        hashes, counts = hash_ngrams(both, ngram_size)
        pair = np.repeat(np.tile(np.arange(count, dtype=np.uint64), 2), counts)
        side = np.repeat(np.arange(2 * count) >= count, counts)
        keys = (pair << np.uint64(64 - _PAIR_BITS)) | (hashes >> np.uint64(_PAIR_BITS) & ~np.uint64(1)) | side
        keys.sort()
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] >> np.uint64(1)
        pair = (keys >> np.uint64(63 - _PAIR_BITS)).astype(np.int64)
        common = np.bincount(pair[1:][keys[1:] == keys[:-1]], minlength=count)
        similarity[part] = common / (np.bincount(pair, minlength=count) - common)
    return similarity


def _ranges(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Concatenates the ranges of `sizes` items that begin at `starts`."""
    positions = np.arange(sizes.sum(), dtype=np.int64)
    positions += np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    return positions


def _join(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Packs two positions into one number, the smaller one in the upper half."""
    upper = np.minimum(first, second).astype(np.uint64) << np.uint64(32)
    return upper | np.maximum(first, second).astype(np.uint64)


def _split(pairs: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Undoes `_join`."""
    return (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
