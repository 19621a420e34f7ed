"""Which engine computes: the one that is asked for, or the one that suits this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from textclf.errors import EngineUnavailable, ModelError, StorageError
from textclf.language import _
from textclf.model.devices import AskedPrecision, Precision
from textclf.model.engines.engine import (
    ENGINES_FOLDER,
    EXPORTED_ENGINES,
    ONNXRUNTIME_INT8,
    OPENVINO_INT8,
    Engine,
    engine_folder,
    exported_engines,
    read_engine,
)
from textclf.model.engines.machine import describe_machine
from textclf.model.engines.onnxruntime_engine import OnnxRuntimeEngine
from textclf.model.engines.openvino_engine import OpenVinoEngine
from textclf.records import MeasuredEngines, ParityReport
from textclf.store import digest_of, write_output
from textclf.tables import speed_text

logger = logging.getLogger(__name__)

PARITY_FILE = "parity.json"
_KINDS: dict[str, type[OpenVinoEngine | OnnxRuntimeEngine]] = {
    OPENVINO_INT8: OpenVinoEngine,
    ONNXRUNTIME_INT8: OnnxRuntimeEngine,
}
TORCH = "torch"
_PRECISIONS: dict[str, Precision] = {"torch-fp32": "no", "torch-bf16": "bf16", "torch-fp16": "fp16"}


@dataclass(frozen=True)
class Trial:
    """Measures engines, to choose the fastest.

    Attributes:
        texts: How many different texts it measures with.
        speed: Returns the texts that an engine predicts a second.
    """

    texts: int
    speed: Callable[[Engine], float]


def open_engine(
    folder: Path,
    asked: str,
    mixed_precision: AskedPrecision,
    *,
    choices: Path | None = None,
    trial: Callable[[], Trial | None] | None = None,
) -> tuple[Engine, str | None]:
    """Loads the engine of a model folder that was asked for, and says why that one.

    Args:
        folder: Of an encoder.
        asked: `torch`, the name of an engine, or `auto`: of torch and the exported engines that passed their parity
            report, the one that was measured to be the fastest on this machine. Before that, torch if there is a
            graphics card, else an exported engine.
        mixed_precision: Of torch, unless the engine names it.
        choices: Folder in which measured choices are kept, one file per model and kind of machine.
        trial: Is called if the choice has to be measured; without it, nothing is measured.

    Returns:
        The engine, and the reason for people; None if there was no choice.

    Raises:
        ModelError: The engine that was asked for cannot be used, or the weights are missing or damaged.
    """
    if asked == TORCH or asked in _PRECISIONS:
        return _torch(folder, _PRECISIONS.get(asked, mixed_precision)), _("It was asked for.")
    if asked != "auto":
        if asked not in EXPORTED_ENGINES:
            raise ModelError(f"There is no engine {asked!r}: expected torch, {', '.join(EXPORTED_ENGINES)} or auto.")
        try:
            return _exported(folder, asked), _("It was asked for.")
        except EngineUnavailable as error:
            raise ModelError(f"The engine {asked} cannot be used: {error}\nChoose engine auto or torch.") from error
    usable, refused = _passed(folder)
    known = _Choice.of(folder, usable, mixed_precision, choices) if usable and choices else None
    stored = known.read() if known else None
    if stored and stored.fastest in _PRECISIONS:
        return _torch(folder, _PRECISIONS[stored.fastest]), fastest_sentence(stored)
    measuring = trial() if trial and usable and known and not stored and torch_is_installed() else None
    if usable and not stored and not measuring and torch_has_a_gpu():
        return _torch(folder, mixed_precision), _("There is a graphics card; nothing was measured yet.")
    opened: list[Engine] = []
    for name in [stored.fastest] if stored else usable:
        try:
            opened.append(_exported(folder, name))
        except EngineUnavailable as error:
            refused.append(str(error))
        if opened and not measuring:
            break
    if opened and known and measuring:
        try:
            opened.append(_torch(folder, mixed_precision))
        except ModelError as error:
            logger.warning("Engine: torch is not measured. %s", error)
        if len(opened) > 1:
            return known.measure(opened, measuring)
    if opened:
        return opened[0], fastest_sentence(stored) if stored else _("It passed its parity report.")
    for reason in refused:
        logger.warning("Engine: torch computes, because the exported engine cannot be used. %s", reason)
    return _torch(folder, mixed_precision), " ".join(refused) or None


def fastest_sentence(found: MeasuredEngines) -> str:
    """Says which engine is the fastest, and how fast the others are."""
    name, *others = sorted(found.texts_per_second, key=lambda each: -found.texts_per_second[each])
    return _("{engine} is the fastest here: {speed} texts/s, {others}.").format(
        engine=name,
        speed=speed_text(found.texts_per_second[name]),
        others=", ".join(f"{other} {speed_text(found.texts_per_second[other])}" for other in others),
    )


def torch_is_installed() -> bool:
    """Returns whether torch can compute, without importing it."""
    try:
        return bool(version("torch") and version("transformers"))
    except PackageNotFoundError:
        return False


def torch_has_a_gpu() -> bool:
    """Returns whether there is a graphics card and a build of torch that uses it, without importing torch."""
    return torch_is_installed() and not version("torch").endswith("+cpu") and bool(describe_machine()["graphics"])


@dataclass(frozen=True)
class _Choice:
    """The choice between the engines of a model on this machine."""

    file: Path
    machine: dict[str, str]
    digests: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, names: list[str], mixed_precision: AskedPrecision, choices: Path) -> _Choice | None:
        """Returns None if the weights of the model are not there, which torch needs."""
        machine = describe_machine() | {"mixed_precision": mixed_precision}
        digests = [
            file.sha256 for name in names for file in read_engine(engine_folder(folder, name), check_files=False).files
        ]
        sizes = [str(path.stat().st_size) for path in sorted(folder.glob("*.safetensors"))]
        if not sizes:
            return None
        known = (*digests, *sizes)
        return cls(choices / f"{digest_of(known, machine)}.json", machine, known, tuple(names))

    def read(self) -> MeasuredEngines | None:
        """Returns what was measured, if it was on such a machine with these engines."""
        try:
            found = MeasuredEngines.model_validate_json(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("Engine: the choice in %s cannot be read and is made again: %s", self.file, error)
            return None
        expected = {*self.names, *_PRECISIONS}
        if (found.machine, found.engines) != (self.machine, self.digests) or not found.texts_per_second:
            logger.warning("Engine: %s is about another machine or model; the choice is made again.", self.file)
            return None
        return found if set(found.texts_per_second) <= expected else None

    def measure(self, engines: list[Engine], trial: Trial) -> tuple[Engine, str]:
        """Measures the engines and keeps the result for later jobs."""
        speeds = {engine.name: trial.speed(engine) for engine in engines}
        found = MeasuredEngines(
            machine=self.machine,
            engines=self.digests,
            texts_per_second={name: round(speed, 2) for name, speed in speeds.items()},
            texts=trial.texts,
            measured_at=datetime.now(UTC).replace(microsecond=0),
        )
        logger.info(
            "Engine: measured with %d texts of this job: %s.",
            trial.texts,
            ", ".join(f"{name} {speed_text(speed)} texts/s" for name, speed in speeds.items()),
        )
        try:
            write_output(self.file, found.model_dump_json(indent=1).encode())
        except StorageError as error:
            logger.warning("Engine: the choice is not kept for the next job. %s", error)
        fastest = next(engine for engine in engines if engine.name == found.fastest)
        return fastest, fastest_sentence(found)


def _passed(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the exported engines that may be used, and why others may not."""
    usable, refused = [], []
    for name in exported_engines(folder):
        try:
            report = read_parity(engine_folder(folder, name))
            read_engine(engine_folder(folder, name), check_files=False)
        except EngineUnavailable as error:
            refused.append(str(error))
            continue
        if report.passed:
            usable.append(name)
        else:
            refused.append(report.reason)
    return usable, refused


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


def _exported(folder: Path, name: str) -> Engine:
    return _KINDS[name].load(engine_folder(folder, name))


def _torch(folder: Path, mixed_precision: AskedPrecision) -> Engine:
    # Importing torch takes seconds.
    from textclf.model.engines.torch_engine import TorchEngine

    return TorchEngine.load(folder, mixed_precision=mixed_precision)
