"""A fine-tuned encoder as a classifier.

Its folder is a plain Hugging Face model folder (for `from_pretrained`) plus `textclf.json`, which says how texts are
cleaned and truncated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textclf.model.classifier import Answers, Choices, Classifier
from textclf.model.devices import AskedPrecision
from textclf.model.engines.choice import Trial, open_engine
from textclf.model.engines.engine import Engine
from textclf.model.engines.speed import FEWEST_TEXTS, texts_per_second
from textclf.model.settings import ClassifierSettings
from textclf.model.tokenizer import TextTokenizer, TokenIds

if TYPE_CHECKING:
    from tqdm import tqdm
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Enough texts to keep all cores busy, few enough that their token ids fit into memory.
TEXTS_PER_TOKENIZER_CALL = 8192


def save_classifier(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: ClassifierSettings
) -> None:
    """Writes a model folder for `Classifier.load`: safetensors weights, tokenizer and settings."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings.write(folder)


class EncoderClassifier(Classifier):
    """An engine that computes the logits of token ids.

    Attributes:
        engine: The engine.
    """

    rungs = ("encoder",)

    def __init__(self, engine: Engine, tokenizer: TextTokenizer, settings: ClassifierSettings) -> None:
        super().__init__(settings)
        self.engine = engine
        self.engine_name = engine.name
        self._tokenizer = tokenizer
        self._temperature = np.float32(settings.temperature)

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: ClassifierSettings,
        *,
        engine: str = "auto",
        mixed_precision: AskedPrecision = "auto",
        choices: Choices | None = None,
    ) -> EncoderClassifier:
        """Loads a folder that `save_classifier` wrote; see `open_engine`.

        Raises:
            ModelError: A file is missing or damaged, or the engine cannot be used.
        """
        tokenizer = TextTokenizer.load(folder, max_length=settings.max_length)

        def trial() -> Trial | None:
            texts, text_pairs = choices.sample(settings) if choices and choices.sample else ([], None)
            if len(texts) < FEWEST_TEXTS:
                return None

            def speed(candidate: Engine) -> float:
                predict = partial(cls(candidate, tokenizer, settings)._answer, batch_size=1024, progress=None)
                return texts_per_second(predict, texts, text_pairs, max_characters=settings.max_length)

            return Trial(len(texts), speed)

        opened, reason = open_engine(
            folder, engine, mixed_precision, choices=choices.folder if choices else None, trial=trial
        )
        classifier = cls(opened, tokenizer, settings)
        classifier.engine_reason = reason
        return classifier

    def _answer(
        self,
        texts: Sequence[str],
        text_pairs: Sequence[str] | None,
        *,
        batch_size: int,
        progress: tqdm[Any] | None,
    ) -> Answers:
        """Computes batches of similar length, as many at once as the engine gains from."""
        logits = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        with _mapping(self.engine.streams) as over:
            for start in range(0, len(texts), TEXTS_PER_TOKENIZER_CALL):
                chunk = slice(start, start + TEXTS_PER_TOKENIZER_CALL)
                tokens = self._tokenizer.encode(texts[chunk], None if text_pairs is None else text_pairs[chunk])
                batches = list(_batches(tokens.lengths, batch_size, self.engine.tokens_per_batch))
                for batch, found in zip(batches, over(partial(self._logits, tokens), batches), strict=True):
                    logits[start + batch] = found
                    if progress is not None:
                        progress.update(len(batch))
        return Answers(self.head.probabilities(logits / self._temperature), np.zeros(len(texts), dtype=np.int8))

    def _logits(self, tokens: TokenIds, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.engine.logits(*tokens.padded(rows))


def _batches(lengths: NDArray[np.int64], batch_size: int, tokens_per_batch: int) -> Iterator[NDArray[np.int64]]:
    """Cuts rows into batches of similar length: at most `batch_size` rows and `tokens_per_batch` tokens with padding.

    Longest first, so that a batch that does not fit into memory fails immediately, not after an hour.
    """
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        rows = min(batch_size, max(tokens_per_batch // int(lengths[order[first]]), 1))
        yield order[first : first + rows]
        first += rows


@contextmanager
def _mapping(streams: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yields a function like `map` that makes so many calls at once; results come in order."""
    if streams == 1:
        yield map
        return
    pool = ThreadPoolExecutor(streams, thread_name_prefix="engine")
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
