"""The audit's report shows what matters, worst first, in both languages, whatever the texts contain."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import findings_support as support
import pytest

from textclf.audit.report.html import write_html
from textclf.audit.report.summary import console_summary, markdown_summary
from textclf.audit.report.verdict import verdicts
from textclf.errors import StorageError
from textclf.language import LANGUAGES, Language, speaking
from textclf.tables import display_width

OUTSIDE = re.compile(r"""(?:src|href)\s*=\s*["'](?!#|data:)|@import|url\((?!data:)|<iframe|<object""", re.IGNORECASE)


class Reader(HTMLParser):
    """Collects the tags and the text of a page, and checks that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attributes)
        self.ids.add(values.get("id") or "")
        if tag == "a":
            self.links.add(values["href"] or "")
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open):
            self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def page_of(findings: Any, folder: Path, language: Language = "en") -> str:
    with speaking(language):
        write_html(findings, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


class TestVerdicts:
    def test_clean_data_need_no_word(self) -> None:
        assert verdicts(support.clean_findings()) == ()

    def test_leaks_into_test_come_first_with_their_counts(self) -> None:
        first = verdicts(support.bad_findings())[0]
        assert (first.severity, first.section) == ("serious", "leaks")
        sentence = first.sentence
        assert sentence.startswith("331 of 1,200 test rows (27.6%) also appear in train")
        assert sentence.endswith("`test_leakfree/…` is measured on the 812 leak-free rows.")

    def test_the_worst_come_first(self) -> None:
        severities = [verdict.severity for verdict in verdicts(support.bad_findings())]
        assert severities == sorted(severities, key=["serious", "handled", "warning", "note"].index)
        assert set(severities) == {"serious", "warning", "note", "handled"}

    @pytest.mark.parametrize("choice", ["drop", "drop_near"])
    def test_leaks_that_the_policy_removed_are_no_alarm(self, choice: str) -> None:
        found = verdicts(support.bad_findings(**support.leak_policy(choice, 600)))
        leaks = [verdict for verdict in found if verdict.kind == "leak"]
        assert [verdict.severity for verdict in leaks] == ["handled", "handled"]
        assert "inflated" not in " ".join(verdict.sentence for verdict in found)
        near = {verdict.severity for verdict in found if verdict.kind == "near_leak"}
        assert near == ({"handled"} if choice == "drop_near" else {"warning"})

    @pytest.mark.parametrize(("long", "warned"), [(90.0, False), (91.0, True)])
    def test_a_label_of_much_longer_texts_is_named(self, long: float, warned: bool) -> None:
        clean = support.clean_findings()
        labels = clean.labels.model_copy(update={"median_characters": {"负面": long, "正面": 60.0}})
        found = [verdict.sentence for verdict in verdicts(clean.model_copy(update={"labels": labels}))]
        assert ["负面" in sentence for sentence in found] == [True] * warned


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Iterator[Language]:
    with speaking(request.param):
        yield request.param


class TestPage:
    def test_it_is_one_well_formed_page_that_loads_nothing(self, tmp_path: Path, language: Language) -> None:
        page = page_of(support.bad_findings(), tmp_path, language)
        read(page)
        assert not OUTSIDE.search(page)
        assert [path.name for path in tmp_path.iterdir()] == ["report.html"]

    def test_every_verdict_leads_to_its_section(self, tmp_path: Path, language: Language) -> None:
        reader = read(page_of(support.bad_findings(), tmp_path, language))
        assert {f"#{verdict.section}" for verdict in verdicts(support.bad_findings())} <= reader.links
        assert {link.removeprefix("#") for link in reader.links} <= reader.ids

    def test_hostile_texts_and_names_are_text(self, tmp_path: Path, language: Language) -> None:
        reader = read(page_of(support.bad_findings(), tmp_path, language))
        assert reader.tags.count("script") == 1, "the page's own"
        for text in (support.SCRIPT, support.TEMPLATE, support.MARKDOWN):
            assert text in reader.text

    def test_the_same_findings_give_the_same_bytes(self, tmp_path: Path, language: Language) -> None:
        assert page_of(support.bad_findings(), tmp_path, language) == page_of(
            support.bad_findings(), tmp_path, language
        )

    def test_it_stays_small(self, tmp_path: Path, language: Language) -> None:
        assert len(page_of(support.bad_findings(), tmp_path, language).encode()) < 1_000_000

    def test_findings_read_from_json_give_the_same_page(self, tmp_path: Path, language: Language) -> None:
        findings = support.bad_findings()
        again = type(findings).model_validate(json.loads(findings.model_dump_json()))
        assert page_of(again, tmp_path, language) == page_of(findings, tmp_path, language)


class TestPageInParticular:
    def test_quarantined_rows_are_named_in_the_language_of_the_page(self, tmp_path: Path) -> None:
        assert "数据/train.tsv, row 1,000:" in page_of(support.bad_findings(), tmp_path)
        assert "数据/train.tsv，第 1,000 行：" in page_of(support.bad_findings(), tmp_path, "zh")

    def test_clean_data_get_a_calm_all_clear(self, tmp_path: Path) -> None:
        text = read(page_of(support.clean_findings(), tmp_path)).text
        assert "Nothing to worry about" in text
        assert "serious" not in text and "warning" not in text

    def test_only_the_most_frequent_of_many_labels_are_shown(self, tmp_path: Path) -> None:
        text = read(page_of(support.many_labels(1000), tmp_path)).text
        assert "类别0029" in text and "类别0030" not in text
        assert "970 more have" in text

    def test_without_vocabulary_and_near_duplicates_it_says_so(self, tmp_path: Path) -> None:
        findings = support.clean_findings(tokenizer=None, unknown_token_share=None, near_duplicates=None)
        text = read(page_of(findings, tmp_path)).text
        assert "tokens were not counted" in text
        assert "search for near duplicates is turned off" in text

    def test_half_a_surrogate_pair_in_a_text_does_not_stop_it(self, tmp_path: Path) -> None:
        assert "Data audit: a?b" in page_of(support.clean_findings(name="a\ud83db"), tmp_path)

    def test_the_font_has_the_characters_of_the_page(self, tmp_path: Path) -> None:
        import base64
        import io

        from fontTools.ttLib import TTFont

        page = page_of(support.bad_findings(), tmp_path, "zh")
        font = re.search(r"url\(data:font/\w+;base64,([^)]+)\)", page)
        assert font is not None
        with TTFont(io.BytesIO(base64.b64decode(font[1]))) as embedded:
            has = {chr(point) for point in embedded.getBestCmap()}
        assert {character for character in read(page).text if "\u4e00" <= character <= "\u9fa5"} <= has

    def test_fonttools_stays_quiet(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            page_of(support.clean_findings(), tmp_path, "zh")
        assert not [record for record in caplog.records if record.name.startswith("fontTools")]

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(StorageError, match="report"):
            write_html(support.clean_findings(), tmp_path / "file" / "report.html")


@pytest.mark.usefixtures("language")
class TestConsole:
    def test_it_fits_on_a_screen_and_ends_with_the_report(self) -> None:
        lines = console_summary(support.bad_findings(), report=Path("audit/report.html")).splitlines()
        assert len(lines) <= 40
        assert lines[-1].endswith("audit/report.html")
        assert "331" in lines[2]

    def test_the_columns_line_up(self) -> None:
        text = console_summary(support.bad_findings(), report=None)
        table = text.split("\n\n")[2].splitlines()
        assert len({display_width(line) for line in table}) == 1

    def test_no_control_character_reaches_the_terminal(self) -> None:
        text = console_summary(support.clean_findings(name="a\x1b[31mb\nc"), report=None)
        assert "\x1b" not in text and "b c" in text.splitlines()[0]


class TestMarkdown:
    def test_it_has_the_verdicts_and_the_counts(self, language: Language) -> None:
        findings = support.bad_findings()
        text = markdown_summary(findings)
        assert text.count("\n- **") == len(verdicts(findings))
        assert ("严重" in text) == (language == "zh")
        for figure in ("8,358", "1,190", "6,100 (63.5%)", "454"):
            assert f"| {figure} |" in text

    def test_hostile_names_are_neither_html_nor_markdown(self, language: Language) -> None:
        text = markdown_summary(support.bad_findings())
        assert "<" not in text and "](javascript" not in text

    def test_clean_data_get_an_all_clear(self, language: Language) -> None:
        words = {"en": "Nothing to worry about", "zh": "一切正常"}[language]
        assert words in markdown_summary(support.clean_findings())
