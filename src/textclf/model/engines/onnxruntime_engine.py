"""The engine that ONNX Runtime runs on CPUs without VNNI; it needs neither torch nor transformers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textclf.errors import EngineUnavailable
from textclf.model.engines.engine import EXTRA, EngineRecord, named_inputs, read_engine
from textclf.model.engines.machine import cores

MODEL_FILE = "model.onnx"
# Only errors: a warning names an internal node, and there is nothing that a user could do.
_ERRORS = 3


def import_onnxruntime() -> Any:
    """Imports ONNX Runtime without its telemetry.

    By default, importing it sends events and writes a device id into the user's cache. The variable has to be set
    before; `disable_telemetry_events` comes too late for the first event.

    Raises:
        EngineUnavailable: It is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailable(
            f"ONNX Runtime cannot be imported ({error}). Install it: pip install '{EXTRA}'"
        ) from error
    return onnxruntime


class OnnxRuntimeEngine:
    """An exported model in the ONNX format, on the CPU.

    Each call computes on one core, in the thread of its caller, unless there is one stream. The range of activations
    is found anew for each batch, so that the last digits of a row depend on the rows that share its batch.
    """

    tokens_per_batch = 1024

    def __init__(self, session: Any, record: EngineRecord, streams: int) -> None:
        self.name = record.name
        self.streams = streams
        self._session = session
        self._inputs = record.inputs
        self._num_labels = record.num_labels

    @classmethod
    def load(cls, folder: Path, *, streams: int | None = None) -> OnnxRuntimeEngine:
        """Loads an engine that `export_engine` made.

        Args:
            folder: The engine's own folder, `engines/<name>` in a model folder.
            streams: Batches computed side by side, by default one for each core. With one stream, all cores work on the
                same batch.

        Raises:
            EngineUnavailable: ONNX Runtime is not installed; a file is missing or damaged; another version of it made
                the engine.
        """
        onnxruntime = import_onnxruntime()
        record = read_engine(folder, runtime_version=onnxruntime.__version__)
        streams = streams or cores()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, cores() // streams)
        options.log_severity_level = _ERRORS
        try:
            session = onnxruntime.InferenceSession(folder / MODEL_FILE, options, providers=["CPUExecutionProvider"])
        # Its errors have no common class of their own.
        except Exception as error:
            raise EngineUnavailable(f"ONNX Runtime cannot load the engine in {folder}: {error}") from error
        return cls(session, record, streams)

    def logits(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64] | None,
        token_type_ids: NDArray[np.int64] | None,
    ) -> NDArray[np.float32]:
        """Computes the logits of one padded batch; see `Engine.logits`.

        Raises:
            RuntimeError: ONNX Runtime failed, e.g. for lack of memory.
        """
        if not len(input_ids):
            return np.empty((0, self._num_labels), dtype=np.float32)
        given = named_inputs(self._inputs, input_ids, attention_mask, token_type_ids)
        try:
            found: NDArray[np.float32] = self._session.run(None, given)[0]
        # Its errors are no RuntimeErrors, as those of the other engines are.
        except Exception as error:
            raise RuntimeError(f"ONNX Runtime failed: {error}") from error
        return found
