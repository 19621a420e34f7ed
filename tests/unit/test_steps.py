"""What happens around the library call of every task."""

from __future__ import annotations

import io
import os
import signal
from typing import Any

import pytest
import torch

from tasks.steps import UnexpectedError, step


class InterruptedInTheMiddle(io.BytesIO):
    """A file whose writer gets Ctrl-C at its third part."""

    parts = 0

    def write(self, content: Any) -> int:
        self.parts += 1
        if self.parts == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(content)


def test_an_interrupt_stays_one_though_torch_reports_a_broken_file() -> None:
    with pytest.raises(RuntimeError, match="unexpected pos"):
        torch.save({"weights": torch.zeros(1000)}, InterruptedInTheMiddle())
    with pytest.raises(KeyboardInterrupt), step("train"):
        torch.save({"weights": torch.zeros(1000)}, InterruptedInTheMiddle())


def test_the_errors_of_libraries_lose_their_passwords() -> None:
    with (
        pytest.raises(UnexpectedError, match=r"^ValueError: no such table in postgresql://\*\*\*@host$"),
        step("train"),
    ):
        raise ValueError("no such table in postgresql://me:secret@host")
