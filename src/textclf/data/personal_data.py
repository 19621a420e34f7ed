"""Finds personal data in a text by its form, to replace it with a word or hide it in reports.

There are four kinds, as written in mainland China: `mobile_phone`, `landline_phone` (including 400 and 800 numbers),
`email` and `identity_card`. Names and addresses have no form by which to find them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date

MASKS = {
    "mobile_phone": "电话号码",
    "landline_phone": "电话号码",
    "email": "邮箱地址",
    "identity_card": "身份证号",
}
"""The word that replaces each kind. It has no digits or signs, so that cleaning leaves it alone."""

# One character for one, so that positions in the folded text are those in the text.
_FOLDED = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys([0x00A0, 0x2002, 0x2003, 0x2009, 0x202F, 0x3000], 0x20),
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212, 0xFE63], 0x2D),
}
# An at sign, or ten digits with at most two other characters between neighbours: no kind has fewer. The character
# class at the front makes the search quick in a text that has neither.
_WORTH_A_LOOK = re.compile(r"[@＠0-9０-９](?:(?<=[@＠])|(?:[^\w@＠]{0,2}[0-9０-９]){9})")
# Not part of a longer number: no digits next to it, not even after a point or a hyphen.
_NUMBER_STARTS = r"(?<![0-9])(?<![0-9][-.])"
_NUMBER_ENDS = r"(?![-.]?[0-9])"
_REGION = "1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]"
_AREA = "10|2[0-9]|[3-9][0-9]{2}"
# Every repetition is bounded: a hostile text must not cost quadratic time.
_CANDIDATE = re.compile(
    rf"""
    (?P<email>[A-Za-z0-9][A-Za-z0-9._%+-]{{0,63}}+@(?:[A-Za-z0-9-]{{1,63}}\.){{1,8}}[A-Za-z]{{2,24}})
    |(?P<identity_card>{_NUMBER_STARTS}(?:{_REGION})[0-9]{{4}}[ -]?
        (?P<year>19[0-9]{{2}}|20[0-9]{{2}})(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12][0-9]|3[01])[ -]?
        [0-9]{{3}}[0-9Xx]{_NUMBER_ENDS}(?![A-Za-z]))
    |(?P<mobile_phone>{_NUMBER_STARTS}(?:(?:\(\+?86\)|(?:\+|00)?86)[ -]?)?
        1[3-9][0-9](?P<mobile_gap>[ -]?)[0-9]{{4}}(?P=mobile_gap)[0-9]{{4}}{_NUMBER_ENDS})
    |(?P<landline_phone>{_NUMBER_STARTS}(?:
        (?:\(0(?:{_AREA})\)|0(?:{_AREA})|(?:\+|00)86[ -]?(?:{_AREA}))(?P<gap>[ -]?)
            [2-8](?:[0-9]{{6,7}}|[0-9]{{2,3}}(?P=gap)[0-9]{{4}})(?:-[0-9]{{1,6}})?
        |[48]00(?:-?[0-9]{{3}}-?[0-9]{{4}}|-?[0-9]{{4}}-?[0-9]{{3}}
            |[ ][0-9]{{3}}[ ][0-9]{{4}}|[ ][0-9]{{4}}[ ][0-9]{{3}})
        ){_NUMBER_ENDS})
    """,
    re.VERBOSE,
)
# What marks a number as something else: words before it, units after it.
_OTHER_NUMBER = re.compile(r"(?:单号|订单|编号|货号|款号|条码|条形码|序列号|ISBN|SN|S/N)[ :#是为]{0,3}$", re.IGNORECASE)
_OTHER_NUMBER_SPAN = 10
_UNIT = re.compile(r" ?(?:[元块万亿个米]|多[元块万亿个米])")
_CHECK_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_DIGITS = "10X98765432"
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


def personal_data_kinds(text: str) -> frozenset[str]:
    """Returns the kinds of personal data in a text, which are keys of `MASKS`.

    Full-width digits and letters count like ordinary ones. A mobile phone number has 11 digits that begin with 13 to
    19, with or without +86, together or as 138 0013 8000; a landline number begins with an area code, 400 or 800; an
    identity card number has 18 characters with a valid date and check digit (ISO 7064 MOD 11-2). Parts of longer
    numbers do not count, nor do phone numbers right after words such as 单号 or before units such as 元.

    Example:
        >>> sorted(personal_data_kinds("有事打１３８-００１３-８０００，或写信到 service@example.com"))
        ['email', 'mobile_phone']
    """
    return frozenset(kind for kind, _, _ in _found(text))


def mask_personal_data(text: str) -> str:
    """Replaces personal data with the words of `MASKS`; masking the result again changes nothing.

    Example:
        >>> mask_personal_data("前台电话010-62345678，服务好")
        '前台电话电话号码，服务好'
    """
    # A word in place of one number can separate another from the letters that hid it.
    while (masked := _replace(text, lambda kind, _: MASKS[kind])) != text:
        text = masked
    return text


def hide_personal_data(text: str) -> str:
    """Hides personal data behind asterisks for a report; its length, first character and signs remain.

    Example:
        >>> hide_personal_data("打138-0013-8000")
        '打1**-****-****'
    """
    return _replace(text, lambda _, piece: piece[0] + _LETTER_OR_DIGIT.sub("*", piece[1:]))


def _replace(text: str, replacement: Callable[[str, str], str]) -> str:
    parts = []
    end_before = 0
    for kind, start, end in _found(text):
        parts += [text[end_before:start], replacement(kind, text[start:end])]
        end_before = end
    return "".join([*parts, text[end_before:]]) if parts else text


def _found(text: str) -> Iterator[tuple[str, int, int]]:
    if not _WORTH_A_LOOK.search(text):
        return
    folded = text if text.isascii() else text.translate(_FOLDED)
    for match in _CANDIDATE.finditer(folded):
        kind = next(kind for kind in MASKS if match[kind])
        if kind == "identity_card":
            wanted = _is_identity_card(match)
        elif kind == "email":
            wanted = True
        else:
            wanted = not (
                _OTHER_NUMBER.search(folded[max(match.start() - _OTHER_NUMBER_SPAN, 0) : match.start()])
                or _UNIT.match(folded, match.end())
            )
        if wanted:
            yield kind, match.start(), match.end()


def _is_identity_card(match: re.Match[str]) -> bool:
    try:
        date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        return False
    number = match[0].replace(" ", "").replace("-", "").upper()
    remainder = sum(int(digit) * weight for digit, weight in zip(number[:17], _CHECK_WEIGHTS, strict=True)) % 11
    return _CHECK_DIGITS[remainder] == number[17]
