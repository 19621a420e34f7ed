"""The quickstart's sample: what ships is what the generator writes, and it is fit to learn from."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textclf.config.sources import SPLITS
from textclf.data.cleaning import clean_text
from textclf.data.sample.generator import NEGATIVE, POSITIVE, write
from textclf.errors import StorageError
from textclf.evaluation.baselines import TFIDF, fit_baselines

SAMPLE = Path(str(resources.files("textclf.data.sample")))


def rows(folder: Path, split: str) -> list[tuple[str, str]]:
    lines = (folder / f"{split}.tsv").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "text\tlabel"
    assert lines[-1] == ""
    return [(text, label) for text, label in (line.split("\t") for line in lines[1:-1])]


@pytest.fixture(scope="module")
def shipped() -> dict[str, list[tuple[str, str]]]:
    return {split: rows(SAMPLE, split) for split in SPLITS}


def bare(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def test_the_generator_writes_the_shipped_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "textclf.data.sample.generator", "--output", str(tmp_path / "made")]
    # Hashes of strings differ between the two processes: the order of a set must not reach the files.
    for hash_seed in ("0", "1"):
        subprocess.run(command, check=True, capture_output=True, env={"PYTHONHASHSEED": hash_seed})
        for split in SPLITS:
            assert (tmp_path / "made" / f"{split}.tsv").read_bytes() == (SAMPLE / f"{split}.tsv").read_bytes()
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["test.tsv", "train.tsv", "validation.tsv"]


def test_another_seed_writes_other_texts(tmp_path: Path, shipped: dict[str, list[tuple[str, str]]]) -> None:
    write(tmp_path, seed=8)
    ours = {bare(text) for split in SPLITS for text, _ in shipped[split]}
    others = {bare(text) for split in SPLITS for text, _ in rows(tmp_path, split)}
    # There are only so many ways to say 太棒了.
    assert len(ours & others) < 0.05 * len(ours)
    assert not any(len(text) > 20 for text in ours & others)


def test_sizes_lengths_and_balance(shipped: dict[str, list[tuple[str, str]]]) -> None:
    assert {split: len(shipped[split]) for split in SPLITS} == {"train": 10040, "validation": 900, "test": 1050}
    for split in SPLITS:
        labels = [label for _, label in shipped[split]]
        assert set(labels) == {POSITIVE, NEGATIVE}
        assert 0.45 <= labels.count(POSITIVE) / len(labels) <= 0.55
    lengths = sorted(len(text) for split in SPLITS for text, _ in shipped[split])
    assert lengths[0] >= 2
    assert lengths[len(lengths) // 10] < 8
    assert 100 < lengths[-len(lengths) // 20] <= lengths[-1] <= 200


def test_no_phrase_is_left_unfilled(shipped: dict[str, list[tuple[str, str]]]) -> None:
    texts = [text for split in SPLITS for text, _ in shipped[split]]
    assert not [text for text in texts if set('<>|{}"\r') & set(text) or text != text.strip()]


def test_no_text_comes_twice_not_even_with_other_punctuation(shipped: dict[str, list[tuple[str, str]]]) -> None:
    texts = [bare(text) for split in SPLITS for text, _ in shipped[split]]
    assert len(set(texts)) == len(texts)


def test_no_test_text_is_a_near_copy_of_a_training_text(shipped: dict[str, list[tuple[str, str]]]) -> None:
    def pieces(text: str) -> set[str]:
        kept = bare(text)
        return {kept[start : start + 5] for start in range(max(1, len(kept) - 4))}

    training = [pieces(text) for text, _ in shipped["train"]]
    holders: dict[str, list[int]] = {}
    for number, found in enumerate(training):
        for piece in found:
            holders.setdefault(piece, []).append(number)
    for text, _ in shipped["validation"] + shipped["test"]:
        held_out = pieces(text)
        candidates = {number for piece in held_out for number in holders.get(piece, [])}
        similar = [len(held_out & training[number]) / len(held_out | training[number]) for number in candidates]
        assert max(similar, default=0.0) <= 0.5, text


def test_words_alone_do_not_give_the_label_away(shipped: dict[str, list[tuple[str, str]]]) -> None:
    def columns(split: str) -> tuple[list[str], np.ndarray[Any, np.dtype[np.int64]]]:
        texts = [clean_text(text, "standard") for text, _ in shipped[split]]
        return texts, np.array([int(label == POSITIVE) for _, label in shipped[split]])

    model = fit_baselines(*columns("train"), num_labels=2, seed=42, names=[TFIDF])[TFIDF]
    texts, labels = columns("test")
    assert 0.85 <= (model.probabilities(texts).argmax(axis=1) == labels).mean() <= 0.95


def test_the_licence_is_next_to_the_texts() -> None:
    assert "CC0-1.0" in (SAMPLE / "LICENSE").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"train\.tsv.*--output"):
        write(tmp_path / "file")
