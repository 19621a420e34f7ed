"""What the speed and the results of an engine depend on, found without importing it."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_PACKAGES = ("torch", "openvino", "onnxruntime")
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


def int8_instructions() -> tuple[str, ...]:
    """Returns how this processor can multiply 8-bit integers, the best way first: `vnni`, then its architecture.

    Without VNNI, x86 processors add products in 16 bits, where large ones are cut off: labels may change unless the
    weights have 7 bits.
    """
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    vnni = ("vnni",) if "avx512_vnni" in flags or "avx_vnni" in flags else ()
    return (*vnni, platform.machine())


def cores() -> int:
    """Returns the number of physical cores that this process may use."""
    usable = len(psutil.Process().cpu_affinity()) if sys.platform == "linux" else psutil.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
