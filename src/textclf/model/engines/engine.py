"""The interface of engines, and where exported ones lie in a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from textclf import __version__
from textclf.errors import EngineUnavailable
from textclf.records import FetchedFile, Record
from textclf.store import file_sha256

ENGINES_FOLDER = "engines"
"""Folder inside a model folder: one subfolder for each exported engine, called like it."""
ENGINE_FILE = "engine.json"
OPENVINO_INT8, ONNXRUNTIME_INT8 = "openvino-int8", "onnxruntime-int8"
EXPORTED_ENGINES = (OPENVINO_INT8, ONNXRUNTIME_INT8)
"""The engines that `export_engine` can make."""
RUNTIMES = {OPENVINO_INT8: "openvino", ONNXRUNTIME_INT8: "onnxruntime"}
"""The package that runs each of them."""
EXTRA = "textclf[predict]"
"""What installs these packages."""


class Engine(Protocol):
    """A loaded model that computes logits. `logits` may be called from several threads at once.

    Attributes:
        name: Runtime and precision, e.g. `torch-bf16`. Only engines of the same name agree to the last digit, and only
            on the same kind of processor.
        streams: How many calls of `logits` gain from running at once. Further ones wait.
        tokens_per_batch: Padded tokens (rows times tokens of the longest row) in a batch that suits the engine.
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
        """Computes the logits of one padded batch: float32[batch, num_labels]. A batch may be empty.

        Args:
            input_ids: Shape [batch, tokens], like the other two.
            attention_mask: 0 for padding; None without padding.
            token_type_ids: 0 or 1 for the first or second text of a pair; None for single texts.
        """
        ...


class EngineRecord(Record):
    """An exported engine: the content of its `engine.json`."""

    name: str
    runtime_version: str
    """Version of the package that computes, e.g. `2026.4.1` of openvino."""
    textclf_version: str = __version__
    inputs: tuple[str, ...]
    num_labels: int
    files: tuple[FetchedFile, ...]
    instructions: str | None
    """What a processor must multiply 8-bit integers with to agree with the parity report; None if any will do."""
    calibration_rows: int
    seconds: float
    """How long the export took."""


def named_inputs(
    names: tuple[str, ...],
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64] | None,
    token_type_ids: NDArray[np.int64] | None,
) -> dict[str, NDArray[np.int64]]:
    """Returns the inputs that an exported model has, all of them [batch, tokens]; see `Engine.logits`."""
    given = {
        "input_ids": input_ids,
        "attention_mask": np.ones_like(input_ids) if attention_mask is None else attention_mask,
        "token_type_ids": np.zeros_like(input_ids) if token_type_ids is None else token_type_ids,
    }
    return {name: given[name] for name in names}


def engine_folder(model_folder: Path, name: str) -> Path:
    """Returns the place of an exported engine, whether it exists or not."""
    return model_folder / ENGINES_FOLDER / name


def exported_engines(model_folder: Path) -> tuple[str, ...]:
    """Returns the names of the exported engines in a model folder, usable or not."""
    return tuple(name for name in EXPORTED_ENGINES if (engine_folder(model_folder, name) / ENGINE_FILE).is_file())


def read_engine(folder: Path, *, check_files: bool = True, runtime_version: str | None = None) -> EngineRecord:
    """Reads the record of an exported engine.

    Args:
        folder: The engine's own folder.
        check_files: Compare its files with their digests.
        runtime_version: Of the installed package that would compute. The engine must be of the same major version.

    Raises:
        EngineUnavailable: A file is missing or damaged, or another version made it.
    """
    try:
        record = EngineRecord.model_validate_json((folder / ENGINE_FILE).read_text(encoding="utf-8"))
        wrong = [file.path for file in record.files if check_files and not _is_intact(folder, file)]
    except FileNotFoundError as error:
        raise EngineUnavailable(
            f"The engine in {folder} is incomplete: {Path(str(error.filename)).name} is missing."
        ) from error
    except (OSError, ValueError) as error:
        raise EngineUnavailable(f"The engine in {folder} cannot be read: {error}") from error
    if wrong:
        raise EngineUnavailable(
            f"The engine in {folder} is damaged: {', '.join(wrong)} differ from what was exported. Export it again."
        )
    if runtime_version and runtime_version.split(".")[0] != record.runtime_version.split(".")[0]:
        raise EngineUnavailable(
            f"The engine in {folder} was made by {RUNTIMES[record.name]} {record.runtime_version}; "
            f"{runtime_version.partition('-')[0]} is installed. Export it again, or install that version."
        )
    return record


def _is_intact(folder: Path, file: FetchedFile) -> bool:
    path = folder / file.path
    return path.stat().st_size == file.size_bytes and file_sha256(path) == file.sha256
