"""What a training offers besides its encoder: measured, compared, registered, and chosen by quality or by cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
import registry_support as support
from training_support import connect

from textclf.config.registration import RegistrationConfig
from textclf.config.schema import LadderConfig
from textclf.data.prepared import read_split
from textclf.evaluation.candidates import choose, compare
from textclf.model.classifier import Classifier
from textclf.records import Candidate, Interval, PairedDifference
from textclf.registry.gate import register
from textclf.registry.versions import choose_model, load_classifier
from textclf.summaries.candidates import candidates_summary
from textclf.tracking.store import TrackingStore

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]
TEXTS = ["房间很干净，早餐也不错！", "屏幕糟糕，失望"]
RULES = RegistrationConfig()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return support.make_place(tmp_path_factory.mktemp("candidates"), rows={"train": 200, "validation": 120, "test": 60})


@pytest.fixture(scope="module")
def place(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return data.in_home(tmp_path_factory.mktemp("home"))


def offer(place: Any, *, always: str | None = None, ladder: LadderConfig | None = None, **registration: Any) -> Any:
    """Measures an encoder with random weights, or one that always says the same, and what else there is."""
    trained = support.make_trained(place, {}, always=always)
    evaluated = support.measure(place, trained)
    found = compare(
        trained,
        None,
        evaluated,
        place.prepared,
        registration=RegistrationConfig(**registration),
        ladder=ladder or LadderConfig(),
        evaluation=place.config.evaluation,
        seed=1,
        name=support.NAME,
        store=TrackingStore.open(place.home),
    )
    return trained, evaluated, found


@pytest.fixture(scope="module")
def offered(place: Any) -> Any:
    return offer(place, always="好评")


def test_the_better_linear_model_is_chosen_and_becomes_champion(place: Any, offered: Any) -> None:
    _, evaluated, found = offered
    assert [each.kind for each in found.found] == ["linear", "encoder"]
    assert found.chosen == "linear"
    assert found.of("encoder").behind_best is not None
    assert found.of("encoder").behind_best.interval.high < 0
    assert "There is no ladder" in found.left_out["ladder"]
    registered = register(
        found, evaluated, place.prepared, name=support.NAME, rules=RULES, store=TrackingStore.open(place.home)
    )
    assert registered.is_champion
    assert registered.decision.kind == "linear"
    assert registered.reason.startswith("Of 2 candidates, the linear model has the best f1_macro.")
    client = connect(place.home)
    versions = {
        int(found.version): client.get_model_version(support.NAME, found.version).tags
        for found in client.search_model_versions(f"name='{support.NAME}'")
    }
    kinds = {tags["textclf.kind"]: version for version, tags in versions.items()}
    assert set(kinds) == {"encoder", "linear"}
    assert registered.version == kinds["linear"]
    assert versions[kinds["encoder"]]["textclf.decision"].startswith("candidate (encoder): f1_macro 0.3")
    assert "the linear (version" in versions[kinds["encoder"]]["textclf.decision"]

    store = TrackingStore.open(place.home)
    chosen = choose_model(store, support.NAME, "champion")
    classifier = load_classifier(store, chosen)
    assert classifier.engine_name == "linear"
    expected = Classifier.load(found.of("linear").folder).predict(TEXTS)
    assert classifier.predict(TEXTS).tolist() == expected.tolist()
    served = mlflow.pyfunc.load_model(f"models:/{support.NAME}/{registered.version}")
    import pandas as pd

    assert served.predict(pd.DataFrame({"text": TEXTS}))["label"].notna().all()


def test_every_candidate_has_its_metrics_in_a_run_and_at_its_version(place: Any, offered: Any) -> None:
    client = connect(place.home)
    for each in offered[2].found:
        run = client.get_run(each.run_id)
        assert run.data.metrics["test/f1_macro"] == pytest.approx(each.metrics["test/f1_macro"])
        assert run.data.tags["textclf.engine"] == each.engine


def test_the_page_shows_table_picture_and_why_a_kind_is_missing(offered: Any) -> None:
    page = candidates_summary(offered[2], None)
    assert "linear model (chosen)" in page
    assert "](data:image/png;base64," in page
    assert "Not a candidate: ladder. There is no ladder" in page
    assert offered[2].picture.read_bytes().startswith(b"\x89PNG")


def test_a_second_training_on_the_same_data_keeps_the_one_linear_version(place: Any, offered: Any) -> None:
    _, evaluated, found = offer(place, always="差评")
    registered = register(
        found, evaluated, place.prepared, name=support.NAME, rules=RULES, store=TrackingStore.open(place.home)
    )
    assert registered.decision.rule == "already"
    versions = connect(place.home).search_model_versions(f"name='{support.NAME}'")
    kinds = [
        connect(place.home).get_model_version(support.NAME, each.version).tags["textclf.kind"] for each in versions
    ]
    assert sorted(kinds) == ["encoder", "encoder", "linear"]


def test_a_ladder_that_holds_is_registered_and_answers(data: Any, tmp_path: Path) -> None:
    own = data.in_home(tmp_path / "home")
    # So much may differ that a linear model may answer for an encoder that is always wrong on half of the rows.
    generous = LadderConfig(max_disagreement=0.2, error_probability=0.2)
    _, evaluated, found = offer(own, always="好评", ladder=generous, candidates=("encoder", "ladder"))
    assert {each.kind for each in found.found} == {"encoder", "ladder"}
    assert found.verification is not None
    assert found.verification.shares["linear"] > 0
    ladder = found.of("ladder")
    assert ladder.metrics["test/accuracy"] == pytest.approx(found.verification.metrics[0].first)
    page = candidates_summary(found, None)
    assert "With confidence 80%, at most 20.00% of all rows get another label" in page
    assert "not for texts of another source, topic or time" in page
    lenient = RegistrationConfig(must_beat_baselines=False)
    registered = register(
        found, evaluated, own.prepared, name=support.NAME, rules=lenient, store=TrackingStore.open(own.home)
    )
    assert (registered.decision.kind, registered.is_champion) == ("ladder", True)
    classifier = support.load_champion(own)
    rows = read_split(own.prepared, "test")
    answers = classifier.answer(rows.texts)
    assert classifier.rungs == ("linear", "encoder")
    assert (answers.rungs == 0).mean() == pytest.approx(found.verification.shares["linear"], abs=0.02)


def candidate(kind: Any, score: float, speed: float, low: float | None = None) -> Candidate:
    difference = None
    if low is not None:
        interval = Interval(low=low, high=low + 0.02, confidence=0.95)
        difference = PairedDifference(metric="f1_macro", first=score, second=0.9, interval=interval)
    return Candidate(
        kind=kind,
        run_id="1",
        folder=Path("/"),
        engine="torch-fp32",
        metrics={"test/f1_macro": score, "test/log_loss": 1 - score},
        steps=1,
        measured_ms=1,
        texts_per_second=speed,
        fastest_engine="torch-fp32",
        behind_best=difference,
    )


def test_by_default_the_best_is_chosen_and_with_a_margin_the_fastest_that_is_close() -> None:
    best, near, far = (
        candidate("encoder", 0.9, 10),
        candidate("ladder", 0.897, 40, low=-0.009),
        candidate("linear", 0.88, 2000, low=-0.04),
    )
    found = [far, near, best]
    assert choose(found, "f1_macro", "test", None) == "encoder"
    assert choose(found, "f1_macro", "test", 0.005) == "encoder"
    assert choose(found, "f1_macro", "test", 0.01) == "ladder"
    assert choose(found, "f1_macro", "test", 0.05) == "linear"
    assert choose(found, "log_loss", "test", None) == "encoder"
    assert choose([far, near], "roc_auc_macro", "test", None) == "linear"
    assert choose([candidate("linear", 0.9, 2000), best], "f1_macro", "test", None) == "linear"


def test_a_margin_needs_a_metric_of_decisions() -> None:
    with pytest.raises(ValueError, match="margin needs a metric of decisions"):
        RegistrationConfig(metric="log_loss", margin=0.01)
