"""Prediction: the library's classifier against a plain loop over `pipeline`, in texts per second, with equal labels.

Both classify the same texts with the same weights, alternately and in separate processes. Loading is not timed. The
texts are cleaned beforehand with the library's standard rule, so that both see the same; ours cleans them again within
its time.

Without --model, the shape of bert-base-chinese with random weights is used, its last layer adjusted so that labels
vary between texts; the share of equal labels is reported.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from comparison import BENCHMARKS, SHARED, alternate, markdown, run_program
from random_model import SHAPE, as_classifier, make_model

TEXTS_FOR_THE_HEAD = 64


def main() -> None:
    """Runs the comparison and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a fine-tuned model folder (default: made from --shape)")
    parser.add_argument("--shape", type=Path, default=SHAPE, help="config.json and vocabulary (default: %(default)s)")
    parser.add_argument(
        "--data",
        type=Path,
        default=SHARED / "data" / "chnsenticorp" / "data",
        help="folder with *.parquet that have the column text (default: %(default)s)",
    )
    parser.add_argument("--rows", type=int, default=400, help="texts (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=128, help="tokens per text (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="texts per batch of ours (default: %(default)s)")
    parser.add_argument("--precision", choices=["no", "auto"], default="no", help="of ours (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        texts = write_texts(arguments, folder / "texts.parquet")
        source = arguments.model or make_model(folder / "random", arguments.shape, seed=arguments.seed)
        model = as_classifier(
            folder / "model",
            source,
            max_length=arguments.max_length,
            spread_over=() if arguments.model else texts[:TEXTS_FOR_THE_HEAD],
        )
        common = ["--model", model, "--input", folder / "texts.parquet"]
        plain = [*common, "--raw", "--max-length", str(arguments.max_length)]
        ours = [*common, "--batch-size", str(arguments.batch_size), "--precision", arguments.precision]

        def run(script: str, words: list[str | Path], output: str) -> float:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                lines = run_program(BENCHMARKS / script, [*words, "--output", folder / output], Path(scratch))
            result = lines[-1].values
            return result["texts"] / result["predict_seconds"]

        pairs = alternate(
            arguments.repeats,
            reference=lambda: run("reference/predict_pipeline.py", plain, "reference.parquet"),
            ours=lambda: run("predict_ours.py", ours, "ours.parquet"),
        )
        agreement = compare(folder / "reference.parquet", folder / "ours.parquet")
    settings = {
        "Model": str(arguments.model) if arguments.model else f"random weights ({arguments.shape.name})",
        "texts": arguments.rows,
        "max_length": arguments.max_length,
        "batch of ours": arguments.batch_size,
        "precision of ours": arguments.precision,
    }
    print(markdown("Prediction", settings, pairs, [agreement]))


def write_texts(arguments: argparse.Namespace, target: Path) -> list[str]:
    """Samples and cleans the texts that both classify, writes them to a Parquet file, and returns them.

    Raises:
        SystemExit: The data is missing or has too few texts.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from textclf.data.cleaning import clean_text

    files = sorted(arguments.data.glob("*.parquet")) if arguments.data.is_dir() else []
    if not files:
        raise SystemExit(f"There is no *.parquet in {arguments.data}: name a folder with --data.")
    found = [text for file in files for text in pq.read_table(file, columns=["text"])["text"].to_pylist()]
    texts = [clean for text in found if (clean := clean_text(text, "standard"))]
    if len(texts) < arguments.rows:
        raise SystemExit(f"{arguments.data} has {len(texts):,} texts; {arguments.rows:,} are needed.")
    drawn = random.Random(arguments.seed).sample(texts, arguments.rows)
    pq.write_table(pa.table({"text": drawn}), target)
    return drawn


def compare(reference: Path, ours: Path) -> str:
    """Describes how many labels are equal, how they are distributed, and how far the scores differ.

    Raises:
        SystemExit: A score is not finite, so that equal labels would mean nothing.
    """
    import numpy as np
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, columns=["label", "score"]) for path in (reference, ours)]
    labels = [np.array(table["label"].to_pylist()) for table in tables]
    scores = [table["score"].to_numpy().astype(float) for table in tables]
    if not all(np.isfinite(values).all() for values in scores):
        raise SystemExit("The model returns scores that are not finite.")
    equal = labels[0] == labels[1]
    counts = ", ".join(f"{label} {int((labels[0] == label).sum()):,}" for label in np.unique(labels[0]))
    distance = np.abs(scores[0] - scores[1])[equal].max(initial=0.0)
    return (
        f"Equal labels: {int(equal.sum()):,} of {len(equal):,} ({equal.mean():.2%}). "
        f"Labels of the reference: {counts}. Where labels are equal, scores differ by at most {distance:.1e}."
    )


if __name__ == "__main__":
    main()
