"""Run a flow from the command line: reads the configuration, prints the result, returns an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from prefect import Flow
from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.runtime import flow_run
from prefect.settings import (
    PREFECT_LOGGING_EXTRA_LOGGERS,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    PREFECT_SERVER_CSRF_PROTECTION_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from flows.stopping import stopping
from textclf.config import Environment, Home, anchor, parse_command_line
from textclf.config.sources import StrictModel
from textclf.errors import TextclfError, redacted_traceback

Config = TypeVar("Config", bound=StrictModel)


def launch(
    flow: Flow[[Config], Any],
    model: type[Config],
    *,
    program: str,
    default_file: Path,
    examples: str,
    check: Callable[[Config], object],
    closing: Callable[[Config, Any, Home], str],
) -> int:
    """Reads the command-line arguments, runs the flow, and prints the result.

    Args:
        flow: Takes the configuration as its only parameter.
        model: The configuration class.
        program: The command that users type.
        default_file: Used without `--config`.
        examples: Command lines for `--help`.
        check: Raises mistakes that can be found before Prefect starts; gets the configuration with absolute paths.
        closing: Formats the closing message.

    Returns:
        The exit code: 0, 2 for the user's mistake, or 1 for a failure. Ctrl-C ends the process with 130, SIGTERM with
        143.
    """
    debug = "--debug" in sys.argv
    try:
        config = parse_command_line(
            model,
            sys.argv[1:],
            program=program,
            description=flow.description or "",
            examples=examples,
            default_file=default_file,
        )
        home = Home.from_environment()
        check(anchor(config, home.root))
        with stopping(), temporary_settings(_settings()):
            setup_logging(incremental=False)
            _quiet(debug)
            result = flow(config)
    except TextclfError as error:
        if debug:
            print(redacted_traceback(error), file=sys.stderr)
        print(f"\n{error}", file=sys.stderr)
        return error.exit_code
    print(f"\n{closing(config, result, home)}")
    return 0


def flow_run_tags() -> dict[str, str]:
    """Returns MLflow tags that identify the current Prefect run."""
    tags = {"prefect.flow_run_id": str(flow_run.get_id()), "prefect.flow_run_name": str(flow_run.get_name())}
    page = flow_run.get_flow_run_ui_url()
    return {**tags, "prefect.flow_run_url": page} if page and Environment().prefect_api_url else tags


def _settings() -> dict[Any, Any]:
    return {
        # The first start of the temporary server creates a database, which takes 30 s on a slow machine.
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180,
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        # The temporary server serves no page; by default, any web page open in a browser could start runs on it.
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS: "http://127.0.0.1",
        PREFECT_SERVER_CSRF_PROTECTION_ENABLED: True,
        PREFECT_LOGGING_EXTRA_LOGGERS: ["textclf"],
    }


def _quiet(debug: bool) -> None:
    logging.getLogger("textclf").setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:
        # Only on the console, where Prefect writes through the root logger; the Prefect UI keeps everything.
        for handler in logging.getLogger().handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    # Our own errors are printed once, at the end; Prefect would print them four times, with tracebacks.
    if record.exc_info and isinstance(record.exc_info[1], TextclfError):
        return False
    return not record.getMessage().startswith("Finished in state Failed")
