"""Seconds from the start of a process to its first row: `textclf predict`, and the Prefect flow on a file of one row.

A cold start comes after the files of Python, its packages and the model were dropped from the page cache, except those
that other processes have in use. Before the first start, everything has run once.

Without --model, the shape of bert-base-chinese with random weights is used.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from comparison import CHNSENTICORP, REPOSITORY, rounds, section, spread
from random_model import SHAPE, kept_model
from registered import RegisteredHome, prefect_server, registered_home
from serving import Watched
from texts import read_texts, write_texts

TEXT = "房间很干净，下次还会来。"


def main() -> None:
    """Runs the programs and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder that a training or bench_ladder.py made")
    parser.add_argument("--shape", type=Path, default=SHAPE, help="config.json and vocabulary (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the model and its engine, which later commands reuse")
    parser.add_argument(
        "--data", type=Path, default=CHNSENTICORP, help="texts to calibrate the engine with (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="starts of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.model:
            model, about = arguments.model.absolute(), str(arguments.model)
        else:
            keep = (arguments.keep or folder / "kept").absolute()
            kept = kept_model(keep, read_texts(arguments.data), shape=arguments.shape, seed=arguments.seed)
            model, about = kept.folder, kept.about
        home = registered_home(folder / "home", model)
        with prefect_server(home.root, "new") as server:
            measured = rounds(arguments.repeats, programs(home, replace(home, server=server), folder))
    table = [
        f"| {arguments.repeats} starts each | first row after, s: median (range) | end after, s | peak MiB |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {spread([each.first_seconds for each in found], 2)} | "
            f"{spread([each.seconds for each in found], 2)} | {spread([each.peak_mebibytes for each in found], 0)} |"
            for name, found in measured.items()
        ),
    ]
    print(section("Start to first row", {"Model": about}, table))


def programs(alone: RegisteredHome, served: RegisteredHome, folder: Path) -> dict[str, Callable[[], Watched]]:
    """Returns the programs by name, after each has run once."""
    one = write_texts([TEXT], folder / "one.parquet")
    numbers = iter(range(1_000_000))

    def cold(run: Callable[[], Watched]) -> Watched:
        forget_files([Path(sys.prefix), Path(os.__file__).parent, REPOSITORY / "src", alone.root])
        return run()

    def predict() -> Watched:
        return alone.command_line(TEXT, next(numbers))

    def flow(home: RegisteredHome) -> Watched:
        return home.flow(one, f"out-{next(numbers)}.csv")

    warm = {
        "`textclf predict`, warm": predict,
        "flow with a server, warm": lambda: flow(served),
        "flow with a temporary server, warm": lambda: flow(alone),
    }
    print("once each, so that caches and databases exist", file=sys.stderr)
    rounds(1, warm)
    return {
        "`textclf predict`, cold": lambda: cold(predict),
        "flow with a server, cold": lambda: cold(lambda: flow(served)),
        **warm,
    }


def forget_files(folders: list[Path]) -> None:
    """Drops the files in these folders from the page cache."""
    # What is not yet written stays.
    os.sync()
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(descriptor)


if __name__ == "__main__":
    main()
