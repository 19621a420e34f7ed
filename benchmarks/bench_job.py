"""The whole batch job against its bare engine, in texts per second.

The bare engine classifies the different cleaned texts of the file in one call. The job also reads, cleans, keeps its
ledger and writes; as the Prefect flow (--flow), it is a process that also starts Prefect and finds the model in MLflow.
All run alternately in separate processes with the same engine. For the bare engine, and the job where the table says
so, loading is not timed.

Without --model, the shape of bert-base-chinese with random weights is used.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from comparison import BENCHMARKS, SHARED, ratios, rounds, run_program, section, spread
from random_model import SHAPE, kept_model
from registered import prefect_server, registered_home
from texts import draw, read_texts, write_texts

ROWS_TO_WARM_UP = 300
BARE, JOB, FLOW = "bare", "job", "flow"


def main() -> None:
    """Runs the comparison and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder that a training or bench_ladder.py made")
    parser.add_argument("--shape", type=Path, default=SHAPE, help="config.json and vocabulary (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the model and its engine, which later commands reuse")
    parser.add_argument(
        "--data",
        type=Path,
        default=SHARED / "data" / "load" / "unlabelled.parquet",
        help="*.parquet with the column text, or a folder of such (default: %(default)s)",
    )
    parser.add_argument("--rows", type=int, default=20_000, help="texts (default: %(default)s)")
    parser.add_argument(
        "--engine",
        choices=["auto", "torch", "openvino-int8", "onnxruntime-int8"],
        default="auto",
        help="auto measures which is the fastest, before the timing (default: %(default)s)",
    )
    parser.add_argument(
        "--flow",
        metavar="SERVER",
        help="also run the Prefect flow, with a `temporary` server, a `new` one, or one at http://…/api",
    )
    parser.add_argument("--repeats", type=int, default=1, help="rounds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(compare(arguments, Path(temporary)))


def compare(arguments: argparse.Namespace, folder: Path) -> str:
    """Runs everything, and formats a section."""
    found = read_texts(arguments.data)
    known: frozenset[str] = frozenset()
    if arguments.model:
        model, about = arguments.model.absolute(), str(arguments.model)
    else:
        kept = kept_model(
            (arguments.keep or folder / "kept").absolute(), found, shape=arguments.shape, seed=arguments.seed
        )
        model, about, known = kept.folder, kept.about, kept.texts
    drawn = draw(found, arguments.rows, seed=arguments.seed, without=known)
    texts = write_texts(drawn, folder / "texts.parquet")
    few = write_texts(drawn[:ROWS_TO_WARM_UP], folder / "few.parquet")
    root = folder / "home"
    home = registered_home(root, model)
    common = ["--model", model, "--engine", arguments.engine]

    def run(script: str, *words: str | Path) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            given = [*common, "--output", f"{scratch}/out.parquet", *words]
            return run_program(BENCHMARKS / script, given, Path(scratch))[-1].values

    def job(source: Path = texts) -> dict[str, Any]:
        return run("job_ours.py", "--input", source, "--home", root)

    programs: dict[str, Callable[[], Any]] = {
        BARE: lambda: run("predict_ours.py", "--input", texts, "--precision", "auto", "--choices", root / "engines"),
        JOB: job,
    }
    # From here on, it is known which engine is the fastest, as after the first job on a machine.
    engine = job(few)["engine"]
    with prefect_server(root, arguments.flow or "temporary") as server:
        if arguments.flow:
            home = replace(home, server=server)
            # Prefect makes its database in the first run.
            home.flow(few, "few.csv", arguments.engine)
            outputs = iter(range(arguments.repeats))
            programs[FLOW] = lambda: home.flow(texts, f"out-{next(outputs)}.csv", arguments.engine)
        measured = rounds(arguments.repeats, programs)
    return describe(arguments, measured, {"Model": about, "texts": len(drawn), "engine": engine})


def describe(arguments: argparse.Namespace, measured: dict[str, list[Any]], settings: dict[str, object]) -> str:
    """Formats a section for RESULTS.md."""
    bare = [found["predict_seconds"] for found in measured[BARE]]
    job = [found["seconds"] for found in measured[JOB]]
    loaded = [found["seconds"] - found["load_seconds"] for found in measured[JOB]]
    memory = [found["peak_mebibytes"] for found in measured[JOB]]
    rows = [
        ("bare engine", bare, [found["peak_mebibytes"] for found in measured[BARE]]),
        ("job, without loading", loaded, memory),
        ("job", job, memory),
    ]
    if FLOW in measured:
        flow = measured[FLOW]
        rows.append(
            (
                f"flow, whole process, server {arguments.flow}",
                [found.seconds for found in flow],
                [found.peak_mebibytes for found in flow],
            )
        )
    texts = measured[JOB][0]["rows"]
    table = [
        "| | seconds: median (range) | texts/s | **ratio to the bare engine** | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {spread(seconds)} | {spread([texts / each for each in seconds])} | "
            f"{spread(ratios(bare, seconds), 3)} | {spread(peak, 0)} |"
            for name, seconds, peak in rows
        ),
    ]
    notes = [f"The job computed {measured[JOB][0]['computed']:,} of {texts:,} texts; the others were equal to them."]
    if FLOW in measured:
        notes.append("The peak of the flow is that of all its processes together.")
    return section("Whole job", {**settings, "rounds": arguments.repeats}, table, notes)


if __name__ == "__main__":
    main()
