"""Training: does the model learn as much from the faster epoch? Leak-free macro F1 of some recipes and seeds.

All fine-tune the same pre-trained model for the same epochs over the same rows (leaks and label conflicts included), at
the same learning rate and length. Fine-tuning a small model from pre-trained weights needs a higher rate than the
tutorial's.

- `default`: the library's default recipe.
- `before`: the default, but equal rows are repeated, and no work is skipped (training.merge_repeats and
  training.shortcuts are false).
- `repeated`: the default, but equal rows are repeated (training.merge_repeats is false).
- `batch-16`: the default in 16 rows a step, as in the tutorial: twice the steps.
- `tutorial`: training.recipe tutorial, which does what the tutorial's script does, step for step.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from comparison import SHARED, machine_line

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "before": {"merge_repeats": False, "shortcuts": False},
    "repeated": {"merge_repeats": False},
    "batch-16": {"per_device_train_batch_size": 16},
    "tutorial": {"recipe": "tutorial"},
}


def main() -> None:
    """Trains every recipe with every seed and prints a table for docs/experiments.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "mini-zh", help="default: %(default)s")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "chnsenticorp" / "data", help="Parquet files")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=["default", "before", "tutorial"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    parser.add_argument("--epochs", type=float, default=1, help="default: %(default)s")
    parser.add_argument("--learning-rate", type=float, default=3e-4, help="default: %(default)s")
    parser.add_argument("--max-length", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--dropout", type=float, default=0.1, help="of the model (default: %(default)s)")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.recipes}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = with_dropout(arguments.model, folder / "model", arguments.dropout)
        for seed in arguments.seeds:
            for name in arguments.recipes:
                values = measure(arguments, name, seed, model=model, folder=folder / f"{name}-{seed}")
                found[name].append(values)
                print(json.dumps({"recipe": name, "seed": seed, **values}), file=sys.stderr, flush=True)
    print(
        f"Command: `{' '.join(['python benchmarks/' + Path(sys.argv[0]).name, *sys.argv[1:]])}`\n\n{machine_line()}\n"
    )
    print("| recipe | leak-free macro F1, mean | by seed | accuracy | validation F1 | steps | processor seconds |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for name, runs in found.items():
        means = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        scores = ", ".join(f"{run['f1_macro']:.4f}" for run in runs)
        print(
            f"| {name} | {means['f1_macro']:.4f} | {scores} | {means['accuracy']:.4f} | "
            f"{means['validation']:.4f} | {means['steps']:.0f} | {means['cpu_seconds']:.0f} |"
        )


def with_dropout(source: Path, target: Path, dropout: float) -> Path:
    """Copies a model folder and changes its dropout."""
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return target


def measure(arguments: argparse.Namespace, name: str, seed: int, *, model: Path, folder: Path) -> dict[str, float]:
    """Trains once and scores the last state on the leak-free test rows."""
    from textclf.config import Home, TrainConfig
    from textclf.data.prepare import prepare
    from textclf.data.prepared import read_split
    from textclf.fetching import fetch_data, fetch_model
    from textclf.heads.single_label import SingleLabel
    from textclf.model.classifier import Classifier, ClassifierSettings
    from textclf.model.tokens import encode
    from textclf.training.train import train

    config = TrainConfig.model_validate(
        {
            "data": {"name": "benchmark", "sources": [{"provider": "local", "path": arguments.data}]},
            "model": {"sources": [{"provider": "local", "path": model}]},
            "encoding": {"max_length": arguments.max_length},
            "training": {
                "num_train_epochs": arguments.epochs,
                "learning_rate": arguments.learning_rate,
                "seed": seed,
                **RECIPES[name],
            },
        }
    )
    home = Home(root=folder, tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    fetched = fetch_model(config.model.sources, home=home, offline=True)
    data = fetch_data(config.data.sources, home=home, offline=True)
    prepared = prepare(data, data=config.data, cleaning=config.cleaning, home=home)
    encoded = encode(prepared, fetched, model=config.model, encoding=config.encoding, folder=home.prepared)
    settings = ClassifierSettings.of(config, prepared.labels)
    run_folder = home.checkpoints / "benchmark"
    run_folder.mkdir(parents=True)
    started = time.process_time()
    trained = train(
        encoded,
        fetched,
        settings=settings,
        model=config.model,
        encoding=config.encoding,
        training=config.training,
        run_id="benchmark",
        folder=run_folder,
        log_metrics=lambda metrics, step: None,
    )
    seconds = time.process_time() - started
    test = read_split(prepared, "test")
    rows = test if test.leakfree is None else test.where(test.leakfree)
    metrics = SingleLabel(prepared.labels).metrics(rows.labels, Classifier.load(trained.folder).predict(rows.texts))
    shutil.rmtree(folder)
    return {
        "f1_macro": metrics["f1_macro"],
        "accuracy": metrics["accuracy"],
        "validation": trained.best_metric,
        "rows": float(len(rows)),
        "steps": float(trained.steps),
        "cpu_seconds": seconds,
    }


if __name__ == "__main__":
    main()
