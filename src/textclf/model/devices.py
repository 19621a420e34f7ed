"""The hardware, and the precision that suits it."""

from __future__ import annotations

import platform
from typing import Literal

Precision = Literal["no", "bf16", "fp16"]
AskedPrecision = Literal["auto", "no", "bf16", "fp16"]


def resolve_precision(asked: AskedPrecision) -> Precision:
    """Turns `auto` into the precision that suits the hardware; `no` means fp32.

    GPUs from Ampere on compute bf16 at least twice as fast as fp32; older ones benefit from fp16. A CPU benefits only
    if it has bf16 instructions (AVX512-BF16, AMX); without them bf16 is many times slower (docs/experiments.md).
    """
    import torch

    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "no"


def describe_hardware() -> dict[str, str]:
    """Describes the hardware for a run: `hardware.device`, `hardware.cpu_threads` and `hardware.platform`."""
    import torch

    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {torch.backends.cpu.get_cpu_capability()}"
    )
    return {
        "hardware.device": device,
        "hardware.cpu_threads": str(torch.get_num_threads()),
        "hardware.platform": platform.platform(),
    }
