"""A program that `textclf up` keeps running: its log, its restarts and its problems."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from textclf import store
from textclf.config.home import environment_with
from textclf.errors import TextclfError, redacted
from textclf.tables import one_line

MAX_LOG_BYTES = 10_000_000
"""A log that grows beyond this becomes `<name>.log.1`, and a new one begins."""
PAUSES_SECONDS = (1, 5, 20, 60)
"""Before each restart of a program that keeps ending."""
# A program that has run for so long is healthy: its next end starts with the shortest pause again.
_HEALTHY_SECONDS = 600
_PROBLEM = re.compile(r"\b(ERROR|CRITICAL)\b[\s:|]*(.*)")


class ProgramEndedError(TextclfError):
    """A program ended and is not started again."""


@dataclass
class Program:
    """A program that is started again if it ends.

    Attributes:
        title: Its name for people.
        command: What is executed.
        changes: Changes to the environment.
        log: Receives everything that it prints.
        healthy: Whether it has answered; a program that ends before is not started again.
    """

    title: str
    command: Sequence[str]
    changes: dict[str, str]
    log: Path
    healthy: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _restarts: int = 0
    _started: float = 0
    _next_start: float | None = None
    _seen_bytes: int = 0
    _said: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Starts it in a session of its own, so that Ctrl-C in the terminal reaches only `textclf up`.

        Raises:
            StorageError: The log cannot be written.
        """
        with store.writing(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as output:
                output.write(f"--- started {datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}\n".encode())
                output.flush()
                self._seen_bytes = output.tell()
                self._process = subprocess.Popen(
                    self.command,
                    env=environment_with(self.changes),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        """Its process, which may have ended."""
        assert self._process is not None, "it was started"
        return self._process.pid

    def keep_running(self) -> str | None:
        """Starts it again, after a pause, if it has ended; returns a line about that, the first time it is seen.

        Raises:
            ProgramEndedError: It ended at its start, because of a mistake of the user, or too often.
        """
        now = time.monotonic()
        if self._next_start is not None:
            if now >= self._next_start:
                self._next_start = None
                self.start()
            return None
        code = self._process.poll() if self._process else None
        if code is None:
            if self._restarts and now - self._started > _HEALTHY_SECONDS:
                self._restarts = 0
            return None
        if not self.healthy or code == 2 or self._restarts == len(PAUSES_SECONDS):
            raise self._ended(code)
        pause = PAUSES_SECONDS[self._restarts]
        self._restarts += 1
        self._next_start = now + pause
        return f"{self.title} ended ({_how(code)}); it is started again in {pause} s. See {self.log}"

    def _ended(self, code: int) -> ProgramEndedError:
        lines = self._new_text().strip().splitlines()
        error = ProgramEndedError(
            f"{self.title} ended ({_how(code)}){' too often' if self._restarts else ''}. Its last lines, of "
            f"{self.log}:\n" + "\n".join(f"  {redacted(line)}" for line in lines[-12:])
        )
        error.exit_code = 2 if code == 2 else 1
        return error

    def problems(self) -> list[str]:
        """Returns the error lines that it has logged since the last call, each wording once."""
        found = []
        for line in self._new_text(forward=True).splitlines():
            if match := _PROBLEM.search(line):
                text = one_line(redacted(match[2]))
                wording = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "#", text)
                if text and wording not in self._said:
                    self._said.add(wording)
                    found.append(f"{self.title}: {text}")
        return found

    def _new_text(self, *, forward: bool = False) -> str:
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(self._seen_bytes)
            content = file.read(MAX_LOG_BYTES)
            if forward:
                # A line that is not complete yet is read the next time.
                content = content[: content.rfind(b"\n") + 1]
                self._seen_bytes += len(content)
            return content.decode("utf-8", errors="replace")
        return ""

    def trim_log(self) -> None:
        """Begins a new log if it is too long; the program goes on writing at its end."""
        with suppress(OSError):
            if self.log.stat().st_size > MAX_LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.1"))
                self.log.write_bytes(b"")
                self._seen_bytes = 0


def _how(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
