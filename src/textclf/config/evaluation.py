"""The section `evaluation`: what is measured after training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from textclf.config.expressions import check_expression
from textclf.config.sources import StrictModel

_SLICE_NAME = re.compile(r"[\w\-. ]{1,50}")


def _check_slice_name(name: str) -> str:
    if not _SLICE_NAME.fullmatch(name) or name != name.strip():
        raise ValueError(
            f"{name!r} cannot name a slice: expected 1 to 50 letters, digits, spaces and the characters - _ ."
        )
    return name


SliceName = Annotated[str, AfterValidator(_check_slice_name)]
SliceExpression = Annotated[str, AfterValidator(check_expression)]


class EvaluationConfig(StrictModel):
    """What is measured after training."""

    baselines: bool = Field(
        default=True, description="Also score a majority-class and a TF-IDF + logistic-regression baseline."
    )
    untrained: bool = Field(default=True, description="Also score the model before fine-tuning (untrained head).")
    examples: tuple[str, ...] = Field(
        default=("我今天心情很好", "你好，我是AI助手", "我今天很生气"),
        description="Sentences to classify before and after training, for comparison.",
    )
    slices: dict[SliceName, SliceExpression] = Field(
        default_factory=dict,
        description="Parts of the test rows to measure besides those by length, language, file, group and leaks, e.g. "
        "refunds: '\"退款\" in text and length < 50'. Fields: text, text_pair, label, source, group, length "
        "(characters), chinese (share, 0 to 1), leaked.",
    )
    precisions: tuple[Annotated[float, Field(gt=0.5, lt=1)], ...] = Field(
        default=(0.9, 0.95, 0.98, 0.99),
        description="For each of these precisions, the score is determined from which the model's labels are right "
        "that often; predictions can abstain below it (min_precision).",
    )
    behaviour: bool = Field(
        default=True,
        description="Also check that labels survive small changes (punctuation, width, traditional characters, a "
        "polite phrase, spaces) and, where the labels are positive and negative, sentences with negations and turns.",
    )
    behaviour_cases: Path | None = Field(
        default=None,
        description="Your own cases: a .csv or .tsv file with the columns check, text and label; every text must get "
        "its label.",
    )
