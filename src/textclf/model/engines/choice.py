"""Which engine computes: the one that is asked for, or the one that suits this machine."""

from __future__ import annotations

import logging
from pathlib import Path

from textclf.errors import EngineUnavailable, ModelError
from textclf.language import _
from textclf.model.devices import AskedPrecision, Precision
from textclf.model.engines.engine import ENGINES_FOLDER, EXPORTED_ENGINES, Engine, engine_folder, exported_engines
from textclf.model.engines.openvino_engine import OpenVinoEngine
from textclf.records import ParityReport

logger = logging.getLogger(__name__)

PARITY_FILE = "parity.json"
_PRECISIONS: dict[str, Precision] = {"torch-fp32": "no", "torch-bf16": "bf16", "torch-fp16": "fp16"}


def open_engine(folder: Path, asked: str, mixed_precision: AskedPrecision) -> tuple[Engine, str | None]:
    """Loads the engine of a model folder that was asked for, and says why that one.

    Args:
        folder: Of an encoder.
        asked: `torch`, the name of an engine, or `auto`: an exported engine that passed its parity report, else torch.
        mixed_precision: Of torch, unless the engine names it.

    Returns:
        The engine, and the reason for people; None if there was no choice.

    Raises:
        ModelError: The engine that was asked for cannot be used, or the weights are missing or damaged.
    """
    if asked == "torch" or asked in _PRECISIONS:
        return _torch(folder, _PRECISIONS.get(asked, mixed_precision)), _("as configured")
    if asked != "auto":
        if asked not in EXPORTED_ENGINES:
            raise ModelError(f"There is no engine {asked!r}: expected torch, {', '.join(EXPORTED_ENGINES)} or auto.")
        try:
            return OpenVinoEngine.load(engine_folder(folder, asked)), _("as configured")
        except EngineUnavailable as error:
            raise ModelError(f"The engine {asked} cannot be used: {error}\nChoose engine auto or torch.") from error
    refused = []
    for name in exported_engines(folder):
        try:
            report = read_parity(engine_folder(folder, name))
            if report.passed:
                return OpenVinoEngine.load(engine_folder(folder, name)), _("it passed its parity report")
            refused.append(report.reason)
        except EngineUnavailable as error:
            refused.append(str(error))
    for reason in refused:
        logger.warning("Engine: torch computes, because the exported engine cannot be used. %s", reason)
    return _torch(folder, mixed_precision), " ".join(refused) or None


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


def _torch(folder: Path, mixed_precision: AskedPrecision) -> Engine:
    # Importing torch takes seconds.
    from textclf.model.engines.torch_engine import TorchEngine

    return TorchEngine.load(folder, mixed_precision=mixed_precision)
