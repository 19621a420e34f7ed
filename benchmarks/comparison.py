"""Shared by the benchmarks: runs programs alternately in separate processes and formats the results."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

BENCHMARKS = Path(__file__).resolve().parent
REPOSITORY = BENCHMARKS.parent
SHARED = REPOSITORY.parent / "shared"
"""Data outside the repository; the programs report when it is missing."""
CHNSENTICORP = SHARED / "data" / "chnsenticorp" / "data"

# With these, a newer processor behaves like an older one: part of the command.
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "OMP_NUM_THREADS")
_INSTRUCTIONS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """A JSON object that a program printed on one line, and when it arrived by this process's clock."""

    seconds: float
    values: dict[str, Any]


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
    found = rounds(repeats, {"reference": reference, "ours": ours})
    return [Pair(ours=ours, reference=theirs) for theirs, ours in zip(found["reference"], found["ours"], strict=True)]


def rounds(repeats: int, programs: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Runs several programs one after the other, all of them `repeats` times, and returns their results by name."""
    found: dict[str, list[T]] = {name: [] for name in programs}
    for number in range(1, repeats + 1):
        for name, run in programs.items():
            found[name].append(result := run())
            shown = f"{result:,.2f}" if isinstance(result, float) else result
            print(f"round {number} of {repeats}: {name} {shown}", file=sys.stderr, flush=True)
    return found


def ratios(ours: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Returns ours divided by the reference, round by round."""
    return [mine / theirs for mine, theirs in zip(ours, reference, strict=True)]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Formats the median, and the range if there are several values."""
    text = f"{statistics.median(values):,.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def markdown(heading: str, settings: dict[str, object], pairs: Sequence[Pair], notes: Sequence[str] = ()) -> str:
    """Formats a section for RESULTS.md, with the notes below its table."""
    rows = [("ours, rows/s", [pair.ours for pair in pairs]), ("reference, rows/s", [pair.reference for pair in pairs])]
    rows.append(("**ratio ours/reference**", [pair.ratio for pair in pairs]))
    table = [
        f"| {len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'} | min | median | max | pair by pair |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    table += [
        f"| {name} | {min(values):.2f} | {statistics.median(values):.2f} | {max(values):.2f} | "
        f"{', '.join(f'{value:.2f}' for value in values)} |"
        for name, values in rows
    ]
    return section(heading, settings, table, notes)


def section(
    heading: str, settings: Mapping[str, object], table: Sequence[str], notes: Sequence[str | None] = ()
) -> str:
    """Formats a section for RESULTS.md: command, machine, settings, table, and the notes that are not None."""
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ]
    command = [*limits, "python benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]]
    lines = [f"### {heading}", "", f"Command: `{' '.join(command)}`", "", machine_line(), ""]
    lines += [", ".join(f"{name} {value}" for name, value in settings.items()) + ".", "", *table]
    return "\n".join([*lines, *(f"\n{note}" for note in notes if note)])


def peak_mebibytes() -> float:
    """Returns the most memory that this process has had so far, by Linux's account."""
    # getrusage would include the parent's memory at the time of the fork.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def machine_line() -> str:
    """Describes processor, cores, graphics card, versions, date and commit in one line."""
    import torch
    import transformers

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no graphics card"
    return (
        f"Machine: {_processor()}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads, {card}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
        f"{_openvino()}; "
        f"{datetime.now(UTC):%Y-%m-%d}; commit {_commit()}."
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        name = "unknown processor"
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
            elif line.startswith("flags"):
                known = line.split()
                return f"{name} ({', '.join(flag for flag in _INSTRUCTIONS if flag in known)})"
    return platform.processor() or platform.machine()


def _openvino() -> str:
    try:
        return f", openvino {version('openvino')}"
    except PackageNotFoundError:
        return ""


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
