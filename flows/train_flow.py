"""Train a classifier: download, clean, audit, tokenize, train, evaluate, register."""

from __future__ import annotations

import sys

from prefect import flow

from flows.alerts import tell_of_completion, tell_of_crash, tell_of_failure
from flows.launch import flow_run_tags, launch
from flows.promotion import announce
from flows.run_logs import send_library_logs
from flows.threads import wait_passively
from tasks.audit import audit
from tasks.clean import clean
from tasks.download import download
from tasks.evaluate import evaluate
from tasks.register import register
from tasks.tokenize import tokenize
from tasks.train import train as train_model
from textclf import __version__
from textclf.config import CONFIGS, Home, TrainConfig, anchor
from textclf.data.contract import check_local_sources
from textclf.records import RegisteredModel
from textclf.registry.gate import warn_of_undefined_metric
from textclf.summaries.training import training_closing
from textclf.tracking.runs import training_run

EXAMPLES = """\
  python flows/train_flow.py
  python flows/train_flow.py --config configs/chnsenticorp.yaml
  python flows/train_flow.py --config configs/chnsenticorp.yaml --training.recipe tutorial
  python flows/train_flow.py --config my.yaml --training.learning_rate 5e-5 --training.num_train_epochs 4
"""


@flow(
    name="train",
    description=__doc__,
    version=__version__,
    flow_run_name="train-{config.data.name}",
    on_completion=[tell_of_completion],
    on_failure=[tell_of_failure],
    on_crashed=[tell_of_crash],
)
def train(config: TrainConfig) -> RegisteredModel:
    """Fine-tunes, evaluates and registers a classifier.

    Args:
        config: All settings of the run; each field has a description.
    """
    send_library_logs()
    wait_passively()
    home = Home.from_environment()
    config = anchor(config, home.root)
    data, model = download(config, home)
    prepared = audit(clean(data, config, home), model, config, home)
    warn_of_undefined_metric(prepared, config.registration.metric)
    encoded = tokenize(prepared, model, config, home)
    with training_run(
        home, config=config, prepared=prepared, encoded=encoded, fetched=model, tags=flow_run_tags()
    ) as run_id:
        trained = train_model(encoded, prepared, model, run_id, config, home)
        evaluated = evaluate(trained, prepared, encoded, model, config, home)
        registered = register(trained, evaluated, prepared, config, home)
    announce(registered)
    return registered


def main() -> int:
    """Runs the flow with the command-line arguments."""
    return launch(
        train,
        TrainConfig,
        program="python flows/train_flow.py",
        default_file=CONFIGS / "quickstart.yaml",
        examples=EXAMPLES,
        check=lambda config: check_local_sources(config.data),
        closing=training_closing,
    )


if __name__ == "__main__":
    sys.exit(main())
