"""Train a classifier: download, clean, audit, tokenize, train, evaluate, export, register."""

from __future__ import annotations

import sys

from prefect import flow
from prefect.client.schemas.objects import State

from flows.conclusion import Conclusion, Run, conclude
from flows.launch import launch
from flows.names import flow_run_tags
from flows.policies import FLOW_POLICY
from flows.promotion import announce
from tasks.audit import audit
from tasks.candidates import candidates
from tasks.clean import clean
from tasks.distill import distill
from tasks.download import download
from tasks.evaluate import evaluate
from tasks.export import export
from tasks.register import register
from tasks.tokenize import tokenize
from tasks.train import train as train_model
from textclf.config import CONFIGS, TrainConfig
from textclf.data.contract import check_local_sources
from textclf.extras import TRAINING, require
from textclf.records import RegisteredModel
from textclf.registry.contest import check_limits
from textclf.registry.gate import warn_of_undefined_metric
from textclf.summaries.closing import training_closing
from textclf.summaries.success import training_message, training_page
from textclf.tracking.runs import training_run
from textclf.tracking.store import TrackingStore
from textclf.training.unlabelled import check_unlabelled

EXAMPLES = """\
  python flows/train_flow.py
  python flows/train_flow.py --config configs/chnsenticorp.yaml
  python flows/train_flow.py --config configs/chnsenticorp.yaml --training.recipe tutorial
  python flows/train_flow.py --config my.yaml --training.learning_rate 5e-5 --training.num_train_epochs 4
"""
LIBRARIES = ("transformers.trainer", "mlflow", "scipy.stats", "sklearn.linear_model", "matplotlib.figure")


@flow(name="train", description=__doc__, **FLOW_POLICY)
def train(config: TrainConfig) -> State[RegisteredModel]:
    """Fine-tunes, evaluates and registers a classifier.

    Args:
        config: All settings of the run; each field has a description.
    """
    return conclude(_train, TrainConfig, config)


def _train(run: Run[TrainConfig]) -> Conclusion[RegisteredModel]:
    require(*TRAINING, purpose="Training")
    config, home = run.config, run.home
    check_unlabelled(config)
    data, model = download(config, home)
    prepared = audit(clean(data, config, home), model, config, home)
    warn_of_undefined_metric(prepared, config.registration.metric)
    check_limits(prepared, config.registration, config.evaluation)
    encoded = tokenize(prepared, model, config, home)
    with training_run(
        home, config=config, prepared=prepared, encoded=encoded, fetched=model, tags=flow_run_tags()
    ) as run.mlflow_run:
        trained = train_model(encoded, prepared, model, run.mlflow_run, config, home)
        student = distill(trained, prepared, encoded, config, home) if config.distillation.enabled else None
        evaluated = evaluate(trained, prepared, encoded, model, config, home, student)
        if config.engine.export != "none":
            export(trained, evaluated, prepared, encoded, config, home, student)
        compared = candidates(trained, student, evaluated, prepared, config, home)
        registered = register(compared, evaluated, prepared, config, home)
    announce(registered)
    link = TrackingStore.open(home).run_link(registered.run_id)
    page = training_page(config, prepared, trained, evaluated, registered, link)
    return Conclusion(registered, training_message(registered), page=page)


def _check(config: TrainConfig) -> None:
    require(*TRAINING, purpose="Training")
    check_local_sources(config.data)
    check_unlabelled(config)


def main() -> int:
    """Runs the flow with the command-line arguments."""
    return launch(
        train,
        TrainConfig,
        program="python flows/train_flow.py",
        default_file=CONFIGS / "quickstart.yaml",
        examples=EXAMPLES,
        check=_check,
        closing=training_closing,
        libraries=LIBRARIES,
    )


if __name__ == "__main__":
    sys.exit(main())
