"""Regions that torch.compile compiled: products are calls of kernels outside, all else is fused and not recorded."""

import re
from collections.abc import Sequence
from dataclasses import replace

from accelsim.workload.importers._torch_ops import Seen, pair_of
from accelsim.workload.importers._torch_rows import COMPILED_FUNCTION, Leaf, Pass, Row
from accelsim.workload.names import few

__all__ = ["is_compiled", "repeat_regions"]

_REGION = re.compile(r"Torch-Compiled Region.*|CompiledFunction|## Call CompiledFxGraph.*")
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
        products = [row for node in made.ran(function) for row in node.walk() if pair_of(row) is not None]
        missing += _without_product(function, [found[at] for at in mine], made)
        extra = len(products) - sum(_gradients(found[at]) for at in mine if pair_of(found[at].leaf.row))
        sizes = [_shapes(row) for row in products]
        for at in mine:
            if extra > 0 and (size := _shapes(found[at].leaf.row)) in sizes:
                sizes.remove(size)
                found[at] = replace(found[at], recomputed=True)
                extra -= 1
        if extra > 0:
            unknown += [" and ".join("x".join(map(str, shape)) for shape in _shapes(row)) for row in products[-extra:]]
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


def _gradients(seen: Seen) -> int:
    """Count the products that a product has in the backward pass."""
    if seen.kind == "matmul":
        return 2 * seen.input_gradient
    return seen.input_gradient + seen.weight_gradient


def _shapes(row: Row) -> tuple[tuple[int, ...], ...]:
    return tuple(tensor.shape for tensor in pair_of(row) or ())
