"""The everyday sentences that the quickstart is tried on are not among those it learns from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import yaml

EVERYDAY = Path(__file__).parents[1] / "assets" / "everyday.tsv"
PHRASES = Path(str(resources.files("textclf.data.sample"))) / "phrases"
SLOT = re.compile(r"<([^<>]*)>")
BREAK = re.compile(r"[，。？！；：、,.?!;:~～…\s]+")
# What is filled with whole phrases, and what comes before them.
PHRASE_SLOTS = {"minor", "major", "first", "second", "pro", "pro_more", "con", "con_more"}
LEADS = ("opening", "before_verdict", "after_all")
LONGEST_ALLOWED = 5


def sentences() -> list[tuple[str, str]]:
    lines = EVERYDAY.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "text\tlabel"
    return [(text, label) for text, label in (line.split("\t") for line in lines[1:])]


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)
    else:
        yield str(node)


def named(node: Any) -> Iterator[tuple[str, list[str]]]:
    """The lists of a phrase file by name, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                yield name, value
            yield from named(value)
    elif isinstance(node, list):
        for value in node:
            yield from named(value)


class Grammar:
    """Which clauses the generator can write; rather too many than too few, as any word may meet any pattern."""

    def __init__(self) -> None:
        files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in PHRASES.glob("*.yaml")}
        self.lists: dict[str, set[str]] = {}
        for name, found in (pair for content in files.values() for pair in named(content)):
            self.lists.setdefault(name, set()).update(found)
        self.lists["thing"] = self.lists["things"]
        self.lists["word"] = self.lists["opposite"] = self.lists["good"] | self.lists["bad"]
        versions = {name: {one for item in found for one in self.versions(item)} for name, found in self.lists.items()}
        self.words = {name: {one for one in found if "<" not in one} for name, found in versions.items()}
        self.patterns = {name: found - self.words[name] for name, found in versions.items()}
        self.pieces = {
            piece
            for content in files.values()
            for phrase in strings(content)
            for version in self.versions(phrase)
            for piece in BREAK.split(version)
            if piece and piece not in {f"<{name}>" for name in PHRASE_SLOTS}
        }
        self.words_alone = {piece for piece in self.pieces if "<" not in piece}
        self.slotted = self.pieces - self.words_alone
        self.plain = {piece for piece in self.slotted if not PHRASE_SLOTS & set(SLOT.findall(piece))}
        self.leads = {lead.rstrip("，") for name in LEADS for lead in self.lists[name]}

    def versions(self, phrase: str) -> Iterator[str]:
        """A phrase with each of its alternatives."""
        parts = SLOT.split(phrase)
        choices = [
            part.split("|") if index % 2 and "|" in part else [f"<{part}>" if index % 2 else part]
            for index, part in enumerate(parts)
        ]
        for chosen in product(*choices):
            yield "".join(chosen)

    def writes(self, clause: str) -> bool:
        rests = [clause[len(lead) :] for lead in ("", *self.leads) if clause.startswith(lead)]
        return any(
            rest in self.words_alone or any(matches(self, piece, rest) for piece in self.slotted) for rest in rests
        )


@cache
def literals(piece: str) -> list[str]:
    return [part for part in SLOT.split(piece)[::2] if part]


@cache
def matches(grammar: Grammar, piece: str, text: str) -> bool:
    slot = SLOT.search(piece)
    if slot is None:
        return piece == text
    if not text.startswith(piece[: slot.start()]) or not all(part in text for part in literals(piece)):
        return False
    rest, after = text[slot.start() :], piece[slot.end() :]
    return any(
        fills(grammar, slot[1], rest[:end]) and matches(grammar, after, rest[end:]) for end in range(len(rest) + 1)
    )


@cache
def fills(grammar: Grammar, slot: str, text: str) -> bool:
    if re.fullmatch(r"\d+-\d+", slot):
        return text.isdigit()
    if slot in PHRASE_SLOTS:
        return text in grammar.words_alone or any(matches(grammar, piece, text) for piece in grammar.plain)
    return text in grammar.words[slot] or any(matches(grammar, piece, text) for piece in grammar.patterns[slot])


def test_no_everyday_sentence_can_be_generated() -> None:
    grammar = Grammar()
    assert (
        grammar.writes("虽然早餐不太好吃")
        and grammar.writes("我今天特别生气")
        and not grammar.writes("猫把水杯推下了桌")
    )
    clauses = {clause for text, _ in sentences() for clause in [BREAK.sub("", text), *BREAK.split(text)]}
    long = {clause for clause in clauses if len(clause) > LONGEST_ALLOWED}
    assert len(long) > 250
    assert [clause for clause in sorted(long) if grammar.writes(clause)] == []


def test_the_everyday_sentences_are_many_and_balanced() -> None:
    found = sentences()
    assert len(found) >= 300 and len({text for text, _ in found}) == len(found)
    labels = [label for _, label in found]
    assert set(labels) == {"正面", "负面"} and 0.45 <= labels.count("正面") / len(labels) <= 0.55
    assert sum(len(text) <= 25 for text, _ in found) == len(found)
