"""The `textclf` program: the library's commands, and those that need Prefect."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from functools import partial

from textclf.cli import Command, Run
from textclf.cli import main as library_main
from textclf.language import _


def main() -> int:
    """Runs a command; see `textclf.cli.main`."""
    return library_main(_commands)


def _commands() -> Sequence[Command]:
    # Each is the function `main` of the module with its name.
    texts = {
        "up": _("run the servers and both schedules on this machine"),
        "down": _("stop what `textclf up` started"),
        "status": _("show runs, schedules, models, rows and disk, and what is wrong"),
        "doctor": _("check this machine, the network and the installation"),
    }
    return [Command(name, text, partial(_load, name)) for name, text in texts.items()]


def _load(name: str) -> Run:
    run: Run = importlib.import_module(f"textclf_operations.{name}").main
    return run


if __name__ == "__main__":
    sys.exit(main())
