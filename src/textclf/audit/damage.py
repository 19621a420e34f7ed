"""Texts whose characters were lost or changed in a wrong conversion of encodings."""

from __future__ import annotations

import re
from functools import cache

# What UTF-8 with replacement characters looks like in GBK, and uninitialised memory in GBK. Three of the latter are
# words that people write (烫烫烫: hot, hot, hot), four are none.
_KNOWN = re.compile("[\ufffd锟烫屯](?:(?<=\ufffd)|(?<=锟)斤拷|(?<=烫)烫{3}|(?<=屯)屯{3})")
# Five question marks with one to four letters between each and the next: nobody asks that much. Words that make a
# question, and white space, keep a gap from counting.
_GAP = r"[^\W\d_吗呢吧么啊呀嘛谁啥何哪几]"
_HOLES = re.compile(rf"\?(?:{_GAP}{{1,4}}+\?++){{4}}")
# Holes between letters: at least so many, and one for every ten characters of the text.
_HOLE = re.compile(rf"{_GAP}\?++(?={_GAP})")
_HOLES_IN_SHORT_TEXT = 4
_LOST_SHARE = 0.1
# Two characters from U+0080 on that are in UTF-8 what follows the first byte, as Latin-1 or Windows-1252 shows them.
_CONTINUATION = "[\x80-\xbf" + "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0)) + "]"
_UTF_8_AS_LATIN = re.compile(rf"[âãä-éï]{_CONTINUATION}{{2}}")
# Three double-byte characters of GBK in a row, as Latin-1 shows them. No language has six such letters together.
_GBK_AS_LATIN = re.compile("[À-ÖØ-ö](?:[¡-ÖØ-öø-þ][À-ÖØ-ö]){2}[¡-ÖØ-öø-þ]")
_LATIN = re.compile("[À-ö]")
_SEQUENCES = 2


def looks_damaged(text: str) -> bool:
    """Says whether a text looks as if characters were lost in a wrong conversion of encodings.

    Signs of it are the replacement character U+FFFD; 锟斤拷, 烫烫烫烫 and 屯屯屯屯; question marks in the place of
    letters (five with at most four letters between one and the next, or four runs between letters, one for every ten
    characters of the text); UTF-8 that was read as Latin-1, Windows-1252 or GBK, and GBK that was read as Latin-1. A
    few lost characters in a long text are not seen, so that texts that merely ask a lot are not taken for damaged.

    Args:
        text: A text as it was read. Cleaning takes some of the signs away.

    Returns:
        Whether there is a sign.

    Example:
        >>> looks_damaged("?款?子只能?Vista，才能?示??卡"), looks_damaged("真的吗???为什么???")
        (True, False)
    """
    if text.isascii():
        return False
    return bool(
        _KNOWN.search(text) or _utf_8_as_gbk().search(text) or ("?" in text and _has_holes(text)) or _is_latin(text)
    )


def _has_holes(text: str) -> bool:
    if _HOLES.search(text):
        return True
    return len(_HOLE.findall(text)) >= max(_HOLES_IN_SHORT_TEXT, _LOST_SHARE * len(text))


def _is_latin(text: str) -> bool:
    if not _LATIN.search(text):
        return False
    return len(_UTF_8_AS_LATIN.findall(text)) >= _SEQUENCES or bool(_GBK_AS_LATIN.search(text))


@cache
def _utf_8_as_gbk() -> re.Pattern[str]:
    """A pattern for four Chinese characters whose UTF-8 was read as GBK: six characters, most of them rare."""
    first, middle, last = range(0xE4, 0xEA), range(0x80, 0xC0), range(0x80, 0xC0)
    pair = f"{_gbk(first, middle)}{_gbk(last, first)}{_gbk(middle, last)}"
    return re.compile(f"(?:{pair}){{2}}")


def _gbk(leads: range, trails: range) -> str:
    characters = (bytes([lead, trail]).decode("gb18030", "ignore") for lead in leads for trail in trails)
    return f"[{''.join(character for character in characters if len(character) == 1)}]"
