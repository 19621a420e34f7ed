"""`textclf config`: inspect configurations."""

from __future__ import annotations

from collections.abc import Sequence

from textclf.config import CONFIGS, Parser, PredictConfig, TrainConfig, dump_yaml, parse_command_line
from textclf.language import _

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
    description = _("Prints what a run would use, defaults included.")
    parser = Parser(prog="textclf config show", description=description, epilog=_("examples:") + f"\n{EXAMPLES}")
    parser.add_argument("flow", choices=["train", "predict"], help=_("the flow to configure"))
    flow = parser.parse_args(arguments[:1]).flow
    model: type[TrainConfig] | type[PredictConfig] = TrainConfig if flow == "train" else PredictConfig
    config = parse_command_line(
        model,
        arguments[1:],
        program=f"textclf config show {flow}",
        description=description,
        examples=EXAMPLES,
        default_file=CONFIGS / ("quickstart.yaml" if flow == "train" else "predict.yaml"),
    )
    print(dump_yaml(config), end="")
    return 0
