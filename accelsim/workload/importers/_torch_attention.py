"""Attention in one kernel, opened as torch does without that kernel: the same step is the same work on every device."""

from collections.abc import Iterator, Sequence

from accelsim.workload.importers._torch_rows import Leaf, Pass, Row, Tensor
from accelsim.workload.importers._torch_words import VIEWS

__all__ = ["opened"]

_COPIES = frozenset({"reshape", "flatten", "contiguous"})
_PERMUTES = frozenset({"transpose", "permute", "swapaxes"})
_Step = tuple[str, tuple[tuple[str, int], ...]]


def opened(
    row: Row, leaf: Leaf, made: Pass, sizes: tuple[int, int, int, int, int], *, dropout: bool
) -> Iterator[_Step]:
    """Yield the calls that an attention amounts to, per sample, with their sizes.

    `row`: the call with queries, keys and values; `sizes`: heads, queries, keys, width of keys and of values. Queries
    and keys are scaled; a mask is added; factors whose samples and heads lie apart in memory are copied, and so is a
    result that is then read in another order.
    """
    count, rows, columns, width, out = sizes
    query, key, value = row.tensors[:3]
    weights = count * rows * columns
    shared = len({tensor.shape[1] for tensor in (query, key, value)}) > 1 and len(query.shape) == 4

    def vector(word: str, reads: int, writes: int | None = None) -> _Step:
        return word, (("reads", reads), ("writes", reads if writes is None else writes))

    def product(m: int, n: int, k: int) -> _Step:
        return "matmul", (("batch", count), ("m", m), ("n", n), ("k", k))

    yield vector("mul", count * rows * width)
    if shared:  # heads of keys and values are repeated
        repeats = query.shape[1] // key.shape[1]
        yield vector("clone", count * columns * width // repeats, count * columns * width)
        yield vector("clone", count * columns * out // repeats, count * columns * out)
    yield vector("mul", count * columns * width)
    if _lies_apart(query, computed=True):
        yield vector("clone", count * rows * width)
    if not shared and _lies_apart(key, computed=True):
        yield vector("clone", count * columns * width)
    yield product(rows, columns, width)
    if _is_masked(row):
        yield vector("add", weights)
    yield vector("softmax", weights)
    if dropout:
        yield vector("dropout", weights)
    if not shared and _lies_apart(value, computed=False):
        yield vector("clone", count * columns * out)
    yield product(rows, out, columns)
    if _is_read_in_order(leaf, made):
        yield vector("clone", count * rows * out)


def _is_masked(row: Row) -> bool:
    """Whether a mask is given, or the causal one asked for, where the call of the program is recorded."""
    if row.word != "scaled_dot_product_attention":
        return False
    return (len(row.inputs) > 3 and isinstance(row.inputs[3], Tensor)) or (
        len(row.inputs) > 5 and row.inputs[5] is True
    )


def _lies_apart(tensor: Tensor, *, computed: bool) -> bool:
    """Whether samples and heads of a factor cannot be taken as one dimension without a copy.

    What is `computed` of a tensor keeps the order of its dimensions and leaves no gaps.
    """
    shape, strides = tensor.shape, tensor.strides
    if strides is None or len(strides) != 4 or 1 in shape[:2]:
        return False
    if not computed:
        return strides[0] != shape[1] * strides[1]
    order = [at for at in sorted(range(4), key=lambda at: -strides[at]) if shape[at] > 1]
    return order.index(1) != order.index(0) + 1


def _is_read_in_order(leaf: Leaf, made: Pass) -> bool:
    """Whether heads and positions change places after the attention, and the kernel's layout saves the copy."""
    at = next((at for at, each in enumerate(made.forward) if each is leaf), None)
    following: Sequence[Leaf] = () if at is None else made.forward[at + 1 :]
    swapped = False
    for each in following:
        word = each.row.word
        if word not in VIEWS:
            return False
        if swapped and each.unit.word in _COPIES:
            return True
        swapped = swapped or word in _PERMUTES
    return False
