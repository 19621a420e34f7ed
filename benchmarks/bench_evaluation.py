"""Evaluation: what metrics, intervals and slices add to the forward passes over the rows, in percent of these.

Both parts run in one process and take turns. The rows are 1,200 texts with made-up labels, half of them of one file and
a third of them leaked, so that each slice has rows. Left out are baselines, the model before fine-tuning and plots, and
the checks of behaviour, which are forward passes over texts of their own.

Without --model, the shape of bert-base-chinese with random weights is used.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from comparison import CHNSENTICORP, section, spread
from random_model import kept_model
from texts import draw, read_texts

from textclf.data.prepared import SplitRows
from textclf.evaluation.scores import all_metrics
from textclf.evaluation.slices import measure_slices, slice_masks, slice_metrics
from textclf.model.classifier import Classifier


def main() -> None:
    """Runs both parts and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a fine-tuned model folder (default: made from bert-base-chinese)")
    parser.add_argument("--data", type=Path, default=CHNSENTICORP, help="texts (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=1200, help="texts (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        texts = read_texts(arguments.data)
        folder, about = arguments.model, str(arguments.model)
        if folder is None:
            made = kept_model(Path(scratch), texts, exported=False)
            folder, about = made.folder, made.about
        classifier = Classifier.load(folder, engine="torch")
        rows = make_rows(draw(texts, arguments.rows, seed=1), classifier.labels)
        forward, rest = [], []
        # The first round loads packages and is not counted.
        for _ in range(arguments.repeats + 1):
            started = time.perf_counter()
            probabilities = classifier.predict(rows.texts)
            predicted = time.perf_counter()
            all_metrics({"test": rows}, {"test": probabilities}, classifier.head)
            right = probabilities.argmax(axis=1) == rows.labels
            slice_metrics(measure_slices(right, slice_masks(rows, {})))
            forward.append(predicted - started)
            rest.append(time.perf_counter() - predicted)
        added = [100 * more / passes for more, passes in zip(rest[1:], forward[1:], strict=True)]
        table = [
            "| part | seconds (median, range) |",
            "| --- | ---: |",
            f"| forward passes, {classifier.engine_name} | {spread(forward[1:], 2)} |",
            f"| metrics, intervals and slices | {spread(rest[1:], 2)} |",
            f"| … in percent of the forward passes | {spread(added, 1)} |",
        ]
        print(section(f"{arguments.rows:,} rows", {"model": about, "labels": len(classifier.labels)}, table))


def make_rows(texts: list[str], labels: tuple[str, ...]) -> SplitRows:
    """Makes test rows of texts, with labels drawn at random."""
    chance = np.random.default_rng(1)
    columns = {
        "text": texts,
        "label": chance.integers(0, len(labels), len(texts)),
        "source": [f"{place % 2}.csv" for place in range(len(texts))],
        "leakfree": [place % 3 > 0 for place in range(len(texts))],
    }
    return SplitRows("test", labels, pa.table(columns))


if __name__ == "__main__":
    main()
