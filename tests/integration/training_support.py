"""What the tests of tokenising and training share: small data that is easy to tell apart, and a tiny BERT."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from textclf.config import Home, TrainConfig
from textclf.data.prepare import prepare
from textclf.fetching import fetch_data, fetch_model
from textclf.records import EncodedData, FetchedModel, PreparedData
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient

SHARED = Path(__file__).resolve().parents[3] / "shared"
TOPICS = ("房间", "早餐", "服务", "位置", "前台", "电池", "屏幕", "键盘", "故事", "翻译", "内容", "纸张")
WORDS = {"好评": ("很好", "满意", "喜欢", "不错"), "差评": ("很差", "失望", "讨厌", "糟糕"), "中评": ("一般", "普通")}
TINY = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


def make_home(folder: Path, *, like: Home | None = None) -> Home:
    """A home in a folder.

    Args:
        folder: Its place; made if it is not there.
        like: A home whose MLflow store is copied, because making a new one takes seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if like:
        shutil.copy(like.root / "mlflow.db", folder)
    return Home(root=folder, tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


def connect(home: Home) -> MlflowClient:
    """MLflow's client for the store of a home."""
    return TrackingStore.open(home).client


def write_reviews(
    folder: Path, rows: Mapping[str, int], *, classes: int = 2, numbers: bool = False, seed: int = 1, longest: int = 6
) -> Path:
    """Writes `<split>.tsv` with texts whose words give the class away; texts differ in length.

    Args:
        folder: Where they go.
        rows: Rows by split.
        classes: How many labels.
        numbers: Write 0, 1, ... in place of the labels' names.
        seed: Picks the words.
        longest: Most parts a text has.
    """
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    labels = list(WORDS)[:classes]
    number = 0
    for split, count in rows.items():
        lines = ["text\tlabel"]
        for index in range(count):
            label = labels[index % classes]
            parts = [f"{chance.choice(TOPICS)}{chance.choice(WORDS[label])}" for _ in range(chance.randint(2, longest))]
            number += 1
            lines.append(f"{'，'.join(parts)}。{number}\t{index % classes if numbers else label}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_pairs(folder: Path, rows: Mapping[str, int], *, seed: int = 1, longest: int = 1) -> Path:
    """Writes `<split>.tsv` with pairs of texts that are 同 if both have the same mark and 异 if not.

    Every mark is as frequent under either label, so that neither text alone says anything.

    Args:
        folder: Where they go.
        rows: Rows by split; a multiple of 4 each.
        seed: Picks the words.
        longest: Most words after a mark.
    """
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    marks = ("甲", "乙")
    for split, count in rows.items():
        lines = ["text\ttext_pair\tlabel"]
        for index in range(count):
            first, second = marks[index % 2], marks[index // 2 % 2]
            texts = [
                mark + "".join(chance.choice(TOPICS)[0] for _ in range(chance.randint(1, longest)))
                for mark in (first, second)
            ]
            lines.append(f"{texts[0]}\t{texts[1]}\t{'同' if first == second else '异'}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def replace_training_rows(prepared: PreparedData, table: pa.Table, folder: Path) -> PreparedData:
    """Copies a prepared data set and gives it other training rows.

    Args:
        prepared: The data set.
        table: Its new `train.parquet`.
        folder: The new folder; its name becomes the digest.
    """
    import pyarrow.parquet as pq

    shutil.copytree(prepared.folder, folder)
    pq.write_table(table, folder / "train.parquet")
    rows = {**prepared.rows, "train": table.num_rows}
    return prepared.model_copy(update={"folder": folder, "digest": folder.name, "rows": rows})


def make_config(data: Path, /, *, pretrained: Path | None = None, **sections: Mapping[str, Any]) -> TrainConfig:
    """A configuration for a data folder: a tiny new BERT, or the one in a folder.

    Args:
        data: Folder with train.tsv, validation.tsv and test.tsv.
        pretrained: Model folder.
        sections: Fields by section; they are added to small defaults.
    """
    sources = [{"provider": "local", "path": str(pretrained)}] if pretrained else []
    values: dict[str, dict[str, Any]] = {
        "data": {"name": "tiny", "sources": [{"provider": "local", "path": str(data)}]},
        "encoding": {"max_length": 32},
        "engine": {"export": "none"},
        "model": {"sources": sources, "architecture": {**TINY, "vocabulary_size": 200}},
        "training": {
            "per_device_train_batch_size": 16,
            "learning_rate": 2e-2,
            "num_train_epochs": 3,
            "mixed_precision": "no",
            "logging_steps": 1,
            "seed": 7,
        },
    }
    for section, fields in sections.items():
        values[section] = {**values.get(section, {}), **fields}
    return TrainConfig.model_validate(values)


def make_data(config: TrainConfig, home: Home) -> tuple[PreparedData, FetchedModel | None]:
    """Fetches and cleans what a configuration names."""
    fetched = fetch_data(config.data.sources, home=home)
    model = fetch_model(config.model.sources, home=home) if config.model.sources else None
    return prepare(fetched, data=config.data, cleaning=config.cleaning, home=home), model


def make_encoded(config: TrainConfig, home: Home) -> tuple[PreparedData, EncodedData, FetchedModel | None]:
    """Fetches, cleans and tokenises what a configuration names."""
    from textclf.model.tokens import encode

    prepared, model = make_data(config, home)
    return prepared, encode(prepared, model, model=config.model, encoding=config.encoding, folder=home.prepared), model


def train_arguments(config: TrainConfig, labels: tuple[str, ...]) -> dict[str, Any]:
    """What `train` needs of a configuration."""
    from textclf.model.settings import ClassifierSettings

    settings = ClassifierSettings.of(config, labels)
    return {"settings": settings, "model": config.model, "encoding": config.encoding, "training": config.training}


def make_pretrained(folder: Path, texts: list[str], *, initializer_range: float = 0.02) -> Path:
    """Saves a tiny BERT for masked language modelling with a vocabulary of the texts, as a pre-trained model.

    Args:
        folder: The new folder.
        texts: What the vocabulary is made of.
        initializer_range: Spread of the weights; the wider, the more the outputs differ from text to text.
    """
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    from textclf.model.tokens import build_vocabulary

    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("".join(f"{token}\n" for token in build_vocabulary(texts, 300)), encoding="utf-8")
    tokenizer = BertTokenizer(vocab=str(vocabulary))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    config = BertConfig(vocab_size=len(tokenizer), initializer_range=initializer_range, **TINY)
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def shared(name: str) -> Path:
    """A folder of real data beside the repository; skips the test where it is absent."""
    folder = SHARED / name
    if not folder.exists():
        pytest.skip(f"real data is absent: {folder}")
    return folder
