"""Run a flow from the command line: reads the configuration, prints the result, returns an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prefect import Flow
from prefect.logging.configuration import setup_logging
from prefect.settings import (
    PREFECT_LOGGING_EXTRA_LOGGERS,
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    PREFECT_SERVER_CSRF_PROTECTION_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from flows.run_logs import RunFailed, set_level
from flows.stopping import stopping
from flows.temporary_server import start_while_importing
from textclf.config import AdaptConfig, Home, PredictConfig, TrainConfig, anchor, choose_language, parse_command_line
from textclf.errors import TextclfError, redacted_traceback
from textclf.language import _

Config = TypeVar("Config", TrainConfig, PredictConfig, AdaptConfig)
Result = TypeVar("Result")


def launch(
    flow: Flow[[Config], Any],
    model: type[Config],
    *,
    program: str,
    default_file: Path | None,
    examples: str,
    check: Callable[[Config], object],
    closing: Callable[[Config, Result, Home], str],
    libraries: Sequence[str] = (),
    exit_code: Callable[[Result], int] = lambda result: 0,
) -> int:
    """Reads the command-line arguments, runs the flow, and prints the result.

    Args:
        flow: Takes the configuration as its only parameter.
        model: The configuration class.
        program: The command that users type.
        default_file: Used without `--config`; None uses the defaults.
        examples: Command lines for `--help`.
        check: Raises mistakes that can be found before Prefect starts; gets the configuration with absolute paths.
        closing: Formats the closing message.
        libraries: Modules that the flow needs and that take long to import.
        exit_code: The exit code of a run that ended well.

    Returns:
        The exit code: that of a run that ended well, 2 for the user's mistake, or 1 for a failure. Ctrl-C ends the
        process with 130, SIGTERM with 143.
    """
    debug = "--debug" in sys.argv
    try:
        choose_language()
        config = parse_command_line(
            model,
            sys.argv[1:],
            program=program,
            description=_(description) if (description := flow.description) else "",
            examples=examples,
            default_file=default_file,
        )
        choose_language(config.language)
        home = Home.from_environment()
        check(anchor(config, home.root))
        with stopping(), temporary_settings(_settings()):
            setup_logging(incremental=False)
            set_level(debug)
            start_while_importing(libraries)
            result: Any = flow(config)
            message = closing(config, result, home)
    except RunFailed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return failure.exit_code
    except TextclfError as error:
        if debug:
            print(redacted_traceback(error), file=sys.stderr)
        print(f"\n{error}", file=sys.stderr)
        return error.exit_code
    print(f"\n{message}")
    return exit_code(result)


def _settings() -> dict[Any, Any]:
    return {
        # The first start of the temporary server creates a database, which takes 30 s on a slow machine.
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180,
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        # The temporary server serves no page; by default, any web page open in a browser could start runs on it.
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS: "http://127.0.0.1",
        PREFECT_SERVER_CSRF_PROTECTION_ENABLED: True,
        PREFECT_LOGGING_EXTRA_LOGGERS: ["textclf"],
        # What the library logs while the closing message is made belongs to no run.
        PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore",
    }
