"""The `textclf` command."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textclf import __version__
from textclf.config import Parser, choose_language
from textclf.errors import TextclfError, redacted_traceback
from textclf.language import _

EXAMPLES = """\
  textclf config show train --config configs/chnsenticorp.yaml
  textclf predict 房间很干净 太差了
  textclf data check reviews.csv --data.text_column review --data.label_column stars
  textclf data audit train.tsv dev.tsv test.tsv
  textclf data audit --config configs/chnsenticorp.yaml --json
  textclf data suspects reviews.csv --output suspects.xlsx
  textclf data relabel suspects.xlsx reviews.csv
  textclf data show 4f1c09aa27de
  textclf models list
  textclf models rollback textclf-quickstart
  textclf jobs list
"""
DATA_EXAMPLES = "".join(line for line in EXAMPLES.splitlines(keepends=True) if " textclf data " in line)

Run = Callable[[Sequence[str]], int]
"""Runs a command with its arguments and returns its exit code."""


@dataclass(frozen=True)
class Command:
    """A command of a package above the library.

    Attributes:
        name: As it is typed after `textclf`.
        help: What it does, for the list of commands.
        load: Imports the command when it is used.
    """

    name: str
    help: str
    load: Callable[[], Run]


def main(further: Callable[[], Sequence[Command]] = tuple) -> int:
    """Runs a command.

    Args:
        further: Lists commands of packages above the library, in the language of `--help`.

    Returns:
        The exit code: 0, 2 for a mistake by the user, 1 for a failure, or 130 if stopped.
    """
    arguments = sys.argv[1:]
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Of a character that the terminal lacks, its number is shown, rather than nothing of the whole page.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        choose_language()
        run, rest = _choose(arguments, further())
        code = run(rest)
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


def _choose(arguments: Sequence[str], further: Sequence[Command]) -> tuple[Run, Sequence[str]]:
    # Each command parses the rest itself, including --help; its module is imported only when it runs.
    parser = Parser(
        prog="textclf",
        description=_(
            "Inspect configurations, and data before training; manage models; predict texts; run everything on this "
            "machine."
        ),
        epilog=_("examples:")
        + f"\n{EXAMPLES}"
        + "".join(f"  textclf {command.name}\n" for command in further)
        + _("Each command describes its arguments, e.g. `textclf data audit --help`."),
    )
    parser.add_argument(
        "--version", action="version", version=f"textclf {__version__}", help=_("show the version and exit")
    )
    names = ["config", "data", "models", "jobs", "predict", *(command.name for command in further)]
    groups = parser.add_subparsers(required=True, metavar="|".join(names), dest="group")
    config = groups.add_parser("config", help=_("inspect configurations"))
    config.add_subparsers(required=True, metavar="show", dest="name").add_parser(
        "show", help=_("print what a run would use, defaults included"), add_help=False
    )
    data = groups.add_parser(
        "data",
        help=_("inspect data, correct its labels, trace its origin"),
        epilog=_("examples:") + f"\n{DATA_EXAMPLES}",
    )
    actions = data.add_subparsers(required=True, metavar="check|audit|suspects|relabel|show", dest="name")
    for name, words in (
        ("check", _("check files against their contract, on one page")),
        ("audit", _("find duplicates, leaks, conflicts and more, and write a report")),
        ("suspects", _("list rows with doubtful labels, for a person to correct")),
        ("relabel", _("apply a corrected list as a new data version")),
        ("show", _("show what a data version was made from and which models were trained on it")),
    ):
        actions.add_parser(name, help=words, add_help=False)
    from textclf.cli import jobs as job_commands
    from textclf.cli import models as model_commands

    for group, commands, words in (
        ("models", model_commands, _("look at registered models, and change which version predicts")),
        ("jobs", job_commands, _("see what batch predictions have done, are doing and have yet to do")),
    ):
        found = groups.add_parser(group, help=words, epilog=_("examples:") + f"\n{commands.EXAMPLES}")
        actions = found.add_subparsers(required=True, metavar="|".join(commands.ACTIONS), dest="name")
        for name, described in commands.descriptions().items():
            actions.add_parser(name, help=described, add_help=False)
    groups.add_parser("predict", help=_("answer texts at once with a registered model"), add_help=False)
    for command in further:
        groups.add_parser(command.name, help=command.help, add_help=False)
    chosen, _rest = parser.parse_known_args(arguments[:2])
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("textclf").setLevel(logging.INFO)
    for command in further:
        if command.name == chosen.group:
            return command.load(), arguments[1:]
    if chosen.group == "config":
        from textclf.cli.config import show as show_config

        return show_config, arguments[2:]
    if chosen.group == "models":
        return model_commands.models, arguments[1:]
    if chosen.group == "jobs":
        return job_commands.jobs, arguments[1:]
    if chosen.group == "predict":
        from textclf.cli.predict import predict

        return predict, arguments[1:]
    from textclf.cli import data as data_commands

    return getattr(data_commands, chosen.name), arguments[2:]
