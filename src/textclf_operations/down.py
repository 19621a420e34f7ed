"""`textclf down`: ends what `textclf up` has started."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from textclf.config import Parser
from textclf.config.home import Home
from textclf.errors import TextclfError
from textclf.language import _
from textclf_operations import processes
from textclf_operations.findings import paragraph
from textclf_operations.processes import PATIENCE_SECONDS

EXAMPLES = """\
  textclf down
  TEXTCLF_HOME=/srv/textclf textclf down
"""


class NotStoppedError(TextclfError):
    """`textclf up` does not end."""


def main(arguments: Sequence[str]) -> int:
    """Ends `textclf up` of this home, or what is left of one that was killed.

    Returns:
        0, also if nothing runs.

    Raises:
        NotStoppedError: It does not end.
    """
    parser = Parser(
        prog="textclf down",
        description=paragraph(
            _(
                "Stops what `textclf up` has started in this home, and nothing else: first the schedules, whose run "
                "keeps what it has done, then the servers. Servers that it has only found go on."
            )
        ),
        epilog=_("examples:") + f"\n{EXAMPLES}",
        allow_abbrev=False,
    )
    parser.parse_args(arguments)
    home = Home.from_environment()
    try:
        with processes.alone(home):
            start = processes.read(home)
            count = processes.stop(start.id, start.programs, patience_seconds=PATIENCE_SECONDS) if start else 0
            processes.forget(home)
    except processes.AnotherHolds:
        return _end_up(home)
    if count:
        print(_("Stopped {count} processes of a `textclf up` that was killed.").format(count=count))
    else:
        print(_("Nothing that `textclf up` started is running in {home}.").format(home=home.root))
    return 0


def _end_up(home: Home) -> int:
    start = processes.read(home)
    process = processes.process_of(start) if start else None
    if process is None:
        raise NotStoppedError(f"`textclf up` in {home.root} is about to start or to stop; try again in a moment.")
    print(_("Stopping `textclf up` (process {process}) …").format(process=process.pid), flush=True)
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)
    # It stops three programs, one after the other.
    deadline = time.monotonic() + 4 * PATIENCE_SECONDS
    while processes.is_up(home):
        if time.monotonic() > deadline:
            raise NotStoppedError(f"`textclf up` (process {process.pid}) does not stop; see {home.logs}.")
        time.sleep(0.2)
    print(_("Stopped."))
    return 0
