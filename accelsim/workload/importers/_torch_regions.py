"""Regions that torch.compile compiled: products are calls of kernels outside, all else is fused and not recorded."""

import re
from collections.abc import Sequence
from dataclasses import replace

from accelsim.workload.importers._torch_ops import Seen, pair_of
from accelsim.workload.importers._torch_rows import COMPILED_FUNCTION, Leaf, Pass, Row
from accelsim.workload.names import few

__all__ = ["is_compiled", "repeat_regions"]

_REGION = re.compile(r"Torch-Compiled Region.*|CompiledFunction|## Call CompiledFxGraph.*")
_Shapes = tuple[tuple[int, ...], ...]
_FUSED = (
    "of regions that torch.compile compiled the products are read; what the compiler fused into kernels of its own"
    " (norms, activations, softmax, sums) is not counted"
)


def is_compiled(leaf: Leaf) -> bool:
    """Whether a call was made by compiled code."""
    return any(_REGION.fullmatch(row.name) for row in leaf.above)


def repeat_regions(operations: Sequence[Seen], made: Pass) -> tuple[list[Seen], list[str]]:
    """Mark the products that the backward pass of a compiled region makes again; return notes on all regions.

    What its backward multiplies besides the gradients of its products are products of its forward with the same
    factors. Raises nothing: what is neither is listed in a note.
    """
    found = list(operations)
    if not any(is_compiled(leaf) for leaf in made.forward):
        return found, []
    notes = [_FUSED]
    functions = {id(row): row for seen in found if (row := made.function(seen.leaf)) is not None and _is_region(row)}
    unknown: list[str] = []
    missing: list[str] = []
    for function in functions.values():
        mine = [at for at, seen in enumerate(found) if made.function(seen.leaf) is function]
        missing += _without_product(function, [found[at] for at in mine], made)
        left = [_shapes(row) for node in made.ran(function) for row in node.walk() if pair_of(row) is not None]
        for at in mine:
            for options in _gradients(found[at]):
                if (shapes := next((each for each in options if each in left), None)) is not None:
                    left.remove(shapes)
        for at in mine:
            if (shapes := _shapes(found[at].leaf.row)) in left:
                left.remove(shapes)
                found[at] = replace(found[at], recomputed=True)
        unknown += [" and ".join("x".join(map(str, shape)) for shape in shapes) for shapes in left]
    if unknown:
        notes.append(
            f"products in the backward of compiled regions that are no gradient of a product of theirs are not counted"
            f" ({len(unknown)}): {few(unknown)}"
        )
    if missing:
        notes.append(
            "trained matrices of compiled regions without a product in the file are tables that are looked up, or"
            f" factors of products in kernels of the compiler, which are not counted: {few(missing)}"
        )
    return found, notes


def _without_product(function: Row, operations: Sequence[Seen], made: Pass) -> list[str]:
    """Return the sizes of matrices whose gradient a region computes, and that no product of it multiplies with."""
    weights = [seen.weight.elements for seen in operations if seen.weight is not None]
    missing = []
    for gradient, creator, _ in made.accumulations():
        if creator is not function or len(gradient.shape) < 2:
            continue
        if gradient.elements in weights:
            weights.remove(gradient.elements)
        else:
            missing.append("x".join(map(str, gradient.shape)))
    return missing


def _is_region(row: Row) -> bool:
    return row.name == COMPILED_FUNCTION


def _gradients(seen: Seen) -> list[tuple[_Shapes, ...]]:
    """Return the factors of each product that a product has in the backward pass, in the ways to write it."""
    pair = pair_of(seen.leaf.row)
    if pair is None:
        return []
    batch, (m, k), n = pair[0].shape[:-2], pair[0].shape[-2:], pair[1].shape[-1]

    def ways(p: int, q: int, r: int) -> tuple[_Shapes, ...]:
        return ((*batch, p, q), (*batch, q, r)), ((*batch, r, q), (*batch, q, p))

    both = [ways(m, n, k), ways(k, m, n)]
    if seen.weight is None:
        return both if seen.input_gradient else []
    of_weight = 1 if seen.weight.elements == k * n else 0
    wanted = {1 - of_weight: seen.input_gradient, of_weight: seen.weight_gradient}
    return [each for side, each in enumerate(both) if wanted[side]]


def _shapes(row: Row) -> _Shapes:
    return tuple(tensor.shape for tensor in pair_of(row) or ())
