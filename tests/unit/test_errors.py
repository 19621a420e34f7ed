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
    ModelNotFoundError,
    StorageError,
    TextclfError,
    TrackingError,
    TransientError,
    first_lines,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_one_tree_with_an_exit_code(kind: type[TextclfError]) -> None:
    assert issubclass(kind, TextclfError)
    assert kind.exit_code == (2 if kind in (ConfigError, DataError, ModelNotFoundError) else 1)
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


def test_many_problems_make_one_message() -> None:
    problems = [f"row {row} is empty" for row in range(1, 1235)]
    lines = first_lines(problems).splitlines()
    assert lines[0] == "  - row 1 is empty"
    assert lines[9] == "  - row 10 is empty"
    assert lines[10:] == ["  - and 1,224 more"]
    assert first_lines(problems[:10]).splitlines()[-1] == "  - row 10 is empty"
    assert first_lines([]) == ""
