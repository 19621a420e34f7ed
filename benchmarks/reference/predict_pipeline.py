"""The tutorial's prediction, written plainly: one call of `pipeline` per text, as a reference for textclf.

With --batch-size, one call for all texts, which `pipeline` then cuts into batches in their order.

    python benchmarks/reference/predict_pipeline.py --model FOLDER --input texts.parquet --output labelled.parquet

The input has a column text; the output adds label and score. Nothing here comes from textclf.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

import pandas as pd
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

MAX_LENGTH = 128


def clean(text: str) -> str:
    """Replaces each run of characters that are neither word characters nor white space with a space."""
    return re.sub(r"[^\w\s]+", " ", text).strip()


def main() -> None:
    """Reads texts, predicts one after the other, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--input", type=Path, required=True, help="Parquet file with a column text")
    parser.add_argument("--output", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--raw", action="store_true", help="do not clean: the model was trained on uncleaned texts")
    parser.add_argument("--max-length", type=int, default=MAX_LENGTH, help="longest sequence in tokens")
    parser.add_argument("--batch-size", type=int, help="texts per batch (default: one call per text)")
    arguments = parser.parse_args()

    classify = pipeline(
        "text-classification",
        model=AutoModelForSequenceClassification.from_pretrained(arguments.model),
        tokenizer=AutoTokenizer.from_pretrained(arguments.model),
    )
    rows = pd.read_parquet(arguments.input)
    started = time.perf_counter()
    texts = [text if arguments.raw else clean(text) for text in rows["text"]]
    options = {"truncation": True, "max_length": arguments.max_length}
    if arguments.batch_size:
        results = classify(texts, batch_size=arguments.batch_size, **options)
    else:
        results = [classify(text, **options)[0] for text in texts]
    seconds = time.perf_counter() - started
    rows["label"] = [result["label"] for result in results]
    rows["score"] = [result["score"] for result in results]
    rows.to_parquet(arguments.output)
    print(json.dumps({"texts": len(rows), "predict_seconds": seconds, "texts_per_second": len(rows) / seconds}))


if __name__ == "__main__":
    main()
