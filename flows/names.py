"""Names and tags that tell the runs of both flows apart in Prefect's lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import tzinfo
from functools import cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from textclf.config import AdaptConfig, Environment, PredictConfig, TrainConfig

PREFIX = "textclf-"
"""What the names of registered models begin with, before the name of the data set."""

# Both forms are prefilled with a random name and send it as if it was typed: a Greek letter and a star or a family name
# in interface V1, an adjective and an animal in V2.
_GREEK = (
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho|sigma|tau|upsilon|phi|chi|"
    "psi|omega"
)
_ADJECTIVES = (
    "Awesome|Rustic|Small|Gorgeous|Fantastic|Sleek|Intelligent|Unbranded|Refined|Licensed|Generic|Practical|Ergonomic|"
    "Handcrafted|Tasty|Handmade|Incredible"
)
_FROM_A_FORM = re.compile(rf"({_GREEK})\d*-[a-z-]+|({_ADJECTIVES})-[A-Z].{{1,5}}")


def run_name() -> str:
    """Returns the name of the current run: the one that somebody typed, else flow, data set and scheduled time.

    Example: `train-chnsenticorp-2026-11-24-0330`, in the time zone of the deployment's schedule, else of this machine.
    """
    run, parameters = _current()
    flow = str(flow_run.get_flow_name())
    # "Copy to new run" copies the name as well; a retry keeps it.
    copied = run.run_count == 0 and re.fullmatch(rf"{flow}-.+-\d{{4}}-\d\d-\d\d-\d{{4}}", run.name)
    if not (copied or is_random(run.name)):
        return run.name
    return planned_name(flow, run, parameters.get("config"))


def planned_name(flow: str, run: FlowRun, config: object) -> str:
    """Returns the name that a run gets when it starts.

    Args:
        flow: The name of the flow.
        run: The run, which may be waiting.
        config: Its configuration, or the values of its form or schedule.
    """
    scheduled = run.expected_start_time or run.created
    when = f"-{scheduled.astimezone(_zone(run)):%Y-%m-%d-%H%M}" if scheduled else ""
    return f"{flow}-{subject(config)}{when}"


def subject(config: object) -> str:
    """Returns the name of the data set that a run is about, from a configuration or from a form's values."""
    if isinstance(config, TrainConfig | AdaptConfig):
        return config.data.name
    if isinstance(config, PredictConfig):
        return config.model.removeprefix(PREFIX)
    if isinstance(config, Mapping):
        data = config.get("data")
        if isinstance(data, Mapping) and isinstance(data.get("name"), str):
            return str(data["name"])
        if "input" in config:
            return str(config.get("model", PredictConfig.model_fields["model"].default)).removeprefix(PREFIX)
    return str(TrainConfig().data.name)


def tag_run(config: TrainConfig | PredictConfig | AdaptConfig) -> None:
    """Adds `data:<data set>` and `model:<registered model>` to the tags of the current run.

    Raises:
        httpx.HTTPError: The server does not answer.
    """
    run, _ = _current()
    model = config.model if isinstance(config, PredictConfig) else config.data.registered_name
    tags = {*run.tags, f"data:{subject(config)}", f"model:{model}"}
    if tags != set(run.tags):
        run.tags = sorted(tags)
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, tags=run.tags)


def flow_run_tags() -> dict[str, str]:
    """Returns MLflow tags that identify the current Prefect run."""
    tags = {"prefect.flow_run_id": str(flow_run.get_id()), "prefect.flow_run_name": str(flow_run.get_name())}
    page = flow_run.get_flow_run_ui_url()
    return {**tags, "prefect.flow_run_url": page} if page and Environment().prefect_api_url else tags


def is_random(name: str) -> bool:
    """Returns whether Prefect made a name: its server of two words, its forms of other lists.

    A name that somebody typed and that consists of two words of the server's list is taken for one of them.
    """
    return bool(_FROM_A_FORM.fullmatch(name)) or (name.count("-") == 1 and set(name.split("-")) <= _server_words())


@cache
def _server_words() -> frozenset[str]:
    words: set[str] = set()
    for file in files("coolname.data").iterdir():
        if file.name.endswith(".txt"):
            words |= {line for line in file.read_text(encoding="utf-8").splitlines() if line.isalpha()}
    return frozenset(words)


def _zone(run: FlowRun) -> tzinfo | None:
    if run.deployment_id is None:
        return None
    with get_client(sync_client=True) as client:
        schedules = client.read_deployment(run.deployment_id).schedules
    zones = [zone for entry in schedules if (zone := getattr(entry.schedule, "timezone", None))]
    return ZoneInfo(zones[0]) if zones else None


def _current() -> tuple[FlowRun, dict[str, Any]]:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("There is no flow run.")
    return context.flow_run, context.parameters or {}
