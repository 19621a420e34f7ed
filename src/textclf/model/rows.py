"""Answers rows of any values: for each its label, score and probabilities, or why batch prediction would refuse it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textclf.data.cleaning import clean_texts
from textclf.heads.abstaining import ABSTAIN
from textclf.model.classifier import Classifier


@dataclass(frozen=True)
class RowAnswer:
    """The answer to one row.

    Attributes:
        label: Name of the most probable label; None if the row cannot be predicted, like the other three.
        score: Its probability.
        probabilities: The probability of each label, by name.
        answered_by: Which of the classifier's rungs answered.
        error: Why the row cannot be predicted, else None.
    """

    label: str | None = None
    score: float | None = None
    probabilities: dict[str, float] | None = None
    answered_by: str | None = None
    error: str | None = None


def answer_rows(
    classifier: Classifier, rows: Sequence[Sequence[object]], *, abstain_below: float = 0.0
) -> list[RowAnswer]:
    """Answers rows of one value each, or of two for a classifier of pairs; below a score, the label is `abstain`."""
    cleaned = [clean_texts(row, classifier.cleaning) for row in rows]
    usable = [texts for texts in cleaned if not isinstance(texts, str)]
    answers = iter(_answers(classifier, usable, abstain_below))
    return [RowAnswer(error=texts) if isinstance(texts, str) else next(answers) for texts in cleaned]


def _answers(classifier: Classifier, texts: Sequence[tuple[str, ...]], abstain_below: float) -> list[RowAnswer]:
    if not texts:
        return []
    found = classifier.answer(*map(list, zip(*texts, strict=True)))
    decisions = classifier.head.decide(found.probabilities)
    return [
        RowAnswer(
            label if score >= abstain_below else ABSTAIN,
            float(score),
            dict(zip(classifier.labels, row, strict=True)),
            classifier.rungs[rung],
        )
        for label, score, row, rung in zip(
            decisions.labels, decisions.scores, found.probabilities.tolist(), found.rungs.tolist(), strict=True
        )
    ]
