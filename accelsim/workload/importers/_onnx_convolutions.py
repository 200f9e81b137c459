"""Convolutions of ONNX: with stored kernels, with kernels that the step computes, transposed and deformed ones."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from accelsim.workload import rules
from accelsim.workload.importers._onnx_walk import Call, Value, Weight, Work
from accelsim.workload.importers._onnx_works import constant_weight, weight_of, with_bias
from accelsim.workload.rules import Role

__all__ = ["convolution", "deformed_convolution", "transposed_convolution"]


def _full(call: Call, name: str, rank: int) -> tuple[int, ...]:
    return tuple(call.attribute(name, [1] * rank))


def _pads(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """Return zeros before and after each spatial dimension, from the attributes of a convolution."""
    rank = len(kernel)
    how = call.attribute("auto_pad", "NOTSET")
    if how == "NOTSET":
        pads = call.attribute("pads", [0] * 2 * rank)
        return list(zip(pads[:rank], pads[rank:], strict=True))
    if how == "VALID":
        return [(0, 0)] * rank
    found = []
    geometry = zip(sizes, call.result.shape[2:], kernel, _full(call, "strides", rank), _full(call, "dilations", rank),
                   strict=True)  # fmt: skip
    for size, out, taps, stride, dilation in geometry:
        total = max((out - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if how == "SAME_UPPER" else (more, less))
    return found


def _kernel(call: Call) -> tuple[Value, Value, int]:
    source, kernel = call.needed(0), call.needed(1)
    rank = len(kernel.shape) - 2
    if not 1 <= rank <= 3:
        raise call.error(f"has {rank} spatial dimensions; 1 to 3 are supported")
    return source, kernel, rank


def _is_computed(kernel: Value) -> bool:
    """Whether the step computes a kernel, from its inputs or from parameters that it is none of."""
    return kernel.role in {Role.ACTIVATION, Role.DERIVED}


def convolution(call: Call) -> list[Work]:
    """A convolution; where the padding differs between the sides, the surplus zeros belong to the input."""
    source, kernel, rank = _kernel(call)
    groups = call.attribute("group", 1)
    if _is_computed(kernel):
        return _of_columns(call, source, kernel, groups, copied=prod(kernel.shape[2:]) > 1)
    pads = _pads(call, source.shape[2:], kernel.shape[2:])
    if any(before != after for before, after in pads):
        call.walk.note("padded", call.node.name or call.node.outputs[0])
    padded = [size + abs(a - b) for size, (a, b) in zip(source.shape[2:], pads, strict=True)]
    sizes = rules.convolution(
        (*source.shape[:2], *padded), kernel.shape, groups, stride=_full(call, "strides", rank),
        padding=[*map(min, pads)], dilation=_full(call, "dilations", rank),
    )  # fmt: skip
    return [_convolution(call, sizes, source, kernel, _by_groups(groups))]


def _of_columns(call: Call, source: Value, kernel: Value, groups: int, *, copied: bool) -> list[Work]:
    """A convolution with a computed kernel: the product of the kernel with what each of its places covers.

    `copied`: what the places cover is written out for it.
    """
    positions = source.shape[0] * prod(call.result.shape[2:])
    k, n = prod(kernel.shape[1:]), kernel.shape[0] // groups
    columns = positions * groups * k
    moved = [_moved("im2col", columns, columns, source)] if copied else []
    covered = replace(source, producers=(moved[0].result,)) if moved else source
    work = _of_two(covered, kernel, (groups, positions, n, k))
    return [*moved, with_bias(call, work, call.operand(2))]


def _of_two(source: Value, kernel: Value, counts: tuple[int, int, int, int]) -> Work:
    """A product of activations. The samples are in the groups where each has its own kernel, else in the rows."""
    own = kernel.role is Role.ACTIVATION and source.shape[0] == 1
    return Work(
        kind="matmul",
        word="matmul",
        reads=(source.producers, kernel.producers),
        counts=counts,
        with_batch=0 if own else 1,
        depends=Role.ACTIVATION in {source.role, kernel.role},
        input_gradient=source.gradient or kernel.gradient,
        gradients=(source.gradient, kernel.gradient),
    )


def _moved(word: str, reads: int, writes: int, value: Value) -> Work:
    kind = "add" if reads > writes else "copy"
    depends = value.role is Role.ACTIVATION
    return Work(
        kind=kind, word=word, counts=(reads, writes), depends=depends, input_gradient=value.gradient,
        reads=(value.producers,),
    )  # fmt: skip


def transposed_convolution(call: Call) -> list[Work]:
    """A transposed convolution; what its result has beyond symmetric padding counts as output padding."""
    source, kernel, rank = _kernel(call)
    groups, out_size = call.attribute("group", 1), call.result.shape[2:]
    if _is_computed(kernel):
        return _to_columns(call, source, kernel, groups)
    stride, dilation = _full(call, "strides", rank), _full(call, "dilations", rank)
    whole = [(size - 1) * step + dil * (taps - 1) + 1 for size, step, taps, dil
             in zip(source.shape[2:], stride, kernel.shape[2:], dilation, strict=True)]  # fmt: skip
    given = call.attribute("pads", None)
    if given is None or call.attribute("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in call.node.attributes:
        padding = [max(-(-(size - out) // 2), 0) for size, out in zip(whole, out_size, strict=True)]
    else:
        padding = [max(given[axis], given[axis + rank]) for axis in range(rank)]
    beyond = [out - size + 2 * pad for out, size, pad in zip(out_size, whole, padding, strict=True)]
    sizes = rules.convolution(
        source.shape, kernel.shape, groups, transposed=True, stride=stride, padding=padding, dilation=dilation,
        output_padding=beyond,
    )  # fmt: skip
    arrange = lambda array: array.reshape(groups, array.shape[0] // groups, array.shape[1], -1)  # noqa: E731
    return [_convolution(call, sizes, source, kernel, arrange)]


def _to_columns(call: Call, source: Value, kernel: Value, groups: int) -> list[Work]:
    """A transposed convolution with a computed kernel: a product whose results are summed where they overlap."""
    positions = source.shape[0] * prod(source.shape[2:])
    n, k = prod(kernel.shape[1:]), kernel.shape[0] // groups
    work = with_bias(call, _of_two(source, kernel, (groups, positions, n, k)), call.operand(2))
    columns = replace(source, producers=(work.result,), gradient=True)
    summed = _moved("col2im", groups * positions * n, prod(call.result.shape), columns)
    return [work, *([summed] if prod(kernel.shape[2:]) > 1 else [])]


def deformed_convolution(call: Call) -> list[Work]:
    """A convolution of what is read between places that the step computes.

    What each tap reads lies side by side: a convolution whose stride is its kernel.
    """
    source, kernel, rank = _kernel(call)
    offsets, mask, groups = call.needed(2), call.operand(4), call.attribute("group", 1)
    samples, channels, taps, out_size = source.shape[0], source.shape[1], kernel.shape[2:], call.result.shape[2:]
    read = samples * channels * prod(taps) * prod(out_size)
    shifts = [value for value in (offsets, mask) if value is not None]
    gathered = Work(
        kind="elementwise",
        word="gather",
        counts=(2**rank * read + sum(value.in_memory for value in shifts), read),
        input_gradient=source.gradient or any(value.gradient for value in shifts),
        reads=tuple(value.producers for value in (source, *shifts)),
    )
    side_by_side = replace(source, producers=(gathered.result,))
    call.walk.note("gathered", call.node.name or call.node.result)
    if _is_computed(kernel):
        works = _of_columns(call, side_by_side, kernel, groups, copied=False)
    else:
        beside = [size * tap for size, tap in zip(out_size, taps, strict=True)]
        sizes = rules.convolution(
            (samples, channels, *beside), kernel.shape, groups, stride=taps, padding=[0], dilation=[1]
        )
        works = [_convolution(call, sizes, side_by_side, kernel, _by_groups(groups), bias=3)]
    return [gathered, *(replace(work, input_gradient=gathered.input_gradient) for work in works)]


def _by_groups(groups: int) -> Callable[[NDArray[np.generic]], NDArray[np.generic]]:
    return lambda array: array.reshape(groups, array.shape[0] // groups, array.shape[1], -1).swapaxes(1, 2)


def _convolution(
    call: Call, sizes: tuple[str, rules.Fixed], source: Value, kernel: Value,
    arrange: Callable[[NDArray[np.generic]], NDArray[np.generic]], bias: int = 2,
) -> Work:  # fmt: skip
    weight: Weight = weight_of(call, kernel, arrange) if kernel.source else constant_weight(call, kernel, 1)
    kind, fixed = sizes
    work = Work(
        kind=kind,
        word=kind,
        fixed=fixed,
        counts=(source.shape[0],),
        weight=weight,
        reads=(source.producers, kernel.producers),
        depends=source.role is Role.ACTIVATION,
        input_gradient=source.gradient,
    )
    return with_bias(call, work, call.operand(bias))
