"""Show what the library logs on the page of a flow run, and no passwords."""

from __future__ import annotations

import logging

from textclf.errors import redacted, redacted_traceback


def send_library_logs() -> None:
    """Sends textclf's log lines to Prefect from now on, as INFO and above unless a level was set before.

    Flows call this, and so it holds for every run, however it was started. Prefect's own setting for it,
    `PREFECT_LOGGING_EXTRA_LOGGERS`, would have to be set wherever runs start, and leaves the level at WARNING.
    """
    library = logging.getLogger("textclf")
    for handler in logging.getLogger("prefect.extra").handlers:
        library.addHandler(handler)
    if library.level == logging.NOTSET:
        library.setLevel(logging.INFO)
    for name in ("", "prefect.extra", "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_hide_secrets)


def _hide_secrets(record: logging.LogRecord) -> bool:
    # What led to an error of ours may name MLFLOW_TRACKING_URI with its password; Prefect logs all of it.
    if record.exc_info and record.exc_info[1] and not record.exc_text:
        record.exc_text = redacted_traceback(record.exc_info[1]).rstrip()
    record.msg, record.args = redacted(record.getMessage()), ()
    return True
