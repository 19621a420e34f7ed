"""The engine that OpenVINO runs on CPUs; it needs neither torch nor transformers."""

from __future__ import annotations

import queue
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textclf.errors import EngineUnavailable
from textclf.model.engines.engine import EXTRA, EngineRecord, named_inputs, read_engine
from textclf.model.engines.machine import cores, int8_instructions

MODEL_FILE = "model.xml"
WEIGHTS_FILE = "model.bin"


def import_openvino() -> Any:
    """Imports OpenVINO without its telemetry.

    By default, importing it sends an event and writes a client id to the user's home. The package that does so is
    optional for OpenVINO and NNCF alike: they do without it if it cannot be imported.

    Raises:
        EngineUnavailable: OpenVINO is not installed.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise EngineUnavailable(f"OpenVINO cannot be imported ({error}). Install it: pip install '{EXTRA}'") from error
    return openvino


class OpenVinoEngine:
    """An exported model in OpenVINO's format, on the CPU.

    Each stream computes on its own cores, so that as many batches as there are streams run side by side.
    """

    tokens_per_batch = 1024

    def __init__(self, compiled: Any, record: EngineRecord, streams: int) -> None:
        self.name = record.name
        self.streams = streams
        self._inputs = record.inputs
        self._num_labels = record.num_labels
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(streams):
            self._requests.put(compiled.create_infer_request())

    @classmethod
    def load(cls, folder: Path, *, streams: int | None = None, cache: Path | None = None) -> OpenVinoEngine:
        """Loads an engine that `export_engine` made.

        Args:
            folder: The engine's own folder, `engines/<name>` in a model folder.
            streams: Batches computed side by side, by default one for each core. With one stream, all cores work on the
                same batch: a single text is answered sooner, many texts later.
            cache: Folder for compiled models, which load faster; none by default.

        Raises:
            EngineUnavailable: OpenVINO is not installed; a file is missing or damaged; another version of OpenVINO made
                it; the processor lacks the instructions that it was checked with.
        """
        openvino = import_openvino()
        record = read_engine(folder, runtime_version=openvino.__version__)
        available = int8_instructions()
        if record.instructions not in available:
            raise EngineUnavailable(
                f"The engine in {folder} was made and checked with {record.instructions} instructions; this processor "
                f"has {' and '.join(available)}, whose results differ. Export it again here."
            )
        streams = streams or cores()
        settings: dict[str, Any] = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": cores()}
        if cache:
            settings["CACHE_DIR"] = str(cache)
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(folder / MODEL_FILE), "CPU", settings)
        except RuntimeError as error:
            raise EngineUnavailable(f"OpenVINO cannot load the engine in {folder}: {error}") from error
        return cls(compiled, record, streams)

    def logits(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64] | None,
        token_type_ids: NDArray[np.int64] | None,
    ) -> NDArray[np.float32]:
        """Computes the logits of one padded batch; see `Engine.logits`."""
        if not len(input_ids):
            return np.empty((0, self._num_labels), dtype=np.float32)
        given = named_inputs(self._inputs, input_ids, attention_mask, token_type_ids)
        request = self._requests.get()
        try:
            found: NDArray[np.float32] = request.infer(given, share_inputs=True)[0]
        finally:
            self._requests.put(request)
        return found
