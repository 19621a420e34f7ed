"""What all tasks share: only transient failures are retried, with growing pauses."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from textclf.errors import HubUnreachableError, TransientError


def _is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    # The state's data is the exception that the task raised. Hubs have already been retried, each source with its own
    # pauses; retrying all of them again would only delay the message.
    return isinstance(state.data, TransientError) and not isinstance(state.data, HubUnreachableError)


# The library reuses earlier results by digest and verifies them; Prefect's own cache would return folders that are
# damaged or missing (docs/decisions/0003-caching.md).
TASK_POLICY: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=5),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_transient,
}
