"""Three stages that work at the same time: read the next item, work on this one, finish the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Worked = TypeVar("Worked")
Finished = TypeVar("Finished")


class Pipeline:
    """Reads in one thread, works in the caller's, finishes in another; each stage takes the items in their order.

    At most three items exist at a time, one in each stage. The threads know the context of their caller: its language,
    and the run that its log lines belong to.
    """

    def __init__(self) -> None:
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read-shards")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write-shards")

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reader.shutdown()
        self._writer.shutdown()

    def run(
        self, items: Iterator[Item], work: Callable[[Item], Worked], finish: Callable[[Worked], Finished]
    ) -> Iterator[Finished]:
        """Yields each finished item.

        When a stage fails, no stage takes another item, and the item before the failed one is still finished. The
        error of the earliest item is raised, unless the work was interrupted (Ctrl-C).
        """
        behind: Future[Finished] | None = None
        ahead = _submit(self._reader, next, items, None)
        try:
            while (item := ahead.result()) is not None:
                ahead = _submit(self._reader, next, items, None)
                worked = work(item)
                if behind:
                    yield behind.result()
                behind = _submit(self._writer, finish, worked)
                # Else it would be in memory until there is another one.
                del item, worked
        except Exception:
            if behind:
                behind.result()
            raise
        finally:
            # Nobody else may use what the stages use before they have stopped.
            wait([future for future in (ahead, behind) if future])
        if behind:
            yield behind.result()


def _submit(thread: ThreadPoolExecutor, function: Callable[..., Any], *arguments: object) -> Future[Any]:
    return thread.submit(copy_context().run, function, *arguments)
