"""Train weekly and predict every night on this machine, until this program is stopped."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.schedules import Cron, Schedule
from prefect.settings import get_current_settings
from prefect.states import AwaitingRetry
from prefect.types.entrypoint import EntrypointType

from flows.predict_flow import predict
from flows.train_flow import train
from textclf.config import CONFIGS, Home, PredictConfig, TrainConfig, anchor, load_config
from textclf.errors import ConfigError, TextclfError

# Not the name in prefect.yaml: that deployment stays attached to a work pool, whose workers would take these runs.
NAME = "local"
TAG = "textclf"

EXAMPLES = """\
examples:
  python deployments/serve.py
  python deployments/serve.py --train-config configs/chnsenticorp.yaml --train-cron "0 1 1 * *"
  python deployments/serve.py --predict-config my.yaml --predict-cron "15 6 * * 1-5" --timezone Europe/Berlin
"""

# In that directory, the server finds prefect.toml, which blocks other web pages.
HOW_TO_START_A_SERVER = f"""\
Start a server in another terminal, then set its address here:
  cd {shlex.quote(str(CONFIGS.parent))} && prefect server start
  export PREFECT_API_URL=http://127.0.0.1:4200/api"""


class ServerError(TextclfError):
    """The Prefect server does not answer."""


def main(arguments: Sequence[str]) -> int:
    """Registers both deployments and runs what is due until the program is stopped.

    Returns:
        The exit code: 0 after Ctrl-C or SIGTERM, 2 for the user's mistake, 1 for a failure.
    """
    options = _parse(arguments)
    # A shell script makes its background programs ignore interrupts, but that is how this program is stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        home = Home.from_environment()
        train_config = load_config(TrainConfig, options.train_config)
        predict_config = load_config(PredictConfig, options.predict_config)
        deployments = [
            _deployment(train, train_config, _schedule(options.train_cron, options.timezone, "--train-cron")),
            _deployment(predict, predict_config, _schedule(options.predict_cron, options.timezone, "--predict-cron")),
        ]
        _check_server()
    except TextclfError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    files = anchor(predict_config, home.root)
    # Schedules stay active when this program stops; the next start catches up on missed runs.
    runner = _LocalRunner(pause_on_shutdown=False)
    try:
        print(
            f"Serving two deployments until this program is stopped; home directory {home.root}.\n"
            f"  train/{NAME}    cron {options.train_cron!r}, {options.timezone}: {options.train_config}\n"
            f"  predict/{NAME}  cron {options.predict_cron!r}, {options.timezone}: {options.predict_config}, "
            f"from {files.input} to {files.output}\n"
            f"See runs, or start one now: {get_current_settings().ui_url}",
            flush=True,
        )
        for deployment in deployments:
            runner.add_deployment(deployment)
        asyncio.run(runner.start())
    except KeyboardInterrupt:
        _put_back(runner.going_on)
        print("Stopped. Due and interrupted runs wait for the next start; to prevent that, pause the schedules.")
    return 0


class _LocalRunner(Runner):
    going_on: frozenset[UUID] = frozenset()
    """Runs that this program itself was executing when it was stopped."""

    async def __aexit__(self, *exc_info: Any) -> None:
        # Prefect forgets them while it stops their processes.
        self.going_on = frozenset(self._scheduled_run_poller._submitting_flow_run_ids)
        await super().__aexit__(*exc_info)

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        # asyncio shuts down in order after an interrupt; Prefect's own handler would cut it short.
        signal.raise_signal(signal.SIGINT)


def _put_back(runs: Collection[UUID]) -> None:
    # Their processes ended with this one, but for the server they still run, and new runs would wait for them.
    with get_client(sync_client=True) as client:
        for run in runs:
            if client.read_flow_run(run).state_type in (StateType.RUNNING, StateType.PENDING):
                client.set_flow_run_state(run, AwaitingRetry(), force=True)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python deployments/serve.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--train-config",
        type=Path,
        default=CONFIGS / "quickstart.yaml",
        metavar="FILE",
        help="what to train (default: quickstart.yaml); relative paths in it start at the home directory",
    )
    parser.add_argument(
        "--predict-config",
        type=Path,
        default=CONFIGS / "predict.yaml",
        metavar="FILE",
        help="what to predict (default: predict.yaml); relative paths in it start at the home directory",
    )
    parser.add_argument(
        "--train-cron",
        default="0 2 * * 6",
        metavar="CRON",
        help="when to train: minute, hour, day, month, weekday (default: %(default)r, Saturdays at 2:00)",
    )
    parser.add_argument(
        "--predict-cron",
        default="30 3 * * *",
        metavar="CRON",
        help="when to predict (default: %(default)r, every night at 3:30)",
    )
    parser.add_argument(
        "--timezone", default="Asia/Shanghai", metavar="ZONE", help="time zone of both schedules (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def _schedule(cron: str, timezone: str, flag: str) -> Schedule:
    try:
        ZoneInfo(timezone)
    except (KeyError, OSError, ValueError) as error:
        raise ConfigError(f"--timezone {timezone!r} is unknown; expected a name such as Asia/Shanghai.") from error
    try:
        return Cron(cron, timezone=timezone)
    except ValueError as error:
        raise ConfigError(
            f"{flag} {cron!r} is not a schedule.\n"
            "Expected five fields: minute, hour, day, month, weekday, for example '30 3 * * *'."
        ) from error


def _deployment(flow: Any, config: TrainConfig | PredictConfig, schedule: Schedule) -> RunnerDeployment:
    deployment: RunnerDeployment = flow.to_deployment(
        name=NAME,
        schedule=schedule,
        parameters={"config": config.model_dump(mode="json", exclude_unset=True)},
        tags=[TAG],
        # One run at a time; others wait.
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        # Loading a flow by its path would create a second copy of the installed module.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    return deployment


def _check_server() -> None:
    address = get_current_settings().api.url
    if not address:
        raise ConfigError(f"Schedules need a Prefect server, and PREFECT_API_URL is not set.\n{HOW_TO_START_A_SERVER}")
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
    if problem:
        raise ServerError(f"The Prefect server at {address} does not answer: {problem}.\n{HOW_TO_START_A_SERVER}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
