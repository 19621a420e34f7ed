"""Checks what Chinese text needs: UTF-8 in the terminal, and fonts in the browser and in plots."""

from __future__ import annotations

import codecs
import shutil
import subprocess
import sys

from textclf.evaluation.fonts import BUNDLED_FAMILY, BUNDLED_FONT
from textclf.language import _
from textclf_operations.findings import Finding


def check_display() -> list[Finding]:
    """Looks at the terminal and the fonts of this machine."""
    return [_locale(), _browser(), _plots()]


def _locale() -> Finding:
    encodings = {codecs.lookup(name).name for name in (sys.stdout.encoding, sys.getfilesystemencoding())}
    text = _("Characters of the terminal and of file names: {encodings}.").format(encodings=", ".join(encodings))
    if encodings == {"utf-8"}:
        return Finding(key="locale", level="ok", text=text)
    advice = _("Chinese text cannot be shown, or files not be named: export LANG=C.UTF-8 (or PYTHONUTF8=1).")
    return Finding(key="locale", level="warning", text=text, advice=advice)


def _browser() -> Finding:
    key = "browser-font"
    if not shutil.which("fc-list"):
        text = _("The fonts of this machine are unknown (fc-list is missing); a browser elsewhere has its own.")
        return Finding(key=key, level="ok", text=text)
    listed = subprocess.run(
        ["fc-list", ":lang=zh", "family"], capture_output=True, text=True, timeout=20, check=False
    ).stdout
    families = sorted({line.split(",")[0] for line in listed.splitlines() if line})
    if families:
        text = _("A browser on this machine can show Chinese: {font}.").format(font=families[0])
        return Finding(key=key, level="ok", text=text)
    return Finding(
        key=key,
        level="warning",
        text=_("This machine has no font for Chinese: a browser here shows boxes."),
        advice=_("Install one, for example the package fonts-noto-cjk or fonts-wqy-microhei, if you open pages here."),
    )


def _plots() -> Finding:
    if BUNDLED_FONT.is_file():
        text = _("Plots draw Chinese with the font that textclf ships ({font}).").format(font=BUNDLED_FAMILY)
        return Finding(key="plot-font", level="ok", text=text)
    text = _("The font for Chinese in plots is missing: {file}.").format(file=BUNDLED_FONT)
    return Finding(key="plot-font", level="problem", text=text, advice=_("Install textclf again."))
