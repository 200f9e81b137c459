"""Masks of tensors, and the unbiased pruning of gradients.

Groups are M consecutive elements along one axis, from its start; a short last group keeps min(N, its length). Elements
are ranked by magnitude bits: with its sign bit cleared a number orders as an integer, in every format, from zero to
infinity and then NaN. Both as in `accelsim.sparsity.masks`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from accelsim.sparsity.pattern import Pattern

__all__ = ["backward_mask", "best_order", "magnitude_mask", "minimum_variance", "transposable_mask"]

_BITS_OF = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_BELOW_ANY_MAGNITUDE = -1


def _magnitudes(tensor: Tensor) -> Tensor:
    """Return integers that order as the magnitudes do."""
    bits = tensor.view(_BITS_OF[tensor.element_size()])
    return bits & torch.iinfo(bits.dtype).max


def _places(magnitudes: Tensor) -> Tensor:
    """Return the place of each element in the order of size along the last axis; of equal ones the first is ahead."""
    return magnitudes.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)


def _groups(tensor: Tensor, group: int, axis: int, padding: int = 0) -> Tensor:
    """Return (..., groups, M): the groups along `axis`, which comes last, short ones padded."""
    rows = tensor.movedim(axis, -1)
    count = -(-rows.shape[-1] // group)
    padded = functional.pad(rows, (0, count * group - rows.shape[-1]), value=padding)
    return padded.reshape(*rows.shape[:-1], count, group)


def _ungroup(groups: Tensor, length: int, axis: int) -> Tensor:
    """Undo `_groups` for an axis of `length`."""
    return groups.flatten(-2)[..., :length].movedim(-1, axis)


def magnitude_mask(tensor: Tensor, pattern: Pattern, axis: int) -> Tensor:
    """Return which elements N:M magnitude pruning keeps: the N largest of every M consecutive along `axis`.

    `tensor` is of any floating-point type and shape, the mask is boolean of the same shape. Of equal magnitudes the one
    at the lower index is kept, bit for bit as `accelsim.sparsity.masks.magnitude_mask` does; NaN ranks above infinity.
    """
    groups = _groups(_magnitudes(tensor), pattern.group, axis, _BELOW_ANY_MAGNITUDE)
    return _ungroup(_places(groups) < pattern.kept, tensor.shape[axis], axis)


def transposable_mask(tensor: Tensor, pattern: Pattern, axes: tuple[int, int] = (0, 1)) -> Tensor:
    """Return a mask with at most N kept in every row and every column of every M x M block on the plane of `axes`.

    Greedy, as the published code of Hubara et al. (NeurIPS 2021): from the largest magnitude of a block down, an
    element is kept while its row and its column have room. Not optimal, and it may leave a row or column below N. Of
    equal magnitudes the one first in row order is taken first.
    """
    size = pattern.group
    plane = _magnitudes(tensor).movedim(axes, (-2, -1))
    high, wide = plane.shape[-2:]
    padded = functional.pad(plane, (0, -wide % size, 0, -high % size), value=_BELOW_ANY_MAGNITUDE)
    blocks = padded.unflatten(-2, (-1, size)).unflatten(-1, (-1, size)).transpose(-3, -2)
    mask = _greedy(blocks.reshape(-1, size * size), pattern).reshape(blocks.shape)
    return mask.transpose(-3, -2).reshape(padded.shape)[..., :high, :wide].movedim((-2, -1), axes)


def _greedy(blocks: Tensor, pattern: Pattern) -> Tensor:
    """Mask blocks given as rows of M M magnitudes, all side by side."""
    order = blocks.argsort(dim=-1, descending=True, stable=True)
    mask = order < 0  # both made of the order: whoever watches sees the choice of weights and no new data
    row_room = order[:, : pattern.group] * 0 + pattern.kept
    column_room = row_room.clone()
    for position in order.split(1, dim=-1):
        row, column = position // pattern.group, position % pattern.group
        free = (row_room.gather(1, row) > 0) & (column_room.gather(1, column) > 0)
        mask.scatter_(1, position, free)
        row_room.scatter_add_(1, row, -free.long())
        column_room.scatter_add_(1, column, -free.long())
    return mask


def backward_mask(kept: Tensor, pattern: Pattern, axis: int, order: Tensor) -> Tensor:
    """Return the BP mask of Bi-Mask for the pruned weights `kept`, with `axis` in `order`.

    N:M along the reordered axis, by magnitude; what FF pruned stays pruned (Zhang et al., ICML 2023).
    """
    return _reordered_mask(_magnitudes(kept), pattern, axis, order)


def _reordered_mask(magnitudes: Tensor, pattern: Pattern, axis: int, order: Tensor) -> Tensor:
    groups = _groups(magnitudes.index_select(axis, order), pattern.group, axis, _BELOW_ANY_MAGNITUDE)
    return _ungroup((_places(groups) < pattern.kept) & (groups > 0), magnitudes.shape[axis], axis)


def best_order(kept: Tensor, pattern: Pattern, axis: int, candidates: int, repeats: int) -> Tensor:
    """Return the order of `axis`, of `candidates` random ones, under which `backward_mask` keeps the most weights.

    The axis consists of `repeats` parts (the groups of a convolution), each in the same order. Orders are drawn from
    torch's generator.
    """
    magnitudes, size = _magnitudes(kept), kept.shape[axis]
    orders = [_random_order(size // repeats, repeats, kept.device) for _ in range(candidates)]
    eligible = [_reordered_mask(magnitudes, pattern, axis, order).sum() for order in orders]
    best = torch.stack(eligible).argmax()
    return torch.cat(orders).index_select(0, best * size + torch.arange(size, device=kept.device))


def _random_order(size: int, repeats: int, device: torch.device) -> Tensor:
    order = torch.randperm(size, device=device)
    return torch.cat([order + part * size for part in range(repeats)])


def minimum_variance(gradient: Tensor, pattern: Pattern, axis: int) -> Tensor:
    """Return a random N:M tensor whose expectation is `gradient`, of the least variance that N:M allows.

    An element a is kept with probability p = min(1, c |a|), c such that the p of a group sum to N, and becomes a / p:
    no other p has less variance, which is the sum of a^2 (1/p - 1). For 1:2 and 2:4 these are the closed forms of
    Chmiel et al. (ICLR 2023). Which elements are kept together is left open by p; one uniform number per group decides
    (systematic sampling), drawn from torch's generator.
    """
    wide = torch.promote_types(gradient.dtype, torch.float32)
    values = _groups(gradient.to(wide), pattern.group, axis)
    chance = _inclusion(values.abs(), pattern.kept)
    upto = chance.cumsum(-1).clamp(max=pattern.kept)
    # element i is hit if a point of start, start + 1, ... lies between the sums before and after it
    points = (upto - torch.rand_like(upto[..., :1])).ceil()
    hit = functional.pad(points, (1, 0)).diff(dim=-1) > 0
    return _ungroup(torch.where(hit, values / chance, 0.0), gradient.shape[axis], axis).to(gradient.dtype)


def _inclusion(sizes: Tensor, kept: int) -> Tensor:
    """Return min(1, c |a|) for groups of |a| along the last axis, c such that they sum to `kept`."""
    ranked = sizes.sort(dim=-1, descending=True).values
    remaining = ranked.flip(-1).cumsum(-1).flip(-1)
    slots = torch.arange(kept, 0, -1, device=sizes.device)
    certain = (slots * ranked[..., :kept] > remaining[..., :kept]).sum(-1, keepdim=True)
    rest = remaining.gather(-1, certain)
    share = torch.where(rest > 0, sizes / rest, sizes > 0)
    return (share * (kept - certain)).clamp(max=1.0)
