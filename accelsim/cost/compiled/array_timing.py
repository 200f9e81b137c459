"""Cycles and edge words of one GEMM or buffer tile on the array, and bounds of them.

Names: R x C PEs (`rows`, `cols`), V MACs per PE (`lanes`), adder latency L (`latency`), pattern N:M (`kept`, `group`;
`kept` = 0 is dense), accumulators Ia x Ib (`ia`, `ib`) times `split` partial sums each.
"""

import numpy as np

from accelsim.base.jit import jit

OS, WS, IS = 0, 1, 2
SPLIT, CHAIN, FLAT = 0, 1, 2
UNLIMITED = 0


@jit
def ceil_div(a, b):
    """Integer division rounded up."""
    return -(-a // b)


@jit
def slot_layout(k, lanes, kept, group):
    """Groups per slot row f, slots per group q, ops per output S, padded x length kx and w length kw of a reduction."""
    if kept == 0:
        slots = ceil_div(k, lanes)
        return 1, 1, slots, slots * lanes, slots * lanes
    groups = ceil_div(k, group)
    if lanes < kept:
        per_group = ceil_div(kept, lanes)
        return 1, per_group, groups * per_group, groups * group, groups * kept
    together = lanes // kept
    slots = ceil_div(groups, together)
    return together, 1, slots, slots * together * group, slots * together * kept


@jit
def issue_cycles(slots, accumulators, split, latency):
    """Cycles in which one OS tile issues its ops: `slots` per output, `split` partial sums, then their reduction."""
    period = max(accumulators * split, latency)
    issue = ((slots - 1) // split) * period + ((slots - 1) % split) * accumulators + accumulators
    left = min(split, slots)
    while left > 1:
        half = left // 2
        issue += (latency - 1) + half * accumulators
        left -= half
    return issue


@jit
def os_tile(mt, nt, slots, kx, kw, rows, cols, latency, split, row_port, col_port):
    """One OS tile: rows r and columns c used, accumulators ia and ib per PE, issue cycles with the port limits."""
    r, c = min(rows, mt), min(cols, nt)
    ia, ib = ceil_div(mt, rows), ceil_div(nt, cols)
    issue = issue_cycles(slots, ia * ib, split, latency)
    if row_port > 0:
        issue = max(issue, ceil_div(ia * kx, row_port))
    if col_port > 0:
        issue = max(issue, ceil_div(ib * kw, col_port))
    return r, c, ia, ib, issue


@jit
def os_run(start, drained, issue, skew, drain, count):
    """Advance (start of the next tile, end of the last drain) over `count` equal overlapped tiles.

    Two accumulator banks: a tile starts when the one before has issued and the one before that has drained. The state
    relative to `start` repeats after at most two tiles once it settles, so the rest of the run is a multiple.
    """
    while count >= 2:
        begin, relative = start, drained - start
        for _ in range(2):
            issued = start + issue
            start = max(issued, drained)
            drained = max(issued + skew, drained) + drain
        count -= 2
        if drained - start == relative:
            periods = count // 2
            shift = periods * (start - begin)
            start += shift
            drained += shift
            count -= 2 * periods
    if count == 1:
        issued = start + issue
        start = max(issued, drained)
        drained = max(issued + skew, drained) + drain
    return start, drained


@jit
def os_cycles(m, n, k, rows, cols, lanes, latency, kept, group, ia, ib, split, overlapped, row_port, col_port):
    """Cycles of an output-stationary GEMM: m blocks outer, n blocks inner, k never cut."""
    _, _, slots, kx, kw = slot_layout(k, lanes, kept, group)
    m_blocks, n_blocks = ceil_div(m, rows * ia), ceil_div(n, cols * ib)
    m_last, n_last = m - (m_blocks - 1) * rows * ia, n - (n_blocks - 1) * cols * ib
    cycles = 0
    start, drained, finish = 0, 0, 0
    if overlapped and m_last == rows * ia and n_last == cols * ib:
        r, c, a, b, issue = os_tile(m_last, n_last, slots, kx, kw, rows, cols, latency, split, row_port, col_port)
        _, drained = os_run(start, drained, issue, latency + r - 2, r * a * b, m_blocks * n_blocks)
        return drained + c - 1
    for m_edge in range(2):
        mt = m_last if m_edge else rows * ia
        rows_left = 1 if m_edge else m_blocks - 1
        if rows_left == 0:
            continue
        r, c, a, b, issue = os_tile(
            mt, min(n, cols * ib), slots, kx, kw, rows, cols, latency, split, row_port, col_port
        )
        _, c_last, a_last, b_last, issue_last = os_tile(
            mt, n_last, slots, kx, kw, rows, cols, latency, split, row_port, col_port
        )
        drain, drain_last = r * a * b, r * a_last * b_last
        if not overlapped:
            full = (r - 1) + (c - 1) + issue + (latency - 1) + drain
            edge = (r - 1) + (c_last - 1) + issue_last + (latency - 1) + drain_last
            cycles += rows_left * ((n_blocks - 1) * full + edge)
            continue
        skew = latency + r - 2
        while rows_left > 0:
            steps = 2 if rows_left >= 2 else 1
            begin, relative = start, drained - start
            for _ in range(steps):
                start, drained = os_run(start, drained, issue, skew, drain, n_blocks - 1)
                finish = drained + c - 1 if n_blocks > 1 else 0
                start, drained = os_run(start, drained, issue_last, skew, drain_last, 1)
                finish = max(finish, drained + c_last - 1)
            rows_left -= steps
            if steps == 2 and drained - start == relative:
                periods = rows_left // 2
                shift = periods * (start - begin)
                start += shift
                drained += shift
                finish += shift
                rows_left -= 2 * periods
    return finish if overlapped else cycles


@jit
def stationary_layout(k, lanes, kept, group, variant):
    """Slot rows, k per slot row kr, slots per group q, weight words kept per slot row of a WS or IS machine."""
    together, per_group, slots, _, _ = slot_layout(k, lanes, kept, group)
    if variant == FLAT:
        return slots, lanes, 1, lanes
    if kept == 0:
        return slots, lanes, 1, lanes
    return ceil_div(k, together * group), together * group, per_group, together * kept


@jit
def stream_cycles(length, per_group, accumulators, latency, variant):
    """Cycles to stream `length` vectors past stationary operands, and the hop of a partial sum to the next PE row."""
    if variant != CHAIN:
        return length * per_group, latency
    full, rest = length // accumulators, length % accumulators
    wait = per_group - 1
    stream = full * (wait * max(accumulators, latency) + accumulators)
    if rest:
        stream += wait * max(rest, latency) + rest
    return stream, wait * max(min(accumulators, length), latency) + latency


@jit
def preload_cycles(first, r, hold, lanes, set_slots, set_words, col_port):
    """Cycles to preload `r` slot rows from `first` on: V words per row and cycle, and what the column port passes.

    `set_words` words fill `set_slots` slot rows: in `flat` the last slot of a group may have empty lanes.
    """
    cycles = r * ceil_div(hold, lanes)
    if col_port > 0:
        before = (first // set_slots) * set_words + (first % set_slots) * hold
        after = ((first + r) // set_slots) * set_words + ((first + r) % set_slots) * hold
        cycles = max(cycles, ceil_div(after - before, col_port))
    return cycles


@jit
def stationary_cycles(
    m, n, k, rows, cols, lanes, latency, kept, group, accumulators, dataflow, variant, overlapped, row_port, col_port
):
    """Cycles of a weight- or input-stationary GEMM: column blocks outer, slot-row (k) blocks inner."""
    slot_rows, kr, per_group, kw_row = stationary_layout(k, lanes, kept, group, variant)
    length, width = (m, n) if dataflow == WS else (n, m)
    hold, streamed = (kw_row, kr) if dataflow == WS else (kr, kw_row)
    if variant == FLAT and kept > 0:
        streamed = max(1, lanes // kept) * group
    stream, hop = stream_cycles(length, per_group, accumulators, latency, variant)
    if row_port > 0:
        stream = max(stream, ceil_div(length * streamed, row_port))
    set_slots, set_words = 1, hold
    if variant == FLAT and kept > 0:
        together, set_slots, _, _, _ = slot_layout(k, lanes, kept, group)
        set_words = together * kept
    k_blocks, blocks = ceil_div(slot_rows, rows), ceil_div(width, cols)
    r_last, c_last = slot_rows - (k_blocks - 1) * rows, width - (blocks - 1) * cols
    c_full, tail, full_skew = min(cols, width), latency - 1, (rows - 1) * hop
    first_load = preload_cycles(0, min(rows, slot_rows), hold, lanes, set_slots, set_words, col_port)
    last_load = preload_cycles((k_blocks - 1) * rows, r_last, hold, lanes, set_slots, set_words, col_port)
    loads, inside = last_load, max(stream, full_skew + 1 + last_load) if k_blocks > 1 else np.int64(0)
    period = set_slots // np.gcd(set_slots, rows)
    for phase in range(min(period, k_blocks - 1)):
        alike = ceil_div(k_blocks - 1 - phase, period)
        load = preload_cycles(phase * rows, rows, hold, lanes, set_slots, set_words, col_port)
        loads += alike * load
        inside += (alike - (1 if phase == 0 else 0)) * max(stream, full_skew + 1 + load)
    if not overlapped:
        per_block = loads + k_blocks * (stream + tail) + (k_blocks - 1) * full_skew + (r_last - 1) * hop
        return blocks * per_block + k_blocks * ((blocks - 1) * (c_full - 1) + c_last - 1)
    last_to_first = max(stream, (r_last - 1) * hop + 1 + first_load)
    start = first_load + (blocks - 1) * (inside + last_to_first) + inside
    end = stream + (r_last - 1) * hop + tail
    finish = start + end + c_last - 1
    if blocks > 1:
        finish = max(finish, start - inside - last_to_first + end + c_full - 1)
    return finish


@jit
def array_cycles(
    m, n, k, rows, cols, lanes, latency, kept, group, dataflow, variant, ia, ib, split, overlapped, row_port, col_port
):
    """Cycles of one GEMM on the array."""
    if dataflow == OS:
        return os_cycles(
            m, n, k, rows, cols, lanes, latency, kept, group, ia, ib, split, overlapped, row_port, col_port
        )
    return stationary_cycles(
        m, n, k, rows, cols, lanes, latency, kept, group, ia * ib, dataflow, variant, overlapped, row_port, col_port
    )


@jit
def array_counts(m, n, k, rows, cols, lanes, kept, group, dataflow, variant, ia, ib):
    """Op slots, words of x, w and y at the array's edge, and tiles of one GEMM (padding of ragged tiles included)."""
    together, per_group, slots, kx, kw = slot_layout(k, lanes, kept, group)
    if dataflow == OS:
        m_blocks, n_blocks = ceil_div(m, rows * ia), ceil_div(n, cols * ib)
        m_last, n_last = m - (m_blocks - 1) * rows * ia, n - (n_blocks - 1) * cols * ib
        m_words = (m_blocks - 1) * rows * ia + min(rows, m_last) * ceil_div(m_last, rows)
        n_words = (n_blocks - 1) * cols * ib + min(cols, n_last) * ceil_div(n_last, cols)
        return (
            m_words * n_words * slots,
            m_words * kx * n_blocks,
            n_words * kw * m_blocks,
            m_words * n_words,
            m_blocks * n_blocks,
        )
    slot_rows, kr, per_row, kw_row = stationary_layout(k, lanes, kept, group, variant)
    length, width = (m, n) if dataflow == WS else (n, m)
    k_blocks, blocks = ceil_div(slot_rows, rows), ceil_div(width, cols)
    y_words = width * length * k_blocks * (per_row if variant == SPLIT else 1)
    tiles = k_blocks * blocks
    if variant == FLAT:
        sets = slot_rows // per_group
        step = per_group // np.gcd(per_group, rows)
        cut_sets = (k_blocks - 1) - (k_blocks - 1) // step
        x_words = length * blocks * (sets + cut_sets) * (together * group if kept > 0 else lanes)
        return slot_rows * width * length, x_words, width * kw, y_words, tiles
    op_slots = slot_rows * width * length * per_row
    if dataflow == WS:
        return op_slots, slot_rows * length * kr * blocks, slot_rows * width * kw_row, y_words, tiles
    return op_slots, slot_rows * width * kr, slot_rows * length * kw_row * blocks, y_words, tiles


@jit
def tile_steps(kept, group, k, machine, mapping):
    """Smallest useful buffer tile (Tm, Tn, Tk) of a mapping: one block of the array, so that no tile cuts a block."""
    rows, cols, lanes = machine[0], machine[1], machine[2]
    if mapping[0] == OS:
        together, _, _, _, _ = slot_layout(k, lanes, kept, group)
        return rows * mapping[2], cols * mapping[3], (together * group if kept > 0 else lanes)
    _, kr, _, _ = stationary_layout(k, lanes, kept, group, mapping[1])
    if mapping[1] == FLAT and kept > 0:
        together, per_group, _, _, _ = slot_layout(k, lanes, kept, group)
        return rows, cols, ceil_div(rows, per_group) * together * group
    return (rows, cols, rows * kr) if mapping[0] == WS else (cols, rows, rows * kr)


@jit
def mapping_bounds(m, n, k, kept, group, machine, mapping):
    """Lower bounds of the array cycles of all jobs that cover m and n with k uncut: the sum of issues and of drains,
    and what a job whose blocks are all full adds to either sum.

    Buffer tiles are whole array blocks, so every tiling issues for the same blocks. The issue phases of the tiles of a
    job never overlap, and neither do their drains, hence each sum bounds the jobs' cycles. To its issues a job adds
    the skew, the adder latency and its last drain (OS) or its first preload and its last skew (WS, IS); to its drains
    the skew, the latency and its first issue. Last, the sum of issues without stalls, which no cut of k lowers.
    """
    rows, cols, lanes, latency = machine[0], machine[1], machine[2], machine[3]
    if mapping[0] != OS:
        slot_rows, kr, per_group, kw_row = stationary_layout(k, lanes, kept, group, mapping[1])
        length, width = (m, n) if mapping[0] == WS else (n, m)
        bound = ceil_div(slot_rows, rows) * ceil_div(width, cols) * length * per_group
        r, hold = min(rows, slot_rows), (kw_row if mapping[0] == WS else kr)
        r_last = r
        if mapping[1] == FLAT and slot_rows % rows:  # groups of a tile may end within a block
            r_last = slot_rows % rows
        to_issue = r * ceil_div(hold, lanes) + (r_last - 1) * latency + min(cols, width) - 1
        return bound, np.int64(0), to_issue, np.int64(0), bound
    _, _, slots, kx, kw = slot_layout(k, lanes, kept, group)
    total, drain, to_issue, to_drain, ops = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    m_block, n_block = min(m, rows * mapping[2]), min(n, cols * mapping[3])
    m_blocks, n_blocks = ceil_div(m, m_block), ceil_div(n, n_block)
    m_last, n_last = m - (m_blocks - 1) * m_block, n - (n_blocks - 1) * n_block
    m_full, n_full = m_blocks - (m_last < m_block), n_blocks - (n_last < n_block)
    for a in range(2):
        mt, m_tiles = (m_block, m_full) if a == 0 else (m_last, m_blocks - m_full)
        for b in range(2):
            nt, n_tiles = (n_block, n_full) if b == 0 else (n_last, n_blocks - n_full)
            tiles = m_tiles * n_tiles
            if tiles == 0:
                continue
            r, c, ia, ib, issue = os_tile(
                mt, nt, slots, kx, kw, rows, cols, latency, mapping[4], machine[5], machine[6]
            )
            total += tiles * issue
            drain += tiles * r * ia * ib
            ops += tiles * slots * ia * ib
            if a == 0 and b == 0:
                to_drain = (r - 1) + (c - 1) + (latency - 1)
                to_issue = to_drain + r * ia * ib
                to_drain += issue
    return total, drain, to_issue, to_drain, ops


@jit
def port_cycles(m, n, k, kept, group, machine, mapping):
    """Cycles that the narrower port alone needs for the words of one job; 0 where ports are as wide as needed."""
    rows, cols, lanes, row_port, col_port = machine[0], machine[1], machine[2], machine[5], machine[6]
    if mapping[0] == OS:
        _, _, _, kx, kw = slot_layout(k, lanes, kept, group)
        m_rows = (m // (rows * mapping[2])) * mapping[2] + ceil_div(m % (rows * mapping[2]), rows)
        n_cols = (n // (cols * mapping[3])) * mapping[3] + ceil_div(n % (cols * mapping[3]), cols)
        by_row = ceil_div(m_rows * kx, row_port) * ceil_div(n, cols * mapping[3]) if row_port > 0 else 0
        by_col = ceil_div(n_cols * kw, col_port) * ceil_div(m, rows * mapping[2]) if col_port > 0 else 0
        return max(by_row, by_col)
    slot_rows, kr, _, kw_row = stationary_layout(k, lanes, kept, group, mapping[1])
    length, width, streamed = (m, n, kr) if mapping[0] == WS else (n, m, kw_row)
    if mapping[1] == FLAT and kept > 0:
        streamed = max(1, lanes // kept) * group
    tiles = ceil_div(slot_rows, rows) * ceil_div(width, cols)
    return tiles * ceil_div(length * streamed, row_port) if row_port > 0 else 0
