"""Limits how long a fetch waits for servers that do not answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

ANSWER_SECONDS = 8.0
"""Longest wait for a connection, a listing, or all retries of one request together."""
STALL_SECONDS = 20.0
"""Longest wait for the next bytes of a file."""
_BUDGET_SECONDS = 25.0
_SHORTEST_SECONDS = 2.0

Result = TypeVar("Result")


class Patience:
    """Divides among all sources the time that may pass without an answer.

    Only waiting counts: a slow download may take hours, but a list of unreachable sources fails within half a minute.

    Args:
        sources: The number of sources.
    """

    def __init__(self, sources: int) -> None:
        self._sources_left = sources
        self._left = _BUDGET_SECONDS

    def next_source(self) -> None:
        """Gives up the current source and leaves its unused share to the others."""
        self._sources_left -= 1

    def limit(self, longest_seconds: float) -> float:
        """Returns how many seconds the next wait may take: `longest_seconds`, or less if time is running out."""
        share = self._left / max(1, self._sources_left)
        return max(_SHORTEST_SECONDS, min(longest_seconds, share))

    def waited(self, seconds: float) -> None:
        """Deducts time spent without an answer from the budget."""
        self._left -= seconds


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Calls a function that may never return, and stops waiting for it after `seconds`.

    The clients retry internally and the system resolves names: neither accepts an overall time limit. The abandoned
    call continues in a daemon thread until its own limits end it, so it must only read.

    Raises:
        TimeoutError: There was no result in time.
        Exception: Whatever the function raises.
    """
    outcome: queue.SimpleQueue[tuple[Result | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((call(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=run, name="hub-listing", daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.0f} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # no error means that there is a result


def pause(seconds: float, patience: Patience) -> None:
    """Sleeps before a retry and deducts the time from the budget."""
    time.sleep(seconds)
    patience.waited(seconds)
