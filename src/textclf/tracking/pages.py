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

DECISION_TAG = "textclf.decision"
"""The tag of a run and a version that says in short what was decided."""

_METRICS = ("test_leakfree/f1_macro", "test_leakfree/accuracy", "test/f1_macro")
_BARS = "scores"
"""The heading over the charts that come first."""
# Without it, MLflow opens in its layout for language-model applications.
_LAYOUT = "?workflowType=machine_learning"


def full_address(home: Home, page: str) -> str | None:
    """Returns the full address of a page, or None if nobody knows it: a local store has none until `mlflow ui` runs."""
    return home.mlflow_page and f"{home.mlflow_page.rstrip('/')}/{page}"


def comparison_page(experiment_id: str) -> str:
    """The runs of an experiment, best leak-free score first; `view_state` must be in the experiment's `VIEW_TAG`."""
    return f"#/experiments/{experiment_id}/runs{_LAYOUT}&viewStateShareKey={VIEW}"


def chart_page(experiment_id: str) -> str:
    """The same runs as bars."""
    return f"{comparison_page(experiment_id)}&compareRunsMode=CHART"


def run_page(experiment_id: str, run_id: str) -> str:
    """The page of a run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}{_LAYOUT}"


def artifact_page(experiment_id: str, run_id: str, path: str) -> str:
    """The page that shows an artifact of a run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{quote(path)}{_LAYOUT}"


def version_page(name: str, version: int) -> str:
    """The page of a version of a registered model."""
    return f"#/models/{quote(name, safe='')}/versions/{version}{_LAYOUT}"


def view_state() -> str:
    """Returns the view behind `comparison_page`: leak-free scores and the decision first, in the table and as bars."""
    columns = [f"metrics.`{name}`" for name in _METRICS]
    decision = f"tags.`{DECISION_TAG}`"
    models, datasets = "attributes.`Models`", "attributes.`Dataset`"
    order = ["attributes.`Run Name`", *columns, decision, "runDateAndNestInfo", "duration", models, datasets]
    return json.dumps(
        {
            "selectedColumns": [*columns, decision, models, datasets],
            "columnOrder": order,
            "columnWidths": {order[0]: 250, **dict.fromkeys(columns, 170), decision: 350},
            "orderByKey": columns[0],
            "orderByAsc": False,
            "isAccordionReordered": True,
            "compareRunSections": [{"uuid": VIEW, "name": _BARS, "display": True, "isReordered": True}],
            # MLflow draws dots for metrics that any run has at another step than 0, as runs of textclf 0.2 have.
            "compareRunCharts": [
                {
                    "type": "BAR",
                    "uuid": f"{VIEW}-{name}",
                    "metricSectionId": VIEW,
                    "metricKey": name,
                    "runsCountToCompare": 10,
                    "deleted": False,
                    "isGenerated": False,
                }
                for name in _METRICS
            ],
        }
    )
