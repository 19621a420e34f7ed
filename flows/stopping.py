"""Let Ctrl-C and SIGTERM end a flow's process soon, with nothing left running behind it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS_TO_STOP = 8.0


@contextmanager
def stopping() -> Iterator[None]:
    """Ends the process when the block was stopped by Ctrl-C or SIGTERM, at the latest after `SECONDS_TO_STOP`.

    Both signals reach Prefect's temporary server too where they are sent to the whole group of processes, as a terminal
    does. Prefect then waits for its dead server for ever, and where the server lives nobody stops it. So the first
    signal starts a clock; whether the block ends before it or not, the server is stopped and the process left with exit
    code 130 or 143, without Prefect's own waiting at exit. What the block kept on disk, the next start goes on from.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    ended = threading.Event()
    received: list[int] = []
    watcher = threading.Thread(target=_watch, args=(reader, received, ended), name="stopping", daemon=True)
    # The file descriptor tells of a signal whoever handles it: Prefect puts a handler of its own in place while a flow
    # runs, and hands SIGTERM on to this one when it ends.
    earlier_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    earlier_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(earlier_descriptor)
        signal.signal(signal.SIGTERM, earlier_handler)
        writer.close()
        # With a signal this never comes back.
        watcher.join()


def _watch(reader: socket.socket, received: list[int], ended: threading.Event) -> None:
    while content := reader.recv(64):
        stops = [number for number in content if number in (signal.SIGINT, signal.SIGTERM)]
        if stops:
            print("\nStopping …", file=sys.stderr, flush=True)
            ended.wait(SECONDS_TO_STOP)
            _leave(128 + stops[0])
    reader.close()


def _leave(exit_code: int) -> None:
    # Only a run with a temporary server has loaded this, and it takes seconds to load.
    server = getattr(sys.modules.get("prefect.server.api.server"), "SubprocessASGIServer", None)
    if server is not None:
        server().stop()
    print("Stopped. The same command goes on where it stopped.", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
