"""Find the runs of this home whose process is dead, and start them again.

After a power failure or `kill -9`, the Prefect server still shows such a run as Running, and its deployment waits for
it. A run that is started again keeps its id and goes on where it stopped: each step recognises what is done.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import AwaitingRetry, Cancelled, Completed, Crashed

from flows.alerts import alert
from flows.running import MOST_RESTARTS, RunRecord, crashes, forget, is_dead, read_records
from textclf.config import Home
from textclf.errors import redacted
from textclf.language import _

logger = logging.getLogger("textclf.dead_runs")


def recover(client: SyncPrefectClient, home: Home, living: Collection[object]) -> None:
    """Marks the runs whose process is dead as Crashed, and starts them again, `MOST_RESTARTS` times at most.

    Only runs of this home, this machine and this server are considered, and only if no process holds their lock or is
    about to take it.

    Args:
        client: Of the Prefect server.
        home: The home directory.
        living: Ids of the runs that this process looks after itself.
    """
    for record in read_records(home):
        if record.flow_run in living or not is_dead(home, record.flow_run):
            continue
        try:
            _settle(client, client.read_flow_run(record.flow_run), record)
        except ObjectNotFound:
            logger.info("Run %s was deleted.", record.flow_run)
        except PrefectHTTPStatusError as error:
            if error.response.status_code >= 500:
                raise
            # One run must not keep the others from being started.
            logger.warning("Run %s could not be recovered: %s", record.flow_run, redacted(str(error)))
        forget(home, record.flow_run)


def _settle(client: SyncPrefectClient, run: FlowRun, record: RunRecord) -> None:
    if run.state_type == StateType.CANCELLING:
        client.set_flow_run_state(run.id, Cancelled(message=_("Its process has ended.")), force=True)
    elif run.state_type in (StateType.RUNNING, StateType.PENDING) and record.done:
        # Records of earlier versions have no message.
        message = record.message or _("It was done when its process ended; the Prefect server did not answer then.")
        client.set_flow_run_state(run.id, Completed(name=record.state_name or "Completed", message=message), force=True)
        logger.info("Run %s was done; the server knows it now.", run.name)
    elif run.state_type in (StateType.RUNNING, StateType.PENDING):
        reason = _("Its process {process} on {host} died.").format(process=record.process, host=record.host)
        client.set_flow_run_state(run.id, Crashed(message=reason), force=True)
        logger.warning("Run %s crashed: process %d died.", run.name, record.process)
        _start_again(client, run, reason, noticed=False)
    elif run.state_type == StateType.CRASHED:
        _start_again(client, run, (run.state and run.state.message) or "", noticed=True)


def _start_again(client: SyncPrefectClient, run: FlowRun, reason: str, *, noticed: bool) -> None:
    if run.deployment_id is None:
        # A command in a terminal; whoever typed it repeats it.
        return
    count = crashes(client, run.id)
    if count > MOST_RESTARTS:
        message = _(
            "{reason} That happened {count} times, so it is not started again. Remove the cause (a lack of memory?), "
            "then start a new run of the deployment: it goes on where this one stopped."
        ).format(reason=reason, count=count)
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        logger.error("Run %s crashed %d times and is not started again.", run.name, count)
        alert("crashed", run, message)
        return
    message = _("{reason} Started again ({count} of at most {most} times).").format(
        reason=reason, count=count, most=MOST_RESTARTS
    )
    client.set_flow_run_state(run.id, AwaitingRetry(message=message), force=True)
    logger.warning("Run %s is started again.", run.name)
    if not noticed:
        # Otherwise, Prefect has called the flow's own hook.
        alert("crashed", run, message)
