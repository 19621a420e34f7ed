"""The forms of both flows in Prefect's two interfaces: what a person fills in is what the server receives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.utilities.schema_tools.validation import validate

from flows.adapt_flow import adapt
from flows.predict_flow import predict
from flows.train_flow import train
from textclf.config import CONFIGS, AdaptConfig, DataSource, ModelSource, PredictConfig, TrainConfig, load_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

PATIENCE_MILLISECONDS = 120_000
# One field with its label; and the part of a list of choices that a click opens. In V1, a click in the middle of a list
# opens and closes it.
FIELD = {"v1": ".schema-form-property", "v2": "div.group"}
LIST = {"v1": ".p-select-button__icon", "v2": "button[aria-haspopup=listbox]"}
MENU = {"v1": ".schema-form-property-menu button", "v2": "button[aria-haspopup=menu]"}
MIRROR = "https://hf-mirror.com"


class Form:
    """A form in an interface, and the run that it created."""

    def __init__(self, page: Page, interface: str, server: Any, flow: str) -> None:
        self.page = page
        self.interface = interface
        self.server = server
        self.deployment = server.deployment(flow)["id"]
        self.runs_before = self.runs()
        prefix = "/v2" if interface == "v2" else ""
        page.goto(f"{server.address}{prefix}/deployments/deployment/{self.deployment}/run")
        self.field("Offline" if flow == "train" else "Redo").wait_for()

    def runs(self) -> int:
        wanted = {"deployments": {"id": {"any_": [self.deployment]}}}
        return int(self.server.api("/flow_runs/count", wanted))

    def field(self, *labels: str) -> Locator:
        """Finds a field by its label and those of the sections around it."""
        place = self.page.locator("body")
        for label in labels:
            named = self.page.get_by_text(re.compile(rf"^{label}( \(Optional\))?$"))
            # Sections contain the field, too, and come first.
            place = place.locator(FIELD[self.interface]).filter(has=named).last
        return place

    def fill(self, value: str, *labels: str) -> None:
        self.field(*labels).locator("input, textarea").first.fill(value)

    def choose(self, value: str, *labels: str) -> None:
        self.field(*labels).locator(LIST[self.interface]).first.click()
        # The lists of other fields stay on the page, out of sight.
        named = self.page.get_by_role("option").filter(has_text=re.compile(rf"^\s*{value}\s*$"))
        named.filter(visible=True).last.click()

    def unfold(self, *labels: str) -> None:
        self.field(*labels).get_by_text("Change", exact=True).first.click()

    def submit(self) -> dict[str, Any]:
        """Submits the form and cancels the run.

        Returns:
            The configuration that the server received.
        """
        from playwright.sync_api import TimeoutError as NothingHappened

        status, unheard = None, 0
        # V2 submits nothing as long as it shows a mistake, and looks again only when the button is pressed; and it does
        # not hear a press while it is busy. A server whose SQLite is locked answers 503.
        while status in (None, 503):
            try:
                with self.page.expect_request(re.compile("create_flow_run"), timeout=10_000) as sent:
                    self.page.get_by_role("button", name="Submit").click()
            except NothingHappened:
                unheard += 1
                assert self.interface == "v2" and unheard < 4, "nothing was sent"
            else:
                answer = sent.value.response()
                assert answer is not None
                status = answer.status
        created = answer.json()
        assert status == 201, created
        run = self.server.api(f"/flow_runs/{created['id']}")
        self.server.api(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
        received: dict[str, Any] = run["parameters"]["config"]
        return received

    def is_refused(self, reason: str, path: str, *labels: str) -> None:
        """Submits the form, and checks that it says where and why it is refused, and that no run was created."""
        self.page.get_by_role("button", name="Submit").click()
        beside = self.field(*labels).get_by_text(re.compile(reason))
        beside.or_(self.page.get_by_text(re.compile(rf"'{re.escape(path)}'.*{reason}"))).first.wait_for()
        assert self.runs() == self.runs_before


@pytest.fixture(scope="module")
def shared_page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(PATIENCE_MILLISECONDS)
    yield page
    page.close()


@pytest.fixture(params=["v1", "v2"])
def open_form(request: pytest.FixtureRequest, shared_page: Page, deployed: Any) -> Any:
    return lambda flow: Form(shared_page, request.param, deployed.server, flow)


def quickstart(**sections: dict[str, Any]) -> TrainConfig:
    """The deployed configuration with changed fields."""
    values = load_config(TrainConfig, CONFIGS / "quickstart.yaml").model_dump(mode="json", exclude_unset=True)
    for section, fields in sections.items():
        values[section] = {**values.get(section, {}), **fields}
    return TrainConfig.model_validate(values)


@pytest.mark.parametrize("shipped", ["quickstart", "chnsenticorp", "tnews", "predict", "adapt"])
def test_a_form_may_send_everything_that_a_stored_configuration_contains(shipped: str) -> None:
    flows: dict[str, tuple[Any, Any]] = {"predict": (predict, PredictConfig), "adapt": (adapt, AdaptConfig)}
    flow, model = flows.get(shipped, (train, TrainConfig))
    everything = load_config(model, CONFIGS / f"{shipped}.yaml").model_dump(mode="json")
    validate({"config": everything}, flow.parameters.model_dump_for_openapi(), raise_on_error=True)


class TestTrain:
    def test_wrong_values_are_refused_and_a_changed_one_is_all_that_changes(self, open_form: Any) -> None:
        form = open_form("train")
        form.fill("0", "Training", "Epochs")
        form.is_refused(
            "0 is less than or equal to the minimum of 0", "config.training.num_train_epochs", "Training", "Epochs"
        )
        form.fill("7", "Training", "Epochs")
        form.fill("Bad Name", "Data set", "Name")
        form.is_refused("'Bad Name' does not match", "config.data.name", "Data set", "Name")
        form.fill("quickstart", "Data set", "Name")
        form.choose("local", "Data set", "Sources", "Provider")
        form.is_refused("'path' is a required property", "config.data.sources[0]", "Data set", "Sources")
        form.choose("sample", "Data set", "Sources", "Provider")
        form.fill("0.00002", "Training", "Learning rate")
        expected = quickstart(training={"num_train_epochs": 7, "learning_rate": 2e-5})
        assert TrainConfig.model_validate(form.submit()) == expected

    def test_a_folded_section_is_sent_when_it_is_changed(self, open_form: Any) -> None:
        form = open_form("train")
        form.unfold("Audit")
        form.choose("drop_near", "Audit", "Leaks")
        form.fill("0.9", "Audit", "Near duplicate threshold")
        form.field("Training", "Early stopping patience").get_by_text("None", exact=True).click()
        form.choose("false", "Training", "Group by length")
        received = form.submit()
        assert TrainConfig.model_validate(received) == quickstart(
            audit={"leaks": "drop_near", "near_duplicate_threshold": 0.9},
            training={"early_stopping_patience": None, "group_by_length": False},
        )
        assert "distillation" not in received

    def test_the_recipe_sets_what_is_left_empty(self, open_form: Any) -> None:
        form = open_form("train")
        form.choose("tutorial", "Training", "Recipe")
        form.fill("", "Training", "Epochs")
        form.fill("", "Training", "Learning rate")
        config = TrainConfig.model_validate(form.submit())
        assert (config.training.num_train_epochs, config.training.learning_rate) == (1, 2e-5)
        assert (config.cleaning.rule, config.audit.leaks) == ("tutorial", "keep")
        assert (config.training.group_by_length, config.training.early_stopping_patience) == (False, None)

    @pytest.mark.parametrize(
        ("data", "model"),
        [
            ({"provider": "local", "path": "reviews"}, {"provider": "modelscope", "name": "tiansz/bert-base-chinese"}),
            (
                {"provider": "huggingface", "name": "a/b", "endpoint": MIRROR, "files": {"train": "data/train-*"}},
                {"provider": "local", "path": "models/bert"},
            ),
            (
                {"provider": "modelscope", "name": "a/b", "revision": "v1"},
                {"provider": "huggingface", "name": "google-bert/bert-base-chinese"},
            ),
        ],
    )
    def test_each_kind_of_source(self, open_form: Any, data: dict[str, Any], model: dict[str, Any]) -> None:
        labels = {"name": "Repository", "path": "Path", "revision": "Revision", "endpoint": "Mirror"}
        form = open_form("train")
        # The quickstart's own encoder stays the first source.
        form.field("Model", "Sources").get_by_role("button", name="Add item").click()
        for section, source in (("Data set", data), ("Model", model)):
            form.choose(source["provider"], section, "Sources", "Provider")
            for name, value in source.items():
                if name in labels:
                    form.fill(value, section, "Sources", labels[name])
        if "files" in data:
            form.unfold("Data set", "Sources", "Files")
            form.fill(data["files"]["train"], "Data set", "Sources", "Files", "Train")
        config = TrainConfig.model_validate(form.submit())
        assert config.data.sources == (DataSource(**data),)
        assert config.model.sources == (ModelSource(provider="sample"), ModelSource(**model))

    def test_the_whole_form_can_be_edited_as_json(self, open_form: Any) -> None:
        form = open_form("train")
        form.field("config").locator(MENU[form.interface]).first.click()
        form.page.get_by_text(re.compile("^Use JSON input$", re.IGNORECASE)).first.click()
        form.page.get_by_text(re.compile('"num_train_epochs"')).first.wait_for()
        assert TrainConfig.model_validate(form.submit()) == quickstart()


class TestPredict:
    def test_wrong_values_are_refused_and_a_changed_one_is_all_that_changes(self, open_form: Any) -> None:
        form = open_form("predict")
        form.fill("0", "Batch size")
        if form.interface == "v1":
            form.is_refused("0 is less than the minimum of 1", "config.batch_size", "Batch size")
        else:
            # The browser itself does not submit the form, and points at the field.
            form.page.get_by_role("button", name="Submit").click()
            invalid = form.page.locator("input:invalid")
            assert "greater than or equal to 1" in invalid.evaluate("field => field.validationMessage")
        form.fill("128", "Batch size")
        form.fill("a model", "Model")
        form.is_refused("'a model' does not match", "config.model", "Model")
        form.fill("textclf-tiny", "Model")
        form.fill("", "Input")
        form.is_refused("'input' is a required property", "config", "Input")
        form.fill("inbox", "Input")
        expected = PredictConfig(input=Path("inbox"), output=Path("outbox"), model="textclf-tiny", batch_size=128)
        assert PredictConfig.model_validate(form.submit()) == expected
