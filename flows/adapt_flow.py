"""Adapt an encoder to unlabelled texts: download, clean, tokenize, adapt, register."""

from __future__ import annotations

import sys

from prefect import flow
from prefect.client.schemas.objects import State

from flows.conclusion import Conclusion, Run, conclude
from flows.launch import launch
from flows.names import flow_run_tags
from flows.policies import FLOW_POLICY
from tasks.adaptation import adapt as adapt_encoder
from tasks.adaptation import clean, download, register_encoder, tokenize
from textclf.config import CONFIGS, AdaptConfig
from textclf.data.collect import check_texts
from textclf.extras import ADAPTATION, require
from textclf.records import RegisteredEncoder
from textclf.summaries.adaptation import adaptation_closing, adaptation_message, encoder_summary
from textclf.tracking.runs import adaptation_run
from textclf.tracking.store import TrackingStore

DEFAULT = CONFIGS / "adapt.yaml"
EXAMPLES = """\
  python flows/adapt_flow.py --data.files '["reviews.csv", "archive"]' --data.name reviews
  python flows/adapt_flow.py --config configs/adapt.yaml --data.files '["reviews.parquet"]'
  python flows/adapt_flow.py --config my.yaml --adaptation.num_train_epochs 3
"""


@flow(name="adapt", description=__doc__, **FLOW_POLICY)
def adapt(config: AdaptConfig) -> State[RegisteredEncoder]:
    """Trains an encoder on unlabelled texts and registers it, for a training to begin with.

    Args:
        config: All settings of the run; each field has a description.
    """
    return conclude(_adapt, AdaptConfig, config)


def _adapt(run: Run[AdaptConfig]) -> Conclusion[RegisteredEncoder]:
    _check(run.config)
    config, home = run.config, run.home
    model = download(config, home)
    texts = clean(config, home)
    packed = tokenize(texts, model, config, home)
    with adaptation_run(home, config=config, packed=packed, fetched=model, tags=flow_run_tags()) as run.mlflow_run:
        adapted = adapt_encoder(packed, model, run.mlflow_run, config, home)
        registered = register_encoder(adapted, config, home)
    link = TrackingStore.open(home).run_link(registered.run_id)
    return Conclusion(registered, adaptation_message(registered, adapted), page=encoder_summary(registered, link))


def _check(config: AdaptConfig) -> None:
    require(*ADAPTATION, purpose="Adaptation")
    check_texts(config)


def main() -> int:
    """Runs the flow with the command-line arguments."""
    return launch(
        adapt,
        AdaptConfig,
        program="python flows/adapt_flow.py",
        default_file=DEFAULT if DEFAULT.exists() else None,
        examples=EXAMPLES,
        check=_check,
        closing=adaptation_closing,
        libraries=("transformers.trainer", "mlflow"),
    )


if __name__ == "__main__":
    sys.exit(main())
