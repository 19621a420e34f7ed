"""Progress bars on the terminal, which also tell a listener how far they are.

The library makes every bar here. It does not know who listens: a command that shows progress elsewhere sets a listener
for the current context.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm


@dataclass(frozen=True)
class Progress:
    """How far a bar is."""

    what: str
    """What is being done, as the bar says it."""
    done: float
    total: float | None
    """None if nobody knows."""
    seconds: float
    """Time since the bar began."""


Listener = Callable[[Progress], None]

_listener: ContextVar[Listener | None] = ContextVar("textclf_progress_listener", default=None)

_SECONDS_BETWEEN_REPORTS = 1.0


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Passes the progress of every bar that is made in the block to a listener, about once a second.

    The listener is called in the loop that advances the bar, and must return at once.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    desc: str,
    unit: str,
    total: float | None = None,
    initial: float = 0,
    delay: float = 0.0,
    leave: bool = True,
    unit_scale: bool = False,
) -> tqdm[Any]:
    """Makes a bar, drawn only on a terminal; the arguments are tqdm's."""
    listener = _listener.get()
    on_terminal = sys.stderr.isatty()
    return _Bar(
        iterable,
        listener=listener,
        on_terminal=on_terminal,
        desc=desc,
        unit=unit,
        total=total,
        initial=initial,
        delay=delay if on_terminal else 0.0,
        leave=leave,
        unit_scale=unit_scale,
        disable=not on_terminal and listener is None,
        file=sys.stderr if on_terminal else io.StringIO(),
        mininterval=0.1 if on_terminal else _SECONDS_BETWEEN_REPORTS,
    )


class _Bar(tqdm):  # type: ignore[type-arg]
    def __init__(self, iterable: Any, *, listener: Listener | None, on_terminal: bool, **options: Any) -> None:
        # Before tqdm's own attributes: it draws once while it is made.
        self._listener = listener
        self._on_terminal = on_terminal
        self._what: str = options["desc"]
        self._began = time.monotonic()
        super().__init__(iterable, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draws the bar and reports its progress. tqdm calls this rarely, however fast the loop is."""
        if self._listener:
            self._listener(Progress(self._what, self.n, self.total, time.monotonic() - self._began))
        return tqdm.display(self, msg, pos) if self._on_terminal else True
