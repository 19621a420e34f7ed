"""Cleaning keeps what carries meaning, removes what does not, and changes nothing the second time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textclf.config.data import CleaningConfig
from textclf.data.cleaning import clean_text, clean_value
from textclf.data.personal_data import personal_data_kinds

# fmt: off
NASTY_PIECES = st.sampled_from([
    "&", "amp;", "&amp;", "lt;", "&lt;", "&gt;", "&#38;", "&#xFF06;", "&nbsp", "&#8203;", "&Tab;", "&#xFDFA;",
    ";", "；",
    "<", ">", "/", "!--", "-->", "br", "<br>", "script", "</script>", "<style>", "<p\u00a0class='a'>", "＜", "＞", "＆",
    "13800138000", "138-0013-8000", "１３８", "00138000", "010-62345678", "400", "-", "a@b.cn", "@", "0", "+86", "&lt1",
    "11010519491231002X", "单号", "元", ".",
    "e", "´", "\u0301", "가", "\u11a8", "好", "\u200b", "\u200d", "\ud83d", "\0", " ", "\t", "\u3000", "\x1c", "\x85",
])
# fmt: on
NASTY = st.lists(NASTY_PIECES, max_size=25).map("".join)


@settings(max_examples=600, deadline=None)
@given(text=st.one_of(st.text(), NASTY))
@example("&amp;lt;br&amp;gt;")
@example("&" + "amp;" * 500 + "lt;br>")
@example("&#xFF06;" + "#xFF06;" * 200 + "amp;")
@example("&a" * 100 + "&#8203;mp;" + "#8203;mp;" * 99)
@example("<" * 50 + "br>" * 50)
@example("e\u200b\u0301")
@example("&lt13800138000br>")
@example("138.0013.8000/１３８ 0013\u200b 8000")
@example("a@b.c13800138000")
@example("x" * 70 + "13800138000x@qq.com")
def test_cleaning_twice_is_cleaning_once(text: Any) -> None:
    for rule in ("standard", "tutorial", "none"):
        for mask in (False, True):
            once = clean_text(text, rule, mask_personal_data=mask)
            assert clean_text(once, rule, mask_personal_data=mask) == once


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.text(), NASTY))
def test_what_the_standard_rule_leaves(text: Any) -> None:
    cleaned = clean_text(text, "standard")
    cleaned.encode("utf-8")
    assert cleaned == " ".join(cleaned.split())
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060\ufeff]", cleaned)
    assert not re.search(r"<br\s*/?>|&lt;|&amp;", cleaned)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\ufeff房间很大，服务周到。", "房间很大,服务周到。"),
        ("Ｗｉｎ１０　系统①", "Win10 系统1"),
        ("很好<br/>下次<p class='x'>再来</p><!-- 广告 -->！", "很好 下次 再来 !"),
        ('看<a href="http://a.cn/?x=1&amp;y=2">这里</a>', "看 这里"),
        ("<script>var a = '<b>';</script>正文<STYLE>p{}</STYLE>", "正文"),
        ("价格&nbsp;&nbsp;便宜 &quot;真的&quot; &#x4F60;&#22909;", '价格 便宜 "真的" 你好'),
        ("价格&nbsp便宜", "价格 便宜"),
        ("&amp;lt;br&amp;gt;好", "好"),
        ("好\u200b评\u2060\u00ad\u202e", "好评"),
        ("a\0b\x07c", "abc"),
        (" 一\n\n二\t 三\u3000四\u2028五\r\n", "一 二 三 四 五"),
        ("❤️👨\u200d👩", "❤👨👩"),
        ("半个\ud83d表情", "半个表情"),
    ],
)
def test_what_the_standard_rule_removes(text: str, cleaned: str) -> None:
    assert clean_text(text, "standard") == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "爱你 <3",
        "a < b && b > c",
        ">_< 好气",
        "<_< >.>",
        ":-) ^_^ T_T (╯°□°)╯︵ ┻━┻".replace("︵", "("),
        "不好!!! 真的???",
        "满分100分,给99.5分",
        "AT&T R&D ?a=1&copy=2&lt=3",
        "<小明> 说 <http://a.cn>",
        "[笑哭] #话题# @某人",
        "😀👍🏻",
        "iPhone",
    ],
)
def test_what_the_standard_rule_keeps(text: Any) -> None:
    assert clean_text(text, "standard") == text


def test_emoticons_in_full_width_become_half_width() -> None:
    assert clean_text("（＞﹏＜）", "standard") == "(>_<)"


@settings(max_examples=300, deadline=None)
@given(text=st.text())
def test_the_tutorial_rule_is_the_tutorials(text: str) -> None:
    assert clean_text(text, "tutorial") == re.sub(r"[^\w\s]+", " ", text).strip()


def test_no_rule_changes_nothing() -> None:
    assert clean_text(" a\0<br>！ ", "none") == " a\0<br>！ "


@pytest.mark.parametrize(
    ("opening", "piece", "middle", "closing"),
    [
        ("", "<!--", "", ""),
        ("-->", "<!--", "", ""),
        ("", "<script>", "", ""),
        ("", "<a ", "", ""),
        ("", "<", "br>", "br>"),
        ("", "&", "", ""),
        ("", "&amp;", "", ""),
        ("", "&a", "&#8203;mp;", "#8203;mp;"),
        ("&#xFF06;", "#xFF06;", "amp;", ""),
    ],
)
@pytest.mark.timeout(120)
def test_hostile_text_does_not_hang(opening: str, piece: str, middle: str, closing: str) -> None:
    cleaned = clean_text(opening + piece * 12_000 + middle + closing * 12_000, "standard")
    assert clean_text(cleaned, "standard") == cleaned


@pytest.mark.parametrize(
    ("value", "rule", "reason"),
    [
        (None, "standard", "missing text"),
        (float("nan"), "standard", "missing text"),
        (3, "standard", "text is not a string (found int)"),
        (b"ab", "standard", "text is not a string (found bytes)"),
        (["a"], "none", "text is not a string (found list)"),
        ("", "none", "empty text"),
        (" \u3000\n", "standard", "empty text"),
        ("<br>\u200b", "standard", "empty after cleaning"),
        ("！！", "tutorial", "empty after cleaning"),
        ("好" * 11, "standard", "longer than cleaning.max_characters (10)"),
        ("\ud83d", "none", "not valid Unicode (half a surrogate pair)"),
    ],
)
def test_why_a_row_is_quarantined(value: bytes | float | list[str] | str | None, rule: str, reason: str) -> None:
    assert clean_value(value, CleaningConfig(rule=rule, max_characters=10)) == (None, reason)


def test_a_text_that_is_fine() -> None:
    assert clean_value(" 好！ ", CleaningConfig()) == ("好!", None)


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.text(), NASTY))
def test_no_rule_leaves_personal_data_that_are_to_be_masked(text: Any) -> None:
    for rule in ("standard", "tutorial", "none"):
        assert not personal_data_kinds(clean_text(text, rule, mask_personal_data=True))


@pytest.mark.parametrize(
    ("rule", "cleaned"),
    [
        ("standard", "打电话号码或写信:邮箱地址,证件身份证号!"),
        ("tutorial", "打电话号码或写信 邮箱地址 证件身份证号"),
        ("none", "打电话号码或写信：邮箱地址，证件身份证号！"),
    ],
)
def test_every_rule_masks_personal_data(rule: str, cleaned: str) -> None:
    text = "打(010)62345678或写信：service@example.com，证件11010519491231002X！"
    assert clean_value(text, CleaningConfig(rule=rule, mask_personal_data=True)) == (cleaned, None)


@pytest.mark.parametrize(
    ("text", "rule"),
    [("138\u200b0013\u200b8000", "standard"), ("138<b></b>0013<i/>8000", "standard"), ("138.0013.8000", "tutorial")],
)
def test_a_number_that_cleaning_joins_is_masked_too(text: str, rule: str) -> None:
    assert clean_text(text, rule, mask_personal_data=True) == "电话号码"


def test_personal_data_stay_where_masking_is_not_asked_for() -> None:
    assert clean_text("打13800138000", "standard") == "打13800138000"


def test_cleaning_real_reviews_keeps_every_one_of_them() -> None:
    path = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "chnsenticorp" / "tsv" / "test.tsv"
    if not path.is_file():
        pytest.skip("the real data sets are not next to the repository (../shared/data)")
    lines = path.read_text(encoding="utf-8").split("\n")[1:-1]
    for rule in ("standard", "tutorial", "none"):
        assert all(clean_value(line.split("\t")[1], CleaningConfig(rule=rule))[1] is None for line in lines)
