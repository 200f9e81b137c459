"""One layer under a method: what its products read in a pass.

Weights stay dense. What is read is pruned anew in every pass from the weights as they are, the step of SAT's online
reduction (SORE). Where a method prunes nothing for BP, BP reads the weight that FF read, as autograd does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from accelsim.sparsity.methods import Axis, Method, Operand, SparseOperand
from accelsim.sparsity.pattern import Pattern
from accelsim.torch.masks import backward_mask, best_order, magnitude_mask, minimum_variance, transposable_mask
from accelsim.torch.products import Operands, masked, prepared, product, refined

__all__ = ["State", "groups_along", "put_on", "sparse_operands", "state_of", "take_off", "weight_axis"]

_ATTRIBUTE = "_accelsim"
Masks = tuple[Tensor | None, Tensor | None]
Chosen = TypeVar("Chosen")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """How a layer is trained: its sparse stages, why others stay dense, and the options of the method.

    `pattern` is in force, `target` the one asked for. Pruned weights are scaled by `leak`. Masks, or the order of
    Bi-Mask, are chosen `every` so many training passes: `kept` was, `age` passes ago.
    """

    method: Method
    target: Pattern
    pattern: Pattern
    sparse: frozenset[str]
    dense: tuple[tuple[str, str], ...]
    decay: float = 0.0
    leak: float = 0.0
    every: int = 1
    candidates: int = 0
    rescale: bool = False
    kept: Any = None
    age: int = 0

    def prunes(self, stage: str, operand: Operand) -> bool:
        """Whether this operand of a stage is pruned in the layer."""
        return stage in self.sparse and sparse_operands(self.method)[stage].operand is operand

    @property
    def permutes(self) -> bool:
        """Whether BP reads what FF kept, in another order (Bi-Mask)."""
        return self.candidates > 0


def sparse_operands(method: Method) -> dict[str, SparseOperand]:
    """Return the sparse operand of each stage that has one."""
    stages = {"FF": method.ff, "BP": method.bp, "WU": method.wu}
    return {stage: operand for stage, operand in stages.items() if operand is not None}


def weight_axis(layer: nn.Module, axis: Axis) -> int:
    """Return which axis of a layer's weight counts its inputs, or its outputs."""
    return int((axis is Axis.INPUT) != getattr(layer, "transposed", False))


def groups_along(layer: nn.Module, axis: Axis) -> int:
    """Return how many groups of a convolution follow each other along that axis of the weight."""
    return 1 if weight_axis(layer, axis) else getattr(layer, "groups", 1)


def state_of(layer: nn.Module) -> State | None:
    """Return the state of a layer, None where no method is on it."""
    state: State | None = vars(layer).get(_ATTRIBUTE)
    return state


def put_on(layer: nn.Module, state: State) -> None:
    """Give a layer a state, in place of one that it may have; where any stage is sparse, replace its forward."""
    setattr(layer, _ATTRIBUTE, state)
    if state.sparse:
        layer.forward = partial(_forward, layer)


def take_off(layer: nn.Module) -> None:
    """Undo `put_on`."""
    state = vars(layer).pop(_ATTRIBUTE, None)
    if state is not None and state.sparse:
        del layer.forward


def _forward(layer: nn.Module, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:  # noqa: A002 - the name torch uses
    """Return what a layer computes, its operands pruned."""
    state: State = getattr(layer, _ATTRIBUTE)
    x, products = prepared(layer, input, output_size)
    ff, bp = _masks(layer, state)
    weight = refined(layer.weight, ff, state.decay)
    x, weight = _as_autocast(x), _as_autocast(weight)
    bias = None if layer.bias is None else _as_autocast(layer.bias)
    y = product(x, weight, bias, _operands(layer, state, weight.detach(), ff, bp), products)
    return y.squeeze(0) if x.dim() > input.dim() else y


def _as_autocast(tensor: Tensor) -> Tensor:
    """Convert an operand as autocast does, where it is on."""
    device = tensor.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return tensor.to(torch.get_autocast_dtype(device)) if on and tensor.dtype != torch.float64 else tensor


def _masks(layer: nn.Module, state: State) -> Masks:
    """Return what FF and BP keep of the weight, None where that is all of it; in evaluation always anew."""

    def choose() -> Masks:
        weight = layer.weight.detach()
        if state.method.one_mask and "FF" in state.sparse:
            mask = transposable_mask(weight, state.pattern)
            return mask, mask
        ff, bp = (
            magnitude_mask(weight, state.pattern, weight_axis(layer, axis))
            if state.prunes(stage, Operand.WEIGHT)
            else None
            for stage, axis in (("FF", Axis.INPUT), ("BP", Axis.OUTPUT))
        )
        return ff, bp

    anew = state.permutes or state.every == 1 or not layer.training
    return choose() if anew else _lasting(layer, choose)


def _lasting(layer: nn.Module, choose: Callable[[], Chosen]) -> Chosen:
    """Return what `choose` finds, chosen every `every` training passes."""
    state: State = getattr(layer, _ATTRIBUTE)
    kept, age = state.kept, state.age
    # a pass that activation checkpointing repeats within backward is none of its own
    repeated = torch._C._current_graph_task_id() != -1  # noqa: SLF001
    counts = layer.training and torch.is_grad_enabled() and not repeated
    if kept is None or (counts and age >= state.every):
        kept, age = choose(), 0
    setattr(layer, _ATTRIBUTE, replace(state, kept=kept, age=age + counts))
    chosen: Chosen = kept
    return chosen


def _operands(layer: nn.Module, state: State, weight: Tensor, ff: Tensor | None, bp: Tensor | None) -> Operands:
    """Return what the products read, pruned; without gradients there is nothing but FF."""
    operands = Operands(ff=masked(weight, ff, state.leak))
    if not torch.is_grad_enabled():
        return operands
    if state.permutes and "BP" in state.sparse:
        operands = _reordered(layer, state, operands)
    elif bp is not None and bp is not ff:
        operands = replace(operands, bp=masked(weight, bp, state.leak))
    if state.prunes("BP", Operand.GRADIENT):
        operands = replace(operands, prune_bp=partial(_largest_of_channels, state.pattern, state.rescale))
    if state.prunes("WU", Operand.GRADIENT):
        operands = replace(operands, prune_wu=partial(_unbiased_along_batch, state.pattern))
    return operands


def _reordered(layer: nn.Module, state: State, operands: Operands) -> Operands:
    """Return the operands with the BP weight of Bi-Mask, its output channels in the order found best."""
    axis, groups = weight_axis(layer, Axis.OUTPUT), groups_along(layer, Axis.OUTPUT)
    kept = operands.ff
    order = _lasting(layer, lambda: best_order(kept, state.pattern, axis, state.candidates, groups))
    bp = masked(kept.index_select(axis, order), backward_mask(kept, state.pattern, axis, order))
    # a transposed convolution's weight names the outputs of one group, the gradient those of all
    parts = range(getattr(layer, "groups", 1) // groups)
    return replace(operands, bp=bp, order=torch.cat([order + part * len(order) for part in parts]))


def _largest_of_channels(pattern: Pattern, rescale: bool, gradient: Tensor) -> Tensor:
    """Prune (samples, ..., channels) along the channels; rescale each channel of a sample to its former L1 norm."""
    kept = masked(gradient, magnitude_mask(gradient, pattern, -1))
    positions = tuple(range(1, gradient.dim() - 1))
    if not rescale or not positions:
        return kept
    before, after = (tensor.abs().sum(positions, keepdim=True) for tensor in (gradient, kept))
    return kept * torch.where(after > 0, before / after, 1.0)


def _unbiased_along_batch(pattern: Pattern, gradient: Tensor) -> Tensor:
    """Prune (samples, ..., channels) along samples and positions."""
    return minimum_variance(gradient.flatten(0, -2), pattern, 0).reshape(gradient.shape)
