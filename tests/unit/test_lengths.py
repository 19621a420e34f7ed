"""Lengths are counted in characters, and in tokens if there is a tokenizer."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from textclf.audit import lengths as lengths_module
from textclf.audit.findings import Lengths
from textclf.audit.lengths import BINS, measure_lengths
from textclf.data.prepared import SplitRows

TEXTS = ["好", "房间很好", "服务很好, wifi 也很好", "好" * 40]


def measure(
    texts: list[str], *, max_length: int, tokenizer: Any, pairs: list[str] | None = None
) -> tuple[Lengths, float | None]:
    table = pa.table({"text": texts, **({} if pairs is None else {"text_pair": pairs})})
    return measure_lengths(SplitRows("train", (), table), max_length=max_length, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import BertTokenizer

    from textclf.model.tokens import build_vocabulary

    file = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    file.write_text("".join(f"{token}\n" for token in build_vocabulary(TEXTS, 300)), encoding="utf-8")
    return BertTokenizer(vocab=str(file))


def test_characters_and_tokens_with_a_tokenizer(tokenizer: Any) -> None:
    found, unknown = measure(TEXTS, max_length=10, tokenizer=tokenizer)
    assert (found.characters.minimum, found.characters.median, found.characters.maximum) == (1, 9, 40)
    whole = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    assert (found.tokens.minimum, found.tokens.maximum) == (3, 42)
    assert found.tokens.mean == pytest.approx(sum(whole) / 4)
    assert (found.max_length, found.cut, unknown) == (10, sum(length > 10 for length in whole), 0)


def test_the_share_of_unknown_tokens_leaves_special_ones_out(tokenizer: Any) -> None:
    assert measure(["好鑫", "好好"], max_length=10, tokenizer=tokenizer)[1] == 0.25


def test_texts_longer_than_the_model_takes_are_not_cut(tokenizer: Any) -> None:
    assert measure(["好" * 3000], max_length=10, tokenizer=tokenizer)[0].tokens.maximum == 3002


def test_pairs_count_with_their_texts(tokenizer: Any) -> None:
    found, _ = measure(["好", "很好"], max_length=6, tokenizer=tokenizer, pairs=["很好", "很好好"])
    assert (found.characters.minimum, found.characters.maximum) == (3, 5)
    assert found.tokens is not None
    assert (found.tokens.minimum, found.tokens.maximum, found.cut) == (6, 8, 1)


def test_what_is_cut_is_scaled_up_from_a_sample(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths_module, "TOKENIZED_TEXTS", 100)
    texts = ["好" * (20 if number % 4 == 0 else 2) for number in range(1000)]
    found, _ = measure(texts, max_length=10, tokenizer=tokenizer)
    assert found.characters.mean == 6.5
    assert 200 <= found.cut <= 500 and found.cut % 10 == 0


def test_without_a_tokenizer_tokens_are_not_counted() -> None:
    found, unknown = measure(["房间很好"], max_length=5, tokenizer=None)
    assert (found.tokens, found.cut, unknown) == (None, None, None)


@pytest.mark.parametrize("longest", [1, 3, 24, 500, 20_000])
def test_the_histogram_counts_every_text_in_round_bins(longest: int) -> None:
    chance = random.Random(5)
    texts = ["好" * min(longest, int(chance.expovariate(6 / longest)) + 1) for _ in range(400)] + ["好" * longest]
    histogram = measure(texts, max_length=10, tokenizer=None)[0].histogram
    bounds = [bound for bound, _ in histogram]
    assert bounds == sorted(set(bounds)) and bounds[-1] == longest and len(bounds) <= BINS + 1
    assert sum(rows for _, rows in histogram) == len(texts)
    for lower, (upper, rows) in zip([-1, *bounds], histogram, strict=False):
        assert rows == sum(lower < len(text) <= upper for text in texts)
