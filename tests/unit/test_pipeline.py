"""Three stages at the same time: order, errors, memory and context."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from textclf.prediction.pipeline import Pipeline


def counted(count: int, *, fail_at: int | None = None) -> Iterator[int]:
    for number in range(count):
        if number == fail_at:
            raise ValueError(f"reading {number}")
        yield number


def test_results_come_in_order() -> None:
    with Pipeline() as pipeline:
        assert list(pipeline.run(counted(50), lambda item: item * 2, str)) == [str(2 * item) for item in range(50)]
        assert list(pipeline.run(counted(0), lambda item: item, str)) == []


def test_the_next_item_is_read_and_the_last_one_finished_while_one_is_worked_on() -> None:
    read, finished = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        yield 1
        read.set()
        yield 2

    def work(item: int) -> int:
        if item == 1:
            assert read.wait(60)
            assert finished.wait(60)
        return item

    def finish(item: int) -> int:
        finished.set()
        return item

    with Pipeline() as pipeline:
        assert list(pipeline.run(items(), work, finish)) == [0, 1, 2]


def test_at_most_three_items_exist_at_a_time() -> None:
    class Item:
        alive = 0
        most = 0

        def __init__(self) -> None:
            Item.alive += 1
            Item.most = max(Item.most, Item.alive)

        def __del__(self) -> None:
            Item.alive -= 1

    def items() -> Iterator[Item]:
        for _ in range(30):
            yield Item()

    with Pipeline() as pipeline:
        assert len(list(pipeline.run(items(), lambda item: item, id))) == 30
    # The generator above lets go of an item only when it makes the next one.
    assert Item.most <= 4


@pytest.mark.parametrize("stage", ["reading", "working", "finishing"])
def test_an_error_in_any_stage_is_raised_once_and_what_came_before_is_finished(stage: str) -> None:
    finished = []

    def work(item: int) -> int:
        if stage == "working" and item == 3:
            raise ValueError("working 3")
        return item

    def finish(item: int) -> int:
        if stage == "finishing" and item == 3:
            raise ValueError("finishing 3")
        finished.append(item)
        return item

    with Pipeline() as pipeline:
        items = counted(100, fail_at=3 if stage == "reading" else None)
        with pytest.raises(ValueError, match=f"^{stage} 3$") as raised:
            list(pipeline.run(items, work, finish))
        assert raised.value.__context__ is None
        assert finished == [0, 1, 2]
        assert next(items, 100) >= 4 or stage == "reading", "nothing is read any more"
        assert list(pipeline.run(counted(3), lambda item: item, str)) == ["0", "1", "2"], "other items can follow"


def test_the_error_of_the_earliest_item_is_raised() -> None:
    reached = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            reached.set()
            raise ValueError("working 1")
        return item

    def finish(item: int) -> int:
        assert reached.wait(60)
        raise OSError(f"finishing {item}")

    with Pipeline() as pipeline, pytest.raises(OSError, match="finishing 0"):
        list(pipeline.run(counted(5), work, finish))


def test_an_interruption_waits_for_what_is_being_finished() -> None:
    finished = []

    def work(item: int) -> int:
        if item == 2:
            raise KeyboardInterrupt
        return item

    with Pipeline() as pipeline, pytest.raises(KeyboardInterrupt):
        list(pipeline.run(counted(1000), work, finished.append))
    assert finished == [0, 1]


def test_the_threads_know_the_context_of_their_caller() -> None:
    language: ContextVar[str] = ContextVar("language", default="en")
    language.set("zh")

    def items() -> Iterator[str]:
        yield language.get()

    with Pipeline() as pipeline:
        assert list(pipeline.run(items(), lambda item: item, lambda item: (item, language.get()))) == [("zh", "zh")]
