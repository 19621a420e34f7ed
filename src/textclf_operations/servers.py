"""How `textclf up` starts Prefect's server, MLflow's server and the schedules, or finds servers that exist."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener, getproxies_environment

import psutil

from textclf.config.home import Environment, Home
from textclf.errors import ConfigError, TextclfError, redacted
from textclf.extras import require
from textclf_operations.programs import Program

HOST = "127.0.0.1"
PREFECT_PORT, MLFLOW_PORT = 4200, 5000
_PORTS_TRIED = 50
PYTHON = (sys.executable, "-P", "-m")
"""Runs a module; a file in the current directory is not imported instead of an installed one."""
# MLflow accepts only `true` in DO_NOT_TRACK.
WITHOUT_TELEMETRY = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def _surroundings() -> dict[str, str]:
    """Returns what all three programs get: no telemetry, and no proxy between them."""
    without_proxy = ",".join(filter(None, (getproxies_environment().get("no"), HOST, "localhost")))
    return {**WITHOUT_TELEMETRY, "NO_PROXY": without_proxy, "no_proxy": without_proxy}


class ServerAwayError(TextclfError):
    """A server that is given in the environment does not answer."""


def configured_prefect() -> str | None:
    """Returns the Prefect API that the environment or Prefect's profile names."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def find_prefect(port: int | None) -> tuple[str, int | None]:
    """Decides which Prefect server is used.

    Returns:
        The address of its API, and the port on which it must be started; None if it is running.

    Raises:
        ServerAwayError: PREFECT_API_URL names a server on another machine that does not answer.
        ConfigError: The port is in use.
    """
    api = configured_prefect()
    if api is None:
        port = free_port(port, PREFECT_PORT, "--prefect-port")
        return f"http://{HOST}:{port}/api", port
    api = api.rstrip("/")
    if answers(f"{api}/health"):
        return api, None
    parts = urlsplit(api)
    if is_here(api) and parts.scheme == "http" and parts.path == "/api":
        port = free_port(port or parts.port or 80, PREFECT_PORT, "--prefect-port, or PREFECT_API_URL,")
        return f"http://{HOST}:{port}/api", port
    raise ServerAwayError(
        f"The Prefect server at {api} does not answer; PREFECT_API_URL or the Prefect profile names it.\n"
        "Start it, correct the address, or unset it: `textclf up` then starts a server on this machine."
    )


def find_mlflow(home: Home, port: int | None) -> tuple[str, int | None]:
    """Decides which MLflow server is used.

    Returns:
        The address of its page, and the port on which it must be started; None if MLFLOW_TRACKING_URI names a server.

    Raises:
        ServerAwayError: That server does not answer.
        ConfigError: The port is in use.
        MissingPackageError: A server must be started, and this installation has only MLflow's client.
    """
    if not home.tracking_uri.startswith("http"):
        require("mlflow", purpose="MLflow's server")
        port = free_port(port, MLFLOW_PORT, "--mlflow-port")
        return f"http://{HOST}:{port}", port
    if not answers(f"{home.tracking_uri.rstrip('/')}/health"):
        raise ServerAwayError(
            f"The MLflow server at {redacted(home.tracking_uri)} does not answer; MLFLOW_TRACKING_URI names it.\n"
            "Start it, correct the address, or unset it: `textclf up` then starts a server on this machine."
        )
    return (home.mlflow_page or home.tracking_uri).rstrip("/"), None


def prefect_program(home: Home, api: str, port: int) -> Program:
    """Returns Prefect's server, with its database in the home unless the user has chosen another."""
    from prefect.settings import get_current_settings

    chosen = get_current_settings().server.database.model_fields_set & {"connection_url", "driver", "host", "name"}
    folder = home.prefect
    folder.mkdir(exist_ok=True)
    pages = ",".join(f"http://{host}:{port}" for host in (HOST, "localhost"))
    return Program(
        title="Prefect",
        command=(*PYTHON, "prefect", "server", "start", "--host", HOST, "--port", str(port)),
        changes={
            **_surroundings(),
            "PREFECT_API_URL": api,
            "PREFECT_SERVER_UI_API_URL": api,
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(_pages(home)),
            # As in prefect.toml: by default, any web page that is open on this machine could start runs.
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": pages,
            "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        }
        | ({} if chosen else {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db"}),
        log=home.logs / "prefect.log",
    )


def silence_pages(home: Home) -> None:
    """Keeps Prefect's pages from asking the host of its analytics, which no setting prevents in Prefect 3.8.

    The running server has copied the pages into the home; without the key of the service, they do not load its client.
    """
    for script in (_pages(home) / "v2" / "assets").glob("index-*.js"):
        text = script.read_text(encoding="utf-8")
        silent = re.sub(r"return`[0-9a-f]{32}`", "return``", text)
        if silent != text:
            script.write_text(silent, encoding="utf-8")


def _pages(home: Home) -> Path:
    return home.prefect / "pages"


def mlflow_program(home: Home, port: int) -> Program:
    """Returns MLflow's server for the store of the home."""
    options = ("--artifacts-destination", str(home.artifacts), "--workers", "1")
    return Program(
        title="MLflow",
        command=(*PYTHON, "mlflow", "server", "--host", HOST, "--port", str(port), *options),
        changes={
            **_surroundings(),
            # Not on the command line: the address may contain a password.
            "MLFLOW_BACKEND_STORE_URI": home.tracking_uri,
            # Jobs for traces of language models: seven processes that nothing here uses.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        log=home.logs / "mlflow.log",
    )


def schedules_program(home: Home, api: str, mlflow_page: str, arguments: Sequence[str]) -> Program:
    """Returns the program that runs what is due."""
    page = Environment().mlflow_ui_url or mlflow_page
    return Program(
        title="Schedules",
        command=(*PYTHON, "textclf_operations.serve", *arguments),
        changes={
            **_surroundings(),
            "PREFECT_API_URL": api,
            "MLFLOW_UI_URL": page,
            "TEXTCLF_HOME": str(home.root),
            "PYTHONUNBUFFERED": "1",
        },
        log=home.logs / "schedules.log",
    )


def fetch(address: str) -> bytes:
    """Reads what a server answers; no proxy is between it and a server on this machine.

    Raises:
        URLError: It does not answer, or with an error.
    """
    opener = build_opener(ProxyHandler({})) if is_here(address) else build_opener()
    with opener.open(Request(address, headers={"User-Agent": "textclf"}), timeout=5) as response:
        content: bytes = response.read()
        return content


def answers(address: str) -> bool:
    """Whether a server answers without an error."""
    try:
        fetch(address)
        return True
    except HTTPError as error:
        error.close()
        return error.code < 500
    except (URLError, OSError, ValueError):
        return False


def is_here(address: str) -> bool:
    """Whether an address is on this machine."""
    return urlsplit(address).hostname in (HOST, "localhost")


def free_port(asked: int | None, default: int, option: str) -> int:
    """Returns the port that was asked for, or the first free one from the default on.

    Raises:
        ConfigError: The port that was asked for is in use, or all that were tried.
    """
    if asked is not None:
        if not is_free(asked):
            raise ConfigError(
                f"Port {asked} of this machine is in use{_by(asked)}.\n"
                f"Choose another with {option} or stop that program; without the option a free port is chosen."
            )
        return asked
    for port in range(default, default + _PORTS_TRIED):
        if is_free(port):
            return port
    raise ConfigError(f"Ports {default} to {default + _PORTS_TRIED - 1} are all in use; choose one with {option}.")


def port_owner(port: int) -> str | None:
    """Names the process that listens on a port of this machine, if this user may see it."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return f"{process.name()} (process {process.pid})"
    return None


def _by(port: int) -> str:
    owner = port_owner(port)
    return f" by {owner}" if owner else ""


def is_free(port: int) -> bool:
    """Whether no program listens on a port of this machine."""
    with socket.socket() as probe:
        # As the servers do: connections of an earlier server that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
