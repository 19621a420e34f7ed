"""Pages in a real browser: runs and artifacts in Prefect, runs and models in MLflow."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

PATIENCE_MILLISECONDS = 120_000


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1400, "height": 2400})
    opened.set_default_timeout(PATIENCE_MILLISECONDS)
    yield opened
    opened.close()


class TestPrefect:
    def test_the_page_of_a_run_shows_its_artifacts(self, page: Page, deployed: Any) -> None:
        page.goto(f"{deployed.server.address}/runs/flow-run/{deployed.trained['id']}")
        page.get_by_text("train-tiny").first.wait_for()
        page.get_by_text(re.compile(r"textclf-tiny version 1\b.*champion")).first.wait_for()
        page.get_by_role("tab", name="Artifacts").or_(page.get_by_text("Artifacts", exact=True)).last.click()
        for key in ("download", "data-report", "data-audit", "tokens", "training", "metrics", "decision"):
            page.get_by_text(key.upper(), exact=True).or_(page.get_by_text(key, exact=True)).first.wait_for()

    def test_the_metrics_appear_next_to_the_baselines_with_label_names(self, page: Page, deployed: Any) -> None:
        artifact = deployed.server.artifacts(deployed.trained["id"])["metrics"]["id"]
        page.goto(f"{deployed.server.address}/artifacts/artifact/{artifact}")
        for text in ("fine-tuned", "majority", "tfidf-logistic-regression", "负面", "正面"):
            page.get_by_role("cell", name=text, exact=True).first.wait_for()

    def test_a_failed_run_shows_the_real_message(self, page: Page, deployed: Any) -> None:
        page.goto(f"{deployed.server.address}/runs/flow-run/{deployed.failed['id']}")
        page.get_by_text(re.compile(r"'review' \(data\.text_column\)")).first.wait_for()


@pytest.fixture(scope="module")
def mlflow_address(deployed: Any, serve_pages: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Plain `mlflow ui` in the home directory, as users start it."""
    home = deployed.server.home
    command = [str(Path(sys.executable).with_name("mlflow")), "ui", "--workers", "1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    # Jobs for traces of language models: seven processes that nothing here uses.
    environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = tmp_path_factory.mktemp("mlflow") / "log"
    with serve_pages(command, folder=home, environment=environment, log=log, health="/health") as address:
        yield address


def follow(link: Locator) -> Page:
    """Clicks a link of a description, which MLflow opens in a tab of its own."""
    with link.page.expect_popup() as opened:
        link.click()
    opened.value.set_default_timeout(PATIENCE_MILLISECONDS)
    return opened.value


class TestMlflow:
    """Every page is reached by the links in the descriptions, which therefore lead where they say."""

    @pytest.fixture
    def run_id(self, deployed: Any) -> str:
        """The training run."""
        decision = deployed.server.artifacts(deployed.trained["id"])["decision"]["data"]
        (run_id,) = set(re.findall(r"\b[0-9a-f]{32}\b", decision))
        return str(run_id)

    def test_the_experiment_leads_to_a_table_with_the_leak_free_score_first(
        self, page: Page, mlflow_address: str, run_id: str
    ) -> None:
        page.goto(f"{mlflow_address}/#/experiments/1/runs")
        page = follow(page.get_by_role("link", name="Compare the runs, best leak-free score first"))
        for name in (r"^(train-)?tiny-\d+", "^baseline-majority$", "^baseline-tfidf"):
            page.get_by_role("link", name=re.compile(name)).first.wait_for()
        page.get_by_role("button", name="Sort: test_leakfree/f1_macro").wait_for()
        page.locator(f"a[href*='{run_id}']").first.wait_for()
        metric = "metrics.`test_leakfree/f1_macro`"
        headings = page.locator(".ag-header-cell").evaluate_all(
            "cells => cells.map(cell => cell.getAttribute('col-id'))"
        )
        assert (
            headings.index(metric)
            < headings.index("metrics.`test/f1_macro`")
            < headings.index("tags.`textclf.decision`")
        )
        assert "attributes.`Source`" not in headings
        cells = page.locator(f'.ag-row [col-id="{metric}"]')
        # A run that was stopped has no score.
        scores = [float(text) for text in cells.all_inner_texts() if text.strip(" -")]
        assert len(scores) >= 3 and scores == sorted(scores, reverse=True)
        page.get_by_text("champion: f1_macro").first.wait_for()

    def test_the_experiment_leads_to_bars_that_compare_the_model_with_the_baselines(
        self, page: Page, mlflow_address: str
    ) -> None:
        page.goto(f"{mlflow_address}/#/experiments/1/runs")
        page = follow(page.get_by_role("link", name="as bars"))
        page.get_by_text("scores", exact=True).wait_for()
        # The first section has three charts, and each a bar for every model and one for either baseline.
        for chart in range(3):
            bars = page.locator(".js-plotly-plot").nth(chart).locator(".barlayer .point")
            bars.nth(2).wait_for()

    def test_a_run_says_what_was_decided_and_leads_to_its_reports(
        self, page: Page, mlflow_address: str, run_id: str
    ) -> None:
        page.goto(f"{mlflow_address}/#/experiments/1/runs/{run_id}")
        page.get_by_text("Champion. There was no champion yet.").wait_for()
        page.get_by_role("link", name="test/f1_macro", exact=True).wait_for()
        assert "[//]" not in page.locator("body").inner_text(), "the seal is invisible"
        page.get_by_text("Show more").first.click()
        page.get_by_role("link", name=re.compile("^Prefect run train-tiny")).wait_for()
        page = follow(page.get_by_role("link", name="decision", exact=True))
        page.get_by_role("heading", name="textclf-tiny version 1 became champion").wait_for()

    def test_the_model_shows_its_alias_and_the_decision_and_leads_to_the_version(
        self, page: Page, deployed: Any, mlflow_address: str
    ) -> None:
        page.goto(f"{mlflow_address}/#/models/textclf-tiny")
        page.get_by_text(re.compile("champion")).first.wait_for()
        page.get_by_text("Classifies texts like those of the data set tiny: 负面, 正面.").wait_for()
        page = follow(page.get_by_role("link", name=re.compile(r"textclf-tiny version \d")))
        page.get_by_text(re.compile(r"mlflow models serve --model-uri models:/textclf-tiny/\d")).wait_for()
        page.get_by_text("champion: f1_macro").wait_for()

    def test_the_logged_model_shows_its_scores_with_the_data_they_were_measured_on(
        self, page: Page, deployed: Any, mlflow_address: str
    ) -> None:
        page.goto(f"{mlflow_address}/#/models/textclf-tiny/versions/1")
        page.get_by_test_id("source-model-link").click()
        page.get_by_text("About this logged model").wait_for()
        page.get_by_text("test_leakfree/f1_macro").first.wait_for()
        page.get_by_text(re.compile(r"^validation-\w{8}")).first.click()
        for column in ("text", "leakfree"):
            page.get_by_text(column, exact=True).first.wait_for()

    @pytest.mark.parametrize("width", [1280, 390])
    def test_the_page_of_the_model_can_be_read_and_loads_nothing(
        self, page: Page, deployed: Any, run_id: str, width: int
    ) -> None:
        file = deployed.server.home / "mlruns" / "textclf-tiny" / run_id / "artifacts" / "model.html"
        problems: list[str] = []
        requests: list[str] = []
        page.set_viewport_size({"width": width, "height": 900})
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
        assert page.get_by_role("heading", name="textclf-tiny 1").is_visible()
        assert page.get_by_text("There was no champion yet.").first.is_visible()
        # The twelve short texts of one file are no slices of each other.
        for text in ("Champion", "Which labels are confused", "Behaviour", "How to load it"):
            assert page.get_by_text(text, exact=True).first.is_visible(), text
        assert page.get_by_role("img", name="Confusion matrix").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert problems == []
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []

    def test_the_page_of_the_model_is_among_the_artifacts_of_a_run(
        self, page: Page, mlflow_address: str, run_id: str
    ) -> None:
        page.goto(f"{mlflow_address}/#/experiments/1/runs/{run_id}/artifacts/model.html")
        shown = page.frame_locator("iframe").first
        shown.get_by_role("heading", name="textclf-tiny 1").wait_for()
        shown.get_by_role("heading", name="What the scores are worth").wait_for()

    def test_the_audit_report_is_among_the_artifacts_of_a_run(
        self, page: Page, deployed: Any, mlflow_address: str
    ) -> None:
        folder = next((deployed.server.home / "mlruns" / "textclf-tiny").glob("*/artifacts/data"))
        run_id = folder.parent.parent.name
        page.goto(f"{mlflow_address}/#/experiments/1/runs/{run_id}/artifacts/data/report.html")
        page.get_by_text("findings.json").first.wait_for()
        page.frame_locator("iframe").get_by_text(re.compile(r"audit.*\btiny\b", re.IGNORECASE)).first.wait_for()
