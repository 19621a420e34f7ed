"""Reviews of several sentences: statements, contrasts and verdicts, put together from the phrases of a domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from textclf.data.sample.dice import Dice, expanded

_KINDS = {"plain": 50, "long": 16, "contrast": 18, "outweighed": 4, "ledger": 2, "short": 6, "wry": 3}


@dataclass
class ReviewWriter:
    """Writes reviews of one domain; `used` holds the aspects, frames and phrases that the current one has used."""

    dice: Dice
    domain: dict[str, Any]
    common: dict[str, Any]
    used: set[str] = field(default_factory=set)

    def review(self, positive: bool) -> str:
        """Returns one review without a style."""
        self.used = set()
        kind = self.dice.weighted(_KINDS)
        if kind == "short":
            return self._short(positive)
        compose = {
            "plain": self._plain,
            "long": self._long,
            "contrast": self._contrast,
            "outweighed": self._outweighed,
            "ledger": self._ledger,
            "wry": self._wry,
        }[kind]
        parts = compose(positive)
        for name, probability in (("details", 0.25), ("purpose", 0.35)):
            if kind == "long" or self.dice.chance(probability):
                parts.insert(0, self._fresh(self.domain[name]))
        if self.dice.chance(0.08):
            parts.append(self._fresh(self.common["filler"]))
        opening = self.dice.pick(self.common["opening"]) if self.dice.chance(0.12) else ""
        return opening + self._joined(parts)

    def _short(self, positive: bool) -> str:
        kind = self.dice.weighted({"statement": 3, "contrast": 2, "verdict": 5})
        if kind == "statement":
            return self._statement(positive)
        if kind == "contrast":
            return self._opposed(positive, minor=self._concession(not positive), major=self._word(positive))
        return f"{self._word(positive)}，{self._concluded(positive)}"

    def _plain(self, positive: bool) -> list[str]:
        parts = [self._statement(positive) for _ in range(self.dice.between(2, 5))]
        if self.dice.chance(0.15):
            parts.insert(self.dice.between(0, len(parts) - 1), self._concession(not positive))
        return [*parts, *self._maybe_verdict(positive, 0.65)]

    def _long(self, positive: bool) -> list[str]:
        before = [self._statement(positive) for _ in range(self.dice.between(1, 3))]
        after = [self._statement(positive) for _ in range(self.dice.between(1, 2))]
        return [*before, *self._contrast(positive), *after, self._concluded(positive)]

    def _contrast(self, positive: bool) -> list[str]:
        minor = self._concession(not positive)
        if self.dice.chance(0.3):
            pair = self.dice.pick(self.common["pair"])
            minor = self._expand(pair, {"first": minor, "second": self._concession(not positive)})
        major = self._statement(positive)
        return [self._opposed(positive, minor, major), *self._maybe_verdict(positive, 0.75)]

    def _outweighed(self, positive: bool) -> list[str]:
        """Two or three points against the verdict, then those that decide."""
        parts = [self._concession(not positive) for _ in range(self.dice.between(2, 3))]
        turn = self.dice.pick(self.common["after_all"])
        decisive = [self._statement(positive) for _ in range(self.dice.between(1, 2))]
        return [*parts, turn + decisive[0], *decisive[1:], self._concluded(positive)]

    def _ledger(self, positive: bool) -> list[str]:
        words = {"pro": True, "pro_more": True, "con": False, "con_more": False}
        slots = {name: self._word(good, ("brief",)) for name, good in words.items()}
        balance = self._expand(self.dice.pick(self.common["ledger"]), slots)
        return [balance.rstrip("。"), self._concluded(positive)]

    def _wry(self, positive: bool) -> list[str]:
        remarks: dict[str, list[str]] = self.domain["tease" if positive else "irony"]
        aspect = self.dice.pick(list(remarks))
        self.used.add(aspect)
        parts = [self._fresh(remarks[aspect]), *self._maybe_verdict(positive, 0.3)]
        return [self._statement(positive), *parts] if self.dice.chance(0.4) else parts

    def _opposed(self, positive: bool, minor: str, major: str) -> str:
        """Joins two opinions, of which `major` carries the verdict."""
        own = self.common["contrasts_positive" if positive else "contrasts_negative"]
        pattern = self.dice.pick([*self.common["contrasts"], *own])
        return self._expand(pattern, {"minor": minor, "major": major})

    def _maybe_verdict(self, positive: bool, probability: float) -> list[str]:
        return [self._concluded(positive)] if self.dice.chance(probability) else []

    def _concluded(self, positive: bool) -> str:
        verdict = self._fresh(self.domain["praise" if positive else "complaint"])
        if verdict.startswith(("总", "整体", "要说", "问我")) or self.dice.chance(0.6):
            return verdict
        lead: str = self.dice.pick(self.common["before_verdict"])
        return lead + verdict

    def _statement(self, positive: bool) -> str:
        """Returns a point that can carry the verdict: an observation, or a judgement in one word."""
        if self.dice.chance(0.45):
            return self._word(positive, ("direct", "direct", "direct", "strong", "strong", "strong", "denied", "told"))
        aspect = self._aspect()
        return self._fresh(aspect["plus"] if positive else [*aspect["minus"], *aspect.get("grave", [])])

    def _concession(self, positive: bool) -> str:
        """Returns a point that is compatible with the opposite verdict."""
        if self.dice.chance(0.8):
            return self._word(positive, ("direct", "mild", "mild", "denied"))
        aspect = self._aspect()
        return self._fresh(aspect["plus" if positive else "minus"])

    def _word(self, positive: bool, kinds: Sequence[str] = ("direct", "strong", "denied")) -> str:
        """Returns a judgement in one word, stated outright or by denying its opposite."""
        aspect = self._aspect()
        frames, kind = self.common["frames"], self.dice.pick(kinds)
        patterns = [*frames[kind], *frames.get(f"{kind}_{'positive' if positive else 'negative'}", [])]
        good, bad = self.dice.pick(aspect["good"]), self.dice.pick(aspect["bad"])
        slots = {
            "subject": self.dice.pick(aspect["subject"]),
            "word": good if positive else bad,
            "opposite": bad if positive else good,
        }
        # Some aspects compare the shop or the courier instead of the product.
        for name in ("this", "other"):
            if name in aspect:
                slots[name] = self.dice.pick(aspect[name])
        return self._fresh(patterns, slots)

    def _aspect(self) -> dict[str, list[str]]:
        """Returns an aspect that is new to the review, so that it cannot contradict itself."""
        aspects: dict[str, dict[str, list[str]]] = self.domain["aspects"]
        name = self.dice.pick([name for name in aspects if name not in self.used])
        self.used.add(name)
        return aspects[name]

    def _fresh(self, patterns: Sequence[str], slots: Mapping[str, str] | None = None) -> str:
        """Returns a phrase, with its slots filled, whose pattern is new to the review."""
        pattern = self.dice.pick([pattern for pattern in patterns if pattern not in self.used] or patterns)
        self.used.add(pattern)
        return self._expand(pattern, slots or {})

    def _expand(self, pattern: str, slots: Mapping[str, str]) -> str:
        return expanded(pattern, self.dice, slots, {**self.common, **self.domain})

    def _joined(self, parts: Sequence[str]) -> str:
        text = parts[0]
        for part in parts[1:]:
            text += ("" if text.endswith(("。", "？")) else self.dice.pick("，，。")) + part
        return text
