"""What a run writes to its log: the library's lines too, each error once, and no password."""

from __future__ import annotations

import logging
import re

from prefect.logging.handlers import PrefectConsoleHandler

from tasks.steps import UnexpectedError
from textclf.errors import TextclfError, redacted, redacted_traceback

LIBRARY = "textclf"
SAID_AT_THE_END = "textclf_said_at_the_end"
"""Attribute of a log line whose text a command prints as its last lines."""


class RunFailed(Exception):
    """A run failed, and its log already says why.

    Attributes:
        exit_code: The exit code of a command.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def send_library_logs() -> None:
    """Sends textclf's log lines to Prefect, from INFO upwards unless a level was set before.

    Flows call this themselves, so that it works however a run is started. Prefect's own setting,
    `PREFECT_LOGGING_EXTRA_LOGGERS`, must be set wherever runs start, and leaves the level at WARNING.
    """
    library = logging.getLogger(LIBRARY)
    for handler in logging.getLogger("prefect.extra").handlers:
        library.addHandler(handler)
    if library.level == logging.NOTSET:
        library.setLevel(logging.INFO)
    for name in ("", "prefect.extra", "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_is_news)
            handler.addFilter(_hide_secrets)


def debugging() -> bool:
    """Returns whether tracebacks of textclf's own errors are wanted."""
    return logging.getLogger(LIBRARY).level == logging.DEBUG


def set_level(debug: bool) -> None:
    """Sets what a command shows on its console: with `debug` everything, tracebacks of textclf's errors included."""
    logging.getLogger(LIBRARY).setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:
        # Only on the console; the page of the run keeps these lines.
        for handler in logging.getLogger().handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.addFilter(_is_news_on_a_console)


def _is_news_on_a_console(record: logging.LogRecord) -> bool:
    if getattr(record, SAID_AT_THE_END, False):
        return False
    if record.name == "prefect" and "temporary server" in (message := record.getMessage()):
        # Its start takes seconds, which the first line explains; the second is a link about other kinds of servers.
        record.msg, record.args = message.splitlines()[0], ()
        return message.startswith("Starting")
    return True


def _is_news(record: logging.LogRecord) -> bool:
    """Drops what Prefect says about an error that the flow reports itself: up to four times, with tracebacks."""
    if not record.name.startswith("prefect") or debugging():
        return True
    if record.exc_info and isinstance(record.exc_info[1], (TextclfError, UnexpectedError, RunFailed)):
        return False
    if str(record.msg).startswith("Task run failed with %s: %r - Retry") and isinstance(record.args, tuple):
        _kind, error, number, most, when = record.args
        reason = (str(error).splitlines() or [""])[0]
        record.msg, record.args = f"Retry {number} of {most} will start {when}: {reason}", ()
    # The hooks of alerts are called at the end of every run, and mostly have nothing to do.
    return not re.match(r"Finished in state \w*Failed\(|(Running h|H)ook 'tell_of_", record.getMessage())


def _hide_secrets(record: logging.LogRecord) -> bool:
    # The causes of an error may contain MLFLOW_TRACKING_URI with its password, and Prefect logs all of them.
    if record.exc_info and record.exc_info[1] and not record.exc_text:
        record.exc_text = redacted_traceback(record.exc_info[1]).rstrip()
    record.msg, record.args = redacted(record.getMessage()), ()
    return True
