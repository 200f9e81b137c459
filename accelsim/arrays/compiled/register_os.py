"""The output-stationary array: its tiles, and `step_os`, which steps it cycle by cycle (see `register_words`)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelsim.arrays.compiled.register_words import (
    ACTIVE,
    ADD,
    BANK_IN,
    BANK_OUT,
    BUBBLE,
    CREDIT_COL,
    CREDIT_ROW,
    CT,
    CYCLE,
    CYCLES,
    DONE,
    FINISHED,
    FIRST,
    HAZARD_ACCUMULATOR,
    HAZARD_DRAIN,
    HEAD,
    IDLE,
    KIND,
    LINE_HEAD,
    MAC,
    MODE,
    NEED_COL,
    NEED_ROW,
    OPS,
    PHASE,
    PHASE2,
    REDUCE,
    RT,
    RUN,
    RUNNING,
    STAGE,
    TILE,
    TURN,
    W_WORDS,
    WAIT,
    X_WORDS,
    Y_WORDS,
    around,
    bubble,
    count_both,
    inlined,
    name_registers,
    next_place,
    port_short,
    retire,
    set_bit,
    shift_in,
)
from accelsim.base.jit import borrowing

__all__ = ["OsMachine", "os_tiles", "step_os"]

# Tile table, one row per tile: first output row and column, size, PEs used, accumulators used.
TILE_M0, TILE_N0, TILE_M, TILE_N, TILE_R, TILE_C, TILE_IA, TILE_IB = range(8)

# What the state adds to that of both machines.
SLOT, ACC_A, ACC_B, RED_N, RED_Z, W_HEAD, DR_TILE, DR_POS, DRAINED, DR_HEAD, ISSUED_TILES = range(18, 29)

# What the control word adds: output rows, place in the x word, words loaded, ...
XROW, XEND, XOFF, XLOAD, WCOL, WEND, WOFF, WLOAD = range(9, 17)
OS_FIELDS = 17

# Drain control word.
D_TILE, D_BANK, D_P, D_A, D_P2, D_XP, D_XA = range(7)


class OsMachine(NamedTuple):
    """An output-stationary array: sizes, operands in memory, and every register."""

    m: int
    n: int
    slots: int  # compact slots per output
    parts: int  # slots that share one x word
    macs_per_pe: int  # V
    word: int  # elements of an x word
    latency: int
    split_k: int  # partial sums per output (Z)
    overlapped: bool
    row_port: int  # 0: unlimited
    col_port: int
    rows: int  # PE rows and columns that any tile uses
    cols: int
    places: int  # registers of one bank
    banks: int
    span: int  # control words that can be in flight
    tiles: NDArray[np.int64]
    slot_values: NDArray[np.int64]  # that each slot holds of w
    x: NDArray[np.float64]  # flat [word][row][element]; row m is zero
    w: NDArray[np.float64]  # compact values, flat [slot][column][MAC]; column n is zero
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


@borrowing
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


@inlined
def _os_may_start(mc: OsMachine, st: NDArray[np.int64]) -> bool:
    """The next tile needs its bank empty (two banks, overlapped) or the whole array empty."""
    if st[TILE] >= mc.tiles.shape[0]:
        return False
    if mc.overlapped:
        return bool(st[DRAINED] >= st[TILE] - 1)
    return bool(st[FINISHED] >= st[TILE])


@inlined
def _os_start(mc: OsMachine, st: NDArray[np.int64]) -> None:
    st[ACTIVE] = 1
    for field in (SLOT, ACC_A, ACC_B, RED_N, RED_Z, WAIT, NEED_ROW, CREDIT_ROW, NEED_COL, CREDIT_COL):
        st[field] = 0


@inlined
def _os_end_of_tile(mc: OsMachine, st: NDArray[np.int64]) -> None:
    """The last op takes r - 1 hops down column 0 and L adder stages; then the column can drain."""
    tile = st[TILE]
    mc.token[tile] = st[CYCLE] + (mc.tiles[tile, TILE_R] - 1) + mc.latency
    st[ACTIVE] = 0
    st[TILE] = tile + 1
    st[ISSUED_TILES] = tile + 1


@inlined
def _os_claim(mc: OsMachine, st: NDArray[np.int64], register: int, reads: int) -> int:
    """Scoreboard of PE (0, 0): the register must be readable, and becomes readable L cycles from now."""
    if reads and (mc.ready[register] > st[CYCLE] or mc.owner[register] != st[TILE]):
        return HAZARD_ACCUMULATOR
    mc.ready[register] = st[CYCLE] + mc.latency
    mc.owner[register] = st[TILE]
    return RUNNING


@inlined
def _os_mac(mc: OsMachine, st: NDArray[np.int64], h: int) -> int:
    """Emit the next multiply-accumulate of the tile, or a bubble while its last words wait at a port."""
    tiles, tile, slot, a, b = mc.tiles, st[TILE], st[SLOT], st[ACC_A], st[ACC_B]
    ia, ib = tiles[tile, TILE_IA], tiles[tile, TILE_IB]
    x_load = mc.word if b == 0 and slot % mc.parts == 0 else 0
    w_load = mc.slot_values[slot] if a == 0 else 0
    end_of_slot = a == ia - 1 and b == ib - 1
    last = end_of_slot and slot == mc.slots - 1
    sums = min(mc.split_k, mc.slots)
    if (
        last
        and sums == 1
        and (
            port_short(st[NEED_ROW] + x_load, st[CREDIT_ROW], mc.row_port)
            or port_short(st[NEED_COL] + w_load, st[CREDIT_COL], mc.col_port)
        )
    ):
        bubble(mc.hist, h)
        return RUNNING
    st[NEED_ROW] += x_load
    st[NEED_COL] += w_load
    register = (slot % mc.split_k) * ia * ib + a * ib + b
    bank = (st[TILE] & 1) * mc.overlapped
    status = _os_claim(mc, st, bank * mc.places + register, slot >= mc.split_k)
    hist, base = mc.hist, bank * mc.places * mc.rows * mc.cols
    hist[KIND, h] = MAC
    phase = around(register - st[TURN], mc.places)
    name_registers(hist, h, ADD if slot >= mc.split_k else FIRST, base, base, phase, 0)
    hist[XROW, h], hist[XEND, h] = (
        tiles[tile, TILE_M0] + a * tiles[tile, TILE_R],
        tiles[tile, TILE_M0] + tiles[tile, TILE_M],
    )
    hist[XOFF, h], hist[XLOAD, h], hist[RT, h] = (slot // mc.parts) * (mc.m + 1) * mc.word, x_load, tiles[tile, TILE_R]
    hist[WCOL, h], hist[WEND, h] = (
        tiles[tile, TILE_N0] + b * tiles[tile, TILE_C],
        tiles[tile, TILE_N0] + tiles[tile, TILE_N],
    )
    hist[WOFF, h], hist[WLOAD, h], hist[CT, h] = slot * (mc.n + 1) * mc.macs_per_pe, w_load, tiles[tile, TILE_C]
    _os_next_mac(mc, st, ia, ib, sums)
    return status


@inlined
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
    elif st[SLOT] % mc.split_k == 0:
        st[WAIT] = max(0, mc.latency - ia * ib * mc.split_k)


@inlined
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
            port_short(st[NEED_ROW], st[CREDIT_ROW], mc.row_port)
            or port_short(st[NEED_COL], st[CREDIT_COL], mc.col_port)
        )
    ):
        bubble(mc.hist, h)
        return RUNNING
    bank, step = (st[TILE] & 1) * mc.overlapped, (sums - half) * interleaved
    low = bank * mc.places + z
    if mc.ready[low + step] > st[CYCLE] or mc.owner[low + step] != st[TILE]:
        return HAZARD_ACCUMULATOR
    status = _os_claim(mc, st, low, 1)
    mc.hist[KIND, h] = BUBBLE
    phase, base = around(z - st[TURN], mc.places), bank * mc.places * mc.rows * mc.cols
    name_registers(mc.hist, h, REDUCE, base, base, phase, around(phase + step, mc.places))
    st[RED_Z] += 1
    if end_of_round:
        st[RED_Z] = 0
        st[RED_N] = sums - half
        st[WAIT] = mc.latency - 1
        if st[RED_N] == 1:
            _os_end_of_tile(mc, st)
    return status


@inlined
def _os_wait(mc: OsMachine, st: NDArray[np.int64], h: int) -> None:
    """A bubble. Between blocks of slots it may name the next, unused register: that leaves the run of words whole."""
    bubble(mc.hist, h)
    interleaved = mc.tiles[st[TILE], TILE_IA] * mc.tiles[st[TILE], TILE_IB]
    if st[RED_N] == 0 and mc.places == max(mc.latency, interleaved * mc.split_k):
        hist = mc.hist
        name_registers(
            hist,
            h,
            hist[MODE, h + 1],
            hist[BANK_IN, h + 1],
            hist[BANK_OUT, h + 1],
            hist[PHASE, h + 1],
            hist[PHASE2, h + 1],
        )


@inlined
def _os_control(mc: OsMachine, st: NDArray[np.int64], h: int) -> int:
    """The issue controller: one control word per cycle."""
    if not st[ACTIVE] and _os_may_start(mc, st):
        _os_start(mc, st)
    if not st[ACTIVE]:
        bubble(mc.hist, h)
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


@inlined
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
        shift_in(mc.x_valid, i, valid)
    st[X_WORDS] += words


@inlined
def _os_column_edges(mc: OsMachine, st: NDArray[np.int64], h: int) -> None:
    """Push one compact w word (values and positions) into every column whose control word asks for it."""
    hist, words, head, macs_per_pe = mc.hist, 0, st[W_HEAD], mc.macs_per_pe
    for b in range(mc.w_valid.shape[1]):
        mc.w_valid[head, b] = np.uint64(0)
    for j in range(mc.cols):
        p = h + j
        if hist[KIND, p] == MAC and j < hist[CT, p]:
            col = hist[WCOL, p] + j
            if col >= hist[WEND, p]:
                col = mc.n
            source = hist[WOFF, p] + col * macs_per_pe
            for v in range(macs_per_pe):
                mc.w_line[head, v, j] = mc.w[source + v]
                mc.wi_line[head, v, j] = mc.wi[source + v]
            words += hist[WLOAD, p]
            set_bit(mc.w_valid, head, j, 1)
    st[W_WORDS] += words


@inlined
def _os_run_plain(
    regs: NDArray[np.float64], source: int, adds: bool, pipe: NDArray[np.float64], stage: int, count: int,
    w: NDArray[np.float64], wi: NDArray[np.uint32], w_at: int, x: NDArray[np.float64], line: NDArray[np.uint32],
    x_at: int,
) -> None:  # fmt: skip
    """PEs with one MAC whose control words name the same registers: select, multiply, add."""
    a, s, b, c = np.uint64(source), np.uint64(stage), np.uint64(w_at), np.uint64(x_at)
    if adds:
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] = regs[a + u] + w[b + u] * x[np.uint64(line[c + u]) + np.uint64(wi[b + u])]
    else:
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] = w[b + u] * x[np.uint64(line[c + u]) + np.uint64(wi[b + u])]


@inlined
def _os_run_wide(
    regs: NDArray[np.float64], source: int, adds: bool, pipe: NDArray[np.float64], stage: int, count: int,
    w: NDArray[np.float64], wi: NDArray[np.uint32], w_at: int, x: NDArray[np.float64], line: NDArray[np.uint32],
    x_at: int, macs_per_pe: int, cols: int,
) -> None:  # fmt: skip
    """The same for V MACs: the dot product, then one add."""
    a, s, b, c = np.uint64(source), np.uint64(stage), np.uint64(w_at), np.uint64(x_at)
    for v in range(count):
        u = np.uint64(v)
        pipe[s + u] = w[b + u] * x[np.uint64(line[c + u]) + np.uint64(wi[b + u])]
    for _ in range(1, macs_per_pe):
        b += np.uint64(cols)
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] += w[b + u] * x[np.uint64(line[c + u]) + np.uint64(wi[b + u])]
    if adds:
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] += regs[a + u]


@inlined
def _reduce_run(
    regs: NDArray[np.float64], low: int, high: int, pipe: NDArray[np.float64], stage: int, count: int
) -> None:  # fmt: skip
    """PEs that add two of their partial sums."""
    for v in range(count):
        pipe[stage + v] = regs[low + v] + regs[high + v]


@inlined
def _os_issue(
    hist: NDArray[np.int64], p: int, turn: int, places: int, regs: NDArray[np.float64], base: int,
    pipe: NDArray[np.float64], stage: int, cols: int, stride: int, macs_per_pe: int, w: NDArray[np.float64],
    wi: NDArray[np.uint32], w_at: int, x: NDArray[np.float64], line: NDArray[np.uint32],
    x_at: int,
) -> None:  # fmt: skip
    """Issue the ops of one row, run by run."""
    j = 0
    while j < cols:
        count, mode = min(hist[RUN, p + j], cols - j), hist[MODE, p + j]
        if mode != IDLE:
            bank = base + hist[BANK_IN, p + j] + j
            source = bank + around(hist[PHASE, p + j] + turn, places) * stride
            if mode == REDUCE:
                other = bank + around(hist[PHASE2, p + j] + turn, places) * stride
                _reduce_run(regs, source, other, pipe, stage + j, count)
            elif macs_per_pe == 1:
                _os_run_plain(regs, source, mode == ADD, pipe, stage + j, count, w, wi, w_at + j, x, line, x_at + j)
            else:
                _os_run_wide(
                    regs, source, mode == ADD, pipe, stage + j, count, w, wi, w_at + j, x, line, x_at + j, macs_per_pe,
                    cols,
                )  # fmt: skip
        j += count


@inlined
def _os_array(mc: OsMachine, st: NDArray[np.int64], h: int, xh: int) -> int:
    """Step every PE by one cycle; the number of multiply-accumulates issued comes back."""
    cols, places, latency = mc.cols, mc.places, mc.latency
    hist, regs, pipe, w, wi, x, line = mc.hist, mc.regs, mc.pipe, mc.w_line, mc.wi_line, mc.x, mc.x_line
    w_flat, wi_flat, line_flat = w.reshape(-1), wi.reshape(-1), line.reshape(-1)
    turn = st[TURN]
    issued, late, stride = 0, around(turn - latency % places, places), mc.rows * cols
    head = st[W_HEAD]
    for i in range(mc.rows):
        stage = (st[STAGE] * mc.rows + i) * cols
        retire(regs, i * cols, hist, h + i + latency, late, places, pipe, stage, cols, stride)
        _os_issue(
            hist, h + i, turn, places, regs, i * cols, pipe, stage, cols, stride, mc.macs_per_pe, w_flat, wi_flat,
            head * mc.macs_per_pe * cols, x, line_flat, i * line.shape[1] + xh,
        )  # fmt: skip
        issued += count_both(mc.x_valid, i, mc.w_valid, head)
        head = head - 1 if head > 0 else mc.rows - 1
    return issued


@inlined
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


@inlined
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


@inlined
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


@inlined
def _os_drain(mc: OsMachine, st: NDArray[np.int64]) -> int:
    """Move the drain of every column by one cycle."""
    h = next_place(mc.drain_hist, st[DR_HEAD], mc.cols)
    st[DR_HEAD] = h
    status = _os_drain_control(mc, st, h)
    for j in range(mc.cols):
        tile = mc.drain_hist[D_TILE, h + j]
        if tile >= 0 and j < mc.tiles[tile, TILE_C]:
            status = min(status, _os_drain_column(mc, st, h + j, j))
    return status


@borrowing
def step_os(mc: OsMachine, st: NDArray[np.int64], issued: NDArray[np.int32]) -> int:
    """Step until `issued` is full or the GEMM is done; ops issued in each cycle go to `issued`."""
    for c in range(issued.shape[0]):
        h = next_place(mc.hist, st[HEAD], mc.span)
        xh = next_place(mc.x_line, st[LINE_HEAD], mc.cols)
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
