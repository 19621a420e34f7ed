"""Generates the quickstart's sample: Chinese reviews of hotels, laptops and books that no person wrote.

`python -m textclf.data.sample.generator --output FOLDER` writes `train.tsv`, `validation.tsv` and `test.tsv` from the
phrases in `textclf/data/sample/phrases`. The same seed gives the same bytes on every machine with Python 3.11 or later.

A review's label is its verdict, not its words: two of three reviews contain an argument against the verdict or negate
a word instead of using its opposite, so that negation, conjunction and order decide.

In the phrases, `<a|b>` stands for one of the alternatives, `<3-8>` for a number from that range, and `<name>` for a
phrase from the list of that name.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml

from textclf.config.sources import SPLITS, Split
from textclf.errors import StorageError, TextclfError
from textclf.store import appearing

logger = logging.getLogger(__name__)

POSITIVE = "正面"
NEGATIVE = "负面"
DEFAULT_SEED = 7
DOMAINS = ("hotel", "laptop", "book")
ROWS_PER_DOMAIN_AND_LABEL: Mapping[Split, int] = {"train": 360, "validation": 70, "test": 70}
LABEL_NOISE = 0.03

_T = TypeVar("_T")
_SLOT = re.compile(r"<([^<>]*)>")
_RANGE = re.compile(r"(\d+)-(\d+)")
_KINDS = {"plain": 50, "long": 16, "contrast": 18, "outweighed": 4, "ledger": 2, "short": 6, "wry": 3}
_MINIMUM_LENGTH = 8
_MAXIMUM_LENGTH = 200
# Reviews that share more of their five-character pieces than this count as copies.
_MAXIMUM_SIMILARITY = 0.5
_PIECE_LENGTH = 5


@dataclass(frozen=True)
class Review:
    """One labelled text of the sample.

    Attributes:
        text: One line of Chinese, 8 to 200 characters, without tabs.
        label: `正面` or `负面`.
    """

    text: str
    label: str


class _Dice:
    """Uses only `random.Random.random`, the one method whose sequence Python promises to keep."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def between(self, low: int, high: int) -> int:
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, items: Sequence[_T]) -> _T:
        return items[self.between(0, len(items) - 1)]

    def weighted(self, weights: Mapping[str, int]) -> str:
        return self.pick([name for name, weight in weights.items() for _ in range(weight)])

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        keyed = [(self._random.random(), position) for position in range(len(items))]
        return [items[position] for _, position in sorted(keyed)]


def _load(name: str) -> dict[str, Any]:
    text = resources.files("textclf.data.sample").joinpath("phrases", f"{name}.yaml").read_text(encoding="utf-8")
    phrases: dict[str, Any] = yaml.safe_load(text)
    return phrases


@dataclass
class _Writer:
    """Writes reviews of one domain; `used` holds the aspects, frames and phrases that the current one has used."""

    dice: _Dice
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
        def filled(match: re.Match[str]) -> str:
            inside: str = match[1]
            if inside in slots:
                return slots[inside]
            if span := _RANGE.fullmatch(inside):
                return str(self.dice.between(int(span[1]), int(span[2])))
            if "|" in inside:
                return self.dice.pick(inside.split("|"))
            listed: list[str] = self.domain[inside] if inside in self.domain else self.common[inside]
            return self.dice.pick(listed)

        while _SLOT.search(pattern):
            pattern = _SLOT.sub(filled, pattern)
        return pattern

    def _joined(self, parts: Sequence[str]) -> str:
        text = parts[0]
        for part in parts[1:]:
            text += ("" if text.endswith(("。", "？")) else self.dice.pick("，，。")) + part
        return text


def _styled(text: str, positive: bool, dice: _Dice, common: Mapping[str, Any]) -> str:
    """Gives a review a personal style: punctuation, typing errors, an emoticon at the end."""
    comma = dice.pick(["，"] * 13 + [","] * 3 + [" "] * 4)
    stop = dice.pick(["。"] * 12 + ["！"] * 3 + [comma] * 3 + ["。。。", "…", "～"])
    closing = "" if stop == comma else stop
    ending = dice.pick([closing, closing, "", "！", "。"])
    if dice.chance(0.12):
        slips = [(right, slip) for right, slip in common["typos"] if right in text]
        if slips:
            text = text.replace(*dice.pick(slips), 1)
    text = text.replace("？，", "？").replace("。", stop).replace("，", comma)
    if not text.endswith("？"):
        text += ending
    if dice.chance(0.12):
        faces = common["happy" if positive else "unhappy"] if dice.chance(0.6) else common["neutral_faces"]
        text += dice.pick(faces)
    return text


class _Seen:
    """Remembers accepted reviews and recognises copies, including those with other punctuation or a few other words."""

    def __init__(self) -> None:
        self._bare: set[str] = set()
        self._sizes: list[int] = []
        self._holders: dict[str, list[int]] = {}

    def accept(self, text: str) -> bool:
        bare = "".join(character for character in text if character.isalnum())
        pieces = {bare[i : i + _PIECE_LENGTH] for i in range(max(1, len(bare) - _PIECE_LENGTH + 1))}
        shared = Counter(number for piece in pieces for number in self._holders.get(piece, ()))
        similar = any(
            count / (len(pieces) + self._sizes[number] - count) > _MAXIMUM_SIMILARITY
            for number, count in shared.items()
        )
        if similar or bare in self._bare:
            return False
        self._bare.add(bare)
        for piece in pieces:
            self._holders.setdefault(piece, []).append(len(self._sizes))
        self._sizes.append(len(pieces))
        return True


def generate(seed: int = DEFAULT_SEED) -> dict[Split, list[Review]]:
    """Returns the shuffled reviews of each split: 2,160 for training, 420 each for validation and test.

    Every split has the same share of each domain and label. Then 3% of the labels are flipped, as by a careless
    annotator. No text is a copy or near copy of another, in any split. The shipped files have the default seed.
    """
    dice, seen, common = _Dice(seed), _Seen(), _load("common")
    splits: dict[Split, list[Review]] = {split: [] for split in SPLITS}
    for name in DOMAINS:
        writer = _Writer(dice, _load(name), common)
        for positive in (True, False):
            for split in SPLITS:
                for _ in range(ROWS_PER_DOMAIN_AND_LABEL[split]):
                    text = _new_text(writer, positive, seen)
                    noted = positive != dice.chance(LABEL_NOISE)
                    splits[split].append(Review(text, POSITIVE if noted else NEGATIVE))
    return {split: dice.shuffled(reviews) for split, reviews in splits.items()}


def _new_text(writer: _Writer, positive: bool, seen: _Seen) -> str:
    while True:
        text = _styled(writer.review(positive), positive, writer.dice, writer.common)
        if _MINIMUM_LENGTH <= len(text) <= _MAXIMUM_LENGTH and seen.accept(text):
            return text


def write(folder: Path, seed: int = DEFAULT_SEED) -> list[Path]:
    r"""Writes one TSV file per split (header `text<TAB>label`, UTF-8, `\n`, no quoting), and returns their paths.

    Raises:
        StorageError: The folder cannot be created or a file cannot be written.
    """
    paths = []
    for split, reviews in generate(seed).items():
        path = folder / f"{split}.tsv"
        lines = ["text\tlabel", *(f"{review.text}\t{review.label}" for review in reviews)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with appearing(path) as draft:
                draft.write_bytes("".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            raise StorageError(f"The sample cannot be written to {path}: {error}. Choose another --output.") from error
        logger.info("Wrote %s reviews to %s.", f"{len(reviews):,}", path)
        paths.append(path)
    return paths


def main() -> None:
    """Writes the files that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m textclf.data.sample.generator", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="folder for the three files")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="random seed (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        write(arguments.output, arguments.seed)
    except TextclfError as error:
        parser.exit(error.exit_code, f"{error}\n")


if __name__ == "__main__":
    main()
