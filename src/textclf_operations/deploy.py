"""Register the flows in a work pool, and what starts a run again whose worker died."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.types.entrypoint import EntrypointType

from textclf.config import CONFIGS, Parser, choose_language
from textclf.errors import ConfigError, TextclfError
from textclf.language import _
from textclf_operations.registration import check_server, cron_schedule, register

FILE = CONFIGS.parent / "deployments" / "prefect.yaml"
SILENCE = timedelta(seconds=90)
"""A run in a work pool that gives no sign of life for so long is dead; it gives one every 30 seconds. The server looks
for silent runs in intervals of the same length."""
_DIED = "It gave no sign of life for 90 seconds: its process, its worker or its machine died."
# What Prefect says when only the worker died: the run's output has no reader any more, and its next line ends it.
_NO_WORKER = "Execution was aborted by Python system exit call."
# Each of these events is a sign of life after which another must follow, in whatever order they arrive.
_ALIVE = ("Pending", "Submitting", "InfrastructurePending", "Running", "Retrying", "Rerunning", "heartbeat")

EXAMPLES = """\
  python deployments/deploy.py && prefect worker start --pool textclf
  python deployments/deploy.py --file my.yaml
  python deployments/deploy.py --reset-schedules
"""


def main(arguments: Sequence[str]) -> int:
    """Creates or updates the work pool, its deployments, and the automations for dead runs.

    What a person set stays: paused deployments and schedules, added schedules, disabled automations.

    Returns:
        The exit code: 0, 2 for the user's mistake, 1 for a failure.
    """
    try:
        choose_language()
        options = _parse(arguments)
        check_server()
        entries = _read(options.file)
        with get_client(sync_client=True) as client:
            ids = []
            for entry in entries:
                ids.append(_deploy(client, entry, reset=options.reset_schedules))
                print(_("Deployed {name}.").format(name=f"{entry['entrypoint'].rpartition('.')[2]}/{entry['name']}"))
            for automation in automations(ids):
                _install(client, automation)
    except TextclfError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    pools = sorted({entry["work_pool"]["name"] for entry in entries})
    print(_("Start a worker: {command}").format(command=f"prefect worker start --pool {pools[0]}"))
    return 0


def automations(deployments: Sequence[UUID]) -> list[AutomationCore]:
    """Describes how a run is found whose worker died, and is started again.

    The run itself refuses to go on after it died several times (`flows.running`).
    """
    related: Any = {
        "prefect.resource.role": "deployment",
        "prefect.resource.id": [f"prefect.deployment.{deployment}" for deployment in deployments],
    }
    run: Any = {"prefect.resource.id": "prefect.flow-run.*"}
    return [
        AutomationCore(
            name="textclf: a silent run has crashed",
            description=_DIED,
            trigger=EventTrigger(
                posture=Posture.Proactive,
                after={f"prefect.flow-run.{name}" for name in _ALIVE},
                expect={"prefect.flow-run.*"},
                match=run,
                match_related=related,
                for_each={"prefect.resource.id"},
                within=SILENCE,
            ),
            actions=[ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=_DIED)],
        ),
        AutomationCore(
            name="textclf: a run that crashed in silence is started again",
            description="It goes on where it stopped.",
            trigger=EventTrigger(
                posture=Posture.Reactive,
                expect={"prefect.flow-run.Crashed"},
                match={**run, "prefect.state-message": [_DIED, _NO_WORKER]},
                match_related=related,
                for_each={"prefect.resource.id"},
            ),
            actions=[
                ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message="Started again: it died.")
            ],
        ),
    ]


def _install(client: SyncPrefectClient, automation: AutomationCore) -> None:
    found = client.read_automations_by_name(automation.name)
    if found:
        client.update_automation(found[0].id, automation.model_copy(update={"enabled": found[0].enabled}))
    else:
        client.create_automation(automation)


def _deploy(client: SyncPrefectClient, entry: dict[str, Any], *, reset: bool) -> UUID:
    pool = entry["work_pool"]
    try:
        client.read_work_pool(pool["name"])
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=pool["name"], type="process"))
    flow: Any = load_flow_from_entrypoint(entry["entrypoint"])
    deployment: RunnerDeployment = flow.to_deployment(
        name=entry["name"],
        parameters=entry["parameters"],
        tags=entry["tags"],
        concurrency_limit=ConcurrencyLimitConfig.model_validate(entry["concurrency_limit"]),
        entrypoint_type=EntrypointType.MODULE_PATH,
        work_pool_name=pool["name"],
        job_variables=pool.get("job_variables", {}),
    )
    schedule = cron_schedule(
        entry["schedules"][0]["cron"],
        entry["schedules"][0]["timezone"],
        cron_name="cron",
        timezone_name="timezone",
    )
    apply: Any = RunnerDeployment.apply
    return register(client, deployment, schedule, apply, reset=reset).id


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]
        for entry in entries:
            (schedule,) = entry["schedules"]
            entry["entrypoint"], entry["name"], entry["parameters"], entry["tags"], entry["concurrency_limit"]
            entry["work_pool"]["name"], schedule["cron"], schedule["timezone"]
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{file} is not like deployments/prefect.yaml: {type(error).__name__}: {error}.\n"
            "Each deployment needs name, entrypoint, parameters, tags, concurrency_limit, work_pool.name, and one "
            "schedule with cron and timezone."
        ) from error
    return list(entries)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python deployments/deploy.py",
        description=_(
            "Register the flows in a work pool, and what starts a run again whose worker died. Safe to repeat: what "
            "was changed in Prefect's page stays."
        ),
        epilog=_("examples:") + f"\n{EXAMPLES}",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--file",
        type=Path,
        default=FILE,
        help=_("the deployments (default: deployments/prefect.yaml)"),
    )
    parser.add_argument(
        "--reset-schedules",
        action="store_true",
        help=_("remove every change that was made to the schedules in Prefect's page, and switch them on"),
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
