"""The letters of a text say in which writing it is."""

from __future__ import annotations

import pytest

from textclf.audit.scripts import SCRIPTS, TEXTS_PER_BATCH, count_scripts


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("这家酒店的房间很干净", "simplified_chinese"),
        ("這家酒店的房間很乾淨", "traditional_chinese"),
        ("很好", "chinese"),
        ("这樣", "chinese"),
        ("房间里的 WiFi 和 TV 都还不错，我的 iPhone 6 也能用！", "simplified_chinese"),
        ("房间很囧，但是服务态度还说得过去，价格贵", "simplified_chinese"),
        ("とても良いホテルでした", "japanese"),
        ("스즈키 호텔 좋아요", "korean"),
        ("A very nice hotel, I will come back", "latin"),
        ("ＡＢＣ　ｄｅ", "latin"),
        ("Очень хороший отель", "cyrillic"),
        ("Πολύ καλό ξενοδοχείο", "other"),
        ("ok 好", "mixed"),
        ("Hello world how are you 房间很干净", "mixed"),
        ("123 !!! 😀 ？？", "none"),
        ("", "none"),
        ("\ud83d", "none"),
        ("𠀀𠀁𠀂", "chinese"),
        ("好(ﾉ*･ω･)ﾉ真的很喜欢这家酒店的服务态度", "simplified_chinese"),
    ],
)
def test_the_script_of_a_text(text, script):
    assert count_scripts([text]) == {**dict.fromkeys(SCRIPTS, 0), script: 1}


def test_texts_do_not_run_into_each_other():
    counts = count_scripts(["abc", "def", "", "很好", "ok"])
    assert (counts["latin"], counts["none"], counts["chinese"]) == (3, 1, 1)


def test_more_texts_than_one_batch_from_an_iterator():
    counts = count_scripts("房间" if number % 2 else "room" for number in range(2 * TEXTS_PER_BATCH + 3))
    assert counts["latin"] == TEXTS_PER_BATCH + 2
    assert counts["simplified_chinese"] == TEXTS_PER_BATCH + 1


def test_no_texts():
    assert count_scripts([]) == dict.fromkeys(SCRIPTS, 0)
