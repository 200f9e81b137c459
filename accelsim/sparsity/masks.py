"""N:M masks of weight tensors: which weights are kept, the compact form that is stored, and how sparse a tensor is.

Groups are M consecutive elements along one axis, from its start. Where M does not divide the axis the last group is
short: it is padded, never clipped, so it still occupies N slots of the compact form and keeps min(N, its length).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm, prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.sparsity.compiled.mask_kernels import (
    first_bad_group,
    histogram_kernel,
    magnitude_kernel,
    pack_kernel,
    unpack_kernel,
)
from accelsim.sparsity.pattern import Pattern

__all__ = [
    "Packed",
    "conformity",
    "group_histograms",
    "is_transposable",
    "magnitude_mask",
    "pack",
    "tightest_of",
    "tightest_pattern",
    "unpack",
]

_BITS_OF: Mapping[int, type[np.signedinteger]] = {2: np.int16, 4: np.int32, 8: np.int64}
_Element = TypeVar("_Element", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A tensor in compact N:M form: every group of M along `axis` is stored as N values and their positions.

    `values` (floating point) and `indices` (unsigned) have the `shape` of the dense tensor with `axis` shortened to
    groups x N, slot s of group g at g N + s. An index is a position within its group, 0 to M-1; no group names a
    position twice, and their order within a group is not prescribed. `filled` (unsigned), the dense shape with `axis`
    shortened to the number of groups, counts the slots of each group that hold kept elements: these come first. Spare
    slots hold zero at positions that are otherwise unused, in a short last group possibly beyond the end of the axis.
    The arrays become views that cannot be written; they take no part in comparisons.

    Raises `InputError` for arrays of other shapes or types and for indices or counts outside these rules.
    """

    pattern: Pattern
    axis: int
    shape: tuple[int, ...]
    values: NDArray[np.floating] = field(compare=False)
    indices: NDArray[np.unsignedinteger] = field(compare=False)
    filled: NDArray[np.uint16] = field(compare=False)

    def __post_init__(self) -> None:
        _check_axis(self.axis, self.shape)
        if self.axis < 0:
            raise InputError(
                f"axis {self.axis}: counted from the first axis, 0 to {len(self.shape) - 1}, is needed here"
            )
        groups = -(-self.shape[self.axis] // self.pattern.group)
        for name, kinds, slots in (
            ("values", "f", groups * self.pattern.kept),
            ("indices", "u", groups * self.pattern.kept),
            ("filled", "u", groups),
        ):
            array = getattr(self, name)
            expected = (*self.shape[: self.axis], slots, *self.shape[self.axis + 1 :])
            if array.shape != expected or array.dtype.kind not in kinds:
                kind = "floating-point" if kinds == "f" else "unsigned"
                raise InputError(
                    f"{name}: {array.dtype} of shape {array.shape}; {kind} of shape {expected} is needed for"
                    f" {self.pattern} along axis {self.axis} of {self.shape}"
                )
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        bad = first_bad_group(
            _planes(self.indices, self.axis),
            _planes(self.filled, self.axis),
            self.pattern.kept,
            self.pattern.group,
            self.shape[self.axis],
        )
        if bad >= 0:
            raise InputError(
                f"group {_group_position(self.filled.shape, bad)}: at most {self.pattern.kept} filled slots and"
                f" distinct indices below {self.pattern.group}, those of filled slots within the axis, are allowed"
            )


def _check_axis(axis: int, shape: tuple[int, ...]) -> int:
    """Return `axis` counted from the first one."""
    if not shape:
        raise InputError("shape (): a tensor with at least one axis is needed, its elements are grouped along it")
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or not -len(shape) <= axis < len(shape):
        raise InputError(
            f"axis {axis}: a whole number from {-len(shape)} to {len(shape) - 1} is needed for shape {shape}"
        )
    return int(axis) % len(shape)


def _check_floats(name: str, array: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return `array` contiguous and in native byte order; refuse all but 16, 32 and 64-bit floating point."""
    array = np.asarray(array)
    if array.dtype.kind != "f" or array.dtype.itemsize not in _BITS_OF:
        raise InputError(f"{name}: element type {array.dtype}; float16, float32 or float64 is allowed")
    shape = array.shape
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(shape)


def _nonzero_planes(name: str, array: NDArray[np.generic], axis: int) -> NDArray[np.uint8]:
    """Return (outer, length, inner) bytes, zero where `array` is (NaN is not), with `axis` in the middle.

    The other axes follow in the order of memory, so that no dense layout is copied.
    """
    array = np.asarray(array)
    if array.dtype.kind not in "bfiu":
        raise InputError(f"{name}: element type {array.dtype}; booleans or numbers are allowed")
    axis = _check_axis(axis, array.shape)
    if array.size == 0:
        raise InputError(f"{name}: shape {array.shape} has no elements; at least one group is needed")
    order = sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))
    nonzero = array if array.dtype.itemsize == 1 else array != 0
    return _planes(nonzero.transpose(order), order.index(axis)).view(np.uint8)


def _planes(array: NDArray[_Element], axis: int) -> NDArray[_Element]:
    """Return a contiguous (outer, length, inner) view or copy with `axis` in the middle."""
    shape = array.shape
    return np.ascontiguousarray(array).reshape(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))


def _bits(array: NDArray[np.floating]) -> NDArray[np.signedinteger]:
    """Return the same memory as signed integers of the elements' width."""
    return array.view(_BITS_OF[array.dtype.itemsize])


def _group_position(shape: tuple[int, ...], number: int) -> tuple[int, ...]:
    """Return the position of group `number` in an array of `shape` with one element per group."""
    return tuple(int(i) for i in np.unravel_index(number, shape))


def magnitude_mask(weights: NDArray[np.floating], pattern: Pattern, axis: int) -> NDArray[np.bool_]:
    """Return which weights N:M magnitude pruning keeps: the N largest |w| of every M consecutive along `axis`.

    `weights` is float16, float32 or float64 of any shape; the mask has the same shape. Of equal magnitudes (+0 and -0
    are equal, and so are infinities) the one at the lower index is kept. A short last group keeps min(N, its length).

    Raises `InputError` for other element types, for an axis that does not exist, and for NaN, which has no rank.

    >>> magnitude_mask(np.array([1.0, -3.0, 3.0, 2.0, 0.5]), Pattern(kept=1, group=4), axis=0)
    array([False,  True, False, False,  True])
    """
    weights = _check_floats("weights", weights)
    axis = _check_axis(axis, weights.shape)
    mask = np.empty(weights.shape, np.bool_)
    bits = _planes(_bits(weights), axis)
    integer = bits.dtype.type
    greatest = magnitude_kernel(
        bits, integer(np.iinfo(integer).max), pattern.kept, pattern.group, _planes(mask.view(np.uint8), axis)
    )
    if greatest > np.array(np.inf, weights.dtype).view(integer):
        position = _group_position(weights.shape, int(np.flatnonzero(np.isnan(weights))[0]))
        raise InputError(f"weights: NaN at position {position}; numbers and infinities can be ranked, NaN cannot")
    return mask


def pack(weights: NDArray[np.floating], pattern: Pattern, axis: int, mask: NDArray[np.bool_] | None = None) -> Packed:
    """Return the compact form of `weights` under `mask`, or under their magnitude mask where none is given.

    `weights` is float16, float32 or float64 of any shape and `mask`, if any, boolean of the same shape with at most N
    set in every group along `axis`. Kept values are stored bit for bit, in order of position.

    Raises `InputError` for a mask of another shape or type or with too many set in a group, and as `magnitude_mask`.
    """
    weights = _check_floats("weights", weights)
    axis = _check_axis(axis, weights.shape)
    if mask is None:
        mask = magnitude_mask(weights, pattern, axis)
    elif mask.shape != weights.shape or mask.dtype != np.bool_:
        raise InputError(
            f"mask: {mask.dtype} of shape {mask.shape}; bool of the shape of the weights, {weights.shape}, is needed"
        )
    groups = -(-weights.shape[axis] // pattern.group)
    before, after = weights.shape[:axis], weights.shape[axis + 1 :]
    values = np.zeros((*before, groups * pattern.kept, *after), weights.dtype)
    indices = np.zeros(values.shape, np.min_scalar_type(pattern.group - 1))
    filled = np.zeros((*before, groups, *after), np.uint16)
    crowded = pack_kernel(
        _planes(_bits(weights), axis),
        _planes(mask, axis),
        pattern.kept,
        pattern.group,
        _planes(_bits(values), axis),
        _planes(indices, axis),
        _planes(filled, axis),
    )
    if crowded >= 0:
        position = _group_position(filled.shape, crowded)
        raise InputError(
            f"mask: more than {pattern.kept} of {pattern.group} set in group {position}; {pattern} along axis {axis}"
            f" allows {pattern.kept}"
        )
    return Packed(pattern=pattern, axis=axis, shape=weights.shape, values=values, indices=indices, filled=filled)


def unpack(packed: Packed) -> NDArray[np.floating]:
    """Return the dense tensor: kept elements bit for bit where they were, +0 elsewhere.

    >>> dense = np.array([0.5, -4.0, 0.25, 3.0])
    >>> unpack(pack(dense, Pattern(kept=2, group=4), axis=0))
    array([ 0., -4.,  0.,  3.])
    """
    dense = np.zeros(packed.shape, packed.values.dtype)
    unpack_kernel(
        _planes(_bits(packed.values), packed.axis),
        _planes(packed.indices, packed.axis),
        _planes(packed.filled, packed.axis),
        packed.pattern.kept,
        packed.pattern.group,
        _planes(_bits(dense), packed.axis),
    )
    return dense


def conformity(tensor: NDArray[np.generic], pattern: Pattern, axis: int) -> float:
    """Return the share of groups along `axis` that have at most N nonzero elements, 0 to 1.

    `tensor` is a mask or the numbers themselves; NaN counts as nonzero. Raises `InputError` for an axis that does not
    exist, for elements that are no numbers, and for a tensor without elements.

    >>> conformity(np.array([1, 0, 1, 0, 1, 1]), Pattern(kept=1, group=2), axis=0)
    0.6666666666666666
    """
    counts = _histograms(_nonzero_planes("tensor", tensor, axis), [pattern.group])[pattern.group]
    return int(counts[: pattern.kept + 1].sum()) / int(counts.sum())


def _histograms(planes: NDArray[np.uint8], groups: Sequence[int]) -> dict[int, NDArray[np.int64]]:
    """Count the groups of `planes` by their nonzeros, for each group size in ascending order."""
    if not groups:
        return {}
    counted: list[int] = []  # the others are twice one of these
    for group in sorted(set(groups)):
        if group % 2 or group // 2 not in counted:
            counted.append(group)
    outer, length, inner = planes.shape
    if all(length % group == 0 for group in groups):
        outer, length = 1, outer * length
    pairs = np.zeros((len(counted), counted[-1] + 1, counted[-1] + 1), np.int64)
    single = np.zeros(pairs.shape[:2], np.int64)
    histogram_kernel(planes.reshape(outer, length, inner), np.array(counted), 2 * lcm(*counted), pairs, single)
    found = {}
    for index, group in enumerate(counted):
        both, alone = pairs[index, : group + 1, : group + 1], single[index, : group + 1]
        found[group] = both.sum(axis=0) + both.sum(axis=1) + alone
        if 2 * group in groups:
            found[2 * group] = np.append(alone, np.zeros(group, np.int64))
            nonzeros = np.arange(group + 1)
            np.add.at(found[2 * group], nonzeros[:, None] + nonzeros, both)
    return dict(sorted(found.items()))


def is_transposable(mask: NDArray[np.generic], pattern: Pattern, axes: tuple[int, int] = (0, 1)) -> bool:
    """Return whether one mask serves FF and BP: at most N nonzeros per row and per column of every M x M block.

    Blocks lie on the plane of `axes` (of a convolution's weights: its output and input channels), for every position
    along the other axes; blocks at the edge may be smaller. Raises `InputError` as `conformity`, and for equal axes.

    >>> is_transposable(np.eye(4), Pattern(kept=1, group=4))
    True
    """
    first, second = (_check_axis(axis, np.shape(mask)) for axis in axes)
    if first == second:
        raise InputError(f"axes {tuple(axes)}: two different axes are needed for shape {np.shape(mask)}")
    return all(conformity(mask, pattern, axis) == 1 for axis in (first, second))


def tightest_pattern(nonzero: NDArray[np.generic], axis: int, groups: Sequence[int] = (4, 8, 16, 32)) -> Pattern | None:
    """Return the pattern of lowest N/M that every group along `axis` obeys, or None where only N = M does.

    `nonzero` is a mask or the numbers themselves. `groups` are the M to try; of equal densities the smallest M, the
    stronger statement, wins. An M longer than the axis is not tried: its groups would all be short, and dense ones
    would look sparse. A tensor of zeros obeys 1:M. Raises `InputError` as `conformity`, and for an M outside 1 to 1024.

    >>> str(tightest_pattern(np.array([1, 0, 0, 1, 0, 1, 1, 0]), axis=0))
    '2:4'
    """
    return tightest_of(group_histograms(nonzero, axis, groups))


def tightest_of(histograms: Mapping[int, NDArray[np.int64]]) -> Pattern | None:
    """Return the pattern of lowest N/M that groups with these histograms obey (see `tightest_pattern`), or None."""
    found = [Pattern(kept=max(int(np.flatnonzero(counts)[-1]), 1), group=group) for group, counts in histograms.items()]
    sparse = [pattern for pattern in found if pattern.kept < pattern.group]
    return min(sparse, key=lambda pattern: (pattern.density, pattern.group), default=None)


def group_histograms(
    nonzero: NDArray[np.generic], axis: int, groups: Sequence[int] = (4, 8, 16, 32)
) -> dict[int, NDArray[np.int64]]:
    """Return how many groups along `axis` hold 0, 1, ... M nonzeros, for each group size M: M + 1 counts.

    `nonzero` is a mask or the numbers themselves; NaN counts as nonzero. A group size longer than the axis is left
    out: its groups would all be short. Raises `InputError` as `conformity`, and for an M outside 1 to 1024.

    >>> group_histograms(np.array([1, 0, 0, 1, 0, 1, 1, 1]), axis=0)
    {4: array([0, 0, 1, 1, 0]), 8: array([0, 0, 0, 0, 0, 1, 0, 0, 0])}
    """
    sizes = [Pattern(kept=1, group=group).group for group in groups]
    planes = _nonzero_planes("tensor", nonzero, axis)
    return _histograms(planes, [group for group in sizes if group <= planes.shape[1]])
