"""Servers and other programs that the benchmarks start, and what they cost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

START_SECONDS = 120
_POLL_SECONDS, _MEMORY_SECONDS = 0.01, 0.25


@dataclass(frozen=True)
class Watched:
    """A program that ended well.

    Attributes:
        seconds: From its start to its end.
        first_seconds: From its start to the first row of its result.
        peak_mebibytes: Most memory of it and the programs that it started, together. Memory that several of them share
            counts several times.
    """

    seconds: float
    first_seconds: float
    peak_mebibytes: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, first row after {self.first_seconds:.2f} s, {self.peak_mebibytes:,.0f} MiB"


def watch(
    command: Sequence[str | Path], result: Path, *, environment: Mapping[str, str], printed: bool = False
) -> Watched:
    """Runs a program until it ends.

    Args:
        command: The program.
        result: Its first row is there when this file is no longer empty. What the program prints is written beside it.
        environment: Of the program.
        printed: Whether the result is what the program prints.

    Raises:
        SystemExit: It failed or had no result; the message includes its output.
    """
    log = result.with_name(f"{result.name}.log")
    with log.open("wb") as messages, (result if printed else log).open("ab") as output:
        started = time.perf_counter()
        program = subprocess.Popen([str(word) for word in command], stdout=output, stderr=messages, env=environment)
        first, peak, next_look = None, 0.0, 0.0
        while True:
            ended = program.poll() is not None
            now = time.perf_counter() - started
            if first is None and result.is_file() and result.stat().st_size:
                first = now
            if ended:
                break
            if now >= next_look:
                peak, next_look = max(peak, _memory(program.pid)), now + _MEMORY_SECONDS
            time.sleep(_POLL_SECONDS)
    if program.returncode or first is None:
        raise SystemExit(
            f"{' '.join(map(str, command))}\nended with exit code {program.returncode}:\n{log.read_text()}"
        )
    return Watched(now, first, peak)


def _memory(pid: int) -> float:
    import psutil

    total = 0
    try:
        program = psutil.Process(pid)
        for process in [program, *program.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
    except psutil.Error:
        return 0.0
    return total / 2**20


def free_port() -> int:
    """Returns a port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(
    command: Sequence[str], health: str, *, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Runs a server until the block ends; the block starts when its health page answers.

    Raises:
        SystemExit: It does not start; the message has its output.
    """
    # Else a benchmark that is ended from outside would leave its server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended from outside."))
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urlopen(health, timeout=5):
                    break
            except (URLError, OSError):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{' '.join(command)} did not start:\n{log.read_text()}") from None
                time.sleep(0.2)
        yield
    finally:
        os.killpg(server.pid, 15)
        server.wait()
