"""Train weekly and predict every night on this machine, until this program is stopped."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.settings import get_current_settings
from prefect.types.entrypoint import EntrypointType

from flows.adapt_flow import adapt
from flows.predict_flow import predict
from flows.promotion import CHAMPION_CHANGED
from flows.train_flow import train
from textclf.alerts import check_addresses
from textclf.config import (
    CONFIGS,
    AdaptConfig,
    Environment,
    Home,
    Parser,
    PredictConfig,
    TrainConfig,
    anchor,
    choose_language,
    load_config,
)
from textclf.errors import ConfigError, TextclfError, redacted
from textclf.language import _, ngettext
from textclf.registry.aliases import CHAMPION
from textclf.registry.versions import find_version
from textclf.store import writing
from textclf.tracking.store import TrackingStore
from textclf_operations.planned_runs import describe_schedules
from textclf_operations.registration import TAG, ServerError, check_server, cron_schedule, own_schedule, register
from textclf_operations.runner import LocalRunner
from textclf_operations.times import clock

# Not the name in prefect.yaml: that deployment stays attached to a work pool, whose workers would take these runs.
NAME = "local"

logger = logging.getLogger("textclf.serve")

EXAMPLES = """\
  python deployments/serve.py
  python deployments/serve.py --train-config configs/chnsenticorp.yaml --train-cron "0 1 1 * *"
  python deployments/serve.py --predict-config my.yaml --predict-cron "15 6 * * 1-5" --timezone Europe/Berlin
  python deployments/serve.py --predict-after-training
"""


def main(arguments: Sequence[str]) -> int:
    """Registers both deployments and runs what is due until the program is stopped.

    Returns:
        The exit code: 0 after Ctrl-C or SIGTERM, 2 for the user's mistake, 1 for a failure.
    """
    # A shell script makes its background programs ignore interrupts, but that is how this program is stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    logging.getLogger("textclf").setLevel(logging.INFO)
    try:
        choose_language()
        options = _parse(arguments)
        home = Home.from_environment()
        train_config, predict_config, train_schedule, predict_schedule = check(options)
        adaptation = check_adaptation(options)
        check_server()
        with only_one(home):
            files = anchor(predict_config, home.root)
            created = _create_folders(predict_config, files)
            # In the background: MLflow takes seconds to load.
            threading.Thread(
                target=_say_if_predictions_fail, args=(home, train_config, predict_config), daemon=True
            ).start()
            _serve(
                home,
                [
                    (served(train, train_config), train_schedule, str(options.train_config)),
                    (
                        served(predict, predict_config, after_training=options.predict_after_training),
                        predict_schedule,
                        _("{config}, from {input} to {output}").format(
                            config=options.predict_config, input=files.input, output=files.output
                        ),
                    ),
                    *([(served(adapt, adaptation[0]), adaptation[1], str(options.adapt_config))] if adaptation else []),
                ],
                created,
                reset=options.reset_schedules,
            )
    except TextclfError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def check(options: argparse.Namespace) -> tuple[TrainConfig, PredictConfig, CronSchedule, CronSchedule]:
    """Reads what the arguments name, without a server.

    Raises:
        ConfigError: A configuration, a schedule or an address of TEXTCLF_ALERTS cannot be used.
    """
    train_config = load_config(TrainConfig, options.train_config)
    predict_config = load_config(PredictConfig, options.predict_config)
    train_schedule = _schedule(options.train_cron, options.timezone, "--train-cron")
    predict_schedule = _schedule(options.predict_cron, options.timezone, "--predict-cron")
    check_addresses(Environment().textclf_alerts)
    return train_config, predict_config, train_schedule, predict_schedule


def check_adaptation(options: argparse.Namespace) -> tuple[AdaptConfig, CronSchedule] | None:
    """Reads what the arguments say of an adaptation; None if there is to be none.

    Raises:
        ConfigError: The configuration or the schedule cannot be used.
    """
    if options.adapt_config is None:
        return None
    schedule = _schedule(options.adapt_cron, options.timezone, "--adapt-cron")
    return load_config(AdaptConfig, options.adapt_config), schedule


def served(
    flow: Any, config: TrainConfig | PredictConfig | AdaptConfig, *, after_training: bool = False
) -> RunnerDeployment:
    """Describes the deployment of a flow on this machine.

    Args:
        flow: `train`, `predict` or `adapt`.
        config: The parameters of its runs.
        after_training: Also run when the champion of the configuration's model changes.
    """
    triggers = []
    if after_training and isinstance(config, PredictConfig):
        triggers = [
            DeploymentEventTrigger(
                name=f"Predict with the new champion of {config.model}",
                expect={CHAMPION_CHANGED},
                match={"prefect.resource.id": f"textclf.model.{config.model}"},
            )
        ]
    deployment: RunnerDeployment = flow.to_deployment(
        name=NAME,
        parameters={"config": config.model_dump(mode="json", exclude_unset=True)},
        tags=[TAG],
        # One run at a time; others wait.
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        # Loading a flow by its path would create a second copy of the installed module.
        entrypoint_type=EntrypointType.MODULE_PATH,
        triggers=triggers,
    )
    return deployment


@contextmanager
def only_one(home: Home) -> Iterator[None]:
    """Holds the lock of the one program that serves a home; the lock ends with the process, however it ends.

    Raises:
        ConfigError: Another process holds it; the message says which, and since when.
        StorageError: The home cannot be written to.
    """
    path = home.root / ".serve.lock"
    with writing(path):
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise ConfigError(
                f"The schedules of {home.root} are already served: {holder}.\n"
                "Stop that one first: press Ctrl-C in its terminal, or use `kill` with its number."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {clock(datetime.now(UTC))}")
        file.flush()
        yield


def _serve(
    home: Home, deployments: Sequence[tuple[RunnerDeployment, CronSchedule, str]], notes: Sequence[str], *, reset: bool
) -> None:
    runner = LocalRunner(home)
    try:
        lines = [
            ngettext(
                "Serving {count} deployment until this program is stopped; home directory {home}.",
                "Serving {count} deployments until this program is stopped; home directory {home}.",
                len(deployments),
            ).format(count=len(deployments), home=home.root),
            *notes,
        ]
        with get_client(sync_client=True) as client:
            for deployment, schedule, subject in deployments:
                apply: Callable[[RunnerDeployment], Any] = runner.add_deployment
                registered = register(client, deployment, schedule, apply, reset=reset)
                lines += _describe(deployment.full_name, registered, schedule, subject)
        lines.append(_("See runs, or start one now: {page}").format(page=get_current_settings().ui_url))
        print("\n".join(lines), flush=True)
        asyncio.run(runner.start())
    except httpx.HTTPError as error:
        address = redacted(str(get_current_settings().api.url))
        raise ServerError(
            f"The Prefect server at {address} failed: {error}\n"
            "If it was busy, start this program again: nothing is registered twice."
        ) from error
    except KeyboardInterrupt:
        try:
            runner.put_back()
        except httpx.HTTPError as error:
            print(
                _(
                    "Stopped. The Prefect server does not answer ({error}); the next start finds interrupted runs."
                ).format(error=type(error).__name__)
            )
            return
        print(_("Stopped. Due and interrupted runs wait for the next start; to prevent that, pause the schedules."))


def _say_if_predictions_fail(home: Home, train_config: TrainConfig, predict_config: PredictConfig) -> None:
    """Logs that the scheduled predictions have no model yet, and how to get one."""
    name, alias, trained = predict_config.model, predict_config.alias, train_config.data.registered_name
    try:
        # Opening a store that does not exist would create it.
        exists = home.store_file is None or home.store_file.exists()
        if exists and find_version(TrackingStore.open(home), name, alias):
            return
    except TextclfError as error:
        logger.warning("Whether the predictions have a model is not known: %s", error)
        return
    if (name, alias) == (trained, CHAMPION):
        server = redacted(str(get_current_settings().api.url))
        advice = f"Train one: PREFECT_API_URL={server} prefect deployment run train/{NAME}"
    else:
        advice = f"The training that is served here makes {trained}@{CHAMPION}: correct one of the two configurations."
    logger.error("There is no %s of %s yet: scheduled predictions fail until there is. %s", alias, name, advice)


def _describe(name: str, deployment: DeploymentResponse, schedule: CronSchedule, subject: str) -> list[str]:
    lines = [f"  {name}  {subject}"]
    lines += [f"    {line}" for line in describe_schedules(deployment, datetime.now(UTC))]
    own = own_schedule(deployment)
    if own is None or own.schedule != schedule:
        wanted = f"{schedule.cron!r}, {schedule.timezone}"
        lines.append(
            "    " + _("(changed in Prefect; --reset-schedules brings back {schedule} alone)").format(schedule=wanted)
        )
    return lines


def _create_folders(config: PredictConfig, files: PredictConfig) -> list[str]:
    # A folder with an absolute path may be a mount that is missing just now.
    if config.input.is_absolute() or config.input.suffix or files.input.exists():
        return []
    folders = [files.input] if config.output.is_absolute() else [files.input, files.output]
    for folder in folders:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    return [_("Created {folders}.").format(folders=", ".join(map(str, folders)))]


def _schedule(cron: str, timezone: str, flag: str) -> CronSchedule:
    return cron_schedule(cron, timezone, cron_name=flag, timezone_name="--timezone")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python deployments/serve.py",
        description=_("Train weekly and predict every night on this machine, until this program is stopped."),
        epilog=_("examples:") + f"\n{EXAMPLES}",
        allow_abbrev=False,
    )
    add_arguments(parser)
    return parser.parse_args(arguments)


def add_arguments(parser: argparse._ActionsContainer) -> None:
    """Adds what is served and when."""
    parser.add_argument(
        "--train-config",
        type=Path,
        default=CONFIGS / "quickstart.yaml",
        metavar="FILE",
        help=_("what to train (default: quickstart.yaml); relative paths in it start at the home directory"),
    )
    parser.add_argument(
        "--predict-config",
        type=Path,
        default=CONFIGS / "predict.yaml",
        metavar="FILE",
        help=_("what to predict (default: predict.yaml); relative paths in it start at the home directory"),
    )
    parser.add_argument(
        "--train-cron",
        default="0 2 * * 6",
        metavar="CRON",
        help=_("when to train: minute, hour, day, month, weekday (default: %(default)r, Saturdays at 2:00)"),
    )
    parser.add_argument(
        "--predict-cron",
        default="30 3 * * *",
        metavar="CRON",
        help=_("when to predict (default: %(default)r, every night at 3:30)"),
    )
    parser.add_argument(
        "--adapt-config",
        type=Path,
        metavar="FILE",
        help=_("also adapt an encoder to unlabelled texts as this file says (default: do not)"),
    )
    parser.add_argument(
        "--adapt-cron",
        default="0 1 1 * *",
        metavar="CRON",
        help=_("when to adapt (default: %(default)r, on the first of each month at 1:00)"),
    )
    parser.add_argument(
        "--timezone",
        default="Asia/Shanghai",
        metavar="ZONE",
        help=_("time zone of all schedules (default: %(default)s)"),
    )
    parser.add_argument(
        "--reset-schedules",
        action="store_true",
        help=_("remove every change that was made to the schedules in Prefect's page, and switch them on"),
    )
    parser.add_argument(
        "--predict-after-training",
        action="store_true",
        help=_("also predict whenever the champion of the model changes"),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
