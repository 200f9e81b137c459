"""Compiled loops over N:M groups. Every array is seen as (outer, length, inner), groups run along `length`.

A group is M elements of stride `inner`; the last group of an axis may be short. Groups are ranked by magnitude bits:
with its sign bit cleared an IEEE number orders as an integer, from zero over denormals to infinity and then NaN, so no
floating-point comparison is needed and half precision works where the compiler has none.
"""

import numpy as np
from numpy.typing import NDArray

from accelsim.base.jit import jit

__all__ = ["first_bad_group", "histogram_kernel", "magnitude_kernel", "pack_kernel", "unpack_kernel"]

Bits = NDArray[np.signedinteger]
Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Positions = NDArray[np.unsignedinteger]
Filled = NDArray[np.uint16]
Sums = NDArray[np.int32]
Counts = NDArray[np.int64]
Scratch = tuple[Bits, Bits]

# Groups ranked side by side: the loops over them are what the compiler turns into vector instructions.
_SIDE_BY_SIDE = 64
_PADDING = -1
# Columns from which adding up whole rows, in vector instructions, beats walking down one column after another.
_WIDE = 8
# Running counts of a tile: 32 KiB of them stay in the nearest cache.
_TILE = 2**13


@jit
def _nth_largest(keys: Bits, width: int, group: int, kept: int, ranked: Bits, carry: Bits) -> None:
    """Leave the `kept` largest keys of every column in `ranked`, largest first, by insertion."""
    for i in range(group):
        for b in range(width):
            carry[b] = keys[i, b]
        for r in range(min(kept, i)):
            for b in range(width):
                held = ranked[r, b]
                entering = carry[b]
                ranked[r, b] = max(held, entering)
                carry[b] = min(held, entering)
        if i < kept:
            for b in range(width):
                ranked[i, b] = carry[b]


@jit
def _keep_largest(keys: Bits, width: int, group: int, kept: int, scratch: Scratch) -> np.signedinteger:
    """Overwrite keys[i, b] with 1 where it is among the `kept` largest of its column, else 0; the first of equals wins.

    Returns the largest key seen.
    """
    ranked, carry = scratch
    _nth_largest(keys, width, group, kept, ranked, carry)
    greatest: np.signedinteger = ranked[0, 0]
    for b in range(width):
        greatest = max(greatest, ranked[0, b])
        carry[b] = 0
    # carry becomes the number of threshold-sized keys that are still to be kept
    for r in range(kept):
        for b in range(width):
            carry[b] += ranked[r, b] == ranked[kept - 1, b]
    for i in range(group):
        for b in range(width):
            key = keys[i, b]
            threshold = ranked[kept - 1, b]
            equal = key == threshold
            keys[i, b] = (key > threshold) | (equal & (carry[b] > 0))
            carry[b] -= equal
    return greatest


@jit
def _mask_columns(
    bits: Bits, magnitude: np.signedinteger, kept: int, group: int, out: Bytes, keys: Bits, scratch: Scratch
) -> np.signedinteger:
    """Mask one (length, inner) plane, many neighbouring columns at once. Returns the largest key."""
    length, inner = bits.shape
    greatest = keys.dtype.type(0)
    for first in range(0, length, group):
        valid = min(group, length - first)
        for column in range(0, inner, _SIDE_BY_SIDE):
            width = min(_SIDE_BY_SIDE, inner - column)
            for i in range(valid):
                for b in range(width):
                    keys[i, b] = bits[first + i, column + b] & magnitude
            keys[valid:] = _PADDING
            greatest = max(greatest, _keep_largest(keys, width, group, kept, scratch))
            for i in range(valid):
                for b in range(width):
                    out[first + i, column + b] = keys[i, b]
    return greatest


@jit
def _place_groups(block: int, width: int, group: int, length: int, inner: int, start: Counts, valid: Counts) -> int:
    """Find where the groups `block` to `block + width` begin and how many elements they have. Returns the fewest."""
    per_axis = (length + group - 1) // group
    row, column = divmod(block, inner)
    fewest = group
    for b in range(width):
        o, g = divmod(row, per_axis)
        start[b] = (o * length + g * group) * inner + column
        valid[b] = min(group, length - g * group)
        fewest = min(fewest, valid[b])
        column += 1
        if column == inner:
            column = 0
            row += 1
    return fewest


@jit
def _fetch(
    bits: Bits,
    magnitude: np.signedinteger,
    group: int,
    inner: int,
    start: Counts,
    valid: Counts,
    fewest: int,
    keys: Bits,
) -> None:
    """Read the magnitudes of the groups at `start` into the columns of `keys`, short groups padded."""
    for i in range(fewest):
        for b in range(start.size):
            keys[i, b] = bits[start[b] + i * inner] & magnitude
    for i in range(fewest, group):
        for b in range(start.size):
            keys[i, b] = bits[start[b] + i * inner] & magnitude if i < valid[b] else _PADDING


@jit
def _mask_strided(
    bits: Bits,
    magnitude: np.signedinteger,
    kept: int,
    group: int,
    shape: tuple[int, ...],
    out: Bytes,
    keys: Bits,
    scratch: Scratch,
) -> np.signedinteger:
    """Mask a flat (outer, length, inner) array, fetching each group from where it lies. Returns the largest key."""
    outer, length, inner = shape
    total = outer * ((length + group - 1) // group) * inner
    start = np.empty(_SIDE_BY_SIDE, np.int64)
    valid = np.empty(_SIDE_BY_SIDE, np.int64)
    greatest = keys.dtype.type(0)
    for block in range(0, total, _SIDE_BY_SIDE):
        width = min(_SIDE_BY_SIDE, total - block)
        fewest = _place_groups(block, width, group, length, inner, start, valid)
        _fetch(bits, magnitude, group, inner, start[:width], valid, fewest, keys)
        greatest = max(greatest, _keep_largest(keys, width, group, kept, scratch))
        for i in range(fewest):
            for b in range(width):
                out[start[b] + i * inner] = keys[i, b]
        for i in range(fewest, group):
            for b in range(width):
                if i < valid[b]:
                    out[start[b] + i * inner] = keys[i, b]
    return greatest


@jit
def magnitude_kernel(bits: Bits, magnitude: np.signedinteger, kept: int, group: int, out: Bytes) -> np.signedinteger:
    """Write the N:M magnitude mask of `bits` into `out`, both contiguous (outer, length, inner).

    `bits` are the numbers as signed integers of their width, `magnitude` is the same integer type with all bits but the
    sign set, `out` is uint8. Returns the largest magnitude key: above infinity's, there is a NaN and `out` is void.
    """
    outer, _, inner = bits.shape
    keys = np.empty((group, _SIDE_BY_SIDE), bits.dtype)
    scratch = (np.empty((kept, _SIDE_BY_SIDE), bits.dtype), np.empty(_SIDE_BY_SIDE, bits.dtype))
    if inner < _SIDE_BY_SIDE:
        return _mask_strided(bits.reshape(-1), magnitude, kept, group, bits.shape, out.reshape(-1), keys, scratch)
    greatest = bits.dtype.type(0)
    for o in range(outer):
        greatest = max(greatest, _mask_columns(bits[o], magnitude, kept, group, out[o], keys, scratch))
    return greatest


@jit
def _name_spare_positions(mask: Flags, filled: Filled, kept: int, first: int, group: int, indices: Positions) -> None:
    """Give each spare slot of one row of groups the lowest position that is neither kept nor already named."""
    length, inner = mask.shape
    spare = False
    for c in range(inner):
        spare |= filled[c] < kept
    if not spare:
        return
    slot = filled.astype(np.int64)
    for i in range(group):
        for c in range(inner):
            if slot[c] < kept and not (first + i < length and mask[first + i, c]):
                indices[slot[c], c] = i
                slot[c] += 1


@jit
def pack_kernel(
    bits: Bits, mask: Flags, kept: int, group: int, values: Bits, indices: Positions, filled: Filled
) -> int:
    """Gather the masked elements of every group into its `kept` slots, in order of position.

    `bits` and `mask` are (outer, length, inner); `values` and `indices` (outer, groups * kept, inner) arrive as zeros,
    `filled` (outer, groups, inner) too. Spare slots get the lowest positions that the group does not use. Returns -1,
    or the flat number (in the order of `filled`) of a group with more than `kept` elements.
    """
    outer, length, inner = bits.shape
    per_axis = filled.shape[1]
    for o in range(outer):
        for g in range(per_axis):
            for i in range(min(group, length - g * group)):
                for c in range(inner):
                    if mask[o, g * group + i, c]:
                        slot = int(filled[o, g, c])
                        if slot == kept:
                            return int((o * per_axis + g) * inner + c)
                        values[o, g * kept + slot, c] = bits[o, g * group + i, c]
                        indices[o, g * kept + slot, c] = i
                        filled[o, g, c] = slot + 1
            _name_spare_positions(mask[o], filled[o, g], kept, g * group, group, indices[o, g * kept : (g + 1) * kept])
    return -1


@jit
def unpack_kernel(values: Bits, indices: Positions, filled: Filled, kept: int, group: int, out: Bits) -> None:
    """Scatter the filled slots of every group into `out` (outer, length, inner), which arrives as zeros."""
    outer, per_axis, inner = filled.shape
    for o in range(outer):
        for g in range(per_axis):
            for slot in range(kept):
                for c in range(inner):
                    if slot < filled[o, g, c]:
                        out[o, g * group + int(indices[o, g * kept + slot, c]), c] = values[o, g * kept + slot, c]


@jit
def first_bad_group(indices: Positions, filled: Filled, kept: int, group: int, length: int) -> int:
    """Return the flat number of the first group that cannot be unpacked, or -1.

    In a good group no position occurs twice, none reaches the group size, and those of filled slots lie on the axis.
    """
    outer, per_axis, inner = filled.shape
    last_user = np.full(group, -1, np.int64)
    for o in range(outer):
        for g in range(per_axis):
            for c in range(inner):
                number = int((o * per_axis + g) * inner + c)
                if filled[o, g, c] > kept:
                    return number
                for slot in range(kept):
                    position = int(indices[o, g * kept + slot, c])
                    if position >= group or last_user[position] == number:
                        return number
                    if slot < filled[o, g, c] and g * group + position >= length:
                        return number
                    last_user[position] = number
    return -1


@jit
def _sum_down(nonzero: Bytes, running: Sums, sums: Sums) -> None:
    """Write the running counts of nonzeros down every column of (rows, width) below the first row of `sums`, zeros."""
    rows, width = nonzero.shape
    if width < _WIDE:
        for c in range(width):
            total = 0
            for i in range(rows):
                total += nonzero[i, c] != 0
                sums[i + 1, c] = total
        return
    running[:width] = 0
    for i in range(rows):
        for c in range(width):
            running[c] += nonzero[i, c] != 0
            sums[i + 1, c] = running[c]


@jit
def _tally(sums: Sums, rows: int, width: int, group: int, pairs: Counts, single: Counts) -> None:
    """Count the groups down every column by their nonzeros, two neighbours in one entry of `pairs`.

    The second of the last pair may be short. A group left over has no neighbour and is counted in `single`.
    """
    paired = rows - rows % (2 * group)
    left = paired + group
    for c in range(width):
        start = 0
        for first in range(0, paired, 2 * group):
            middle = sums[first + group, c]
            end = sums[first + 2 * group, c]
            pairs[middle - start, end - middle] += 1
            start = end
        if left < rows:
            pairs[sums[left, c] - start, sums[rows, c] - sums[left, c]] += 1
        elif paired < rows:
            single[sums[rows, c] - start] += 1


@jit
def histogram_kernel(nonzero: Bytes, groups: Counts, seam: int, pairs: Counts, single: Counts) -> None:
    """Count the groups of a uint8 (outer, length, inner) array by their nonzeros, for several group sizes at once.

    For the i-th size in `groups` pairs[i, a, b] counts neighbouring groups with a and b nonzeros, single[i, a] groups
    without a neighbour: half as many increments, and a group of twice the size is such a pair. The array is taken in
    tiles of a multiple of `seam` rows, itself a multiple of twice every size.
    """
    outer, length, inner = nonzero.shape
    side = min(inner, _SIDE_BY_SIDE)
    rows = min(length, max(_TILE // side // seam, 1) * seam)
    sums = np.zeros((rows + 1, side), np.int32)
    running = np.empty(side, np.int32)
    for o in range(outer):
        for first in range(0, length, rows):
            height = min(rows, length - first)
            for column in range(0, inner, side):
                width = min(side, inner - column)
                _sum_down(nonzero[o, first : first + height, column : column + width], running, sums)
                for i in range(groups.size):
                    _tally(sums, height, width, groups[i], pairs[i], single[i])
