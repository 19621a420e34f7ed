"""Expressions that pick rows: what they mean, and that a mistake is shown where it is."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from textclf.config.evaluation import EvaluationConfig
from textclf.config.expressions import Expression

ROW: dict[str, Any] = {
    "text": "我要退款，太慢了",
    "text_pair": "",
    "label": "负面",
    "source": "may/reviews.csv",
    "length": 8.0,
    "chinese": 1.0,
    "leaked": False,
}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("length < 20", True),
        ("length<8", False),
        ("8 <= length <= 8", True),
        ("length > -1", True),
        ('"退款" in text', True),
        ('"退款" not in text or leaked', False),
        ("not leaked and chinese > 0.5", True),
        ('source == "may/reviews.csv" and (label == "正面" or length == 8)', True),
        ("label != '负面'", False),
        ("leaked", False),
        ("True", True),
        (' "may" in source ', True),
    ],
)
def test_an_expression_picks_rows(expression: str, holds: bool) -> None:
    assert Expression.parse(expression).holds(ROW) is holds


@pytest.mark.parametrize(
    ("expression", "reason", "character"),
    [
        ("length <", "invalid syntax", 9),
        ("size < 20", "no field 'size': expected one of text, text_pair, label", 1),
        ("length < 20 and 长度 > 3", "no field '长度'", 17),
        ('"退款" in text and size < 3', "no field 'size'", 18),
        ("length", "expected a condition", 1),
        ("length and leaked", "expected a condition", 1),
        ('length < "20"', "a number is compared with a text", 10),
        ("length in text", 'expected a string in a text, such as "退款" in text', 1),
        ("text is label", "expected one of <, <=", 1),
        ("__import__('os').system('id')", "expected a field, a number", 1),
        ("length < len(text)", "expected a field, a number", 10),
        ("text.__class__ == text", "expected a field, a number", 1),
        ("[1] == [1]", "expected a field, a number", 1),
        ("length < 2 ** 99999999", "expected a field, a number", 10),
        ("(lambda: 1)() == 1", "expected a field, a number", 1),
        ("length < 1; leaked", "invalid syntax", 11),
        ("", "invalid syntax", 1),
        ("(" * 400, "", None),
        ("leaked and " * 60 + "leaked", "may have 500 characters", None),
    ],
)
def test_a_mistake_is_shown_where_it_is(expression: str, reason: str, character: int | None) -> None:
    with pytest.raises(ValueError) as caught:
        Expression.parse(expression)
    message = str(caught.value)
    assert reason in message
    if character is not None:
        assert f"at character {character}:" in message
        assert message.splitlines()[-1].endswith("^")


def test_all_mistakes_of_a_configuration_are_reported_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        EvaluationConfig.model_validate(
            {"slices": {"short": "lenght < 20", "refunds": '"退款" in txt', "a/b": "leaked", "good": "leaked"}}
        )
    assert [error["loc"][1] for error in caught.value.errors()] == ["short", "refunds", "a/b"]
