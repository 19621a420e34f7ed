"""Everyday sentences of two characters and more: moods, remarks and exclamations, with negation, doubt and turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textclf.data.sample.dice import Dice, expanded

_KINDS = {
    "quality": 30,
    "general": 10,
    "feeling": 18,
    "attitude": 10,
    "idiom": 6,
    "exclaim": 8,
    "act": 6,
    "two": 14,
    "contrast": 10,
}
# Kinds that can be a part of a longer sentence.
_PARTS = {"quality": 8, "feeling": 3, "attitude": 2, "idiom": 1, "act": 2}


@dataclass
class EverydayWriter:
    """Writes short texts from the words of `words.yaml` and the patterns of `everyday.yaml`.

    Attributes:
        dice: Chooses.
        words: Opinion words by kind, each kind with its good and bad ones.
        patterns: Sentences by kind; those of `<kind>_positive` and `<kind>_negative` only for that label. `<word>` has
            the polarity that the text should have, `<opposite>` the other one.
        common: The contrasts of reviews.
    """

    dice: Dice
    words: dict[str, Any]
    patterns: dict[str, Any]
    common: dict[str, Any]

    def text(self, positive: bool) -> str:
        """Returns one text without a style."""
        return self._sentence(self.dice.weighted(_KINDS), positive)

    def _sentence(self, kind: str, positive: bool) -> str:
        special: dict[str, Callable[[bool], str]] = {
            "quality": self._quality,
            "attitude": self._attitude,
            "two": self._two,
            "contrast": self._contrast,
        }
        if kind in special:
            return special[kind](positive)
        words = self.words[{"feeling": "feelings", "general": "general"}.get(kind, f"{kind}s")]
        return self._filled(kind, positive, words)

    def _quality(self, positive: bool) -> str:
        group = self.dice.pick(self.words["qualities"])
        return self._filled("quality", positive, group, subject=self.dice.pick(group["subject"]))

    def _attitude(self, positive: bool) -> str:
        return self._filled("attitude", positive, self.words["verbs"], thing=self.dice.pick(self.words["things"]))

    def _two(self, positive: bool) -> str:
        return f"{self._part(positive)}，{self._part(positive)}"

    def _contrast(self, positive: bool) -> str:
        own = self.common["contrasts_positive" if positive else "contrasts_negative"]
        pattern = self.dice.pick([*self.common["contrasts"], *own])
        return self._expand(pattern, {"minor": self._part(not positive), "major": self._part(positive)})

    def _part(self, positive: bool) -> str:
        kind = self.dice.weighted(_PARTS)
        if kind == "quality" and self.dice.chance(0.5):
            group = self.dice.pick(self.words["qualities"])
            subject, word = self.dice.pick(group["subject"]), self.dice.pick(group["good" if positive else "bad"])
            return f"{subject}{word}"
        return self._sentence(kind, positive).rstrip("？")

    def _filled(self, kind: str, positive: bool, words: Mapping[str, Sequence[str]], **slots: str) -> str:
        own = self.patterns.get(f"{kind}_{'positive' if positive else 'negative'}", [])
        good, bad = self.dice.pick(words["good"]), self.dice.pick(words["bad"])
        word, opposite = (good, bad) if positive else (bad, good)
        return self._expand(self.dice.pick([*self.patterns[kind], *own]), {**slots, "word": word, "opposite": opposite})

    def _expand(self, pattern: str, slots: Mapping[str, str]) -> str:
        return expanded(pattern, self.dice, slots, self.patterns)
