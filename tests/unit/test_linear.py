"""The linear model against scikit-learn, as files, and as a classifier."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf.config.data import CleaningConfig
from textclf.data.cleaning import clean_text
from textclf.errors import DataError, ModelError
from textclf.model.classifier import Classifier
from textclf.model.linear import LINEAR_FILE, LINEAR_WEIGHTS_FILE, LinearModel, join_pairs
from textclf.model.linear_classifier import save_linear_classifier
from textclf.model.settings import SETTINGS_FILE, ClassifierSettings

TEXTS = [
    "房间很干净，服务也好",
    "早餐好吃，下次还来",
    "屏幕清晰，很满意",
    "太吵了，没睡好",
    "服务差，不会再来",
    "键盘坏了，失望",
]
LABELS = np.array([1, 1, 1, 0, 0, 0])
# Characters whose handling could differ: several white spaces, upper case that grows or depends on its place in the
# word, combining marks, emoji of several code points, astral characters, NUL, the separator of pairs, surrogates.
STRANGE = (
    "好吃的房间 \t\n\u3000\u00a0\x1c\u2028AaİΣσßÅe\u0301\u20dd"
    "😀👍🏽\u200d\U0001f1e8𠮷𝔄\U0010ffff\x00\x01␟\ud83d\udc4d0，"
)
PIECES = st.sampled_from(["  ", " \n", "ΑΣ", "Σ", "İ", "👨\u200d👩\u200d👧", "e\u0301", "\x00", "好好好"])
SOME_TEXT = st.one_of(
    st.text(st.sampled_from(STRANGE), max_size=12),
    st.text(max_size=12),
    st.lists(st.one_of(PIECES, st.text(st.sampled_from(STRANGE), max_size=3)), max_size=6).map("".join),
)


def by_scikit_learn(
    texts: list[str], labels: np.ndarray, asked: list[str], weights: np.ndarray | None = None
) -> np.ndarray:
    """The same classifier in scikit-learn alone."""
    from sklearn import config_context
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    vectorizer = TfidfVectorizer(
        analyzer="char",
        ngram_range=(1, 3),
        sublinear_tf=True,
        min_df=2 if len(texts) >= 1000 else 1,
        dtype=np.float32,
    )
    regression = LogisticRegression(C=10.0, solver="liblinear", dual=True, tol=0.1, max_iter=1_000, random_state=0)
    with config_context(enable_metadata_routing=True):
        classifier = OneVsRestClassifier(regression.set_fit_request(sample_weight=True))
        classifier.fit(vectorizer.fit_transform(texts), labels, sample_weight=weights)
    found: np.ndarray = classifier.predict_proba(vectorizer.transform(asked))
    return found


def equal(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(st.lists(SOME_TEXT, min_size=4, max_size=9), st.lists(SOME_TEXT, min_size=1, max_size=9), st.integers(2, 4))
def test_it_predicts_what_scikit_learn_predicts(texts: list[str], asked: list[str], classes: int) -> None:
    texts = [*texts, "好"]
    labels = np.arange(len(texts)) % classes
    expected = by_scikit_learn(texts, labels, [*asked, *texts])
    linear = LinearModel.fit(texts, labels, num_labels=classes, seed=0)
    found = linear.probabilities([*asked, *texts])
    assert found.dtype == np.float32
    equal(found, expected)
    # Alone, a text gets what it gets beside others.
    alone = np.concatenate([linear.probabilities([text]) for text in (*asked, *texts)])
    assert np.array_equal(found, alone)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(SOME_TEXT, SOME_TEXT), min_size=2, max_size=6))
def test_pairs_are_what_scikit_learn_makes_of_the_joined_texts(pairs: list[tuple[str, str]]) -> None:
    first, second = (list(side) for side in zip(*[*pairs, ("好", "坏")], strict=True))
    labels = np.arange(len(first)) % 2
    joined = list(join_pairs(first, second))
    linear = LinearModel.fit(first, labels, text_pairs=second, num_labels=2, seed=0)
    equal(linear.probabilities(first, second), by_scikit_learn(joined, labels, joined))


@pytest.mark.parametrize("classes", [2, 5, 100])
def test_thousands_of_texts_rare_ngrams_weights_and_long_texts(classes: int) -> None:
    chance = np.random.default_rng(classes)
    alphabet = np.array(
        list("的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里")
    )
    texts = ["".join(chance.choice(alphabet, chance.integers(0, 40))) for _ in range(1_500)]
    labels = chance.integers(0, classes, len(texts))
    weights = chance.integers(1, 4, len(texts)).astype(np.float32)
    # Longer than a batch, and batches that end inside the texts.
    asked = [*texts, "".join(chance.choice(alphabet, 60_000)), "", *texts[:10]]
    linear = LinearModel.fit(texts, labels, weights=weights, num_labels=classes, seed=0)
    equal(linear.probabilities(asked), by_scikit_learn(texts, labels, asked, weights))


def test_real_reviews_get_the_same_probabilities(chnsenticorp: Path) -> None:
    import pyarrow.parquet as pq

    train, test = (
        pq.read_table(next((chnsenticorp / "data").glob(f"{split}-*.parquet"))) for split in ("train", "test")
    )
    texts, labels, asked = train["text"].to_pylist(), train["label"].to_numpy(), test["text"].to_pylist()
    expected = by_scikit_learn(texts, labels, asked)
    found = LinearModel.fit(texts, labels, num_labels=2, seed=0).probabilities(asked)
    equal(found, expected)
    assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    labels = np.array([3, 3, 1, 1, 0, 0])
    fitted = LinearModel.fit(TEXTS, labels, num_labels=5, seed=0)
    fitted.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LINEAR_FILE, LINEAR_WEIGHTS_FILE]
    loaded = LinearModel.load(tmp_path)
    assert np.array_equal(loaded.probabilities(TEXTS), fitted.probabilities(TEXTS))
    assert loaded.parameters == fitted.parameters
    assert loaded.probabilities([]).shape == (0, 5)


def damage(folder: Path, name: str, change: Any) -> None:
    description = json.loads((folder / LINEAR_FILE).read_text(encoding="utf-8"))
    (folder / LINEAR_FILE).write_text(json.dumps({**description, name: change}), encoding="utf-8")


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    fitted = LinearModel.fit(TEXTS, LABELS, num_labels=2, seed=0)
    with pytest.raises(ModelError, match=r"cannot be loaded: .*linear\.json"):
        LinearModel.load(tmp_path)
    fitted.save(tmp_path)
    (tmp_path / LINEAR_WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=r"linear\.safetensors"):
        LinearModel.load(tmp_path)
    fitted.save(tmp_path)
    content = bytearray((tmp_path / LINEAR_WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (tmp_path / LINEAR_WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="is not the file"):
        LinearModel.load(tmp_path)
    (tmp_path / LINEAR_WEIGHTS_FILE).write_bytes(b"")
    damage(tmp_path, "sha256", hashlib.sha256(b"").hexdigest())
    with pytest.raises(ModelError, match="cannot be loaded"):
        LinearModel.load(tmp_path)
    fitted.save(tmp_path)
    damage(tmp_path, "format", 2)
    with pytest.raises(ModelError, match="found format 2, expected at most 1"):
        LinearModel.load(tmp_path)
    for text in ("", "[]", '"', '{"format": "1"}', '{"format": 1}'):
        (tmp_path / LINEAR_FILE).write_text(text, encoding="utf-8")
        with pytest.raises(ModelError, match="cannot be loaded"):
            LinearModel.load(tmp_path)


def test_pairs_without_any_character_are_refused() -> None:
    with pytest.raises(DataError, match="no character"):
        LinearModel.fit(["", " "], np.array([0, 1]), text_pairs=["", ""], num_labels=2, seed=0)


# As a classifier


SETTINGS = ClassifierSettings(
    labels=("差评", "好评"), max_length=128, cleaning=CleaningConfig(rule="tutorial", mask_personal_data=True)
)
QUESTIONS = ["房间！！！很干净。。。服务也好", "太吵了，没睡好 13800138000", "", "服务差"] * 5_000


class Bar:
    """What a progress bar is told."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def update(self, count: int) -> None:
        self.steps.append(count)


def test_a_folder_is_loaded_as_a_classifier(tmp_path: Path) -> None:
    fitted = LinearModel.fit(TEXTS, LABELS, num_labels=2, seed=0)
    save_linear_classifier(tmp_path / "model", fitted, SETTINGS)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {SETTINGS_FILE, LINEAR_FILE, LINEAR_WEIGHTS_FILE}
    classifier = Classifier.load(tmp_path / "model")
    assert (classifier.engine_name, classifier.rungs, classifier.labels) == ("linear", ("linear",), SETTINGS.labels)
    bar: Any = Bar()
    answers = classifier.answer(QUESTIONS, batch_size=3, progress=bar)
    cleaned = [clean_text(text, "tutorial", mask_personal_data=True) for text in QUESTIONS]
    assert np.array_equal(answers.probabilities, fitted.probabilities(cleaned))
    assert answers.probabilities.argmax(axis=1)[:2].tolist() == [1, 0]
    assert answers.rungs.dtype == np.int8 and not answers.rungs.any()
    assert sum(bar.steps) == len(QUESTIONS) and len(bar.steps) > 1
    assert classifier.predict([]).shape == (0, 2)


def test_a_classifier_of_pairs_asks_for_pairs(tmp_path: Path) -> None:
    first, second = ["早餐", "早餐", "键盘", "键盘"], ["好吃", "难吃", "好用", "难用"]
    fitted = LinearModel.fit(first, np.array([1, 0, 1, 0]), text_pairs=second, num_labels=2, seed=0)
    save_linear_classifier(tmp_path, fitted, SETTINGS.model_copy(update={"pairs": True}))
    classifier = Classifier.load(tmp_path)
    assert np.array_equal(classifier.predict(first, second), fitted.probabilities(first, second))
    with pytest.raises(DataError, match="no second texts"):
        classifier.predict(first)


def test_weights_for_other_labels_are_refused(tmp_path: Path) -> None:
    fitted = LinearModel.fit(TEXTS, LABELS, num_labels=3, seed=0)
    save_linear_classifier(tmp_path, fitted, SETTINGS)
    with pytest.raises(ModelError, match="fitted for 3 labels, but the folder names 2"):
        Classifier.load(tmp_path)


PREDICTS = """
import json, sys
from pathlib import Path
from textclf.model.classifier import Classifier

probabilities = Classifier.load(Path(sys.argv[1])).predict(["房间很干净"])
print(json.dumps([probabilities.tolist(), sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_predicting_imports_no_library_that_computes_but_numpy(tmp_path: Path) -> None:
    fitted = LinearModel.fit(TEXTS, LABELS, num_labels=2, seed=0)
    save_linear_classifier(tmp_path, fitted, SETTINGS)
    done = subprocess.run(
        [sys.executable, "-c", PREDICTS, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    probabilities, modules = json.loads(done.stdout)
    assert probabilities == Classifier.load(tmp_path).predict(["房间很干净"]).tolist()
    heavy = {"torch", "transformers", "tokenizers", "sklearn", "scipy", "pandas", "pyarrow", "mlflow", "matplotlib"}
    assert heavy.isdisjoint(modules)
