"""What the benchmarks share: two programs by turns in processes of their own, and the table that comes of it."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
REPOSITORY = BENCHMARKS.parent
SHARED = REPOSITORY.parent / "shared"
"""Data that is no part of the repository; the programs say so where it is absent."""


@dataclass(frozen=True)
class Line:
    """A JSON object that a program printed on a line of its own.

    Attributes:
        seconds: When it arrived, by the clock of this process.
        values: The object.
    """

    seconds: float
    values: dict[str, float]


@dataclass(frozen=True)
class Pair:
    """One run of each program, one right after the other.

    Attributes:
        ours: Rows a second.
        reference: Rows a second.
    """

    ours: float
    reference: float

    @property
    def ratio(self) -> float:
        """How many times as many rows a second ours does."""
        return self.ours / self.reference


def run_program(script: Path, arguments: Sequence[str | Path], scratch: Path) -> list[Line]:
    """Runs a program that prints its results as JSON objects, one a line.

    Args:
        script: The Python program.
        arguments: What stands behind its name.
        scratch: Folder for the caches of the libraries and for what the program says beside its results.

    Returns:
        The objects in the order in which they came; other lines are left out.

    Raises:
        SystemExit: The program failed or printed no object; what it said is shown.
    """
    command = [sys.executable, str(script), *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "huggingface")}
    lines = []
    with (scratch / "messages.txt").open("w+", encoding="utf-8") as messages:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, text=True, env=environment) as program:
            for text in program.stdout or ():
                arrived = time.perf_counter()
                try:
                    values = json.loads(text)
                except ValueError:
                    messages.write(text)
                    continue
                if isinstance(values, dict):
                    lines.append(Line(arrived, values))
        if program.returncode or not lines:
            messages.seek(0)
            raise SystemExit(f"{' '.join(command)}\nended with exit code {program.returncode}:\n{messages.read()}")
    return lines


def alternate(repeats: int, reference: Callable[[], float], ours: Callable[[], float]) -> list[Pair]:
    """Runs the reference and ours by turns, so that what changes on the machine meanwhile meets both.

    Args:
        repeats: How many pairs.
        reference: Runs it once and returns rows a second.
        ours: Likewise.
    """
    pairs = []
    for number in range(1, repeats + 1):
        theirs = reference()
        print(f"pair {number} of {repeats}: reference {theirs:.2f} rows/s", file=sys.stderr)
        pair = Pair(reference=theirs, ours=ours())
        print(f"pair {number} of {repeats}: ours {pair.ours:.2f} rows/s, ratio {pair.ratio:.2f}", file=sys.stderr)
        pairs.append(pair)
    return pairs


def markdown(heading: str, settings: dict[str, object], pairs: Sequence[Pair], notes: Sequence[str] = ()) -> str:
    """Writes a section that can go into RESULTS.md as it is.

    Args:
        heading: What was compared.
        settings: What it depends on, by name.
        pairs: At least one.
        notes: Sentences to put under the table.
    """
    rows = [("ours, rows/s", [pair.ours for pair in pairs]), ("reference, rows/s", [pair.reference for pair in pairs])]
    rows.append(("**ratio ours/reference**", [pair.ratio for pair in pairs]))
    lines = [
        f"### {heading}",
        "",
        f"Command: `{' '.join(['python benchmarks/' + Path(sys.argv[0]).name, *sys.argv[1:]])}`",
        "",
        machine_line(),
        "",
        ", ".join(f"{name} {value}" for name, value in settings.items()) + ".",
        "",
        f"| {len(pairs)} pairs | min | median | max | pair by pair |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {name} | {min(values):.2f} | {statistics.median(values):.2f} | {max(values):.2f} | "
        f"{', '.join(f'{value:.2f}' for value in values)} |"
        for name, values in rows
    ]
    return "\n".join([*lines, *(f"\n{note}" for note in notes)])


def machine_line() -> str:
    """Names processor, cores, graphics card, versions, date and commit in one line."""
    import torch
    import transformers

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no graphics card"
    return (
        f"Machine: {_processor()}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads, {card}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}; "
        f"{datetime.now(UTC):%Y-%m-%d}; commit {_commit()}."
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks", "constraints.txt")
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
