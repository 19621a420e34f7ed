"""What the teacher says of the texts that a student learns from: computed once, and kept on disk part by part."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from textclf.language import _
from textclf.model.classifier import Classifier
from textclf.progress import progress_bar
from textclf.store import write_bytes

if TYPE_CHECKING:
    from tqdm import tqdm

# What a kill loses: about two minutes of bert-base on two cores.
TEXTS_PER_PART = 2048


class Teacher:
    """Answers texts as logits, up to a constant for each text, and keeps the answers in a folder.

    The model is loaded only if answers are missing.

    Args:
        load: Loads the classifier.
        num_labels: How many labels it knows.
        folder: Where the answers are; another model needs another folder.
        batch_size: Maximum texts per batch.
    """

    def __init__(self, load: Callable[[], Classifier], num_labels: int, folder: Path, *, batch_size: int) -> None:
        self._load = load
        self._num_labels = num_labels
        self._folder = folder
        self._batch_size = batch_size

    @cached_property
    def _classifier(self) -> Classifier:
        return self._load()

    def answers(self, files: Mapping[str, Path]) -> dict[str, NDArray[np.float32]]:
        """Answers the texts of Parquet files: float32[texts, labels] by the names of the files.

        A file has a column text, and text_pair for pairs. After a kill, finished parts are not computed again.

        Raises:
            ModelError: The classifier cannot be loaded.
            OSError: A file cannot be read, or the answers cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        opened = {name: pq.ParquetFile(path) for name, path in files.items()}
        total = sum(file.metadata.num_rows for file in opened.values())
        with progress_bar(total=total, desc=_("Ask the teacher"), unit="texts", leave=False) as bar:
            found = {}
            for name, file in opened.items():
                columns = [column for column in ("text", "text_pair") if column in file.schema_arrow.names]
                parts = [np.empty((0, self._num_labels), dtype=np.float32)]
                for number, batch in enumerate(file.iter_batches(batch_size=TEXTS_PER_PART, columns=columns)):
                    part = self._folder / f"{name}-{number:05d}.npy"
                    answers = self._read(part, batch.num_rows)
                    if answers is None:
                        answers = self._ask(*(batch.column(column).to_pylist() for column in columns), progress=bar)
                        _write(part, answers)
                    else:
                        bar.update(batch.num_rows)
                    parts.append(answers)
                found[name] = np.concatenate(parts)
        return found

    def _ask(self, texts: list[str], pairs: list[str] | None = None, *, progress: tqdm[Any]) -> NDArray[np.float32]:
        probabilities = self._classifier.predict(texts, pairs, batch_size=self._batch_size, progress=progress)
        logits: NDArray[np.float32] = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
        return logits

    def _read(self, part: Path, rows: int) -> NDArray[np.float32] | None:
        """Returns an earlier answer; None if there is none, or a damaged one."""
        try:
            stored: NDArray[np.float32] = np.load(part, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return stored if stored.shape == (rows, self._num_labels) else None


def _write(part: Path, logits: NDArray[np.float32]) -> None:
    content = io.BytesIO()
    np.save(content, logits, allow_pickle=False)
    write_bytes(part, content.getvalue())
