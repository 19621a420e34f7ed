"""Detects texts whose characters were lost or changed by a wrong encoding conversion."""

from __future__ import annotations

import re
from functools import cache

# UTF-8 replacement characters read as GBK, and uninitialised memory read as GBK. People do write three of the latter
# (烫烫烫: hot, hot, hot), but not four.
_KNOWN = re.compile("[\ufffd锟烫屯](?:(?<=\ufffd)|(?<=锟)斤拷|(?<=烫)烫{3}|(?<=屯)屯{3})")
# Five question marks, one to four letters apart: nobody asks that much. Question words and white space do not count as
# gaps.
_GAP = r"[^\W\d_吗呢吧么啊呀嘛谁啥何哪几]"
_HOLES = re.compile(rf"\?(?:{_GAP}{{1,4}}+\?++){{4}}")
# Holes between letters: at least four, and one per ten characters of the text.
_HOLE = re.compile(rf"{_GAP}\?++(?={_GAP})")
_HOLES_IN_SHORT_TEXT = 4
_LOST_SHARE = 0.1
# UTF-8 continuation bytes as Latin-1 or Windows-1252 characters.
_CONTINUATION = "[\x80-\xbf" + "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0)) + "]"
_UTF_8_AS_LATIN = re.compile(rf"[âãä-éï]{_CONTINUATION}{{2}}")
# Three consecutive GBK characters read as Latin-1. No language has six such letters in a row.
_GBK_AS_LATIN = re.compile("[À-ÖØ-ö](?:[¡-ÖØ-öø-þ][À-ÖØ-ö]){2}[¡-ÖØ-öø-þ]")
_LATIN = re.compile("[À-ö]")
_SEQUENCES = 2


def looks_damaged(text: str) -> bool:
    """Returns whether a text looks damaged by a wrong encoding conversion.

    Signs are the replacement character U+FFFD; 锟斤拷, 烫烫烫烫 and 屯屯屯屯; question marks in place of letters (five
    with at most four letters between neighbours, or four runs between letters, one per ten characters of the text);
    UTF-8 read as Latin-1, Windows-1252 or GBK, and GBK read as Latin-1. A few lost characters in a long text go
    undetected, so that texts with many questions do not count as damaged.

    Args:
        text: A text as read, because cleaning removes some of the signs.

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
    """Matches four Chinese characters whose UTF-8 was read as GBK: six mostly rare characters."""
    first, middle, last = range(0xE4, 0xEA), range(0x80, 0xC0), range(0x80, 0xC0)
    pair = f"{_gbk(first, middle)}{_gbk(last, first)}{_gbk(middle, last)}"
    return re.compile(f"(?:{pair}){{2}}")


def _gbk(leads: range, trails: range) -> str:
    characters = (bytes([lead, trail]).decode("gb18030", "ignore") for lead in leads for trail in trails)
    return f"[{''.join(character for character in characters if len(character) == 1)}]"
