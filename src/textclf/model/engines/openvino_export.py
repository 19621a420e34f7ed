"""Export an encoder for OpenVINO: weights and activations as 8-bit integers, in ranges found beforehand."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textclf.language import _
from textclf.model.engines.engine import OPENVINO_INT8, named_inputs
from textclf.model.engines.openvino_engine import MODEL_FILE, import_openvino
from textclf.progress import progress_bar

# NNCF reads the calibration rows three times: to smooth, to find ranges, and to correct biases.
PASSES = 3


def write_openvino(
    model: Any, folder: Path, names: tuple[str, ...], rows: list[NDArray[np.int64]], types: list[NDArray[np.int64]]
) -> None:
    """Writes the files of `openvino-int8` into a folder.

    Args:
        model: An encoder of transformers, in evaluation mode.
        folder: An existing, empty folder.
        names: The inputs that the model has.
        rows: Token ids of the calibration rows, each int64[1, tokens].
        types: For pairs of texts, the type of each token, likewise.
    """
    import torch

    openvino, nncf = import_openvino(), import_nncf()
    with _quiet_libraries():
        example = {name: torch.ones((2, 8), dtype=torch.int64) for name in names}
        converted = openvino.convert_model(model, example_input=example)
        with progress_bar(
            total=PASSES * len(rows), desc=_("Export {engine}").format(engine=OPENVINO_INT8), unit="texts"
        ) as bar:

            def as_inputs(index: int) -> dict[str, NDArray[np.int64]]:
                bar.update(1)
                return named_inputs(names, rows[index], None, types[index] if types else None)

            quantized = nncf.quantize(
                converted,
                nncf.Dataset(range(len(rows)), as_inputs),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(rows),
            )
        openvino.save_model(quantized, folder / MODEL_FILE, compress_to_fp16=False)


def import_nncf() -> Any:
    """Imports NNCF, which adds a handler of its own to its log and changes the class of all later loggers."""
    # It warns of a CUDA toolkit without a graphics card.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    kind = logging.getLoggerClass()
    import_openvino()
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            import nncf
    finally:
        logging.setLoggerClass(kind)
    log = logging.getLogger("nncf")
    log.setLevel(logging.ERROR)
    log.handlers.clear()
    log.propagate = True
    return nncf


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Hides NNCF's progress bars, and warnings of the conversion that do not concern a user."""
    import rich

    console = rich.get_console()
    quiet = console.quiet
    console.quiet = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        console.quiet = quiet
