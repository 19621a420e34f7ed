"""`textclf config`: inspect configurations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from textclf.config import CONFIGS, PredictConfig, TrainConfig, dump_yaml, parse_command_line

EXAMPLES = """\
  textclf config show train --config configs/chnsenticorp.yaml
  textclf config show train --config configs/chnsenticorp.yaml --training.recipe tutorial
  textclf config show predict --config configs/predict.yaml --output labelled.csv
"""


def show(arguments: Sequence[str]) -> int:
    """Prints the configuration that a flow would use.

    Raises:
        ConfigError: It cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="textclf config show",
        description="Prints what a run would use, defaults included.",
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("flow", choices=["train", "predict"], help="the flow to configure")
    flow = parser.parse_args(arguments[:1]).flow
    model: type[TrainConfig] | type[PredictConfig] = TrainConfig if flow == "train" else PredictConfig
    config = parse_command_line(
        model,
        arguments[1:],
        program=f"textclf config show {flow}",
        description="Prints what a run would use, defaults included.",
        examples=EXAMPLES,
        default_file=CONFIGS / ("quickstart.yaml" if flow == "train" else "predict.yaml"),
    )
    print(dump_yaml(config), end="")
    return 0
