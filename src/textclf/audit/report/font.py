"""The Chinese characters of a page as a font inside the page, for machines that have none."""

from __future__ import annotations

import base64
import importlib.util
import io
import logging

from textclf.audit.report.wording import Language
from textclf.evaluation.fonts import BUNDLED_FONT

FAMILY = "Textclf Report"
"""It has to come first among the fonts of the page: behind others, Chromium leaves boxes where it drew before the font
was ready."""

_FIRST_CHINESE = 0x2E80
# These are as wide as a Chinese character in a Chinese text, and narrow in an English one.
_CHINESE_PUNCTUATION = {0x2014, 0x2018, 0x2019, 0x201C, 0x201D, 0x2026}
_SYSTEM_FONTS = (
    "PingFang SC",
    "PingFangSC-Regular",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    "NotoSansCJKsc-Regular",
    "Source Han Sans SC",
)


def font_face(text: str, language: Language) -> str:
    """Cuts the Chinese characters of a text out of the bundled font.

    Args:
        text: All of the page.
        language: Of the page; it decides whose punctuation is drawn.

    Returns:
        A CSS rule `@font-face` for the family `FAMILY`: a Chinese font of the machine, or else the one that is inside
        the rule. Empty if the bundled font has none of the characters. The same characters give the same rule.
    """
    from fontTools import subset
    from fontTools.ttLib import TTFont

    # It logs every table that it drops.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    punctuation = _CHINESE_PUNCTUATION if language == "zh" else set()
    chinese = {
        ord(character) for character in text if ord(character) >= _FIRST_CHINESE or ord(character) in punctuation
    }
    with TTFont(BUNDLED_FONT, recalcTimestamp=False) as font:
        wanted = chinese & set(font.getBestCmap())
        if not wanted:
            return ""
        flavor = "woff2" if importlib.util.find_spec("brotli") else "woff"
        options = subset.Options(layout_features=[], name_IDs=[], hinting=False, glyph_names=False)
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=wanted)
        subsetter.subset(font)
        font.flavor = flavor
        content = io.BytesIO()
        font.save(content)
    encoded = base64.b64encode(content.getvalue()).decode()
    sources = [f'local("{name}")' for name in _SYSTEM_FONTS]
    sources.append(f'url(data:font/{flavor};base64,{encoded}) format("{flavor}")')
    ranges = [f"U+{point:X}" for point in sorted(punctuation)] + [f"U+{_FIRST_CHINESE:X}-10FFFF"]
    return f'@font-face{{font-family:"{FAMILY}";src:{",".join(sources)};unicode-range:{",".join(ranges)}}}'
