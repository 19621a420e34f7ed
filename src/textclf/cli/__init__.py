"""The `textclf` command."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from textclf import __version__
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
`textclf data audit --help` and so on say what each command takes.
"""
DATA_EXAMPLES = "examples:\n" + "".join(line for line in EXAMPLES.splitlines(keepends=True) if " textclf data " in line)

Command = Callable[[Sequence[str]], int]


def main() -> int:
    """Runs the command line and returns its exit code: 0, 2 for the user's mistake, 1 for a failure, 130 if stopped."""
    arguments = sys.argv[1:]
    try:
        command, rest = _command(arguments)
        code = command(rest)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read the output has enough of it (`| head`); Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Nothing half-written was left; start the same command again.", file=sys.stderr)
        return 130
    except TextclfError as error:
        if "--debug" in arguments:
            print(redacted_traceback(error), file=sys.stderr)
        print(error, file=sys.stderr)
        return error.exit_code


def _command(arguments: Sequence[str]) -> tuple[Command, Sequence[str]]:
    # The commands' own parsers take what follows, --help too; their modules are loaded only when they are run.
    parser = argparse.ArgumentParser(
        prog="textclf",
        description="Look at configurations, and at data before it is trained on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"textclf {__version__}")
    groups = parser.add_subparsers(required=True, metavar="config|data", dest="group")
    config = groups.add_parser("config", help="look at configurations")
    config.add_subparsers(required=True, metavar="show", dest="name").add_parser(
        "show", help="print what a run would use, defaults included", add_help=False
    )
    data = groups.add_parser(
        "data",
        help="look at data, correct its labels, find out where it came from",
        epilog=DATA_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = data.add_subparsers(required=True, metavar="check|audit|suspects|relabel|show", dest="name")
    for name, words in (
        ("check", "hold files against their contract, on one page"),
        ("audit", "find duplicates, leaks, conflicts and more, and write the report"),
        ("suspects", "list the rows whose label is doubtful, for a person to correct"),
        ("relabel", "apply a corrected list as a new data version"),
        ("show", "what a data version was made of, and which models were trained on it"),
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
