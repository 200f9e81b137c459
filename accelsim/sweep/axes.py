"""Axes of a sweep: what varies, and through which values.

An axis is a field of the design by its dotted path, or one of `RESERVED`. Its values are a list (``16,32,64``), a range
``start:stop:step`` or ``start:stop:*factor`` that ends exactly at its stop, or, where points are sampled, everything
between two ends: ``10..80``, or ``10..80 log`` for values whose logarithm is spread evenly. Where both ends of an
interval are whole numbers and the field counts something, only whole numbers lie between them.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import FileModel, Plain, validate
from accelsim.hardware.design import Design
from accelsim.hardware.sourced import leaf_paths, read_scalar, text_of
from accelsim.lowering.case import LARGEST_BATCH, case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern

__all__ = [
    "RESERVED",
    "Axis",
    "Interval",
    "Levels",
    "Value",
    "check_path",
    "is_batch",
    "read_axis",
    "whole_where_counted",
]

RESERVED = ("workload", "method", "pattern", "batch", "optimizer", "engine", "accumulate")
"""Axes that are no field of the design."""

_COUNTS = {"batch", "accumulate"}
"""Those of them that are whole numbers."""

Value = Any  # a number, text, truth value, None, or a tuple of them: which, depends on the path

_MOST_LEVELS = 100_000
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER}):(\*?)({_NUMBER})")
_LIKE_RANGE = re.compile(rf"{_NUMBER}(?::\*?(?:{_NUMBER})?)+")
_INTERVAL = re.compile(rf"({_NUMBER})\.\.({_NUMBER})( log)?")
_FORMS = (
    {"start", "stop", "step"},
    {"start", "stop", "factor"},
    {"low", "high"},
    {"low", "high", "log"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """An axis of single values, all different."""

    path: str
    values: tuple[Value, ...]

    def at(self, share: float) -> Value:
        """Return the value at a share of the axis, from 0 to below 1."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An axis of all (or all `whole`) numbers from `low` to `high`, spread evenly; `log`: by their logarithm."""

    path: str
    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> Value:
        """Return the value at a share of the axis, from 0 to below 1; six digits of it where it is not whole."""
        # a whole number stands for everything from half below it to half above
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return min(max(math.floor(value + 0.5), int(self.low)), int(self.high)) if self.whole else float(f"{value:.6g}")


Axis = Levels | Interval


def check_path(path: str) -> None:
    """Refuse a name that is neither reserved nor a field of a design, with the nearest one that is."""
    fields = list(leaf_paths(Design))
    if path in RESERVED or (path in fields and path != "format"):
        return
    near = did_you_mean(path, (*fields, *RESERVED)) or did_you_mean(path.rpartition(".")[2], fields)
    inside = [name for name in fields if name.startswith(f"{path.partition('.')[0]}.")]
    others = "" if inside else " and fields of the design (accelsim schema design)"
    raise InputError(f"no such field{near}; allowed: {', '.join(inside or RESERVED)}{others}")


def read_axis(path: str, given: Plain) -> Axis:
    """Return the axis that a list, a mapping or a text describes. Raises `InputError` for values it cannot take."""
    check_path(path)
    if isinstance(given, Mapping):
        axis = _from_mapping(path, given)
    elif isinstance(given, str) and (match := _INTERVAL.fullmatch(given.strip())) and _is_number(path):
        axis = _interval(path, match[1], match[2], log=bool(match[3]))
    else:
        axis = Levels(path=path, values=tuple(_levels(path, given)))
    if isinstance(axis, Levels):
        return Levels(path=path, values=_checked(path, axis.values))
    for end in (axis.low, axis.high):
        _check_value(path, int(end) if axis.whole else end)
    return axis


def whole_where_counted(path: str, value: Value) -> Value:
    """Return a whole number of a field that counts something as an integer, and any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() and _counts(path) else value


def is_batch(value: Value) -> bool:
    """Whether a value is a number of samples that a step can have."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_BATCH


def _from_mapping(path: str, given: Mapping[str, Plain]) -> Axis:
    keys = set(given)
    if keys not in _FORMS:
        raise InputError(
            f"got the keys {', '.join(given) or 'none'}; a range has start, stop and step or factor, an interval low,"
            " high and, where its values are to be spread over a logarithm, log"
        )
    numbers = {key: value for key, value in given.items() if key != "log"}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{key}: got {value!r}; a number is needed")
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"log: got {log!r}; true or false is needed")
    texts = {key: repr(value) for key, value in numbers.items()}
    if not _is_number(path):
        raise InputError(f"takes no range; list its values{_AS_IN.get(path, '')}")
    if "low" in given:
        return _interval(path, texts["low"], texts["high"], log=log)
    by = texts.get("step") or f"*{texts['factor']}"
    return Levels(path=path, values=tuple(_range(f"{texts['start']}:{texts['stop']}:{by}")))


_AS_IN = {"pattern": ", as in 2:4,2:8", "method": ", as in dense,bdwp"}


def _interval(path: str, low: str, high: str, *, log: bool) -> Interval:
    start, stop = float(low), float(high)
    if not start < stop:
        raise InputError(f"{low}..{high}: the first end must be below the second")
    if log and start <= 0:
        raise InputError(f"{low}..{high} log: the ends must be above 0")
    whole = start.is_integer() and stop.is_integer() and _counts(path)
    return Interval(path=path, low=start, high=stop, log=log, whole=whole)


def _is_number(path: str) -> bool:
    return path in _COUNTS or (path not in RESERVED and not {int, float}.isdisjoint(_types_of(path)))


def _counts(path: str) -> bool:
    return path in _COUNTS or float not in _types_of(path)


def _types_of(path: str) -> set[type]:
    return _types_in(_field_of(path)[1].annotation)


def _types_in(annotation: Any) -> set[Any]:
    return {annotation}.union(*(_types_in(inner) for inner in getattr(annotation, "__args__", ())))


def _levels(path: str, given: Plain) -> Iterator[Value]:
    parts = given if isinstance(given, list | tuple) else _split(given) if isinstance(given, str) else [given]
    if not parts:
        raise InputError("has no value")
    for part in parts:
        if part is None and path in RESERVED:
            raise InputError("got null; a value is needed")
        if isinstance(part, str) and not part.strip():
            raise InputError(
                f"'{given}' holds an empty value" if isinstance(given, str) and given.strip() else "has no value"
            )
        if path in RESERVED and path not in _COUNTS:
            yield str(part).strip() if isinstance(part, str) else part
        elif not isinstance(part, str):
            yield tuple(part) if isinstance(part, list) else part
        elif _LIKE_RANGE.fullmatch(part.strip()):
            yield from _range(part.strip())
        elif _INTERVAL.fullmatch(part.strip()):
            raise InputError(f"'{part.strip()}': an interval stands alone, not in a list")
        else:
            value = read_scalar(part)
            yield tuple(value) if isinstance(value, list) else value


def _split(text: str) -> list[str]:
    """Split at commas outside of brackets."""
    return re.split(r",(?![^\[]*\])", text)


def _range(text: str) -> Iterator[int | float]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InputError(f"'{text}': a range has three parts, start:stop:step as in 10:80:10 or start:stop:*factor")
    start, stop, by = Decimal(match[1]), Decimal(match[2]), Decimal(match[4])
    values = _powers(text, start, stop, by) if match[3] else _steps(text, start, stop, by)
    for value in values:
        yield int(value) if value == value.to_integral_value() else float(value)


def _steps(text: str, start: Decimal, stop: Decimal, step: Decimal) -> Sequence[Decimal]:
    if step == 0 or (stop - start) / step < 0:
        raise InputError(f"'{text}': steps of {step} from {start} never reach {stop}")
    count, rest = divmod(stop - start, step)
    _check_count(text, count + 1)
    values = [start + index * step for index in range(int(count) + 1)]
    if rest:
        raise InputError(f"'{text}': never reaches {stop}: {values[-1]} is followed by {values[-1] + step}")
    return values


def _powers(text: str, start: Decimal, stop: Decimal, factor: Decimal) -> Sequence[Decimal]:
    if start <= 0 or stop <= 0 or factor <= 0 or factor == 1 or (stop - start) * (factor - 1) < 0:
        raise InputError(f"'{text}': {start} times {factor} again and again never reaches {stop}")
    _check_count(text, math.log(stop / start) / math.log(factor))
    values = [start]
    while (stop - values[-1]) * (factor - 1) > 0:
        values.append(values[-1] * factor)
    if values[-1] != stop:
        raise InputError(f"'{text}': never reaches {stop}: {values[-2]} is followed by {values[-1]}")
    return values


def _check_count(text: str, count: Decimal | float) -> None:
    if count > _MOST_LEVELS:
        raise InputError(f"'{text}': has {int(count):,} values; at most {_MOST_LEVELS:,} can be listed")


def _checked(path: str, values: Sequence[Value]) -> tuple[Value, ...]:
    checked = tuple(_check_value(path, value) for value in values)
    texts = [text_of(value) for value in checked]
    if len(set(texts)) < len(texts):
        repeated = next(text for index, text in enumerate(texts) if text in texts[:index])
        raise InputError(f"{repeated} stands twice")
    return checked


def _check_value(path: str, value: Value) -> Value:
    if path == "pattern":
        return _check_pattern(value)
    if path in _COUNTS:
        if not is_batch(value):
            raise InputError(f"got {value!r}; a whole number from 1 to {LARGEST_BATCH} is needed")
        return value
    if path in RESERVED:
        if not isinstance(value, str):
            raise InputError(f"got {value!r}; a name is needed")
        if path == "method":
            find_method(value)
        elif path == "optimizer":
            find_optimizer(value)
        elif path == "engine":
            case_of(engine=value)
        return value
    return _check_field(path, value)


def _check_pattern(value: Value) -> str:
    if isinstance(value, str) and (value.count(":") > 1 or ".." in value):
        raise InputError(f"'{value}': a pattern is N:M and never a range; list the patterns, as in 2:4,2:8")
    return str(Pattern.parse(str(value)))


def _field_of(path: str) -> tuple[str, FieldInfo]:
    model: type[BaseModel] = Design
    *sections, last = path.split(".")
    for section in sections:
        model = model.model_fields[section].annotation  # type: ignore[assignment]
    return last, model.model_fields[last]


def _check_field(path: str, value: Value) -> Value:
    last, info = _field_of(path)
    form: type[BaseModel] = create_model("Field", __base__=FileModel, **{last: (info.annotation, info)})  # type: ignore[call-overload]
    try:
        validate(form, {last: list(value) if isinstance(value, tuple) else value}, "")
    except InputError as error:
        raise InputError(str(error).replace(f": {last}: ", "", 1).replace(f": {last}", "", 1)) from None
    return value
