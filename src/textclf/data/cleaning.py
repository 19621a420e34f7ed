"""Cleans texts before tokenisation, in training and in prediction alike."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

from textclf.config.data import CleaningConfig
from textclf.data import personal_data

CleaningRule = Literal["standard", "tutorial", "none"]

# Control characters other than white space, soft hyphen, zero-width and bidirectional marks, variation selectors,
# byte order mark, lone surrogates, tag characters.
_INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e01ef"
)
_INVISIBLE_RUN = re.compile(f"[{_INVISIBLE}]+")
_NEEDS_CARE = re.compile(f"[&<{_INVISIBLE}]")
# Entities without a semicolon are decoded only if they are common; `&copy=1` in an address is not one.
_ENTITY = re.compile(
    r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][0-9A-Za-z]{1,31});|&(?:nbsp|quot|amp|lt|gt)(?![0-9A-Za-z=;])"
)
# Text that was escaped repeatedly; unescaped in one step because each layer would cost a pass.
_ESCAPED_AMPERSANDS = re.compile(r"&(?:(?:amp|#0*38|#x0*26|#0*65286|#x0*ff06|#0*65120|#x0*fe60);)+", re.IGNORECASE)
_TAG_NAMES = (
    "a|abbr|address|article|aside|audio|b|base|big|blockquote|body|br|button|canvas|caption|center|cite|code|col|"
    "colgroup|dd|del|details|dfn|dir|div|dl|dt|em|embed|fieldset|figcaption|figure|font|footer|form|frame|frameset|"
    "h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|label|legend|li|link|main|map|mark|meta|nav|nobr|noscript|"
    "object|ol|optgroup|option|p|param|picture|pre|q|s|samp|script|section|select|small|source|span|strike|strong|"
    "style|sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead|time|title|tr|track|tt|u|ul|var|video|wbr|"
    "[ovw]:[a-z]+"
)
# No alternative may look past the next `<` or opening mark: a hostile text must not cost quadratic time.
_MARKUP = re.compile(
    r"<!--(?:(?!<!--).)*?-->|<!doctype\b[^<>]*>"
    r"|<(?P<raw>script|style)\b[^<>]*>(?:(?!<(?:script|style)\b).)*?</(?P=raw)\s*>"
    rf"|</?(?:{_TAG_NAMES})(?:[\s/][^<>]*)?>",
    re.IGNORECASE | re.DOTALL,
)
_NOT_WORD_OR_SPACE = re.compile(r"[^\w\s]+")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_PASSES = 16


def clean_text(text: str, rule: CleaningRule, *, mask_personal_data: bool = False) -> str:
    """Cleans one text, which may then be empty. Cleaning it again the same way changes nothing.

    `standard` keeps what carries meaning (punctuation, emoticons, emoji, digits, case). It decodes HTML entities;
    replaces HTML tags and comments with a space (only real tags, not `<3`, `a < b` or `>_<`); normalises compatibility
    forms (Unicode NFKC: `！` is `!`, `Ａ` is `A`); removes control characters, zero-width characters, joiners,
    direction marks, variation selectors and byte order marks, so that a composed emoji becomes its parts; and reduces
    each run of white space, including line ends and ideographic spaces, to one space, with none at the ends.

    `tutorial` replaces each run of characters that are neither word characters nor white space with one space, and
    strips white space at the ends. `none` changes nothing.

    With `mask_personal_data`, a word replaces each phone number, e-mail address and identity card number, also those
    that only show in the cleaned text.

    Example:
        >>> clean_text("服务很好！！<br/>价格&amp;位置 &lt;3", "standard")
        '服务很好!! 价格&位置 <3'
        >>> clean_text("服务很好！！价格&位置", "tutorial")
        '服务很好 价格 位置'
        >>> clean_text("服务很好！打138-0013-8000", "tutorial", mask_personal_data=True)
        '服务很好 打电话号码'
    """
    if not mask_personal_data:
        return _apply(rule, text)
    # Before the rule, because `tutorial` removes the signs from addresses and numbers; after it, because it can join
    # the parts of a number; and then the rule again, because a word in place of a number can end an entity.
    cleaned = _apply(rule, personal_data.mask_personal_data(text))
    while (masked := personal_data.mask_personal_data(cleaned)) != cleaned:
        cleaned = _apply(rule, masked)
    return cleaned


def clean_value(value: object, cleaning: CleaningConfig) -> tuple[str, None] | tuple[None, str]:
    """Cleans the value of a text column: returns the text and None, or None and the reason to quarantine the row."""
    if value is None or value != value:
        return None, "missing text"
    if not isinstance(value, str):
        return None, f"text is not a string (found {type(value).__name__})"
    if not value.strip():
        return None, "empty text"
    text = clean_text(value, cleaning.rule, mask_personal_data=cleaning.mask_personal_data)
    if not text:
        return None, "empty after cleaning"
    if len(text) > cleaning.max_characters:
        return None, f"longer than cleaning.max_characters ({cleaning.max_characters:,})"
    # The other rules remove them.
    if cleaning.rule == "none" and _LONE_SURROGATE.search(text):
        return None, "not valid Unicode (half a surrogate pair)"
    return text, None


def clean_texts(values: Iterable[object], cleaning: CleaningConfig) -> tuple[str, ...] | str:
    """Cleans the text or the two texts of a row; returns them, or the reason why the row cannot be predicted."""
    texts: list[str] = []
    for value in values:
        text, reason = clean_value(value, cleaning)
        if text is None:
            return f"{reason} (second text)" if texts else str(reason)
        texts.append(text)
    return tuple(texts)


def _apply(rule: CleaningRule, text: str) -> str:
    if rule == "standard":
        return _standard(text)
    if rule == "tutorial":
        return _NOT_WORD_OR_SPACE.sub(" ", text).strip()
    return text


def _standard(text: str) -> str:
    normalized = unicodedata.normalize("NFKC", text)
    if not _NEEDS_CARE.search(normalized):
        return " ".join(normalized.split())
    # One step can make work for another (`&lt;br&gt;`), so they are repeated until nothing changes.
    for _ in range(_MAX_PASSES):
        cleaned = _pass(text)
        if cleaned == text:
            return text
        text = cleaned
    # Only text crafted for it gets here. A space after each ampersand ends the unescaping, and the rest settles.
    text = text.replace("&", "& ")
    while (cleaned := _pass(text)) != text:
        text = cleaned
    return text


def _pass(text: str) -> str:
    text = _INVISIBLE_RUN.sub("", unicodedata.normalize("NFKC", text))
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), _ESCAPED_AMPERSANDS.sub("&", text))
    if "<" in text:
        text = _MARKUP.sub(" ", text)
    return " ".join(text.split())
