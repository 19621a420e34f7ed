"""Training: the library's default recipe against the plain tutorial script, in rows per second.

Both fine-tune the same model for one epoch over the same rows, alternately and in separate processes. Only the training
steps are timed. The reference takes 16 rows a step and pads each to 128 tokens. Ours takes 32, groups rows of similar
length, pads to the longest, and trains equal rows once, weighted; each counts as the rows it stands for. The gain
depends on the lengths of the texts, how many are equal, and, for grouping, on the number of rows.

The rows are a sample of texts, each with all its copies, so that as many are equal as in the whole file.

Without --model, the shape of bert-base-chinese with random weights is used: its steps cost as much as the real ones.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from comparison import BENCHMARKS, SHARED, Line, alternate, markdown, run_program
from random_model import SHAPE, check_folder, make_model

# As in the reference; ours has the batch size of the default recipe.
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
    parser.add_argument(
        "--steps", type=int, default=40, help=f"steps of the reference, {BATCH_SIZE} rows each (default: %(default)s)"
    )
    parser.add_argument("--precision", choices=["no", "auto"], default="auto", help="of ours (default: %(default)s)")
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
        common = ["--data", folder / "data", "--model", model, "--seed", str(arguments.seed)]
        ours = [*common, "--max-length", str(MAX_LENGTH), "--precision", arguments.precision]

        def run(script: str, words: list[str | Path]) -> list[Line]:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                return run_program(BENCHMARKS / script, [*words, "--output", f"{scratch}/output"], Path(scratch))

        processor: dict[str, list[float]] = {"reference": [], "ours": []}

        def noted(side: str, rates: tuple[float, float]) -> float:
            processor[side].append(rates[1])
            return rates[0]

        reference = [*common, "--logging-steps", "1"]
        pairs = alternate(
            arguments.repeats,
            reference=lambda: noted("reference", steps_rates(run("reference/train_tutorial.py", reference))),
            ours=lambda: noted("ours", ours_rates(run("train_ours.py", ours))),
        )
    settings = {
        "Model": f"{name} ({arguments.shape.name})" if not arguments.model else name,
        "rows": arguments.steps * BATCH_SIZE,
        "rows per step": f"{BATCH_SIZE} and 32",
        "max_length": MAX_LENGTH,
        "precision of ours": arguments.precision,
    }
    ratios = [ours / theirs for ours, theirs in zip(processor["ours"], processor["reference"], strict=True)]
    cpu = (
        "By processor time instead of the clock, the ratios are " + ", ".join(f"{ratio:.2f}" for ratio in ratios) + "."
    )
    print(markdown("Training", settings, pairs, [tokens, cpu]))


def steps_rates(lines: list[Line]) -> tuple[float, float]:
    """Returns the reference's rows per second, and per second of processor time, from its losses, one per step.

    The first step is left out as a warm-up; since all rows are padded to one length, it costs as much as the others.
    """
    losses = [line for line in lines if "loss" in line.values]
    rows = (len(losses) - 1) * BATCH_SIZE
    processor = losses[-1].values["cpu_seconds"] - losses[0].values["cpu_seconds"]
    return rows / (losses[-1].seconds - losses[0].seconds), rows / processor


def ours_rates(lines: list[Line]) -> tuple[float, float]:
    """Returns our rows per second, and per second of processor time, over all steps, since these differ in length."""
    result = lines[-1].values
    return result["rows"] / result["train_seconds"], result["rows"] / result["cpu_seconds"]


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
    copies: dict[str, list[int]] = {}
    for row, text in enumerate(table["text"].to_pylist()):
        copies.setdefault(text, []).append(row)
    texts = list(copies)
    random.Random(arguments.seed).shuffle(texts)
    order = [row for text in texts for row in copies[text]]
    parts = {
        "train": order[:wanted],
        "validation": order[wanted : wanted + ROWS_TO_EVALUATE],
        "test": order[wanted + ROWS_TO_EVALUATE : wanted + 2 * ROWS_TO_EVALUATE],
    }
    target.mkdir()
    for split, rows in parts.items():
        pq.write_table(table.take(rows), target / f"{split}-00000-of-00001.parquet")
    chosen = table.take(parts["train"])["text"].to_pylist()
    lengths = [min(len(text) + 2, MAX_LENGTH) for text in chosen]
    return (
        f"Rows have about {sum(lengths) / len(lengths):.0f} tokens on average, of the {MAX_LENGTH} after padding "
        f"(counted as characters plus two); {len(chosen) - len(set(chosen))} of the {len(chosen)} rows repeat another."
    )


if __name__ == "__main__":
    main()
