"""The guarantee of a ladder holds as often as it says, whatever the scores look like."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from textclf.errors import DataError, ModelError
from textclf.evaluation.guarantee import ROUNDING, calibrate_ladder, rows_needed, verify_ladder
from textclf.model.ladder import ladder_answers
from textclf.records import GuaranteedLadder
from textclf.summaries.ladder import ladder_page

Probabilities = dict[str, NDArray[np.float32]]
ALPHA, DELTA, ROWS, DRAWS, POOL = 0.02, 0.1, 300, 2000, 20_000
NAMES = ("linear", "student", "encoder")


def rung(top: NDArray[np.float64], label: NDArray[np.int64]) -> NDArray[np.float32]:
    """Probabilities of two labels: the top one, and which label has it."""
    probabilities = np.where(np.arange(2) == label[:, None], top[:, None], 1 - top[:, None])
    return np.asarray(probabilities, dtype=np.float32)


def rows(scores: Callable[[np.random.Generator, int], NDArray[np.float64]], wrong: float, seed: int) -> Probabilities:
    """A large population: two cheap rungs that are wrong less often the surer they are, and the full model."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=POOL)
    found = {}
    for name, skill in (("linear", 1.0), ("student", 1.5)):
        log_odds = scores(generator, POOL) * skill
        differs = generator.random(POOL) < wrong * 2 / (1 + np.exp(log_odds * skill))
        found[name] = rung(1 / (1 + np.exp(-log_odds)), np.where(differs, 1 - labels, labels))
    return {**found, "encoder": rung(np.full(POOL, 0.9), labels)}


def continuous(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    return generator.exponential(2.0, count)


def a_few_values(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    return generator.choice([0.1, 1.0, 2.0, 3.0, 4.0], count)


def all_equal(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    return np.full(count, 2.0)


def certain(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    return np.where(generator.random(count) < 0.7, 40.0, 0.3)


def risk(ladder: GuaranteedLadder, population: Mapping[str, NDArray[np.float32]]) -> float:
    answers = ladder_answers(ladder, population).probabilities.argmax(axis=1)
    return float((answers != population["encoder"].argmax(axis=1)).mean())


def rounded_elsewhere(population: Probabilities) -> Probabilities:
    """The same answers from a machine with unlucky rounding: wrong answers are surer, right ones less sure."""
    truth = population["encoder"].argmax(axis=1)
    moved = {"encoder": population["encoder"]}
    for name in ("linear", "student"):
        top = population[name].max(axis=1).astype(np.float64)
        label = population[name].argmax(axis=1)
        with np.errstate(divide="ignore"):
            log_odds = np.log(top / (1 - top))
        log_odds += np.where(label != truth, 1, -1) * ROUNDING * 0.9
        moved[name] = rung(1 / (1 + np.exp(-log_odds)), label)
    return moved


@pytest.mark.parametrize(
    ("scores", "wrong"),
    [(continuous, 0.1), (a_few_values, 0.28), (all_equal, 0.09), (certain, 0.082)],
    ids=["continuous", "ties", "all equal", "certain"],
)
def test_no_ladder_exceeds_the_allowed_share_more_often_than_stated(
    scores: Callable[[np.random.Generator, int], NDArray[np.float64]], wrong: float
) -> None:
    population = rows(scores, wrong, seed=1)
    elsewhere = rounded_elsewhere(population)
    generator = np.random.default_rng(2)
    risks: dict[GuaranteedLadder, float] = {}
    violations = found = 0
    for _ in range(DRAWS):
        drawn = generator.integers(POOL, size=ROWS)
        sample = {name: population[name][drawn] for name in NAMES}
        calibration = calibrate_ladder(sample, max_disagreement=ALPHA, error_probability=DELTA)
        worst = 0.0
        for ladder in calibration.ladders:
            # Its shares are those of the draw; its risk depends on the thresholds alone.
            key = ladder.model_copy(
                update={
                    "disagreements": 0,
                    "rungs": tuple(each.model_copy(update={"share": 0.0}) for each in ladder.rungs),
                }
            )
            if key not in risks:
                risks[key] = max(risk(key, population), risk(key, elsewhere))
            worst = max(worst, risks[key])
        found += bool(calibration.ladders)
        violations += worst > ALPHA
    print(scores.__name__, "violations", violations / DRAWS, "found", found / DRAWS)
    assert violations / DRAWS <= DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / DRAWS)


def test_too_few_rows_for_the_guarantee_are_counted_and_no_ladder_is_made() -> None:
    needed = rows_needed(0.005, 0.05)
    assert needed == 598
    assert 0.995**needed <= 0.05 < 0.995 ** (needed - 1)
    for count, ladders in ((needed - 1, 0), (needed, 1)):
        labels = np.zeros(count, dtype=np.int64)
        agreeing = {"linear": rung(np.full(count, 0.8), labels), "encoder": rung(np.full(count, 0.9), labels)}
        calibration = calibrate_ladder(agreeing, max_disagreement=0.005, error_probability=0.05)
        assert (calibration.rows, calibration.rows_needed, len(calibration.ladders)) == (count, needed, ladders)


def test_each_of_several_ladders_gets_its_share_of_the_error() -> None:
    labels = np.zeros(2000, dtype=np.int64)
    sure = rung(np.full(2000, 0.8), labels)
    calibration = calibrate_ladder(
        {"linear": sure, "student": sure, "encoder": sure}, max_disagreement=0.005, error_probability=0.05
    )
    assert calibration.tested == 3
    assert calibration.rows_needed == rows_needed(0.005, 0.05 / 3)
    assert [ladder.names for ladder in calibration.ladders] == [
        ("linear", "encoder"),
        ("student", "encoder"),
        ("linear", "student", "encoder"),
    ]
    # The linear model answers everything: a rung above it costs nothing.
    assert {ladder.rungs[0].share for ladder in calibration.ladders} == {1.0}


def test_a_row_at_the_threshold_is_answered_below_and_one_without_valid_score_climbs() -> None:
    found = rows(continuous, 0.1, seed=3)
    calibration = calibrate_ladder(found, max_disagreement=0.02, error_probability=0.1)
    ladder = calibration.ladders[0]
    threshold = ladder.rungs[0].threshold
    assert threshold is not None
    top = np.array([threshold, np.nextafter(threshold, 0), 1.0, np.nan])
    probabilities = np.stack([1 - top, top], axis=1)
    encoder = np.full((4, 2), 0.5)
    # In float64, since a float32 may lie on either side.
    answers = ladder_answers(ladder, {"linear": probabilities, "encoder": encoder})  # type: ignore[dict-item]
    assert answers.rungs.tolist() == [0, 1, 0, 1]


def test_thresholds_survive_json() -> None:
    calibration = calibrate_ladder(rows(continuous, 0.1, seed=3), max_disagreement=0.02, error_probability=0.1)
    assert type(calibration).model_validate_json(calibration.model_dump_json()) == calibration


def test_a_model_that_differs_where_it_is_surest_answers_nothing() -> None:
    labels = np.zeros(2000, dtype=np.int64)
    mistaken = np.where(np.arange(2000) < 40, 1, 0)
    found = {"linear": rung(np.full(2000, 0.99), mistaken), "encoder": rung(np.full(2000, 0.9), labels)}
    calibration = calibrate_ladder(found, max_disagreement=0.005, error_probability=0.05)
    assert calibration.ladders == ()
    assert calibration.rows > calibration.rows_needed


def test_a_ladder_is_measured_on_other_rows() -> None:
    population = rows(continuous, 0.1, seed=4)
    first = {name: found[: POOL // 2] for name, found in population.items()}
    rest = {name: found[POOL // 2 :] for name, found in population.items()}
    ladder = calibrate_ladder(first, max_disagreement=0.02, error_probability=0.1).ladders[-1]
    assert ladder.names == ("linear", "student", "encoder")
    full = rest["encoder"].argmax(axis=1)
    generator = np.random.default_rng(5)
    labels = np.where(generator.random(len(full)) < 0.05, 1 - full, full)
    verified = verify_ladder(ladder, rest, labels)
    answered = ladder_answers(ladder, rest).probabilities.argmax(axis=1)
    assert verified.rows == POOL // 2
    assert sum(verified.shares.values()) == pytest.approx(1)
    assert verified.shares["linear"] == pytest.approx(ladder.rungs[0].share, abs=0.03)
    assert verified.disagreements == int((answered != full).sum()) > 0
    assert verified.disagreement.low < verified.disagreements / verified.rows < verified.disagreement.high
    assert [metric.metric for metric in verified.metrics] == ["accuracy", "f1_macro"]
    accuracy = verified.metrics[0]
    assert accuracy.first == (answered == labels).mean()
    assert accuracy.second == (full == labels).mean()
    assert accuracy.interval.low <= accuracy.difference <= accuracy.interval.high


def test_calibration_refuses_what_it_cannot_judge() -> None:
    sure = rung(np.full(10, 0.9), np.zeros(10, dtype=np.int64))
    with pytest.raises(DataError, match="The rung linear answered 9 calibration rows, but encoder 10"):
        calibrate_ladder({"linear": sure[:9], "encoder": sure}, max_disagreement=0.01, error_probability=0.05)
    with pytest.raises(ModelError, match="The rung linear has no finite probabilities"):
        calibrate_ladder({"linear": sure * np.nan, "encoder": sure}, max_disagreement=0.01, error_probability=0.05)


def test_its_page_says_what_holds_or_why_there_is_no_ladder() -> None:
    population = rows(continuous, 0.1, seed=4)
    calibration = calibrate_ladder(population, max_disagreement=0.02, error_probability=0.1)
    ladder = calibration.ladders[-1]
    verified = verify_ladder(ladder, population, population["encoder"].argmax(axis=1))
    page = ladder_page(calibration, ladder, {"Test": verified})
    assert "With confidence 90%, at most 2.00% of all rows get another label" in page
    assert "The thresholds rest on 20,000 validation rows" in page
    assert "not for texts of another source, topic or time" in page
    assert f"{verified.disagreements:,} of 20,000 rows get another label" in page
    few = {name: found[:100] for name, found in population.items()}
    needed = rows_needed(0.02, 0.1 / 3)
    page = ladder_page(calibrate_ladder(few, max_disagreement=0.02, error_probability=0.1), None, {})
    assert f"at least {needed} rows are needed that are not copies of others; found 100 rows." in page
    assert "none is faster" in ladder_page(calibration, None, {})
    off = calibration.model_copy(update={"ladders": ()})
    assert "they may answer none of the 20,000 validation rows" in ladder_page(off, None, {})
