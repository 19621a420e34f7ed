"""Hides messages of other libraries that do not concern our users, but not their warnings of failures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


def quiet_transformers() -> None:
    """Turns off transformers' progress bars for weights and its tables of new and unused ones.

    The tables present the new head of a classifier, which is intended, as a mistake. Errors are still raised.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Turns off the lines that MLflow prints without its logger; our own log says what was registered."""
    from mlflow.utils.logging_utils import disable_logging, enable_logging

    disable_logging()
    try:
        yield
    finally:
        enable_logging()
