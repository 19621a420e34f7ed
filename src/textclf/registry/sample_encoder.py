"""Turns the newest encoder of `configs/quickstart-encoder.yaml` into the one that ships with textclf.

`make sample-encoder` writes the texts, runs the adaptation flow, then this: the encoder without the head that guesses
tokens, in half precision, with its tokenizer and a model card.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path
from typing import Any

from textclf.config.home import Home
from textclf.config.sources import ModelSource
from textclf.errors import StorageError, TextclfError
from textclf.fetching.local import SAMPLE
from textclf.quiet import quiet_transformers
from textclf.registry.encoders import find_encoder
from textclf.store import file_sha256, temporary_folder
from textclf.tracking.store import TrackingStore

logger = logging.getLogger(__name__)

NAME = "textclf-encoder-quickstart"
LARGEST_MEGABYTES = 6.0
CARD = """\
---
license: cc0-1.0
language: zh
pipeline_tag: fill-mask
---

# The small encoder that ships with textclf

A BERT of {layers} layers, {width} wide, with {parameters:.1f} million parameters and a vocabulary of {vocabulary:,}
tokens. `configs/quickstart.yaml` fine-tunes it in half a minute on two cores.

- **What it has read:** texts that `textclf.data.sample.generator` wrote ({tokens} tokens, seed 2026), and nothing else;
  no text of the sample's validation and test rows. Most of these texts end or begin with a rating or an emoticon.
  Nobody's texts, so nobody's rights: CC0.
- **How it was trained:** masked language modelling by `flows/adapt_flow.py` with `configs/quickstart-encoder.yaml`,
  ratings always masked, {steps} steps of 2,048 tokens. Validation loss {loss:.3f} per masked token ({before:.3f} before), {accuracy:.1%} of
  the masked tokens guessed.
- **How to make it again:** `make sample-encoder`, about half an hour on two cores.
- **What it is for:** the quickstart, and tests. It knows everyday opinions and reviews of a few kinds in simplified
  Chinese. For anything else take an encoder such as bert-base-chinese.

`model.safetensors` is in half precision; sha256 `{sha256}`.
"""


def write_sample_encoder(home: Home, target: Path) -> None:
    """Writes the newest registered quickstart encoder as a model folder.

    Raises:
        HubError: No such encoder is registered.
        StorageError: It is larger than a package should be.
        TrackingError: MLflow's store failed.
        OSError: The folder cannot be written.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    quiet_transformers()
    source = ModelSource(provider="registry", name=NAME)
    found = find_encoder(source, home)
    store = TrackingStore.open(home)
    with store.reporting("reading the figures of the encoder"):
        versions = store.client.search_model_versions(f"name='{NAME}'")
        run = store.client.get_run(str(max(versions, key=lambda version: int(version.version)).run_id))
    # The Auto classes are untyped.
    auto: Any = AutoModel
    model = auto.from_pretrained(found.folder, add_pooling_layer=False, dtype=torch.float32).half()
    # Fine-tuning drops out, though pre-training so small a model did not.
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
    with temporary_folder(target.parent, target.name) as draft:
        model.save_pretrained(draft)
        AutoTokenizer.from_pretrained(found.folder).save_pretrained(draft)
        weights = draft / "model.safetensors"
        size = weights.stat().st_size / 1e6
        if size > LARGEST_MEGABYTES:
            raise StorageError(f"The encoder has {size:.1f} MB, and {LARGEST_MEGABYTES} are allowed: make it smaller.")
        figures = run.data.metrics
        card = CARD.format(
            layers=model.config.num_hidden_layers,
            width=model.config.hidden_size,
            parameters=sum(weight.numel() for weight in model.parameters()) / 1e6,
            vocabulary=model.config.vocab_size,
            tokens=f"{int(run.data.params['data.tokens']):,}",
            steps=run.data.params["adaptation.max_steps"],
            loss=figures["validation/best_loss"],
            before=figures["validation/loss_before"],
            accuracy=figures["validation/best_masked_accuracy"],
            sha256=file_sha256(weights),
        )
        (draft / "README.md").write_text(card, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
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
