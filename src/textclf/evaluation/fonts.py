"""Fonts for the plots: Chinese is drawn correctly even on a machine without a Chinese font.

The package contains a font with the characters of GB2312 (see `build_font`). For other characters, such as
traditional Chinese, the machine's fonts are searched. A character that no font has becomes an empty box and is logged.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

BUNDLED_FAMILY = "Textclf Sans SC"
BUNDLED_FONT = Path(__file__).parent / "font_files" / "TextclfSansSC-Regular.otf"
REPLACEMENT = "□"


@dataclass(frozen=True)
class Typeface:
    """The fonts for some texts.

    Attributes:
        families: Names registered with matplotlib, in the order in which they are tried for a character.
        missing: Characters that none of them has.
    """

    families: tuple[str, ...]
    missing: frozenset[str]

    def drawable(self, text: str) -> str:
        """Makes a text safe for matplotlib: one line, no formulas, boxes for missing characters."""
        line = " ".join(text.split())
        boxed = "".join(REPLACEMENT if character in self.missing else character for character in line)
        return boxed.replace("$", r"\$")


def typeface_for(texts: Iterable[str]) -> Typeface:
    """Finds fonts that together have the characters of the texts, and registers them with matplotlib."""
    wanted = {character for text in texts for character in " ".join(text.split())}
    families: list[str] = []
    missing: set[str] | frozenset[str] = wanted
    for family, characters in _own_fonts():
        families.append(family)
        missing = missing - characters
    if missing:
        found, missing = _search_machine(frozenset(missing))
        families.extend(found)
    return Typeface(families=tuple(families), missing=frozenset(missing))


@functools.cache
def _own_fonts() -> tuple[tuple[str, frozenset[str]], ...]:
    from matplotlib import font_manager

    font_manager.fontManager.addfont(BUNDLED_FONT)
    # matplotlib ships DejaVu Sans: Greek, Cyrillic, Arabic, arrows and symbols.
    dejavu = font_manager.findfont("DejaVu Sans")
    return ((BUNDLED_FAMILY, _characters(str(BUNDLED_FONT))), ("DejaVu Sans", _characters(dejavu)))


@functools.cache
def _search_machine(wanted: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    families: list[str] = []
    missing = wanted
    # CJK fonts first, then by name, so that the choice is the same in every run.
    paths = sorted(font_manager.findSystemFonts(), key=lambda path: ("CJK" not in path, "Regular" not in path, path))
    for path in paths:
        try:
            added = missing & _characters(path)
            if not added:
                continue
            family = FT2Font(path).family_name
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError) as error:
            logger.debug("The font %s cannot be read: %s", path, error)
            continue
        families.append(family)
        missing = missing - added
        if not missing:
            break
    if missing:
        logger.warning(
            "No font on this machine has %s: the plots show %s instead. Install a font that has them, "
            "such as Noto Sans CJK.",
            " ".join(f"{character} (U+{ord(character):04X})" for character in sorted(missing)),
            REPLACEMENT,
        )
    return tuple(families), missing


def _characters(path: str) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    return frozenset(chr(point) for point in FT2Font(path).get_charmap())
