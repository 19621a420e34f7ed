"""Fine-tunes through the library with the default recipe, and reports how long the steps took.

The counterpart of `reference/train_tutorial.py`: the same data and model, one epoch over the same rows, leaks and label
conflicts included. A row that repeats others is trained once and counts as all of them. All steps are timed, without
evaluation and checkpoints, after two warm-up steps.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from pathlib import Path


def main() -> None:
    """Trains, and prints `rows`, `steps`, `train_seconds` and `cpu_seconds` as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train-, validation- and test-*.parquet")
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--output", type=Path, required=True, help="folder for the homes of both trainings")
    parser.add_argument("--seed", type=int, default=42, help="seed (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="rows per step (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=128, help="tokens per row (default: %(default)s)")
    parser.add_argument("--precision", choices=["no", "auto"], default="auto", help="(default: %(default)s)")
    arguments = parser.parse_args()
    run(arguments, folder=arguments.output / "warm-up", max_steps=2)
    print(json.dumps(run(arguments, folder=arguments.output / "timed", max_steps=None)))


def run(arguments: argparse.Namespace, *, folder: Path, max_steps: int | None) -> dict[str, float]:
    """Trains once through the library, with a folder as its home, and returns what it took."""
    from textclf.config import Home, TrainConfig
    from textclf.data.prepare import prepare
    from textclf.fetching import fetch_data, fetch_model
    from textclf.model.settings import ClassifierSettings
    from textclf.model.tokens import encode
    from textclf.training.train import train

    config = TrainConfig.model_validate(
        {
            "data": {"name": "benchmark", "sources": [{"provider": "local", "path": arguments.data}]},
            "model": {"sources": [{"provider": "local", "path": arguments.model}]},
            "encoding": {"max_length": arguments.max_length},
            "training": {
                "num_train_epochs": 1,
                "max_steps": max_steps,
                "per_device_train_batch_size": arguments.batch_size,
                "mixed_precision": arguments.precision,
                "logging_steps": 1,
                "seed": arguments.seed,
            },
        }
    )
    home = Home(root=folder, tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    fetched = fetch_model(config.model.sources, home=home, offline=True)
    data = fetch_data(config.data.sources, home=home, offline=True)
    prepared = prepare(data, data=config.data, cleaning=config.cleaning, home=home)
    encoded = encode(prepared, fetched, model=config.model, encoding=config.encoding, folder=home.prepared)
    seconds: list[float] = []
    processor: list[float] = []

    def note(metrics: dict[str, float], step: int) -> None:
        if "train/samples_per_second" in metrics:
            seconds.append(arguments.batch_size / metrics["train/samples_per_second"])
            processor.append(time.process_time())

    run_folder = home.checkpoints / "benchmark"
    run_folder.mkdir(parents=True)
    train(
        encoded,
        fetched,
        settings=ClassifierSettings.of(config, prepared.labels),
        model=config.model,
        encoding=config.encoding,
        training=config.training,
        run_id="benchmark",
        folder=run_folder,
        log_metrics=note,
    )
    shutil.rmtree(run_folder)
    steps = len(seconds)
    return {
        "rows": prepared.rows["train"],
        "steps": steps,
        "train_seconds": math.fsum(seconds),
        # The first step's is not known apart from loading.
        "cpu_seconds": (processor[-1] - processor[0]) * steps / max(steps - 1, 1),
    }


if __name__ == "__main__":
    main()
