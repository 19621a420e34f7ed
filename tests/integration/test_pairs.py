"""Pairs of texts from their tokens to their predictions: a tiny BERT on pairs of which neither text says the label."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import registry_support as support
import torch

from textclf.config import PredictConfig
from textclf.data.cleaning import clean_text
from textclf.errors import DataError
from textclf.model.classifier import Classifier
from textclf.model.tokens import build_vocabulary, load_tokenizer
from textclf.prediction.batch import predict_batch
from textclf.records import FetchedModel, TrainedModel
from textclf.tracking.runs import run_folder
from textclf.tracking.store import TrackingStore
from textclf.training.train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # MLflow, when it saves an input example.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]


ROWS = {"train": 640, "validation": 40, "test": 80}
PAIRS = {"text_pair_column": "text_pair"}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # Tiny matrices: more threads only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.data_support.write_pairs(tmp_path_factory.mktemp("pairs"), ROWS)


@pytest.fixture(scope="module")
def place(data: Path, fetched: FetchedModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    training = {"num_train_epochs": 8, "learning_rate": 2e-3, "early_stopping_patience": None}
    # Many of these short pairs are equal: trained once each, they would be too few steps to learn from.
    training["merge_repeats"] = False
    config = support.data_support.make_config(data, pretrained=fetched.folder, data=PAIRS, training=training)
    home = support.data_support.make_home(tmp_path_factory.mktemp("home"))
    prepared, encoded, _ = support.data_support.make_encoded(config, home)
    return support.Place(home, config, prepared, encoded)


@pytest.fixture(scope="module")
def fetched(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FetchedModel:
    texts = data.joinpath("train.tsv").read_text(encoding="utf-8").splitlines()
    folder = tmp_path_factory.mktemp("model") / "bert"
    # With weights this wide it finds what the marks have in common within seconds.
    support.data_support.make_pretrained(folder, texts, initializer_range=0.2)
    return FetchedModel(digest="bert", folder=folder, files=(), origin="a test", cached=True, attempts=())


def start(place: Any, fetched: FetchedModel) -> TrainedModel:
    store = TrackingStore.open(place.home)
    run_id = store.client.create_run(store.experiment(support.NAME)).info.run_id
    return train(
        place.encoded,
        fetched,
        **support.data_support.train_arguments(place.config, place.prepared.labels),
        run_id=run_id,
        folder=run_folder(place.home, run_id),
        log_metrics=lambda metrics, step: None,
    )


@pytest.fixture(scope="module")
def trained(place: Any, fetched: FetchedModel) -> TrainedModel:
    return start(place, fetched)


@dataclass(frozen=True)
class Rows:
    texts: list[str]
    text_pairs: list[str]
    labels: Any


@pytest.fixture(scope="module")
def rows(place: Any) -> Rows:
    table = pq.read_table(place.prepared.folder / "test.parquet")
    return Rows(table["text"].to_pylist(), table["text_pair"].to_pylist(), table["label"].to_numpy())


@pytest.fixture(scope="module")
def predicted(trained: TrainedModel, rows: Rows) -> Any:
    return Classifier.load(trained.folder, mixed_precision="no").predict(rows.texts, rows.text_pairs)


def read(place: Any, split: str = "train") -> pa.Table:
    with pa.OSFile(str(place.encoded.folder / f"{split}.arrow")) as file:
        return pa.ipc.open_stream(file).read_all()


# Tokens


def test_a_pair_becomes_one_sequence_in_which_the_texts_have_types(place: Any, rows: Rows) -> None:
    table = read(place, "test")
    ids = pa.list_(pa.int32())
    assert table.schema == pa.schema(
        [
            ("row", pa.int64()),
            ("input_ids", ids),
            ("token_type_ids", ids),
            ("length", pa.int32()),
            ("label", pa.int64()),
        ]
    )
    tokenizer = load_tokenizer(place.encoded.tokenizer_folder)
    expected = tokenizer(rows.texts, rows.text_pairs)
    assert table["input_ids"].to_pylist() == expected["input_ids"]
    assert table["token_type_ids"].to_pylist() == expected["token_type_ids"]
    assert {value for types in expected["token_type_ids"] for value in types} == {0, 1}
    assert table["length"].to_pylist() == [len(sequence) for sequence in expected["input_ids"]]


def test_of_a_long_pair_the_longer_text_is_cut(tmp_path: Path) -> None:
    data = support.data_support.write_pairs(tmp_path / "pairs", {"train": 40, "validation": 8, "test": 8}, longest=6)
    config = support.data_support.make_config(data, data=PAIRS, encoding={"max_length": 10})
    home = support.data_support.make_home(tmp_path / "home")
    prepared, encoded, _ = support.data_support.make_encoded(config, home)
    place = support.Place(home, config, prepared, encoded)
    tokenizer = load_tokenizer(place.encoded.tokenizer_folder)
    rows = pq.read_table(prepared.folder / "train.parquet").to_pylist()
    whole = [len(tokenizer(row["text"], row["text_pair"])["input_ids"]) for row in rows]
    assert 0 < encoded.truncated["train"] == sum(length > 10 for length in whole) < 40
    for sequence in read(place)["input_ids"].to_pylist():
        assert len(sequence) <= 10
        first, second = tokenizer.decode(sequence[1:-1]).split("[SEP]")
        assert first.strip()[0] in "甲乙" and second.strip()[0] in "甲乙"


def test_the_vocabulary_knows_the_second_texts_too(tmp_path: Path) -> None:
    data = support.data_support.write_pairs(tmp_path / "pairs", {"train": 40, "validation": 8, "test": 8})
    for file in data.iterdir():
        lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
        lines[1:] = [[first, f"{second}鑫", label] for first, second, label in lines[1:]]
        file.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    config = support.data_support.make_config(data, data=PAIRS)
    _, encoded, _ = support.data_support.make_encoded(config, support.data_support.make_home(tmp_path / "home"))
    assert encoded.unknown_share == 0
    assert "鑫" in load_tokenizer(encoded.tokenizer_folder).get_vocab()


# What is learnt


def test_it_learns_what_neither_text_says_alone(predicted: Any, rows: Rows, trained: TrainedModel) -> None:
    assert (predicted.argmax(axis=1) == rows.labels).mean() > 0.9
    alone = Classifier.load(trained.folder).predict(rows.texts, ["甲"] * len(rows.texts)).argmax(axis=1)
    assert 0.4 < (alone == rows.labels).mean() < 0.6


def test_a_model_that_takes_no_types_learns_from_pairs_too(place: Any, data: Path, rows: Rows, tmp_path: Path) -> None:
    from transformers import BertTokenizer, DistilBertConfig, DistilBertForMaskedLM

    folder = tmp_path / "distilbert"
    folder.mkdir()
    vocabulary = tmp_path / "vocab.txt"
    tokens = build_vocabulary([*rows.texts, *rows.text_pairs], 300)
    vocabulary.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    tokenizer = BertTokenizer(vocab=str(vocabulary))
    tokenizer.save_pretrained(folder)
    shape = DistilBertConfig(vocab_size=len(tokenizer), dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    DistilBertForMaskedLM(shape).save_pretrained(folder)
    config = support.data_support.make_config(data, pretrained=folder, data=PAIRS, training={"max_steps": 2})
    prepared, encoded, fetched = support.data_support.make_encoded(config, place.home)
    other = support.Place(place.home, config, prepared, encoded)
    assert "token_type_ids" in read(other).column_names
    classifier = Classifier.load(start(other, fetched).folder)
    assert classifier.predict(rows.texts, rows.text_pairs).shape == (len(rows.texts), 2)


# Wrong calls, and folders of before


def test_texts_that_do_not_suit_the_model_are_refused(trained: TrainedModel) -> None:
    classifier = Classifier.load(trained.folder)
    assert classifier.pairs
    with pytest.raises(DataError, match="classifies pairs of texts, but no second texts were given"):
        classifier.predict(["甲"])
    with pytest.raises(DataError, match="found 2 texts and 1 second"):
        classifier.predict(["甲", "乙"], ["甲"])
    assert classifier.predict([], []).shape == (0, 2)


def test_a_folder_that_knows_nothing_of_pairs_takes_single_texts(tmp_path: Path) -> None:
    place = support.make_place(tmp_path / "place")
    folder = tmp_path / "model"
    support.save_tiny(place, folder)
    expected = Classifier.load(folder).predict(["房间很好"])
    settings = json.loads((folder / "textclf.json").read_text(encoding="utf-8"))
    assert settings.pop("pairs") is False
    del settings["cleaning"]["mask_personal_data"]
    (folder / "textclf.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    classifier = Classifier.load(folder)
    assert np.array_equal(classifier.predict(["房间很好"]), expected)
    with pytest.raises(DataError, match="classifies single texts, but second texts were given"):
        classifier.predict(["房间很好"], ["房间很好"])


def test_both_texts_are_cleaned_as_in_training(place: Any, trained: TrainedModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained.folder, folder)
    settings = json.loads((folder / "textclf.json").read_text(encoding="utf-8"))
    settings["cleaning"]["mask_personal_data"] = True
    (folder / "textclf.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    plain, masking = Classifier.load(trained.folder), Classifier.load(folder)
    dirty, clean = "<b>甲</b>房间&nbsp;1", "甲房间 1"
    assert np.array_equal(plain.predict([dirty], ["乙"]), plain.predict([clean], ["乙"]))
    assert np.array_equal(plain.predict(["乙"], [dirty]), plain.predict(["乙"], [clean]))
    number = "乙13800138000"
    masked = clean_text(number, "standard", mask_personal_data=True)
    for texts, masked_texts in ((("甲", number), ("甲", masked)), ((number, "甲"), (masked, "甲"))):
        unmasked, expected = (plain.predict([first], [second]) for first, second in (texts, masked_texts))
        assert not np.array_equal(unmasked, expected)
        assert np.array_equal(masking.predict([texts[0]], [texts[1]]), expected)


# The same probabilities everywhere


@pytest.fixture(scope="module")
def evaluated(place: Any, fetched: FetchedModel, trained: TrainedModel) -> Any:
    return support.measure(place, trained, fetched)


@pytest.fixture(scope="module")
def registered(place: Any, trained: TrainedModel, evaluated: Any) -> Any:
    return support.register_again(place, trained, evaluated.metrics)


def test_evaluation_measures_pairs(evaluated: Any, predicted: Any, rows: Rows) -> None:
    table = pq.read_table(evaluated.report_folder / "predictions.parquet")
    names = [name for name in table.column_names if name.startswith("probability/")]
    np.testing.assert_allclose(np.stack([table[name].to_numpy() for name in names], axis=1), predicted, atol=1e-6)
    assert table["text"].to_pylist() == [
        f"{text} [SEP] {pair}" for text, pair in zip(rows.texts, rows.text_pairs, strict=True)
    ]
    assert evaluated.metrics["test/accuracy"] > 0.9 > evaluated.metrics["untrained/test/accuracy"]
    majority, regression = (evaluated.baselines[name] for name in ("majority", "tfidf-logistic-regression"))
    assert majority["test/accuracy"] == 0.5 < regression["test/accuracy"] < 1
    assert "Examples" not in (evaluated.report_folder / "summary.md").read_text(encoding="utf-8")


def test_a_registered_model_says_that_it_takes_pairs_and_does(
    place: Any, trained: TrainedModel, registered: Any, rows: Rows
) -> None:
    import mlflow
    import pandas as pd
    from mlflow.exceptions import MlflowException

    assert registered.is_champion
    TrackingStore.open(place.home)
    address = f"models:/{support.NAME}@champion"
    info = mlflow.models.get_model_info(address)
    assert info.signature.inputs.input_names() == ["text", "text_pair"]
    example = next(place.home.root.rglob("input_example.json"))
    assert json.loads(example.read_text(encoding="utf-8"))["columns"] == ["text", "text_pair"]
    model = mlflow.pyfunc.load_model(address)
    frame = model.predict(pd.DataFrame({"text": rows.texts, "text_pair": rows.text_pairs}))
    # As it is loaded there: in bf16 where the hardware gains from it.
    predicted = Classifier.load(trained.folder).predict(rows.texts, rows.text_pairs)
    assert frame["label"].tolist() == [place.prepared.labels[index] for index in predicted.argmax(axis=1)]
    assert frame["score"].tolist() == pytest.approx(predicted.max(axis=1).tolist(), abs=1e-6)
    with pytest.raises(MlflowException, match="text_pair"):
        model.predict(pd.DataFrame({"text": rows.texts}))


def test_a_batch_prediction_of_pairs(place: Any, registered: Any, predicted: Any, rows: Rows, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    given = {"text": [*rows.texts, "甲"], "reply": [*rows.text_pairs, None]}
    pq.write_table(pa.table(given), source)
    config = PredictConfig(
        input=source,
        output=tmp_path / "out.parquet",
        model=support.NAME,
        text_pair_column="reply",
        probabilities=True,
        mixed_precision="no",
    )
    summary = predict_batch(config, home=place.home, run_id="run", report=lambda _: None)
    assert (summary.files[0].rows_predicted, summary.files[0].rows_quarantined) == (len(rows.texts), 1)
    table = pq.read_table(tmp_path / "out.parquet")
    for index, label in enumerate(place.prepared.labels):
        np.testing.assert_allclose(table[f"probability_{label}"].to_numpy(), predicted[:, index], atol=1e-6)
    with pytest.raises(DataError, match="text_pair_column 'text_pair'"):
        predict_batch(
            config.model_copy(update={"text_pair_column": None}), home=place.home, run_id="run", report=lambda _: None
        )


def test_a_champion_of_pairs_is_measured_on_new_pairs_but_not_on_single_texts(
    place: Any, registered: Any, tmp_path: Path
) -> None:
    new = support.make_place(tmp_path / "pairs", pairs=True, seed=2)
    new = support.Place(place.home, new.config, new.prepared, new.encoded)
    worse = support.make_version(new)
    assert not worse.is_champion
    # The pairs are few, and the champion was trained on most of the new ones.
    assert worse.decision.comparison is not None
    assert worse.decision.row_count + (worse.decision.rows_known_to_champion or 0) == 20

    # The same labels, but the second texts are gone.
    table = pq.read_table(new.prepared.folder / "test.parquet")
    bare = shutil.copytree(new.prepared.folder, tmp_path / "bare")
    pq.write_table(table.drop_columns(["text_pair"]), bare / "test.parquet")
    digests = {**new.prepared.split_digests, "test": "bare"}
    prepared = new.prepared.model_copy(update={"folder": bare, "split_digests": digests})
    config = new.config.model_copy(update={"data": new.config.data.model_copy(update={"text_pair_column": None})})
    single = support.make_version(support.Place(place.home, config, prepared, new.encoded))
    assert not single.is_champion
    assert "different labels or inputs and cannot be compared" in single.reason
    assert support.load_champion(place).pairs
