"""Shapes of results that a profile does not record: from the gradient that came back, else from the operands."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import MappingProxyType

from accelsim.workload.importers._torch_ops import numbers
from accelsim.workload.importers._torch_rows import Row, Tensor
from accelsim.workload.importers._torch_words import LIKE_FIRST
from accelsim.workload.rules import full
from accelsim.workload.torch_words import KIND_OF

__all__ = ["broadcast", "result_shape"]

Shape = tuple[int, ...]


def result_shape(row: Row, nodes: Sequence[Row]) -> Shape | None:
    """Return the shape of the first result of a call, None where it is not certain.

    `nodes` is what ran backward for it: the first operand of a node is the gradient of the first result.
    """
    for node in nodes:
        if node.inputs and isinstance(node.inputs[0], Tensor) and node.name.endswith(tuple("0123456789")):
            return node.inputs[0].shape
    if not row.tensors:
        return None
    if row.word in LIKE_FIRST:
        return row.tensors[0].shape
    by_word = _BY_WORD.get(row.word) or _BY_KIND.get(KIND_OF.get(row.word, "elementwise"))
    return by_word(row) if by_word is not None else None


def broadcast(row: Row) -> Shape | None:
    """Return the shape that the operands of a call have together."""
    shapes = [tensor.shape for tensor in row.tensors]
    rank = max(map(len, shapes))
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    sizes = [set(column) - {1} for column in zip(*aligned, strict=True)]
    if any(len(size) > 1 for size in sizes):
        return None
    return tuple(next(iter(size), 1) for size in sizes)


def _pooled(row: Row) -> Shape | None:
    shape = row.tensors[0].shape
    given = [numbers(value) for value in row.inputs[1:5]]
    if not given or given[0] is None:
        return None
    rank = int(next(letter for letter in row.word if letter.isdigit()))
    if row.word.startswith("adaptive"):
        return shape[:-rank] + full(given[0], rank)
    window = full(given[0], rank)
    dilated = "max" in row.word
    stride, padding, dilation = (
        full(value, rank) if value else default
        for value, default in zip(
            (*given[1:3], given[3] if dilated and len(given) > 3 else None),
            (window, (0,) * rank, (1,) * rank),
            strict=True,
        )
    )
    at = 5 if dilated else 4
    up = at < len(row.inputs) and row.inputs[at] is True
    sizes = zip(shape[-rank:], window, stride, padding, dilation, strict=True)
    return shape[:-rank] + tuple(_windows(*each, up=up) for each in sizes)


def _windows(size: int, taps: int, step: int, pad: int, dilation: int, *, up: bool) -> int:
    """Windows of one dimension; rounded up, the last one must start inside the input or its left padding."""
    room = size + 2 * pad - dilation * (taps - 1) - 1
    count = -(-room // step) + 1 if up else room // step + 1
    return count - 1 if up and (count - 1) * step >= size + pad else count


def _reduced(row: Row) -> Shape | None:
    shape = row.tensors[0].shape
    if len(row.inputs) < 3:
        return () if len(row.tensors) == 1 else broadcast(row)
    given = row.inputs[1]
    dims = (given,) if isinstance(given, int) and not isinstance(given, bool) else numbers(given)
    if dims is None or not shape or row.word in {"norm", "linalg_vector_norm"}:
        return None
    taken = {dim % len(shape) for dim in dims} or set(range(len(shape)))
    keep = any(value is True for value in row.inputs[2:])
    return tuple(1 if at in taken else size for at, size in enumerate(shape) if keep or at not in taken)


def _joined(row: Row) -> Shape | None:
    shapes = [tensor.shape for tensor in row.tensors if tensor.elements]
    dim = row.inputs[1] if len(row.inputs) > 1 else None
    if not isinstance(dim, int) or not shapes:
        return None
    first = shapes[0]
    if row.word == "stack":
        at = dim % (len(first) + 1)
        return (*first[:at], len(shapes), *first[at:])
    at = dim % len(first)
    return (*first[:at], sum(shape[at] for shape in shapes), *first[at + 1 :])


def _padded(row: Row) -> Shape | None:
    pads = numbers(row.inputs[1]) if len(row.inputs) > 1 else None
    if pads is None:
        return None
    shape = list(row.tensors[0].shape)
    for at, (left, right) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        shape[-1 - at] += left + right
    return tuple(shape)


def _embedded(row: Row) -> Shape | None:
    return (*row.tensors[1].shape, row.tensors[0].shape[-1]) if len(row.tensors) > 1 else None


def _selected(row: Row) -> Shape | None:
    dim = row.inputs[1]
    if len(row.tensors) < 2 or not isinstance(dim, int):
        return None
    shape = list(row.tensors[0].shape)
    shape[dim] = prod(row.tensors[1].shape)
    return tuple(shape)


_BY_WORD: Mapping[str, Callable[[Row], Shape | None]] = MappingProxyType({
    "cat": _joined,
    "stack": _joined,
    "copy": lambda row: row.tensors[0].shape,
    "gather": lambda row: row.tensors[-1].shape,
    "index_select": _selected,
    "constant_pad_nd": _padded,
    "reflection_pad1d": _padded,
    "reflection_pad2d": _padded,
    "replication_pad2d": _padded,
    "prelu_kernel": lambda row: row.tensors[0].shape,
})  # fmt: skip
_BY_KIND: Mapping[str, Callable[[Row], Shape | None]] = MappingProxyType({
    "pooling": _pooled,
    "reduce": _reduced,
    "embedding": _embedded,
    "loss": lambda row: (),
    "add": broadcast,
    "multiply": broadcast,
    "elementwise": broadcast,
})  # fmt: skip
