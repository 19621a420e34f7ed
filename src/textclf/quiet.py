"""Keep what other libraries tell their own users off the screen, and keep their warnings of failures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


def quiet_transformers() -> None:
    """Turns off transformers' bars for loading weights and its tables of new and unused ones.

    Both speak of what is intended here, the new head of a classifier, as of a mistake. Errors are raised as before.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Turns off the lines that MLflow prints beside its logger; our own log says what was registered."""
    from mlflow.utils.logging_utils import disable_logging, enable_logging

    disable_logging()
    try:
        yield
    finally:
        enable_logging()
