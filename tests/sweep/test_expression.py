"""Expressions: what they are worth, and what is refused."""

import re

import pytest

from accelsim.base.errors import InputError
from accelsim.sweep.expression import parse_expression

VALUES = {"array.rows": 16, "array.cols": 32, "batch": 64, "pattern": "2:8", "share": 0.5, "port": None, "on": True}
ALLOWED = "allowed: numbers, texts, names, + - * / // % **, comparisons, in [...], and, or, not"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("array.rows * array.cols <= 2048", True),
        ("array.rows*array.cols + 1", 513),
        ("-array.rows / 3", -16 / 3),
        ("array.cols // 3 % 4", 2),
        ("2 ** -1", 0.5),
        ("1 < array.rows < array.cols", True),
        ("1 < array.rows < 16", False),
        ("pattern == '2:8' and batch in (32, 64)", True),
        ("batch not in [64]", False),
        ("port == null or port >= 8", True),
        ("on and not (share > 1)", True),
        ("on == true", True),
        ("array.rows == 16 or 1 / 0 > 1", True),
    ],
)
def test_value(text: str, value: object) -> None:
    expression = parse_expression(text, VALUES)
    assert expression.value(VALUES) == value
    assert type(expression.value(VALUES)) is type(value)


def test_names_stand_in_the_order_of_the_text() -> None:
    assert parse_expression("batch > 1 and array.rows < batch", VALUES).names == ("batch", "array.rows")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the expression is empty"),
        ("1" * 2001, "the expression has 2,001 characters; at most 2,000 are read"),
        ("array.rows <", f"'array.rows <': cannot be read; {ALLOWED}"),
        ("array.rows = 3", f"'array.rows = 3': cannot be read; {ALLOWED}"),
        ("max(array.rows, 2) < 3", f"'max(array.rows, 2) < 3': a call (max) is not allowed; {ALLOWED}"),
        ("__import__('os').system('ls')", f"'__import__('os').system('ls')': a call (__import__('os').system) is not allowed; {ALLOWED}"),
        ("(lambda: 1)() < 2", f"'(lambda: 1)() < 2': a call is not allowed; {ALLOWED}"),
        ("pattern[0] == '2'", f"'pattern[0] == '2'': an index is not allowed; {ALLOWED}"),
        ("[x for x in batch] == 1", f"'[x for x in batch] == 1': a loop is not allowed; {ALLOWED}"),
        ("'a'.upper == 'A'", f"''a'.upper == 'A'': ''a'.upper' is not allowed; {ALLOWED}"),
        ("batch is 64", f"'batch is 64': 'is' is not allowed; {ALLOWED}"),
        ("{1} == batch", f"'{{1}} == batch': '{{1}}' is not allowed; {ALLOWED}"),
        ("batch in pattern", "'batch in pattern': in 'pattern' is not allowed; write a list, as in batch in [64, 128]"),
        ("aray.rows > 2", "'aray.rows > 2': 'aray.rows' is not known; did you mean 'array.rows'?"),
        ("rows > 2", "'rows > 2': 'rows' is not known; did you mean 'array.rows'?"),
        ("batch.__class__ == 1", "'batch.__class__ == 1': 'batch.__class__' is not known; did you mean 'batch'?"),
        ("-" * 60 + "1 < 2", f"'{'-' * 60}1 < 2': nested more than 50 deep"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        parse_expression(text, VALUES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / (array.rows - 16) > 2", "'1 / (array.rows - 16) > 2': a division by zero where array.rows = 16"),
        ("9.0 ** 64 ** 1.0 * 1e308 * 1e308 > (2 ** 64) ** 64 / 1", "'9.0 ** 64 ** 1.0 * 1e308 * 1e308 > (2 ** 64) ** 64 / 1': a number too large"),
        ("9 ** 9 ** 9 > 2", "'9 ** 9 ** 9 > 2': a power out of range"),
        ("pattern * 100 == 1", "'pattern * 100 == 1': * needs numbers, got '2:8' where pattern = '2:8'"),
        ("pattern < '2:4'", "'pattern < '2:4'': < needs numbers, got '2:8' where pattern = '2:8'"),
        ("port + 1 > on", "'port + 1 > on': + needs numbers, got null where port = null, on = true"),
        ("batch and on", "'batch and on': and needs true or false, got 64 where batch = 64, on = true"),
        ("batch * 2", "'batch * 2': is 128, not true or false; write a comparison"),
    ],
)  # fmt: skip
def test_no_value(text: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        parse_expression(text, VALUES).holds(VALUES)
