"""Export engines of a trained encoder: made once, next to its weights, and used wherever the model predicts."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textclf.errors import EngineUnavailable, ExportError
from textclf.extras import install_command
from textclf.model.engines.engine import (
    ENGINE_FILE,
    EXPORTED_ENGINES,
    ONNXRUNTIME_INT8,
    OPENVINO_INT8,
    RUNTIMES,
    EngineRecord,
    engine_folder,
)
from textclf.model.engines.machine import int8_instructions
from textclf.model.engines.onnxruntime_export import import_quantizer, write_onnxruntime
from textclf.model.engines.openvino_export import import_nncf, write_openvino
from textclf.quiet import quiet_transformers
from textclf.records import FetchedFile
from textclf.store import building, file_sha256, sync, write_text

logger = logging.getLogger(__name__)

EXPORTERS = {OPENVINO_INT8: "nncf", ONNXRUNTIME_INT8: "onnx"}
"""The package that each export needs besides the one that runs the engine."""


def engines_to_export(export: str, instructions: str) -> tuple[str, ...]:
    """Returns the names of the engines that `engine.export` asks for.

    Args:
        export: `auto`, `all`, `none` or the name of an engine.
        instructions: The first of `int8_instructions`. Without VNNI, OpenVINO's 8-bit integers are slower than fp32 on
            x86 (docs/decisions/0016-engines.md).
    """
    if export == "auto":
        export = ONNXRUNTIME_INT8 if instructions in ("x86_64", "AMD64") else OPENVINO_INT8
    return tuple(name for name in EXPORTED_ENGINES if export in (name, "all"))


def export_engine(
    model_folder: Path,
    name: str,
    input_ids: Sequence[Sequence[int]],
    token_type_ids: Sequence[Sequence[int]] | None = None,
) -> EngineRecord:
    """Exports an engine into a model folder, in place of an earlier export.

    Weights and activations become 8-bit integers. `openvino-int8` finds the ranges of the activations with the
    calibration rows: training rows, since validation and test rows are there to measure the result.
    `onnxruntime-int8` needs none.

    Args:
        model_folder: As `save_classifier` writes it.
        name: One of `EXPORTED_ENGINES`.
        input_ids: Encoded, cleaned training texts with special tokens, not padded. More take longer.
        token_type_ids: For pairs of texts, the type of each token, if the tokenizer produces it.

    Raises:
        ExportError: The export is not installed, there are no calibration rows, or it failed; nothing half-written
            remains.
        StorageError: The disk is full or not writable.
    """
    began = time.monotonic()
    target = engine_folder(model_folder, name)
    rows = [np.asarray(row, dtype=np.int64)[None] for row in input_ids]
    types = [np.asarray(row, dtype=np.int64)[None] for row in token_type_ids or ()]
    if not rows:
        raise ExportError("An engine needs at least one training text for its calibration, and there is none.")
    try:
        import_nncf() if name == OPENVINO_INT8 else import_quantizer()
    except (EngineUnavailable, ImportError) as error:
        raise ExportError(
            f"{name} needs {RUNTIMES[name]} and {EXPORTERS[name]}, and one of them cannot be imported: "
            f"{error.__cause__ or error}\nInstall the extra textclf[train]: {install_command('train')}"
        ) from error
    with building(target) as draft:
        made = draft / target.name
        made.mkdir()
        try:
            inputs, num_labels = _write(name, model_folder, made, rows, types)
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ExportError(f"Exporting {name} from {model_folder} failed: {_reason(error)}") from error
        record = EngineRecord(
            name=name,
            runtime_version=version(RUNTIMES[name]),
            inputs=inputs,
            num_labels=num_labels,
            files=tuple(
                FetchedFile(path=path.name, sha256=file_sha256(path), size_bytes=path.stat().st_size)
                for path in sorted(made.iterdir())
            ),
            instructions=int8_instructions()[0] if name == OPENVINO_INT8 else None,
            calibration_rows=len(rows) if name == OPENVINO_INT8 else 0,
            seconds=round(time.monotonic() - began, 1),
        )
        write_text(made / ENGINE_FILE, record.model_dump_json(indent=1))
        for path in (*made.iterdir(), made):
            sync(path)
        if target.exists():
            # Removed together with the draft: no reader finds a half-removed engine.
            target.rename(draft / "replaced")
        made.rename(target)
        sync(target.parent)
    logger.info(
        "Export: %s in %.0f s, %.0f MB.",
        record.name,
        record.seconds,
        sum(file.size_bytes for file in record.files) / 1e6,
    )
    return record


def _write(
    name: str, model_folder: Path, made: Path, rows: list[NDArray[np.int64]], types: list[NDArray[np.int64]]
) -> tuple[tuple[str, ...], int]:
    """Writes the files of an engine; returns the names of its inputs, and the number of labels."""
    from transformers import AutoModelForSequenceClassification

    from textclf.model.first_token import read_first_token_alone

    quiet_transformers()
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        model_folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
    ).eval()
    read_first_token_alone(model)
    known = inspect.signature(model.forward).parameters
    inputs = tuple(each for each in ("input_ids", "attention_mask", "token_type_ids") if each in known)
    if name == OPENVINO_INT8:
        write_openvino(model, made, inputs, rows, types)
    else:
        write_onnxruntime(model, made, inputs)
    return inputs, model.config.num_labels


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip() or 'no message'}"
