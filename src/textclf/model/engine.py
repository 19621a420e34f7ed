"""Engines compute logits; another runtime can replace torch here."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from textclf.model.devices import Precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Engine(Protocol):
    """A loaded model that computes logits.

    Attributes:
        name: Runtime and precision, e.g. `torch-bf16`. Only engines of the same name agree to the last digit.
        streams: How many calls of `logits` should run at once, from threads.
        tokens_per_batch: How many tokens, padding included, a batch should have at most.
    """

    name: str
    streams: int
    tokens_per_batch: int

    def logits(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64] | None,
        token_type_ids: NDArray[np.int64] | None,
    ) -> NDArray[np.float32]:
        """Computes logits[batch, labels] of one padded batch.

        Args:
            input_ids: Shape [batch, tokens], like the other two.
            attention_mask: 0 for padding; None without padding.
            token_type_ids: 0 or 1 for the first or second text of a pair; None for single texts.
        """
        ...


class TorchEngine:
    """A PyTorch model, moved to the GPU if there is one, else to the CPU."""

    streams = 1
    tokens_per_batch = 16_384

    def __init__(self, model: PreTrainedModel, precision: Precision = "no") -> None:
        import torch

        self.name = f"torch-{'fp32' if precision == 'no' else precision}"
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model: Any = model.to(device=self._device).eval()  # type: ignore[call-arg]
        self._autocast: dict[str, Any] = {
            "device_type": self._device.type,
            "dtype": torch.float16 if precision == "fp16" else torch.bfloat16,
            "enabled": precision != "no",
        }
        # A tokenizer may return token types that its model does not accept.
        self._takes_token_types = "token_type_ids" in inspect.signature(model.forward).parameters

    def logits(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64] | None,
        token_type_ids: NDArray[np.int64] | None,
    ) -> NDArray[np.float32]:
        """Computes the logits of one padded batch; see `Engine.logits`."""
        import torch

        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._takes_token_types:
            inputs["token_type_ids"] = token_type_ids
        tensors = {
            name: None if values is None else torch.from_numpy(values).to(self._device)
            for name, values in inputs.items()
        }
        with torch.inference_mode(), torch.autocast(**self._autocast):
            found = self._model(**tensors).logits
        logits: NDArray[np.float32] = found.float().cpu().numpy()
        return logits
