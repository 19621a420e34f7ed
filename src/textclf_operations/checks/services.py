"""Checks MLflow's store, Prefect's server, the ports of `textclf up`, and the receivers of alerts."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from urllib.error import URLError

from textclf.config.home import Environment, Home, without_credentials
from textclf.errors import ConfigError, TextclfError, redacted
from textclf.language import _
from textclf_operations import processes
from textclf_operations.findings import Finding
from textclf_operations.servers import MLFLOW_PORT, PREFECT_PORT, configured_prefect, fetch, is_free, port_owner
from textclf_operations.status import versions

_LOCK_SECONDS = 3


def check_services(home: Home, environment: Environment) -> list[Finding]:
    """Looks at what runs are recorded in, and at what `textclf up` starts."""
    up = processes.read(home) if processes.is_up(home) else None
    return [
        _store(home),
        _prefect(up.api if up else configured_prefect()),
        *_ports(up is not None),
        _alerts(environment),
    ]


def _store(home: Home) -> Finding:
    from textclf.tracking.store import TrackingStore

    uri = redacted(home.tracking_uri)
    path = home.store_file
    if path and not path.exists():
        text = _("MLflow's store {uri} does not exist yet; the first training makes it.").format(uri=uri)
        return Finding(key="store", level="ok", text=text)
    try:
        TrackingStore.open(home)
        if path:
            with contextlib.closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
    except (TextclfError, sqlite3.Error) as error:
        text, *advice = str(error).splitlines()
        return Finding(
            key="store",
            level="problem",
            text=_("MLflow's store {uri} cannot be used: {reason}").format(uri=uri, reason=text),
            advice=" ".join(advice) or _("Another program holds it, or it is damaged: see docs/operations.md."),
        )
    return Finding(key="store", level="ok", text=_("MLflow's store {uri} opens.").format(uri=uri))


def _prefect(api: str | None) -> Finding:
    if api is None:
        return Finding(
            key="prefect",
            level="ok",
            text=_("No Prefect server is set: each command starts a temporary one, and nothing is scheduled."),
            advice=_("For schedules and pages: `textclf up`."),
        )
    shown = without_credentials(api)
    try:
        server = json.loads(fetch(f"{api}/admin/version"))
    except (URLError, OSError, ValueError) as error:
        return Finding(
            key="prefect",
            level="problem",
            text=_("The Prefect server at {address} does not answer: {reason}").format(
                address=shown, reason=redacted(str(error))
            ),
            advice=_("Start it (`textclf up`), or correct or unset PREFECT_API_URL."),
        )
    here = versions()["prefect"]
    text = _("The Prefect server at {address} answers, version {version}.").format(address=shown, version=server)
    if server == here:
        return Finding(key="prefect", level="ok", text=text)
    advice = _("Version {version} is installed here; use the same on both sides.").format(version=here)
    return Finding(key="prefect", level="warning", text=text, advice=advice)


def _ports(up: bool) -> list[Finding]:
    if up:
        return [Finding(key="ports", level="ok", text=_("`textclf up` is running in this home."))]
    findings = []
    for port, option in ((PREFECT_PORT, "--prefect-port"), (MLFLOW_PORT, "--mlflow-port")):
        if is_free(port):
            text = _("Port {port} is free for `textclf up`.").format(port=port)
            findings.append(Finding(key=f"port-{port}", level="ok", text=text))
        else:
            text = _("Port {port} is in use by {owner}.").format(port=port, owner=port_owner(port) or "?")
            advice = _("`textclf up` takes the next free one, or the one of {option}.").format(option=option)
            findings.append(Finding(key=f"port-{port}", level="warning", text=text, advice=advice))
    return findings


def _alerts(environment: Environment) -> Finding:
    from textclf.alerts import check_addresses

    try:
        services = check_addresses(environment.textclf_alerts)
    except ConfigError as error:
        text, *advice = str(error).splitlines()
        return Finding(key="alerts", level="problem", text=text, advice=" ".join(advice))
    if services:
        text = _("Alerts go to {services} (the addresses are understood; nothing was sent).")
        return Finding(key="alerts", level="ok", text=text.format(services=", ".join(services)))
    return Finding(key="alerts", level="ok", text=_("Alerts are off: TEXTCLF_ALERTS has no addresses."))
