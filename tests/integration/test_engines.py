"""Exported engines compute what torch computes, without torch, and say why if they cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from textclf.model.engines.engine import engine_folder, exported_engines
from textclf.model.engines.export import export_engine
from textclf.model.engines.openvino_engine import OpenVinoEngine
from textclf.model.engines.torch_engine import TorchEngine

LONGEST = 64
VOCABULARY = 300
Batch = tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64] | None]


def make_model(folder: Path, kind: str, labels: int) -> Path:
    """Writes a small random model."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    names = {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128} if kind == "distilbert" else {}
    names = names or {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    # RoBERTa counts positions from the padding id onwards.
    config = AutoConfig.for_model(
        kind, **names, vocab_size=VOCABULARY, max_position_embeddings=LONGEST + 2, num_labels=labels, pad_token_id=1
    )
    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


def rows(count: int, *, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(5, VOCABULARY, size=random.integers(3, LONGEST)).tolist() for _ in range(count)]


def padded(sequences: list[list[int]], *, pairs: bool = False) -> Batch:
    lengths = np.array([len(sequence) for sequence in sequences])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, 1, dtype=np.int64)
    ids[mask] = np.concatenate(sequences)
    types = ((np.arange(mask.shape[1]) >= lengths[:, None] // 2) & mask).astype(np.int64) if pairs else None
    return ids, None if mask.all() else mask.astype(np.int64), types


def torch_engine(folder: Path) -> TorchEngine:
    from transformers import AutoModelForSequenceClassification

    return TorchEngine(AutoModelForSequenceClassification.from_pretrained(folder))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_model(tmp_path_factory.mktemp("bert"), "bert", 2)
    export_engine(folder, rows(30, seed=1))
    return folder


@pytest.fixture
def engine(model: Path) -> OpenVinoEngine:
    return OpenVinoEngine.load(engine_folder(model, "openvino-int8"))


@pytest.mark.parametrize(
    ("kind", "labels", "pairs"),
    [("bert", 15, True), ("xlm-roberta", 2, False), ("distilbert", 2, False), ("electra", 2, False)],
)
def test_an_exported_engine_agrees_with_torch(tmp_path: Path, kind: str, labels: int, pairs: bool) -> None:
    folder = make_model(tmp_path, kind, labels)
    calibration = rows(10, seed=1)
    types = [[0] * (len(row) // 2) + [1] * (len(row) - len(row) // 2) for row in calibration] if pairs else None
    record = export_engine(folder, calibration, types)
    assert record.calibration_rows == 10 and record.num_labels == labels
    assert ("token_type_ids" in record.inputs) is (kind != "distilbert")
    engine, reference = OpenVinoEngine.load(engine_folder(folder, record.name)), torch_engine(folder)
    assert exported_engines(folder) == (engine.name,)
    for sequences in (rows(40, seed=2), [[7] * LONGEST] * 3, [[9, 8, 7]]):
        batch = padded(sequences, pairs=pairs)
        ours, theirs = engine.logits(*batch), reference.logits(*batch)
        assert ours.dtype == np.float32 and ours.shape == theirs.shape == (len(sequences), labels)
    many = padded(rows(200, seed=3), pairs=pairs)
    ours, theirs = engine.logits(*many), reference.logits(*many)
    for label in range(labels):
        assert np.corrcoef(ours[:, label], theirs[:, label])[0, 1] > 0.9
