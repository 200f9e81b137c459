"""How sparse an operand is: nonzeros, and nonzeros per group of M along an axis."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accelsim.sparsity.masks import group_histograms, tightest_of
from accelsim.sparsity.pattern import Pattern, by_chance
from accelsim.workload.tracer.autograd import version_of
from accelsim.workload.tracer.wrapped import memory_of

__all__ = ["Measured", "Meter", "QuickMeter"]

GROUPS = (4, 8, 16, 32)
_HEAD = 4096  # elements after which most operands without a pattern are known to have none


@dataclass(frozen=True, slots=True)
class Measured:
    """Nonzeros of one operand in one step; `groups` holds a histogram per group size along `axis`.

    `mask` is True where the operand is not zero, in the shape of the weight. `flattened` is the N:M pattern that the
    kernel of a convolution obeys along its flattened inputs and taps (Cin kh kw), where none so tight runs along
    `axis`.
    """

    nonzeros: int
    elements: int
    axis: str | None = None
    groups: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    mask: NDArray[np.bool_] | None = None
    flattened: str | None = None


class Meter:
    """Measures operands; a tensor that several products read is measured once."""

    _says_more = True  # of kernels, whether they obey a pattern along another line than the array's

    def __init__(self, *, keep_masks: bool) -> None:
        self._keep_masks = keep_masks
        self._known: dict[tuple[Hashable, ...], Measured] = {}

    def forget(self) -> None:
        """Forget all operands: their memory is free for others after the step."""
        self._known.clear()

    def density(self, tensor: Tensor, key: int) -> Measured:
        """Count the nonzeros of an activation or gradient that lies in the storage `key`."""
        name = (key, version_of(tensor), tensor.storage_offset(), tensor.shape, None)
        if name not in self._known:
            flat = _in_memory_order(memory_of(tensor).detach())
            sparse = tensor.layout is not torch.strided
            self._known[name] = Measured(_nonzeros(flat), tensor.numel() if sparse else flat.numel())
        return self._known[name]

    def weight(self, tensor: Tensor, key: int, dimension: int, axis: str) -> Measured:
        """Measure a weight operand along `dimension`, which the product reduces; groups of channels come first.

        Weights that are all zero (not trained yet) obey no pattern.
        """
        name = (key, version_of(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), dimension)
        if name not in self._known:
            nonzero = _nonzero_array(tensor)
            count = int(np.count_nonzero(nonzero))
            groups = group_histograms(nonzero, dimension, GROUPS) if count else {}
            mask = nonzero.reshape(-1, *nonzero.shape[2:]) if self._keep_masks and count < nonzero.size else None
            flattened = _flattened(nonzero, groups) if self._says_more and 0 < count < nonzero.size else None
            self._known[name] = Measured(count, nonzero.size, axis, groups, mask, flattened)
        return self._known[name]

    def gradient(
        self, tensor: Tensor, key: int, view: Callable[[Tensor], Tensor], dimension: int, axis: str
    ) -> Measured:
        """Measure a gradient: its density, and its groups where they are sparse in a way that chance would not give.

        Groups run along `dimension` of `view(tensor)`, which may copy and is made only where zeros are frequent.
        A pattern counts where it keeps at most half of each group and zeros that fall independently, with the same
        density, would obey it in all groups with a probability below one in a million. Lines of groups that have their
        zeros at the same places (whole rows or columns of zeros) are one observation. Places zero in all lines,
        as tokens behind the last attention that nothing reads, are no pattern at all.
        """
        return self._pattern_of(tensor, self.density(tensor, key), key, view, dimension, axis)

    def _pattern_of(
        self,
        tensor: Tensor,
        dense: Measured,
        key: int,
        view: Callable[[Tensor], Tensor],
        dimension: int,
        axis: str,
    ) -> Measured:
        if not 0 < dense.nonzeros <= dense.elements // 2:
            return dense
        name = (key, version_of(tensor), tensor.storage_offset(), tensor.shape, axis)
        if name not in self._known:
            self._known[name] = self._gradient_groups(view(tensor.detach()), dense, dimension, axis)
        return self._known[name]

    @staticmethod
    def _gradient_groups(tensor: Tensor, dense: Measured, dimension: int, axis: str) -> Measured:
        length = tensor.shape[dimension]
        rows = _HEAD * length // tensor.numel()
        head = tensor.narrow(dimension, 0, min(length, max(GROUPS) * max(1, rows // max(GROUPS))))
        for part in (head, tensor):
            nonzero = _nonzero_array(part)
            groups = {
                group: counts
                for group, counts in group_histograms(nonzero, dimension, GROUPS).items()
                if not counts[group // 2 + 1 :].any()
            }
            if not groups:
                return dense
        live = group_histograms(_live_places(nonzero, dimension), 0, list(groups))
        share = _share_of_distinct_lines(nonzero, dimension)
        meant = {
            group: counts for group, counts in groups.items()
            if _most(counts) < _most(live[group]) and not _by_chance(counts, dense, share)
        }  # fmt: skip
        return Measured(dense.nonzeros, dense.elements, axis, meant) if meant else dense


class QuickMeter(Meter):
    """Measures what a machine can skip: weights, and gradients that are sparse. Activations are not read."""

    _says_more = False

    def __init__(self) -> None:
        super().__init__(keep_masks=False)

    def density(self, tensor: Tensor, key: int) -> Measured | None:  # type: ignore[override]
        """Nothing: see above."""
        return None

    def gradient(  # type: ignore[override]
        self, tensor: Tensor, key: int, view: Callable[[Tensor], Tensor], dimension: int, axis: str
    ) -> Measured | None:
        """Measure a gradient with a pattern; one whose first elements are mostly nonzero is taken to have none."""
        head = _in_memory_order(memory_of(tensor).detach()).flatten()[: 16 * _HEAD]
        if 2 * _nonzeros(head) > head.numel():
            return None
        found = self._pattern_of(tensor, super().density(tensor, key), key, view, dimension, axis)
        return found if found.groups else None


def _flattened(nonzero: NDArray[np.bool_], groups: Mapping[int, NDArray[np.int64]]) -> str | None:
    """The pattern of a kernel (groups, outputs, inputs, taps...) along its flattened inputs and taps.

    None where it has none that keeps at most half, or one along the inputs that is as tight.
    """
    if nonzero.ndim < 4 or nonzero[0, 0, 0].size == 1:
        return None
    lines = nonzero.reshape(*nonzero.shape[:2], -1)
    found, along = tightest_of(group_histograms(lines, 2, GROUPS)), tightest_of(groups)
    tighter = found is not None and found.density <= 0.5 and (along is None or found.density < along.density)
    return str(found) if tighter else None


def _live_places(nonzero: NDArray[np.bool_], dimension: int) -> NDArray[np.bool_]:
    """Where along `dimension` any line has a nonzero."""
    live = np.moveaxis(nonzero, dimension, 0).reshape(nonzero.shape[dimension], -1).any(axis=1)
    return np.asarray(live)


def _most(counts: NDArray[np.int64]) -> int:
    """The most nonzeros that a group has."""
    return int(np.flatnonzero(counts)[-1])


def _share_of_distinct_lines(nonzero: NDArray[np.bool_], dimension: int) -> float:
    """Share of the lines along `dimension` that differ from each other in where their zeros are."""
    lines = np.moveaxis(nonzero, dimension, -1).reshape(-1, nonzero.shape[dimension])
    return len(np.unique(np.packbits(lines, axis=1), axis=0)) / len(lines)


def _by_chance(counts: NDArray[np.int64], dense: Measured, share: float) -> bool:
    """Whether independent zeros of the same density could leave no group with more nonzeros than were found.

    `share` of the groups are observations of their own.
    """
    most = max(1, _most(counts))
    obeyed = Pattern(kept=most, group=len(counts) - 1)
    return by_chance(obeyed, dense.nonzeros / dense.elements, share * int(counts.sum()))


def _in_memory_order(tensor: Tensor) -> Tensor:
    """Return a view of the distinct elements of `tensor` in the order of their memory."""
    for dimension in range(tensor.dim() - 1, -1, -1):
        if tensor.stride(dimension) == 0:
            tensor = tensor.select(dimension, 0)
    return tensor.permute(sorted(range(tensor.dim()), key=tensor.stride, reverse=True))


def _nonzeros(tensor: Tensor) -> int:
    if tensor.device.type == "cpu" and tensor.dtype in {torch.float32, torch.float64, torch.float16}:
        return int(np.count_nonzero(tensor.numpy()))  # ten times as fast as torch.count_nonzero
    return int(torch.count_nonzero(_comparable(tensor)))


def _nonzero_array(tensor: Tensor) -> NDArray[np.bool_]:
    array: NDArray[np.bool_] = (_comparable(tensor.detach()) != 0).cpu().numpy()
    return array


def _comparable(tensor: Tensor) -> Tensor:
    """Return an 8-bit floating-point tensor, which torch does not compare, as one of 16 bits."""
    return tensor.to(torch.bfloat16) if tensor.is_floating_point() and tensor.element_size() == 1 else tensor
