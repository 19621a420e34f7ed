"""The `textclf` command."""

from __future__ import annotations

import argparse
import sys
import traceback

from textclf import __version__
from textclf.config import CONFIGS, PredictConfig, TrainConfig, dump_yaml, parse_command_line
from textclf.errors import TextclfError

EXAMPLES = """\
examples:
  textclf config show train --config configs/chnsenticorp.yaml
  textclf config show train --config configs/chnsenticorp.yaml --training.recipe tutorial
  textclf config show predict --config configs/predict.yaml --output labelled.csv
"""


def main() -> int:
    """Runs the command line and returns the exit code: 0, or 2 for the user's mistake, 1 for a failure."""
    parser = argparse.ArgumentParser(
        prog="textclf",
        description="Tools beside the flows.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"textclf {__version__}")
    config = parser.add_subparsers(required=True, metavar="config").add_parser("config", help="look at configurations")
    show = config.add_subparsers(required=True, metavar="show").add_parser(
        "show", help="print what a run would use, defaults included", add_help=False
    )
    show.add_argument("flow", choices=["train", "predict"], help="the flow whose configuration it is")
    arguments, flags = parser.parse_known_args()
    try:
        print(dump_yaml(_config(arguments.flow, flags)), end="")
    except TextclfError as error:
        if "--debug" in flags:
            traceback.print_exc()
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _config(flow: str, flags: list[str]) -> TrainConfig | PredictConfig:
    model: type[TrainConfig] | type[PredictConfig] = TrainConfig if flow == "train" else PredictConfig
    return parse_command_line(
        model,
        flags,
        program=f"textclf config show {flow}",
        description="Prints what a run would use, defaults included.",
        examples=EXAMPLES.removeprefix("examples:\n"),
        default_file=CONFIGS / ("quickstart.yaml" if flow == "train" else "predict.yaml"),
    )
