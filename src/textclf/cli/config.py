"""`textclf config`: inspect configurations."""

from __future__ import annotations

from collections.abc import Sequence

from textclf.config import CONFIGS, AdaptConfig, Parser, PredictConfig, TrainConfig, dump_yaml, parse_command_line
from textclf.language import _

FLOWS: dict[str, tuple[type[TrainConfig] | type[PredictConfig] | type[AdaptConfig], str]] = {
    "train": (TrainConfig, "quickstart.yaml"),
    "predict": (PredictConfig, "predict.yaml"),
    "adapt": (AdaptConfig, "adapt.yaml"),
}
"""The configuration of each flow, and its default file."""
EXAMPLES = """\
  textclf config show train --config configs/chnsenticorp.yaml
  textclf config show train --config configs/chnsenticorp.yaml --training.recipe tutorial
  textclf config show predict --config configs/predict.yaml --output labelled.csv
  textclf config show adapt --config configs/adapt.yaml
"""


def show(arguments: Sequence[str]) -> int:
    """Prints the configuration that a flow would use.

    Raises:
        ConfigError: It cannot be used.
    """
    description = _("Prints what a run would use, defaults included.")
    parser = Parser(prog="textclf config show", description=description, epilog=_("examples:") + f"\n{EXAMPLES}")
    parser.add_argument("flow", choices=list(FLOWS), help=_("the flow to configure"))
    flow = parser.parse_args(arguments[:1]).flow
    model, default_file = FLOWS[flow]
    config = parse_command_line(
        model,
        arguments[1:],
        program=f"textclf config show {flow}",
        description=description,
        examples=EXAMPLES,
        default_file=CONFIGS / default_file,
    )
    print(dump_yaml(config), end="")
    return 0
