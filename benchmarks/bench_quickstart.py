"""The quickstart over several seeds: scores, everyday sentences, and seconds.

Each seed trains in a home of its own, as `make train` does. Then its champion, and its encoder, answer the hand-written
sentences of tests/assets/everyday.tsv, which no training has seen.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from comparison import REPOSITORY, section

EVERYDAY = REPOSITORY / "tests" / "assets" / "everyday.tsv"
SURE = 0.9


def main() -> None:
    """Trains with each seed and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="default: 1 2 3 4 5")
    parser.add_argument(
        "--options",
        nargs=argparse.REMAINDER,
        default=[],
        help="further options of flows/train_flow.py, the last of the line: --options --training.num_train_epochs 3",
    )
    arguments = parser.parse_args()
    lines = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as home:
            lines += quickstart(Path(home), seed, arguments.options)
    table = [
        f"| seed | model | leak-free macro F1 | everyday sentences right | with a score above {SURE} | command, s |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
        *lines,
    ]
    print(section("Quickstart", {"everyday sentences": len(sentences())}, table))


def quickstart(home: Path, seed: int, options: list[str]) -> list[str]:
    """Trains with one seed, and returns a line for the champion and one for the encoder."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"TEXTCLF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, REPOSITORY / "flows" / "train_flow.py", "--training.seed", str(seed), *options]
    started = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"The flow ended with exit code {done.returncode}:\n{done.stderr}")
    return [line(version, seed, seconds) for version in versions(home)]


def versions(home: Path) -> list[dict[str, Any]]:
    """Returns kind, metrics, model folder and role of each version that a training has registered."""
    from mlflow import MlflowClient

    from textclf.registry.versions import KIND_TAG

    # MLflow keeps the registry of the first home unless it is told the next one.
    place = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(place, registry_uri=place)
    found = []
    for version in client.search_model_versions("name = 'textclf-quickstart'"):
        run = client.get_run(version.run_id)
        path = client.get_model_version_download_uri(version.name, version.version).removeprefix("file://")
        (settings,) = Path(path).glob("data/*/textclf.json")
        found.append(
            {
                "kind": version.tags[KIND_TAG],
                "champion": "champion" in client.get_model_version(version.name, version.version).aliases,
                "f1": run.data.metrics["test_leakfree/f1_macro"],
                "folder": settings.parent,
            }
        )
    return found


def line(version: dict[str, Any], seed: int, seconds: float) -> str:
    """Lets a version answer the everyday sentences, and formats its line of the table."""
    from textclf.model.classifier import Classifier

    rows = sentences()
    classifier = Classifier.load(version["folder"])
    decisions = classifier.head.decide(classifier.predict([row["text"] for row in rows]))
    right = [row["label"] == label for row, label in zip(rows, decisions.labels, strict=True)]
    sure = [score > SURE for score in decisions.scores]
    surely_right = [good for good, certain in zip(right, sure, strict=True) if certain]
    name = version["kind"] + (" (champion)" if version["champion"] else "")
    return (
        f"| {seed} | {name} | {version['f1']:.4f} | {statistics.mean(right):.1%} | {sum(surely_right):,} of "
        f"{len(surely_right):,} = {statistics.mean(surely_right or [0]):.1%} | {seconds:.0f} |"
    )


def sentences() -> list[dict[str, str]]:
    """Reads the everyday sentences: `text` and `label`."""
    with EVERYDAY.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


if __name__ == "__main__":
    main()
