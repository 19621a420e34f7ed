"""Checks Python and the installed packages."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, metadata, requires
from importlib.metadata import version as package_version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from textclf.extras import CONSTRAINTS, Extra, install_command
from textclf.language import _, ngettext
from textclf_operations.findings import Finding

_NAMED = 5


def check_installation() -> list[Finding]:
    """Compares Python and the packages with what textclf needs and with what it was tested with."""
    return [_python(), _requirements(), *_pins()]


def _python() -> Finding:
    needed = SpecifierSet(metadata("textclf")["Requires-Python"] or "")
    text = _("Python {version} in {folder}.").format(version=platform.python_version(), folder=sys.prefix)
    if platform.python_version() in needed:
        return Finding(key="python", level="ok", text=text)
    advice = _("Install textclf with Python {needed}.").format(needed=needed)
    return Finding(key="python", level="problem", text=text, advice=advice)


def _requirements() -> Finding:
    extra = _extra()
    needed = _needed(extra)
    wrong = [f"{one.name} {found or '–'} ({one.specifier})" for one in needed if (found := _installed(one)) is not True]
    if wrong:
        text = ngettext(
            "A package is missing or has a version that does not fit: {names}.",
            "{count} packages are missing or have versions that do not fit: {names}.",
            len(wrong),
        )
        return Finding(
            key="packages",
            level="problem",
            text=text.format(count=len(wrong), names=_first(wrong)),
            advice=install_command(extra),
        )
    if extra == "predict":
        text = _("All {count} packages that predicting needs are installed, in versions that fit. To train: {command}")
    else:
        text = _("All {count} packages that textclf needs are installed, in versions that fit.")
    return Finding(key="packages", level="ok", text=text.format(count=len(needed), command=install_command("train")))


def _extra() -> Extra:
    """Returns what the installation is for: without torch, it predicts only."""
    return "predict" if _installed(Requirement("torch")) is None else "train"


def _needed(extra: Extra) -> list[Requirement]:
    chosen = ("", "predict") if extra == "predict" else ("", "predict", "train")
    return [
        one
        for one in map(Requirement, requires("textclf") or [])
        # An extra that includes another names textclf itself.
        if one.name != "textclf"
        and (one.marker is None or any(one.marker.evaluate({"extra": name}) for name in chosen))
    ]


def _installed(requirement: Requirement) -> str | bool | None:
    """Returns True if it fits, the version if not, and None if the package is missing."""
    try:
        version = package_version(requirement.name)
    except PackageNotFoundError:
        return None
    return requirement.specifier.contains(version, prereleases=True) or version


def _pins() -> list[Finding]:
    if not CONSTRAINTS.exists():
        return []
    other, count = [], 0
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith((" ", "#")):
            continue
        pin = Requirement(line)
        if pin.marker and not pin.marker.evaluate():
            continue
        found = _installed(pin)
        count += found is not None
        if isinstance(found, str):
            other.append(f"{pin.name} {found} ({pin.specifier})")
    if not other:
        text = _("{count} packages have the versions of constraints.txt, which textclf was tested with.")
        return [Finding(key="pins", level="ok", text=text.format(count=count))]
    text = ngettext(
        "A package has another version than constraints.txt: {names}.",
        "{count} packages have other versions than constraints.txt: {names}.",
        len(other),
    )
    return [
        Finding(
            key="pins",
            level="warning",
            text=text.format(count=len(other), names=_first(other)),
            advice=_("textclf is not tested with them. To go back: {command}").format(
                command=install_command(_extra())
            ),
        )
    ]


def _first(names: list[str]) -> str:
    rest = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED])
    return _("{names} and {count} more").format(names=shown, count=rest) if rest > 0 else shown
