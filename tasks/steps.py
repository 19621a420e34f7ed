"""What every task does around its library call: keeps the time, shows progress, hides secrets in foreign errors."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import cast
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.settings import get_current_settings

from textclf.errors import TextclfError, follows_from_interrupt, redacted
from textclf.language import _
from textclf.progress import Progress, listening
from textclf.summaries.failure import Step

logger = logging.getLogger("textclf.steps")

SECONDS_UNTIL_SHOWN = 10.0
"""How long a bar runs before the page of the run shows its progress."""
SECONDS_BETWEEN_UPDATES = 3.0
SECONDS_TO_FINISH = 5.0

_journal: ContextVar[list[Step] | None] = ContextVar("textclf_journal", default=None)


class UnexpectedError(Exception):
    """An exception that is not textclf's own, with its message but without the passwords in it."""


@contextmanager
def journal() -> Iterator[list[Step]]:
    """Collects the steps of the tasks that the block runs, in their order."""
    steps: list[Step] = []
    token = _journal.set(steps)
    try:
        yield steps
    finally:
        _journal.reset(token)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Surrounds the library call of a task.

    The step is entered in the `journal`. A bar that runs longer than `SECONDS_UNTIL_SHOWN` appears on the page of the
    run as the progress artifact `progress-<name>`; a server that does not answer is no reason to fail.

    Raises:
        UnexpectedError: The block raised an exception that is not textclf's own: Prefect stores the message, which may
            contain an address with its password, in the state of the task run.
        KeyboardInterrupt: The block was interrupted, whatever a library has made of that.
    """
    started = time.monotonic()
    done = False
    try:
        with _shown(name):
            yield
        done = True
    except Exception as error:
        if follows_from_interrupt(error):
            raise KeyboardInterrupt from error
        if isinstance(error, TextclfError):
            raise
        raise UnexpectedError(f"{type(error).__name__}: {redacted(str(error))}") from error
    finally:
        steps = _journal.get()
        if steps is not None:
            steps.append(Step(name, time.monotonic() - started, done))


def leave_page(markdown: str, *, key: str, description: str) -> None:
    """Stores an artifact of a run that is failing or stopping; if that fails, too, warns and goes on."""
    if not isinstance(sys.exception(), Exception) and not get_current_settings().api.url:
        # Ctrl-C also stops the temporary server of a command, and waiting for it would take seconds.
        return
    try:
        create_markdown_artifact(markdown, key=key, description=description)
    except Exception as second:
        # The first error is the cause; this one often only follows from it.
        logger.warning("The page %s of this run cannot be stored: %s", key, redacted(str(second)))


@contextmanager
def _shown(name: str) -> Iterator[None]:
    page = _ProgressPage(name)
    # The thread needs Prefect's context to know the run.
    thread = threading.Thread(target=copy_context().run, args=(page.keep_up_to_date,), name="progress", daemon=True)
    thread.start()
    try:
        with listening(page.hear):
            yield
        page.complete = True
    finally:
        page.ended.set()
        thread.join(SECONDS_TO_FINISH)


class _ProgressPage:
    def __init__(self, name: str) -> None:
        self.ended = threading.Event()
        self.complete = False
        self._name = name
        self._latest: Progress | None = None
        self._artifact: UUID | None = None

    def hear(self, progress: Progress) -> None:
        """Called by the bars, from the loops whose progress they show: does nothing but remember."""
        self._latest = progress

    def keep_up_to_date(self) -> None:
        shown: Progress | None = None
        while not self.ended.wait(SECONDS_BETWEEN_UPDATES):
            latest = self._latest
            if latest is None or latest is shown or latest.seconds < SECONDS_UNTIL_SHOWN:
                continue
            shown = latest
            self._show(100 * min(latest.done / latest.total, 1.0) if latest.total else 0.0, _text(latest))
        if self.complete and self._artifact is not None:
            self._show(100.0, shown.what if shown else self._name)

    def _show(self, percent: float, what: str) -> None:
        try:
            if self._artifact is None:
                key = f"progress-{self._name}"
                self._artifact = cast(UUID, create_progress_artifact(percent, key=key, description=what))
            else:
                update_progress_artifact(self._artifact, percent, description=what)
        except Exception as error:
            # Prefect and its HTTP client raise many kinds, and none of them concerns the work itself.
            logger.debug("The progress of %s is not shown: %s", self._name, redacted(str(error)))


def _text(progress: Progress) -> str:
    if progress.total:
        return progress.what
    return _("{what}: {count:,.0f} so far").format(what=progress.what, count=progress.done)
