"""Model folders for the benchmarks: the shape of bert-base-chinese with random weights, or a given model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison import SHARED

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier

SHAPE = SHARED / "models" / "bert-base-chinese"
LABELS = ("负面", "正面")


def make_model(target: Path, shape: Path, *, seed: int) -> Path:
    """Writes a folder with random weights for `from_pretrained`, and returns it.

    Raises:
        SystemExit: `shape` has no `config.json`; it also needs the tokenizer's files.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, set_seed

    check_folder(shape)
    set_seed(seed)
    names = dict(enumerate(LABELS))
    config = AutoConfig.from_pretrained(shape, id2label=names, label2id={name: index for index, name in names.items()})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(target)
    AutoTokenizer.from_pretrained(shape).save_pretrained(target)
    return target


def as_classifier(target: Path, source: Path, *, max_length: int, spread_over: Sequence[str] = ()) -> Path:
    """Writes a folder that both `pipeline` and `Classifier.load` can read, and returns it.

    Args:
        target: The new folder.
        source: A model with a classification head; its label names are kept.
        max_length: Length to which texts are truncated.
        spread_over: Texts among which the labels of a random model are to be about evenly distributed. Otherwise it
            gives all texts the same label, and equal labels would prove nothing.

    Raises:
        SystemExit: `source` has no `config.json`.
    """
    from transformers import AutoModelForSequenceClassification

    from textclf.config.data import CleaningConfig
    from textclf.model.encoder import EncoderClassifier, save_classifier
    from textclf.model.engines.torch_engine import TorchEngine
    from textclf.model.settings import ClassifierSettings
    from textclf.model.tokenizer import TextTokenizer
    from textclf.model.tokens import load_tokenizer

    check_folder(source)
    model = AutoModelForSequenceClassification.from_pretrained(source)
    labels = tuple(model.config.id2label[index] for index in range(model.config.num_labels))
    tokenizer = load_tokenizer(source)
    settings = ClassifierSettings(labels=labels, max_length=max_length, cleaning=CleaningConfig())
    save_classifier(target, model, tokenizer, settings)
    if spread_over:
        words = TextTokenizer.load(target, max_length=max_length)
        _spread(model, EncoderClassifier(TorchEngine(model), words, settings), spread_over)
        model.save_pretrained(target)
    return target


def _spread(model: Any, classifier: Classifier, texts: Sequence[str]) -> None:
    """Scales and shifts the last layer, so that scores vary and each label is the likelier one for half the texts."""
    import numpy as np
    import torch

    head = model.classifier
    with torch.no_grad():
        logits = torch.from_numpy(np.log(classifier.predict(texts))).to(head.bias)
        spread = float(logits.std(dim=0).max())
        head.weight.div_(spread)
        head.bias.sub_(logits.median(dim=0).values).div_(spread)


def check_folder(folder: Path) -> None:
    """Ends the program if a folder has no `config.json`."""
    if not (folder / "config.json").is_file():
        raise SystemExit(f"There is no config.json in {folder}: name a model folder with --model.")
