"""Texts damaged by a wrong conversion are distinguished from texts that merely look odd."""

from __future__ import annotations

from typing import Any

import pytest

from textclf.audit.damage import looks_damaged

REVIEW = "房间很干净，服务也很周到，下次还会再来。"


@pytest.mark.parametrize(
    "text",
    [
        "房间很干净\ufffd\ufffd服务",
        "锟斤拷锟斤拷很好",
        "烫烫烫烫烫烫",
        "屯屯屯屯",
        "?款?子只能?Vista，才能?示??卡，如果?XP，??就不被??出?",
        "机?不?，就是?池不太?用，声?也大",
        REVIEW.encode().decode("latin-1"),
        REVIEW.encode().decode("cp1252", "replace"),
        REVIEW.encode().decode("gb18030", "replace"),
        "我们都觉得很好".encode().decode("gb18030", "ignore"),
        REVIEW.encode("gb18030").decode("latin-1"),
    ],
)
def test_damaged_texts(text: Any) -> None:
    assert looks_damaged(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        REVIEW,
        "OK?",
        "真的吗???为什么???怎么办???",
        "为什么不行?怎么回事?谁来管?到底几时修好?",
        "真?善?美?嘿嘿,这是一点想法",
        "爱情?金钱?结婚?都不是",
        "?????",
        "汤端上来烫烫烫，赶紧屯屯屯",
        "买了×××××××牌的，价格······不说了",
        "Café très agréable, hôtel à côté de la gare, « parfait » été",
        "Größe überprüft, schöne Möbel, äöüÄÖÜ",
        "Það er ótrúlegt, við förum út í kvöld, þökk sé þér",
        "浣熊很可爱，鎏金的瓷器，璀璨绚烂，缱绻缠绵",
        "繁體中文的評論，沒有什麼問題",
        "とても良いホテルでした",
        "很好😀👍🏻",
    ],
)
def test_texts_that_are_fine(text: Any) -> None:
    assert not looks_damaged(text)


@pytest.mark.parametrize("piece", ["?", "?好", "好", "?好好好好", "?1", "锟", "烫烫烫好", "å", "å¥", "Ä", "浣", "浣犲"])
@pytest.mark.timeout(120)
def test_hostile_text_does_not_hang(piece: str) -> None:
    looks_damaged("真" + (piece * 400_000)[:400_000] + "x")
