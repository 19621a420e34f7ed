"""Embeds a font with the Chinese characters of a page, for machines without one."""

from __future__ import annotations

import base64
import importlib.util
import io
import logging

from textclf.evaluation.fonts import BUNDLED_FONT
from textclf.language import current_language

FAMILY = "Textclf Report"
"""Must come first among the fonts of the page; otherwise Chromium keeps the boxes it drew before the font was ready."""

_FIRST_CHINESE = 0x2E80
# As wide as a Chinese character in Chinese text, narrow in English text.
_CHINESE_PUNCTUATION = {0x2014, 0x2018, 0x2019, 0x201C, 0x201D, 0x2026}
_SYSTEM_FONTS = (
    "PingFang SC",
    "PingFangSC-Regular",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    "NotoSansCJKsc-Regular",
    "Source Han Sans SC",
)


def font_face(text: str) -> str:
    """Builds a CSS rule `@font-face` for `FAMILY`: a Chinese font of the machine, or else one embedded in the rule.

    The embedded font is the bundled one, reduced to the characters of `text`. The rule is empty if it has none of them.
    """
    from fontTools import subset
    from fontTools.ttLib import TTFont

    # It logs every table it drops.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    punctuation = _CHINESE_PUNCTUATION if current_language() == "zh" else set()
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
