"""The exceptions that textclf raises.

Each message says what failed, what was expected, what was found and where, and what to do next. On the command line,
a `TextclfError` becomes one message and an exit code; a traceback appears only with `--debug`.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence


class TextclfError(Exception):
    """Base of all errors that textclf raises.

    Attributes:
        exit_code: Exit code of a command: 2 for a mistake by the user, 1 for a failure.
    """

    exit_code = 1


class ConfigError(TextclfError):
    """A configuration cannot be used. The message lists all problems."""

    exit_code = 2


class DataError(TextclfError):
    """A data set cannot be used: columns, labels, encoding, format or size."""

    exit_code = 2


class EmptyFileError(DataError):
    """A data file has neither columns nor rows."""


class HubError(TextclfError):
    """A model or data set could not be fetched from any source. The message lists the attempts."""


class IntegrityError(HubError):
    """A file does not have the expected content."""


class ModelError(TextclfError):
    """A model folder or its weights cannot be used."""


class EngineUnavailable(ModelError):
    """An exported engine cannot be used on this machine: not installed, damaged, or made for another version.

    The model itself may be intact: with torch, it still predicts.
    """


class ExportError(ModelError):
    """An engine could not be exported."""


class ModelNotFoundError(TextclfError):
    """No registered model version has the requested name and alias."""

    exit_code = 2


class JobNotFoundError(TextclfError):
    """No prediction job, or more than one, is called so."""

    exit_code = 2


class MissingPackageError(TextclfError):
    """A package is needed that this installation does without. The message names it and the extra that has it."""

    exit_code = 2


class StorageError(TextclfError):
    """Reading or writing on disk failed: disk full, no permission, damaged file."""


class TransientError(TextclfError):
    """Input or output failed in a way that may be temporary; the tasks retry only this."""


class HubUnreachableError(HubError, TransientError):
    """Every source failed in a way that may be temporary: refused, silent, overloaded, or cut off."""


class TrackingError(TransientError):
    """MLflow or its store failed in a way that may be temporary."""


class TrackingRefusedError(TextclfError):
    """MLflow refused a name or value; trying again does not help."""


class SomeFilesFailedError(TextclfError):
    """Files of a folder could not be predicted, for reasons that are not in them; the others are done."""


def redacted(text: str) -> str:
    """Removes user names, passwords and queries, which may contain tokens and signatures, from addresses in a text.

    Example:
        >>> redacted("postgresql://mlflow:secret@database/mlflow is locked")
        'postgresql://***@database/mlflow is locked'
        >>> redacted("404 for https://cdn.example/file?Signature=secret&Expires=1")
        '404 for https://cdn.example/file?***'
    """
    # SQLAlchemy accepts a slash in a password. Libraries also print the query without the host.
    text = re.sub(r"://(?:[^/\s]*|[^/:\s]*:[^\s'\"]*)@", "://***@", text)
    return re.sub(r"[?#][\w.~%+-]+=[^\s'\"<>)]*", "?***", text)


def redacted_traceback(error: BaseException) -> str:
    """Formats an exception and its causes for `--debug`."""
    return redacted("".join(traceback.format_exception(error)))


def follows_from_interrupt(error: BaseException) -> bool:
    """Returns whether an exception was raised because of Ctrl-C.

    `torch.save` raises RuntimeError ("unexpected pos") if it is interrupted while it writes.
    """
    earlier: BaseException | None = error
    while earlier is not None and not isinstance(earlier, KeyboardInterrupt):
        earlier = earlier.__cause__ or earlier.__context__
    return earlier is not None


def first_lines(problems: Sequence[str], limit: int = 10) -> str:
    """Formats the first `limit` problems as list items, followed by the number of the others.

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
