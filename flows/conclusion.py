"""How both flows begin and end: their log, tags, final state with its message, and a page even if they fail."""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.settings import get_current_settings
from prefect.states import Completed, Failed
from pydantic import ValidationError

from flows.missed_runs import skip_missed_runs
from flows.names import tag_run
from flows.run_logs import SAID_AT_THE_END, RunFailed, debugging, send_library_logs
from flows.running import note_end, running
from flows.threads import wait_passively
from tasks.steps import UnexpectedError, journal, leave_page
from textclf.config import AdaptConfig, Environment, Home, PredictConfig, TrainConfig, anchor, choose_language
from textclf.config.load import describe
from textclf.errors import ConfigError, TextclfError, first_lines, redacted
from textclf.language import _
from textclf.summaries.failure import Kept, Step, failure_summary
from textclf.tracking.runs import run_folder
from textclf.tracking.store import TrackingStore

PAGE = "run-summary"
"""The artifact to open first."""

Config = TypeVar("Config", TrainConfig, PredictConfig, AdaptConfig)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Conclusion(Generic[Result]):
    """How a run ended well.

    Attributes:
        result: What the flow returns.
        message: One line for the list of runs.
        name: The name of the final state, if it is not `Completed`.
        page: Markdown of the artifact `run-summary`, if there is one.
    """

    result: Result
    message: str
    name: str = "Completed"
    page: str | None = None


@dataclass
class Run(Generic[Config]):
    """A run in progress.

    Attributes:
        config: With absolute paths.
        home: The home directory.
        mlflow_run: The id of the MLflow run, once it is open.
    """

    config: Config
    home: Home
    mlflow_run: str | None = field(default=None)


def conclude(
    work: Callable[[Run[Config]], Conclusion[Result]], model: type[Config], given: Config | Mapping[str, Any]
) -> State[Result]:
    """Does the work of a flow and returns the flow's final state, whose message says how it ended.

    If the work fails, its error is logged once (with a traceback only if it is not textclf's own), is the message of
    the state, and appears in the artifact `run-summary` with what is kept and what to do. A stopped run leaves this
    artifact, too, and goes on stopping.

    Args:
        work: The steps of the flow.
        model: The configuration class.
        given: The configuration, or the values of a form or a schedule.
    """
    send_library_logs()
    wait_passively()
    # When the process ends, Python would look through all objects of all imported packages for five seconds.
    atexit.register(gc.freeze)
    run: Run[Config] | None = None
    with journal() as steps:
        try:
            choose_language()
            config = _validated(model, given)
            choose_language(config.language)
            home = Home.from_environment()
            run = Run(anchor(config, home.root), home)
            tag_run(config)
            with running(home) as ended:
                if final := ended or skip_missed_runs(config.missed_runs):
                    note_end(home, final)
                    return final
                conclusion = work(run)
                final = Completed(name=conclusion.name, message=conclusion.message, data=conclusion.result)
                note_end(home, final)
        except Exception as error:
            return _failed(error, run, steps)
        except BaseException:
            _write_page(run, steps, reason=None)
            raise
    if conclusion.page:
        create_markdown_artifact(conclusion.page, key=PAGE, description=conclusion.message)
    return final


def _validated(model: type[Config], given: Config | Mapping[str, Any]) -> Config:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = first_lines(describe(error, model), 30)
        raise ConfigError(f"The configuration of this run cannot be used:\n{problems}") from error


def _failed(error: Exception, run: Run[Any] | None, steps: list[Step]) -> State[Any]:
    logger = get_run_logger()
    ours = isinstance(error, TextclfError)
    if ours:
        message = redacted(str(error))
        logger.error(message, extra={SAID_AT_THE_END: True}, exc_info=error if debugging() else None)
    else:
        # The original has the traceback; a task has already removed passwords from its message.
        cause = error.__cause__ if isinstance(error, UnexpectedError) and error.__cause__ else error
        message = redacted(f"{type(cause).__name__}: {cause}")
        logger.error("Unexpected error:", exc_info=cause)
    _write_page(run, steps, reason=message)
    failure = RunFailed(message, error.exit_code if isinstance(error, TextclfError) else 1)
    if _is_tried_again():
        # Prefect runs the flow again only after an exception.
        raise failure from error
    return Failed(message=message, data=failure)


def _is_tried_again() -> bool:
    context = FlowRunContext.get()
    flow_run = context.flow_run if context else None
    return flow_run is not None and flow_run.run_count <= (flow_run.empirical_policy.retries or 0)


def _write_page(run: Run[Any] | None, steps: list[Step], *, reason: str | None) -> None:
    commands, again = next_commands()
    page = failure_summary(steps, reason=reason, kept=_kept(run), commands=commands, again=again)
    leave_page(page, key=PAGE, description=(reason or _("Stopped")).splitlines()[0])


def _kept(run: Run[Any] | None) -> Kept | None:
    if run is None or run.mlflow_run is None:
        return None
    try:
        link = TrackingStore.open(run.home).run_link(run.mlflow_run)
    except TextclfError:
        # The store is what failed.
        link = None
    return Kept(run.mlflow_run, link, run_folder(run.home, run.mlflow_run))


def next_commands() -> tuple[list[str], str]:
    """Returns what to type to go on with the current run, and what that does."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        command = redacted(shlex.join(sys.orig_argv))
        again = _("Remove the cause, then start the same command again: it resumes where it stopped.")
        return [f"cd {shlex.quote(os.fspath(Path.cwd()))}", command], again
    address = get_current_settings().api.url
    server = f"PREFECT_API_URL={shlex.quote(redacted(str(address)))} " if address else ""
    if Environment().textclf_up:
        needed = _("`textclf up` must be running.")
    else:
        needed = _("A `serve.py` or a worker must be running.")
    again = _(
        "Remove the cause, then press Retry on the page of this run (in the new interface: menu ⋮), or type the "
        "command: it resumes where it stopped. {needed} To change a value, use “Copy to new run” on that page."
    ).format(needed=needed)
    return [f"{server}prefect flow-run retry {context.flow_run.id}"], again
