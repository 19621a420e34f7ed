"""Turns the classifier of `configs/quickstart-encoder-labels.yaml` into the encoder that ships with textclf.

`make sample-encoder` writes the texts, runs an adaptation and a training, then this: the encoder without its head, in
half precision, with its tokenizer and a model card.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from textclf.config.home import Home
from textclf.errors import StorageError, TextclfError
from textclf.fetching.local import SAMPLE
from textclf.quiet import quiet_transformers
from textclf.registry.lookup import resolve_model
from textclf.store import file_sha256, temporary_folder
from textclf.tracking.store import TrackingStore

logger = logging.getLogger(__name__)

ENCODER, CLASSIFIER = "textclf-encoder-quickstart", "textclf-quickstart-labels"
LARGEST_MEGABYTES = 6.0
CARD = """\
---
license: cc0-1.0
language: zh
---

# The small encoder that ships with textclf

A BERT of {layers} layers, {width} wide, with {parameters:.1f} million parameters and a vocabulary of {vocabulary:,}
tokens. `configs/quickstart.yaml` fine-tunes it in twenty seconds on two cores.

- **What it has read:** texts that `textclf.data.sample.generator` wrote, and nothing else; none of the sample's
  validation and test rows. Nobody's texts, so nobody's rights: CC0.
- **How it was trained:** first by masked language modelling (`flows/adapt_flow.py` with
  `configs/quickstart-encoder.yaml`, {steps} steps on {tokens} tokens, validation loss {loss:.3f} per masked token),
  then to tell positive from negative (`flows/train_flow.py` with `configs/quickstart-encoder-labels.yaml`, {rows} rows,
  accuracy {accuracy:.1%} on rows that it has not seen). Its head is left out.
- **How to make it again:** `make sample-encoder`, half an hour on two cores.
- **What it is for:** the quickstart, and tests. It knows opinions on everyday things in simplified Chinese. For
  anything else take an encoder such as bert-base-chinese.

`model.safetensors` is in half precision; sha256 `{sha256}`.
"""


def write_sample_encoder(home: Home, target: Path) -> None:
    """Writes the encoder of the registered classifier as a model folder.

    Raises:
        ModelNotFoundError: Nothing is registered in the home.
        StorageError: The encoder is larger than a package should be.
        TrackingError: MLflow's store failed.
        OSError: The folder cannot be written.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    quiet_transformers()
    chosen = resolve_model(home, CLASSIFIER, "champion")
    if chosen.folder is None:
        raise StorageError(f"The files of {CLASSIFIER} are not in {home.root}: make it there.")
    store = TrackingStore.open(home)
    with store.reporting("reading the figures of the encoder"):
        run = store.client.get_run(chosen.run_id)
        newest = max(store.client.search_model_versions(f"name='{ENCODER}'"), key=lambda found: int(found.version))
        adapted = store.client.get_run(str(newest.run_id)).data
    inputs = run.inputs.dataset_inputs if run.inputs else []
    rows = max(json.loads(str(found.dataset.profile))["num_rows"] for found in inputs)
    # The Auto classes are untyped.
    auto: Any = AutoModel
    model = auto.from_pretrained(chosen.folder, dtype=torch.float32).half()
    with temporary_folder(target.parent, target.name) as draft:
        model.save_pretrained(draft)
        AutoTokenizer.from_pretrained(chosen.folder).save_pretrained(draft)
        weights = draft / "model.safetensors"
        size = weights.stat().st_size / 1e6
        if size > LARGEST_MEGABYTES:
            raise StorageError(f"The encoder has {size:.1f} MB, and {LARGEST_MEGABYTES} are allowed: make it smaller.")
        card = CARD.format(
            layers=model.config.num_hidden_layers,
            width=model.config.hidden_size,
            parameters=sum(weight.numel() for weight in model.parameters()) / 1e6,
            vocabulary=model.config.vocab_size,
            steps=adapted.params["adaptation.max_steps"],
            tokens=f"{int(adapted.params['data.tokens']):,}",
            loss=adapted.metrics["validation/best_loss"],
            rows=f"{rows:,}",
            accuracy=run.data.metrics["test_leakfree/accuracy"],
            sha256=file_sha256(weights),
        )
        (draft / "README.md").write_text(card, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for file in draft.glob("*.*"):
            if not file.name.startswith("."):
                shutil.copyfile(file, target / file.name)
    logger.info("Wrote the encoder to %s: %.1f MB.", target, size)


def main() -> None:
    """Writes the folder in the package, or another one."""
    parser = argparse.ArgumentParser(prog="python -m textclf.registry.sample_encoder", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=SAMPLE / "encoder", metavar="FOLDER", help="default: %(default)s"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        write_sample_encoder(Home.from_environment(), arguments.output)
    except TextclfError as error:
        parser.exit(error.exit_code, f"{error}\n")


if __name__ == "__main__":
    main()
