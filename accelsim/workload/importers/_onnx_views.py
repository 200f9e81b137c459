"""Operators of ONNX that look at the elements of a tensor in another shape, or at some of them, without work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelsim.workload.importers._onnx_graph import Fact, MisfitError, shown
from accelsim.workload.importers._onnx_layout import Strides, contiguous, expanded, reshaped
from accelsim.workload.importers._onnx_walk import Call, Value, View
from accelsim.workload.rules import Role

__all__ = ["VIEWS"]


def _seen_as(
    value: Value, fact: Fact, content: Callable[[NDArray[np.generic]], NDArray[np.generic]] | None, **changes: Any
) -> Value:
    """Return the same elements under another shape; `content` rearranges them where the file holds them."""
    original = value.content
    arranged = None if content is None or original is None else lambda: content(original())
    return replace(
        value, shape=fact.shape, floating=fact.floating, known=fact.known, content=arranged,
        gradient=value.gradient and (fact.floating or value.quantised), **changes,
    )  # fmt: skip


def _without_gaps(call: Call, value: Value, fact: Fact) -> tuple[Value, Strides]:
    """Return the value and its strides under another shape; records a copy where a view cannot have it."""
    strides = reshaped(value.shape, value.strides, fact.shape)
    if strides is None:
        return call.walk.copy(call, value, fact.shape), contiguous(fact.shape)
    return value, strides


def _same(call: Call) -> list[Value]:
    return [_seen_as(call.needed(0), call.result, lambda array: array)]


def _identity(call: Call) -> list[Value]:
    value = call.needed(0)
    source = value.source
    if source and call.node.inputs[0] in call.walk.graph.stored:
        source = replace(source, alias=call.node.outputs[0])
    return [_seen_as(value, call.result, lambda array: array, source=source)]


def _reshape(call: Call) -> list[Value]:
    value, fact = call.needed(0), call.result
    if prod(fact.shape) != value.elements:
        raise MisfitError(f"{call.walk.graph.file}: {call.node.where}: {shown(value.shape)} cannot become"
                          f" {shown(fact.shape)}")  # fmt: skip
    value, strides = _without_gaps(call, value, fact)
    return [_seen_as(value, fact, lambda array: array.reshape(fact.shape), strides=strides)]


def _transpose(call: Call) -> list[Value]:
    value = call.needed(0)
    order = call.attribute("perm", list(range(len(value.shape)))[::-1])
    strides = tuple(value.strides[axis] for axis in order)
    return [_seen_as(value, call.result, lambda array: array.transpose(order), strides=strides, product=None)]


def _expand(call: Call) -> list[Value]:
    value, fact = call.needed(0), call.result
    if prod(fact.shape) == value.elements:
        return _reshape(call)
    strides = expanded(value.shape, value.strides, fact.shape)
    return [_seen_as(value, fact, None, strides=strides, product=None)]


def _part(value: Value, fact: Fact, index: Sequence[slice | int]) -> Value:
    """Return what is left of a value under an index per dimension; a part of a parameter is named as such."""
    elements = prod(fact.shape)
    source = value.source
    if source and elements < value.elements:
        text = ",".join(_written(item) for item in _trimmed(index, value.shape))
        source = replace(source, label=f"{source.label}[{text}]", elements=elements, alias=None)
    whole = tuple(index)
    strides = tuple(
        step * abs(item.step or 1) for step, item in zip(value.strides, index, strict=True) if isinstance(item, slice)
    )
    return _seen_as(value, fact, lambda array: array[whole], strides=strides, source=source, product=None)


def _trimmed(index: Sequence[slice | int], shape: Sequence[int]) -> Sequence[slice | int]:
    last = max(axis for axis, item in enumerate(index) if item != slice(0, shape[axis], 1))
    return [slice(None) if item == slice(0, shape[axis], 1) else item for axis, item in enumerate(index[: last + 1])]


def _written(item: slice | int) -> str:
    if isinstance(item, int):
        return str(item)
    ends = ["" if end is None else str(end) for end in (item.start, item.stop)]
    return ":".join([*ends, str(item.step)] if item.step not in {None, 1} else ends)


def _slice(call: Call) -> list[Value]:
    value = call.needed(0)
    starts, ends = call.known(1, "starts") or [], call.known(2, "ends") or []
    axes = call.known(3, "axes") or list(range(len(starts)))
    steps = call.known(4, "steps") or [1] * len(starts)
    index = [slice(0, size, 1) for size in value.shape]
    for axis, *given in zip(axes, starts, ends, steps, strict=True):
        first, last, step = slice(*given).indices(value.shape[axis])
        index[axis] = slice(first, None if last < 0 else last, step)
    return [_part(value, call.result, index)]


def _split(call: Call) -> list[Value]:
    value, axis = call.needed(0), call.attribute("axis", 0)
    facts = [fact for fact in call.results if fact is not None]
    if len(facts) < len(call.results):
        raise call.error("the shapes of its results depend on values that the file does not hold")
    ends = list(accumulate(fact.shape[axis] for fact in facts))
    parts = []
    for fact, end in zip(facts, ends, strict=True):
        index = [slice(0, size, 1) for size in value.shape]
        index[axis] = slice(end - fact.shape[axis], end, 1)
        parts.append(_part(value, fact, index))
    return parts


def _select(call: Call) -> list[Value] | None:
    """One place along a dimension, known in advance, is a view; anything else that Gather does is work."""
    value, where, axis = call.needed(0), call.needed(1), call.attribute("axis", 0)
    if where.known is None or where.shape:
        return None
    index: list[slice | int] = [slice(0, size, 1) for size in value.shape]
    index[axis] = int(where.known) % value.shape[axis]
    return [_part(value, call.result, index)]


def _without_dropout(call: Call) -> list[Value] | None:
    """Dropout of nothing is a view; its ratio is an attribute in old opsets and an input in newer ones."""
    given = call.operand(1)
    ratio = call.attribute("ratio", 0.5) if given is None or given.known is None else float(given.known)
    if ratio:
        return None
    first = _same(call)
    return first * len(call.results)


def _quantised(call: Call) -> list[Value]:
    """A step between number formats: weights that are stored quantised are those of the product."""
    value, zero = call.needed(0), call.operand(2)
    if value.role is Role.ACTIVATION:
        call.walk.note("quantised", call.node.name or call.node.result)
    trained = value.role is Role.CONSTANT and value.source is not None and value.elements > 1
    role = Role.PARAMETER if trained else value.role
    if role is Role.PARAMETER and not value.floating and value.source:
        call.walk.note("integers", value.source.label)
    viewed = _seen_as(value, call.result, _less_zero(call, zero), role=role)
    return [replace(viewed, gradient=value.gradient or role is Role.PARAMETER)]


def _less_zero(call: Call, zero: Value | None) -> Callable[[NDArray[np.generic]], NDArray[np.generic]] | None:
    """Return how stored numbers become those they stand for, but for their scale; None where zero is not known."""
    if zero is None:
        return lambda array: array
    if zero.content is None:
        return None
    points, axis, block = zero.content(), call.attribute("axis", 1), call.attribute("block_size", 0)
    if not np.any(points):
        return lambda array: array

    def less(array: NDArray[np.generic]) -> NDArray[np.generic]:
        signed = np.asarray(points).astype(np.int64)
        if block:
            signed = np.repeat(signed, block, axis=axis)[tuple(map(slice, array.shape))]
        elif signed.size == 1:
            signed = signed.reshape(())
        elif signed.ndim == 2:  # of each direction and output, as recurrent weights have it
            signed = signed[:, None, :]
        else:
            signed = signed.reshape([-1 if place == axis % array.ndim else 1 for place in range(array.ndim)])
        difference: NDArray[np.generic] = array.astype(np.int64) - signed
        return difference

    return less


def _dynamically_quantised(call: Call) -> list[Value]:
    """The scale and zero point that a step computes are numbers, and count as given."""
    (quantised,) = _quantised(call)
    numbers = [
        Value(shape=(), role=Role.CONSTANT, strides=(), floating=bool(fact and fact.floating))
        for fact in call.results[1:]
    ]
    return [quantised, *numbers]


VIEWS: Mapping[str, View] = MappingProxyType(
    {
        **dict.fromkeys(("Cast", "CastLike", "BitCast"), _same),
        **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
        **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantised),
        "DynamicQuantizeLinear": _dynamically_quantised,
        "Identity": _identity,
        "Transpose": _transpose,
        "Expand": _expand,
        "Slice": _slice,
        "Split": _split,
        "Gather": _select,
        "Dropout": _without_dropout,
    }
)
"""Views by operator; one that returns None does work after all."""
