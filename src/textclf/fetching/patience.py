"""How long a fetch waits for servers that do not answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

ANSWER_SECONDS = 8.0
"""Longest wait for a connection, for a listing, or for all retries of one request together."""
STALL_SECONDS = 20.0
"""Longest wait for the next bytes of a file that has begun to arrive."""
_BUDGET_SECONDS = 25.0
_SHORTEST_SECONDS = 2.0

Result = TypeVar("Result")


class Patience:
    """Shares out the time that all sources together may spend in silence.

    Time in which bytes arrive costs nothing: a slow download may take hours. What is limited is waiting, so
    that a list of unreachable sources fails within half a minute.
    """

    def __init__(self, sources: int) -> None:
        """Starts with the whole budget.

        Args:
            sources: How many sources there are.
        """
        self._sources_left = sources
        self._left = _BUDGET_SECONDS

    def next_source(self) -> None:
        """The current source is given up; its unused share goes to the others."""
        self._sources_left -= 1

    def limit(self, longest_seconds: float) -> float:
        """How many seconds the next wait may take at most.

        Args:
            longest_seconds: What it may take while there is time enough.
        """
        share = self._left / max(1, self._sources_left)
        return max(_SHORTEST_SECONDS, min(longest_seconds, share))

    def waited(self, seconds: float) -> None:
        """Takes time that was spent without an answer off the budget."""
        self._left -= seconds


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Calls a function that may never return, and stops waiting for it after a while.

    The clients retry inside, and names are looked up by the system: neither takes a time limit for the whole.
    The abandoned call goes on in a daemon thread until its own limits end it, so it must only read.

    Args:
        seconds: How long to wait.
        call: The function.

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
    return result  # type: ignore[return-value]  # a call that raised nothing has put its result


def pause(seconds: float, patience: Patience) -> None:
    """Sleeps before a retry and takes the time off the budget."""
    time.sleep(seconds)
    patience.waited(seconds)
