"""Bars report how far they are, and are drawn only on a terminal."""

from __future__ import annotations

import pytest
from tqdm import tqdm

from textclf.progress import Progress, listening, progress_bar


def test_a_listener_hears_of_every_bar_until_its_end() -> None:
    heard: list[Progress] = []
    with listening(heard.append):
        assert list(progress_bar("abc", desc="letters", unit="letters")) == ["a", "b", "c"]
        with progress_bar(total=8, initial=2, desc="steps", unit="steps") as bar:
            bar.update(4)
    last = {progress.what: (progress.done, progress.total) for progress in heard}
    assert last == {"letters": (3, 3), "steps": (6, 8)}


def test_a_bar_without_a_total_reports_its_count() -> None:
    heard: list[Progress] = []
    with listening(heard.append), progress_bar(desc="reading", unit="rows") as bar:
        bar.update(5)
    assert (heard[-1].done, heard[-1].total) == (5, None)


def test_a_fast_loop_is_reported_rarely() -> None:
    heard: list[Progress] = []
    with listening(heard.append):
        assert sum(progress_bar(range(1_000_000), desc="rows", unit="rows")) == 499_999_500_000
    assert heard[-1].done == 1_000_000
    assert len(heard) < 1000


def test_nothing_is_written_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with listening(lambda progress: None):
        list(progress_bar("abc", desc="letters", unit="letters"))
    list(progress_bar("abc", desc="letters", unit="letters"))
    assert capfd.readouterr() == ("", "")


def test_without_a_terminal_and_a_listener_a_bar_does_nothing() -> None:
    bar = progress_bar("abc", desc="letters", unit="letters")
    assert bar.disable
    assert isinstance(bar, tqdm)
