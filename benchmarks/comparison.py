"""Shared by the benchmarks: runs two programs alternately in separate processes and formats the results."""

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
"""Data outside the repository; the programs report when it is missing."""


@dataclass(frozen=True)
class Line:
    """A JSON object that a program printed on one line, and when it arrived by this process's clock."""

    seconds: float
    values: dict[str, float]


@dataclass(frozen=True)
class Pair:
    """The rows per second of one run of each program, one right after the other."""

    ours: float
    reference: float

    @property
    def ratio(self) -> float:
        """Our rows per second divided by the reference's."""
        return self.ours / self.reference


def run_program(script: Path, arguments: Sequence[str | Path], scratch: Path) -> list[Line]:
    """Runs a Python program that prints its results as JSON objects, one per line, and returns these in order.

    The scratch folder holds the libraries' caches and the program's other output.

    Raises:
        SystemExit: The program failed or printed no object; the message includes its output.
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
    """Runs the reference and ours alternately, so that changes on the machine affect both.

    Both functions run once and return rows per second.
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
    """Formats a section for RESULTS.md, with the notes below its table."""
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
        f"| {len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'} | min | median | max | pair by pair |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {name} | {min(values):.2f} | {statistics.median(values):.2f} | {max(values):.2f} | "
        f"{', '.join(f'{value:.2f}' for value in values)} |"
        for name, values in rows
    ]
    return "\n".join([*lines, *(f"\n{note}" for note in notes)])


def machine_line() -> str:
    """Describes processor, cores, graphics card, versions, date and commit in one line."""
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
