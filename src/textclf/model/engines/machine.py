"""What the speed of an engine depends on, found without importing it."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from textclf.model.engines.openvino_engine import cores

_PACKAGES = ("torch", "openvino")
_DRIVER = Path("/proc/driver/nvidia/gpus")


def describe_machine() -> dict[str, str]:
    """Describes processor, usable cores, vector instructions, graphics cards, and the packages that compute."""
    about = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    names = re.findall(r"^model name\s*: (.+)$", about, re.MULTILINE)
    flags = set(about.split())
    cards = [path.read_text(encoding="utf-8") for path in sorted(_DRIVER.glob("*/information"))]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": str(cores()),
        "instructions": " ".join(sorted(flag for flag in flags if re.match(r"(avx|amx|asimd|sve)", flag))),
        "graphics": ", ".join(name for card in cards for name in re.findall(r"^Model:\s*(.+)$", card, re.MULTILINE)),
        **{package: _version(package) for package in _PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
