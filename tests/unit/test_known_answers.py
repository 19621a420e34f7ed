"""The answers that a run remembers."""

from __future__ import annotations

import numpy as np

from textclf.model.classifier import Answers
from textclf.prediction.answers import DistinctTexts, KnownAnswers, Text


class Computer:
    """Answers a text with its number; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: list[Text]) -> Answers:
        self.asked += ["|".join(text) for text in texts]
        numbers = np.array([int(text[0]) for text in texts])
        return Answers(np.stack([numbers, -numbers], axis=1).astype(np.float32), (numbers % 2).astype(np.int8))


def answered(known: KnownAnswers, *texts: str) -> list[str]:
    """Answers texts, checks the answers, and returns those that were computed."""
    computer = Computer()
    distinct = DistinctTexts.of([(text,) for text in texts])
    answers, computed = known.answer(distinct, computer)
    numbers = np.array([int(text) for text in texts], dtype=np.float32)
    assert (answers.probabilities[distinct.places, 0] == numbers).all()
    assert (answers.probabilities[distinct.places, 1] == -numbers).all()
    assert (answers.rungs[distinct.places] == numbers % 2).all()
    assert computed == len(computer.asked)
    return computer.asked


def test_a_text_is_computed_once() -> None:
    known = KnownAnswers(2)
    assert answered(known, "1", "2", "1") == ["1", "2"]
    assert answered(known, "3", "2", "1", "3") == ["3"]
    assert answered(known, "2") == []
    assert answered(known) == []


def test_the_oldest_answers_are_forgotten_first() -> None:
    known = KnownAnswers(2, most_texts=3)
    answered(known, "1", "2")
    answered(known, "3", "4")
    assert answered(known, "2", "3", "4") == []
    assert answered(known, "1") == ["1"]
    assert answered(known, "3", "4", "1", "2") == ["2"]


def test_more_texts_than_are_remembered_are_answered_all_the_same() -> None:
    known = KnownAnswers(2, most_texts=3)
    many = [str(number) for number in range(10)]
    assert answered(known, *many, *many) == many
    assert answered(known, "9", "8", "7") == []
    assert answered(known, *many) == many[:7]


def test_many_labels_do_not_take_gigabytes() -> None:
    known = KnownAnswers(1_000_000)
    computer = Computer()
    assert known._probabilities.nbytes <= 64 << 20
    assert computer.asked == []


def test_pairs_are_distinct_wherever_the_first_text_ends() -> None:
    known, computer = KnownAnswers(2), Computer()
    for pair in (("12", "3"), ("1", "23"), ("12", "3")):
        known.answer(DistinctTexts.of([pair]), computer)
    assert computer.asked == ["12|3", "1|23"]
