"""Personal data are found by their form, and numbers that merely look alike are not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf.data.personal_data import MASKS, hide_personal_data, mask_personal_data, personal_data_kinds

FOUND = [
    ("mobile_phone", "13800138000"),
    ("mobile_phone", "138-0013-8000"),
    ("mobile_phone", "138 0013 8000"),
    ("mobile_phone", "+8613800138000"),
    ("mobile_phone", "+86 138-0013-8000"),
    ("mobile_phone", "86-13800138000"),
    ("mobile_phone", "008613800138000"),
    ("mobile_phone", "(+86)13800138000"),
    ("mobile_phone", "１３８００１３８０００"),
    ("mobile_phone", "１３８－００１３－８０００"),
    ("mobile_phone", "138–0013–8000"),
    ("mobile_phone", "19912345678"),
    ("landline_phone", "010-62345678"),
    ("landline_phone", "01062345678"),
    ("landline_phone", "(010)62345678"),
    ("landline_phone", "（０７５５）６２３４５６７"),
    ("landline_phone", "0755 6234567"),
    ("landline_phone", "0755-6234-5678"),
    ("landline_phone", "010-62345678-801"),
    ("landline_phone", "+86-10-62345678"),
    ("landline_phone", "400-820-8888"),
    ("landline_phone", "4008208888"),
    ("landline_phone", "400-8208-888"),
    ("landline_phone", "800-820-8888"),
    ("email", "service@example.com"),
    ("email", "first.last+tag@mail.example.com.cn"),
    ("email", "12345678@example.com"),
    ("email", "13800138000@example.com"),
    ("email", "ＡＢＣ＠ＥＸＡＭＰＬＥ．ＣＯＭ"),
    ("identity_card", "11010519491231002X"),
    ("identity_card", "11010519491231002x"),
    ("identity_card", "110105 19491231 002X"),
    ("identity_card", "１１０１０５１９４９１２３１００２Ｘ"),
    ("identity_card", "440308199901010012"),
]

NOT_PERSONAL = [
    "",
    "服务很好",
    "价格1380元",
    "一共13800138000元",
    "亏了4008208888 元",
    "房价400-500元，套房800-1000元",
    "400-600-1000元的都有",
    "80000000000",
    "订单号13800138000还没发货",
    "订单13800138000：取消了",
    "运单号：１３８００１３８０００",
    "货号 4008208888",
    "订单号201203041234567890",
    "20120304123456",
    "2012-03-04 12:30:45",
    "2008年8月8日20:08",
    "09:30-18:00营业",
    "营业时间0930-1200，1330-1800",
    "0830-2130 2008年起",
    "ISBN 978-7-02-008873-4",
    "9787020088734",
    "978-7-5442-1380-0",
    "ISBN 13800138000",
    "6222021380013800012",
    "6222 1380 0138 0001",
    "1380013800",
    "138001380001",
    "x=0.13800138000",
    "13800138000.55",
    "12-13800138000",
    "12800138000",
    "138--0013--8000",
    "138 00138000",
    "邮编100086",
    "QQ123456789",
    "分辨率1920*1080",
    "@小明 你好",
    "5@2",
    "a@b",
    "a@b.c",
    "a@.com",
    "@example.com",
    "110105194912310021",
    "110105194913310021",
    "110105199902300013",
    "990105194912310021",
    "3.14159265358979",
    "1,380,013,800",
    "192.168.100.100",
    "http://item.example.com/1234567890123.html",
]


@pytest.mark.parametrize(("kind", "piece"), FOUND)
def test_what_is_found_between_chinese_words(kind: str, piece: str) -> None:
    text = f"请打{piece}，谢谢"
    assert personal_data_kinds(text) == {kind}
    assert mask_personal_data(text) == f"请打{MASKS[kind]}，谢谢"


@pytest.mark.parametrize(("kind", "piece"), FOUND)
def test_what_is_found_alone(kind: str, piece: str) -> None:
    assert personal_data_kinds(piece) == {kind}
    assert mask_personal_data(piece) == MASKS[kind]


@pytest.mark.parametrize("text", NOT_PERSONAL)
def test_what_is_not_found(text: str) -> None:
    assert personal_data_kinds(text) == frozenset()
    assert mask_personal_data(text) == text
    assert hide_personal_data(text) == text


def test_several_kinds_in_one_text() -> None:
    text = "手机13800138000,座机010-62345678、邮箱a.b@example.com,证件11010519491231002X"
    assert personal_data_kinds(text) == set(MASKS)
    assert mask_personal_data(text) == "手机电话号码,座机电话号码、邮箱邮箱地址,证件身份证号"


def test_two_numbers_with_a_space_or_a_comma_between_them() -> None:
    assert mask_personal_data("13800138000 13900139000,13700137000") == "电话号码 电话号码,电话号码"


def test_an_identity_card_is_not_a_phone_number_as_well() -> None:
    # From the seventh digit on it reads like a mobile phone number.
    assert personal_data_kinds("110105 19491231 002X") == {"identity_card"}


def test_the_words_in_place_of_personal_data_survive_every_rule() -> None:
    assert all(word.isalpha() and word.isprintable() for word in MASKS.values())


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("打138-0013-8000吧", "打1**-****-****吧"),
        ("（０１０）６２３４５６７８", "（***）********"),
        ("写信到service@example.com。", "写信到s******@*******.***。"),
        ("证件11010519491231002X", "证件1*****************"),
    ],
)
def test_what_a_report_shows(text: str, hidden: str) -> None:
    assert hide_personal_data(text) == hidden


PIECES = st.sampled_from(
    [*(piece for _, piece in FOUND), "-", ".", " ", "@", "1", "0", "86", "(", ")", "a", "x@qq.com", "元", "单号", "好"]
)


@settings(max_examples=500, deadline=None)
@given(text=st.lists(PIECES, max_size=12).map("".join))
def test_masking_leaves_nothing_and_hiding_keeps_the_length(text: Any) -> None:
    masked = mask_personal_data(text)
    assert personal_data_kinds(masked) == frozenset()
    assert mask_personal_data(masked) == masked
    assert len(hide_personal_data(text)) == len(text)
    assert (masked == text) == (not personal_data_kinds(text))


@pytest.mark.parametrize(
    "piece",
    [
        "1", "13", "1-", "1 ", "a", "a@", "a.", "a@b.", "@", "a@1.", "(0", "(010)", "+86", "0", "400-", "138-0013-",
        "110105", "11010519491231", "13800138000-", "13800138000", "a13800138000", "a@b.c13800138000", "单号",
        "a@b.cn-13800138000", "１", "．",
    ],
)  # fmt: skip
@pytest.mark.timeout(120)
def test_hostile_text_does_not_hang(piece: str) -> None:
    text = (piece * 400_000)[:400_000]
    masked = mask_personal_data("1234567890@" + text + "@")
    assert personal_data_kinds(masked) == frozenset()
