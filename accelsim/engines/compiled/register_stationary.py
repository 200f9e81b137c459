"""The register-level machine: one call of `step_os` or `step_stationary` steps an array cycle by cycle.

Every cycle has the same order: the controller emits one control word; the edges push operands into the lines; every PE
retires the sum that leaves its adder and issues the op of its control word; the drain, the preload and the exits move
one word per column. The controller schedules, the datapath obeys: it stores what the control word says when the adder
says so, and a word read before it is there is reported as a hazard.

How registers are stored. A line that moves one place per cycle is a ring whose head moves, so the words stay where they
are: the word that PE column j sees in cycle t is the word that entered the line in cycle t - j. Control words travel
the same way (PE (i, j) runs the word of cycle t - i * skew - j). Operand words that are only passed on travel by
reference: the line holds the address of the M-wide word, the PE selects inside it. Of the PEs of a row those that use
the same register stand side by side and are stepped in one loop (see `_registers`).

Kernels work on numbers and arrays, return a status and never raise.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from accelsim.base.jit import jit

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
    """Compile without reference counts (`_nrt`): no kernel makes an array, and counting took 80 % of the time."""
    return jit(function, _nrt=False)


def _inlined(function: _F) -> _F:
    """Compile into every caller: a call that hands a machine over copies its 40 fields."""
    return jit(function, forceinline=True, _nrt=False)


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
    FINISHED, OPS, X_WORDS, W_WORDS, Y_WORDS, STAGE, CYCLES, TURN,
) = range(18)  # fmt: skip
SLOT, ACC_A, ACC_B, RED_N, RED_Z, W_HEAD, DR_TILE, DR_POS, DRAINED, DR_HEAD, ISSUED_TILES = range(18, 29)
BATCH, ELEM, PART, PRE_TILE, PRE_POS, PRE_BUSY, PRE_HEAD, TOKEN = range(18, 26)
STATE_WORDS = 32

# Control word fields: what the adder does and with which registers, whether operands enter, PE rows and columns of the
# tile; then those of OS (output rows, place in the x word, words loaded, ...) and those of WS/IS.
RUN, MODE, BANK_IN, BANK_OUT, PHASE, PHASE2, KIND, RT, CT = range(9)  # PHASE2: of the second register, or the held slot
XROW, XEND, XOFF, XLOAD, WCOL, WEND, WOFF, WLOAD = range(9, 17)
OS_FIELDS = 17
HELD, VEC, PARTNO, FINAL, COL0, ROW0, OWNER, ELEMNO = range(9, 17)
STATIONARY_FIELDS = 17
BUBBLE, MAC = 0, 1  # KIND: do operands enter with the word
# MODE: the adder takes nothing, the product, a register and the product, two registers.
IDLE, FIRST, ADD, REDUCE = 0, 1, 2, 3

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
    places: int  # registers of one bank
    banks: int
    span: int  # control words that can be in flight
    tiles: NDArray[np.int64]
    lanes: NDArray[np.int64]  # real lanes of each slot
    x: NDArray[np.float64]  # flat [word][row][element]; row m is zero
    w: NDArray[np.float64]  # compact values, flat [slot][column][lane]; column n is zero
    wi: NDArray[np.uint32]  # their positions in the x word
    hist: NDArray[np.int64]  # control words in flight
    drain_hist: NDArray[np.int64]
    x_line: NDArray[np.uint32]
    x_valid: NDArray[np.uint64]
    w_line: NDArray[np.float64]
    wi_line: NDArray[np.uint32]
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
    places: int  # registers of one bank; bank 0 holds accumulators, bank 1 the link from the row above
    span: int
    tiles: NDArray[np.int64]
    lanes: NDArray[np.int64]
    row_word: NDArray[np.int64]  # x word of each slot row
    row_lead: NDArray[np.int64]  # 1 where the slot row is the first of its x word
    # Operands in memory, flat: the streamed one vector after vector for each slot row, the held one column by column.
    x: NDArray[np.float64]
    w: NDArray[np.float64]
    wi: NDArray[np.uint32]
    hist: NDArray[np.int64]
    pre_hist: NDArray[np.int64]
    line: NDArray[np.uint32]
    line_valid: NDArray[np.uint64]
    held_valid: NDArray[np.uint64]
    held_v: NDArray[np.float64]
    held_i: NDArray[np.uint32]
    shadow_v: NDArray[np.float64]
    shadow_i: NDArray[np.uint32]
    shadow_fill: NDArray[np.int64]  # chunks in the shadow set of PE (i, 0)
    regs: NDArray[np.float64]
    pipe: NDArray[np.float64]
    ready: NDArray[np.int64]
    link_owner: NDArray[np.int64]
    start: NDArray[np.int64]  # cycle of each tile's first op
    taps: NDArray[np.int64]  # PE row counts at which psums leave
    y: NDArray[np.float64]


# ---------------------------------------------------------------- shared pieces


@_inlined
def _popcount(bits: np.uint64) -> int:
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    bits += bits >> np.uint64(8)
    bits += bits >> np.uint64(16)
    bits += bits >> np.uint64(32)
    return int(bits & np.uint64(0x7F))


@_inlined
def _count_both(first: NDArray[np.uint64], i: int, second: NDArray[np.uint64], k: int) -> int:
    """Columns in which row i of one and row k of the other operand are valid."""
    total = 0
    for b in range(first.shape[1]):
        total += _popcount(first[i, b] & second[k, b])
    return total


@_inlined
def _shift_in(bits: NDArray[np.uint64], i: int, entering: int) -> None:
    """Move the valid bits of row i one column on."""
    carry = np.uint64(entering)
    for b in range(bits.shape[1]):
        leaving = bits[i, b] >> np.uint64(63)
        bits[i, b] = (bits[i, b] << np.uint64(1)) | carry
        carry = leaving


@_inlined
def _set_bit(bits: NDArray[np.uint64], i: int, j: int, value: int) -> None:
    mask = np.uint64(1) << np.uint64(j & 63)
    if value:
        bits[i, j >> 6] |= mask
    else:
        bits[i, j >> 6] &= ~mask


@_inlined
def _next_place(ring: NDArray[Any], head: int, span: int) -> int:
    """Move a ring (fields x places) on by one cycle; the place of the entering word comes back."""
    if head == 0:
        top = ring.shape[1] - span
        for f in range(ring.shape[0]):
            for d in range(span):
                ring[f, top + d] = ring[f, d]
        head = top
    return head - 1


@_inlined
def _port_short(need: int, credit: int, port: int) -> bool:
    """Whether words are still waiting outside a port of `port` words per cycle."""
    return port > 0 and need > credit


@_inlined
def _bubble(hist: NDArray[np.int64], h: int) -> None:
    """A control word that does nothing."""
    hist[KIND, h] = BUBBLE
    hist[MODE, h] = IDLE
    hist[RUN, h] = hist[RUN, h + 1] + 1 if hist[MODE, h + 1] == IDLE else 1


@_inlined
def _registers(
    hist: NDArray[np.int64], h: int, mode: int, bank_in: int, bank_out: int, phase: int, phase2: int
) -> None:
    """Fill the adder's part of a control word and note how many words before it name the same registers.

    The word that takes register a in cycle t carries the phase (a - t) mod P. PE (i, j) keeps register a of a bank in
    place (a + j + i) mod P (WS/IS: (a + j) mod P), so that all PEs of a row that hold words of one phase use the same
    place in a cycle, and are stepped together.
    """
    hist[MODE, h], hist[BANK_IN, h], hist[BANK_OUT, h] = mode, bank_in, bank_out
    hist[PHASE, h], hist[PHASE2, h] = phase, phase2
    same = True
    for f in range(MODE, PHASE2 + 1):
        same = same and hist[f, h] == hist[f, h + 1]
    hist[RUN, h] = hist[RUN, h + 1] + 1 if same else 1


@_inlined
def _around(value: int, places: int) -> int:
    """Fold a number from -places to 2 places - 1 into 0 to places - 1."""
    if value < 0:
        return value + places
    return value - places if value >= places else value


@_inlined
def _retire(
    regs: NDArray[np.float64], base: int, hist: NDArray[np.int64], p: int, turn: int, places: int,
    pipe: NDArray[np.float64], stage: int, cols: int, stride: int,
) -> None:  # fmt: skip
    """Store the sums that leave the adders of one row where their control words say."""
    j = 0
    while j < cols:
        count = min(hist[RUN, p + j], cols - j)
        if hist[MODE, p + j] != IDLE:
            place = _around(hist[PHASE, p + j] + turn, places)
            to = np.uint64(base + hist[BANK_OUT, p + j] + place * stride + j)
            source = np.uint64(stage + j)
            for u in range(count):
                regs[to + np.uint64(u)] = pipe[source + np.uint64(u)]
        j += count


# ---------------------------------------------------------------- output stationary


@_compiled
def os_tiles(tiles: NDArray[np.int64], m: int, n: int, array: tuple[int, int], interleave: tuple[int, int]) -> None:
    """Walk the tiles of an output-stationary GEMM, m blocks outer, n blocks inner."""
    (rows, cols), (ia, ib) = array, interleave
    t = 0
    for m0 in range(0, m, rows * ia):
        mt = min(rows * ia, m - m0)
        for n0 in range(0, n, cols * ib):
            nt = min(cols * ib, n - n0)
            tiles[t, TILE_M0], tiles[t, TILE_N0], tiles[t, TILE_M], tiles[t, TILE_N] = m0, n0, mt, nt
            tiles[t, TILE_R], tiles[t, TILE_C] = min(rows, mt), min(cols, nt)
            tiles[t, TILE_IA], tiles[t, TILE_IB] = -(-mt // rows), -(-nt // cols)
            t += 1


@_inlined
def _os_may_start(mc: OsMachine, st: NDArray[np.int64]) -> bool:
    """The next tile needs its bank empty (two banks, overlapped) or the whole array empty."""
    if st[TILE] >= mc.tiles.shape[0]:
        return False
    if mc.overlapped:
        return bool(st[DRAINED] >= st[TILE] - 1)
    return bool(st[FINISHED] >= st[TILE])


@_inlined
def _os_start(mc: OsMachine, st: NDArray[np.int64]) -> None:
    st[ACTIVE] = 1
    for field in (SLOT, ACC_A, ACC_B, RED_N, RED_Z, WAIT, NEED_ROW, CREDIT_ROW, NEED_COL, CREDIT_COL):
        st[field] = 0


@_inlined
def _os_end_of_tile(mc: OsMachine, st: NDArray[np.int64]) -> None:
    """The last op takes r - 1 hops down column 0 and L adder stages; then the column can drain."""
    tile = st[TILE]
    mc.token[tile] = st[CYCLE] + (mc.tiles[tile, TILE_R] - 1) + mc.latency
    st[ACTIVE] = 0
    st[TILE] = tile + 1
    st[ISSUED_TILES] = tile + 1


@_inlined
def _os_claim(mc: OsMachine, st: NDArray[np.int64], register: int, reads: int) -> int:
    """Scoreboard of PE (0, 0): the register must be readable, and becomes readable L cycles from now."""
    if reads and (mc.ready[register] > st[CYCLE] or mc.owner[register] != st[TILE]):
        return HAZARD_ACCUMULATOR
    mc.ready[register] = st[CYCLE] + mc.latency
    mc.owner[register] = st[TILE]
    return RUNNING


@_inlined
def _os_mac(mc: OsMachine, st: NDArray[np.int64], h: int) -> int:
    """Emit the next multiply-accumulate of the tile, or a bubble while its last words wait at a port."""
    tiles, tile, slot, a, b = mc.tiles, st[TILE], st[SLOT], st[ACC_A], st[ACC_B]
    ia, ib = tiles[tile, TILE_IA], tiles[tile, TILE_IB]
    x_load = mc.word if b == 0 and slot % mc.parts == 0 else 0
    w_load = mc.lanes[slot] if a == 0 else 0
    end_of_slot = a == ia - 1 and b == ib - 1
    last = end_of_slot and slot == mc.slots - 1
    sums = min(mc.split, mc.slots)
    if (
        last
        and sums == 1
        and (
            _port_short(st[NEED_ROW] + x_load, st[CREDIT_ROW], mc.row_port)
            or _port_short(st[NEED_COL] + w_load, st[CREDIT_COL], mc.col_port)
        )
    ):
        _bubble(mc.hist, h)
        return RUNNING
    st[NEED_ROW] += x_load
    st[NEED_COL] += w_load
    register = (slot % mc.split) * ia * ib + a * ib + b
    bank = (st[TILE] & 1) * mc.overlapped
    status = _os_claim(mc, st, bank * mc.places + register, slot >= mc.split)
    hist, base = mc.hist, bank * mc.places * mc.rows * mc.cols
    hist[KIND, h] = MAC
    phase = _around(register - st[TURN], mc.places)
    _registers(hist, h, ADD if slot >= mc.split else FIRST, base, base, phase, 0)
    hist[XROW, h], hist[XEND, h] = (
        tiles[tile, TILE_M0] + a * tiles[tile, TILE_R],
        tiles[tile, TILE_M0] + tiles[tile, TILE_M],
    )
    hist[XOFF, h], hist[XLOAD, h], hist[RT, h] = (slot // mc.parts) * (mc.m + 1) * mc.word, x_load, tiles[tile, TILE_R]
    hist[WCOL, h], hist[WEND, h] = (
        tiles[tile, TILE_N0] + b * tiles[tile, TILE_C],
        tiles[tile, TILE_N0] + tiles[tile, TILE_N],
    )
    hist[WOFF, h], hist[WLOAD, h], hist[CT, h] = slot * (mc.n + 1) * mc.lanes_per_op, w_load, tiles[tile, TILE_C]
    _os_next_mac(mc, st, ia, ib, sums)
    return status


@_inlined
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


@_inlined
def _os_reduce(mc: OsMachine, st: NDArray[np.int64], h: int) -> int:
    """Emit the next add of a reduction round: the upper half of the partial sums onto the lower."""
    tile, sums, z = st[TILE], st[RED_N], st[RED_Z]
    interleaved = mc.tiles[tile, TILE_IA] * mc.tiles[tile, TILE_IB]
    half = sums // 2
    end_of_round = z == half * interleaved - 1
    if (
        end_of_round
        and sums - half == 1
        and (
            _port_short(st[NEED_ROW], st[CREDIT_ROW], mc.row_port)
            or _port_short(st[NEED_COL], st[CREDIT_COL], mc.col_port)
        )
    ):
        _bubble(mc.hist, h)
        return RUNNING
    bank, step = (st[TILE] & 1) * mc.overlapped, (sums - half) * interleaved
    low = bank * mc.places + z
    if mc.ready[low + step] > st[CYCLE] or mc.owner[low + step] != st[TILE]:
        return HAZARD_ACCUMULATOR
    status = _os_claim(mc, st, low, 1)
    mc.hist[KIND, h] = BUBBLE
    phase, base = _around(z - st[TURN], mc.places), bank * mc.places * mc.rows * mc.cols
    _registers(mc.hist, h, REDUCE, base, base, phase, _around(phase + step, mc.places))
    st[RED_Z] += 1
    if end_of_round:
        st[RED_Z] = 0
        st[RED_N] = sums - half
        st[WAIT] = mc.latency - 1
        if st[RED_N] == 1:
            _os_end_of_tile(mc, st)
    return status


@_inlined
def _os_wait(mc: OsMachine, st: NDArray[np.int64], h: int) -> None:
    """A bubble. Between blocks of slots it may name the next, unused register: that leaves the run of words whole."""
    _bubble(mc.hist, h)
    interleaved = mc.tiles[st[TILE], TILE_IA] * mc.tiles[st[TILE], TILE_IB]
    if st[RED_N] == 0 and mc.places == max(mc.latency, interleaved * mc.split):
        hist = mc.hist
        _registers(
            hist,
            h,
            hist[MODE, h + 1],
            hist[BANK_IN, h + 1],
            hist[BANK_OUT, h + 1],
            hist[PHASE, h + 1],
            hist[PHASE2, h + 1],
        )


@_inlined
def _os_control(mc: OsMachine, st: NDArray[np.int64], h: int) -> int:
    """The issue controller: one control word per cycle."""
    if not st[ACTIVE] and _os_may_start(mc, st):
        _os_start(mc, st)
    if not st[ACTIVE]:
        _bubble(mc.hist, h)
        return RUNNING
    st[CREDIT_ROW] += mc.row_port
    st[CREDIT_COL] += mc.col_port
    if st[WAIT] > 0:
        st[WAIT] -= 1
        _os_wait(mc, st, h)
        return RUNNING
    if st[RED_N] > 0:
        return _os_reduce(mc, st, h)
    return _os_mac(mc, st, h)


@_inlined
def _os_row_edges(mc: OsMachine, st: NDArray[np.int64], h: int, xh: int) -> None:
    """Push one x word into every row whose control word asks for it."""
    hist, words = mc.hist, 0
    for i in range(mc.rows):
        p = h + i
        valid = 0
        if hist[KIND, p] == MAC and i < hist[RT, p]:
            row = hist[XROW, p] + i
            if row >= hist[XEND, p]:
                row = mc.m
            mc.x_line[i, xh] = hist[XOFF, p] + row * mc.word
            words += hist[XLOAD, p]
            valid = 1
        _shift_in(mc.x_valid, i, valid)
    st[X_WORDS] += words


@_inlined
def _os_column_edges(mc: OsMachine, st: NDArray[np.int64], h: int) -> None:
    """Push one compact w word (values and positions) into every column whose control word asks for it."""
    hist, words, head, lanes = mc.hist, 0, st[W_HEAD], mc.lanes_per_op
    for b in range(mc.w_valid.shape[1]):
        mc.w_valid[head, b] = np.uint64(0)
    for j in range(mc.cols):
        p = h + j
        if hist[KIND, p] == MAC and j < hist[CT, p]:
            col = hist[WCOL, p] + j
            if col >= hist[WEND, p]:
                col = mc.n
            source = hist[WOFF, p] + col * lanes
            for v in range(lanes):
                mc.w_line[head, v, j] = mc.w[source + v]
                mc.wi_line[head, v, j] = mc.wi[source + v]
            words += hist[WLOAD, p]
            _set_bit(mc.w_valid, head, j, 1)
    st[W_WORDS] += words


@_inlined
def _os_run_plain(
    regs: NDArray[np.float64], source: int, adds: bool, pipe: NDArray[np.float64], stage: int, count: int,
    w: NDArray[np.float64], wi: NDArray[np.uint32], w_at: int, x: NDArray[np.float64], line: NDArray[np.uint32],
    x_at: int,
) -> None:  # fmt: skip
    """PEs with one lane whose control words name the same registers: select, multiply, add."""
    a, s, b, c = np.uint64(source), np.uint64(stage), np.uint64(w_at), np.uint64(x_at)
    if adds:
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] = regs[a + u] + w[b + u] * x[np.uint64(line[c + u]) + np.uint64(wi[b + u])]
    else:
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] = w[b + u] * x[np.uint64(line[c + u]) + np.uint64(wi[b + u])]


@_inlined
def _os_run_wide(
    regs: NDArray[np.float64], source: int, adds: bool, pipe: NDArray[np.float64], stage: int, count: int,
    w: NDArray[np.float64], wi: NDArray[np.uint32], w_at: int, x: NDArray[np.float64], line: NDArray[np.uint32],
    x_at: int, lanes: int, cols: int,
) -> None:  # fmt: skip
    """The same for V lanes: the dot product, then one add."""
    a, s, b, c = np.uint64(source), np.uint64(stage), np.uint64(w_at), np.uint64(x_at)
    for v in range(count):
        u = np.uint64(v)
        pipe[s + u] = w[b + u] * x[np.uint64(line[c + u]) + np.uint64(wi[b + u])]
    for _ in range(1, lanes):
        b += np.uint64(cols)
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] += w[b + u] * x[np.uint64(line[c + u]) + np.uint64(wi[b + u])]
    if adds:
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] += regs[a + u]


@_inlined
def _reduce_run(
    regs: NDArray[np.float64], low: int, high: int, pipe: NDArray[np.float64], stage: int, count: int
) -> None:  # fmt: skip
    """PEs that add two of their partial sums."""
    for v in range(count):
        pipe[stage + v] = regs[low + v] + regs[high + v]


@_inlined
def _os_issue(
    hist: NDArray[np.int64], p: int, turn: int, places: int, regs: NDArray[np.float64], base: int,
    pipe: NDArray[np.float64], stage: int, cols: int, stride: int, lanes: int, w: NDArray[np.float64],
    wi: NDArray[np.uint32], w_at: int, x: NDArray[np.float64], line: NDArray[np.uint32],
    x_at: int,
) -> None:  # fmt: skip
    """Issue the ops of one row, run by run."""
    j = 0
    while j < cols:
        count, mode = min(hist[RUN, p + j], cols - j), hist[MODE, p + j]
        if mode != IDLE:
            bank = base + hist[BANK_IN, p + j] + j
            source = bank + _around(hist[PHASE, p + j] + turn, places) * stride
            if mode == REDUCE:
                other = bank + _around(hist[PHASE2, p + j] + turn, places) * stride
                _reduce_run(regs, source, other, pipe, stage + j, count)
            elif lanes == 1:
                _os_run_plain(regs, source, mode == ADD, pipe, stage + j, count, w, wi, w_at + j, x, line, x_at + j)
            else:
                _os_run_wide(
                    regs, source, mode == ADD, pipe, stage + j, count, w, wi, w_at + j, x, line, x_at + j, lanes, cols
                )
        j += count


@_inlined
def _os_array(mc: OsMachine, st: NDArray[np.int64], h: int, xh: int) -> int:
    """Step every PE by one cycle; the number of multiply-accumulates issued comes back."""
    cols, places, latency = mc.cols, mc.places, mc.latency
    hist, regs, pipe, w, wi, x, line = mc.hist, mc.regs, mc.pipe, mc.w_line, mc.wi_line, mc.x, mc.x_line
    w_flat, wi_flat, line_flat = w.reshape(-1), wi.reshape(-1), line.reshape(-1)
    turn = st[TURN]
    issued, late, stride = 0, _around(turn - latency % places, places), mc.rows * cols
    head = st[W_HEAD]
    for i in range(mc.rows):
        stage = (st[STAGE] * mc.rows + i) * cols
        _retire(regs, i * cols, hist, h + i + latency, late, places, pipe, stage, cols, stride)
        _os_issue(
            hist, h + i, turn, places, regs, i * cols, pipe, stage, cols, stride, mc.lanes_per_op, w_flat, wi_flat,
            head * mc.lanes_per_op * cols, x, line_flat, i * line.shape[1] + xh,
        )  # fmt: skip
        issued += _count_both(mc.x_valid, i, mc.w_valid, head)
        head = head - 1 if head > 0 else mc.rows - 1
    return issued


@_inlined
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
    word[D_BANK, h] = (tile & 1) * mc.places * mc.overlapped
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


@_inlined
def _os_inject(mc: OsMachine, st: NDArray[np.int64], h: int, j: int, p: int, a: int) -> int:
    """PE row r - 1 - p of column j puts accumulator a on the drain chain."""
    tile, bank = mc.drain_hist[D_TILE, h], mc.drain_hist[D_BANK, h]
    i = mc.tiles[tile, TILE_R] - 1 - p
    register = bank + a
    if j == 0 and (mc.ready[register] + i > st[CYCLE] or mc.owner[register] != tile):
        return HAZARD_DRAIN
    place = (i - st[CYCLE]) % mc.rows
    at = bank + (a + i + j) % mc.places
    mc.drain[place, j] = mc.regs[(at * mc.rows + i) * mc.cols + j]
    return RUNNING


@_inlined
def _os_drain_column(mc: OsMachine, st: NDArray[np.int64], h: int, j: int) -> int:
    """Column j obeys its drain word: rows inject, the last row's value leaves the array."""
    word, tiles, tile = mc.drain_hist, mc.tiles, mc.drain_hist[D_TILE, h]
    rows, ib = tiles[tile, TILE_R], tiles[tile, TILE_IB]
    interleaved = tiles[tile, TILE_IA] * ib
    status = RUNNING
    if interleaved == 1:
        if word[D_P, h] == 0:
            for p in range(rows):
                status = min(status, _os_inject(mc, st, h, j, p, 0))
    else:
        if word[D_P, h] < rows:
            status = min(status, _os_inject(mc, st, h, j, word[D_P, h], word[D_A, h]))
        if 0 <= word[D_P2, h] < rows:
            status = min(status, _os_inject(mc, st, h, j, word[D_P2, h], interleaved - 1))
    value = mc.drain[(rows - 1 - st[CYCLE]) % mc.rows, j]
    row = word[D_XA, h] // ib * rows + rows - 1 - word[D_XP, h]
    col = word[D_XA, h] % ib * tiles[tile, TILE_C] + j
    if row < tiles[tile, TILE_M] and col < tiles[tile, TILE_N]:
        mc.y[tiles[tile, TILE_M0] + row, tiles[tile, TILE_N0] + col] = value
    st[Y_WORDS] += 1
    st[CYCLES] = st[CYCLE] + 1
    if j == tiles[tile, TILE_C] - 1 and word[D_XP, h] == rows - 1 and word[D_XA, h] == interleaved - 1:
        st[FINISHED] += 1
    return status


@_inlined
def _os_drain(mc: OsMachine, st: NDArray[np.int64]) -> int:
    """Move the drain of every column by one cycle."""
    h = _next_place(mc.drain_hist, st[DR_HEAD], mc.cols)
    st[DR_HEAD] = h
    status = _os_drain_control(mc, st, h)
    for j in range(mc.cols):
        tile = mc.drain_hist[D_TILE, h + j]
        if tile >= 0 and j < mc.tiles[tile, TILE_C]:
            status = min(status, _os_drain_column(mc, st, h + j, j))
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
        st[TURN] = st[TURN] + 1 if st[TURN] + 1 < mc.places else 0
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


# ---------------------------------------------------------------- weight and input stationary


@_compiled
def stationary_tiles(tiles: NDArray[np.int64], columns: int, slot_rows: int, rows: int, cols: int) -> None:
    """Walk the tiles of a weight- or input-stationary GEMM, column blocks outer, k blocks inner."""
    t = 0
    for c0 in range(0, columns, cols):
        for w0 in range(0, slot_rows, rows):
            tiles[t, STAT_C0], tiles[t, STAT_W0] = c0, w0
            tiles[t, STAT_R], tiles[t, STAT_C] = min(rows, slot_rows - w0), min(cols, columns - c0)
            t += 1


@_inlined
def _st_row_load(mc: StationaryMachine, slot_row: int, i: int, part: int) -> int:
    """Words that enter the edge of PE row i with this op."""
    if mc.input_held:
        return int(mc.lanes[slot_row * mc.parts + part])
    if mc.flat:
        return mc.word if i == 0 or mc.row_lead[slot_row] else 0
    return mc.word if part == 0 else 0


@_inlined
def _st_claim(mc: StationaryMachine, st: NDArray[np.int64], element: int, part: int) -> int:
    """Scoreboard of PE (0, 0): an accumulator is read only after the adder has written it."""
    if not mc.chain:
        return RUNNING
    if part > 0 and mc.ready[element] > st[CYCLE]:
        return HAZARD_ACCUMULATOR
    mc.ready[element] = st[CYCLE] + mc.latency
    return RUNNING


@_inlined
def _st_link_check(mc: StationaryMachine, h: int) -> int:
    """PE (1, 0) must find on its link the psum that its control word means, complete."""
    hist, final = mc.hist, mc.parts - 1
    p = h + mc.latency
    if hist[KIND, p] == MAC and (not mc.chain or hist[PARTNO, p] == final):
        mc.link_owner[hist[ELEMNO, p]] = hist[OWNER, p]
    p = h + mc.skew
    if mc.rows == 1 or hist[KIND, p] != MAC or hist[RT, p] < 2 or (mc.chain and hist[PARTNO, p] > 0):
        return RUNNING
    if mc.link_owner[hist[ELEMNO, p]] != hist[OWNER, p]:
        return HAZARD_LINK
    return RUNNING


@_inlined
def _st_may_start(mc: StationaryMachine, st: NDArray[np.int64]) -> bool:
    """The next tile streams as soon as its operand is in the shadow set of every PE of column 0."""
    return bool(st[TILE] < mc.tiles.shape[0] and st[PRE_TILE] > st[TILE])


@_inlined
def _st_start(mc: StationaryMachine, st: NDArray[np.int64]) -> None:
    st[ACTIVE] = 1
    mc.start[st[TILE]] = st[CYCLE]
    for field in (BATCH, ELEM, PART, WAIT, NEED_ROW, CREDIT_ROW):
        st[field] = 0


@_inlined
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


@_inlined
def _st_port_holds(mc: StationaryMachine, st: NDArray[np.int64], batch: int, load: int, last: bool) -> bool:
    """Whether the op must wait so that the tile's last op comes no earlier than its last word.

    Split: the last op itself waits. Chain: the parts of a batch keep their distances, because the row below counts on
    them; so the last batch waits as a whole, and its last op is issued `rest` cycles after its first.
    """
    if not mc.chain:
        return bool(last and _port_short(st[NEED_ROW] + load, st[CREDIT_ROW], mc.row_port))
    if st[ELEM] > 0 or st[PART] > 0 or st[BATCH] + batch < mc.length:
        return False
    words = 0
    for part in range(mc.parts):
        words += batch * _st_row_load(mc, mc.tiles[st[TILE], STAT_W0], 0, part)
    rest = (mc.parts - 1) * max(batch, mc.latency) + batch - 1
    return bool(_port_short(st[NEED_ROW] + words, st[CREDIT_ROW] + rest * mc.row_port, mc.row_port))


@_inlined
def _st_control(mc: StationaryMachine, st: NDArray[np.int64], h: int) -> int:
    """The stream controller: one control word per cycle."""
    if not st[ACTIVE] and _st_may_start(mc, st):
        _st_start(mc, st)
    _bubble(mc.hist, h)
    if not st[ACTIVE]:
        return RUNNING
    st[CREDIT_ROW] += mc.row_port
    if st[WAIT] > 0:
        st[WAIT] -= 1
        return RUNNING
    tiles, tile, element, part = mc.tiles, st[TILE], st[ELEM], st[PART]
    batch = min(mc.batch, mc.length - st[BATCH]) if mc.chain else 1
    vector = st[BATCH] + element
    final = not mc.chain or part == mc.parts - 1
    last = vector == mc.length - 1 and part == mc.parts - 1
    load = _st_row_load(mc, tiles[tile, STAT_W0], 0, part)
    if _st_port_holds(mc, st, batch, load, last):
        return RUNNING
    st[NEED_ROW] += load
    status = _st_claim(mc, st, element, part)
    hist, bank = mc.hist, mc.places * mc.cols
    hist[KIND, h], hist[RT, h], hist[CT, h] = MAC, tiles[tile, STAT_R], tiles[tile, STAT_C]
    bank_in, bank_out = 0 if mc.chain and part > 0 else bank, 3 * bank if final else 0
    phase, held = _around(element - st[TURN], mc.places), part * mc.lanes_per_op * mc.cols
    _registers(hist, h, ADD, bank_in, bank_out, phase, held if mc.chain else 0)
    hist[HELD, h] = held
    hist[VEC, h], hist[PARTNO, h], hist[FINAL, h] = vector, part, int(final) + int(last)
    hist[COL0, h], hist[ROW0, h], hist[ELEMNO, h] = tiles[tile, STAT_C0], tiles[tile, STAT_W0], element
    hist[OWNER, h] = (tile * mc.length + vector) * mc.parts + (0 if mc.chain else part)
    _st_next_op(mc, st, batch)
    return status


@_inlined
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


@_inlined
def _st_chunk_elems(mc: StationaryMachine, slot_row: int, chunk: int) -> int:
    """Elements of the stationary operand that one preload cycle brings into one column."""
    if mc.input_held:
        return min(mc.lanes_per_op, mc.word - chunk * mc.lanes_per_op)
    return int(mc.lanes[slot_row * mc.parts + chunk])


@_inlined
def _st_preload_control(mc: StationaryMachine, st: NDArray[np.int64], h: int) -> int:
    """The preload controller of column 0: the last PE row's words first, one V-wide chunk per cycle."""
    word = mc.pre_hist
    word[P_ON, h] = 0
    if not st[PRE_BUSY]:
        if not _st_may_preload(mc, st):
            return RUNNING
        st[PRE_BUSY], st[PRE_POS], st[NEED_COL], st[CREDIT_COL] = 1, 0, 0, 0
    st[CREDIT_COL] += mc.col_port
    tiles, tile = mc.tiles, st[PRE_TILE]
    row, chunk = tiles[tile, STAT_R] - 1 - st[PRE_POS] // mc.chunks, mc.chunks - 1 - st[PRE_POS] % mc.chunks
    elems = _st_chunk_elems(mc, tiles[tile, STAT_W0] + row, chunk)
    last = st[PRE_POS] == tiles[tile, STAT_R] * mc.chunks - 1
    if last and _port_short(st[NEED_COL] + elems, st[CREDIT_COL], mc.col_port):
        return RUNNING
    st[NEED_COL] += elems
    word[P_ON, h], word[P_ROW, h], word[P_PART, h] = 1, row, chunk
    word[P_WORD, h], word[P_COL0, h], word[P_COLS, h] = (
        tiles[tile, STAT_W0] + row,
        tiles[tile, STAT_C0],
        tiles[tile, STAT_C],
    )
    st[PRE_POS] += 1
    if last:
        st[PRE_BUSY] = 0
        st[PRE_TILE] += 1
    mc.shadow_fill[row] += 1
    return HAZARD_SHADOW if mc.shadow_fill[row] > mc.chunks else RUNNING


@_inlined
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
                mc.shadow_v[(i * mc.held + chunk * lanes + v) * mc.cols + j] = mc.x[source + v]
            st[X_WORDS] += elems
        else:
            source = (column * mc.slots + slot_row * mc.parts + chunk) * lanes
            for v in range(lanes):
                mc.shadow_v[(i * mc.held + chunk * lanes + v) * mc.cols + j] = mc.w[source + v]
                mc.shadow_i[(i * mc.held + chunk * lanes + v) * mc.cols + j] = mc.wi[source + v]
            st[W_WORDS] += elems
    return status


@_inlined
def _st_switch_pe(mc: StationaryMachine, tile: int, i: int, j: int) -> None:
    """PE (i, j) takes its shadow set over, or falls idle where the tile does not use its column."""
    used = j < mc.tiles[tile, STAT_C]
    _set_bit(mc.held_valid, i, j, used)
    if not used:
        return
    for u in range(mc.held):
        at = (i * mc.held + u) * mc.cols + j
        mc.held_v[at] = mc.shadow_v[at]
        if not mc.input_held:
            mc.held_i[at] = mc.shadow_i[at]


@_inlined
def _st_switch(mc: StationaryMachine, st: NDArray[np.int64]) -> int:
    """The first op of a tile carries a token: where it arrives, the PE switches to its shadow set."""
    status = RUNNING
    for t in range(st[TOKEN], mc.tiles.shape[0]):
        if mc.start[t] < 0:
            break
        rows = mc.tiles[t, STAT_R]
        age = st[CYCLE] - mc.start[t]
        for i in range(rows):
            j = age - i * mc.skew
            if j < 0:
                break
            if j == 0:
                if mc.shadow_fill[i] != mc.chunks:
                    status = HAZARD_SHADOW
                mc.shadow_fill[i] = 0
            if j < mc.cols:
                _st_switch_pe(mc, t, i, j)
        if t == st[TOKEN] and age >= (rows - 1) * mc.skew + mc.cols - 1:
            st[TOKEN] += 1
    return status


@_inlined
def _st_row_edges(mc: StationaryMachine, st: NDArray[np.int64], h: int, lh: int) -> None:
    """Push one word into every row whose control word asks for it."""
    hist, words = mc.hist, 0
    for i in range(mc.rows):
        p = h + i * mc.skew
        valid = 0
        if hist[KIND, p] == MAC and i < hist[RT, p]:
            slot_row, part = hist[ROW0, p] + i, hist[PARTNO, p]
            if mc.input_held:
                mc.line[i, lh] = ((slot_row * mc.parts + part) * (mc.length + 1) + hist[VEC, p]) * mc.lanes_per_op
            else:
                mc.line[i, lh] = (mc.row_word[slot_row] * (mc.length + 1) + hist[VEC, p]) * mc.word
            words += _st_row_load(mc, slot_row, i, part)
            valid = 1
        _shift_in(mc.line_valid, i, valid)
    if mc.input_held:
        st[W_WORDS] += words
    else:
        st[X_WORDS] += words


@_inlined
def _ws_run(
    regs: NDArray[np.float64], source: int, pipe: NDArray[np.float64], stage: int, count: int,
    held: NDArray[np.float64], held_i: NDArray[np.uint32], held_at: int,
    x: NDArray[np.float64], line: NDArray[np.uint32], x_at: int, lanes: int,
    cols: int,
) -> None:  # fmt: skip
    """PEs that use the same registers and the same held slot: select from the passing x word, multiply, add."""
    a, s, b, c = np.uint64(source), np.uint64(stage), np.uint64(held_at), np.uint64(x_at)
    if lanes == 1:
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] = regs[a + u] + held[b + u] * x[np.uint64(line[c + u]) + np.uint64(held_i[b + u])]
        return
    for v in range(count):
        u = np.uint64(v)
        pipe[s + u] = held[b + u] * x[np.uint64(line[c + u]) + np.uint64(held_i[b + u])]
    for _ in range(1, lanes):
        b += np.uint64(cols)
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] += held[b + u] * x[np.uint64(line[c + u]) + np.uint64(held_i[b + u])]
    for v in range(count):
        u = np.uint64(v)
        pipe[s + u] += regs[a + u]


@_inlined
def _ws_run_mixed(
    regs: NDArray[np.float64], source: int, pipe: NDArray[np.float64], stage: int, count: int,
    held: NDArray[np.float64], held_i: NDArray[np.uint32], held_at: int,
    slots: NDArray[np.int64], p: int, x: NDArray[np.float64],
    line: NDArray[np.uint32], x_at: int, lanes: int, cols: int,
) -> None:  # fmt: skip
    """The same where every PE uses the held slot that its control word names."""
    for u in range(count):
        at = np.uint64(held_at + slots[HELD, p + u] + u)
        word = np.uint64(line[np.uint64(x_at + u)])
        total = held[at] * x[word + np.uint64(held_i[at])]
        for _ in range(1, lanes):
            at += np.uint64(cols)
            total += held[at] * x[word + np.uint64(held_i[at])]
        pipe[np.uint64(stage + u)] = total + regs[np.uint64(source + u)]


@_inlined
def _is_run(
    regs: NDArray[np.float64], source: int, pipe: NDArray[np.float64], stage: int, count: int,
    held: NDArray[np.float64], held_at: int,
    w: NDArray[np.float64], wi: NDArray[np.uint32], line: NDArray[np.uint32], w_at: int, lanes: int,
    cols: int,
) -> None:  # fmt: skip
    """PEs that use the same registers: select from the held x word for the passing weights, multiply, add."""
    a, s, b, c = np.uint64(source), np.uint64(stage), np.uint64(held_at), np.uint64(w_at)
    width = np.uint64(cols)
    if lanes == 1:
        for v in range(count):
            u = np.uint64(v)
            at = np.uint64(line[c + u])
            pipe[s + u] = regs[a + u] + w[at] * held[b + u + np.uint64(wi[at]) * width]
        return
    for v in range(count):
        u = np.uint64(v)
        at = np.uint64(line[c + u])
        total = w[at] * held[b + u + np.uint64(wi[at]) * width]
        for lane in range(1, lanes):
            total += w[at + np.uint64(lane)] * held[b + u + np.uint64(wi[at + np.uint64(lane)]) * width]
        pipe[s + u] = total + regs[a + u]


@_inlined
def _st_issue(mc: StationaryMachine, i: int, p: int, turn: int, stage: int, line: NDArray[np.uint32], lh: int) -> None:
    """Issue the ops of one row, run by run."""
    hist, cols, regs, lanes = mc.hist, mc.cols, mc.regs, mc.lanes_per_op
    base, held = 2 * i * mc.places * cols, i * mc.held * cols
    j = 0
    while j < cols:
        count = min(hist[RUN, p + j], cols - j)
        if hist[MODE, p + j] != IDLE:
            place = _around(hist[PHASE, p + j] + turn, mc.places)
            source = base + hist[BANK_IN, p + j] + place * cols + j
            if mc.input_held:
                _is_run(
                    regs, source, mc.pipe, stage + j, count, mc.held_v, held + j, mc.w, mc.wi, line, lh + j, lanes, cols
                )
            elif mc.parts == 1 or mc.chain:
                slot = held + hist[PHASE2, p + j] + j
                _ws_run(
                    regs, source, mc.pipe, stage + j, count, mc.held_v, mc.held_i, slot, mc.x, line, lh + j, lanes, cols
                )
            else:
                _ws_run_mixed(
                    regs, source, mc.pipe, stage + j, count, mc.held_v, mc.held_i, held + j, hist, p + j, mc.x, line,
                    lh + j, lanes, cols,
                )  # fmt: skip
        j += count


@_inlined
def _st_array(mc: StationaryMachine, st: NDArray[np.int64], h: int, lh: int) -> int:
    """Step every PE by one cycle, upper rows first (what leaves an adder is on the link in the same cycle)."""
    issued, turn, cols, places = 0, st[TURN], mc.cols, mc.places
    late, skew = mc.latency % places, mc.skew % places
    line = mc.line.reshape(-1)
    for i in range(mc.rows):
        p, stage = h + i * mc.skew, (st[STAGE] * mc.rows + i) * cols
        _retire(
            mc.regs, 2 * i * places * cols, mc.hist, p + mc.latency, _around(turn - late, places), places, mc.pipe,
            stage, cols, cols,
        )  # fmt: skip
        _st_issue(mc, i, p, turn, stage, line, i * mc.line.shape[1] + lh)
        issued += _count_both(mc.line_valid, i, mc.held_valid, i)
        turn = _around(turn - skew, places)
    return issued


@_inlined
def _st_exits(mc: StationaryMachine, st: NDArray[np.int64], h: int) -> None:
    """Psums leave the array at the end of their last adder cycle in the last PE row of their tile."""
    hist = mc.hist
    stage = st[STAGE] + 1 if st[STAGE] + 1 < mc.latency else 0
    for rows in mc.taps:
        for j in range(mc.cols):
            p = h + (mc.latency - 1) + (rows - 1) * mc.skew + j
            if hist[KIND, p] != MAC or hist[FINAL, p] == 0 or hist[RT, p] != rows or j >= hist[CT, p]:
                continue
            value = mc.pipe[(stage * mc.rows + rows - 1) * mc.cols + j]
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
        st[TURN] = st[TURN] + 1 if st[TURN] + 1 < mc.places else 0
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
