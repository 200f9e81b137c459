"""How much of its input an im2col operand reads from DRAM, tile by tile.

The rows (or columns) of such an operand are positions, its other side is channels x kernel taps. The buffer holds the
matrix; what a tile loads are the pixels under it, once each, spread over the taps on the way in. Neighbouring tiles of
positions share pixels, and each loads them. The order of the other side decides what a tile of it needs:

- `channels`: blocks of channels outermost, then taps, then the channels of a block. A tile loads the windows of the
  blocks that it touches, all taps of them.
- `taps`: taps outermost, then channels. A tile loads the pixels under the taps that it touches, for each channel.

A pixel is read at positions p1 < p2 < ... of an image, and so by one tile and by another one for each pair of
neighbours among them that a border between tiles parts. Along one dimension the neighbours stand e = dilation /
gcd(stride, dilation) positions apart, w = stride / gcd(stride, dilation) taps apart; in all, a pair moves by e along
one dimension and goes back to the first along those inside. Pairs that stand further apart than a tile is long are
always parted, the others are counted at each border. Borders fall on every position of an image in turn, so their
number is that of one turn at most.
"""

from math import gcd

import numpy as np

from accelsim.base.jit import borrowing, jit
from accelsim.cost.compiled.array_timing import ceil_div
from accelsim.cost.compiled.values import NO_WINDOW, ON_X, ElementBytes

READ, STARTS, ENDS, OPEN, FIRST_BEFORE, LAST_BEFORE = range(6)
"""By position along a dimension: pixels that it reads; pairs of neighbours that start there, end there, start before
and end behind; pixels read first, and last, before it."""


@jit
def steps_of(along):
    """Positions, and taps, from a pixel's reader to the next one."""
    common = gcd(along.stride, along.dilation)
    return along.dilation // common, along.stride // common


@jit
def taps_within(along, position):
    """The first tap that reads a pixel at a position, and the one behind the last."""
    start = position * along.stride - along.padding
    first = ceil_div(-start, along.dilation) if start < 0 else np.int64(0)
    end = min(along.taps, (along.pixels - 1 - start) // along.dilation + 1)
    return first, max(first, end)


@jit
def readers_of(along):
    """The table of a dimension (`READ` and so on), with a place behind the last position."""
    step, tap_step = steps_of(along)
    table = np.zeros((6, along.positions + 1), np.int64)
    for position in range(along.positions):
        first, end = taps_within(along, position)
        table[READ, position] = end - first
        if position + step < along.positions:
            table[STARTS, position] = max(0, end - max(first, tap_step))
            table[ENDS, position + step] = table[STARTS, position]
    for position in range(along.positions):
        after = position + 1
        table[OPEN, after] = table[OPEN, position] + table[STARTS, position] - table[ENDS, after]
        read = table[READ, position]
        table[FIRST_BEFORE, after] = table[FIRST_BEFORE, position] + read - table[ENDS, position]
        table[LAST_BEFORE, after] = table[LAST_BEFORE, position] + read - table[STARTS, position]
    return table


@jit
def near_columns(along, row_gap, tile, columns):
    """`FIRST_BEFORE` and `LAST_BEFORE` of the columns whose last reader in a row stands no further than a tile from the
    first in the next, `row_gap` positions from the first in its own."""
    step, tap_step = steps_of(along)
    if row_gap <= tile:
        return columns[FIRST_BEFORE:]
    near = np.zeros((2, along.positions + 1), np.int64)
    if row_gap - (along.taps - 1) // tap_step * step > tile:
        return near
    for position in range(along.positions):
        first, end = taps_within(along, position)
        for tap in range(first, end):
            if tap + tap_step < along.taps and position >= step:
                continue  # not its first reader
            more = min(tap // tap_step, (along.positions - 1 - position) // step)
            if row_gap - more * step <= tile:
                near[0, position + 1] += 1
                near[1, position + more * step + 1] += 1
    for position in range(along.positions):
        near[0, position + 1] += near[0, position]
        near[1, position + 1] += near[1, position]
    return near


@borrowing
def parted_planes(planes, rows, columns, z, y, x):
    """Pixels whose neighbouring readers in two planes are parted by a border before position (z, y, x)."""
    wide = columns[FIRST_BEFORE, columns.shape[1] - 1]
    high = rows[FIRST_BEFORE, rows.shape[1] - 1]
    last_rows = rows[LAST_BEFORE, y + 1] - rows[LAST_BEFORE, y]
    first_rows = rows[FIRST_BEFORE, y + 1] - rows[FIRST_BEFORE, y]
    done = rows[LAST_BEFORE, y] * wide + last_rows * columns[LAST_BEFORE, x]
    begun = rows[FIRST_BEFORE, y] * wide + first_rows * columns[FIRST_BEFORE, x]
    return planes[OPEN, z] * high * wide + planes[STARTS, z] * done + planes[ENDS, z] * (high * wide - begun)


@jit
def turns_of(borders, turn):
    """Borders at the first `turn` places, and how often all of these are met and how many once more."""
    return min(borders, turn), borders // turn, borders % turn


@jit
def pixels_read(window, tile):
    """Pixels of a channel that all tiles of `tile` positions load, each the union of the windows in it, of all images.

    Exact but for tiles that are longer than the nearest readers of a pixel in two planes (of three-dimensional
    kernels) stand apart and shorter than the furthest: there they are taken not to share.
    """
    planes, rows, columns = readers_of(window.depth), readers_of(window.height), readers_of(window.width)
    long, high, wide = window.depth.positions, window.height.positions, window.width.positions
    deep_near = window.depth.taps > 1 and steps_of(window.depth)[0] * high * wide <= tile
    in_row = steps_of(window.width)[0] <= tile
    near = near_columns(window.width, steps_of(window.height)[0] * wide, tile, columns)
    near_wide, all_wide = near[0, wide], columns[FIRST_BEFORE, wide]
    all_high = rows[FIRST_BEFORE, high]
    per_plane = all_high * all_wide + rows[STARTS].sum() * (all_wide - near_wide)
    if not in_row:
        per_plane += rows[READ].sum() * columns[STARTS].sum()
    image = planes[READ].sum() * per_plane
    if deep_near:
        image -= planes[STARTS].sum() * all_high * all_wide
    positions = long * high * wide
    borders = ceil_div(window.images * positions, tile) - 1
    walked, turns, more = turns_of(borders, positions // gcd(tile, positions))
    step_z, step_y, step_x = tile % positions // (high * wide), tile // wide % high, tile % wide
    z, y, x, met, met_more = 0, 0, 0, 0, 0
    for border in range(walked):
        if border == more:
            met_more = met
        x += step_x
        y += step_y + (x >= wide)
        x -= wide * (x >= wide)
        z += step_z + (y >= high)
        y -= high * (y >= high)
        z -= long * (z >= long)
        parted = rows[OPEN, y] * near_wide + rows[STARTS, y] * near[1, x] + rows[ENDS, y] * (near_wide - near[0, x])
        if in_row:
            parted += rows[READ, y] * (columns[OPEN, x] + columns[ENDS, x])
        met += planes[READ, z] * parted
        if deep_near:
            met += parted_planes(planes, rows, columns, z, y, x)
    if walked == more:
        met_more = met
    return window.images * image + turns * met + met_more


@jit
def block_loads(size, tile, block):
    """Blocks of `block` elements that tiles of a dimension touch, each counted for every tile that does."""
    cuts = ceil_div(size, tile) - 1
    return size // block + cuts - cuts // (block // gcd(tile, block))


@jit
def pixels_under(window, tile, first, last):
    """`pixels_read` under the taps `first` to `last` alone, found by a walk over the pixels of an image."""
    depth, height, width = window.depth, window.height, window.width
    positions = depth.positions * height.positions * width.positions
    parted, image = np.zeros(positions + 2, np.int64), np.int64(0)
    for z in range(depth.pixels):
        for y in range(height.pixels):
            for x in range(width.pixels):
                before = np.int64(-1)
                for tap in range(last, first - 1, -1):
                    at = position_of(window, z, y, x, tap)
                    if at < 0:
                        continue
                    if before < 0 or at - before >= tile:
                        image += 1
                    else:
                        parted[before + 1] += 1
                        parted[at + 1] -= 1
                    before = at
    parted = parted.cumsum()
    borders = ceil_div(window.images * positions, tile) - 1
    walked, turns, more = turns_of(borders, positions // gcd(tile, positions))
    met = np.zeros(walked + 1, np.int64)
    for border in range(walked):
        met[border + 1] = met[border] + parted[(border + 1) * tile % positions]
    return window.images * image + turns * met[walked] + met[more]


@jit
def position_of(window, z, y, x, tap):
    """The position at which a tap reads a pixel, -1 where there is none."""
    depth, height, width = window.depth, window.height, window.width
    plane = reader_at(depth, z, tap // (height.taps * width.taps))
    row = reader_at(height, y, tap // width.taps % height.taps)
    column = reader_at(width, x, tap % width.taps)
    if min(plane, row, column) < 0:
        return np.int64(-1)
    return (plane * height.positions + row) * width.positions + column


@jit
def reader_at(along, pixel, tap):
    """The position along a dimension at which a tap reads a pixel, -1 where there is none."""
    moved = pixel + along.padding - tap * along.dilation
    position = moved // along.stride
    if moved % along.stride != 0 or position >= along.positions:
        return np.int64(-1)
    return max(position, np.int64(-1))


@jit
def loaded_by_taps(window, tile, length, size):
    """Elements that tiles of `tile` positions and `length` of `size` = taps x channels load, taps outermost."""
    total, taps = np.int64(0), window.depth.taps * window.height.taps * window.width.taps
    channels = size // taps
    for start in range(0, size, length):
        end = min(start + length, size)
        first, last = start // channels, (end - 1) // channels
        opened, closed = start % channels, (end - 1) % channels + 1
        if first == last:
            total += (end - start) * pixels_under(window, tile, first, last)
            continue
        total += max(0, closed - opened) * pixels_under(window, tile, first, last)
        total += (channels - max(opened, closed)) * pixels_under(window, tile, first, last - 1)
        total += min(opened, closed) * pixels_under(window, tile, first + 1, last)
        total += max(0, opened - closed) * pixels_under(window, tile, first + 1, last - 1)
    return total


@jit
def loads_per_element(window, tile, taps_outer):
    """How often the tiles of one pass over an im2col operand load each element that it reads, on average."""
    length, across = tile[window.positions], tile[window.windows]
    once = window.images * touched(window.depth) * touched(window.height) * touched(window.width)
    if taps_outer:
        return loaded_by_taps(window, length, across, window.size) / (once * channels_of(window))
    taps = window.depth.taps * window.height.taps * window.width.taps
    blocks = block_loads(window.size, across, window.block * taps)
    return pixels_read(window, length) / once * (blocks * window.block / channels_of(window))


@jit
def channels_of(window):
    """Channels of an im2col operand, those that fill up the last group included."""
    return window.size // (window.depth.taps * window.height.taps * window.width.taps)


@jit
def touched(along):
    """Pixels that any position reads."""
    step, tap_step = steps_of(along)
    read = 0
    for position in range(along.positions):
        first, end = taps_within(along, position)
        read += end - first
        if position + step < along.positions:
            read -= max(0, end - max(first, tap_step))
    return read


@jit
def loaded_bytes(gemm, tile, taps_outer):
    """The `ElementBytes` of a GEMM in these tiles: those of an im2col operand as often as tiles load each element."""
    of, window = gemm.element_bytes, gemm.window
    on_x = window.operand == ON_X
    if window.operand == NO_WINDOW or (of.x if on_x else of.w) == 0:
        return of
    loads = loads_per_element(window, tile, taps_outer)
    return ElementBytes(
        x=of.x * (loads if on_x else 1.0), w=of.w * (1.0 if on_x else loads), y=of.y, psum=of.psum,
        buffered_x=of.buffered_x, buffered_w=of.buffered_w,
    )  # fmt: skip
