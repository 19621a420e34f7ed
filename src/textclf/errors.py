"""The exceptions that textclf raises on purpose.

Each message says what failed, what was expected, what was found and where, and what to do next. On the
command line a `TextclfError` becomes one message and an exit code; a traceback appears only with `--debug`.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence


class TextclfError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        exit_code: What a command returns to the shell: 2 for the user's mistake, 1 for a failure.
    """

    exit_code = 1


class ConfigError(TextclfError):
    """A configuration cannot be used. The message lists every problem, not only the first."""

    exit_code = 2


class DataError(TextclfError):
    """A data set cannot be used as it is: columns, labels, encoding, format or amount."""

    exit_code = 2


class HubError(TextclfError):
    """A model or data set could be fetched from none of its sources. The message lists the attempts."""


class IntegrityError(HubError):
    """A file arrived with another sha256 than expected."""


class ModelError(TextclfError):
    """A model folder or its weights cannot be used."""


class ModelNotFoundError(TextclfError):
    """No registered model version stands behind the asked name and alias."""

    exit_code = 2


class StorageError(TextclfError):
    """Reading or writing on disk failed: disk full, no permission, damaged file."""


class TransientError(TextclfError):
    """Input or output failed in a way that may pass; the tasks retry this and nothing else."""


class HubUnreachableError(HubError, TransientError):
    """Every source failed in a way that may pass: refused, silent, overloaded, or cut off."""


class TrackingError(TransientError):
    """MLflow's store could not take what had to be written to it."""


class TrackingRefusedError(TextclfError):
    """MLflow refuses a name or value; trying again does not help."""


def redacted(text: str) -> str:
    """Takes user names, passwords and queries, which may hold tokens and signatures, out of the addresses in a text.

    Example:
        >>> redacted("postgresql://mlflow:secret@database/mlflow is locked")
        'postgresql://***@database/mlflow is locked'
        >>> redacted("404 for https://cdn.example/file?Signature=secret&Expires=1")
        '404 for https://cdn.example/file?***'
    """
    # SQLAlchemy takes a slash in a password. Libraries print the query without the host, too.
    text = re.sub(r"://(?:[^/\s]*|[^/:\s]*:[^\s'\"]*)@", "://***@", text)
    return re.sub(r"[?#][\w.~%+-]+=[^\s'\"<>)]*", "?***", text)


def redacted_traceback(error: BaseException) -> str:
    """Writes out an exception with all that led to it, for `--debug`."""
    return redacted("".join(traceback.format_exception(error)))


def first_lines(problems: Sequence[str], limit: int = 10) -> str:
    """Joins many problems into one message: the first few as list items, then how many more there are.

    Args:
        problems: One sentence each.
        limit: How many are written out.

    Returns:
        Lines that begin with `  - `.

    Example:
        >>> print(first_lines(["row 1 is empty", "row 5 is empty", "row 9 is empty"], limit=2))
          - row 1 is empty
          - row 5 is empty
          - and 1 more
    """
    lines = [f"  - {problem}" for problem in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"  - and {len(problems) - limit:,} more")
    return "\n".join(lines)
