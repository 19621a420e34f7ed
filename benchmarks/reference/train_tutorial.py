"""The tutorial's training script, written plainly as a reference for textclf.

    python benchmarks/reference/train_tutorial.py --data FOLDER --model FOLDER --output FOLDER

The data folder holds `train*`, `validation*` (or `dev*`) and `test*` as Parquet or as TSV without quoting, with the
columns text and label. Losses are printed as JSON, one per line, each with the processor time so far. Nothing here
comes from textclf.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import time
from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict, load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback

MAX_LENGTH = 128


def clean(text: str) -> str:
    """Replaces each run of characters that are neither word characters nor white space with a space."""
    return re.sub(r"[^\w\s]+", " ", text).strip()


def load(folder: Path) -> DatasetDict:
    """Loads the three splits of a folder."""
    files = {}
    for split, names in {"train": ["train"], "validation": ["validation", "dev"], "test": ["test"]}.items():
        files[split] = [str(file) for name in names for file in sorted(folder.glob(f"{name}*"))]
    if files["train"][0].endswith(".parquet"):
        return load_dataset("parquet", data_files=files)
    data = load_dataset("csv", data_files=files, delimiter="\t", quoting=csv.QUOTE_NONE)
    return data.rename_column("text_a", "text") if "text_a" in data["train"].column_names else data


class PrintLoss(TrainerCallback):
    """Prints what Trainer logs."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Prints one JSON object per line."""
        print(json.dumps({"step": state.global_step, "cpu_seconds": time.process_time(), **(logs or {})}), flush=True)


def accuracy(prediction: Any) -> dict[str, float]:
    """Returns the share of rows whose highest output is the label."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def main() -> None:
    """Cleans, encodes, trains, evaluates and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train, validation and test files")
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and the trained model")
    parser.add_argument("--max-steps", type=int, default=-1, help="stop after this many steps")
    parser.add_argument("--logging-steps", type=int, default=10, help="steps between two losses")
    parser.add_argument("--seed", type=int, default=42, help="seed of head, order and dropout")
    arguments = parser.parse_args()

    data = load(arguments.data).map(lambda row: {"text": clean(row["text"])})
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    data = data.map(
        lambda rows: tokenizer(rows["text"], padding="max_length", truncation=True, max_length=MAX_LENGTH),
        batched=True,
    )
    # For the new head; Trainer seeds again for the order of the rows and for dropout.
    set_seed(arguments.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        arguments.model, num_labels=len(set(data["train"]["label"]))
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(arguments.output / "checkpoints"),
            num_train_epochs=1,
            max_steps=arguments.max_steps,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=16,
            learning_rate=2e-5,
            eval_strategy="epoch",
            save_strategy="no",
            logging_steps=arguments.logging_steps,
            seed=arguments.seed,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
        ),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        compute_metrics=accuracy,
        callbacks=[PrintLoss],
    )
    # It would print the same again, not as JSON.
    trainer.remove_callback(PrinterCallback)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    print(json.dumps({"train_seconds": seconds, "steps": trainer.state.global_step}))
    print(json.dumps(trainer.evaluate(data["test"], metric_key_prefix="test")))
    trainer.save_model(str(arguments.output / "model"))
    tokenizer.save_pretrained(arguments.output / "model")


if __name__ == "__main__":
    main()
