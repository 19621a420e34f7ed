from __future__ import annotations

import math

import numpy as np
import pytest
from mlflow.utils.validation import _validate_metric_name
from sklearn import metrics as sk

from textclf.errors import DataError, ModelError
from textclf.heads.metrics import (
    classification_metrics,
    expected_calibration_error,
    metric_labels,
    reliability_bins,
)
from textclf.heads.single_label import UNLABELLED, SingleLabel


def predictions(rows: int, classes: int, *, seed: int, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=rows)
    scores = generator.normal(size=(rows, classes))
    scores[np.arange(rows), labels] += skill
    exponents = np.exp(scores)
    return labels, (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_two_classes_agree_with_scikit_learn(seed: int) -> None:
    labels, probabilities = predictions(400, 2, seed=seed)
    found = classification_metrics(labels, probabilities, ["负面", "正面"])
    predicted = probabilities.argmax(axis=1)
    assert found["accuracy"] == sk.accuracy_score(labels, predicted)
    assert found["f1_macro"] == sk.f1_score(labels, predicted, average="macro")
    assert found["precision_weighted"] == sk.precision_score(labels, predicted, average="weighted")
    assert found["recall_weighted"] == sk.recall_score(labels, predicted, average="weighted")
    assert found["f1/正面"] == sk.f1_score(labels, predicted)
    assert found["precision/正面"] == sk.precision_score(labels, predicted)
    assert found["recall/负面"] == sk.recall_score(labels, predicted, pos_label=0)
    assert found["support/正面"] == (labels == 1).sum()
    assert found["roc_auc_macro"] == pytest.approx(sk.roc_auc_score(labels, probabilities[:, 1]), abs=1e-6)
    both = [sk.average_precision_score(labels == index, probabilities[:, index]) for index in (0, 1)]
    assert found["average_precision_macro"] == pytest.approx(np.mean(both), abs=1e-6)
    assert found["log_loss"] == pytest.approx(-np.log(probabilities[np.arange(400), labels]).mean(), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_fifteen_classes_agree_with_scikit_learn(seed: int) -> None:
    labels, probabilities = predictions(2000, 15, seed=seed)
    names = [f"类别{index}" for index in range(15)]
    found = classification_metrics(labels, probabilities, names)
    predicted = probabilities.argmax(axis=1)
    report = sk.classification_report(labels, predicted, target_names=names, output_dict=True)
    for average, heading in (("macro", "macro avg"), ("weighted", "weighted avg")):
        for metric, column in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert found[f"{metric}_{average}"] == pytest.approx(report[heading][column])
    for name in names:
        assert found[f"f1/{name}"] == pytest.approx(report[name]["f1-score"])
        assert found[f"support/{name}"] == report[name]["support"]
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert found["roc_auc_macro"] == pytest.approx(sk.roc_auc_score(labels, exact, multi_class="ovr"))
    assert found["average_precision_macro"] == pytest.approx(sk.average_precision_score(np.eye(15)[labels], exact))
    assert found["log_loss"] == pytest.approx(sk.log_loss(labels, exact))


def test_a_class_that_no_row_has_gets_no_figures_but_its_support() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.1, 0.7], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]], dtype=np.float32)
    found = classification_metrics(labels, probabilities, ["甲", "乙", "丙"])
    assert found["support/丙"] == 0
    assert not {"precision/丙", "recall/丙", "f1/丙"} & set(found)
    predicted = probabilities.argmax(axis=1)
    assert found["f1_macro"] == sk.f1_score(labels, predicted, average="macro", zero_division=0)
    present = [sk.roc_auc_score(labels == index, probabilities[:, index]) for index in (0, 1)]
    assert found["roc_auc_macro"] == pytest.approx(np.mean(present))
    assert all(math.isfinite(value) for value in found.values())


def test_rows_of_one_class_have_no_ranking_metrics() -> None:
    found = classification_metrics(np.array([1, 1]), np.array([[0.4, 0.6], [0.7, 0.3]], np.float32), ["负面", "正面"])
    assert "roc_auc_macro" not in found
    assert "average_precision_macro" not in found
    assert found["accuracy"] == 0.5
    assert all(math.isfinite(value) for value in found.values())


def test_certain_mistakes_have_a_finite_log_loss() -> None:
    found = classification_metrics(np.array([0, 1]), np.array([[0, 1], [1, 0]], dtype=np.float32), ["a", "b"])
    assert found["accuracy"] == 0
    assert 30 < found["log_loss"] < 40


@pytest.mark.parametrize(
    ("labels", "probabilities", "error", "message"),
    [
        ([], np.zeros((0, 2)), DataError, "no rows"),
        ([0, 1], [[0.5, 0.5]], DataError, r"shape \(2, 2\).*found \(1, 2\)"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], DataError, "outside 0 to 1; the first is row 1 with 2"),
        ([0, 1], [[0.5, 0.5], [math.nan, 0.5]], ModelError, "the first is row 1"),
        ([0, 1], [[2.0, 3.0], [0.5, 0.5]], ModelError, "the first is row 0 with"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    labels: list[int], probabilities: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        classification_metrics(np.array(labels, np.int64), np.array(probabilities, np.float32), ["a", "b"])


def test_mlflow_takes_every_metric_name() -> None:
    names = ["正面（好评）", "C++", "C--", "C__", "a/b", "..", "", " ", "很" * 300, "很" * 301, "x:y", "100%", "C___1"]
    cleaned = metric_labels(names)
    assert len(set(cleaned)) == len(names)
    for name in cleaned:
        _validate_metric_name(f"test_leakfree/precision/{name}")
        assert len(f"test_leakfree/precision/{name}") < 250
    assert metric_labels(["负面", "正面", "news_story", "科技 数码"]) == ["负面", "正面", "news_story", "科技 数码"]


def test_calibration_error_is_the_weighted_distance_of_score_and_accuracy() -> None:
    labels = np.array([0, 0, 0, 0])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.7, 0.3]])
    # Bin of 0.9: right 1.0; bin of 0.7: right 0.5. Distances 0.1 and 0.2, two rows each.
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0.15)
    counts, scores, accuracies = reliability_bins(labels, probabilities, bins=10)
    assert counts.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 2, 0]
    assert scores[8] == pytest.approx(0.9)
    assert accuracies[6] == 0.5
    assert np.isnan(scores[0])


def test_the_head_turns_logits_into_probabilities_and_decisions() -> None:
    head = SingleLabel(("负面", "正面", "中性"))
    logits = np.array([[2.0, -1.0, 0.5], [-80.0, 90.0, 0.0]], dtype=np.float32)
    probabilities = head.probabilities(logits)
    expected = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(probabilities, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
    assert probabilities.dtype == np.float32
    decisions = head.decide(probabilities)
    assert decisions.label_ids.tolist() == [0, 1]
    assert decisions.labels == ["负面", "正面"]
    assert decisions.scores.tolist() == [probabilities[0, 0], probabilities[1, 1]]
    targets = np.array([0, 2])
    assert head.metrics(targets, probabilities) == classification_metrics(targets, probabilities, head.labels)


def test_the_loss_of_the_head_is_the_log_loss_of_its_metrics() -> None:
    import torch

    head = SingleLabel(("负面", "正面", "中性"))
    logits = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    targets = np.arange(20) % 3
    measured = head.metrics(targets, head.probabilities(logits))["log_loss"]
    tensors = torch.from_numpy(logits), torch.from_numpy(targets)
    assert float(head.loss(*tensors, torch.ones(20))) / 20 == pytest.approx(measured, rel=1e-5)
    weights = torch.tensor([3.0] + [0.0] * 19)
    first = head.metrics(targets[:1], head.probabilities(logits[:1]))["log_loss"]
    assert float(head.loss(*tensors, weights)) == pytest.approx(3 * first, rel=1e-5)


def test_a_student_loses_against_its_teacher_and_against_the_labels() -> None:
    import torch

    head = SingleLabel(("负面", "正面"))
    logits = torch.tensor([[1.0, 0.0], [0.5, -0.5], [-2.0, 1.0]])
    teacher = torch.tensor([[3.0, 1.0], [0.0, 4.0], [-2.0, 1.0]])
    targets = torch.tensor([0, UNLABELLED, 1])
    weights = torch.tensor([1.0, 2.0, 5.0])
    rows = []
    for ours, theirs in zip(logits.tolist(), teacher.tolist(), strict=True):
        given, wanted = (head.probabilities(np.array(found) / 2) for found in (ours, theirs))
        rows.append(4 * float((wanted * np.log(wanted / given)).sum()))
    assert rows[2] == pytest.approx(0), "nothing to learn"
    entropies = [math.log(1 + math.exp(-1)), 0.0, math.log(1 + math.exp(-3))]
    # The second row has no label, so its teacher's answer counts in full.
    expected = (0.75 * rows[0] + 0.25 * entropies[0]) + 2 * rows[1] + 5 * 0.25 * entropies[2]
    found = head.distillation_loss(logits, teacher, targets, weights, temperature=2.0, label_weight=0.25)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    # Logits and their logarithmic probabilities are the same answer.
    same = head.distillation_loss(
        logits, teacher.log_softmax(dim=1), targets, weights, temperature=2.0, label_weight=0.25
    )
    assert float(same) == pytest.approx(expected, rel=1e-5)
