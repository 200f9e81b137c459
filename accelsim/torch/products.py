"""The three products of a layer with operands of their own: FF `Y = X W`, BP `dX = dY W^T`, WU `dW = X^T dY`.

Autograd uses one weight for FF and BP and one output gradient for BP and WU. Here FF multiplies by one tensor, BP by
another, and the gradient of the dense weight is straight through (Bengio et al., 2013): what is pruned is pruned in the
very operands that the multiplications read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

__all__ = ["Convolution", "Matrix", "Operands", "Prune", "masked", "prepared", "product", "refined"]

Prune = Callable[[Tensor], Tensor]
"""Prunes an output gradient, which it gets as (samples, ..., channels)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """What the products of a layer read besides its input.

    `ff`, `bp`: the weight in FF and in BP, where that is another one; both of the shape of the dense weight. `order`:
    the output channels of `bp`, where it has them in another order. `prune_bp`, `prune_wu`: applied to the output
    gradient before BP and before WU.
    """

    ff: Tensor
    bp: Tensor | None = None
    order: Tensor | None = None
    prune_bp: Prune | None = None
    prune_wu: Prune | None = None


@dataclass(frozen=True, slots=True)
class Matrix:
    """The products of a linear layer; the weight is (outputs, inputs)."""

    channels = -1

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Y = X W + b."""
        return functional.linear(x, weight, bias)

    def to_inputs(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """dX = dY W^T."""
        return (gradient.reshape(-1, gradient.shape[-1]) @ weight).reshape(x.shape)

    def to_weight(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """dW = X^T dY; of the weight only the shape counts."""
        return gradient.reshape(-1, weight.shape[0]).t() @ x.reshape(-1, weight.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """The products of a convolution; the weight is (outputs, inputs / groups, ...), transposed (inputs, ...)."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    channels = 1

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Y = X * W + b."""
        return torch.convolution(x, weight, bias, *self._geometry)

    def to_inputs(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Return dX, one product; of x only the shape counts."""
        return self._backward(gradient, x, weight, (True, False, False))[0]

    def to_weight(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Return dW, one product; of the weight only the shape counts."""
        return self._backward(gradient, x, weight, (False, True, False))[1]

    def _backward(
        self, gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> Sequence[Tensor]:
        found: Sequence[Tensor] = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, *self._geometry, wanted
        )
        return found

    @property
    def _geometry(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool, tuple[int, ...], int]:
        return self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups


def prepared(layer: nn.Module, x: Tensor, output_size: Sequence[int] | None) -> tuple[Tensor, Matrix | Convolution]:
    """Return the products of a layer, and its input as they take it: batched, and padded where the layer does that."""
    spatial = 0 if isinstance(layer, nn.Linear) else len(layer.kernel_size)
    batched = x.unsqueeze(0) if x.dim() == 1 + spatial else x
    if not spatial:
        return batched, Matrix()
    output_padding = layer.output_padding
    if layer.transposed:  # found as the layer's own forward does
        output_padding = layer._output_padding(  # noqa: SLF001
            x, output_size, layer.stride, layer.padding, layer.kernel_size, spatial, layer.dilation
        )
    sides = _sides(layer)
    if layer.padding_mode != "zeros" or any(before != after for before, after in sides):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        batched = functional.pad(batched, [size for pair in reversed(sides) for size in pair], mode=mode)
        sides = [(0, 0)] * spatial
    return batched, Convolution(
        stride=layer.stride,
        padding=tuple(before for before, _ in sides),
        dilation=layer.dilation,
        transposed=layer.transposed,
        output_padding=tuple(output_padding),
        groups=layer.groups,
    )


def _sides(layer: nn.Module) -> list[tuple[int, int]]:
    """Return the padding before and after every dimension of space."""
    if layer.padding == "valid":
        return [(0, 0)] * len(layer.kernel_size)
    if layer.padding == "same":
        totals = [dilation * (kernel - 1) for dilation, kernel in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(size, size) for size in layer.padding]


def masked(weight: Tensor, mask: Tensor | None, leak: float = 0.0) -> Tensor:
    """Return the weight with what the mask leaves out set to zero, or scaled by `leak`."""
    if mask is None:
        return weight
    if leak:
        return weight * torch.where(mask, 1.0, leak).to(weight.dtype)
    return weight.masked_fill(~mask, 0)


class _Refined(torch.autograd.Function):  # type: ignore[misc]
    """The identity; its gradient pulls pruned weights towards zero."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, mask: Tensor, decay: float) -> Tensor:
        ctx.save_for_backward(weight, mask)
        ctx.decay = decay
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        weight, mask = ctx.saved_tensors
        return gradient + ctx.decay * weight.masked_fill(mask, 0), None, None


def refined(weight: Tensor, mask: Tensor | None, decay: float) -> Tensor:
    """Return the weight; its gradient gets decay * (1 - mask) * weight on top (Zhou et al., ICLR 2021)."""
    return weight if mask is None or not decay else _Refined.apply(weight, mask, decay)


class _Product(torch.autograd.Function):  # type: ignore[misc]
    """The output of a layer; the dense weight is an argument for the sake of its gradient."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None, ff: Tensor, bp: Tensor | None,
        order: Tensor | None, products: Matrix | Convolution, prune_bp: Prune | None, prune_wu: Prune | None,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, ff if bp is None else bp, order)
        ctx.products, ctx.prune_bp, ctx.prune_wu = products, prune_bp, prune_wu
        return products.forward(x, ff, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, bp, order = ctx.saved_tensors
        products, axis = ctx.products, ctx.products.channels
        dx = dw = db = None
        if ctx.needs_input_grad[0]:
            reaching = _pruned(gradient, ctx.prune_bp, axis)
            dx = products.to_inputs(reaching if order is None else reaching.index_select(axis, order), x, bp)
        if ctx.needs_input_grad[1]:
            dw = products.to_weight(_pruned(gradient, ctx.prune_wu, axis), x, bp)
        if ctx.needs_input_grad[2]:
            db = gradient.movedim(axis, -1).flatten(0, -2).sum(0)
        return dx, dw, db, None, None, None, None, None, None


def _pruned(gradient: Tensor, prune: Prune | None, axis: int) -> Tensor:
    return gradient if prune is None else prune(gradient.movedim(axis, -1)).movedim(-1, axis)


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None, operands: Operands, products: Matrix | Convolution
) -> Tensor:
    """Return the output of a layer: FF and BP read `operands`, the gradient reaches `weight`.

    `x` is batched. The result can be differentiated once.
    """
    return _Product.apply(
        x, weight, bias, operands.ff, operands.bp, operands.order, products, operands.prune_bp, operands.prune_wu
    )
