"""Model folders for the benchmarks: the shape of bert-base-chinese with random weights, or a given model."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison import SHARED

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier

SHAPE = SHARED / "models" / "bert-base-chinese"
LABELS = ("负面", "正面")
TEXTS_FOR_THE_HEAD = 64


@dataclass(frozen=True)
class KeptModel:
    """A model folder that several benchmarks share.

    Attributes:
        folder: As training writes it, with its exported engines.
        texts: What it was calibrated with. It is not timed with them.
        about: Says what it is.
    """

    folder: Path
    texts: frozenset[str]
    about: str


def kept_model(
    keep: Path,
    texts: Sequence[str],
    *,
    source: Path | None = None,
    shape: Path = SHAPE,
    labels: Sequence[str] = LABELS,
    max_length: int = 128,
    seed: int = 42,
    exported: bool = True,
) -> KeptModel:
    """Makes a model with an int8 engine in a folder, or finds the one made there earlier with the same settings.

    Args:
        keep: The folder.
        texts: Cleaned texts; the engine is calibrated with some of them.
        source: A fine-tuned model, else random weights.
        shape: `config.json` and vocabulary of random weights.
        labels: Of random weights.
        max_length: Length to which texts are truncated.
        seed: Of the weights, and of the texts that are drawn.
        exported: Whether the engine is needed.

    Raises:
        SystemExit: The folder has a model with other settings, or the model is missing.
    """
    from textclf.model.engines.engine import EXPORTED_ENGINES, exported_engines, read_engine

    about = str(source) if source else f"random weights ({shape.name})"
    settings = {"model": about, "labels": list(labels), "max_length": max_length, "seed": seed}
    description, folder = keep / "settings.json", keep / "model"
    if description.is_file():
        found = json.loads(description.read_text(encoding="utf-8"))
        drawn = found.pop("texts")
        if found != settings:
            raise SystemExit(f"{keep} was made with {found}, not {settings}: name another folder with --keep.")
    else:
        keep.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        drawn = random.Random(seed).sample(list(texts), min(_calibration_rows(), len(texts) // 2))
        plain = source or make_model(keep / "plain", shape, seed=seed, labels=labels)
        as_classifier(folder, plain, max_length=max_length, spread_over=() if source else drawn[:TEXTS_FOR_THE_HEAD])
        shutil.rmtree(keep / "plain", ignore_errors=True)
        description.write_text(json.dumps({**settings, "texts": drawn}, ensure_ascii=False), encoding="utf-8")
    for name in sorted({*EXPORTED_ENGINES} - {*exported_engines(folder)}) if exported else ():
        export(folder, name, drawn, max_length=max_length)
    for name in exported_engines(folder):
        record = read_engine(folder / "engines" / name, check_files=False)
        about += f", {name} exported in {record.seconds:.0f} s with {record.calibration_rows} other texts"
    return KeptModel(folder, frozenset(drawn), about)


def export(folder: Path, name: str, texts: Sequence[str], *, max_length: int) -> None:
    """Exports an int8 engine into a model folder, and lets the library use it whatever it says of the texts.

    The labels of random weights say nothing about parity; the benchmarks count those that are equal.
    """
    from textclf.model.engines.choice import PARITY_FILE
    from textclf.model.engines.engine import engine_folder
    from textclf.model.engines.export import export_engine
    from textclf.model.tokenizer import TextTokenizer
    from textclf.records import ParityReport

    print(f"exporting {name} of {folder}: up to two minutes", file=sys.stderr, flush=True)
    tokenizer = TextTokenizer.load(folder, max_length=max_length)
    record = export_engine(folder, name, [tokenizer.encode([text]).ids.tolist() for text in texts])
    report = ParityReport(engine=record.name, passed=True, reason="It is measured by a benchmark.")
    parity = engine_folder(folder, record.name) / PARITY_FILE
    parity.write_text(report.model_dump_json(indent=1), encoding="utf-8")


def _calibration_rows() -> int:
    from textclf.config.engine import EngineConfig

    return EngineConfig().calibration_texts


def make_model(target: Path, shape: Path, *, seed: int, labels: Sequence[str] = LABELS) -> Path:
    """Writes a folder with random weights for `from_pretrained`, and returns it.

    Raises:
        SystemExit: `shape` has no `config.json`; it also needs the tokenizer's files.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, set_seed

    check_folder(shape)
    set_seed(seed)
    names = dict(enumerate(labels))
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
