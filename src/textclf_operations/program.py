"""The `textclf` program: the library's commands, and those that need Prefect."""

from __future__ import annotations

from textclf.cli import main as library_main


def main() -> int:
    """Runs a command; see `textclf.cli.main`."""
    return library_main()
