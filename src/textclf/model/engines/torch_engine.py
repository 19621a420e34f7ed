"""The engine that torch runs, on a GPU or on CPUs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textclf.errors import ModelError
from textclf.model.devices import AskedPrecision, Precision, resolve_precision
from textclf.model.settings import SETTINGS_FILE
from textclf.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from textclf.model.packed import PackedClassifier

# A GPU needs many tokens to be busy. A CPU is busy with few, and fewer stay in its caches.
TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 32768}


class TorchEngine:
    """A PyTorch model, moved to the GPU if there is one, else to the CPU.

    Args:
        model: The classifier.
        precision: What its products are computed in.
        packed: Compute without padding; None does where it is faster.

    Raises:
        ModelError: The model cannot be computed without padding, though it was asked for.
    """

    streams = 1

    def __init__(self, model: PreTrainedModel, precision: Precision = "no", *, packed: bool | None = None) -> None:
        import torch

        from textclf.model.first_token import read_first_token_alone
        from textclf.model.packed import COMPILE_AFTER, PackedClassifier, can_pack, should_pack

        self.name = f"torch-{'fp32' if precision == 'no' else precision}"
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokens_per_batch = TOKENS_PER_BATCH[self._device.type]
        read_first_token_alone(model)
        self._model: Any = model.to(device=self._device).eval()  # type: ignore[call-arg]
        self._autocast: dict[str, Any] = {
            "device_type": self._device.type,
            "dtype": torch.float16 if precision == "fp16" else torch.bfloat16,
            "enabled": precision != "no",
        }
        # A tokenizer may return token types that its model does not accept.
        self._takes_token_types = "token_type_ids" in inspect.signature(model.forward).parameters
        self._packed: PackedClassifier | None = None
        if should_pack(model, precision) if packed is None else packed:
            if not can_pack(model):
                raise ModelError(
                    f"{type(model).__name__} cannot be computed without padding: expected a BERT classifier."
                )
            on_gpu = self._device.type == "cuda"
            self._packed = PackedClassifier(self._model, compile_after=COMPILE_AFTER if on_gpu else None)

    @classmethod
    def load(cls, folder: Path, *, mixed_precision: AskedPrecision = "auto") -> TorchEngine:
        """Loads the weights of a model folder, without network access, pickle or remote code.

        Raises:
            ModelError: A file is missing or damaged, or torch or transformers is not installed.
        """
        try:
            from safetensors import SafetensorError
            from transformers import AutoModelForSequenceClassification
        except ImportError as error:
            raise ModelError(
                f"The engine torch cannot be used: {error}\nInstall it: pip install 'textclf[train]'"
            ) from error
        quiet_transformers()
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"The classifier in {folder} cannot be loaded: {error}\n"
                f"Expected config.json, model.safetensors, a tokenizer and {SETTINGS_FILE}, as training writes them."
            ) from error
        return cls(model, resolve_precision(mixed_precision))

    def logits(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64] | None,
        token_type_ids: NDArray[np.int64] | None,
    ) -> NDArray[np.float32]:
        """Computes the logits of one padded batch; see `Engine.logits`."""
        import torch

        if not len(input_ids):
            return np.empty((0, self._model.config.num_labels), dtype=np.float32)
        with torch.inference_mode(), torch.autocast(**self._autocast):
            if self._packed:
                found = self._without_padding(self._packed, input_ids, attention_mask, token_type_ids)
            else:
                inputs = {"input_ids": self._tensor(input_ids), "attention_mask": self._tensor(attention_mask)}
                if self._takes_token_types:
                    inputs["token_type_ids"] = self._tensor(token_type_ids)
                found = self._model(**inputs).logits
        logits: NDArray[np.float32] = found.float().cpu().numpy()
        return logits

    def _without_padding(
        self,
        classifier: PackedClassifier,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64] | None,
        token_type_ids: NDArray[np.int64] | None,
    ) -> torch.Tensor:
        import torch

        from textclf.model.packed import Rows

        is_token = np.ones(input_ids.shape, dtype=bool) if attention_mask is None else attention_mask.astype(bool)
        lengths = is_token.sum(axis=1)
        starts = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
        types = None if token_type_ids is None else self._tensor(token_type_ids[is_token])
        rows = Rows(torch.from_numpy(starts).to(self._device), int(lengths.max()))
        return classifier(torch.from_numpy(input_ids[is_token]).to(self._device), types, rows)

    def _tensor(self, values: NDArray[np.generic] | None) -> torch.Tensor | None:
        import torch

        return None if values is None else torch.from_numpy(values).to(self._device)
