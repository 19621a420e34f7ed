"""Near duplicates: every match is near, nearly every near text is found, and large groups finish fast."""

from __future__ import annotations

import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf.audit.near_duplicates import NearPairs, find_near_duplicates

REVIEWS = Path(__file__).parents[3] / "shared" / "data" / "chnsenticorp" / "data"
ENDINGS = ("好评!谢谢", "(转载)", "以上是我的真实感受,仅供参考", "!!!")


def character(source: random.Random) -> str:
    """One of 3,500 characters, with very uneven frequencies."""
    return chr(0x4E00 + int(3500 * source.random() ** 2))


def clean_texts(count: int, seed: int) -> list[str]:
    source = random.Random(seed)
    return ["".join(character(source) for _ in range(source.randint(20, 200))) for _ in range(count)]


def edited(text: str, source: random.Random) -> str:
    kind = source.randrange(4)
    if kind == 0:
        return text + source.choice(ENDINGS)
    if kind == 1:
        return text[: len(text) // 2] + "," + text[len(text) // 2 :] + "。"
    rate = source.choice([0.01, 0.02, 0.03, 0.05, 0.07, 0.1])
    pieces = []
    for old in text:
        change = source.randrange(3) if source.random() < rate else 3
        pieces.append(("", character(source), old + character(source), old)[change])
    return "".join(pieces)


def ngrams(text: str, ngram_size: int) -> set[str]:
    return {text[start : start + ngram_size] for start in range(max(1, len(text) - ngram_size + 1))}


def jaccard(one: str, other: str, ngram_size: int = 3) -> float:
    first, second = ngrams(one, ngram_size), ngrams(other, ngram_size)
    return len(first & second) / len(first | second)


def listed(found: NearPairs) -> dict[tuple[int, int], float]:
    return dict(
        zip(zip(found.left.tolist(), found.right.tolist(), strict=True), found.similarity.tolist(), strict=True)
    )


def with_copies(texts: list[str], copies: int, seed: int) -> tuple[list[str], dict[tuple[int, int], float]]:
    """Distinct texts followed by edited copies, and the similarity of each copy."""
    source = random.Random(seed)
    together, planted, known = list(texts), {}, set(texts)
    for index in source.sample(range(len(texts)), copies):
        copy = edited(texts[index], source)
        if copy not in known:
            known.add(copy)
            planted[index, len(together)] = jaccard(texts[index], copy)
            together.append(copy)
    return together, planted


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_planted_copies_are_found_and_nothing_else_is(threshold: float) -> None:
    texts, planted = with_copies(clean_texts(4_000, seed=1), copies=2_000, seed=2)
    expected = {pair for pair, similarity in planted.items() if similarity >= threshold}
    found = listed(find_near_duplicates(texts, threshold=threshold, ngram_size=3))
    assert len(expected) > 300
    assert len(expected & found.keys()) >= 0.95 * len(expected)
    for (left, right), similarity in found.items():
        assert similarity == pytest.approx(jaccard(texts[left], texts[right]))
        assert similarity >= np.float32(threshold)


def test_a_comparison_of_all_pairs_finds_no_more() -> None:
    texts, _ = with_copies(clean_texts(400, seed=3), copies=300, seed=4)
    sets = [ngrams(text, 3) for text in texts]
    similarities = {
        (left, right): len(sets[left] & sets[right]) / len(sets[left] | sets[right])
        for right in range(len(texts))
        for left in range(right)
    }
    for threshold in (0.7, 0.8, 0.9):
        everything = {pair for pair, similarity in similarities.items() if similarity >= threshold}
        found = find_near_duplicates(texts, threshold=threshold, ngram_size=3)
        assert len(everything) > 50
        assert listed(found).keys() <= everything
        assert len(found.left) >= 0.97 * len(everything)
        assert found.complete


def test_the_reviews_and_edited_copies_of_them_are_found() -> None:
    if not REVIEWS.is_dir():
        pytest.skip("no ChnSentiCorp data beside the repository")
    import pandas as pd

    raw = pd.concat([pd.read_parquet(file, columns=["text"]) for file in sorted(REVIEWS.glob("*.parquet"))])["text"]
    reviews = list(dict.fromkeys(re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)) for text in raw))
    texts, planted = with_copies([text for text in reviews if text], copies=1_000, seed=5)
    expected = {pair for pair, similarity in planted.items() if similarity >= 0.8}
    found = listed(find_near_duplicates(texts, threshold=0.8, ngram_size=3))
    assert len(expected & found.keys()) >= 0.95 * len(expected)
    assert all(jaccard(texts[left], texts[right]) >= 0.8 for left, right in found)


def test_texts_that_have_nothing_in_common_make_no_pairs() -> None:
    found = find_near_duplicates(clean_texts(5_000, seed=6), threshold=0.5, ngram_size=3)
    assert len(found.left) == 0
    assert found.complete


def test_the_result_is_the_same_every_time_and_sorted() -> None:
    texts, _ = with_copies(clean_texts(500, seed=7), copies=300, seed=8)
    one, other = (find_near_duplicates(texts, threshold=0.7, ngram_size=3) for _ in range(2))
    assert (one.left.dtype, one.right.dtype, one.similarity.dtype) == (np.int64, np.int64, np.float32)
    assert list(listed(one)) == sorted(listed(one))
    assert (one.left < one.right).all()
    assert list(listed(one).items()) == list(listed(other).items())


def test_the_order_of_the_texts_does_not_matter() -> None:
    texts, _ = with_copies(clean_texts(500, seed=9), copies=300, seed=10)
    places = list(range(len(texts)))
    random.Random(11).shuffle(places)
    found = listed(find_near_duplicates(texts, threshold=0.7, ngram_size=3))
    shuffled = listed(find_near_duplicates([texts[place] for place in places], threshold=0.7, ngram_size=3))
    assert found == {tuple(sorted((places[left], places[right]))): value for (left, right), value in shuffled.items()}


def test_thousands_of_fillings_of_one_template_are_all_linked_by_few_pairs() -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    texts = [
        f"您好,您的订单已经发货,请注意查收,如有任何问题请随时联系我们的客服人员,订单编号{n:05d}" for n in range(5_000)
    ]
    found = find_near_duplicates(texts, threshold=0.8, ngram_size=3)
    graph = coo_array((np.ones(len(found.left)), (found.left, found.right)), shape=(len(texts), len(texts)))
    assert connected_components(graph)[0] == 1
    assert len(found.left) < 50 * len(texts)
    assert not found.complete


def test_each_copy_of_a_text_in_a_large_family_is_linked_with_the_first_texts() -> None:
    texts = [
        f"您好,您的订单已经发货,请注意查收,如有任何问题请随时联系我们的客服人员,订单编号{n:05d}" for n in range(1_000)
    ]
    first_half = {
        right for left, right in listed(find_near_duplicates(texts, threshold=0.8, ngram_size=3)) if left < 500
    }
    assert first_half >= set(range(500, 1_000))


def test_a_short_text_is_one_ngram() -> None:
    texts = ["好", "很好", "不好", "很好吃", "很好吃!", "好吃"]
    assert listed(find_near_duplicates(texts, threshold=0.5, ngram_size=3)) == {(3, 4): 0.5}
    assert listed(find_near_duplicates(texts, threshold=0.5, ngram_size=8)) == {}


def test_repeated_ngrams_count_once() -> None:
    texts = ["哈哈哈哈", "哈哈哈哈哈哈哈哈", "呵呵呵呵"]
    assert listed(find_near_duplicates(texts, threshold=1, ngram_size=3)) == {(0, 1): 1}


@pytest.mark.parametrize("texts", [[], ["只有一条"], [""]])
def test_fewer_than_two_texts_make_no_pairs(texts: Any) -> None:
    found = find_near_duplicates(texts, threshold=0.8, ngram_size=3)
    assert (len(found.left), len(found.right), len(found.similarity)) == (0, 0, 0)
    assert found.complete


WORDS = st.text(alphabet="好坏房间服务差\U0001f600!a\ud800", max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(WORDS, max_size=30, unique=True),
    ngram_size=st.integers(1, 8),
    threshold=st.floats(0.5, 1),
)
def test_similarity_is_the_plain_jaccard(texts: Any, ngram_size: int, threshold: float) -> None:
    for (left, right), similarity in listed(
        find_near_duplicates(texts, threshold=threshold, ngram_size=ngram_size)
    ).items():
        exact = jaccard(texts[left], texts[right], ngram_size)
        assert exact >= threshold
        assert similarity == np.float32(exact)
