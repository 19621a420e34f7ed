"""Fonts for the plots: Chinese is drawn right on a machine that has no Chinese font.

The package carries a font with the characters of GB2312 (see `build_font`). For anything beyond, such as
traditional characters or other scripts, the fonts of the machine are searched. What no font can draw becomes an
empty box, and the log says which characters that were.
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
    """What some texts are drawn with.

    Attributes:
        families: Names that matplotlib knows, in the order in which they are asked for a character.
        missing: Characters that none of them has.
    """

    families: tuple[str, ...]
    missing: frozenset[str]

    def drawable(self, text: str) -> str:
        """Makes a text safe to draw: one line, nothing read as a formula, a box for what no font has.

        Args:
            text: Any text, such as the name of a class.

        Returns:
            The text to hand to matplotlib.
        """
        line = " ".join(text.split())
        boxed = "".join(REPLACEMENT if character in self.missing else character for character in line)
        return boxed.replace("$", r"\$")


def typeface_for(texts: Iterable[str]) -> Typeface:
    """Finds fonts that together have the characters of some texts.

    Args:
        texts: Whatever will be drawn, such as the names of the classes.

    Returns:
        The fonts. Their families are registered with matplotlib.
    """
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
    # matplotlib carries DejaVu Sans itself: Greek, Cyrillic, Arabic, arrows and signs.
    dejavu = font_manager.findfont("DejaVu Sans")
    return ((BUNDLED_FAMILY, _characters(str(BUNDLED_FONT))), ("DejaVu Sans", _characters(dejavu)))


@functools.cache
def _search_machine(wanted: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    families: list[str] = []
    missing = wanted
    # Fonts with a Chinese look first, then by name, so that the choice does not change from run to run.
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
