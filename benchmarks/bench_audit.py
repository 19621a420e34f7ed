"""Audit: how time and memory of `textclf data audit` grow with the rows, compared with a plain script.

Each size is a CSV of generated Chinese texts, of which 2% are exact copies of others and 2% are near copies with one or
two characters changed. Ours is the complete command in its own process and home: reading, cleaning, splitting, all
findings, near duplicates, report. The reference (`reference/audit_plain.py`: pandas, and MinHashLSH of datasketch,
which must be installed) reads the same file and finds only exact and near duplicates.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparison import BENCHMARKS, REPOSITORY, machine_line

SHARE_OF_COPIES = 0.02
THRESHOLD = 0.8
COMMON_CHARACTERS = 3000


@dataclass(frozen=True)
class Run:
    """One run of a program: its duration, its peak memory and the JSON object that it printed."""

    seconds: float
    peak_mebibytes: float
    found: dict[str, Any]


def main() -> None:
    """Runs all sizes and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes")
    parser.add_argument("--length", type=int, default=60, help="characters per text (default: %(default)s)")
    parser.add_argument("--reference-rows", type=int, default=10_000, help="largest size for the reference; 0 skips it")
    parser.add_argument("--seed", type=int, default=42, help="seed (default: %(default)s)")
    arguments = parser.parse_args()
    print("### Audit: growth with the rows\n")
    print(f"Command: `python benchmarks/bench_audit.py {' '.join(sys.argv[1:])}`\n\n{machine_line()}\n")
    print(f"Texts of {arguments.length} characters; exact and near duplicates (3-gram Jaccard at least {THRESHOLD}).\n")
    print(
        "| rows | seconds | rows/s | peak MiB | copies found/planted | near pairs found/planted | reference s | ratio |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            copies, near = write_texts(folder / "texts.csv", rows, arguments.length, arguments.seed)
            ours = run([str(Path(sys.executable).with_name("textclf")), "data", "audit", "--json"], folder)
            plain = None
            if rows <= arguments.reference_rows:
                plain = run([sys.executable, str(BENCHMARKS / "reference" / "audit_plain.py")], folder)
        print(describe(rows, copies, near, ours, plain), flush=True)


def write_texts(path: Path, rows: int, length: int, seed: int) -> tuple[int, int]:
    """Writes a CSV of random texts and labels.

    Returns:
        The number of exact copies, and the number of pairs of near copies that reach the threshold.
    """
    chance = random.Random(seed)
    characters = [chr(0x4E00 + index) for index in range(COMMON_CHARACTERS)]
    planted = int(rows * SHARE_OF_COPIES)
    texts = ["".join(chance.choices(characters, k=length)) for _ in range(rows - 2 * planted)]
    near = same = 0
    copies = texts[:planted]
    for original in texts[planted : 2 * planted]:
        changed = list(original)
        for place in chance.sample(range(length), chance.choice((1, 2))):
            changed[place] = chance.choice(characters)
        text = "".join(changed)
        # Now and then a character is replaced by itself.
        same += text == original
        near += text != original and jaccard(original, text) >= THRESHOLD
        texts.append(text)
    texts += copies
    chance.shuffle(texts)
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        file.writelines(f"{text},{'好评' if ord(text[0]) % 2 else '差评'}\n" for text in texts)
    return planted + same, near


def jaccard(first: str, second: str) -> float:
    """Returns the share of 3-grams that two texts have in common."""
    one, other = ({text[index : index + 3] for index in range(len(text) - 2)} for text in (first, second))
    return len(one & other) / len(one | other)


def run(command: list[str], folder: Path) -> Run:
    """Runs a program on the CSV of a folder, in its own home.

    Raises:
        SystemExit: It failed; the message includes its output.
    """
    environment = {**os.environ, "TEXTCLF_HOME": str(folder / "home")}
    output = folder / "output.json"
    with output.open("w", encoding="utf-8") as stdout, (folder / "messages.txt").open("w+", encoding="utf-8") as stderr:
        started = time.perf_counter()
        program = subprocess.Popen(
            [*command, str(folder / "texts.csv")], stdout=stdout, stderr=stderr, env=environment, cwd=REPOSITORY
        )
        _, status, usage = os.wait4(program.pid, 0)
        seconds = time.perf_counter() - started
        program.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        if program.returncode:
            raise SystemExit(f"{' '.join(command)}\nended with exit code {program.returncode}:\n{stderr.read()}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_maxrss * unit / 2**20, json.loads(output.read_text(encoding="utf-8")))


def describe(rows: int, copies: int, near: int, ours: Run, plain: Run | None) -> str:
    """Formats a line of the table."""
    found = sum(split["normalized"] for split in ours.found["duplicates"].values())
    pairs = ours.found["near_duplicates"]["pairs"]
    reference = "– | –" if plain is None else f"{plain.seconds:,.1f} | {plain.seconds / ours.seconds:.2f}"
    return (
        f"| {rows:,} | {ours.seconds:,.1f} | {rows / ours.seconds:,.0f} | {ours.peak_mebibytes:,.0f} | "
        f"{found:,} / {copies:,} | {pairs:,} / {near:,} | {reference} |"
    )


if __name__ == "__main__":
    main()
