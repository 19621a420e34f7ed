"""Chance that is the same on every machine, and phrases with slots."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

import yaml

_T = TypeVar("_T")
_SLOT = re.compile(r"<([^<>]*)>")
_RANGE = re.compile(r"(\d+)-(\d+)")


class Dice:
    """Uses only `random.Random.random`, the one method whose sequence Python promises to keep."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        """Returns True with this probability."""
        return self._random.random() < probability

    def between(self, low: int, high: int) -> int:
        """Returns an integer from `low` to `high`, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, items: Sequence[_T]) -> _T:
        """Returns one of the items."""
        return items[self.between(0, len(items) - 1)]

    def pick_early(self, items: Sequence[_T]) -> _T:
        """Returns one of the items; half of the time one of the first quarter, as common words are said more often."""
        value = self._random.random()
        return items[int(value * value * len(items))]

    def weighted(self, weights: Mapping[str, int]) -> str:
        """Returns a name, as often as its weight says."""
        return self.pick([name for name, weight in weights.items() for _ in range(weight)])

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        """Returns the items in another order."""
        keyed = [(self._random.random(), position) for position in range(len(items))]
        return [items[position] for _, position in sorted(keyed)]


def load_phrases(name: str) -> dict[str, Any]:
    """Returns the content of a phrase file."""
    text = resources.files("textclf.data.sample").joinpath("phrases", f"{name}.yaml").read_text(encoding="utf-8")
    phrases: dict[str, Any] = yaml.safe_load(text)
    return phrases


def expanded(pattern: str, dice: Dice, slots: Mapping[str, str], lists: Mapping[str, Sequence[str]]) -> str:
    """Returns a phrase with its slots filled.

    Args:
        pattern: `<a|b>` stands for one of the alternatives, `<3-8>` for a number from that range, and `<name>` for
            `slots[name]` or one of `lists[name]`.
        dice: Chooses.
        slots: What certain slots are filled with.
        lists: Phrases by name.
    """

    def filled(match: re.Match[str]) -> str:
        inside: str = match[1]
        if inside in slots:
            return slots[inside]
        if span := _RANGE.fullmatch(inside):
            return str(dice.between(int(span[1]), int(span[2])))
        return dice.pick(inside.split("|") if "|" in inside else lists[inside])

    while _SLOT.search(pattern):
        pattern = _SLOT.sub(filled, pattern)
    return pattern
