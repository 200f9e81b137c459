"""The weight- or input-stationary array: its tiles, and `step_stationary`, which steps it cycle by cycle (see
`register_words`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelsim.arrays.compiled.register_words import (
    ACTIVE,
    ADD,
    BANK_IN,
    CREDIT_COL,
    CREDIT_ROW,
    CT,
    CYCLE,
    CYCLES,
    DONE,
    FINISHED,
    HAZARD_ACCUMULATOR,
    HAZARD_LINK,
    HAZARD_SHADOW,
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

__all__ = ["StationaryMachine", "stationary_tiles", "step_stationary"]

# Tile table, one row per tile: first output column, first slot row, PE rows and PE columns used.
STAT_C0, STAT_W0, STAT_R, STAT_C = range(4)

# What the state adds to that of both machines.
BATCH, ELEM, PART, PRE_TILE, PRE_POS, PRE_BUSY, PRE_HEAD, TOKEN = range(18, 26)

# What the control word adds.
HELD, VEC, PARTNO, FINAL, COL0, ROW0, OWNER, ELEMNO = range(9, 17)
STATIONARY_FIELDS = 17

# Preload control word.
P_ON, P_ROW, P_WORD, P_PART, P_COL0, P_COLS = range(6)


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
    macs_per_pe: int
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
    slot_values: NDArray[np.int64]
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


@borrowing
def stationary_tiles(tiles: NDArray[np.int64], columns: int, slot_rows: int, rows: int, cols: int) -> None:
    """Walk the tiles of a weight- or input-stationary GEMM, column blocks outer, k blocks inner."""
    t = 0
    for c0 in range(0, columns, cols):
        for w0 in range(0, slot_rows, rows):
            tiles[t, STAT_C0], tiles[t, STAT_W0] = c0, w0
            tiles[t, STAT_R], tiles[t, STAT_C] = min(rows, slot_rows - w0), min(cols, columns - c0)
            t += 1


@inlined
def _st_row_load(mc: StationaryMachine, slot_row: int, i: int, part: int) -> int:
    """Words that enter the edge of PE row i with this op."""
    if mc.input_held:
        return int(mc.slot_values[slot_row * mc.parts + part])
    if mc.flat:
        return mc.word if i == 0 or mc.row_lead[slot_row] else 0
    return mc.word if part == 0 else 0


@inlined
def _st_claim(mc: StationaryMachine, st: NDArray[np.int64], element: int, part: int) -> int:
    """Scoreboard of PE (0, 0): an accumulator is read only after the adder has written it."""
    if not mc.chain:
        return RUNNING
    if part > 0 and mc.ready[element] > st[CYCLE]:
        return HAZARD_ACCUMULATOR
    mc.ready[element] = st[CYCLE] + mc.latency
    return RUNNING


@inlined
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


@inlined
def _st_may_start(mc: StationaryMachine, st: NDArray[np.int64]) -> bool:
    """The next tile streams as soon as its operand is in the shadow set of every PE of column 0."""
    return bool(st[TILE] < mc.tiles.shape[0] and st[PRE_TILE] > st[TILE])


@inlined
def _st_start(mc: StationaryMachine, st: NDArray[np.int64]) -> None:
    st[ACTIVE] = 1
    mc.start[st[TILE]] = st[CYCLE]
    for field in (BATCH, ELEM, PART, WAIT, NEED_ROW, CREDIT_ROW):
        st[field] = 0


@inlined
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


@inlined
def _st_port_holds(mc: StationaryMachine, st: NDArray[np.int64], batch: int, load: int, last: bool) -> bool:
    """Whether the op must wait so that the tile's last op comes no earlier than its last word.

    Split: the last op itself waits. Chain: the parts of a batch keep their distances, because the row below counts on
    them; so the last batch waits as a whole, and its last op is issued `rest` cycles after its first.
    """
    if not mc.chain:
        return bool(last and port_short(st[NEED_ROW] + load, st[CREDIT_ROW], mc.row_port))
    if st[ELEM] > 0 or st[PART] > 0 or st[BATCH] + batch < mc.length:
        return False
    words = 0
    for part in range(mc.parts):
        words += batch * _st_row_load(mc, mc.tiles[st[TILE], STAT_W0], 0, part)
    rest = (mc.parts - 1) * max(batch, mc.latency) + batch - 1
    return bool(port_short(st[NEED_ROW] + words, st[CREDIT_ROW] + rest * mc.row_port, mc.row_port))


@inlined
def _st_control(mc: StationaryMachine, st: NDArray[np.int64], h: int) -> int:
    """The stream controller: one control word per cycle."""
    if not st[ACTIVE] and _st_may_start(mc, st):
        _st_start(mc, st)
    bubble(mc.hist, h)
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
    phase, held = around(element - st[TURN], mc.places), part * mc.macs_per_pe * mc.cols
    name_registers(hist, h, ADD, bank_in, bank_out, phase, held if mc.chain else 0)
    hist[HELD, h] = held
    hist[VEC, h], hist[PARTNO, h], hist[FINAL, h] = vector, part, int(final) + int(last)
    hist[COL0, h], hist[ROW0, h], hist[ELEMNO, h] = tiles[tile, STAT_C0], tiles[tile, STAT_W0], element
    hist[OWNER, h] = (tile * mc.length + vector) * mc.parts + (0 if mc.chain else part)
    _st_next_op(mc, st, batch)
    return status


@inlined
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


@inlined
def _st_chunk_elems(mc: StationaryMachine, slot_row: int, chunk: int) -> int:
    """Elements of the stationary operand that one preload cycle brings into one column."""
    if mc.input_held:
        return min(mc.macs_per_pe, mc.word - chunk * mc.macs_per_pe)
    return int(mc.slot_values[slot_row * mc.parts + chunk])


@inlined
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
    if last and port_short(st[NEED_COL] + elems, st[CREDIT_COL], mc.col_port):
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


@inlined
def _st_preload(mc: StationaryMachine, st: NDArray[np.int64]) -> int:
    """Move the preload of every column by one cycle.

    The shadow registers of a column are one shift chain; a word that enters in preload cycle p of T ends in place
    T - 1 - p, and is written there at once.
    """
    h = next_place(mc.pre_hist, st[PRE_HEAD], mc.cols)
    st[PRE_HEAD] = h
    status = _st_preload_control(mc, st, h)
    word, macs_per_pe = mc.pre_hist, mc.macs_per_pe
    for j in range(mc.cols):
        p = h + j
        if word[P_ON, p] == 0 or j >= word[P_COLS, p]:
            continue
        column, slot_row, chunk, i = word[P_COL0, p] + j, word[P_WORD, p], word[P_PART, p], word[P_ROW, p]
        elems = _st_chunk_elems(mc, slot_row, chunk)
        if mc.input_held:
            source = (column * mc.words + slot_row) * mc.word + chunk * macs_per_pe
            for v in range(elems):
                mc.shadow_v[(i * mc.held + chunk * macs_per_pe + v) * mc.cols + j] = mc.x[source + v]
            st[X_WORDS] += elems
        else:
            source = (column * mc.slots + slot_row * mc.parts + chunk) * macs_per_pe
            for v in range(macs_per_pe):
                mc.shadow_v[(i * mc.held + chunk * macs_per_pe + v) * mc.cols + j] = mc.w[source + v]
                mc.shadow_i[(i * mc.held + chunk * macs_per_pe + v) * mc.cols + j] = mc.wi[source + v]
            st[W_WORDS] += elems
    return status


@inlined
def _st_switch_pe(mc: StationaryMachine, tile: int, i: int, j: int) -> None:
    """PE (i, j) takes its shadow set over, or falls idle where the tile does not use its column."""
    used = j < mc.tiles[tile, STAT_C]
    set_bit(mc.held_valid, i, j, used)
    if not used:
        return
    for u in range(mc.held):
        at = (i * mc.held + u) * mc.cols + j
        mc.held_v[at] = mc.shadow_v[at]
        if not mc.input_held:
            mc.held_i[at] = mc.shadow_i[at]


@inlined
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


@inlined
def _st_row_edges(mc: StationaryMachine, st: NDArray[np.int64], h: int, lh: int) -> None:
    """Push one word into every row whose control word asks for it."""
    hist, words = mc.hist, 0
    for i in range(mc.rows):
        p = h + i * mc.skew
        valid = 0
        if hist[KIND, p] == MAC and i < hist[RT, p]:
            slot_row, part = hist[ROW0, p] + i, hist[PARTNO, p]
            if mc.input_held:
                mc.line[i, lh] = ((slot_row * mc.parts + part) * (mc.length + 1) + hist[VEC, p]) * mc.macs_per_pe
            else:
                mc.line[i, lh] = (mc.row_word[slot_row] * (mc.length + 1) + hist[VEC, p]) * mc.word
            words += _st_row_load(mc, slot_row, i, part)
            valid = 1
        shift_in(mc.line_valid, i, valid)
    if mc.input_held:
        st[W_WORDS] += words
    else:
        st[X_WORDS] += words


@inlined
def _ws_run(
    regs: NDArray[np.float64], source: int, pipe: NDArray[np.float64], stage: int, count: int,
    held: NDArray[np.float64], held_i: NDArray[np.uint32], held_at: int,
    x: NDArray[np.float64], line: NDArray[np.uint32], x_at: int, macs_per_pe: int,
    cols: int,
) -> None:  # fmt: skip
    """PEs that use the same registers and the same held slot: select from the passing x word, multiply, add."""
    a, s, b, c = np.uint64(source), np.uint64(stage), np.uint64(held_at), np.uint64(x_at)
    if macs_per_pe == 1:
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] = regs[a + u] + held[b + u] * x[np.uint64(line[c + u]) + np.uint64(held_i[b + u])]
        return
    for v in range(count):
        u = np.uint64(v)
        pipe[s + u] = held[b + u] * x[np.uint64(line[c + u]) + np.uint64(held_i[b + u])]
    for _ in range(1, macs_per_pe):
        b += np.uint64(cols)
        for v in range(count):
            u = np.uint64(v)
            pipe[s + u] += held[b + u] * x[np.uint64(line[c + u]) + np.uint64(held_i[b + u])]
    for v in range(count):
        u = np.uint64(v)
        pipe[s + u] += regs[a + u]


@inlined
def _ws_run_mixed(
    regs: NDArray[np.float64], source: int, pipe: NDArray[np.float64], stage: int, count: int,
    held: NDArray[np.float64], held_i: NDArray[np.uint32], held_at: int,
    slots: NDArray[np.int64], p: int, x: NDArray[np.float64],
    line: NDArray[np.uint32], x_at: int, macs_per_pe: int, cols: int,
) -> None:  # fmt: skip
    """The same where every PE uses the held slot that its control word names."""
    for u in range(count):
        at = np.uint64(held_at + slots[HELD, p + u] + u)
        word = np.uint64(line[np.uint64(x_at + u)])
        total = held[at] * x[word + np.uint64(held_i[at])]
        for _ in range(1, macs_per_pe):
            at += np.uint64(cols)
            total += held[at] * x[word + np.uint64(held_i[at])]
        pipe[np.uint64(stage + u)] = total + regs[np.uint64(source + u)]


@inlined
def _is_run(
    regs: NDArray[np.float64], source: int, pipe: NDArray[np.float64], stage: int, count: int,
    held: NDArray[np.float64], held_at: int,
    w: NDArray[np.float64], wi: NDArray[np.uint32], line: NDArray[np.uint32], w_at: int, macs_per_pe: int,
    cols: int,
) -> None:  # fmt: skip
    """PEs that use the same registers: select from the held x word for the passing weights, multiply, add."""
    a, s, b, c = np.uint64(source), np.uint64(stage), np.uint64(held_at), np.uint64(w_at)
    width = np.uint64(cols)
    if macs_per_pe == 1:
        for v in range(count):
            u = np.uint64(v)
            at = np.uint64(line[c + u])
            pipe[s + u] = regs[a + u] + w[at] * held[b + u + np.uint64(wi[at]) * width]
        return
    for v in range(count):
        u = np.uint64(v)
        at = np.uint64(line[c + u])
        total = w[at] * held[b + u + np.uint64(wi[at]) * width]
        for mac in range(1, macs_per_pe):
            total += w[at + np.uint64(mac)] * held[b + u + np.uint64(wi[at + np.uint64(mac)]) * width]
        pipe[s + u] = total + regs[a + u]


@inlined
def _st_issue(mc: StationaryMachine, i: int, p: int, turn: int, stage: int, line: NDArray[np.uint32], lh: int) -> None:
    """Issue the ops of one row, run by run."""
    hist, cols, regs, macs_per_pe = mc.hist, mc.cols, mc.regs, mc.macs_per_pe
    base, held = 2 * i * mc.places * cols, i * mc.held * cols
    j = 0
    while j < cols:
        count = min(hist[RUN, p + j], cols - j)
        if hist[MODE, p + j] != IDLE:
            place = around(hist[PHASE, p + j] + turn, mc.places)
            source = base + hist[BANK_IN, p + j] + place * cols + j
            if mc.input_held:
                _is_run(
                    regs, source, mc.pipe, stage + j, count, mc.held_v, held + j, mc.w, mc.wi, line, lh + j,
                    macs_per_pe, cols,
                )  # fmt: skip
            elif mc.parts == 1 or mc.chain:
                slot = held + hist[PHASE2, p + j] + j
                _ws_run(
                    regs, source, mc.pipe, stage + j, count, mc.held_v, mc.held_i, slot, mc.x, line, lh + j,
                    macs_per_pe, cols,
                )  # fmt: skip
            else:
                _ws_run_mixed(
                    regs, source, mc.pipe, stage + j, count, mc.held_v, mc.held_i, held + j, hist, p + j, mc.x, line,
                    lh + j, macs_per_pe, cols,
                )  # fmt: skip
        j += count


@inlined
def _st_array(mc: StationaryMachine, st: NDArray[np.int64], h: int, lh: int) -> int:
    """Step every PE by one cycle, upper rows first (what leaves an adder is on the link in the same cycle)."""
    issued, turn, cols, places = 0, st[TURN], mc.cols, mc.places
    late, skew = mc.latency % places, mc.skew % places
    line = mc.line.reshape(-1)
    for i in range(mc.rows):
        p, stage = h + i * mc.skew, (st[STAGE] * mc.rows + i) * cols
        retire(
            mc.regs, 2 * i * places * cols, mc.hist, p + mc.latency, around(turn - late, places), places, mc.pipe,
            stage, cols, cols,
        )  # fmt: skip
        _st_issue(mc, i, p, turn, stage, line, i * mc.line.shape[1] + lh)
        issued += count_both(mc.line_valid, i, mc.held_valid, i)
        turn = around(turn - skew, places)
    return issued


@inlined
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


@borrowing
def step_stationary(mc: StationaryMachine, st: NDArray[np.int64], issued: NDArray[np.int32]) -> int:
    """Step until `issued` is full or the GEMM is done; ops issued in each cycle go to `issued`."""
    for c in range(issued.shape[0]):
        h = next_place(mc.hist, st[HEAD], mc.span)
        lh = next_place(mc.line, st[LINE_HEAD], mc.cols)
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
