from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from textclf.errors import DataError
from textclf.evaluation.baselines import MAJORITY, TFIDF, fit_baselines
from textclf.heads.metrics import classification_metrics
from textclf.model.linear import LinearModel

TEXTS = [
    "房间很干净，服务也好",
    "早餐好吃，下次还来",
    "屏幕清晰，很满意",
    "太吵了，没睡好",
    "服务差，不会再来",
    "键盘坏了，失望",
]
LABELS = np.array([1, 1, 1, 0, 0, 0])


def test_baselines_give_probabilities_in_label_order() -> None:
    fitted = fit_baselines(TEXTS, LABELS, num_labels=2, seed=0)
    assert list(fitted) == [MAJORITY, TFIDF] == ["majority", "tfidf-logistic-regression"]
    for baseline in fitted.values():
        probabilities = baseline.probabilities(["服务很好，满意", "太差，失望"])
        assert probabilities.dtype == np.float32
        assert probabilities.shape == (2, 2)
        assert probabilities.sum(axis=1) == pytest.approx([1, 1])
    assert fitted[TFIDF].probabilities(["服务很好，满意", "太差，失望"]).argmax(axis=1).tolist() == [1, 0]


def test_majority_predicts_the_shares_of_the_training_labels() -> None:
    labels = np.array([2, 2, 2, 0, 2, 0])
    majority = fit_baselines(TEXTS, labels, num_labels=3, seed=0)[MAJORITY]
    assert majority.probabilities(["随便"])[0].tolist() == pytest.approx([1 / 3, 0, 2 / 3])


def test_a_label_without_training_texts_keeps_its_column() -> None:
    labels = np.array([3, 3, 1, 1, 0, 0])
    for baseline in fit_baselines(TEXTS, labels, num_labels=5, seed=0).values():
        probabilities = baseline.probabilities(TEXTS)
        assert probabilities.shape == (6, 5)
        assert probabilities[:, [2, 4]].max() == 0
        assert probabilities.sum(axis=1) == pytest.approx(np.ones(6))
    fitted = fit_baselines(TEXTS, labels, num_labels=5, seed=0)
    assert fitted[TFIDF].probabilities(TEXTS).argmax(axis=1).tolist() == labels.tolist()


def test_texts_without_known_characters_and_no_texts_at_all_are_classified() -> None:
    for baseline in fit_baselines(TEXTS, LABELS, num_labels=2, seed=0).values():
        assert baseline.probabilities(["", "QQQ"]).sum(axis=1) == pytest.approx([1, 1])
        assert baseline.probabilities([]).shape == (0, 2)


def test_the_same_seed_gives_the_same_probabilities() -> None:
    first, second = (fit_baselines(TEXTS, LABELS, num_labels=2, seed=7)[TFIDF] for _ in range(2))
    assert np.array_equal(first.probabilities(TEXTS), second.probabilities(TEXTS))


def test_a_weight_counts_as_so_many_rows() -> None:
    weights = np.array([1, 1, 1, 1, 1, 4], dtype=np.float32)
    repeated = [*TEXTS, *TEXTS[-1:] * 3], np.array([*LABELS, 0, 0, 0])
    weighted = fit_baselines(TEXTS, LABELS, train_weights=weights, num_labels=2, seed=0)
    plain = fit_baselines(TEXTS, LABELS, num_labels=2, seed=0)
    others = fit_baselines(*repeated, num_labels=2, seed=0)
    question = ["房间"]
    np.testing.assert_allclose(weighted[MAJORITY].probabilities(question), others[MAJORITY].probabilities(question))
    assert weighted[MAJORITY].probabilities(question)[0].tolist() == pytest.approx([2 / 3, 1 / 3])
    negative = {
        name: fitted[TFIDF].probabilities(TEXTS[-1:])[0, 0]
        for name, fitted in (("weighted", weighted), ("plain", plain), ("repeated", others))
    }
    assert negative["weighted"] > negative["plain"] + 0.02
    assert negative["weighted"] == pytest.approx(negative["repeated"], abs=0.02)


def test_weights_reach_each_of_several_classes() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    weights = np.array([1, 1, 1, 1, 1, 9], dtype=np.float32)
    weighted = fit_baselines(TEXTS, labels, train_weights=weights, num_labels=3, seed=0)[TFIDF]
    plain = fit_baselines(TEXTS, labels, num_labels=3, seed=0)[TFIDF]
    assert weighted.probabilities(["东西"])[0, 2] > plain.probabilities(["东西"])[0, 2] + 0.05


def test_the_second_texts_of_pairs_are_learnt_from() -> None:
    first, second = ["早餐", "早餐", "键盘", "键盘"], ["好吃", "难吃", "好用", "难用"]
    labels = np.array([1, 0, 1, 0])
    fitted = fit_baselines(first, labels, train_pairs=second, num_labels=2, seed=0)[TFIDF]
    assert fitted.probabilities(first, second).argmax(axis=1).tolist() == labels.tolist()
    assert fitted.probabilities(["房间", "房间"], ["好", "难"]).argmax(axis=1).tolist() == [1, 0]
    assert fitted.probabilities([], []).shape == (0, 2)


def test_no_ngram_reaches_from_one_text_of_a_pair_into_the_other() -> None:
    labels = np.array([1, 1, 0, 0])
    fitted = fit_baselines(
        ["甲乙", "乙", "丙", "丁"], labels, train_pairs=["丙丁", "丁", "甲", "乙"], num_labels=2, seed=0
    )
    linear = fitted[TFIDF]
    assert isinstance(linear, LinearModel)
    characters = np.stack([linear.keys >> 42, linear.keys >> 21, linear.keys], axis=1) % 2**21
    ngrams = {"".join(chr(character - 1) for character in row if character) for row in characters.tolist()}
    assert {"甲乙", "丙丁"} <= ngrams
    assert not [ngram for ngram in ngrams if set(ngram) & set("甲乙") and set(ngram) & set("丙丁")]


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (TEXTS, np.ones(6, dtype=np.int64), "at least two classes; found 1"),
        ([], np.array([], dtype=np.int64), "at least two classes; found 0"),
        (TEXTS, LABELS[:5], "6 training texts but 5 labels"),
        (TEXTS, LABELS + 1, "between 0 and 1; found 1 to 2"),
        (["", " "], np.array([0, 1]), "no character"),
    ],
)
def test_what_cannot_be_fitted_is_refused(texts: list[str], labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_baselines(texts, labels, num_labels=2, seed=0)


def test_scores_on_chnsenticorp(chnsenticorp: Path) -> None:
    import pyarrow.parquet as pq

    train, test = (
        pq.read_table(next((chnsenticorp / "data").glob(f"{split}-*.parquet"))) for split in ("train", "test")
    )
    fitted = fit_baselines(train["text"].to_pylist(), train["label"].to_numpy(), num_labels=2, seed=0)
    labels, texts = test["label"].to_numpy(), test["text"].to_pylist()
    leakfree = json.loads((chnsenticorp / "test_leakfree_row_idx.json").read_text())
    probabilities = fitted[TFIDF].probabilities(texts)
    assert classification_metrics(labels, probabilities, ["负面", "正面"])["accuracy"] == pytest.approx(
        0.928, abs=0.004
    )
    found = classification_metrics(labels[leakfree], probabilities[leakfree], ["负面", "正面"])
    assert found["accuracy"] == pytest.approx(0.9175, abs=0.005)
    majority = classification_metrics(labels, fitted[MAJORITY].probabilities(texts), ["负面", "正面"])
    assert majority["accuracy"] == pytest.approx(592 / 1200)
