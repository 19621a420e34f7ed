"""Tokenising: the vocabulary, what is written, what is counted, and when a result is reused."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import training_support as support

from textclf.config import Home, TrainConfig
from textclf.errors import ConfigError, DataError, ModelError
from textclf.model.tokens import build_vocabulary, encode, load_tokenizer
from textclf.records import EncodedData, PreparedData

ROWS = {"train": 60, "validation": 20, "test": 20}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.write_reviews(tmp_path_factory.mktemp("reviews"), ROWS)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return support.make_home(tmp_path / "home")


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = data.joinpath("train.tsv").read_text(encoding="utf-8").splitlines()
    return support.make_pretrained(tmp_path_factory.mktemp("model") / "bert", texts)


def texts_of(prepared: PreparedData, split: str = "train") -> list[str]:
    import pyarrow.parquet as pq

    return pq.read_table(prepared.folder / f"{split}.parquet")["text"].to_pylist()


def run(config: TrainConfig, home: Home) -> EncodedData:
    return support.make_encoded(config, home)[1]


def read(encoded: EncodedData, split: str = "train") -> pa.Table:
    with pa.OSFile(str(encoded.folder / f"{split}.arrow")) as file:
        return pa.ipc.open_stream(file).read_all()


class TestVocabulary:
    def test_it_is_the_same_for_the_same_texts_in_any_order(self, data: Path) -> None:
        texts = data.joinpath("train.tsv").read_text(encoding="utf-8").splitlines()
        assert build_vocabulary(texts, 200) == build_vocabulary(texts[::-1], 200)

    def test_every_training_text_can_be_read_back(self, data: Path, home: Home) -> None:
        prepared, encoded, _ = support.make_encoded(support.make_config(data), home)
        tokenizer = load_tokenizer(encoded.tokenizer_folder)
        assert encoded.unknown_share == 0
        for text in texts_of(prepared):
            read_back = tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)
            assert read_back.replace(" ", "") == text.lower().replace(" ", "")

    def test_words_of_letters_and_their_parts(self) -> None:
        vocabulary = build_vocabulary(["好 WiFi wifi", "wifi慢"], 100)
        assert vocabulary[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        assert {"好", "慢", "w", "##i", "##f", "wifi"} <= set(vocabulary)
        assert len(vocabulary) == len(set(vocabulary))

    def test_it_is_cut_at_the_size_that_was_asked_for(self, data: Path, home: Home) -> None:
        encoded = run(support.make_config(data, model={"architecture": {"vocabulary_size": 100}}), home)
        assert encoded.vocabulary_size <= 100


class TestArrow:
    def test_columns_types_and_lengths(self, data: Path, home: Home) -> None:
        config = support.make_config(data)
        prepared, encoded, _ = support.make_encoded(config, home)
        tokenizer = load_tokenizer(encoded.tokenizer_folder)
        for split, count in ROWS.items():
            table = read(encoded, split)
            assert table.schema == pa.schema(
                [
                    ("row", pa.int64()),
                    ("input_ids", pa.list_(pa.int32())),
                    ("length", pa.int32()),
                    ("label", pa.int64()),
                ]
            )
            assert table.num_rows == count == encoded.rows[split]
            assert set(table["label"].to_pylist()) == {0, 1}
            ids = table["input_ids"].to_pylist()
            assert [len(sequence) for sequence in ids] == table["length"].to_pylist()
            assert ids == tokenizer(texts_of(prepared, split), truncation=True, max_length=32)["input_ids"]
            assert all(sequence[0] == tokenizer.cls_token_id for sequence in ids)
            assert all(sequence[-1] == tokenizer.sep_token_id for sequence in ids)
            assert not any(tokenizer.pad_token_id in sequence for sequence in ids)
        assert len(set(read(encoded)["length"].to_pylist())) > 3

    def test_what_is_cut_is_counted(self, data: Path, home: Home) -> None:
        config = support.make_config(data, encoding={"max_length": 16})
        prepared, encoded, _ = support.make_encoded(config, home)
        tokenizer = load_tokenizer(encoded.tokenizer_folder)
        for split in ROWS:
            whole = [len(ids) for ids in tokenizer(texts_of(prepared, split))["input_ids"]]
            assert encoded.truncated[split] == sum(length > 16 for length in whole)
            assert max(read(encoded, split)["length"].to_pylist()) == 16
        assert 0 < encoded.truncated["train"] < ROWS["train"]
        lengths = read(encoded)["length"].to_pylist()
        assert encoded.mean_tokens == pytest.approx(sum(lengths) / len(lengths))


class TestFoundAgain:
    def test_the_same_input_is_tokenised_once(self, data: Path, home: Home, caplog: pytest.LogCaptureFixture) -> None:
        config = support.make_config(data)
        first = run(config, home)
        with caplog.at_level(logging.INFO):
            again = run(config, home)
        assert not first.cached
        assert again == first.model_copy(update={"cached": True})
        assert "Tokenize: reusing" in caplog.text

    def test_what_makes_another_result(self, data: Path, home: Home, tmp_path: Path) -> None:
        base = support.make_config(data)
        others = [
            support.make_config(data, encoding={"max_length": 31}),
            support.make_config(data, model={"architecture": {"vocabulary_size": 100}}),
            support.make_config(data, cleaning={"rule": "tutorial"}),
            support.make_config(support.write_reviews(tmp_path / "other", ROWS, seed=2)),
        ]
        assert len({run(config, home).digest for config in [base, *others]}) == 5

    def test_what_makes_no_difference(self, data: Path, home: Home) -> None:
        first = run(support.make_config(data), home)
        other = support.make_config(
            data, training={"learning_rate": 1e-4, "seed": 8}, model={"architecture": {"vocabulary_size": 200}}
        )
        assert run(other, home).digest == first.digest

    @pytest.mark.parametrize("damaged", ["train.arrow", "tokenizer/tokenizer.json", "manifest.json"])
    def test_a_damaged_file_is_rebuilt(
        self, data: Path, home: Home, damaged: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = support.make_config(data)
        first = run(config, home)
        path = first.folder / damaged
        path.write_bytes(path.read_bytes()[:-10])
        again = run(config, home)
        assert "is damaged" in caplog.text
        assert again == first
        assert run(config, home).cached

    def test_a_home_that_was_moved(self, data: Path, home: Home, tmp_path: Path) -> None:
        config = support.make_config(data)
        run(config, home)
        home.root.rename(tmp_path / "moved")
        encoded = run(config, support.make_home(tmp_path / "moved"))
        assert encoded.cached
        assert encoded.folder.is_relative_to(tmp_path / "moved")
        assert load_tokenizer(encoded.tokenizer_folder).is_fast


class TestVocabularyFile:
    def config(self, data: Path, file: Path) -> TrainConfig:
        return support.make_config(data, model={"architecture": {**support.TINY, "vocabulary_path": str(file)}})

    def test_a_vocabulary_file_is_used_in_its_order(self, data: Path, home: Home, tmp_path: Path) -> None:
        file = tmp_path / "vocab.txt"
        texts = data.joinpath("train.tsv").read_text(encoding="utf-8").splitlines()
        vocabulary = build_vocabulary(texts, 150)
        vocabulary[5:] = vocabulary[:4:-1]
        file.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        encoded = run(self.config(data, file), home)
        tokenizer = load_tokenizer(encoded.tokenizer_folder)
        assert tokenizer.convert_ids_to_tokens(range(len(vocabulary))) == vocabulary
        file.write_text("\n".join(build_vocabulary(texts, 150)) + "\n", encoding="utf-8")
        assert run(self.config(data, file), home).digest != encoded.digest

    def test_a_vocabulary_file_that_is_not_there(self, data: Path, home: Home, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"vocabulary_path: there is no file .*nothing\.txt"):
            run(self.config(data, tmp_path / "nothing.txt"), home)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("\n".join(f"词{number}" for number in range(50)).encode(), r"lacks .*'\[UNK\]', '\[CLS\]'"),
            ("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n好\n".encode(), "lacks all but special tokens"),
            ("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n好\n".encode("gb18030"), "is not UTF-8"),
            (b"", r"lacks .*'\[PAD\]'"),
        ],
    )
    def test_a_file_that_is_no_vocabulary(
        self, data: Path, home: Home, tmp_path: Path, content: bytes, message: str
    ) -> None:
        file = tmp_path / "vocab.txt"
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            run(self.config(data, file), home)
        assert not list(home.prepared.glob("*/tokenizer")), "nothing half-written remains"


class TestTokenizerOfAModel:
    def test_its_vocabulary_is_used(self, data: Path, model: Path, home: Home) -> None:
        encoded = run(support.make_config(data, pretrained=model), home)
        assert load_tokenizer(encoded.tokenizer_folder).get_vocab() == load_tokenizer(model).get_vocab()

    def test_other_weights_with_the_same_tokenizer_are_not_tokenised_again(
        self, data: Path, model: Path, home: Home, tmp_path: Path
    ) -> None:
        first = run(support.make_config(data, pretrained=model), home)
        other = shutil.copytree(model, tmp_path / "other")
        config = (other / "config.json").read_text(encoding="utf-8")
        (other / "config.json").write_text(config.replace("BertForMaskedLM", "BertModel"), encoding="utf-8")
        assert run(support.make_config(data, pretrained=other), home).digest == first.digest

    @pytest.mark.parametrize("kept", ["config.json", "tokenizer_config.json"])
    def test_a_folder_without_a_vocabulary(
        self, data: Path, model: Path, home: Home, tmp_path: Path, kept: str
    ) -> None:
        bare = tmp_path / "bare"
        bare.mkdir()
        for name in {"config.json", kept, "model.safetensors"}:
            shutil.copy(model / name, bare)
        prepared, fetched = support.make_data(support.make_config(data, pretrained=bare), home)
        config = support.make_config(data, pretrained=bare)
        with pytest.raises(ModelError, match="tokenizer"):
            encode(prepared, fetched, model=config.model, encoding=config.encoding, folder=home.prepared)

    def test_a_vocabulary_of_another_language(self, data: Path, home: Home, tmp_path: Path) -> None:
        english = support.make_pretrained(tmp_path / "english", ["the room was clean and quiet, breakfast was fine"])
        with pytest.raises(DataError, match=r"knows only .* tokens.* another language"):
            run(support.make_config(data, pretrained=english), home)

    def test_the_real_vocabulary_of_bert_base_chinese(self, data: Path, home: Home) -> None:
        folder = support.shared("models/bert-base-chinese")
        config = support.make_config(data, pretrained=folder, model={"initialization": "random"})
        encoded = run(config, home)
        assert encoded.vocabulary_size == 21_128
        assert encoded.unknown_share == 0
        tokenizer = load_tokenizer(encoded.tokenizer_folder)
        assert tokenizer("我今天很生气")["input_ids"] == [101, 2769, 791, 1921, 2523, 4495, 3698, 102]
