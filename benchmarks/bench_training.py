"""Training: the library's default recipe against the plain tutorial script, in rows per second.

Both fine-tune the same model on the same rows, each row once, alternately and in separate processes. Only the training
steps are timed. The reference pads every row to 128 tokens; ours groups rows of similar length and pads to the longest.
The gain depends on the lengths of the texts and, for grouping, on the number of rows.

Without --model, the shape of bert-base-chinese with random weights is used: its steps cost as much as the real ones.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from comparison import BENCHMARKS, SHARED, Line, alternate, markdown, run_program
from random_model import SHAPE, check_folder, make_model

# As in the reference.
BATCH_SIZE = 16
MAX_LENGTH = 128
ROWS_TO_EVALUATE = 16


def main() -> None:
    """Runs the comparison and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder (default: made from --shape with random weights)")
    parser.add_argument("--shape", type=Path, default=SHAPE, help="config.json and vocabulary (default: %(default)s)")
    parser.add_argument(
        "--data",
        type=Path,
        default=SHARED / "data" / "chnsenticorp" / "data",
        help="folder with train-*.parquet (default: %(default)s)",
    )
    parser.add_argument("--steps", type=int, default=40, help=f"steps of {BATCH_SIZE} rows (default: %(default)s)")
    parser.add_argument("--precision", choices=["no", "auto"], default="no", help="of ours (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.steps < 3:
        parser.error("--steps must be 3 or more")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.model:
            check_folder(arguments.model)
            model, name = arguments.model.absolute(), str(arguments.model)
        else:
            model, name = make_model(folder / "model", arguments.shape, seed=arguments.seed), "random weights"
        tokens = write_rows(arguments, folder / "data")
        common = ["--data", folder / "data", "--model", model, "--max-steps", str(arguments.steps)]
        common += ["--seed", str(arguments.seed)]
        ours = [*common, "--max-length", str(MAX_LENGTH), "--precision", arguments.precision]

        def run(script: str, words: list[str | Path]) -> list[Line]:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                return run_program(BENCHMARKS / script, [*words, "--output", f"{scratch}/output"], Path(scratch))

        pairs = alternate(
            arguments.repeats,
            reference=lambda: steps_rate(run("reference/train_tutorial.py", [*common, "--logging-steps", "1"])),
            ours=lambda: ours_rate(run("train_ours.py", ours)),
        )
    settings = {
        "Model": f"{name} ({arguments.shape.name})" if not arguments.model else name,
        "rows": arguments.steps * BATCH_SIZE,
        "rows per step": BATCH_SIZE,
        "max_length": MAX_LENGTH,
        "precision of ours": arguments.precision,
    }
    print(markdown("Training", settings, pairs, [tokens]))


def steps_rate(lines: list[Line]) -> float:
    """Returns the reference's rows per second, from the arrival times of its losses, one per step.

    The first step is left out as a warm-up; since all rows are padded to one length, it costs as much as the others.
    """
    arrivals = [line.seconds for line in lines if "loss" in line.values]
    return (len(arrivals) - 1) * BATCH_SIZE / (arrivals[-1] - arrivals[0])


def ours_rate(lines: list[Line]) -> float:
    """Returns our rows per second, over all steps, since these differ in length; warm-up steps come before."""
    result = lines[-1].values
    return result["rows"] / result["train_seconds"]


def write_rows(arguments: argparse.Namespace, target: Path) -> str:
    """Samples the rows that both train on, writes them as a data set's files, and describes their lengths.

    Raises:
        SystemExit: The data is missing or has too few rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(arguments.data.glob("train-*.parquet")) if arguments.data.is_dir() else []
    if not files:
        raise SystemExit(f"There is no train-*.parquet in {arguments.data}: name a folder with --data.")
    table = pa.concat_tables([pq.read_table(file, columns=["text", "label"]) for file in files])
    wanted = arguments.steps * BATCH_SIZE
    if table.num_rows < wanted + 2 * ROWS_TO_EVALUATE:
        raise SystemExit(f"{arguments.data} has {table.num_rows:,} rows; {wanted + 2 * ROWS_TO_EVALUATE:,} are needed.")
    order = random.Random(arguments.seed).sample(range(table.num_rows), wanted + 2 * ROWS_TO_EVALUATE)
    parts = {
        "train": order[:wanted],
        "validation": order[wanted : wanted + ROWS_TO_EVALUATE],
        "test": order[wanted + ROWS_TO_EVALUATE :],
    }
    target.mkdir()
    for split, rows in parts.items():
        pq.write_table(table.take(rows), target / f"{split}-00000-of-00001.parquet")
    lengths = sorted(min(len(text) + 2, MAX_LENGTH) for text in table.take(parts["train"])["text"].to_pylist())
    return (
        f"Rows have about {sum(lengths) / len(lengths):.0f} tokens on average, of the {MAX_LENGTH} after padding "
        "(counted as characters plus two)."
    )


if __name__ == "__main__":
    main()
