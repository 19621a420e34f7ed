"""The tutorial recipe does what the plain script in benchmarks/reference does, step for step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import training_support as support

from textclf.config import Home, TrainConfig
from textclf.model.encoder import EncoderClassifier
from textclf.training.train import train

REFERENCE = Path(__file__).resolve().parents[2] / "benchmarks" / "reference"
# 21 steps of 16 rows, the last of them short.
ROWS = {"train": 325, "validation": 40, "test": 40}
SEED = 5


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # As in the scripts: sums of floats depend on the number of threads.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run_script(name: str, folder: Path, **arguments: object) -> list[dict[str, Any]]:
    """Runs a reference script and returns what it printed as JSON."""
    words = [word for key, value in arguments.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    done = subprocess.run(
        [sys.executable, str(REFERENCE / name), *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.write_reviews(tmp_path_factory.mktemp("reviews"), ROWS, numbers=True, longest=12)


@pytest.fixture(scope="module")
def pretrained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = data.joinpath("train.tsv").read_text(encoding="utf-8").splitlines()
    return support.make_pretrained(tmp_path_factory.mktemp("model") / "bert", texts, initializer_range=0.2)


@pytest.fixture(scope="module")
def reference(data: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], Path]:
    """What the tutorial's script printed, and the folder of its model."""
    folder = tmp_path_factory.mktemp("reference")
    printed = run_script(
        "train_tutorial.py", folder, data=data, model=pretrained, output=folder, logging_steps=1, seed=SEED
    )
    return printed, folder / "model"


def test_every_loss_is_that_of_the_tutorials_script(
    data: Path, pretrained: Path, reference: tuple[list[dict], Path], tmp_path: Path
) -> None:
    home: Home = support.make_home(tmp_path / "home")
    config = TrainConfig.model_validate(
        {
            "data": {"name": "tiny", "sources": [{"provider": "local", "path": str(data)}]},
            "model": {"sources": [{"provider": "local", "path": str(pretrained)}]},
            "training": {"recipe": "tutorial", "logging_steps": 1, "seed": SEED},
        }
    )
    found: dict[int, dict[str, float]] = {}
    prepared, encoded, fetched = support.make_encoded(config, home)
    (tmp_path / "run").mkdir()
    trained = train(
        encoded,
        fetched,
        **support.train_arguments(config, prepared.labels),
        run_id="run",
        folder=tmp_path / "run",
        log_metrics=lambda metrics, step: found.setdefault(step, {}).update(metrics),
    )
    printed, folder = reference
    expected = [line for line in printed if "loss" in line]
    assert [line["step"] for line in expected] == list(range(1, 22)) == sorted(found)
    assert np.ptp([line["loss"] for line in expected]) > 1e-2, "another order of the rows would be seen"
    for name, theirs in (("train/loss", "loss"), ("train/learning_rate", "learning_rate")):
        ours = [found[line["step"]][name] for line in expected]
        np.testing.assert_allclose(ours, [line[theirs] for line in expected], rtol=0, atol=1e-5, err_msg=name)
    (evaluated,) = [line for line in printed if "eval_loss" in line]
    assert found[21]["validation/loss"] == pytest.approx(evaluated["eval_loss"], abs=1e-5)
    assert found[21]["validation/accuracy"] == pytest.approx(evaluated["eval_accuracy"])
    assert trained.steps == 21

    from safetensors.torch import load_file

    ours, theirs = (load_file(path / "model.safetensors") for path in (trained.folder, folder))
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-5


def test_every_label_is_that_of_the_plain_pipeline(
    data: Path, reference: tuple[list[dict], Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    from textclf.config import CleaningConfig
    from textclf.model.engines.torch_engine import TorchEngine
    from textclf.model.settings import ClassifierSettings
    from textclf.model.tokenizer import TextTokenizer

    lines = data.joinpath("test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    texts = [line.split("\t")[0] for line in lines]
    pq.write_table(pa.table({"text": texts}), tmp_path / "texts.parquet")
    _, folder = reference
    (printed,) = run_script(
        "predict_pipeline.py", tmp_path, model=folder, input=tmp_path / "texts.parquet", output=tmp_path / "out.parquet"
    )
    assert printed["texts"] == len(texts)
    rows = pq.read_table(tmp_path / "out.parquet").to_pydict()

    settings = ClassifierSettings(
        labels=("LABEL_0", "LABEL_1"), max_length=128, cleaning=CleaningConfig(rule="tutorial")
    )
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    probabilities = EncoderClassifier(TorchEngine(model), TextTokenizer.load(folder, max_length=128), settings).predict(
        texts
    )
    assert rows["label"] == [settings.labels[index] for index in probabilities.argmax(axis=1)]
    np.testing.assert_allclose(rows["score"], probabilities.max(axis=1), atol=1e-5)
