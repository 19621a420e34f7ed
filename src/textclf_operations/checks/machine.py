"""Checks cores, memory, the graphics card, time and time zones of this machine."""

from __future__ import annotations

import os
import shutil
import zoneinfo
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

import psutil

from textclf.language import _, joined, ngettext
from textclf.model.devices import describe_hardware
from textclf_operations.findings import Finding

FEW_BYTES, TOO_FEW_BYTES = 6e9, 2e9
"""Fine-tuning a model of the shape of bert-base-chinese takes about 4 GB."""
_CGROUPS = Path("/sys/fs/cgroup")
_OLD_TIME_ZONES_DAYS = 3 * 365


def check_machine() -> list[Finding]:
    """Looks at the hardware as this process may use it, inside a container too."""
    return [_cores(), _memory(), _graphics_card(), _time_zones()]


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cpu_limit()
    cores = min(usable, limit) if limit else usable
    text = ngettext("{count:g} core may be used.", "{count:g} cores may be used.", cores).format(count=cores)
    if limit and limit < usable:
        text = joined(text, _("A control group limits the {count} cores of the machine.").format(count=usable))
    if cores >= 2:
        return Finding(key="cores", level="ok", text=text)
    advice = _("The servers of `textclf up` and a training share it: expect trainings to take twice as long.")
    return Finding(key="cores", level="warning", text=text, advice=advice)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    limit = _memory_limit()
    total, available = memory.total, memory.available
    if limit and limit < total:
        total, available = limit, min(available, limit)
    text = _("{available:,.1f} of {total:,.1f} GB of memory are available.").format(
        available=available / 1e9, total=total / 1e9
    )
    if limit and limit < memory.total:
        whole = _("A control group limits the {size:,.1f} GB of the machine.").format(size=memory.total / 1e9)
        text = joined(text, whole)
    advice = _(
        "Fine-tuning bert-base-chinese takes about 4 GB: end other programs, or reduce "
        "training.per_device_train_batch_size and encoding.max_length."
    )
    if available < TOO_FEW_BYTES:
        return Finding(key="memory", level="problem", text=text, advice=advice)
    if available < FEW_BYTES:
        return Finding(key="memory", level="warning", text=text, advice=advice)
    return Finding(key="memory", level="ok", text=text)


def _graphics_card() -> Finding:
    device = describe_hardware()["hardware.device"]
    if not device.startswith("CPU"):
        return Finding(key="gpu", level="ok", text=_("Graphics card: {name}.").format(name=device))
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists():
        return Finding(
            key="gpu",
            level="warning",
            text=_("There is an NVIDIA driver, but torch cannot use a graphics card ({device}).").format(device=device),
            advice=_(
                "Run nvidia-smi. If it shows a card, the installed torch is a build for CPUs: install the CUDA build "
                "of the same version."
            ),
        )
    text = _("No graphics card ({device}): the quickstart takes a minute, bert-base-chinese hours an epoch.")
    return Finding(key="gpu", level="ok", text=text.format(device=device))


def _time_zones() -> Finding:
    now = datetime.now().astimezone()
    try:
        shanghai = now.astimezone(zoneinfo.ZoneInfo("Asia/Shanghai"))
    except zoneinfo.ZoneInfoNotFoundError:
        return Finding(
            key="time-zones",
            level="problem",
            text=_("The time zone Asia/Shanghai is unknown: there are no time zone data."),
            advice=_("Install the package tzdata, with the system's package manager or with pip."),
        )
    release = _time_zone_release()
    text = _("It is {here:%Y-%m-%d %H:%M %z} here and {there:%H:%M} in Shanghai; time zone data {release}.").format(
        here=now, there=shanghai, release=release or "?"
    )
    if release and (datetime.now(UTC) - datetime(int(release[:4]), 1, 1, tzinfo=UTC)).days > _OLD_TIME_ZONES_DAYS:
        advice = _("Countries change their rules: update the system's tzdata.")
        return Finding(key="time-zones", level="warning", text=text, advice=advice)
    return Finding(key="time-zones", level="ok", text=text)


def _time_zone_release() -> str | None:
    """Returns the release of the time zone data that zoneinfo uses, for example 2026a, if it says so."""
    for folder in map(Path, zoneinfo.TZPATH):
        # The file begins with `# version 2026a`.
        with suppress(OSError, UnicodeDecodeError, IndexError), (folder / "tzdata.zi").open(encoding="ascii") as file:
            return file.readline().split()[2]
        if (folder / "UTC").exists():
            return None
    with suppress(PackageNotFoundError):
        return package_version("tzdata")
    return None


def _memory_limit() -> int | None:
    texts = [*_limits("memory.max"), *_limits("memory/memory.limit_in_bytes")]
    return min((int(text) for text in texts if text.isdecimal()), default=None)


def _cpu_limit() -> float | None:
    shares = []
    for text in _limits("cpu.max"):
        quota, _space, period = text.partition(" ")
        if quota.isdecimal() and period.isdecimal():
            shares.append(int(quota) / int(period))
    return min(shares, default=None)


def _limits(file: str) -> list[str]:
    """Reads a limit of this process's control group, and of those above it."""
    own = Path("/proc/self/cgroup")
    groups = own.read_text(encoding="ascii").splitlines() if own.exists() else []
    path = next((line.removeprefix("0::/") for line in groups if line.startswith("0::")), "")
    found = []
    folder = _CGROUPS / path
    for group in (folder, *folder.parents):
        if group.is_relative_to(_CGROUPS):
            with suppress(OSError):
                found.append((group / file).read_text(encoding="ascii").strip())
    return found
