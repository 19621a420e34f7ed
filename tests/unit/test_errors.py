"""The exception tree: what is retried, and what a shell gets to see."""

from __future__ import annotations

import inspect

import pytest

from textclf import errors
from textclf.errors import (
    ConfigError,
    DataError,
    HubError,
    HubUnreachableError,
    IntegrityError,
    JobNotFoundError,
    MissingPackageError,
    ModelNotFoundError,
    StorageError,
    TextclfError,
    TrackingError,
    TransientError,
    first_lines,
    redacted,
    redacted_traceback,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_one_tree_with_an_exit_code(kind: type[TextclfError]) -> None:
    assert issubclass(kind, TextclfError)
    mistakes = (ConfigError, DataError, JobNotFoundError, MissingPackageError, ModelNotFoundError)
    assert kind.exit_code == (2 if issubclass(kind, mistakes) else 1)
    assert kind.__doc__


def test_only_what_may_pass_is_retried() -> None:
    assert {kind for kind in ALL if issubclass(kind, TransientError)} == {
        TransientError,
        HubUnreachableError,
        TrackingError,
    }
    assert not issubclass(IntegrityError, TransientError)
    assert not issubclass(StorageError, TransientError)
    assert issubclass(HubUnreachableError, HubError)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://mlflow:se/cr@t@database/mlflow is locked", "postgresql://***@database/mlflow is locked"),
        ("http://me:x@a/b, https://you@c?token=x&y=1 (why)", "http://***@a/b, https://***@c?*** (why)"),
        (
            "Max retries exceeded with url: /f?X-Amz-Signature=x&E=1 (Caused",
            "Max retries exceeded with url: /f?*** (Caused",
        ),
        ("a/b@main at https://hf-mirror.com:443/x", "a/b@main at https://hf-mirror.com:443/x"),
        ("is it 1? yes: a=1 #2", "is it 1? yes: a=1 #2"),
    ],
)
def test_addresses_show_no_secret(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_a_traceback_shows_no_secret() -> None:
    try:
        try:
            raise OSError("http://me:hunter2@tracking refused")
        except OSError as cause:
            raise TrackingError("MLflow failed") from cause
    except TrackingError as error:
        lines = redacted_traceback(error)
    assert "OSError: http://***@tracking refused" in lines
    assert "TrackingError: MLflow failed" in lines


def test_many_problems_make_one_message() -> None:
    problems = [f"row {row} is empty" for row in range(1, 1235)]
    lines = first_lines(problems).splitlines()
    assert lines[0] == "  - row 1 is empty"
    assert lines[9] == "  - row 10 is empty"
    assert lines[10:] == ["  - and 1,224 more"]
    assert first_lines(problems[:10]).splitlines()[-1] == "  - row 10 is empty"
    assert first_lines([]) == ""
