"""Export an encoder for ONNX Runtime: weights as 7-bit integers, the range of activations found anew for each batch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textclf.model.engines.onnxruntime_engine import MODEL_FILE, import_onnxruntime

# The newest that the exporter without torch.export knows; later ones bring nothing that BERT needs.
_OPSET = 17


def write_onnxruntime(model: Any, folder: Path, names: tuple[str, ...]) -> None:
    """Writes the files of `onnxruntime-int8` into a folder.

    Weights have 7 bits, so that without VNNI sums of two products fit into the 16 bits in which they are added: all
    processors find the same integers.

    Args:
        model: An encoder of transformers, in evaluation mode.
        folder: An existing, empty folder.
        names: The inputs that the model has.
    """
    import torch

    quantization = import_quantizer()

    class Logits(torch.nn.Module):
        """Takes the inputs by position, as the exporter gives them."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.model(**dict(zip(names, inputs, strict=True))).logits
            return found

    whole = folder / "fp32.onnx"
    with _quiet_exporters():
        torch.onnx.export(
            Logits(),
            tuple(torch.ones((2, 8), dtype=torch.int64) for _ in names),
            whole,
            input_names=list(names),
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
            opset_version=_OPSET,
            dynamo=False,
        )
        quantization.quantize_dynamic(
            whole,
            folder / MODEL_FILE,
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
        )
    whole.unlink()


def import_quantizer() -> Any:
    """Imports ONNX Runtime's quantizer, which needs `onnx`.

    Raises:
        EngineUnavailable: ONNX Runtime is not installed.
        ImportError: `onnx` is not installed.
    """
    import_onnxruntime()
    import onnxruntime.quantization

    return onnxruntime.quantization


@contextmanager
def _quiet_exporters() -> Iterator[None]:
    """Hides advice of the exporter and the quantizer, which use warnings and the root logger."""

    def keep(record: logging.LogRecord) -> bool:
        return "onnx" not in record.pathname

    root = logging.getLogger()
    root.addFilter(keep)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(keep)
