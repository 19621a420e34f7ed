"""The audit report in a real browser: wide and narrow, light and dark, in both languages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import findings_support as support
import pytest

from textclf.audit.report.html import write_html
from textclf.language import LANGUAGES, Language, speaking

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Every character that the font lacks is drawn as the same box.
PICTURES = """async texts => {
    await document.fonts.ready;
    const draw = text => {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 48;
        const context = canvas.getContext("2d");
        context.font = "32px " + getComputedStyle(document.body).fontFamily;
        context.fillText(text, 4, 36);
        return canvas.toDataURL();
    };
    return texts.map(draw);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_can_be_read(browser: Browser, tmp_path: Path, language: Language, width: int, scheme: Any) -> None:
    report = tmp_path / "report.html"
    with speaking(language):
        write_html(support.bad_findings(), report)
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    page.evaluate("document.fonts.ready.then(() => true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_text(support.SCRIPT).first.is_visible()
    assert page.get_by_text(support.TEMPLATE).first.is_visible()
    drawn = page.evaluate(PICTURES, ["正", "负", "房", "务", "\U000f1234", "\U000f4321"])
    assert len(set(drawn[:4]) - set(drawn[4:])) == 4
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    page.close()


def test_chinese_that_was_drawn_before_the_font_was_ready_leaves_no_boxes(browser: Browser, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    with speaking("zh"):
        write_html(support.bad_findings(), report)
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(report.as_uri())
    page.evaluate("document.fonts.ready.then(() => true)")
    first = page.screenshot()
    page.evaluate("document.body.style.display = 'none'; document.body.offsetHeight; document.body.style.display = ''")
    assert page.screenshot() == first
    page.close()


def test_a_verdict_leads_to_its_section_in_a_sandboxed_frame(browser: Browser, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    with speaking("en"):
        write_html(support.bad_findings(), report)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_content('<iframe sandbox="allow-scripts" style="width:1200px;height:800px;border:0"></iframe>')
    # As MLflow shows an HTML artifact.
    show = "html => document.querySelector('iframe').src = URL.createObjectURL(new Blob([html], {type: 'text/html'}))"
    page.evaluate(show, report.read_text(encoding="utf-8"))
    frame = page.frame_locator("iframe")
    frame.locator("#verdict a[href='#leaks']").first.click()
    heading = frame.get_by_role("heading", name="Leaks between splits")
    heading.wait_for()
    box = heading.bounding_box()
    assert box is not None and 0 <= box["y"] < 200
    page.close()
