"""Which engine computes: the one that is asked for, or the one that suits this machine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from textclf.errors import EngineUnavailable, ModelError
from textclf.model.devices import AskedPrecision
from textclf.model.engines.engine import ENGINES_FOLDER, Engine, engine_folder, exported_engines
from textclf.model.engines.openvino_engine import OpenVinoEngine
from textclf.records import EngineChoice, ParityReport

logger = logging.getLogger(__name__)

AskedEngine = Literal["auto", "torch", "openvino-int8"]
PARITY_FILE = "parity.json"
ONLY = "no other engine was exported with the model"


def open_engine(folder: Path, asked: AskedEngine, mixed_precision: AskedPrecision) -> tuple[Engine, EngineChoice]:
    """Loads the engine of a model folder that was asked for.

    `auto` takes an exported engine that passed its parity report, else torch. An exported engine that cannot be used is
    named in the log.

    Raises:
        ModelError: The engine that was asked for cannot be used, or the weights are missing or damaged.
    """
    # In front of everything else: importing torch takes seconds.
    if asked == "torch":
        return _torch(folder, mixed_precision, "engine: torch")
    if asked != "auto":
        try:
            return OpenVinoEngine.load(engine_folder(folder, asked)), EngineChoice(
                name=asked, reason=f"engine: {asked}"
            )
        except EngineUnavailable as error:
            raise ModelError(f"The engine {asked} cannot be used: {error}\nChoose engine auto or torch.") from error
    refused = []
    for name in exported_engines(folder):
        try:
            report = read_parity(engine_folder(folder, name))
            if not report.passed:
                refused.append(f"{name} did not pass its parity report ({report.reason})")
                continue
            return OpenVinoEngine.load(engine_folder(folder, name)), EngineChoice(name=name, reason="passed its parity")
        except EngineUnavailable as error:
            refused.append(str(error))
    for reason in refused:
        logger.warning("Engine: torch predicts, because %s", reason)
    return _torch(folder, mixed_precision, "; ".join(refused) or ONLY)


def read_parity(folder: Path) -> ParityReport:
    """Reads the parity report of an exported engine.

    Raises:
        EngineUnavailable: It is missing or damaged: nobody knows how well the engine agrees with the model.
    """
    try:
        return ParityReport.model_validate_json((folder / PARITY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineUnavailable(
            f"the parity report of {ENGINES_FOLDER}/{folder.name} cannot be read: {error}"
        ) from error


def _torch(folder: Path, mixed_precision: AskedPrecision, reason: str) -> tuple[Engine, EngineChoice]:
    from textclf.model.engines.torch_engine import TorchEngine

    engine = TorchEngine.load(folder, mixed_precision=mixed_precision)
    return engine, EngineChoice(name=engine.name, reason=reason)
