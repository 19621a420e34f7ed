"""Lengths are counted exactly in characters, and in tokens with the tokenizer or by an estimate."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from textclf.audit import lengths as lengths_module
from textclf.audit.lengths import BINS, measure_lengths

TEXTS = ["好", "房间很好", "服务很好, wifi 也很好", "好" * 40]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import BertTokenizer

    from textclf.model.tokens import build_vocabulary

    file = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    file.write_text("".join(f"{token}\n" for token in build_vocabulary(TEXTS, 300)), encoding="utf-8")
    return BertTokenizer(vocab=str(file))


def test_characters_and_tokens_with_a_tokenizer(tokenizer):
    found, unknown = measure_lengths(TEXTS, max_length=10, tokenizer=tokenizer)
    assert (found.characters.minimum, found.characters.median, found.characters.maximum) == (1, 9, 40)
    whole = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    assert (found.tokens.minimum, found.tokens.maximum) == (3, 42)
    assert found.tokens.mean == pytest.approx(sum(whole) / 4)
    assert (found.max_length, found.cut, unknown) == (10, sum(length > 10 for length in whole), 0)


def test_the_share_of_unknown_tokens_leaves_special_ones_out(tokenizer):
    assert measure_lengths(["好鑫", "好好"], max_length=10, tokenizer=tokenizer)[1] == 0.25


def test_texts_longer_than_the_model_takes_are_not_cut(tokenizer):
    assert measure_lengths(["好" * 3000], max_length=10, tokenizer=tokenizer)[0].tokens.maximum == 3002


def test_pairs_count_with_their_texts(tokenizer):
    for given in (tokenizer, None):
        found, _ = measure_lengths(["好", "很好"], max_length=6, tokenizer=given, pairs=["很好", "很好好"])
        assert (found.characters.minimum, found.characters.maximum) == (3, 5)
        assert (found.tokens.minimum, found.tokens.maximum, found.cut) == (6, 8, 1)


def test_what_is_cut_is_scaled_up_from_a_sample(tokenizer, monkeypatch):
    monkeypatch.setattr(lengths_module, "TOKENIZED_TEXTS", 100)
    texts = ["好" * (20 if number % 4 == 0 else 2) for number in range(1000)]
    found, _ = measure_lengths(texts, max_length=10, tokenizer=tokenizer)
    assert found.characters.mean == 6.5
    assert 200 <= found.cut <= 500 and found.cut % 10 == 0


def test_without_a_tokenizer_tokens_are_estimated():
    found, unknown = measure_lengths(["房间很好", "very nice 2008!", ""], max_length=5, tokenizer=None)
    assert unknown is None
    assert (found.tokens.minimum, found.tokens.median, found.tokens.maximum, found.cut) == (2, 6, 7, 2)


def test_the_estimate_is_near_the_truth_on_real_reviews():
    shared = Path(__file__).resolve().parents[2].parent / "shared"
    reviews, vocabulary = shared / "data" / "chnsenticorp" / "tsv" / "test.tsv", shared / "models" / "bert-base-chinese"
    if not (reviews.is_file() and vocabulary.is_dir()):
        pytest.skip("the real data and vocabulary are not beside the repository (../shared)")
    from textclf.model.tokens import load_tokenizer

    texts = [line.split("\t")[1] for line in reviews.read_text(encoding="utf-8").split("\n")[1:-1]]
    real, unknown = measure_lengths(texts, max_length=128, tokenizer=load_tokenizer(vocabulary))
    estimated, _ = measure_lengths(texts, max_length=128, tokenizer=None)
    assert estimated.tokens.mean == pytest.approx(real.tokens.mean, rel=0.02)
    assert estimated.cut == pytest.approx(real.cut, rel=0.03)
    assert unknown is not None and 0 < unknown < 0.02


@pytest.mark.parametrize("longest", [1, 3, 24, 500, 20_000])
def test_the_histogram_holds_every_text_and_reads_well(longest):
    chance = random.Random(5)
    texts = ["好" * min(longest, int(chance.expovariate(6 / longest)) + 1) for _ in range(400)] + ["好" * longest]
    histogram = measure_lengths(texts, max_length=10, tokenizer=None)[0].histogram
    bounds = [bound for bound, _ in histogram]
    assert bounds == sorted(set(bounds)) and bounds[-1] == longest and len(bounds) <= BINS + 1
    assert sum(rows for _, rows in histogram) == len(texts)
    for lower, (upper, rows) in zip([-1, *bounds], histogram, strict=False):
        assert rows == sum(lower < len(text) <= upper for text in texts)


def test_what_cannot_be_measured():
    with pytest.raises(ValueError, match="2 texts and 1 second texts"):
        measure_lengths(["a", "b"], max_length=10, tokenizer=None, pairs=["c"])
    with pytest.raises(ValueError, match="no texts"):
        measure_lengths([], max_length=10, tokenizer=None)
