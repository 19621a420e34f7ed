"""Let Ctrl-C and SIGTERM end a flow's process soon, without leaving other processes running."""

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
    """Ends the process when Ctrl-C or SIGTERM stops the block, after `SECONDS_TO_STOP` at the latest.

    A terminal sends signals to the whole process group, which includes Prefect's temporary server. If the server dies,
    Prefect waits for it forever; if it survives, nothing stops it. Therefore the first signal starts a timer. When the
    block ends or the timer expires, the server is stopped and the process exits with code 130 or 143, without
    Prefect's exit handlers. The next start resumes from what the block saved on disk.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    ended = threading.Event()
    received: list[int] = []
    watcher = threading.Thread(target=_watch, args=(reader, received, ended), name="stopping", daemon=True)
    # The file descriptor reports a signal whichever handler is installed: Prefect installs its own while a flow runs,
    # and passes SIGTERM on to this one when the flow ends.
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
        # Does not return after a signal.
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
    # Loaded only in a run with a temporary server; importing it takes seconds.
    server = getattr(sys.modules.get("prefect.server.api.server"), "SubprocessASGIServer", None)
    if server is not None:
        server().stop()
    print("Stopped. Run the same command again to resume.", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
