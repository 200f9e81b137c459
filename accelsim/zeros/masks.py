"""Zeros on the tensors of the operations of a trace, and what they are to its products.

=====  ============  ============  ===============
form   left          right         output
=====  ============  ============  ===============
FF     input         weight        output
BP     out. gradient weight        input gradient
WU     out. gradient input         weight gradient
=====  ============  ============  ===============

A product of two activations has the tensors left, right and output; its pattern is also that of their gradients: zeros
of the output are an output mask in FF and an operand of both products of BP, zeros of a factor are an operand in FF and
in the product that yields the gradient of the other factor, and an output mask where its own gradient is computed.

A zeroed operand shortens the reduction of the products that read it, a zeroed output removes dot products. Densities
multiply where masks are independent; one mask that several tensors show (`Mask.key`) counts once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

from accelsim.sparsity.pattern import Pattern

__all__ = ["TENSORS", "Form", "Mask", "MaskedProduct", "Masks", "Tensor", "product_of"]

Tensor = Literal["weight", "input", "output", "output-gradient", "input-gradient", "weight-gradient", "left", "right"]
TENSORS: tuple[str, ...] = Tensor.__args__  # type: ignore[attr-defined]
Form = Literal["nm", "block", "channel", "unstructured", "graph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Zeros of a tensor: their form and the share that is kept.

    `key` tells masks apart; tensors with one key show the same mask. `pattern` and `along` (input, output or batch) of
    N:M; `block`: rows and columns of a block. `stages`: where it is in force.
    """

    key: str
    form: Form
    density: float
    pattern: Pattern | None = None
    along: str | None = None
    block: tuple[int, int] | None = None
    stages: frozenset[str] = frozenset({"FF", "BP", "WU"})


Masks = Mapping[tuple[str, str], tuple[Mask, ...]]
"""By name of the operation and tensor, the masks on it: one for each stage at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedProduct:
    """The masks on a product by the place of their tensor, and what it reduces (input, output or batch)."""

    left: Mask | None
    right: Mask | None
    output: Mask | None
    left_tensor: str
    right_tensor: str
    reduces: str

    @property
    def operands(self) -> Iterator[tuple[str, Mask]]:
        """The operands with zeros: the tensor, and its mask."""
        for tensor, mask in ((self.left_tensor, self.left), (self.right_tensor, self.right)):
            if mask is not None:
                yield tensor, mask

    @property
    def needed(self) -> float:
        """Share of the multiplications whose operands are both kept and whose result is needed."""
        return self.kept()

    def kept(self, form: Form | None = None) -> float:
        """Share of the multiplications that the masks leave, or those of one form; one mask counts once."""
        masks = (mask for mask in (self.left, self.right, self.output) if mask is not None)
        return prod({mask.key: mask.density for mask in masks if form in {None, mask.form}}.values())


_PLACES = {
    "FF": ("input", "weight", "output", "input"),
    "BP": ("output-gradient", "weight", "input-gradient", "output"),
    "WU": ("output-gradient", "input", "weight-gradient", "batch"),
    "AB": ("left", "right", "output", "input"),
    "dA": ("output", "right", "left", "output"),
    "dB": ("left", "output", "right", "batch"),
}
"""By product the tensors at the left, right and as the result, and what it reduces: of an operation with a weight FF,
BP and WU; of one of two activations the product itself, and the gradients of its left and right factor."""


def product_of(masks: Masks, operation: str, form: str) -> MaskedProduct:
    """Return the masks on a product of an operation.

    Args:
        masks: on all tensors.
        operation: its name.
        form: FF, BP or WU; of a product of two activations AB, dA or dB.
    """
    left, right, output, reduces = _PLACES[form]
    stage = {"AB": "FF", "dA": "BP", "dB": "BP"}.get(form, form)

    def of(tensor: str) -> Mask | None:
        return next((mask for mask in masks.get((operation, tensor), ()) if stage in mask.stages), None)

    return MaskedProduct(
        left=of(left), right=of(right), output=of(output), left_tensor=left, right_tensor=right, reduces=reduces
    )
