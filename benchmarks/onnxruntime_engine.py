"""ONNX Runtime with dynamic int8, as an engine beside the library's own: only to compare them."""

from __future__ import annotations

import inspect
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NAME = "onnxruntime-int8"


def is_installed() -> bool:
    """Returns whether a model can be exported and run."""
    return find_spec("onnxruntime") is not None and find_spec("onnx") is not None


def export_onnx(model_folder: Path, target: Path) -> Path:
    """Exports a model with weights in int8 per channel, unless the file is there, and returns its path."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModelForSequenceClassification

    if target.is_file():
        return target
    model = AutoModelForSequenceClassification.from_pretrained(model_folder, attn_implementation="eager").eval()
    known = inspect.signature(model.forward).parameters
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in known]

    class OnlyLogits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return self.model(**dict(zip(names, inputs, strict=True))).logits

    whole, made = target.with_name("fp32.onnx"), target.with_name("made.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            OnlyLogits(),
            tuple(torch.ones((2, 8), dtype=torch.int64) for _ in names),
            whole,
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    quantize_dynamic(whole, made, per_channel=True, weight_type=QuantType.QInt8)
    whole.unlink()
    return made.rename(target)


class OnnxRuntimeEngine:
    """An `Engine` of the library on ONNX Runtime, with all cores on one batch."""

    name = NAME
    streams = 1
    tokens_per_batch = 1024

    def __init__(self, file: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self._inputs = [entry.name for entry in self._session.get_inputs()]

    def logits(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64] | None,
        token_type_ids: NDArray[np.int64] | None,
    ) -> NDArray[np.float32]:
        """Computes the logits of one padded batch; see `Engine.logits`."""
        given = {
            "input_ids": input_ids,
            "attention_mask": np.ones_like(input_ids) if attention_mask is None else attention_mask,
            "token_type_ids": np.zeros_like(input_ids) if token_type_ids is None else token_type_ids,
        }
        found: NDArray[np.float32] = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        return found
