"""Addresses of MLflow's pages, and the columns that the page of an experiment shows first.

Addresses are relative to MLflow's own, so that links between its pages work wherever it is opened.

MLflow documents neither the parameters of an address nor the state of a view, which it keeps in a tag of the experiment
when somebody shares one. `tests/ui/test_pages.py` fails if either changes.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from textclf.config.home import Home

VIEW = "textclf"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"

_METRICS = ("test_leakfree/f1_macro", "test_leakfree/accuracy", "test/f1_macro")
_DECISION = "textclf.decision"


def full_address(home: Home, page: str) -> str | None:
    """Returns the full address of a page, or None if nobody knows it: a local store has none until `mlflow ui` runs."""
    return home.mlflow_page and f"{home.mlflow_page.rstrip('/')}/{page}"


def comparison_page(experiment_id: str) -> str:
    """The runs of an experiment, best leak-free score first; `view_state` must be in the experiment's `VIEW_TAG`."""
    # Without the second parameter, MLflow opens in its layout for language-model applications.
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}&workflowType=machine_learning"


def run_page(experiment_id: str, run_id: str) -> str:
    """The page of a run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}"


def artifact_page(experiment_id: str, run_id: str, path: str) -> str:
    """The page that shows an artifact of a run."""
    return f"{run_page(experiment_id, run_id)}/artifacts/{quote(path)}"


def model_page(name: str) -> str:
    """The page of a registered model."""
    return f"#/models/{quote(name, safe='')}"


def version_page(name: str, version: int) -> str:
    """The page of a version of a registered model."""
    return f"{model_page(name)}/versions/{version}"


def view_state() -> str:
    """Returns the view behind `comparison_page`: leak-free scores and the decision before MLflow's own columns."""
    metrics = [f"metrics.`{name}`" for name in _METRICS]
    decision = f"tags.`{_DECISION}`"
    models, datasets = "attributes.`Models`", "attributes.`Dataset`"
    return json.dumps(
        {
            "selectedColumns": [*metrics, decision, models, datasets],
            "columnOrder": [
                "attributes.`Run Name`",
                *metrics,
                decision,
                "runDateAndNestInfo",
                "duration",
                models,
                datasets,
            ],
            "columnWidths": {"attributes.`Run Name`": 250, **dict.fromkeys(metrics, 170), decision: 350},
            "orderByKey": metrics[0],
            "orderByAsc": False,
        }
    )
