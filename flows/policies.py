"""What all flows share: their version, the names of their runs, and who is told how a run ended."""

from __future__ import annotations

from typing import Any

from flows.alerts import tell_of_completion, tell_of_crash, tell_of_failure
from flows.names import run_name
from textclf import __version__

FLOW_POLICY: dict[str, Any] = {
    "version": __version__,
    "flow_run_name": run_name,
    # `conclude` validates them, and reports all problems in one message.
    "validate_parameters": False,
    "on_completion": [tell_of_completion],
    "on_failure": [tell_of_failure],
    "on_crashed": [tell_of_crash],
}
