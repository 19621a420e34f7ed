"""The page of `textclf status` for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from textclf.language import _
from textclf.tables import align, display_width, one_line
from textclf_operations.findings import cut, finding_lines, wrapped
from textclf_operations.holdings import Rows
from textclf_operations.schedules import RunFacts, ScheduleFacts
from textclf_operations.times import clock, duration

if TYPE_CHECKING:
    from textclf_operations.status import Status


def status_page(status: Status) -> str:
    """Formats everything, what is wrong first."""
    heading = _("textclf {version}, {home}, {time}").format(
        version=status.version, home=status.home, time=clock(status.time)
    )
    parts = [
        (_("What runs"), list(_servers(status))),
        (_("Schedules"), [line for schedule in status.schedules for line in _schedule(schedule)]),
        (_("Models"), _models(status)),
        (_("Predictions"), list(_predictions(status))),
        (_("Disk"), _disk(status)),
        (_("Versions"), _versions(status)),
    ]
    shown = [(heading, finding_lines(status.findings)), *(part for part in parts if part[1])]
    return "\n".join("\n".join(map(cut, [title, *lines, ""])) for title, lines in shown)


def _servers(status: Status) -> Iterator[str]:
    servers = status.servers
    rows = [
        ("textclf up", _("is running") if servers.up else _("is not running")),
        ("Prefect", servers.prefect or "–"),
        ("MLflow", servers.mlflow or "–"),
    ]
    for title, text in rows:
        yield f"  {title:<12}{text}"


def _schedule(schedule: ScheduleFacts) -> Iterator[str]:
    zone = schedule.timezone
    yield "  " + _("{name}: {crons} ({timezone})").format(
        name=schedule.name, crons=", ".join(schedule.crons) or _("paused"), timezone=zone or "UTC"
    )
    rows = [(_("runs now"), run) for run in schedule.running]
    if schedule.last:
        rows.append((_("last"), schedule.last))
    for title, run in rows:
        yield f"    {_padded(title)}{clock(run.start, zone)}  {_outcome(run)}"
        if run.message:
            yield f"    {_padded('')}{one_line(run.message)}"
    if schedule.next:
        yield f"    {_padded(_('next'))}{clock(schedule.next.start, zone)}"


def _outcome(run: RunFacts) -> str:
    return run.state if run.seconds is None else f"{run.state}, {duration(run.seconds)}"


def _padded(title: str) -> str:
    return title + " " * max(1, 10 - display_width(title))


def _models(status: Status) -> list[str]:
    if not status.models:
        return []
    rows = [[_("model"), _("champion"), _("since"), _("data"), _("score")]]
    for model in status.models:
        score = "–" if model.score is None else f"{model.score:.4f} {model.metric}"
        version = "–" if model.version is None else str(model.version)
        since = "–" if model.since is None else f"{model.since.astimezone():%Y-%m-%d}"
        rows.append([model.name, version, since, model.data_version or "–", score])
    return [f"  {line}" for line in align(rows, text_columns=5).splitlines()]


def _predictions(status: Status) -> Iterator[str]:
    if status.refused:
        yield "  " + _("refused files in the input folders: {count:,}").format(count=len(status.refused))
    if status.last_run is None:
        yield "  " + _("Nothing has been predicted yet.")
        return
    rows = [["", _("files"), _("read"), _("predicted"), _("quarantined")]]
    last = _("last run, {time}").format(time=clock(status.last_run.until))
    rows += [_row(last, status.last_run), _row(_("last 30 days"), status.last_30_days)]
    yield from (f"  {line}" for line in align(rows).splitlines())


def _row(title: str, rows: Rows) -> list[str]:
    return [title, *(f"{count:,}" for count in (rows.files, rows.read, rows.predicted, rows.quarantined))]


def _disk(status: Status) -> list[str]:
    rows = [[_("part"), "MB"], *([name, f"{size / 1e6:,.1f}"] for name, size in status.disk.parts.items())]
    table = align(rows).splitlines() if status.disk.parts else []
    free = _("{free:,.1f} of {total:,.1f} GB are free").format(
        free=status.disk.free / 1e9, total=status.disk.total / 1e9
    )
    return [*(f"  {line}" for line in table), f"  {free}"]


def _versions(status: Status) -> list[str]:
    text = ", ".join(f"{name} {version}" for name, version in status.versions.items())
    return wrapped(text, first="  ", rest="  ")
