"""Expressions over named values, such as ``array.rows * array.cols <= 2048``.

The text is parsed, never executed: numbers, texts, names with dots, arithmetic, comparisons, ``in`` a list, ``and``,
``or`` and ``not`` are all there is. True, false and null may be written as in YAML.
"""

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import Value

__all__ = ["Expression", "parse_expression", "shown"]

_Function = Callable[[Mapping[str, Value]], Value]

_LONGEST = 2000
_DEEPEST = 50
_ALLOWED = "numbers, texts, names, + - * / // % **, comparisons, in [...], and, or, not"
_WORDS = {"true": True, "false": False, "null": None}

_ARITHMETIC: dict[type[ast.operator], tuple[str, Callable[[float, float], float]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", operator.pow),
}
_ORDER: dict[type[ast.cmpop], tuple[str, Callable[[float, float], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_EQUALITY: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, several: value in _listed(several),
    ast.NotIn: lambda value, several: value not in _listed(several),
}
_REFUSED = {
    ast.Call: "a call",
    ast.Subscript: "an index",
    ast.Lambda: "a function",
    ast.IfExp: "if ... else",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "a formatted text",
    ast.ListComp: "a loop",
    ast.SetComp: "a loop",
    ast.DictComp: "a loop",
    ast.GeneratorExp: "a loop",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """An expression: its `text`, and the `names` in it, in the order of the text."""

    text: str
    names: tuple[str, ...]
    function: _Function = field(repr=False, compare=False)

    @property
    def stays_whole(self) -> bool:
        """Whether whole numbers alone come of whole numbers: nothing is divided with a rest, and no power taken."""
        nodes = list(ast.walk(ast.parse(self.text, mode="eval")))
        return not any(
            isinstance(node, ast.Div | ast.Pow) or (isinstance(node, ast.Constant) and isinstance(node.value, float))
            for node in nodes
        )

    def value(self, values: Mapping[str, Value]) -> Value:
        """Return its value for these `values` of its names. Raises `InputError` where it has none."""
        try:
            return self.function(values)
        except ZeroDivisionError:
            reason = "a division by zero"
        except OverflowError:
            reason = "a number too large"
        except _NoValueError as error:
            reason = str(error)
        where = ", ".join(f"{name} = {shown(values[name])}" for name in self.names)
        raise InputError(f"'{self.text}': {reason}{f' where {where}' if where else ''}")

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Return whether the condition holds. Raises `InputError` where it is no condition."""
        value = self.value(values)
        if not isinstance(value, bool):
            raise InputError(f"'{self.text}': is {shown(value)}, not true or false; write a comparison")
        return value


def shown(value: Value) -> str:
    """Return a value as an expression would write it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)


class _NoValueError(Exception):
    """Why an expression has no value."""


def parse_expression(text: str, legal: Collection[str]) -> Expression:
    """Read an expression over the names in `legal`. Raises `InputError` that quotes it and says what is allowed."""
    if not text.strip():
        raise InputError("the expression is empty")
    if len(text) > _LONGEST:
        raise InputError(f"the expression has {len(text):,} characters; at most {_LONGEST:,} are read")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"'{text}': cannot be read; allowed: {_ALLOWED}") from None
    names: dict[str, None] = {}
    try:
        function = _build(tree.body, legal, names, 0)
    except _NoValueError as error:
        raise InputError(f"'{text}': {error}") from None
    return Expression(text=text.strip(), names=tuple(names), function=function)


def _build(node: ast.expr, legal: Collection[str], names: dict[str, None], depth: int) -> _Function:
    if depth > _DEEPEST:
        raise _NoValueError(f"nested more than {_DEEPEST} deep")

    def build(inner: ast.expr) -> _Function:
        return _build(inner, legal, names, depth + 1)

    match node:
        case ast.Constant(value=constant) if isinstance(constant, bool | int | float | str | None):
            return lambda _: constant
        case ast.Name() | ast.Attribute():
            return _name(node, legal, names)
        case ast.BoolOp(op=op, values=parts):
            return _connective("and" if isinstance(op, ast.And) else "or", list(map(build, parts)))
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd() as op, operand=operand):
            return _sign(op, build(operand))
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
            return _arithmetic(*_ARITHMETIC[type(op)], build(left), build(right))
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _comparison(ops, [left, *others], build)
        case _:
            raise _NoValueError(f"{_refused(node)} is not allowed; allowed: {_ALLOWED}")


def _refused(node: ast.expr) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        return f"a call ({ast.unparse(node.func)})"
    return _REFUSED.get(type(node), f"'{ast.unparse(node)}'")


def _name(node: ast.expr, legal: Collection[str], names: dict[str, None]) -> _Function:
    path, inner = [], node
    while isinstance(inner, ast.Attribute):
        path.append(inner.attr)
        inner = inner.value
    if not isinstance(inner, ast.Name):
        raise _NoValueError(f"'{ast.unparse(node)}' is not allowed; allowed: {_ALLOWED}")
    name = ".".join([inner.id, *reversed(path)])
    if name in legal:
        names[name] = None
        return lambda values: values[name]
    if name in _WORDS:
        word = _WORDS[name]
        return lambda _: word
    hint = did_you_mean(name, legal) or did_you_mean(name.rpartition(".")[2], legal)
    raise _NoValueError(f"'{name}' is not known{hint}")


def _sign(op: ast.unaryop, inner: _Function) -> _Function:
    if isinstance(op, ast.Not):
        return lambda values: not _truth("not", inner(values))
    factor = -1 if isinstance(op, ast.USub) else 1
    return lambda values: factor * _number("a sign", inner(values))


def _connective(word: str, parts: list[_Function]) -> _Function:
    decided = word == "or"

    def value(values: Mapping[str, Value]) -> bool:
        return decided if any(_truth(word, part(values)) is decided for part in parts) else not decided

    return value


def _arithmetic(sign: str, apply: Callable[[float, float], float], left: _Function, right: _Function) -> _Function:
    def value(values: Mapping[str, Value]) -> Value:
        first, second = _number(sign, left(values)), _number(sign, right(values))
        if sign == "**" and (abs(second) > 64 or abs(first) > 2**64 or (first < 0 and second != int(second))):
            raise _NoValueError("a power out of range")
        return apply(first, second)

    return value


def _comparison(ops: list[ast.cmpop], nodes: list[ast.expr], build: Callable[[ast.expr], _Function]) -> _Function:
    parts: list[_Function] = []
    for index, node in enumerate(nodes):
        among = index > 0 and isinstance(ops[index - 1], ast.In | ast.NotIn)
        if among and not isinstance(node, ast.List | ast.Tuple):
            raise _NoValueError(f"in '{ast.unparse(node)}' is not allowed; write a list, as in batch in [64, 128]")
        parts.append(_several(list(map(build, node.elts))) if among else build(node))  # type: ignore[attr-defined]
    checks = [_check(op) for op in ops]

    def value(values: Mapping[str, Value]) -> bool:
        first = parts[0](values)
        for check, part in zip(checks, parts[1:], strict=True):
            second = part(values)
            if not check(first, second):
                return False
            first = second
        return True

    return value


def _several(parts: list[_Function]) -> _Function:
    return lambda values: tuple(part(values) for part in parts)


def _listed(several: Value) -> tuple[Value, ...]:
    assert isinstance(several, tuple), "in takes a list"
    return several


def _check(op: ast.cmpop) -> Callable[[Value, Value], bool]:
    if type(op) in _EQUALITY:
        return _EQUALITY[type(op)]
    if type(op) not in _ORDER:
        raise _NoValueError(f"'is' is not allowed; allowed: {_ALLOWED}")
    sign, apply = _ORDER[type(op)]
    return lambda first, second: apply(_number(sign, first), _number(sign, second))


def _number(sign: str, value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _NoValueError(f"{sign} needs numbers, got {shown(value)}")
    return value


def _truth(word: str, value: Value) -> bool:
    if not isinstance(value, bool):
        raise _NoValueError(f"{word} needs true or false, got {shown(value)}")
    return value
