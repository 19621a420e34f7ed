"""`textclf status`: what is wrong, what runs, and what there is, on one page."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from uuid import UUID

from httpx import HTTPError

from flows.running import is_dead
from textclf import __version__
from textclf.config import Parser
from textclf.config.home import Home, without_credentials
from textclf.errors import TextclfError, redacted
from textclf.language import _, ngettext
from textclf.records import Record
from textclf.registry.champions import Champion, champions
from textclf.tracking.store import TrackingStore
from textclf_operations import processes
from textclf_operations.checks.home import about_space
from textclf_operations.findings import Finding, Level, closing, paragraph, worst
from textclf_operations.holdings import Disk, Rows, disk, refused_files, rows_predicted
from textclf_operations.schedules import ScheduleFacts, client_of, schedule_facts
from textclf_operations.servers import answers, configured_prefect
from textclf_operations.status_page import status_page
from textclf_operations.times import clock

EXAMPLES = """\
  textclf status
  textclf status --json | jq .findings
  TEXTCLF_HOME=/srv/textclf textclf status || mail -s "textclf needs you" ops@example.com
"""
FINE_STATES = ("Completed", "Cancelled")
PACKAGES = ("prefect", "mlflow", "torch", "transformers")


class Servers(Record):
    """What runs, and where it answers."""

    up: bool
    """Whether `textclf up` is running in this home."""
    api: str | None
    prefect: str | None
    """None if it does not answer."""
    mlflow: str | None


class Status(Record):
    """Everything that `textclf status` shows; the keys of `--json`."""

    version: str
    home: str
    time: datetime
    findings: tuple[Finding, ...]
    """What is wrong, the worst first."""
    servers: Servers
    schedules: tuple[ScheduleFacts, ...]
    models: tuple[Champion, ...]
    last_run: Rows | None
    """Rows of the last prediction that finished a file."""
    last_30_days: Rows
    refused: dict[str, str]
    """Files in the input folders that cannot be predicted, with the reason."""
    disk: Disk
    versions: dict[str, str]


def main(arguments: Sequence[str]) -> int:
    """Prints the status.

    Returns:
        1 if there is a problem, else 0, also with warnings.
    """
    parser = Parser(
        prog="textclf status",
        description=paragraph(
            _("Shows what is wrong, what runs, the last and next runs, the champions, the rows predicted, the disk.")
        ),
        epilog=paragraph(
            _(
                "Exit code 1 if there is a problem (✗): a run is late, has failed or has died, nothing runs what is "
                "due, a server or the store does not answer, hardly any disk space is left. Warnings (!) do not count."
            )
        )
        + "\n\n"
        + _("examples:")
        + f"\n{EXAMPLES}",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help=_("print everything as JSON, for programs"))
    options = parser.parse_args(arguments)
    status = collect(Home.from_environment())
    if options.json:
        print(json.dumps(status.model_dump(mode="json"), ensure_ascii=False, indent=1))
    else:
        print(status_page(status))
        print(closing(status.findings))
    return 1 if worst(status.findings) == "problem" else 0


def collect(home: Home) -> Status:
    """Looks at every part; one that is away becomes a finding, and the others are shown."""
    findings: list[Finding] = []
    servers, schedules = _servers_and_schedules(home, findings)
    models = _models(home, findings)
    last_run, last_30_days = rows_predicted(home)
    refused = refused_files(home)
    space = disk(home)
    findings += _about_schedules(schedules, home)
    if refused:
        findings.append(_about_refused(refused))
    if (room := about_space(home.root)).level != "ok":
        findings.append(room)
    order = ("problem", "warning", "ok")
    return Status(
        version=__version__,
        home=str(home.root),
        time=datetime.now(UTC),
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.level))),
        servers=servers,
        schedules=schedules,
        models=models,
        last_run=last_run,
        last_30_days=last_30_days,
        refused=refused,
        disk=space,
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Returns the versions of textclf, Python and the packages that matter most."""
    packages = {name: package_version(name) for name in PACKAGES}
    return {"textclf": __version__, "python": platform.python_version(), **packages}


def _servers_and_schedules(home: Home, findings: list[Finding]) -> tuple[Servers, tuple[ScheduleFacts, ...]]:
    start, up = processes.read(home), processes.is_up(home)
    api = start.api if up and start and start.api else configured_prefect()
    # MLFLOW_UI_URL is for people's browsers, and may not be reachable from here (in a container).
    server = without_credentials(home.tracking_uri) if home.tracking_uri.startswith("http") else home.mlflow_page
    mlflow = start.mlflow if up and start else server
    if start and not up:
        findings.append(
            Finding(
                key="up",
                level="problem",
                text=_("`textclf up` was killed, and what it had started may go on unattended."),
                advice=_("Start it again with `{command}`, or clean up with `textclf down`.").format(
                    command=shlex.join(["textclf", "up", *start.arguments])
                ),
            )
        )
    if mlflow and not answers(f"{mlflow}/health"):
        findings.append(
            Finding(
                key="mlflow",
                level="problem",
                text=_("MLflow's server at {address} does not answer.").format(address=mlflow),
                advice=_("Look at its log in {folder}.").format(folder=home.logs) if up else _("Start it."),
            )
        )
        mlflow = None
    if api is None:
        text = _("No Prefect server is known here: nothing is scheduled.")
        if start and start.api:
            # It may answer, but belong to another home now.
            text = _(
                "No Prefect server is known here; the last one, that of the killed `textclf up`, was {api}."
            ).format(api=without_credentials(start.api))
        findings.append(
            Finding(
                key="prefect",
                level="warning",
                text=text,
                advice=_("Start `textclf up`, or set PREFECT_API_URL to the server that runs the schedules."),
            )
        )
        return Servers(up=up, api=None, prefect=None, mlflow=mlflow), ()
    page = start.prefect if up and start else api.removesuffix("/api")
    try:
        with client_of(api) as client:
            facts = tuple(schedule_facts(client))
    except (OSError, RuntimeError, HTTPError) as error:
        findings.append(
            Finding(
                key="prefect",
                level="problem",
                text=_("The Prefect server at {address} does not answer: {reason}").format(
                    address=without_credentials(api), reason=redacted(str(error)) or type(error).__name__
                ),
                advice=_("Start `textclf up`, or the server that PREFECT_API_URL names."),
            )
        )
        return Servers(up=up, api=api, prefect=None, mlflow=mlflow), ()
    return Servers(up=up, api=api, prefect=page, mlflow=mlflow), facts


def _models(home: Home, findings: list[Finding]) -> tuple[Champion, ...]:
    # Opening a store that does not exist would create it.
    if home.store_file and not home.store_file.exists():
        return ()
    try:
        models = champions(TrackingStore.open(home))
    except TextclfError as error:
        findings.append(
            Finding(
                key="store",
                level="problem",
                text=str(error).splitlines()[0],
                advice=_("Fix MLflow's store; see docs/operations.md."),
            )
        )
        return ()
    for model in models:
        if model.version is None:
            findings.append(
                Finding(
                    key=model.name,
                    level="warning",
                    text=_("The model {name} has no champion: predictions with it fail.").format(name=model.name),
                    advice=_("Train it, or promote a version: textclf models promote NAME/VERSION"),
                )
            )
    return models


def _about_schedules(schedules: Sequence[ScheduleFacts], home: Home) -> Iterator[Finding]:
    for one in schedules:
        name = one.name
        if one.late:
            yield Finding(
                key=name,
                level="problem",
                text=ngettext(
                    "{name}: a run is late, due at {time}.",
                    "{name}: {count} runs are late, the first due at {time}.",
                    len(one.late),
                ).format(name=name, count=len(one.late), time=clock(one.late[0].start, one.timezone)),
                advice=_("Nothing runs what is due: start `textclf up`, or the worker.")
                if not one.served
                else _("An earlier run of it is still going on, or waits."),
            )
        elif not one.served and one.active:
            yield Finding(
                key=name,
                level="problem",
                text=_("{name}: no program runs what is due.").format(name=name),
                advice=_("Start `textclf up`, or the worker of its work pool."),
            )
        for run in one.running:
            if (home.runs / f"{run.id}.json").exists() and is_dead(home, UUID(run.id)):
                yield Finding(
                    key=name,
                    level="problem",
                    text=_("{name}: the process of the run {run} has died, but Prefect shows it as {state}.").format(
                        name=name, run=run.name, state=run.state
                    ),
                    advice=_("Start `textclf up` again: it starts the run again, which goes on where it stopped."),
                )
        if not one.active:
            yield Finding(
                key=name,
                level="warning",
                text=_("{name}: the schedule is paused.").format(name=name),
                advice=_("If that is not intended, switch it on on the deployment's page."),
            )
        if one.last and one.last.state not in FINE_STATES:
            level: Level = "problem" if one.last.type in ("FAILED", "CRASHED") else "warning"
            yield Finding(
                key=name,
                level=level,
                text=_("{name}: the last run, {run}, ended as {state}: {message}").format(
                    name=name, run=one.last.name, state=one.last.state, message=_first_line(one.last.message)
                ),
                advice=_("Its page shows why and how to go on."),
            )


def _about_refused(refused: dict[str, str]) -> Finding:
    name, reason = next(iter(refused.items()))
    return Finding(
        key="refused",
        level="warning",
        text=ngettext(
            "A file of the input folder is refused: {name}: {reason}",
            "{count} files of the input folders are refused, among them {name}: {reason}",
            len(refused),
        ).format(count=len(refused), name=name, reason=reason),
        advice=_("Replace it by a corrected file, or remove it; the page of the last run names all."),
    )


def _first_line(message: str | None) -> str:
    return next(iter((message or "–").strip().splitlines()), "–")
