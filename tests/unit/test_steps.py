"""What happens around the library call of every task."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tasks.steps import UnexpectedError, step

INTERRUPTED = """
import io, os, signal
import torch
from tasks.steps import step

class InterruptedInTheMiddle(io.BytesIO):
    parts = 0

    def write(self, content):
        self.parts += 1
        if self.parts == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(content)

def save():
    torch.save({"weights": torch.zeros(1000)}, InterruptedInTheMiddle())

signal.signal(signal.SIGINT, signal.default_int_handler)
for block in (save, step("train")(save)):
    try:
        block()
    except BaseException as error:
        print(type(error).__name__)
"""


def test_an_interrupt_stays_one_though_torch_reports_a_broken_file() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["RuntimeError", "KeyboardInterrupt"], done.stderr


def test_the_errors_of_libraries_lose_their_passwords() -> None:
    with (
        pytest.raises(UnexpectedError, match=r"^ValueError: no such table in postgresql://\*\*\*@host$"),
        step("train"),
    ):
        raise ValueError("no such table in postgresql://me:secret@host")
