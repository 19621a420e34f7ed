"""The expressions that pick rows, such as `length < 20 and "退款" in text`: checked here, applied to rows elsewhere.

They are read by Python's own parser and then walked; nothing is evaluated as code. Allowed are the fields below,
numbers and strings, the comparisons `<`, `<=`, `>`, `>=`, `==`, `!=`, `in` and `not in`, the words `and`, `or` and
`not`, and parentheses.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Value = str | float | bool

FIELDS: Mapping[str, type] = {
    "text": str,
    "text_pair": str,
    "label": str,
    "source": str,
    "group": str,
    "length": float,
    "chinese": float,
    "leaked": bool,
}
"""What an expression may ask about a row: its text and second text, true label, file, group, length in characters,
share of Chinese characters (0 to 1), and whether it is a copy of an earlier row."""

_LONGEST = 500
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda part, whole: part in whole,
    ast.NotIn: lambda part, whole: part not in whole,
}


@dataclass(frozen=True)
class Expression:
    """A checked expression."""

    text: str
    _root: ast.expr

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Checks an expression.

        Raises:
            ValueError: It cannot be used; the message says where and why, with a mark below the place.
        """
        if len(text) > _LONGEST:
            raise ValueError(f"an expression may have {_LONGEST} characters, found {len(text):,}")
        try:
            root = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            # Python does not say where something is missing at the end.
            place = (getattr(error, "offset", None) or len(text.strip()) + 1) - 1
            raise _mistake(text.strip(), place, getattr(error, "msg", None) or str(error)) from None
        expression = cls(text.strip(), root)
        if expression._type(root) is not bool:
            raise _mistake(expression.text, 0, "expected a condition, such as length < 20")
        return expression

    def holds(self, row: Mapping[str, Value]) -> bool:
        """Tells whether a row, with a value for each of `FIELDS`, meets the condition."""
        return bool(self._value(self._root, row))

    def _type(self, node: ast.expr) -> type:
        """Returns the type of a part, after checking it."""
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
            return float if isinstance(node.value, int) and not isinstance(node.value, bool) else type(node.value)
        if isinstance(node, ast.Name):
            if node.id not in FIELDS:
                self._fail(node, f"there is no field {node.id!r}: expected one of {', '.join(FIELDS)}")
            return FIELDS[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and self._type(node.operand) is float:
            return float
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._condition(node.operand)
            return bool
        if isinstance(node, ast.BoolOp):
            for part in node.values:
                self._condition(part)
            return bool
        if isinstance(node, ast.Compare):
            self._check_comparison(node)
            return bool
        self._fail(node, "expected a field, a number, a string in quotes, a comparison, and, or, not")
        raise AssertionError

    def _condition(self, node: ast.expr) -> None:
        if self._type(node) is not bool:
            self._fail(node, "expected a condition, such as length < 20")

    def _check_comparison(self, node: ast.Compare) -> None:
        left = node.left
        for comparison, right in zip(node.ops, node.comparators, strict=True):
            types = (self._type(left), self._type(right))
            if type(comparison) not in _COMPARISONS:
                self._fail(left, "expected one of <, <=, >, >=, ==, !=, in, not in")
            if isinstance(comparison, ast.In | ast.NotIn) and types != (str, str):
                self._fail(left, 'expected a string in a text, such as "退款" in text')
            if types[0] is not types[1]:
                names = {str: "a text", float: "a number", bool: "a condition"}
                self._fail(right, f"{names[types[0]]} is compared with {names[types[1]]}")
            left = right

    def _fail(self, node: ast.expr, reason: str) -> None:
        # Python counts bytes; a Chinese character has three.
        place = len(self.text.encode()[: node.col_offset].decode(errors="ignore"))
        raise _mistake(self.text, place, reason)

    def _value(self, node: ast.expr, row: Mapping[str, Value]) -> Value:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return value
            case ast.Name(id=name):
                return row[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -float(self._value(operand, row))
            case ast.UnaryOp(operand=operand):
                return not self._value(operand, row)
            case ast.BoolOp(op=ast.And(), values=parts):
                return all(self._value(part, row) for part in parts)
            case ast.BoolOp(values=parts):
                return any(self._value(part, row) for part in parts)
            case ast.Compare(left=first, ops=comparisons, comparators=others):
                values = [self._value(part, row) for part in (first, *others)]
                return all(
                    _COMPARISONS[type(each)](left, right)
                    for each, left, right in zip(comparisons, values, values[1:], strict=False)
                )
        raise AssertionError(ast.dump(node))


def _mistake(text: str, place: int, reason: str) -> ValueError:
    from textclf.tables import display_width

    mark = " " * display_width(text[:place]) + "^"
    return ValueError(f"{reason}, at character {place + 1}:\n      {text}\n      {mark}")


def check_expression(text: str) -> str:
    """Returns an expression that can be used.

    Raises:
        ValueError: See `Expression.parse`.
    """
    Expression.parse(text)
    return text
