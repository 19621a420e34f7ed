"""Classifies the texts of a Parquet file through the library, and reports how long it took.

The counterpart of `reference/predict_pipeline.py`: the same texts, the same model folder. As there, the time from raw
texts to labels is measured (cleaning, tokenising, batches of similar length), without loading the model.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from comparison import peak_mebibytes

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier

TEXTS_TO_REACH_ALL_RUNGS = 512


def main() -> None:
    """Predicts, writes `label`, `score`, `probabilities` and `rung` of each row, and prints a JSON object.

    It has `texts`, `predict_seconds`, `engine`, `reason` and `peak_mebibytes`.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a model folder with textclf.json")
    parser.add_argument("--input", type=Path, required=True, help="Parquet file with the column text")
    parser.add_argument("--output", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--batch-size", type=int, default=64, help="most texts per batch (default: %(default)s)")
    parser.add_argument("--precision", choices=["no", "auto"], default="no", help="of torch (default: %(default)s)")
    parser.add_argument("--engine", default="auto", help="as the library names it (default: %(default)s)")
    parser.add_argument("--choices", type=Path, help="folder that keeps which engine is the fastest, for auto")
    arguments = parser.parse_args()

    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pq.read_table(arguments.input, columns=["text"])["text"].to_pylist()
    classifier = load(arguments, texts)
    if len(classifier.rungs) > 1:
        # A rung is loaded when a text reaches it.
        classifier.predict(texts[:TEXTS_TO_REACH_ALL_RUNGS], batch_size=arguments.batch_size)
    started = time.perf_counter()
    answers = classifier.answer(texts, batch_size=arguments.batch_size)
    decisions = classifier.head.decide(answers.probabilities)
    seconds = time.perf_counter() - started
    columns = {
        "label": decisions.labels,
        "score": decisions.scores,
        "probabilities": answers.probabilities.tolist(),
        "rung": answers.rungs,
    }
    pq.write_table(pa.table(columns), arguments.output)
    found = {"texts": len(texts), "predict_seconds": seconds, "engine": classifier.engine_name}
    print(json.dumps({**found, "reason": classifier.engine_reason, "peak_mebibytes": peak_mebibytes()}))


def load(arguments: argparse.Namespace, texts: list[str]) -> Classifier:
    """Loads the classifier with the engine that was asked for."""
    from textclf.model.classifier import Choices, Classifier

    # As many as a job takes.
    choices = Choices(arguments.choices, lambda _: (texts[:256], None)) if arguments.choices else None
    return Classifier.load(
        arguments.model, engine=arguments.engine, mixed_precision=arguments.precision, choices=choices
    )


if __name__ == "__main__":
    main()
