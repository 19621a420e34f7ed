"""A trained classifier as a folder: raw texts or pairs of texts in, probabilities out.

Evaluation, batch prediction and serving all use this class, so they cannot disagree. The folder is a plain Hugging Face
model folder (for `from_pretrained`) plus `textclf.json`, which says how texts are cleaned and truncated.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textclf import __version__
from textclf.config.data import CleaningConfig
from textclf.config.schema import TrainConfig
from textclf.data.cleaning import clean_text
from textclf.errors import DataError, ModelError
from textclf.heads.single_label import SingleLabel
from textclf.model.devices import AskedPrecision, resolve_precision
from textclf.model.engines.engine import Engine
from textclf.model.engines.torch_engine import TorchEngine
from textclf.model.tokens import load_tokenizer, token_ids
from textclf.quiet import quiet_transformers
from textclf.records import Record
from textclf.store import write_text

if TYPE_CHECKING:
    from tqdm import tqdm
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SETTINGS_FILE = "textclf.json"
# Enough texts to keep all cores busy, few enough that their token ids fit into memory.
TEXTS_PER_TOKENIZER_CALL = 8192


class ClassifierSettings(Record):
    """What a model folder needs besides weights and tokenizer."""

    textclf_version: str = __version__
    labels: tuple[str, ...]
    """Label names in the order of their ids."""
    max_length: int
    cleaning: CleaningConfig
    pairs: bool = False
    """Whether it classifies pairs of texts."""

    @classmethod
    def of(cls, config: TrainConfig, labels: tuple[str, ...]) -> ClassifierSettings:
        """Returns the settings of a model that is trained with this configuration."""
        return cls(
            labels=labels,
            max_length=config.encoding.max_length,
            cleaning=config.cleaning,
            pairs=config.data.text_pair_column is not None,
        )


def read_settings(folder: Path) -> ClassifierSettings:
    """Reads the settings from a folder that `save_classifier` wrote.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged.
    """
    return ClassifierSettings.model_validate_json((folder / SETTINGS_FILE).read_text(encoding="utf-8"))


def save_classifier(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: ClassifierSettings
) -> None:
    """Writes a model folder for `Classifier.load`: safetensors weights, tokenizer and settings."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_text(folder / SETTINGS_FILE, json.dumps(settings.model_dump(mode="json"), ensure_ascii=False, indent=1))


class Classifier:
    """Classifies raw texts, or pairs of them.

    The engine computes logits, the head turns them into probabilities and decisions; the other attributes are those of
    `ClassifierSettings`.
    """

    def __init__(self, engine: Engine, tokenizer: PreTrainedTokenizerBase, settings: ClassifierSettings) -> None:
        self.engine = engine
        self.head = SingleLabel(settings.labels)
        self.labels = settings.labels
        self.cleaning = settings.cleaning
        self.max_length = settings.max_length
        self.pairs = settings.pairs
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path, *, mixed_precision: AskedPrecision = "auto") -> Classifier:
        """Loads a folder that `save_classifier` wrote, without network access, pickle or remote code.

        Raises:
            ModelError: A file is missing or damaged.
        """
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification

        quiet_transformers()
        try:
            settings = read_settings(folder)
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"The classifier in {folder} cannot be loaded: {error}\n"
                f"Expected config.json, model.safetensors, a tokenizer and {SETTINGS_FILE}, as training writes them."
            ) from error
        return cls(TorchEngine(model, resolve_precision(mixed_precision)), load_tokenizer(folder), settings)

    def predict(
        self,
        texts: Sequence[str],
        text_pairs: Sequence[str] | None = None,
        *,
        batch_size: int = 64,
        progress: tqdm[Any] | None = None,
    ) -> NDArray[np.float32]:
        """Classifies raw texts, or pairs of them, in batches of similar length.

        Args:
            texts: They are cleaned here.
            text_pairs: The second text of each for a model of pairs, else None.
            batch_size: Rows per batch.
            progress: A bar that advances by one per text.

        Returns:
            Probabilities: float32[texts, labels], in the order of the texts; each row sums to 1.

        Raises:
            DataError: Second texts are missing, not expected, or not as many as the first ones.
        """
        self._check_pairs(texts, text_pairs)
        logits = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_PER_TOKENIZER_CALL):
            chunk = slice(start, start + TEXTS_PER_TOKENIZER_CALL)
            encoded = self._token_ids(texts[chunk], None if text_pairs is None else text_pairs[chunk])
            ids = encoded["input_ids"]
            # Longest first, so that a batch that does not fit into memory fails immediately, not after an hour.
            order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
            for first in range(0, len(order), batch_size):
                batch = order[first : first + batch_size]
                columns = {name: [sequences[index] for index in batch] for name, sequences in encoded.items()}
                logits[[start + index for index in batch]] = self._logits(columns)
                if progress is not None:
                    progress.update(len(batch))
        return self.head.probabilities(logits)

    def _check_pairs(self, texts: Sequence[str], text_pairs: Sequence[str] | None) -> None:
        if self.pairs and text_pairs is None:
            raise DataError("The model classifies pairs of texts, but no second texts were given.")
        if text_pairs is not None and not self.pairs:
            raise DataError("The model classifies single texts, but second texts were given.")
        if text_pairs is not None and len(texts) != len(text_pairs):
            raise DataError(f"Each text needs a second one: found {len(texts):,} texts and {len(text_pairs):,} second.")

    def _token_ids(self, texts: Sequence[str], text_pairs: Sequence[str] | None) -> BatchEncoding:
        cleaned_pairs = None if text_pairs is None else self._clean(text_pairs)
        return token_ids(self._tokenizer, self._clean(texts), cleaned_pairs, max_length=self.max_length)

    def _clean(self, texts: Sequence[str]) -> list[str]:
        rule, mask = self.cleaning.rule, self.cleaning.mask_personal_data
        return [clean_text(text, rule, mask_personal_data=mask) for text in texts]

    def _logits(self, columns: dict[str, list[list[int]]]) -> NDArray[np.float32]:
        lengths = np.array([len(sequence) for sequence in columns["input_ids"]])
        is_token = np.arange(lengths.max()) < lengths[:, None]
        padding = {"input_ids": self._tokenizer.pad_token_id, "token_type_ids": self._tokenizer.pad_token_type_id}
        padded = {}
        for name, sequences in columns.items():
            padded[name] = np.full(is_token.shape, padding[name], dtype=np.int64)
            padded[name][is_token] = [token for sequence in sequences for token in sequence]
        # Without a mask, attention takes its fastest path.
        mask = None if is_token.all() else is_token.astype(np.int64)
        return self.engine.logits(padded["input_ids"], mask, padded.get("token_type_ids"))
