"""`textclf down`: ends what `textclf up` has started."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence

import psutil

from textclf.config.home import Home
from textclf.errors import TextclfError
from textclf.language import _
from textclf_operations import processes
from textclf_operations.up import PATIENCE_SECONDS

EXAMPLES = """\
examples:
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
    parser = argparse.ArgumentParser(
        prog="textclf down",
        description=_(
            "Stops what `textclf up` has started in this home, and nothing else: first the schedules, whose run keeps "
            "what it has done, then the servers. Servers that it has only found go on."
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    if start is None:
        raise NotStoppedError(f"`textclf up` in {home.root} is about to start or to stop; try again in a moment.")
    print(_("Stopping `textclf up` (process {process}) …").format(process=start.process), flush=True)
    try:
        up = psutil.Process(start.process)
        up.send_signal(signal.SIGTERM)
        # It stops three programs, one after the other.
        up.wait(timeout=4 * PATIENCE_SECONDS)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired as error:
        raise NotStoppedError(f"`textclf up` (process {start.process}) does not stop; see {home.logs}.") from error
    print(_("Stopped."))
    return 0
