"""A trained classifier as a folder: raw text in, probabilities out.

Evaluation, batch prediction and serving all call this class, so they cannot disagree. The folder is a plain Hugging
Face model folder (`from_pretrained` reads it) with one more file, `textclf.json`: how texts are cleaned and cut.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf import __version__
from textclf.config.schema import CleaningConfig
from textclf.data.cleaning import clean_text
from textclf.devices import Precision, resolve_precision
from textclf.encoding import load_tokenizer
from textclf.errors import ModelError
from textclf.quiet import quiet_transformers
from textclf.records import Record
from textclf.store import write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tqdm import tqdm
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SETTINGS_FILE = "textclf.json"
# Texts of one tokenizer call: enough for all cores, small enough that token ids never pile up.
TEXTS_PER_TOKENIZER_CALL = 8192


class ClassifierSettings(Record):
    """What a model folder must know beside weights and tokenizer."""

    textclf_version: str = __version__
    labels: tuple[str, ...]
    """Label names in the order of their ids."""
    max_length: int
    cleaning: CleaningConfig


class Classifier:
    """Classifies raw texts.

    Attributes:
        labels: Label names in the order of their ids.
        cleaning: How texts are cleaned first.
        max_length: Longest sequence in tokens.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: ClassifierSettings,
        precision: Precision = "no",
    ) -> None:
        import torch

        self.labels = settings.labels
        self.cleaning = settings.cleaning
        self.max_length = settings.max_length
        self._tokenizer = tokenizer
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model: Any = model.to(device=self._device).eval()  # type: ignore[call-arg]
        self._precision = precision

    @classmethod
    def load(cls, folder: Path, *, mixed_precision: str = "auto") -> Classifier:
        """Loads a model folder without any connection, pickle or foreign code.

        Args:
            folder: A folder that `save` wrote.
            mixed_precision: `auto`, `no`, `bf16` or `fp16`.

        Raises:
            ModelError: A file is missing or damaged.
        """
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification

        quiet_transformers()
        settings_file = folder / SETTINGS_FILE
        try:
            settings = ClassifierSettings.model_validate_json(settings_file.read_text(encoding="utf-8"))
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"The classifier in {folder} cannot be loaded: {error}\n"
                f"Expected config.json, model.safetensors, a tokenizer and {SETTINGS_FILE}, as training writes them."
            ) from error
        return cls(model, load_tokenizer(folder), settings, resolve_precision(mixed_precision))  # type: ignore[arg-type]

    def save(self, folder: Path) -> None:
        """Writes the model folder: safetensors weights, tokenizer, label names, cleaning and length limit."""
        settings = ClassifierSettings(labels=self.labels, max_length=self.max_length, cleaning=self.cleaning)
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        write_text(folder / SETTINGS_FILE, json.dumps(settings.model_dump(mode="json"), ensure_ascii=False, indent=1))

    def predict(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: tqdm[Any] | None = None
    ) -> NDArray[np.float32]:
        """Classifies texts, in batches of similar length.

        Args:
            texts: Raw texts; they are cleaned here.
            batch_size: Rows a batch.
            progress: A bar that is moved by one a text.

        Returns:
            Probabilities: float32[len(texts), len(labels)], in the order of the texts; each row sums to 1.
        """
        import numpy as np

        probabilities = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_PER_TOKENIZER_CALL):
            chunk = texts[start : start + TEXTS_PER_TOKENIZER_CALL]
            ids = self._token_ids(chunk)
            # Longest first: a batch that does not fit into memory fails at once, not after an hour.
            order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
            for first in range(0, len(order), batch_size):
                batch = order[first : first + batch_size]
                probabilities[[start + index for index in batch]] = self._forward([ids[index] for index in batch])
                if progress is not None:
                    progress.update(len(batch))
        return probabilities

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        encoded: dict[str, list[list[int]]] = self._tokenizer(
            [clean_text(text, self.cleaning.rule) for text in texts],
            truncation=True,
            max_length=self.max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return encoded["input_ids"]

    def _forward(self, ids: list[list[int]]) -> NDArray[np.float32]:
        import torch

        longest = max(len(sequence) for sequence in ids)
        padding = self._tokenizer.pad_token_id
        input_ids = torch.tensor([sequence + [padding] * (longest - len(sequence)) for sequence in ids])
        # Without padding no mask is needed, and attention takes its fastest path.
        mask = None
        if any(len(sequence) < longest for sequence in ids):
            lengths = torch.tensor([len(sequence) for sequence in ids])
            mask = (torch.arange(longest)[None, :] < lengths[:, None]).long().to(self._device)
        with torch.inference_mode(), self._autocast():
            logits = self._model(input_ids=input_ids.to(self._device), attention_mask=mask).logits
        probabilities: NDArray[np.float32] = torch.softmax(logits.float(), dim=-1).cpu().numpy()
        return probabilities

    def _autocast(self) -> AbstractContextManager[Any]:
        import torch

        if self._precision == "no":
            return nullcontext()
        dtype = torch.bfloat16 if self._precision == "bf16" else torch.float16
        return torch.autocast(self._device.type, dtype=dtype)
