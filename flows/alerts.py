"""Tell people about runs of deployments that failed, crashed or refused files, and about recovery.

Whoever starts a flow in a terminal sees how it ends: only runs of a deployment (a schedule, a form) are told about, and
only if TEXTCLF_ALERTS is set. The hooks run in the flow's own process; if that was killed, in what started it.
"""

from __future__ import annotations

import logging
import shlex
from contextvars import copy_context
from typing import Any, Literal

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException
from prefect.settings import get_current_settings
from prefect.utilities.urls import url_for

from textclf.alerts import AlertedRun, crash, failure, recovery, refusal, send
from textclf.config import Environment
from textclf.errors import ConfigError, redacted
from textclf.language import LANGUAGES, Language, use_language

logger = logging.getLogger("textclf.alerts")

Event = Literal["failed", "crashed", "refused", "recovered"]

SKIPPED = "Skipped"
"""The name of a completed state that says nothing about the job: the run had nothing to do."""

_MESSAGES = {"failed": failure, "crashed": crash, "refused": refusal, "recovered": recovery}
_INTERRUPTED = "Execution was aborted by an interrupt signal."
_TERMINATED = "Execution was aborted by a termination signal."


def alert(event: Event, flow_run: FlowRun, reason: str = "") -> None:
    """Tells people about a run, in `textclf.alerts.SECONDS_TO_DELIVER` at most.

    Never raises: what goes wrong is one warning.

    Args:
        event: What happened to the run.
        flow_run: A run of a deployment.
        reason: Why, or with which result; by default, the message of the run's state.
    """
    reason = reason or (flow_run.state.message if flow_run.state else "") or ""
    # In a copy, the language does not change that of the caller.
    copy_context().run(_alert, event, flow_run, reason)


def tell_of_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Alerts when a run failed; Prefect calls it then."""
    if _is_told(flow_run):
        alert("failed", flow_run, state.message or "")


def tell_of_crash(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Alerts when a run's process died; Prefect calls it then."""
    if _is_told(flow_run) and not _was_stopped(flow_run, state):
        alert("crashed", flow_run, state.message or "")


def tell_of_completion(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Alerts when a run refused files, or is the first good one after a bad one; Prefect calls it then."""
    if not _is_told(flow_run):
        return
    if _refused(state):
        alert("refused", flow_run, state.message or "")
    if state.name != "Completed":
        return
    try:
        with get_client(sync_client=True) as client:
            recovered = _recovered(client, flow_run)
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("Cannot tell whether the run before failed: %s", redacted(str(error)))
    else:
        if recovered:
            alert("recovered", flow_run, state.message or "")


def language_of(flow_run: FlowRun) -> Language:
    """Returns the language of what people read about a run: that of its configuration, else of the environment."""
    config = flow_run.parameters.get("config")
    configured = config.get("language") if isinstance(config, dict) else None
    for language in LANGUAGES:
        if language == configured:
            return language
    try:
        return Environment().language
    except ConfigError:
        # This may be why the run failed.
        return "en"


def retry_command(flow_run: FlowRun) -> str:
    """Returns the command that runs it again; whoever reads it may not have the server's address set."""
    address = get_current_settings().api.url
    server = f"PREFECT_API_URL={shlex.quote(redacted(str(address)))} " if address else ""
    return f"{server}prefect flow-run retry {flow_run.id}"


def _is_told(flow_run: FlowRun) -> bool:
    return flow_run.deployment_id is not None and Environment().textclf_alerts is not None


def _alert(event: Event, flow_run: FlowRun, reason: str) -> None:
    try:
        use_language(language_of(flow_run))
        send(_MESSAGES[event](_described(flow_run), reason), Environment().textclf_alerts)
    except Exception as error:
        # An alert must not change how a run ends. The error's text could contain an address.
        logger.warning("Alert not delivered (%s %s): %s.", flow_run.name, event, type(error).__name__)


def _described(flow_run: FlowRun) -> AlertedRun:
    page, command = url_for(flow_run), retry_command(flow_run)
    try:
        with get_client(sync_client=True) as client:
            # What started a killed process knows the run as it was before it began, without its name.
            name = client.read_flow_run(flow_run.id).name
            job = client.read_flow(flow_run.flow_id).name
            if flow_run.deployment_id is not None:
                job += f"/{client.read_deployment(flow_run.deployment_id).name}"
            return AlertedRun(job, name, page, command)
    except (httpx.HTTPError, PrefectException):
        # The server may be what failed.
        return AlertedRun(flow_run.name, flow_run.name, page, command)


def _recovered(client: SyncPrefectClient, flow_run: FlowRun) -> bool:
    # A run that was started again after a failure has its own history.
    if any(_is_bad(flow_run, state) for state in client.read_flow_run_states(flow_run.id)):
        return True
    earlier = client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate(
            {
                "id": {"not_any_": [flow_run.id]},
                "deployment_id": {"any_": [flow_run.deployment_id]},
                "state": {"type": {"any_": [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED]}},
            }
        ),
        sort=FlowRunSort.END_TIME_DESC,
        limit=20,
    )
    for run in earlier:
        if run.state and _is_bad(run, run.state):
            return True
        if run.state and run.state.name == "Completed":
            return False
        # Skipped, stopped, or done but for refused files: neither good nor bad.
    return False


def _is_bad(flow_run: FlowRun, state: State[Any]) -> bool:
    if state.type == StateType.CRASHED:
        return not _was_stopped(flow_run, state)
    # Refusals are no failure, and the next run leaves the refused files alone: it does not mean that they are gone.
    return state.type == StateType.FAILED


def _refused(state: State[Any]) -> bool:
    # The name has the number of files, in the language of the run.
    return state.type == StateType.COMPLETED and state.name not in ("Completed", SKIPPED)


def _was_stopped(flow_run: FlowRun, state: State[Any]) -> bool:
    # Ctrl-C is a person's wish. After any other stop, `serve.py` puts its runs back; those of a work pool are lost.
    return state.message == _INTERRUPTED or (state.message == _TERMINATED and flow_run.work_pool_name is None)
