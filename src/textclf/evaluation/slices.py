"""Parts of the test rows, and where a model is worse than elsewhere by more than chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from textclf.config.expressions import Expression, Value
from textclf.data.prepared import SplitRows
from textclf.evaluation.intervals import share_interval
from textclf.heads.metrics import metric_labels
from textclf.records import Slice

Masks = Mapping[str, NDArray[np.bool_]]
"""Which rows belong to a slice, bool[rows], by its name."""

_LENGTHS = (20, 100, 300)
"""Characters: a remark, a short review, a long one."""
_MOST_NAMES = 20
# Above it, a slice that is worse is worse by chance (Benjamini and Hochberg 1995).
_FALSE_DISCOVERIES = 0.05
_MIXED = (0.2, 0.8)
"""Shares of Chinese characters among letters between which a text mixes languages."""


def slice_masks(rows: SplitRows, personal: Mapping[str, str]) -> Masks:
    """Cuts rows into slices by length, languages, source file, group and leaks, and by the user's own expressions.

    Slices without rows, and those that contain all rows, are left out, except the user's own.

    Args:
        rows: Test rows.
        personal: Expressions by the name of the slice.
    """
    lengths = np.array([len(text) for text in rows.texts])
    chinese = np.array([chinese_share(text) for text in rows.texts])
    found = {**_by_length(lengths), **_by_language(chinese), **_named("file", rows.sources)}
    if rows.groups is not None:
        found |= _named("group", rows.groups)
    if rows.leakfree is not None:
        found |= {"leaked": ~rows.leakfree, "leak-free": rows.leakfree}
    kept = {name: mask for name, mask in found.items() if mask.any() and not mask.all()}
    for name, text in personal.items():
        expression = Expression.parse(text)
        kept[name] = np.array([expression.holds(row) for row in _described(rows, lengths, chinese)], dtype=bool)
    return kept


def chinese_share(text: str) -> float:
    """Returns the share of Chinese characters among the letters of a text, 0 to 1; of a text without letters, 0."""
    letters = [character for character in text if character.isalpha()]
    chinese = sum("\u3400" <= character <= "\u9fff" or character >= "\U00020000" for character in letters)
    return chinese / len(letters) if letters else 0.0


def _by_length(lengths: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    borders = (0, *_LENGTHS, np.inf)
    names = [f"length under {_LENGTHS[0]}"]
    names += [f"length {low} to {high - 1}" for low, high in pairwise(_LENGTHS)]
    names.append(f"length from {_LENGTHS[-1]}")
    bands = zip(names, pairwise(borders), strict=True)
    return {name: (lengths >= low) & (lengths < high) for name, (low, high) in bands}


def _by_language(chinese: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    mixed = (chinese > _MIXED[0]) & (chinese < _MIXED[1])
    return {"Chinese": chinese >= _MIXED[1], "mixed languages": mixed, "not Chinese": chinese <= _MIXED[0]}


def _named(kind: str, values: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Returns a slice per file or group, if there are few."""
    names = sorted({*values} - {""})
    if len(names) > _MOST_NAMES:
        return {}
    found = np.array(values)
    return {f"{kind} {name}": found == name for name in names}


def _described(rows: SplitRows, lengths: NDArray[np.int64], chinese: NDArray[np.float64]) -> Iterator[dict[str, Value]]:
    leaked = np.zeros(len(rows), dtype=bool) if rows.leakfree is None else ~rows.leakfree
    for place, text in enumerate(rows.texts):
        yield {
            "text": text,
            "text_pair": rows.pairs[place] if rows.pairs else "",
            "label": rows.label_names[rows.labels[place]],
            "source": rows.sources[place],
            "group": rows.groups[place] if rows.groups else "",
            "length": float(lengths[place]),
            "chinese": float(chinese[place]),
            "leaked": bool(leaked[place]),
        }


def measure_slices(right: NDArray[np.bool_], masks: Masks) -> tuple[Slice, ...]:
    """Measures the accuracy of each slice, and marks those that are worse than the other rows by more than chance.

    A slice is marked if Fisher's exact test, one-sided, rejects that it is as good as the other rows. Of the marked
    ones, at most 5 % are expected to be so by chance (Benjamini and Hochberg 1995).

    Args:
        right: Whether each row was classified rightly, bool[rows].
        masks: The slices.

    Returns:
        The marked ones first, the others in the order of `masks`; an empty slice has no accuracy.
    """
    from scipy.stats import false_discovery_control, hypergeom

    total, wrong = len(right), int((~right).sum())
    counted = {name: (int(mask.sum()), int((~right & mask).sum())) for name, mask in masks.items()}
    # The chance of at least so many wrong rows, if the wrong ones were spread over all rows.
    chances = [hypergeom.sf(errors - 1, total, wrong, rows) if rows else 1.0 for rows, errors in counted.values()]
    adjusted = false_discovery_control(chances) if chances else []
    found = [
        Slice(
            name=name,
            rows=rows,
            accuracy=(rows - errors) / rows if rows else None,
            interval=share_interval(rows - errors, rows) if rows else None,
            worse=bool(chance < _FALSE_DISCOVERIES),
        )
        for (name, (rows, errors)), chance in zip(counted.items(), adjusted, strict=True)
    ]
    return tuple(sorted(found, key=lambda each: not each.worse))


def slice_metrics(slices: Sequence[Slice]) -> dict[str, float]:
    """Returns slices as metrics: `slice/<name>/accuracy`, with its interval, and `slice/<name>/rows`.

    Names, which may be those of files, are written as `metric_labels` does.
    """
    metrics = {}
    # In the order of their names, so that names that collide get the same numbers each time.
    ordered = sorted(slices, key=lambda each: each.name)
    for name, each in zip(metric_labels([each.name for each in ordered]), ordered, strict=True):
        start = f"slice/{name}"
        metrics[f"{start}/rows"] = float(each.rows)
        if each.accuracy is not None and each.interval is not None:
            metrics[f"{start}/accuracy"] = each.accuracy
            metrics |= {f"{start}/accuracy/low": each.interval.low, f"{start}/accuracy/high": each.interval.high}
    return metrics
