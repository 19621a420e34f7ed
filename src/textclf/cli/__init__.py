"""The `textclf` command."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from textclf import __version__
from textclf.config.home import choose_language
from textclf.errors import TextclfError, redacted_traceback

EXAMPLES = """\
examples:
  textclf config show train --config configs/chnsenticorp.yaml
  textclf data check reviews.csv --data.text_column review --data.label_column stars
  textclf data audit train.tsv dev.tsv test.tsv
  textclf data audit --config configs/chnsenticorp.yaml --json
  textclf data suspects reviews.csv --output suspects.xlsx
  textclf data relabel suspects.xlsx reviews.csv
  textclf data show 4f1c09aa27de
Each command describes its arguments, e.g. `textclf data audit --help`.
"""
DATA_EXAMPLES = "examples:\n" + "".join(line for line in EXAMPLES.splitlines(keepends=True) if " textclf data " in line)

Command = Callable[[Sequence[str]], int]


def main() -> int:
    """Runs a command; returns 0, 2 for a mistake by the user, 1 for a failure, or 130 if stopped."""
    arguments = sys.argv[1:]
    try:
        choose_language()
        command, rest = _command(arguments)
        code = command(rest)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`); without this, Python would fail again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Nothing half-written remains; start the same command again.", file=sys.stderr)
        return 130
    except TextclfError as error:
        if "--debug" in arguments:
            print(redacted_traceback(error), file=sys.stderr)
        print(error, file=sys.stderr)
        return error.exit_code


def _command(arguments: Sequence[str]) -> tuple[Command, Sequence[str]]:
    # Each command parses the rest itself, including --help; its module is imported only when it runs.
    parser = argparse.ArgumentParser(
        prog="textclf",
        description="Inspect configurations, and data before training.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"textclf {__version__}")
    groups = parser.add_subparsers(required=True, metavar="config|data", dest="group")
    config = groups.add_parser("config", help="inspect configurations")
    config.add_subparsers(required=True, metavar="show", dest="name").add_parser(
        "show", help="print what a run would use, defaults included", add_help=False
    )
    data = groups.add_parser(
        "data",
        help="inspect data, correct its labels, trace its origin",
        epilog=DATA_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = data.add_subparsers(required=True, metavar="check|audit|suspects|relabel|show", dest="name")
    for name, words in (
        ("check", "check files against their contract, on one page"),
        ("audit", "find duplicates, leaks, conflicts and more, and write a report"),
        ("suspects", "list rows with doubtful labels, for a person to correct"),
        ("relabel", "apply a corrected list as a new data version"),
        ("show", "show what a data version was made from and which models were trained on it"),
    ):
        names.add_parser(name, help=words, add_help=False)
    chosen, _ = parser.parse_known_args(arguments[:2])
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("textclf").setLevel(logging.INFO)
    if chosen.group == "config":
        from textclf.cli.config import show as show_config

        return show_config, arguments[2:]
    from textclf.cli import data as data_commands

    return getattr(data_commands, chosen.name), arguments[2:]
