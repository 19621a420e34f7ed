"""Rows that count more than once: what training and the baselines make of a column `weight`."""

from __future__ import annotations

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
from textclf.model.tokens import build_vocabulary, encode
from textclf.records import PreparedData
from textclf.training.repeats import merge_repeats
from textclf.training.train import train

# Which weight the first rows have; the others count once.
WEIGHTS = [3, 2, 5]
STEPS = 4


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # Tiny matrices: more threads only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return support.make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = tmp_path_factory.mktemp("reviews")
    data = support.write_reviews(folder, {"train": 12, "validation": 12, "test": 4})
    texts = data.joinpath("train.tsv").read_text(encoding="utf-8").splitlines()
    vocabulary = folder / "vocab.txt"
    # The same ids whatever rows there are.
    vocabulary.write_text("\n".join(build_vocabulary(texts, 200)), encoding="utf-8")
    architecture = {**support.TINY, "vocabulary_path": str(vocabulary), "dropout": 0.0}
    training = {"max_steps": STEPS, "learning_rate": 2e-3, "group_by_length": False, "merge_repeats": False}
    return support.make_config(data, model={"architecture": architecture}, training=training)


@pytest.fixture(scope="module")
def prepared(config: TrainConfig, home: Home) -> PreparedData:
    return support.make_data(config, home)[0]


@pytest.fixture(scope="module")
def rows(prepared: PreparedData) -> pa.Table:
    return pq.read_table(prepared.folder / "train.parquet")


@pytest.fixture
def weighted(prepared: PreparedData, rows: pa.Table, tmp_path: Path) -> PreparedData:
    weights = pa.array([*WEIGHTS, *[1] * (len(rows) - len(WEIGHTS))], pa.float32())
    return support.replace_training_rows(prepared, rows.append_column("weight", weights), tmp_path / "weighted")


@pytest.fixture
def repeated(prepared: PreparedData, rows: pa.Table, tmp_path: Path) -> PreparedData:
    indices = [index for index in range(len(rows)) for _ in range([*WEIGHTS, *[1] * len(rows)][index])]
    return support.replace_training_rows(prepared, rows.take(indices), tmp_path / "repeated")


class Run:
    """One training: its metrics by name and step, and its final weights."""

    def __init__(self, config: TrainConfig, prepared: PreparedData, folder: Path, **training: Any) -> None:
        from safetensors.torch import load_file

        config = config.model_copy(update={"training": config.training.model_copy(update=training)})
        self.metrics: dict[str, list[float]] = {}
        self.encoded = encode(prepared, None, model=config.model, encoding=config.encoding, folder=folder / "encoded")
        (folder / "run").mkdir(parents=True)
        trained = train(
            self.encoded,
            None,
            **support.train_arguments(config, prepared.labels),
            run_id="run",
            folder=folder / "run",
            log_metrics=self._log,
        )
        self.parameters = load_file(trained.folder / "model.safetensors")

    def _log(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.metrics.setdefault(name, []).append(value)

    def assert_like(self, other: Run) -> None:
        for name in ("train/loss", "train/gradient_norm", "validation/loss"):
            assert self.metrics[name] == pytest.approx(other.metrics[name], rel=1e-4), name
        for name, value in self.parameters.items():
            torch.testing.assert_close(value, other.parameters[name], rtol=0, atol=2e-4, msg=name)


def test_only_the_training_rows_carry_weights(weighted: PreparedData, config: TrainConfig, tmp_path: Path) -> None:
    encoded = encode(weighted, None, model=config.model, encoding=config.encoding, folder=tmp_path / "encoded")
    tables = {}
    for split in ("train", "validation", "test"):
        with pa.OSFile(str(encoded.folder / f"{split}.arrow")) as file:
            tables[split] = pa.ipc.open_stream(file).read_all()
    assert tables["train"].schema.field("weight").type == pa.float32()
    assert tables["train"]["weight"].to_pylist() == [*WEIGHTS, *[1] * 9]
    assert all("weight" not in tables[split].column_names for split in ("validation", "test"))


@pytest.mark.parametrize("group_by_length", [False, True])
@pytest.mark.parametrize(("batch_size", "batches_weighted", "batches_repeated"), [(32, 1, 1), (4, 3, 5)])
def test_a_weight_is_as_good_as_so_many_rows(
    config: TrainConfig,
    weighted: PreparedData,
    repeated: PreparedData,
    batch_size: int,
    batches_weighted: int,
    batches_repeated: int,
    group_by_length: bool,
    tmp_path: Path,
) -> None:
    # All rows in each step, so that their order plays no part; 12 rows here, 19 there.
    settings = {"per_device_train_batch_size": batch_size, "group_by_length": group_by_length}
    ours = Run(config, weighted, tmp_path / "a", gradient_accumulation_steps=batches_weighted, **settings)
    theirs = Run(config, repeated, tmp_path / "b", gradient_accumulation_steps=batches_repeated, **settings)
    assert len(ours.metrics["train/loss"]) == STEPS
    ours.assert_like(theirs)


@pytest.mark.parametrize("weighted_too", [False, True])
def test_repeated_rows_are_trained_once_with_weights(
    config: TrainConfig,
    weighted: PreparedData,
    repeated: PreparedData,
    weighted_too: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if weighted_too:
        table = pq.read_table(repeated.folder / "train.parquet")
        halves = table.append_column("weight", pa.array([0.5] * len(table), pa.float32()))
        repeated = support.replace_training_rows(repeated, halves, tmp_path / "halves")
    # One step an epoch, for the 19 rows as for the 12 that they are merged to.
    merging = {"per_device_train_batch_size": 19, "group_by_length": True, "merge_repeats": True}
    with caplog.at_level("INFO", logger="textclf"):
        ours = Run(config, repeated, tmp_path / "a", **merging)
    assert "7 of 19 rows repeat another with the same tokens and label" in caplog.text
    assert ours.encoded.rows["train"] == 19, "the data stay what they are"
    assert ours.metrics["train/epoch"] == [1, 2, 3, 4]
    settings = {"per_device_train_batch_size": 12, "group_by_length": True}
    ours.assert_like(Run(config, weighted, tmp_path / "b", **settings))


def test_only_rows_with_the_same_tokens_and_label_are_merged() -> None:
    from datasets import Dataset

    rows = {
        "row": [1, 2, 3, 4, 5, 6],
        "input_ids": [[2, 5, 3], [2, 5, 3], [2, 5, 3], [2, 5, 6, 3], [2, 5, 3], [2, 5, 3]],
        "token_type_ids": [[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0, 1], [0, 1, 1], [0, 0, 1]],
        "length": [3, 3, 3, 4, 3, 3],
        "label": [1, 0, 1, 1, 1, 1],
    }
    merged = merge_repeats(Dataset.from_dict(rows))
    assert merged["row"][:] == [1, 2, 4, 5]
    assert merged["weight"][:] == [3, 1, 1, 1]
    assert merged["label"][:] == [1, 0, 1, 1]
    assert merged["input_ids"][:] == [[2, 5, 3], [2, 5, 3], [2, 5, 6, 3], [2, 5, 3]]
    weighted = Dataset.from_dict({**rows, "weight": [1.0, 2.0, 0.5, 1.0, 1.0, 4.0]})
    assert merge_repeats(weighted)["weight"][:] == [5.5, 2, 1, 1]
    distinct = Dataset.from_dict({name: values[:2] for name, values in rows.items()})
    assert merge_repeats(distinct) is distinct


def test_weights_make_a_difference(
    config: TrainConfig, prepared: PreparedData, weighted: PreparedData, tmp_path: Path
) -> None:
    ours, plain = Run(config, weighted, tmp_path / "a"), Run(config, prepared, tmp_path / "b")
    assert ours.metrics["train/loss"] != pytest.approx(plain.metrics["train/loss"], rel=1e-3)


def test_equal_weights_are_as_good_as_none(
    config: TrainConfig, prepared: PreparedData, rows: pa.Table, tmp_path: Path
) -> None:
    table = rows.append_column("weight", pa.array([2.5] * len(rows), pa.float32()))
    equal = support.replace_training_rows(prepared, table, tmp_path / "equal")
    settings = {"per_device_train_batch_size": 4}
    Run(config, equal, tmp_path / "a", **settings).assert_like(Run(config, prepared, tmp_path / "b", **settings))


def test_a_step_is_the_same_in_one_batch_or_in_several(
    config: TrainConfig, prepared: PreparedData, tmp_path: Path
) -> None:
    whole = Run(config, prepared, tmp_path / "a", per_device_train_batch_size=12)
    parts = Run(config, prepared, tmp_path / "b", per_device_train_batch_size=5, gradient_accumulation_steps=3)
    assert whole.metrics["train/loss"][0] == pytest.approx(np.log(2), abs=0.1)
    parts.assert_like(whole)
