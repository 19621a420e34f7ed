"""Show what the library logs on the page of a flow run."""

from __future__ import annotations

import logging


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
