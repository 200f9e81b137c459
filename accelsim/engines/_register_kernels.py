"""The register-level machine: one call of `step_os` or `step_stationary` steps an array cycle by cycle.

Every cycle has the same order: the controller emits one control word; the edges push operands into the lines; every PE
retires the sum that leaves its adder and issues the op of its control word; the drain, the preload and the exits move
one word per column. The controller schedules, the datapath obeys: it stores what the control word says when the adder
says so, and a word read before it is there is reported as a hazard.

How registers are stored. A line that moves one place per cycle is a ring whose head moves, so the words stay where they
are: the word that PE column j sees in cycle t is the word that entered the line in cycle t - j. Control words travel the
same way (PE (i, j) runs the word of cycle t - i * skew - j). Operand words travel by reference: the line holds the
address of the M-wide word, the PE selects inside it.

Kernels work on numbers and arrays, return a status and never raise.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "DONE",
    "HAZARDS",
    "RUNNING",
    "OsMachine",
    "StationaryMachine",
    "os_tiles",
    "stationary_tiles",
    "step_os",
    "step_stationary",
]

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    """Compile with numba, cached on disk where a cache directory can be written."""
    try:
        kernel: _F = njit(cache=True)(function)
    except RuntimeError:  # numba finds no writable place for its cache
        kernel = njit(function)
    return kernel


RUNNING = 0
DONE = 1
HAZARD_ACCUMULATOR = -1
HAZARD_DRAIN = -2
HAZARD_LINK = -3
HAZARD_SHADOW = -4
HAZARDS = {
    HAZARD_ACCUMULATOR: "an accumulator was read before its sum was ready",
    HAZARD_DRAIN: "an accumulator was drained before its sum was ready, or after the next tile wrote it",
    HAZARD_LINK: "a PE took a partial sum that was not the one it needed",
    HAZARD_SHADOW: "a shadow set was overwritten before its use, or used before it was full",
}

# Tile table, one row per tile. OS: first output row and column, size, PEs used, accumulators used.
# WS/IS: first output column, first slot row, PE rows and PE columns used.
TILE_M0, TILE_N0, TILE_M, TILE_N, TILE_R, TILE_C, TILE_IA, TILE_IB = range(8)
STAT_C0, STAT_W0, STAT_R, STAT_C = range(4)

# State that both machines keep between calls, then what each adds.
(
    CYCLE, HEAD, LINE_HEAD, TILE, ACTIVE, WAIT, NEED_ROW, CREDIT_ROW, NEED_COL, CREDIT_COL,
    FINISHED, OPS, X_WORDS, W_WORDS, Y_WORDS, STAGE, CYCLES,
) = range(17)  # fmt: skip
SLOT, ACC_A, ACC_B, RED_N, RED_Z, RED_SEEN, W_HEAD, DR_TILE, DR_POS, DRAINED, DR_HEAD, ISSUED_TILES = range(17, 29)
BATCH, ELEM, PART, PRE_TILE, PRE_POS, PRE_BUSY, PRE_HEAD, TOKEN = range(17, 25)
STATE_WORDS = 32

# Control word fields: source and destination register, kind of op, PE rows and columns of the tile; then those of OS
# (output rows, place in the x word, words loaded, ...) and those of WS/IS.
SRC, DST, KIND, RT, CT = range(5)
SRC2, XROW, XEND, XOFF, XLOAD, WCOL, WEND, WOFF, WLOAD = range(5, 14)
OS_FIELDS = 14
HELD, VEC, PARTNO, FINAL, COL0, ROW0, OWNER = range(5, 12)
STATIONARY_FIELDS = 12
BUBBLE, MAC, REDUCE = 0, 1, 2

# Drain control word (OS) and preload control word (WS/IS) fields.
D_TILE, D_BANK, D_P, D_A, D_P2, D_XP, D_XA = range(7)
P_ON, P_ROW, P_WORD, P_PART, P_COL0, P_COLS = range(6)


class OsMachine(NamedTuple):
    """An output-stationary array: sizes, operands in memory, and every register."""

    m: int
    n: int
    slots: int  # compact slots per output
    parts: int  # slots that share one x word
    lanes_per_op: int  # V
    word: int  # elements of an x word
    latency: int
    split: int  # partial sums per output (Z)
    overlapped: bool
    row_port: int  # 0: unlimited
    col_port: int
    rows: int  # PE rows and columns that any tile uses
    cols: int
    nregs: int
    bank: int  # accumulators of one bank
    span: int  # control words that can be in flight
    tiles: NDArray[np.int64]
    lanes: NDArray[np.int64]  # real lanes of each slot
    x: NDArray[np.float64]  # words of x, flat; row m is zero
    w: NDArray[np.float64]  # compact values, flat [column][slot][lane]; column n is zero
    wi: NDArray[np.int64]  # their positions in the x word
    hist: NDArray[np.int64]  # control words in flight
    drain_hist: NDArray[np.int64]
    x_line: NDArray[np.int64]
    x_valid: NDArray[np.uint64]
    w_line: NDArray[np.float64]
    wi_line: NDArray[np.int64]
    w_valid: NDArray[np.uint64]
    regs: NDArray[np.float64]
    pipe: NDArray[np.float64]
    drain: NDArray[np.float64]
    ready: NDArray[np.int64]  # per accumulator of PE (0, 0): cycle from which it may be read
    owner: NDArray[np.int64]  # and the tile that wrote it last
    token: NDArray[np.int64]  # per tile: cycle in which its column 0 is complete
    y: NDArray[np.float64]


class StationaryMachine(NamedTuple):
    """A weight- or input-stationary array: sizes, operands in memory, and every register."""

    input_held: bool  # IS
    chain: bool
    flat: bool
    length: int  # vectors streamed per tile
    words: int  # x words per row of x
    slots: int
    parts: int  # ops per streamed vector and PE row
    chunks: int  # preload cycles per PE row
    held: int  # registers of the stationary operand
    lanes_per_op: int
    word: int
    latency: int
    batch: int  # psums interleaved (chain)
    skew: int  # cycles between two PE rows
    overlapped: bool
    row_port: int
    col_port: int
    rows: int
    cols: int
    nregs: int
    span: int
    tiles: NDArray[np.int64]
    lanes: NDArray[np.int64]
    row_word: NDArray[np.int64]  # x word of each slot row
    row_lead: NDArray[np.int64]  # 1 where the slot row is the first of its x word
    x: NDArray[np.float64]
    w: NDArray[np.float64]
    wi: NDArray[np.int64]
    hist: NDArray[np.int64]
    pre_hist: NDArray[np.int64]
    line: NDArray[np.int64]
    line_valid: NDArray[np.uint64]
    held_valid: NDArray[np.uint64]
    held_v: NDArray[np.float64]
    held_i: NDArray[np.int64]
    shadow_v: NDArray[np.float64]
    shadow_i: NDArray[np.int64]
    shadow_fill: NDArray[np.int64]  # chunks in the shadow set of PE (i, 0)
    regs: NDArray[np.float64]
    pipe: NDArray[np.float64]
    ready: NDArray[np.int64]
    link_owner: NDArray[np.int64]
    start: NDArray[np.int64]  # cycle of each tile's first op
    taps: NDArray[np.int64]  # PE row counts at which psums leave
    y: NDArray[np.float64]


# ---------------------------------------------------------------------------------------------- shared pieces


@_compiled
def _popcount(bits: np.uint64) -> int:
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    bits += bits >> np.uint64(8)
    bits += bits >> np.uint64(16)
    bits += bits >> np.uint64(32)
    return np.int64(bits & np.uint64(0x7F))


@_compiled
def _count_both(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> int:
    """Columns in which both operands are valid."""
    total = 0
    for b in range(first.shape[0]):
        total += _popcount(first[b] & second[b])
    return total


@_compiled
def _shift_in(bits: NDArray[np.uint64], entering: int) -> None:
    """Move the valid bits of a row one column on."""
    carry = np.uint64(entering)
    for b in range(bits.shape[0]):
        leaving = bits[b] >> np.uint64(63)
        bits[b] = (bits[b] << np.uint64(1)) | carry
        carry = leaving


@_compiled
def _set_bit(bits: NDArray[np.uint64], j: int, value: int) -> None:
    mask = np.uint64(1) << np.uint64(j & 63)
    if value:
        bits[j >> 6] |= mask
    else:
        bits[j >> 6] &= ~mask


@_compiled
def _next_place(ring: NDArray[np.int64], head: int, span: int) -> int:
    """Move a ring (fields x places) on by one cycle; the place of the entering word comes back."""
    if head == 0:
        top = ring.shape[1] - span
        for f in range(ring.shape[0]):
            for d in range(span):
                ring[f, top + d] = ring[f, d]
        head = top
    return head - 1


@_compiled
def _port_short(need: int, credit: int, port: int) -> bool:
    """Whether words are still waiting outside a port of `port` words per cycle."""
    return port > 0 and need > credit


# ---------------------------------------------------------------------------------------------- output stationary


@_compiled
def os_tiles(m: int, n: int, rows: int, cols: int, ia: int, ib: int) -> NDArray[np.int64]:
    """Walk the tiles of an output-stationary GEMM, m blocks outer, n blocks inner."""
    count = 0
    for _ in range(0, m, rows * ia):
        for _ in range(0, n, cols * ib):
            count += 1
    tiles = np.zeros((count, 8), np.int64)
    t = 0
    for m0 in range(0, m, rows * ia):
        mt = min(rows * ia, m - m0)
        for n0 in range(0, n, cols * ib):
            nt = min(cols * ib, n - n0)
            tiles[t, TILE_M0], tiles[t, TILE_N0], tiles[t, TILE_M], tiles[t, TILE_N] = m0, n0, mt, nt
            tiles[t, TILE_R], tiles[t, TILE_C] = min(rows, mt), min(cols, nt)
            tiles[t, TILE_IA], tiles[t, TILE_IB] = -(-mt // rows), -(-nt // cols)
            t += 1
    return tiles


@_compiled
def _os_bubble(mc: OsMachine, h: int) -> None:
    mc.hist[KIND, h] = BUBBLE
    mc.hist[SRC, h] = (mc.nregs - 2) * mc.cols
    mc.hist[SRC2, h] = (mc.nregs - 2) * mc.cols
    mc.hist[DST, h] = (mc.nregs - 1) * mc.cols


@_compiled
def _os_may_start(mc: OsMachine, st: NDArray[np.int64]) -> bool:
    """The next tile needs its bank empty (two banks, overlapped) or the whole array empty."""
    if st[TILE] >= mc.tiles.shape[0]:
        return False
    if mc.overlapped:
        return bool(st[DRAINED] >= st[TILE] - 1)
    return bool(st[FINISHED] >= st[TILE])


@_compiled
def _os_start(mc: OsMachine, st: NDArray[np.int64]) -> None:
    st[ACTIVE] = 1
    for field in (SLOT, ACC_A, ACC_B, RED_N, RED_Z, WAIT, NEED_ROW, CREDIT_ROW, NEED_COL, CREDIT_COL):
        st[field] = 0


@_compiled
def _os_end_of_tile(mc: OsMachine, st: NDArray[np.int64]) -> None:
    """The last op takes r - 1 hops down column 0 and L adder stages; then the column can drain."""
    tile = st[TILE]
    mc.token[tile] = st[CYCLE] + (mc.tiles[tile, TILE_R] - 1) + mc.latency
    st[ACTIVE] = 0
    st[TILE] = tile + 1
    st[ISSUED_TILES] = tile + 1


@_compiled
def _os_claim(mc: OsMachine, st: NDArray[np.int64], register: int, reads: int) -> int:
    """Scoreboard of PE (0, 0): the register must be readable, and becomes readable L cycles from now."""
    if reads and (mc.ready[register] > st[CYCLE] or mc.owner[register] != st[TILE]):
        return HAZARD_ACCUMULATOR
    mc.ready[register] = st[CYCLE] + mc.latency
    mc.owner[register] = st[TILE]
    return RUNNING


@_compiled
def _os_mac(mc: OsMachine, st: NDArray[np.int64], h: int) -> int:
    """Emit the next multiply-accumulate of the tile, or a bubble while its last words wait at a port."""
    tile, slot, a, b = mc.tiles[st[TILE]], st[SLOT], st[ACC_A], st[ACC_B]
    ia, ib = tile[TILE_IA], tile[TILE_IB]
    x_load = mc.word if b == 0 and slot % mc.parts == 0 else 0
    w_load = mc.lanes[slot] if a == 0 else 0
    end_of_slot = a == ia - 1 and b == ib - 1
    last = end_of_slot and slot == mc.slots - 1
    sums = min(mc.split, mc.slots)
    if last and sums == 1 and (
        _port_short(st[NEED_ROW] + x_load, st[CREDIT_ROW], mc.row_port)
        or _port_short(st[NEED_COL] + w_load, st[CREDIT_COL], mc.col_port)
    ):
        _os_bubble(mc, h)
        return RUNNING
    st[NEED_ROW] += x_load
    st[NEED_COL] += w_load
    register = (st[TILE] & 1) * mc.bank * mc.overlapped + (slot % mc.split) * ia * ib + a * ib + b
    status = _os_claim(mc, st, register, slot >= mc.split)
    hist = mc.hist
    hist[KIND, h] = MAC
    hist[DST, h] = register * mc.cols
    hist[SRC, h] = (register if slot >= mc.split else mc.nregs - 2) * mc.cols
    hist[SRC2, h] = (mc.nregs - 2) * mc.cols
    hist[XROW, h], hist[XEND, h] = tile[TILE_M0] + a * tile[TILE_R], tile[TILE_M0] + tile[TILE_M]
    hist[XOFF, h], hist[XLOAD, h], hist[RT, h] = (slot // mc.parts) * mc.word, x_load, tile[TILE_R]
    hist[WCOL, h], hist[WEND, h] = tile[TILE_N0] + b * tile[TILE_C], tile[TILE_N0] + tile[TILE_N]
    hist[WOFF, h], hist[WLOAD, h], hist[CT, h] = slot * mc.lanes_per_op, w_load, tile[TILE_C]
    _os_next_mac(mc, st, ia, ib, sums)
    return status


@_compiled
def _os_next_mac(mc: OsMachine, st: NDArray[np.int64], ia: int, ib: int, sums: int) -> None:
    """Step the loops: slots outer, then the accumulators; wait where the adder would be read too early."""
    st[ACC_B] += 1
    if st[ACC_B] < ib:
        return
    st[ACC_B] = 0
    st[ACC_A] += 1
    if st[ACC_A] < ia:
        return
    st[ACC_A] = 0
    st[SLOT] += 1
    if st[SLOT] == mc.slots:
        if sums == 1:
            _os_end_of_tile(mc, st)
        else:
            st[RED_N] = sums
            st[WAIT] = mc.latency - 1
    elif st[SLOT] % mc.split == 0:
        st[WAIT] = max(0, mc.latency - ia * ib * mc.split)


@_compiled
def _os_reduce(mc: OsMachine, st: NDArray[np.int64], h: int) -> int:
    """Emit the next add of a reduction round: the upper half of the partial sums onto the lower."""
    tile, sums, z = mc.tiles[st[TILE]], st[RED_N], st[RED_Z]
    interleaved = tile[TILE_IA] * tile[TILE_IB]
    half = sums // 2
    end_of_round = z == half * interleaved - 1
    if end_of_round and sums - half == 1 and (
        _port_short(st[NEED_ROW], st[CREDIT_ROW], mc.row_port) or _port_short(st[NEED_COL], st[CREDIT_COL], mc.col_port)
    ):
        _os_bubble(mc, h)
        return RUNNING
    low = (st[TILE] & 1) * mc.bank * mc.overlapped + z
    high = low + (sums - half) * interleaved
    if mc.ready[high] > st[CYCLE] or mc.owner[high] != st[TILE]:
        return HAZARD_ACCUMULATOR
    status = _os_claim(mc, st, low, 1)
    mc.hist[KIND, h] = REDUCE
    mc.hist[SRC, h], mc.hist[SRC2, h], mc.hist[DST, h] = low * mc.cols, high * mc.cols, low * mc.cols
    st[RED_SEEN] = st[CYCLE]
    st[RED_Z] += 1
    if end_of_round:
        st[RED_Z] = 0
        st[RED_N] = sums - half
        st[WAIT] = mc.latency - 1
        if st[RED_N] == 1:
            _os_end_of_tile(mc, st)
    return status


@_compiled
def _os_control(mc: OsMachine, st: NDArray[np.int64], h: int) -> int:
    """The issue controller: one control word per cycle."""
    if not st[ACTIVE] and _os_may_start(mc, st):
        _os_start(mc, st)
    if not st[ACTIVE]:
        _os_bubble(mc, h)
        return RUNNING
    st[CREDIT_ROW] += mc.row_port
    st[CREDIT_COL] += mc.col_port
    if st[WAIT] > 0:
        st[WAIT] -= 1
        _os_bubble(mc, h)
        return RUNNING
    if st[RED_N] > 0:
        return _os_reduce(mc, st, h)
    return _os_mac(mc, st, h)


@_compiled
def _os_row_edges(mc: OsMachine, st: NDArray[np.int64], h: int, xh: int) -> None:
    """Push one x word into every row whose control word asks for it."""
    hist, words = mc.hist, 0
    row_elems = (mc.x.shape[0] // (mc.m + 1))
    for i in range(mc.rows):
        p = h + i
        valid = 0
        if hist[KIND, p] == MAC and i < hist[RT, p]:
            row = hist[XROW, p] + i
            if row >= hist[XEND, p]:
                row = mc.m
            mc.x_line[i, xh] = row * row_elems + hist[XOFF, p]
            words += hist[XLOAD, p]
            valid = 1
        _shift_in(mc.x_valid[i], valid)
    st[X_WORDS] += words


@_compiled
def _os_column_edges(mc: OsMachine, st: NDArray[np.int64], h: int) -> None:
    """Push one compact w word (values and positions) into every column whose control word asks for it."""
    hist, words, head, lanes = mc.hist, 0, st[W_HEAD], mc.lanes_per_op
    column_elems = mc.slots * lanes
    for b in range(mc.w_valid.shape[1]):
        mc.w_valid[head, b] = np.uint64(0)
    for j in range(mc.cols):
        p = h + j
        if hist[KIND, p] == MAC and j < hist[CT, p]:
            col = hist[WCOL, p] + j
            if col >= hist[WEND, p]:
                col = mc.n
            source = col * column_elems + hist[WOFF, p]
            for v in range(lanes):
                mc.w_line[head, v, j] = mc.w[source + v]
                mc.wi_line[head, v, j] = mc.wi[source + v]
            words += hist[WLOAD, p]
            _set_bit(mc.w_valid[head], j, 1)
    st[W_WORDS] += words


@_compiled
def _retire(regs: NDArray[np.float64], base: int, dst: NDArray[np.int64], p: int, pipe: NDArray[np.float64]) -> None:
    """Store the sums that leave the adders of one row."""
    for j in range(pipe.shape[0]):
        regs[base + dst[p + j] + j] = pipe[j]


@_compiled
def _os_row_plain(
    regs: NDArray[np.float64], base: int, src: NDArray[np.int64], dst: NDArray[np.int64], p: int, latency: int,
    pipe: NDArray[np.float64], w: NDArray[np.float64], wi: NDArray[np.int64], x: NDArray[np.float64],
    x_line: NDArray[np.int64], xh: int,
) -> None:  # fmt: skip
    """One row, one lane per PE, no reduction in flight: retire, select, multiply, add."""
    for j in range(pipe.shape[0]):
        regs[base + dst[p + latency + j] + j] = pipe[j]
        pipe[j] = regs[base + src[p + j] + j] + w[j] * x[x_line[xh + j] + wi[j]]


@_compiled
def _os_row_wide(
    mc: OsMachine, base: int, p: int, pipe: NDArray[np.float64], w: NDArray[np.float64], wi: NDArray[np.int64],
    x_line: NDArray[np.int64], xh: int,
) -> None:  # fmt: skip
    """One row of V-wide PEs: retire, then the dot product, then one accumulate."""
    regs, src, x = mc.regs, mc.hist[SRC], mc.x
    _retire(regs, base, mc.hist[DST], p + mc.latency, pipe)
    for j in range(pipe.shape[0]):
        pipe[j] = w[0, j] * x[x_line[xh + j] + wi[0, j]]
    for v in range(1, w.shape[0]):
        for j in range(pipe.shape[0]):
            pipe[j] += w[v, j] * x[x_line[xh + j] + wi[v, j]]
    for j in range(pipe.shape[0]):
        pipe[j] += regs[base + src[p + j] + j]


@_compiled
def _os_row_reducing(
    mc: OsMachine, base: int, p: int, pipe: NDArray[np.float64], w: NDArray[np.float64], wi: NDArray[np.int64],
    x_line: NDArray[np.int64], xh: int,
) -> None:  # fmt: skip
    """One row in which some PEs add two partial sums instead of a product."""
    regs, hist, x = mc.regs, mc.hist, mc.x
    _retire(regs, base, hist[DST], p + mc.latency, pipe)
    for j in range(pipe.shape[0]):
        total = 0.0
        if hist[KIND, p + j] == MAC:
            for v in range(w.shape[0]):
                total += w[v, j] * x[x_line[xh + j] + wi[v, j]]
        else:
            total = regs[base + hist[SRC2, p + j] + j]
        pipe[j] = regs[base + hist[SRC, p + j] + j] + total


@_compiled
def _os_array(mc: OsMachine, st: NDArray[np.int64], h: int, xh: int) -> int:
    """Step every PE by one cycle; the number of multiply-accumulates issued comes back."""
    reducing = st[CYCLE] - st[RED_SEEN] <= mc.rows + mc.cols
    issued = 0
    for i in range(mc.rows):
        head = st[W_HEAD] - i
        if head < 0:
            head += mc.rows
        base = i * mc.nregs * mc.cols
        pipe = mc.pipe[st[STAGE], i]
        if reducing:
            _os_row_reducing(mc, base, h + i, pipe, mc.w_line[head], mc.wi_line[head], mc.x_line[i], xh)
        elif mc.lanes_per_op == 1:
            _os_row_plain(
                mc.regs, base, mc.hist[SRC], mc.hist[DST], h + i, mc.latency, pipe,
                mc.w_line[head, 0], mc.wi_line[head, 0], mc.x, mc.x_line[i], xh,
            )  # fmt: skip
        else:
            _os_row_wide(mc, base, h + i, pipe, mc.w_line[head], mc.wi_line[head], mc.x_line[i], xh)
        issued += _count_both(mc.x_valid[i], mc.w_valid[head])
    return issued


@_compiled
def _os_drain_control(mc: OsMachine, st: NDArray[np.int64], h: int) -> int:
    """The drain controller of column 0: tiles in order, one value per cycle, once the whole column is ready.

    PE row r - 1 - p puts accumulator a on the drain chain in drain cycle p (I - 1) + a; it leaves the last row in
    drain cycle p I + a. Two rows may inject in one cycle; with I = 1 all do in the first.
    """
    word = mc.drain_hist
    word[D_TILE, h] = -1
    tile = st[DR_TILE]
    if tile >= st[ISSUED_TILES] or (st[DR_POS] == 0 and st[CYCLE] < mc.token[tile]):
        return RUNNING
    rows, interleaved = mc.tiles[tile, TILE_R], mc.tiles[tile, TILE_IA] * mc.tiles[tile, TILE_IB]
    pos = st[DR_POS]
    word[D_TILE, h] = tile
    word[D_BANK, h] = (tile & 1) * mc.bank * mc.overlapped
    step = max(1, interleaved - 1)
    word[D_P, h], word[D_A, h] = pos // step, pos % step
    word[D_P2, h] = pos // step - 1 if interleaved > 1 and pos % step == 0 else -1
    word[D_XP, h], word[D_XA, h] = pos // interleaved, pos % interleaved
    st[DR_POS] = pos + 1
    if pos + 1 == rows * interleaved:
        st[DR_POS] = 0
        st[DR_TILE] = tile + 1
        st[DRAINED] = tile + 1
    return RUNNING


@_compiled
def _os_inject(mc: OsMachine, st: NDArray[np.int64], word: NDArray[np.int64], j: int, p: int, a: int) -> int:
    """PE row r - 1 - p of column j puts accumulator a on the drain chain."""
    tile = word[D_TILE]
    i = mc.tiles[tile, TILE_R] - 1 - p
    register = word[D_BANK] + a
    if j == 0 and (mc.ready[register] + i > st[CYCLE] or mc.owner[register] != tile):
        return HAZARD_DRAIN
    place = (i - st[CYCLE]) % mc.rows
    mc.drain[place, j] = mc.regs[(i * mc.nregs + register) * mc.cols + j]
    return RUNNING


@_compiled
def _os_drain_column(mc: OsMachine, st: NDArray[np.int64], word: NDArray[np.int64], j: int) -> int:
    """Column j obeys its drain word: rows inject, the last row's value leaves the array."""
    tile = mc.tiles[word[D_TILE]]
    rows, ib = tile[TILE_R], tile[TILE_IB]
    interleaved = tile[TILE_IA] * ib
    status = RUNNING
    if interleaved == 1:
        if word[D_P] == 0:
            for p in range(rows):
                status = min(status, _os_inject(mc, st, word, j, p, 0))
    else:
        if word[D_P] < rows:
            status = min(status, _os_inject(mc, st, word, j, word[D_P], word[D_A]))
        if 0 <= word[D_P2] < rows:
            status = min(status, _os_inject(mc, st, word, j, word[D_P2], interleaved - 1))
    value = mc.drain[(rows - 1 - st[CYCLE]) % mc.rows, j]
    row = word[D_XA] // ib * rows + rows - 1 - word[D_XP]
    col = word[D_XA] % ib * tile[TILE_C] + j
    if row < tile[TILE_M] and col < tile[TILE_N]:
        mc.y[tile[TILE_M0] + row, tile[TILE_N0] + col] = value
    st[Y_WORDS] += 1
    st[CYCLES] = st[CYCLE] + 1
    if j == tile[TILE_C] - 1 and word[D_XP] == rows - 1 and word[D_XA] == interleaved - 1:
        st[FINISHED] += 1
    return status


@_compiled
def _os_drain(mc: OsMachine, st: NDArray[np.int64]) -> int:
    """Move the drain of every column by one cycle."""
    h = _next_place(mc.drain_hist, st[DR_HEAD], mc.cols)
    st[DR_HEAD] = h
    status = _os_drain_control(mc, st, h)
    for j in range(mc.cols):
        tile = mc.drain_hist[D_TILE, h + j]
        if tile >= 0 and j < mc.tiles[tile, TILE_C]:
            status = min(status, _os_drain_column(mc, st, mc.drain_hist[:, h + j], j))
    return status


@_compiled
def step_os(mc: OsMachine, st: NDArray[np.int64], issued: NDArray[np.int32]) -> int:
    """Step until `issued` is full or the GEMM is done; ops issued in each cycle go to `issued`."""
    for c in range(issued.shape[0]):
        h = _next_place(mc.hist, st[HEAD], mc.span)
        xh = _next_place(mc.x_line, st[LINE_HEAD], mc.cols)
        st[HEAD], st[LINE_HEAD] = h, xh
        st[W_HEAD] = st[W_HEAD] + 1 if st[W_HEAD] + 1 < mc.rows else 0
        st[STAGE] = st[STAGE] + 1 if st[STAGE] + 1 < mc.latency else 0
        status = _os_control(mc, st, h)
        _os_row_edges(mc, st, h, xh)
        _os_column_edges(mc, st, h)
        issued[c] = _os_array(mc, st, h, xh)
        st[OPS] += issued[c]
        status = min(status, _os_drain(mc, st))
        st[CYCLE] += 1
        if status < 0:
            return status
        if st[FINISHED] == mc.tiles.shape[0]:
            return DONE
    return RUNNING


# ---------------------------------------------------------------------------------------------- weight and input stationary


@_compiled
def stationary_tiles(columns: int, slot_rows: int, rows: int, cols: int) -> NDArray[np.int64]:
    """Walk the tiles of a weight- or input-stationary GEMM, column blocks outer, k blocks inner."""
    count = 0
    for _ in range(0, columns, cols):
        for _ in range(0, slot_rows, rows):
            count += 1
    tiles = np.zeros((count, 4), np.int64)
    t = 0
    for c0 in range(0, columns, cols):
        for w0 in range(0, slot_rows, rows):
            tiles[t, STAT_C0], tiles[t, STAT_W0] = c0, w0
            tiles[t, STAT_R], tiles[t, STAT_C] = min(rows, slot_rows - w0), min(cols, columns - c0)
            t += 1
    return tiles


@_compiled
def _st_bubble(mc: StationaryMachine, h: int) -> None:
    mc.hist[KIND, h] = BUBBLE
    mc.hist[HELD, h] = 0
    mc.hist[SRC, h] = (mc.nregs - 2) * mc.cols
    mc.hist[DST, h] = (mc.nregs - 1) * mc.cols


@_compiled
def _st_row_load(mc: StationaryMachine, slot_row: int, i: int, part: int) -> int:
    """Words that enter the edge of PE row i with this op."""
    if mc.input_held:
        return mc.lanes[slot_row * mc.parts + part]
    if mc.flat:
        return mc.word if i == 0 or mc.row_lead[slot_row] else 0
    return mc.word if part == 0 else 0


@_compiled
def _st_claim(mc: StationaryMachine, st: NDArray[np.int64], element: int, part: int) -> int:
    """Scoreboard of PE (0, 0): an accumulator is read only after the adder has written it."""
    if not mc.chain:
        return RUNNING
    if part > 0 and mc.ready[element] > st[CYCLE]:
        return HAZARD_ACCUMULATOR
    mc.ready[element] = st[CYCLE] + mc.latency
    return RUNNING


@_compiled
def _st_link_check(mc: StationaryMachine, h: int) -> int:
    """PE (1, 0) must find on its link the psum that its control word means, complete."""
    hist, final = mc.hist, mc.parts - 1
    p = h + mc.latency
    if hist[KIND, p] == MAC and (not mc.chain or hist[PARTNO, p] == final):
        mc.link_owner[hist[DST, p] // mc.cols - mc.nregs - mc.batch] = hist[OWNER, p]
    p = h + mc.skew
    if mc.rows == 1 or hist[KIND, p] != MAC or hist[RT, p] < 2 or (mc.chain and hist[PARTNO, p] > 0):
        return RUNNING
    if mc.link_owner[hist[SRC, p] // mc.cols - mc.batch] != hist[OWNER, p]:
        return HAZARD_LINK
    return RUNNING


@_compiled
def _st_may_start(mc: StationaryMachine, st: NDArray[np.int64]) -> bool:
    """The next tile streams as soon as its operand is in the shadow set of every PE of column 0."""
    return bool(st[TILE] < mc.tiles.shape[0] and st[PRE_TILE] > st[TILE])


@_compiled
def _st_start(mc: StationaryMachine, st: NDArray[np.int64]) -> None:
    st[ACTIVE] = 1
    mc.start[st[TILE]] = st[CYCLE]
    for field in (BATCH, ELEM, PART, WAIT, NEED_ROW, CREDIT_ROW):
        st[field] = 0


@_compiled
def _st_next_op(mc: StationaryMachine, st: NDArray[np.int64], batch: int) -> None:
    """Step the loops. Split: parts inside vectors. Chain: batches, then parts, then the vectors of the batch."""
    if not mc.chain:
        st[PART] += 1
        if st[PART] == mc.parts:
            st[PART] = 0
            st[BATCH] += 1
    else:
        st[ELEM] += 1
        if st[ELEM] == batch:
            st[ELEM] = 0
            st[PART] += 1
            if st[PART] < mc.parts:
                st[WAIT] = max(0, mc.latency - batch)
            else:
                st[PART] = 0
                st[BATCH] += batch
    if st[BATCH] == mc.length:
        st[ACTIVE] = 0
        st[TILE] += 1


@_compiled
def _st_control(mc: StationaryMachine, st: NDArray[np.int64], h: int) -> int:
    """The stream controller: one control word per cycle."""
    if not st[ACTIVE] and _st_may_start(mc, st):
        _st_start(mc, st)
    _st_bubble(mc, h)
    if not st[ACTIVE]:
        return RUNNING
    st[CREDIT_ROW] += mc.row_port
    if st[WAIT] > 0:
        st[WAIT] -= 1
        return RUNNING
    tile, element, part = mc.tiles[st[TILE]], st[ELEM], st[PART]
    batch = min(mc.batch, mc.length - st[BATCH]) if mc.chain else 1
    vector = st[BATCH] + element
    final = not mc.chain or part == mc.parts - 1
    last = vector == mc.length - 1 and part == mc.parts - 1
    load = _st_row_load(mc, tile[STAT_W0], 0, part)
    if last and _port_short(st[NEED_ROW] + load, st[CREDIT_ROW], mc.row_port):
        return RUNNING
    st[NEED_ROW] += load
    status = _st_claim(mc, st, element, part)
    hist, link = mc.hist, mc.batch + element
    hist[KIND, h], hist[RT, h], hist[CT, h] = MAC, tile[STAT_R], tile[STAT_C]
    hist[SRC, h] = (link if part == 0 or not mc.chain else element) * mc.cols
    hist[DST, h] = (mc.nregs + link if final else element) * mc.cols
    hist[HELD, h] = 0 if mc.input_held else part * mc.lanes_per_op * mc.cols
    hist[VEC, h], hist[PARTNO, h], hist[FINAL, h] = vector, part, int(final) + int(last)
    hist[COL0, h], hist[ROW0, h] = tile[STAT_C0], tile[STAT_W0]
    hist[OWNER, h] = (st[TILE] * mc.length + vector) * mc.parts + (0 if mc.chain else part)
    _st_next_op(mc, st, batch)
    return status


@_compiled
def _st_may_preload(mc: StationaryMachine, st: NDArray[np.int64]) -> bool:
    """A preload needs the shadow set of every PE of the last tile free (or, not overlapped, the whole array empty)."""
    tile = st[PRE_TILE]
    if tile >= mc.tiles.shape[0]:
        return False
    if not mc.overlapped:
        return bool(st[FINISHED] >= tile)
    if tile == 0:
        return True
    last_row = (mc.tiles[tile - 1, STAT_R] - 1) * mc.skew
    return bool(mc.start[tile - 1] >= 0 and st[CYCLE] > mc.start[tile - 1] + last_row)


@_compiled
def _st_chunk_elems(mc: StationaryMachine, slot_row: int, chunk: int) -> int:
    """Elements of the stationary operand that one preload cycle brings into one column."""
    if mc.input_held:
        return min(mc.lanes_per_op, mc.word - chunk * mc.lanes_per_op)
    return mc.lanes[slot_row * mc.parts + chunk]


@_compiled
def _st_preload_control(mc: StationaryMachine, st: NDArray[np.int64], h: int) -> int:
    """The preload controller of column 0: the last PE row's words first, one V-wide chunk per cycle."""
    word = mc.pre_hist
    word[P_ON, h] = 0
    if not st[PRE_BUSY]:
        if not _st_may_preload(mc, st):
            return RUNNING
        st[PRE_BUSY], st[PRE_POS], st[NEED_COL], st[CREDIT_COL] = 1, 0, 0, 0
    st[CREDIT_COL] += mc.col_port
    tile = mc.tiles[st[PRE_TILE]]
    row, chunk = tile[STAT_R] - 1 - st[PRE_POS] // mc.chunks, mc.chunks - 1 - st[PRE_POS] % mc.chunks
    elems = _st_chunk_elems(mc, tile[STAT_W0] + row, chunk)
    last = st[PRE_POS] == tile[STAT_R] * mc.chunks - 1
    if last and _port_short(st[NEED_COL] + elems, st[CREDIT_COL], mc.col_port):
        return RUNNING
    st[NEED_COL] += elems
    word[P_ON, h], word[P_ROW, h], word[P_PART, h] = 1, row, chunk
    word[P_WORD, h], word[P_COL0, h], word[P_COLS, h] = tile[STAT_W0] + row, tile[STAT_C0], tile[STAT_C]
    st[PRE_POS] += 1
    if last:
        st[PRE_BUSY] = 0
        st[PRE_TILE] += 1
    mc.shadow_fill[row] += 1
    return HAZARD_SHADOW if mc.shadow_fill[row] > mc.chunks else RUNNING


@_compiled
def _st_preload(mc: StationaryMachine, st: NDArray[np.int64]) -> int:
    """Move the preload of every column by one cycle.

    The shadow registers of a column are one shift chain; a word that enters in preload cycle p of T ends in place
    T - 1 - p, and is written there at once.
    """
    h = _next_place(mc.pre_hist, st[PRE_HEAD], mc.cols)
    st[PRE_HEAD] = h
    status = _st_preload_control(mc, st, h)
    word, lanes = mc.pre_hist, mc.lanes_per_op
    for j in range(mc.cols):
        p = h + j
        if word[P_ON, p] == 0 or j >= word[P_COLS, p]:
            continue
        column, slot_row, chunk, i = word[P_COL0, p] + j, word[P_WORD, p], word[P_PART, p], word[P_ROW, p]
        elems = _st_chunk_elems(mc, slot_row, chunk)
        if mc.input_held:
            source = (column * mc.words + slot_row) * mc.word + chunk * lanes
            for v in range(elems):
                mc.shadow_v[i, chunk * lanes + v, j] = mc.x[source + v]
            st[X_WORDS] += elems
        else:
            source = (column * mc.slots + slot_row * mc.parts + chunk) * lanes
            for v in range(lanes):
                mc.shadow_v[i, chunk * lanes + v, j] = mc.w[source + v]
                mc.shadow_i[i, chunk * lanes + v, j] = mc.wi[source + v]
            st[W_WORDS] += elems
    return status


@_compiled
def _st_switch_pe(mc: StationaryMachine, tile: NDArray[np.int64], i: int, j: int) -> None:
    """PE (i, j) takes its shadow set over, or falls idle where the tile does not use its column."""
    used = j < tile[STAT_C]
    _set_bit(mc.held_valid[i], j, used)
    if not used:
        return
    for u in range(mc.held):
        mc.held_v[i, u, j] = mc.shadow_v[i, u, j]
    if not mc.input_held:
        for u in range(mc.held):
            mc.held_i[i, u, j] = mc.shadow_i[i, u, j]


@_compiled
def _st_switch(mc: StationaryMachine, st: NDArray[np.int64]) -> int:
    """The first op of a tile carries a token: where it arrives, the PE switches to its shadow set."""
    status = RUNNING
    for t in range(st[TOKEN], mc.tiles.shape[0]):
        if mc.start[t] < 0:
            break
        tile = mc.tiles[t]
        age = st[CYCLE] - mc.start[t]
        for i in range(tile[STAT_R]):
            j = age - i * mc.skew
            if j < 0:
                break
            if j == 0:
                if mc.shadow_fill[i] != mc.chunks:
                    status = HAZARD_SHADOW
                mc.shadow_fill[i] = 0
            if j < mc.cols:
                _st_switch_pe(mc, tile, i, j)
        if t == st[TOKEN] and age >= (tile[STAT_R] - 1) * mc.skew + mc.cols - 1:
            st[TOKEN] += 1
    return status


@_compiled
def _st_row_edges(mc: StationaryMachine, st: NDArray[np.int64], h: int, lh: int) -> None:
    """Push one word into every row whose control word asks for it."""
    hist, words = mc.hist, 0
    for i in range(mc.rows):
        p = h + i * mc.skew
        valid = 0
        if hist[KIND, p] == MAC and i < hist[RT, p]:
            slot_row, part = hist[ROW0, p] + i, hist[PARTNO, p]
            if mc.input_held:
                mc.line[i, lh] = (hist[VEC, p] * mc.slots + slot_row * mc.parts + part) * mc.lanes_per_op
            else:
                mc.line[i, lh] = (hist[VEC, p] * mc.words + mc.row_word[slot_row]) * mc.word
            words += _st_row_load(mc, slot_row, i, part)
            valid = 1
        _shift_in(mc.line_valid[i], valid)
    if mc.input_held:
        st[W_WORDS] += words
    else:
        st[X_WORDS] += words


@_compiled
def _ws_row(
    mc: StationaryMachine, i: int, p: int, pipe: NDArray[np.float64], line: NDArray[np.int64], lh: int
) -> None:
    """One row of a weight-stationary array: retire, select from the passing x word, multiply by the held weights, add."""
    regs, src, dst, held, x = mc.regs, mc.hist[SRC], mc.hist[DST], mc.hist[HELD], mc.x
    base, cols, latency = i * mc.nregs * mc.cols, mc.cols, mc.latency
    hv, hi = mc.held_v[i].reshape(-1), mc.held_i[i].reshape(-1)
    if mc.lanes_per_op == 1:
        for j in range(cols):
            regs[base + dst[p + latency + j] + j] = pipe[j]
            at = held[p + j] + j
            pipe[j] = regs[base + src[p + j] + j] + hv[at] * x[line[lh + j] + hi[at]]
        return
    _retire(regs, base, dst, p + latency, pipe)
    for j in range(cols):
        at = held[p + j] + j
        pipe[j] = hv[at] * x[line[lh + j] + hi[at]]
    for v in range(1, mc.lanes_per_op):
        for j in range(cols):
            at = held[p + j] + v * cols + j
            pipe[j] += hv[at] * x[line[lh + j] + hi[at]]
    for j in range(cols):
        pipe[j] += regs[base + src[p + j] + j]


@_compiled
def _is_row(
    mc: StationaryMachine, i: int, p: int, pipe: NDArray[np.float64], line: NDArray[np.int64], lh: int
) -> None:
    """One row of an input-stationary array: retire, select from the held x word for the passing weights, add."""
    regs, src, dst, w, wi = mc.regs, mc.hist[SRC], mc.hist[DST], mc.w, mc.wi
    base, cols, latency = i * mc.nregs * mc.cols, mc.cols, mc.latency
    hv = mc.held_v[i].reshape(-1)
    if mc.lanes_per_op == 1:
        for j in range(cols):
            regs[base + dst[p + latency + j] + j] = pipe[j]
            at = line[lh + j]
            pipe[j] = regs[base + src[p + j] + j] + w[at] * hv[wi[at] * cols + j]
        return
    _retire(regs, base, dst, p + latency, pipe)
    for j in range(cols):
        at = line[lh + j]
        pipe[j] = w[at] * hv[wi[at] * cols + j]
    for v in range(1, mc.lanes_per_op):
        for j in range(cols):
            at = line[lh + j] + v
            pipe[j] += w[at] * hv[wi[at] * cols + j]
    for j in range(cols):
        pipe[j] += regs[base + src[p + j] + j]


@_compiled
def _st_array(mc: StationaryMachine, st: NDArray[np.int64], h: int, lh: int) -> int:
    """Step every PE by one cycle, upper rows first (what leaves an adder is on the link in the same cycle)."""
    issued = 0
    for i in range(mc.rows):
        if mc.input_held:
            _is_row(mc, i, h + i * mc.skew, mc.pipe[st[STAGE], i], mc.line[i], lh)
        else:
            _ws_row(mc, i, h + i * mc.skew, mc.pipe[st[STAGE], i], mc.line[i], lh)
        issued += _count_both(mc.line_valid[i], mc.held_valid[i])
    return issued


@_compiled
def _st_exits(mc: StationaryMachine, st: NDArray[np.int64], h: int) -> None:
    """Psums leave the array at the end of their last adder cycle in the last PE row of their tile."""
    hist = mc.hist
    stage = st[STAGE] + 1 if st[STAGE] + 1 < mc.latency else 0
    for rows in mc.taps:
        for j in range(mc.cols):
            p = h + (mc.latency - 1) + (rows - 1) * mc.skew + j
            if hist[KIND, p] != MAC or hist[FINAL, p] == 0 or hist[RT, p] != rows or j >= hist[CT, p]:
                continue
            value = mc.pipe[stage, rows - 1, j]
            if mc.input_held:
                mc.y[hist[COL0, p] + j, hist[VEC, p]] += value
            else:
                mc.y[hist[VEC, p], hist[COL0, p] + j] += value
            st[Y_WORDS] += 1
            st[CYCLES] = st[CYCLE] + 1
            if hist[FINAL, p] == 2 and j == hist[CT, p] - 1:
                st[FINISHED] += 1


@_compiled
def step_stationary(mc: StationaryMachine, st: NDArray[np.int64], issued: NDArray[np.int32]) -> int:
    """Step until `issued` is full or the GEMM is done; ops issued in each cycle go to `issued`."""
    for c in range(issued.shape[0]):
        h = _next_place(mc.hist, st[HEAD], mc.span)
        lh = _next_place(mc.line, st[LINE_HEAD], mc.cols)
        st[HEAD], st[LINE_HEAD] = h, lh
        st[STAGE] = st[STAGE] + 1 if st[STAGE] + 1 < mc.latency else 0
        status = _st_control(mc, st, h)
        status = min(status, _st_preload(mc, st))
        status = min(status, _st_link_check(mc, h))
        status = min(status, _st_switch(mc, st))
        _st_row_edges(mc, st, h, lh)
        issued[c] = _st_array(mc, st, h, lh)
        st[OPS] += issued[c]
        _st_exits(mc, st, h)
        st[CYCLE] += 1
        if status < 0:
            return status
        if st[FINISHED] == mc.tiles.shape[0]:
            return DONE
    return RUNNING
