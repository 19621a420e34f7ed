"""Everyday sentences of two characters and more: moods, remarks and exclamations, with negation, doubt and turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textclf.data.sample.dice import Dice, expanded

_KINDS = {
    "quality": 30,
    "event": 26,
    "general": 12,
    "feeling": 18,
    "attitude": 10,
    "idiom": 7,
    "exclaim": 9,
    "act": 6,
    "two": 14,
    "contrast": 12,
}
# Kinds that can be a part of a longer sentence.
_PARTS = {"quality": 8, "event": 6, "feeling": 3, "idiom": 1, "act": 2}


@dataclass
class EverydayWriter:
    """Writes short texts from the words of `words.yaml` and the patterns of `everyday.yaml`.

    Attributes:
        dice: Chooses.
        words: Opinion words by kind, each kind with its good and bad ones.
        events: Good and bad things that happen, by area.
        patterns: Sentences by kind; those of `<kind>_positive` and `<kind>_negative` only for that label. `<word>` has
            the polarity that the text should have, `<opposite>` the other one.
        common: The contrasts of reviews.
    """

    dice: Dice
    words: dict[str, Any]
    events: dict[str, Any]
    patterns: dict[str, Any]
    common: dict[str, Any]

    def text(self, positive: bool) -> str:
        """Returns one text without a style."""
        return self._sentence(self.dice.weighted(_KINDS), positive)

    def _sentence(self, kind: str, positive: bool) -> str:
        if kind == "two":
            return f"{self._part(positive)}，{self._part(positive)}"
        if kind == "contrast":
            return self._contrast(positive)
        own = self.patterns.get(f"{kind}_{'positive' if positive else 'negative'}", [])
        return self._filled([*self.patterns[kind], *own], kind, positive)

    def _contrast(self, positive: bool) -> str:
        polarity = "positive" if positive else "negative"
        joined = [*self.common["contrasts"], *self.common[f"contrasts_{polarity}"], *self.patterns[f"mixed_{polarity}"]]
        return self._expand(self.dice.pick(joined), {"minor": self._part(not positive), "major": self._part(positive)})

    def _part(self, positive: bool) -> str:
        """Returns a clause that can stand in a longer sentence."""
        kind = self.dice.weighted(_PARTS)
        return self._filled(self.patterns.get(f"{kind}_clause", ["<word>"]), kind, positive)

    def _filled(self, patterns: Sequence[str], kind: str, positive: bool) -> str:
        words, slots = self._words(kind)
        # Lists begin with what is common.
        good, bad = self.dice.pick_early(words["good"]), self.dice.pick_early(words["bad"])
        word, opposite = (good, bad) if positive else (bad, good)
        return self._expand(self.dice.pick_early(patterns), {**slots, "word": word, "opposite": opposite})

    def _words(self, kind: str) -> tuple[Mapping[str, Sequence[str]], dict[str, str]]:
        """Returns good and bad words of a kind that go together, and what they are said of."""
        if kind == "quality":
            group = self.dice.pick_early(self.words["qualities"])
            return group, {"subject": self.dice.pick(group["subject"])}
        if kind == "event":
            return self.events[self.dice.pick(list(self.events))], {}
        if kind == "attitude":
            return self.words["verbs"], {"thing": self.dice.pick(self.words["things"])}
        return self.words["general" if kind == "general" else f"{kind}s"], {}

    def _expand(self, pattern: str, slots: Mapping[str, str]) -> str:
        return expanded(pattern, self.dice, slots, self.patterns)
