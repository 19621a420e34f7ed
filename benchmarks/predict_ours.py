"""Classifies the texts of a Parquet file through the library, and reports how long it took.

The counterpart of `reference/predict_pipeline.py`: the same texts, the same model folder. As there, the time from raw
texts to labels is measured (cleaning, tokenising, batches of similar length), without loading the model.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path


def main() -> None:
    """Predicts, writes `label` and `score` of each row, and prints `texts` and `predict_seconds` as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a model folder with textclf.json")
    parser.add_argument("--input", type=Path, required=True, help="Parquet file with the column text")
    parser.add_argument("--output", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--batch-size", type=int, default=64, help="texts per batch (default: %(default)s)")
    parser.add_argument("--precision", choices=["no", "auto"], default="no", help="(default: %(default)s)")
    arguments = parser.parse_args()

    import pyarrow as pa
    import pyarrow.parquet as pq

    from textclf.model.classifier import Classifier

    texts = pq.read_table(arguments.input, columns=["text"])["text"].to_pylist()
    classifier = Classifier.load(arguments.model, mixed_precision=arguments.precision)
    started = time.perf_counter()
    decisions = classifier.head.decide(classifier.predict(texts, batch_size=arguments.batch_size))
    seconds = time.perf_counter() - started
    pq.write_table(pa.table({"label": decisions.labels, "score": decisions.scores}), arguments.output)
    print(json.dumps({"texts": len(texts), "predict_seconds": seconds}))


if __name__ == "__main__":
    main()
