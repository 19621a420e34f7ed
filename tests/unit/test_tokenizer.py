"""Prediction and training turn the same texts into the same token ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf.errors import ModelError
from textclf.model.tokenizer import TextTokenizer
from textclf.model.tokens import build_vocabulary, token_ids

TEXTS = ["房间很干净", "The room, 房间 2号！", "服务 太差\n了", "🤗é"]
MAX_LENGTH = 12
texts = st.lists(
    st.text(alphabet=st.sampled_from("房间很干净服务太差了 abRm,！é🤗\n\t\u200b\ufeff"), max_size=30), min_size=1
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("\n".join(build_vocabulary(TEXTS, 200)) + "\n", encoding="utf-8")
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pairs", [False, True])
def test_prediction_encodes_as_training_does(folder: Path, pairs: bool) -> None:
    from transformers import AutoTokenizer

    slow = AutoTokenizer.from_pretrained(folder)
    ours = TextTokenizer.load(folder, max_length=MAX_LENGTH)

    @settings(max_examples=100, deadline=None)
    @given(texts)
    def check(batch: list[str]) -> None:
        second = batch[::-1] if pairs else None
        expected = token_ids(slow, batch, second, max_length=MAX_LENGTH)
        found = ours.encode(batch, second)
        assert found.lengths.tolist() == [len(ids) for ids in expected["input_ids"]]
        assert found.ids.tolist() == [token for ids in expected["input_ids"] for token in ids]
        if pairs:
            assert found.types is not None
            assert found.types.tolist() == [kind for kinds in expected["token_type_ids"] for kind in kinds]

    check()


def test_a_batch_is_padded_to_its_longest_text(folder: Path) -> None:
    tokens = TextTokenizer.load(folder, max_length=MAX_LENGTH).encode(["房间很干净", "差", "服务太差了"])
    ids, mask, types = tokens.padded(np.array([1, 2]))
    assert (ids.shape, types) == ((2, 7), None)
    assert mask is not None
    assert mask.sum(axis=1).tolist() == [3, 7]
    assert ids[0, 3:].tolist() == [tokens.pad_id] * 4
    _, mask, _ = tokens.padded(np.array([0, 2]))
    assert mask is None


@pytest.mark.parametrize(
    ("file", "content", "found"),
    [
        ("tokenizer.json", None, "No such file"),
        ("tokenizer.json", "{}", "cannot be loaded"),
        ("tokenizer_config.json", '{"pad_token": "[NONE]"}', "lacks the padding token '\\[NONE\\]'"),
    ],
)
def test_a_damaged_tokenizer_is_named(folder: Path, tmp_path: Path, file: str, content: str | None, found: str) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(json.dumps(json.loads(content)), encoding="utf-8")
    with pytest.raises(ModelError, match=found):
        TextTokenizer.load(tmp_path, max_length=MAX_LENGTH)
