"""Show the library's log on the page of a flow run, without passwords."""

from __future__ import annotations

import logging

from textclf.errors import redacted, redacted_traceback


def send_library_logs() -> None:
    """Sends textclf's log lines to Prefect, from INFO upwards unless a level was set before.

    Flows call this themselves, so that it works however a run is started. Prefect's own setting,
    `PREFECT_LOGGING_EXTRA_LOGGERS`, must be set wherever runs start, and leaves the level at WARNING.
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
    # The causes of an error may contain MLFLOW_TRACKING_URI with its password, and Prefect logs all of them.
    if record.exc_info and record.exc_info[1] and not record.exc_text:
        record.exc_text = redacted_traceback(record.exc_info[1]).rstrip()
    record.msg, record.args = redacted(record.getMessage()), ()
    return True
