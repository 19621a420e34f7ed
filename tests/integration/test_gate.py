"""What a version must show to become champion, on rows enough to tell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import registry_support as support
from training_support import connect

from textclf.config.evaluation import EvaluationConfig
from textclf.config.registration import RegistrationConfig
from textclf.errors import ConfigError, DataError
from textclf.evaluation.metric_intervals import paired_difference
from textclf.records import Interval, PairedDifference
from textclf.registry.contest import check_limits, demanded_confidence, judge

pytestmark = support.MLFLOW_WARNINGS
NAME = support.NAME
BASELINES = {"majority": {"test/accuracy": 0.5}, "tfidf-logistic-regression": {"test/accuracy": 0.9}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return support.make_place(tmp_path_factory.mktemp("gate"), rows={"train": 60, "validation": 20, "test": 400})


@pytest.fixture
def place(data: Any, tmp_path: Path) -> Any:
    return data.in_home(tmp_path / "home")


def test_a_slightly_better_model_is_not_inferior_but_not_certainly_better(place: Any) -> None:
    support.make_version(place, 0.9)
    better = support.make_version(place, 0.905, rule="superior")
    assert (better.is_champion, better.decision.rule) == (False, "not_superior")
    assert "That it is better is not certain (difference +0.0050 (" in better.reason
    again = support.make_version(place, 0.905, champion_margin=0.01)
    assert (again.is_champion, again.decision.rule) == (True, "non_inferior")
    assert again.decision.theirs == pytest.approx(0.9)
    much_better = support.make_version(place, 0.95, rule="superior")
    assert (much_better.is_champion, much_better.decision.rule) == (True, "superior")


def test_a_model_that_may_be_a_point_worse_stays_challenger_and_the_record_asks_for_rows(place: Any) -> None:
    support.make_version(place, 0.9)
    worse = support.make_version(place, 0.89, champion_margin=0.01)
    assert (worse.is_champion, worse.decision.rule) == (False, "perhaps_worse")
    resolution, needed = worse.decision.resolution, worse.decision.rows_needed
    assert resolution is not None and 0.005 < resolution < 0.03
    if resolution > 0.01:
        assert needed is not None and needed > 400
        assert f"about {needed:,} test rows are needed" in worse.reason


def test_what_is_limited_must_be_reached_even_without_a_champion(place: Any) -> None:
    trained = support.make_trained(place, {}, accuracy=0.8)
    metrics = {"test/accuracy": 0.8, "test/recall/好评": 0.6, "test/calibration_error": 0.2}
    limits = {
        "minimum": {"accuracy": 0.7, "recall/好评": 0.7, "recall/中评": 0.5},
        "maximum": {"calibration_error": 0.1},
    }
    refused = support.register_again(place, trained, metrics, **limits)
    assert (refused.is_champion, refused.decision.rule) == (False, "unmet")
    assert refused.reason == (
        "It stays challenger: recall/好评 is 0.6000, required is at least 0.7; recall/中评 was not measured over these "
        "rows, but is limited; calibration_error is 0.2000, allowed is at most 0.1."
    )
    assert connect(place.home).get_registered_model(NAME).aliases == {"challenger": 1}
    lenient = {"minimum": {"accuracy": 0.7, "recall/好评": 0.6}}
    trained = support.make_trained(place, {}, accuracy=0.8)
    assert support.register_again(place, trained, metrics, **lenient).is_champion


def test_limits_that_cannot_be_checked_are_refused_before_training(place: Any, tmp_path: Path) -> None:
    rules = RegistrationConfig(
        minimum={"recall/好评": 0.5, "f1/中评": 0.5, "slice/short/accuracy": 0.5, "behaviour/irony": 0.5},
        maximum={"calibration_error": 0.1, "slice/long/accuracy": 1.0},
    )
    evaluation = EvaluationConfig(slices={"short": "length < 20"})
    with pytest.raises(ConfigError) as caught:
        check_limits(place.prepared, rules, evaluation)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split()[1] for line in lines] == ["f1/中评", "behaviour/irony", "slice/long/accuracy"]
    assert "after f1/ there can be: 好评, 差评" in lines[0]
    cases = tmp_path / "cases.csv"
    cases.write_text("check,text,label\nirony,真行,中评\n", encoding="utf-8")
    with pytest.raises(DataError, match="labels that the model does not have: 中评"):
        check_limits(place.prepared, RegistrationConfig(), EvaluationConfig(behaviour_cases=cases))
    cases.write_text("check,text,label\nirony,真行,差评\n", encoding="utf-8")
    good = RegistrationConfig(minimum={"behaviour/irony": 0.5, "behaviour/spaces": 0.9})
    check_limits(place.prepared, good, EvaluationConfig(behaviour_cases=cases))


def test_a_model_must_beat_the_baselines(place: Any) -> None:
    constant = support.make_trained(place, {}, always="好评")
    poor = support.register_again(place, constant, baselines=BASELINES, champion_margin=0.01)
    assert (poor.is_champion, poor.decision.rule) == (False, "unmet")
    assert "not certainly better than that of always giving the most frequent label" in poor.reason
    assert "0.4000 worse than that of the TF-IDF baseline, more than 0.01" in poor.reason
    good = support.register_again(
        place, support.make_trained(place, {}, accuracy=0.895), baselines=BASELINES, champion_margin=0.01
    )
    assert good.is_champion
    assert [(check.kind, check.passed) for check in good.decision.checks] == [("majority", True), ("tfidf", True)]
    allowed = support.register_again(
        place,
        support.make_trained(place, {}, accuracy=0.895),
        baselines={"tfidf-logistic-regression": {"test/accuracy": 0.99}},
        must_beat_baselines=False,
    )
    assert allowed.is_champion
    assert "Note: the TF-IDF baseline scores higher" in allowed.reason


@pytest.mark.parametrize("damage", ["gone", "broken"])
def test_a_champion_that_cannot_be_loaded_is_not_replaced_unseen(place: Any, damage: str) -> None:
    support.make_version(place, 0.8)
    folder = next(place.home.root.rglob("MLmodel")).parent
    if damage == "gone":
        shutil.rmtree(folder)
    else:
        (folder / "data" / "model" / "linear.safetensors").write_bytes(b"broken")
    registered = support.make_version(place, 0.95)
    assert (registered.is_champion, registered.decision.rule) == (False, "unreadable")
    assert f"promote this version yourself: textclf models promote {NAME}/2" in registered.reason
    assert registered.decision.problem
    artifacts = connect(place.home).get_run(registered.run_id).info.artifact_uri.removeprefix("file://")
    assert registered.decision.problem in (Path(artifacts) / "decision.md").read_text(encoding="utf-8")


def test_decisions_on_the_same_rows_are_counted_and_may_cost_confidence(place: Any) -> None:
    looks = [support.make_version(place, 0.9, repeated_looks="spend").decision for _ in range(3)]
    assert [decision.look for decision in looks] == [1, 2, 3]
    assert looks[2].comparison is not None and looks[1].comparison is not None
    assert looks[2].comparison.interval.confidence > looks[1].comparison.interval.confidence > 0.99
    assert "with 99.81% confidence" in support.make_version(place, 0.9, repeated_looks="spend").reason
    client = connect(place.home)
    # Nothing of that is lost with a version.
    client.delete_model_version(NAME, "1")
    fourth = support.make_version(place, 0.9)
    assert fourth.decision.look == 5
    artifacts = client.get_run(fourth.run_id).info.artifact_uri.removeprefix("file://")
    page = (Path(artifacts) / "decision.md").read_text(encoding="utf-8")
    assert "These rows have decided about 5 trainings, this one included" in page
    record = json.loads((Path(artifacts) / "decision.json").read_text(encoding="utf-8"))
    assert record["look"] == 5


def test_the_errors_that_all_looks_may_make_sum_to_five_percent() -> None:
    rules = RegistrationConfig(repeated_looks="spend")
    spent = sum(1 - demanded_confidence(rules, look) for look in range(1, 10_000))
    assert 0.0499 < spent <= 0.05
    assert demanded_confidence(RegistrationConfig(), 100) == 0.95


def difference(low: float, high: float, metric: str = "accuracy") -> PairedDifference:
    middle = (low + high) / 2
    interval = Interval(low=low, high=high, confidence=0.95)
    return PairedDifference(metric=metric, first=0.8 + middle, second=0.8, interval=interval)


@pytest.mark.parametrize(
    ("low", "high", "metric", "rule", "outcome"),
    [
        (-0.009, 0.02, "accuracy", "non_inferior", "non_inferior"),
        (-0.011, 0.02, "accuracy", "non_inferior", "perhaps_worse"),
        (0.001, 0.02, "accuracy", "superior", "superior"),
        (-0.001, 0.02, "accuracy", "superior", "not_superior"),
        # Where less is better.
        (-0.02, 0.009, "log_loss", "non_inferior", "non_inferior"),
        (-0.02, 0.011, "log_loss", "non_inferior", "perhaps_worse"),
        (-0.02, -0.001, "log_loss", "superior", "superior"),
    ],
)
def test_the_rules(low: float, high: float, metric: str, rule: Any, outcome: str) -> None:
    found, _needed = judge(difference(low, high, metric), RegistrationConfig(rule=rule), 100)
    assert found == outcome


def test_how_many_rows_would_tell_the_margin() -> None:
    # Half as wide an interval needs four times the rows.
    assert judge(difference(-0.02, 0.02), RegistrationConfig(), 800)[1] == 3200
    assert judge(difference(-0.01, 0.01), RegistrationConfig(), 800)[1] is None
    assert judge(difference(-0.02, 0.02), RegistrationConfig(champion_margin=0), 800)[1] is None


def test_every_deciding_metric_can_be_compared(place: Any) -> None:
    import numpy as np

    generator = np.random.default_rng(3)
    labels = np.arange(300) % 2
    first = generator.beta(2, 5, size=300)
    first = np.where(labels == 1, 1 - first, first)
    second = generator.beta(3, 5, size=300)
    second = np.where(labels == 1, 1 - second, second)
    both = [np.stack([1 - found, found], axis=1).astype(np.float32) for found in (first, second)]
    for metric in RegistrationConfig.model_fields["metric"].annotation.__args__:  # type: ignore[union-attr]
        found = paired_difference(labels, both[0], both[1], ["a", "b"], metric=metric)
        assert found is not None and found.interval.low < found.difference < found.interval.high
