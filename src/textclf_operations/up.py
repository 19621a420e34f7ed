"""`textclf up`: Prefect's server, MLflow's server and both schedules on this machine, until it is stopped."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from textclf import store
from textclf.config import Parser
from textclf.config.home import Environment, Home, environment_with
from textclf.errors import TextclfError
from textclf.language import _
from textclf.tables import display_width
from textclf_operations import processes, serve
from textclf_operations.findings import paragraph
from textclf_operations.processes import PATIENCE_SECONDS, Start
from textclf_operations.programs import Program
from textclf_operations.schedules import are_served, client_of, next_runs
from textclf_operations.servers import (
    MLFLOW_PORT,
    PREFECT_PORT,
    PYTHON,
    answers,
    find_mlflow,
    find_prefect,
    mlflow_program,
    prefect_program,
    schedules_program,
    silence_pages,
)
from textclf_operations.times import clock

EXAMPLES = """\
  textclf up
  textclf up --detach
  textclf up --train-config configs/chnsenticorp.yaml --predict-cron "15 6 * * 1-5" --timezone Europe/Berlin
  textclf up --prefect-port 4300 --mlflow-port 5300
"""
SERVED = ("train/local", "predict/local")
"""The deployments of the schedules on this machine."""
DETACH, RESET = "--detach", "--reset-schedules"
TITLE_WIDTH = 16
_START_SECONDS = 300
_LOOK_EVERY_SECONDS = 0.3
_TRIM_EVERY_SECONDS = 60
# Stopped in this order: the schedules tell Prefect that their runs wait for the next start.
_ORDER = ("schedules", "mlflow", "prefect")


class StartTimeoutError(TextclfError):
    """A program did not answer in time."""


def main(arguments: Sequence[str]) -> int:
    """Starts everything, prints the addresses, and keeps it running until Ctrl-C or `textclf down`.

    Returns:
        0 when it was stopped, or if it is running already.

    Raises:
        TextclfError: It cannot be started, or a program ended too often.
    """
    options, for_schedules = _parse(arguments)
    serve.check(options)
    serve.check_adaptation(options)
    home = Home.from_environment()
    try:
        with processes.alone(home):
            if not options.detach:
                _run(options, for_schedules, home, arguments)
                return 0
    except processes.AnotherHolds:
        return _say_that_it_runs(home, arguments)
    return _detach(home, arguments)


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns all options, and the arguments that the schedules get."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument(DETACH, action="store_true", help=_("run in the background; end with `textclf down`"))
    for name, port in (("Prefect", PREFECT_PORT), ("MLflow", MLFLOW_PORT)):
        own.add_argument(
            f"--{name.lower()}-port",
            type=_port,
            metavar="PORT",
            help=_("port of {name} (default: {port}, or the next free one)").format(name=name, port=port),
        )
    parser = Parser(
        prog="textclf up",
        description=paragraph(
            _(
                "Starts Prefect's server, MLflow's server and both schedules on this machine, prints their addresses, "
                "and keeps them running until Ctrl-C or `textclf down`. A server that PREFECT_API_URL or "
                "MLFLOW_TRACKING_URI names is used instead of a new one. Only programs on this machine can reach what "
                "is started."
            )
        ),
        epilog=_("examples:") + f"\n{EXAMPLES}",
        allow_abbrev=False,
        parents=[own],
    )
    serve.add_arguments(parser.add_argument_group(_("schedules")))
    options = parser.parse_args(arguments)
    return options, own.parse_known_args(arguments)[1]


def _port(text: str) -> int:
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; expected a number from 1024 to 65535")
    return int(text)


def _run(options: argparse.Namespace, for_schedules: Sequence[str], home: Home, arguments: Sequence[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A shell script makes its background programs ignore interrupts.
        signal.signal(number, signal.default_int_handler)
    if (left := processes.read(home)) and (
        count := processes.stop(left.id, left.programs, patience_seconds=PATIENCE_SECONDS)
    ):
        print(_("Stopped {count} processes that an earlier start had left.").format(count=count), flush=True)
    up = _Up(home, arguments)
    try:
        up.start(options, for_schedules)
        up.watch()
    except KeyboardInterrupt:
        if not up.record.ready:
            raise
    finally:
        up.stop()


class _Up:
    """What one `textclf up` has started."""

    def __init__(self, home: Home, arguments: Sequence[str]) -> None:
        self.home = home
        self.programs: dict[str, Program] = {}
        self.record = Start(
            id=uuid.uuid4().hex,
            process=os.getpid(),
            started_at=datetime.now(UTC),
            arguments=tuple(arguments),
            ready=False,
            prefect=None,
            api=None,
            mlflow=None,
            programs={},
        )

    def start(self, options: argparse.Namespace, for_schedules: Sequence[str]) -> None:
        """Starts the servers, then the schedules; returns when all answer."""
        home = self.home
        self._write()
        api, prefect_port = find_prefect(options.prefect_port)
        mlflow, mlflow_port = find_mlflow(home, options.mlflow_port)
        page = Environment().prefect_ui_url or api.removesuffix("/api")
        self._write(prefect=page, api=api, mlflow=mlflow)
        print(_("Starting in {home}; the first time, this takes half a minute.").format(home=home.root), flush=True)
        if mlflow_port:
            self._add("mlflow", mlflow_program(home, mlflow_port))
        if prefect_port:
            self._add("prefect", prefect_program(home, api, prefect_port))
        self._wait("prefect", "Prefect", lambda: answers(f"{api}/health"))
        silence_pages(home)
        self._wait("mlflow", "MLflow", lambda: answers(f"{mlflow}/health"))
        begun = datetime.now(UTC)
        self._add("schedules", schedules_program(home, api, mlflow, for_schedules))
        with client_of(api) as client:
            self._wait("schedules", _("Schedules"), lambda: are_served(client, SERVED, begun))
            lines = [f"  {name:<{TITLE_WIDTH}}{when}" for name, when in next_runs(client, SERVED)]
        # Once is enough: a restart must not take back what a person sets in Prefect from now on.
        command = self.programs["schedules"].command
        self.programs["schedules"].command = [word for word in command if word != RESET]
        self._write(ready=True)
        print("\n".join(["", *_addresses(self.record, home), _("Next runs:"), *lines, ""]))
        print(_("Ctrl-C here, or `textclf down` in another terminal, ends everything."), flush=True)

    def watch(self) -> None:
        """Keeps everything running, and prints problems."""
        trimmed = time.monotonic()
        while True:
            self._keep_running()
            for program in self.programs.values():
                for problem in program.problems():
                    print(problem, file=sys.stderr, flush=True)
            if time.monotonic() - trimmed > _TRIM_EVERY_SECONDS:
                trimmed = time.monotonic()
                for program in self.programs.values():
                    program.trim_log()
            time.sleep(_LOOK_EVERY_SECONDS)

    def stop(self) -> None:
        """Stops everything in order; a second Ctrl-C kills what is left."""
        try:
            if self.programs:
                print(
                    "\n" + _("Stopping the schedules, whose run keeps what it has done, and the servers …"), flush=True
                )
            processes.stop(self.record.id, self.record.programs, patience_seconds=PATIENCE_SECONDS)
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            processes.stop(self.record.id, self.record.programs, patience_seconds=1)
        processes.forget(self.home)
        if self.programs:
            print(_("Stopped. Runs that are due or were interrupted go on at the next start."), flush=True)

    def _add(self, name: str, program: Program) -> None:
        program.changes |= processes.mark(self.record.id, name)
        program.trim_log()
        self.programs[name] = program
        program.start()
        self._write()

    def _write(self, **changes: object) -> None:
        programs = {name: self.programs[name].pid for name in _ORDER if name in self.programs}
        record = self.record.model_copy(update={**changes, "programs": programs})
        if record != self.record or not programs:
            self.record = record
            processes.write(self.home, record)

    def _keep_running(self) -> None:
        for program in self.programs.values():
            if line := program.keep_running():
                print(line, file=sys.stderr, flush=True)
        self._write()

    def _wait(self, name: str, title: str, is_ready: Callable[[], bool]) -> None:
        begun = time.monotonic()
        with _progress(title) as show:
            while not is_ready():
                self._keep_running()
                seconds = time.monotonic() - begun
                if seconds > _START_SECONDS:
                    raise StartTimeoutError(
                        f"{title} did not answer within {_START_SECONDS} s; see its log in {self.home.logs}."
                    )
                show(seconds)
                time.sleep(_LOOK_EVERY_SECONDS)
        if name in self.programs:
            self.programs[name].healthy = True


@contextmanager
def _progress(title: str) -> Iterator[Callable[[float], None]]:
    """Shows on one line of the terminal for how long something has been awaited."""
    on_terminal = sys.stdout.isatty()
    seconds = 0.0

    def show(passed: float) -> None:
        nonlocal seconds
        seconds = passed
        if on_terminal:
            print(
                "\r" + _("{title}: starting, {seconds:.0f} s …").format(title=title, seconds=passed), end="", flush=True
            )

    try:
        yield show
    except BaseException:
        print(flush=True)
        raise
    text = _("{title}: ready after {seconds:.0f} s").format(title=title, seconds=seconds)
    print(f"\r{text}   " if on_terminal else text, flush=True)


def _addresses(start: Start, home: Home) -> list[str]:
    """Lists the addresses of a start, for people."""
    rows = [
        ("Prefect", start.prefect, _("runs, schedules, forms to start a run")),
        ("MLflow", start.mlflow, _("training runs, models")),
        (_("Prefect API"), start.api, _("for commands: export PREFECT_API_URL={api}").format(api=start.api)),
        (_("Logs"), str(home.logs), ""),
    ]
    width = max(display_width(title) for title, _address, _words in rows) + 2
    lines = []
    for title, address, words in rows:
        lines.append(title + " " * (width - display_width(title)) + (address or "…"))
        if words:
            lines.append(" " * width + words)
    return lines


def _say_that_it_runs(home: Home, arguments: Sequence[str]) -> int:
    start = processes.read(home)
    if start is None or start.prefect is None:
        print(_("Another `textclf up` or `textclf down` is at work in {home}.").format(home=home.root))
        return 0
    said = (
        _("It has been running since {time} (process {process}).")
        if start.ready
        else _("It is starting (process {process}).")
    )
    print(said.format(time=clock(start.started_at), process=start.process))
    print("\n".join(_addresses(start, home)))
    if tuple(word for word in arguments if word != DETACH) != tuple(word for word in start.arguments if word != DETACH):
        given = shlex.join(["textclf", "up", *start.arguments])
        print(
            _("It was started by `{given}`; for other options, stop it first with `textclf down`.").format(given=given)
        )
    return 0


def _detach(home: Home, arguments: Sequence[str]) -> int:
    """Starts `textclf up` in the background, and waits until it is ready."""
    log = home.logs / "up.log"
    words = [word for word in arguments if word != DETACH]
    with store.writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*PYTHON, "textclf_operations.program", "up", *words],
                env=environment_with({"PYTHONUNBUFFERED": "1"}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    begun = time.monotonic()
    try:
        with _progress(_("Servers and schedules")) as show:
            while not ((start := processes.read(home)) and start.process == process.pid and start.ready):
                if process.poll() is not None:
                    print(log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)
                    return process.returncode
                show(time.monotonic() - begun)
                time.sleep(_LOOK_EVERY_SECONDS)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    print("\n".join(["", *_addresses(start, home), "", _("`textclf down` ends everything.")]))
    return 0
