"""Export engines of a trained encoder: made once, next to its weights, and used wherever the model predicts."""

from __future__ import annotations

import inspect
import io
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textclf.errors import EngineUnavailable, ExportError
from textclf.extras import install_command
from textclf.language import _
from textclf.model.engines.engine import ENGINE_FILE, OPENVINO_INT8, EngineRecord, engine_folder
from textclf.model.engines.openvino_engine import (
    MODEL_FILE,
    WEIGHTS_FILE,
    import_openvino,
    int8_instructions,
    openvino_version,
)
from textclf.progress import progress_bar
from textclf.quiet import quiet_transformers
from textclf.records import FetchedFile
from textclf.store import building, file_sha256, sync, write_text

logger = logging.getLogger(__name__)

# NNCF reads the calibration rows three times: to smooth, to find ranges, and to correct biases.
PASSES = 3


def export_engine(
    model_folder: Path,
    input_ids: Sequence[Sequence[int]],
    token_type_ids: Sequence[Sequence[int]] | None = None,
) -> EngineRecord:
    """Exports `openvino-int8` into a model folder, in place of an earlier export.

    Weights and activations become 8-bit integers. The ranges of the activations are found with the calibration rows:
    training rows, since validation and test rows are there to measure the result.

    Args:
        model_folder: As `save_classifier` writes it.
        input_ids: Encoded, cleaned training texts with special tokens, not padded. More take longer.
        token_type_ids: For pairs of texts, the type of each token, if the tokenizer produces it.

    Raises:
        ExportError: The export is not installed, there are no calibration rows, or it failed; nothing half-written
            remains.
        StorageError: The disk is full or not writable.
    """
    began = time.monotonic()
    target = engine_folder(model_folder, OPENVINO_INT8)
    rows = [np.asarray(row, dtype=np.int64)[None] for row in input_ids]
    types = [np.asarray(row, dtype=np.int64)[None] for row in token_type_ids or ()]
    if not rows:
        raise ExportError("An engine needs at least one training text for its calibration, and there is none.")
    try:
        version = openvino_version()
        _import_nncf()
    except (EngineUnavailable, ImportError) as error:
        raise ExportError(
            f"{OPENVINO_INT8} needs openvino and nncf, and one of them cannot be imported: {error.__cause__ or error}\n"
            f"Install the extra textclf[train]: {install_command('train')}"
        ) from error
    with building(target) as draft:
        made = draft / target.name
        made.mkdir()
        try:
            with _quiet_libraries():
                inputs, num_labels = _write_int8(model_folder, made / MODEL_FILE, rows, types)
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ExportError(f"Exporting {OPENVINO_INT8} from {model_folder} failed: {_reason(error)}") from error
        record = EngineRecord(
            name=OPENVINO_INT8,
            runtime_version=version,
            inputs=inputs,
            num_labels=num_labels,
            files=tuple(
                FetchedFile(path=name, sha256=file_sha256(made / name), size_bytes=(made / name).stat().st_size)
                for name in (MODEL_FILE, WEIGHTS_FILE)
            ),
            instructions=int8_instructions()[0],
            calibration_rows=len(rows),
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
        "Export: %s in %.0f s, calibrated on %d training texts, %.0f MB.",
        record.name,
        record.seconds,
        record.calibration_rows,
        sum(file.size_bytes for file in record.files) / 1e6,
    )
    return record


def _write_int8(
    folder: Path, target: Path, rows: list[NDArray[np.int64]], types: list[NDArray[np.int64]]
) -> tuple[tuple[str, ...], int]:
    """Returns the names of the inputs and the number of labels."""
    openvino, nncf = import_openvino(), _import_nncf()
    converted, num_labels = _convert(folder)
    inputs = tuple(port.get_any_name() for port in converted.inputs)
    filled = types or [np.zeros_like(row) for row in rows]

    with progress_bar(
        total=PASSES * len(rows), desc=_("Export {engine}").format(engine=OPENVINO_INT8), unit="texts"
    ) as bar:

        def as_inputs(index: int) -> dict[str, NDArray[np.int64]]:
            bar.update(1)
            given = {
                "input_ids": rows[index],
                "attention_mask": np.ones_like(rows[index]),
                "token_type_ids": filled[index],
            }
            return {name: given[name] for name in inputs}

        quantized = nncf.quantize(
            converted,
            nncf.Dataset(range(len(rows)), as_inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(rows),
        )
    openvino.save_model(quantized, target, compress_to_fp16=False)
    return inputs, num_labels


def _convert(folder: Path) -> tuple[Any, int]:
    """Returns the model with its own weights, in OpenVINO's format, and its number of labels."""
    openvino = import_openvino()
    import torch
    from transformers import AutoModelForSequenceClassification

    from textclf.model.first_token import read_first_token_alone

    quiet_transformers()
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
    ).eval()
    read_first_token_alone(model)
    parameters = inspect.signature(model.forward).parameters
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if "token_type_ids" in parameters else [])]
    example = {name: torch.ones((2, 8), dtype=torch.int64) for name in names}
    return openvino.convert_model(model, example_input=example), model.config.num_labels


def _import_nncf() -> Any:
    """Imports NNCF, which adds a handler of its own to its log and changes the class of all later loggers."""
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


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip() or 'no message'}"
