"""Cycles and edge words of one GEMM or buffer tile on the array, and bounds of them.

`size` is what the array computes, `kept` of every `group` elements of w along k are kept (`kept` 0: dense), `array` an
`ArrayNumbers`, `mapping` an `ArrayMapping`.
"""

from typing import NamedTuple

import numpy as np

from accelsim.base.jit import jit
from accelsim.cost.compiled.values import CHAIN, FLAT, OS, SPLIT, UNLIMITED, WS, ArrayNumbers, Mnk


class SlotLayout(NamedTuple):
    """A reduction in slots of V products: groups per slot row f, slots per group q, slots (ops) per output S, and the
    padded lengths of x and of the compact w."""

    together: int
    per_group: int
    slots: int
    x_length: int
    w_length: int


class OsTile(NamedTuple):
    """One OS tile: PE rows and columns used, accumulators per PE, issue cycles with the port limits."""

    rows: int
    cols: int
    ia: int
    ib: int
    issue: int


class StationaryLayout(NamedTuple):
    """A reduction on a WS or IS machine: slot rows, k per slot row, slots per group q, weight words per slot row."""

    slot_rows: int
    row_k: int
    per_group: int
    row_words: int


class Stream(NamedTuple):
    """Cycles to stream vectors past stationary operands, and the hop of a partial sum to the next PE row."""

    cycles: int
    hop: int


class Preload(NamedTuple):
    """What PE rows hold: words of a slot row, and words that fill a set of slot rows (`flat`: those of a group, the
    last of which may leave MACs empty)."""

    row_words: int
    set_rows: int
    set_words: int


class EdgeCounts(NamedTuple):
    """Op slots, words at the array's edge and tiles of one GEMM (padding of ragged tiles included)."""

    op_slots: int
    x_words: int
    w_words: int
    y_words: int
    tiles: int


class Bounds(NamedTuple):
    """See `mapping_bounds`."""

    issue: int
    drain: int
    to_issue: int
    to_drain: int
    to_any: int
    stall_free: int


class Stalls(NamedTuple):
    """See `stalls_of`."""

    uncut: float
    saved: float


@jit
def ceil_div(a, b):
    """Integer division rounded up."""
    return -(-a // b)


@jit
def slot_layout(k, macs_per_pe, kept, group):
    """How a reduction of length k lies in slots (`SlotLayout`)."""
    if kept == 0:
        slots = ceil_div(k, macs_per_pe)
        return SlotLayout(1, 1, slots, slots * macs_per_pe, slots * macs_per_pe)
    groups = ceil_div(k, group)
    if macs_per_pe < kept:
        per_group = ceil_div(kept, macs_per_pe)
        return SlotLayout(1, per_group, groups * per_group, groups * group, groups * kept)
    together = macs_per_pe // kept
    slots = ceil_div(groups, together)
    return SlotLayout(together, 1, slots, slots * together * group, slots * together * kept)


@jit
def issue_cycles(slots, accumulators, split_k, latency):
    """Cycles in which one OS tile issues its ops: `slots` per output, `split_k` partial sums, then their reduction."""
    period = max(accumulators * split_k, latency)
    issue = ((slots - 1) // split_k) * period + ((slots - 1) % split_k) * accumulators + accumulators
    left = min(split_k, slots)
    while left > 1:
        half = left // 2
        issue += (latency - 1) + half * accumulators
        left -= half
    return issue


@jit
def os_tile(mt, nt, layout, array, split_k):
    """One OS tile of mt x nt outputs (`OsTile`)."""
    ia, ib = ceil_div(mt, array.rows), ceil_div(nt, array.cols)
    issue = issue_cycles(layout.slots, ia * ib, split_k, array.adder_latency)
    if array.row_port > 0:
        issue = max(issue, ceil_div(ia * layout.x_length, array.row_port))
    if array.col_port > 0:
        issue = max(issue, ceil_div(ib * layout.w_length, array.col_port))
    return OsTile(rows=min(array.rows, mt), cols=min(array.cols, nt), ia=ia, ib=ib, issue=issue)


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
def os_cycles(size, kept, group, array, mapping):
    """Cycles of an output-stationary GEMM: m blocks outer, n blocks inner, k never cut."""
    layout, latency = slot_layout(size.k, array.macs_per_pe, kept, group), array.adder_latency
    m_block, n_block = array.rows * mapping.ia, array.cols * mapping.ib
    m_blocks, n_blocks = ceil_div(size.m, m_block), ceil_div(size.n, n_block)
    m_last, n_last = size.m - (m_blocks - 1) * m_block, size.n - (n_blocks - 1) * n_block
    cycles = 0
    start, drained, finish = 0, 0, 0
    if array.overlapped and m_last == m_block and n_last == n_block:
        tile = os_tile(m_last, n_last, layout, array, mapping.split_k)
        skew, drain = latency + tile.rows - 2, tile.rows * tile.ia * tile.ib
        _, drained = os_run(start, drained, tile.issue, skew, drain, m_blocks * n_blocks)
        return drained + tile.cols - 1
    for m_edge in range(2):
        mt = m_last if m_edge else m_block
        rows_left = 1 if m_edge else m_blocks - 1
        if rows_left == 0:
            continue
        full = os_tile(mt, min(size.n, n_block), layout, array, mapping.split_k)
        last = os_tile(mt, n_last, layout, array, mapping.split_k)
        rows = full.rows
        drain, drain_last = rows * full.ia * full.ib, rows * last.ia * last.ib
        if not array.overlapped:
            alone = (rows - 1) + (full.cols - 1) + full.issue + (latency - 1) + drain
            alone_last = (rows - 1) + (last.cols - 1) + last.issue + (latency - 1) + drain_last
            cycles += rows_left * ((n_blocks - 1) * alone + alone_last)
            continue
        skew = latency + rows - 2
        while rows_left > 0:
            steps = 2 if rows_left >= 2 else 1
            begin, relative = start, drained - start
            for _ in range(steps):
                start, drained = os_run(start, drained, full.issue, skew, drain, n_blocks - 1)
                finish = drained + full.cols - 1 if n_blocks > 1 else 0
                start, drained = os_run(start, drained, last.issue, skew, drain_last, 1)
                finish = max(finish, drained + last.cols - 1)
            rows_left -= steps
            if steps == 2 and drained - start == relative:
                periods = rows_left // 2
                shift = periods * (start - begin)
                start += shift
                drained += shift
                finish += shift
                rows_left -= 2 * periods
    return finish if array.overlapped else cycles


@jit
def stationary_layout(k, macs_per_pe, kept, group, variant):
    """How a reduction of length k lies on a WS or IS machine (`StationaryLayout`)."""
    layout = slot_layout(k, macs_per_pe, kept, group)
    if variant == FLAT or kept == 0:
        return StationaryLayout(layout.slots, macs_per_pe, 1, macs_per_pe)
    row_k = layout.together * group
    return StationaryLayout(ceil_div(k, row_k), row_k, layout.per_group, layout.together * kept)


@jit
def stream_cycles(length, per_group, accumulators, latency, variant):
    """The `Stream` of `length` vectors."""
    if variant != CHAIN:
        return Stream(length * per_group, latency)
    full, rest = length // accumulators, length % accumulators
    wait = per_group - 1
    stream = full * (wait * max(accumulators, latency) + accumulators)
    if rest:
        stream += wait * max(rest, latency) + rest
    return Stream(stream, wait * max(min(accumulators, length), latency) + latency)


@jit
def preload_cycles(first, r, preload, array):
    """Cycles to preload `r` slot rows from `first` on: V words per row and cycle, and what the column port passes."""
    cycles = r * ceil_div(preload.row_words, array.macs_per_pe)
    if array.col_port > 0:
        hold, set_rows, set_words = preload.row_words, preload.set_rows, preload.set_words
        before = (first // set_rows) * set_words + (first % set_rows) * hold
        after = ((first + r) // set_rows) * set_words + ((first + r) % set_rows) * hold
        cycles = max(cycles, ceil_div(after - before, array.col_port))
    return cycles


@jit
def streamed_words(layout, kept, group, array, mapping):
    """Words that enter a PE row with each streamed vector."""
    if mapping.variant == FLAT and kept > 0:
        return max(1, array.macs_per_pe // kept) * group
    return layout.row_k if mapping.dataflow == WS else layout.row_words


@jit
def stationary_cycles(size, kept, group, array, mapping):
    """Cycles of a weight- or input-stationary GEMM: column blocks outer, slot-row (k) blocks inner."""
    layout = stationary_layout(size.k, array.macs_per_pe, kept, group, mapping.variant)
    rows, slot_rows, latency = array.rows, layout.slot_rows, array.adder_latency
    length, width = (size.m, size.n) if mapping.dataflow == WS else (size.n, size.m)
    vectors = stream_cycles(length, layout.per_group, mapping.ia * mapping.ib, latency, mapping.variant)
    stream, hop = vectors.cycles, vectors.hop
    if array.row_port > 0:
        stream = max(stream, ceil_div(length * streamed_words(layout, kept, group, array, mapping), array.row_port))
    hold = layout.row_words if mapping.dataflow == WS else layout.row_k
    preload = Preload(hold, 1, hold)
    if mapping.variant == FLAT and kept > 0:
        slots = slot_layout(size.k, array.macs_per_pe, kept, group)
        preload = Preload(hold, slots.per_group, slots.together * kept)
    k_blocks, blocks = ceil_div(slot_rows, rows), ceil_div(width, array.cols)
    r_last, c_last = slot_rows - (k_blocks - 1) * rows, width - (blocks - 1) * array.cols
    c_full, tail, full_skew = min(array.cols, width), latency - 1, (rows - 1) * hop
    first_load = preload_cycles(0, min(rows, slot_rows), preload, array)
    last_load = preload_cycles((k_blocks - 1) * rows, r_last, preload, array)
    loads, inside = last_load, max(stream, full_skew + 1 + last_load) if k_blocks > 1 else np.int64(0)
    period = preload.set_rows // np.gcd(preload.set_rows, rows)
    for phase in range(min(period, k_blocks - 1)):
        alike = ceil_div(k_blocks - 1 - phase, period)
        load = preload_cycles(phase * rows, rows, preload, array)
        loads += alike * load
        inside += (alike - (1 if phase == 0 else 0)) * max(stream, full_skew + 1 + load)
    if not array.overlapped:
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
def array_cycles(size, kept, group, array, mapping):
    """Cycles of one GEMM on the array."""
    if mapping.dataflow == OS:
        return os_cycles(size, kept, group, array, mapping)
    return stationary_cycles(size, kept, group, array, mapping)


@jit
def array_counts(size, kept, group, array, mapping):
    """The `EdgeCounts` of one GEMM."""
    layout = slot_layout(size.k, array.macs_per_pe, kept, group)
    rows, cols = array.rows, array.cols
    if mapping.dataflow == OS:
        m_block, n_block = rows * mapping.ia, cols * mapping.ib
        m_blocks, n_blocks = ceil_div(size.m, m_block), ceil_div(size.n, n_block)
        m_last, n_last = size.m - (m_blocks - 1) * m_block, size.n - (n_blocks - 1) * n_block
        m_words = (m_blocks - 1) * m_block + min(rows, m_last) * ceil_div(m_last, rows)
        n_words = (n_blocks - 1) * n_block + min(cols, n_last) * ceil_div(n_last, cols)
        return EdgeCounts(
            op_slots=m_words * n_words * layout.slots,
            x_words=m_words * layout.x_length * n_blocks,
            w_words=n_words * layout.w_length * m_blocks,
            y_words=m_words * n_words,
            tiles=m_blocks * n_blocks,
        )
    held = stationary_layout(size.k, array.macs_per_pe, kept, group, mapping.variant)
    length, width = (size.m, size.n) if mapping.dataflow == WS else (size.n, size.m)
    k_blocks, blocks = ceil_div(held.slot_rows, rows), ceil_div(width, cols)
    y_words = width * length * k_blocks * (held.per_group if mapping.variant == SPLIT else 1)
    op_slots = held.slot_rows * width * length * held.per_group
    if mapping.variant == FLAT:
        sets = held.slot_rows // layout.per_group
        step = layout.per_group // np.gcd(layout.per_group, rows)
        cut_sets = (k_blocks - 1) - (k_blocks - 1) // step
        x_words = length * blocks * (sets + cut_sets) * (layout.together * group if kept > 0 else array.macs_per_pe)
        w_words = width * layout.w_length
    elif mapping.dataflow == WS:
        x_words = held.slot_rows * length * held.row_k * blocks
        w_words = held.slot_rows * width * held.row_words
    else:
        x_words = held.slot_rows * width * held.row_k
        w_words = held.slot_rows * length * held.row_words * blocks
    return EdgeCounts(op_slots=op_slots, x_words=x_words, w_words=w_words, y_words=y_words, tiles=k_blocks * blocks)


@jit
def tile_steps(kept, group, k, array, mapping):
    """Smallest useful buffer tile of a mapping: one block of the array, so that no tile cuts a block."""
    layout = slot_layout(k, array.macs_per_pe, kept, group)
    if mapping.dataflow == OS:
        row_k = layout.together * group if kept > 0 else array.macs_per_pe
        return Mnk(array.rows * mapping.ia, array.cols * mapping.ib, row_k)
    if mapping.variant == FLAT and kept > 0:
        return Mnk(array.rows, array.cols, ceil_div(array.rows, layout.per_group) * layout.together * group)
    row_k = stationary_layout(k, array.macs_per_pe, kept, group, mapping.variant).row_k
    if mapping.dataflow == WS:
        return Mnk(array.rows, array.cols, array.rows * row_k)
    return Mnk(array.cols, array.rows, array.rows * row_k)


@jit
def mapping_bounds(size, kept, group, array, mapping):
    """Lower bounds of the array cycles of all jobs that cover m and n with k uncut: the sum of issues and of drains,
    and what a job whose blocks are all full adds to either sum.

    Buffer tiles are whole array blocks, so every tiling issues for the same blocks. The issue phases of the tiles of a
    job never overlap, and neither do their drains, hence each sum bounds the jobs' cycles. To its issues a job adds
    the skew, the adder latency and its last drain (OS) or its first preload and its last skew (WS, IS); to its drains
    the skew, the latency and its first issue. `to_any` is what every job adds to its issues, ragged blocks or not.
    Last, the sum of issues without stalls, which no cut of k lowers.
    """
    rows, cols, latency = array.rows, array.cols, array.adder_latency
    if mapping.dataflow != OS:
        held = stationary_layout(size.k, array.macs_per_pe, kept, group, mapping.variant)
        length, width = (size.m, size.n) if mapping.dataflow == WS else (size.n, size.m)
        bound = ceil_div(held.slot_rows, rows) * ceil_div(width, cols) * length * held.per_group
        r, hold = min(rows, held.slot_rows), (held.row_words if mapping.dataflow == WS else held.row_k)
        r_last = r
        if mapping.variant == FLAT and held.slot_rows % rows:  # groups of a tile may end within a block
            r_last = held.slot_rows % rows
        to_issue = r * ceil_div(hold, array.macs_per_pe) + (r_last - 1) * latency + min(cols, width) - 1
        return Bounds(
            issue=bound, drain=np.int64(0), to_issue=to_issue, to_drain=np.int64(0), to_any=latency, stall_free=bound
        )  # fmt: skip
    layout = slot_layout(size.k, array.macs_per_pe, kept, group)
    total, drain, to_issue, to_drain, ops = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    m_block, n_block = min(size.m, rows * mapping.ia), min(size.n, cols * mapping.ib)
    m_blocks, n_blocks = ceil_div(size.m, m_block), ceil_div(size.n, n_block)
    m_last, n_last = size.m - (m_blocks - 1) * m_block, size.n - (n_blocks - 1) * n_block
    m_full, n_full = m_blocks - (m_last < m_block), n_blocks - (n_last < n_block)
    for m_edge in range(2):
        mt, m_tiles = (m_last, m_blocks - m_full) if m_edge else (m_block, m_full)
        for n_edge in range(2):
            nt, n_tiles = (n_last, n_blocks - n_full) if n_edge else (n_block, n_full)
            tiles = m_tiles * n_tiles
            if tiles == 0:
                continue
            tile = os_tile(mt, nt, layout, array, mapping.split_k)
            total += tiles * tile.issue
            drain += tiles * tile.rows * tile.ia * tile.ib
            ops += tiles * layout.slots * tile.ia * tile.ib
            if not m_edge and not n_edge:
                around = (tile.rows - 1) + (tile.cols - 1) + (latency - 1)
                to_issue = around + tile.rows * tile.ia * tile.ib
                to_drain = around + tile.issue
    least = os_tile(m_last, n_last, layout, array, mapping.split_k)
    to_any = (least.rows - 1) + (least.cols - 1) + (latency - 1) + least.rows * least.ia * least.ib
    return Bounds(issue=total, drain=drain, to_issue=to_issue, to_drain=to_drain, to_any=to_any, stall_free=ops)


@jit
def stalls_of(size, kept, group, array, mapping):
    """A lower bound of the issues of all jobs that cover m and n with k in T tiles: `uncut` - T `saved`.

    An OS tile of s slots issues for no less than s P / Z - P + I cycles, with P = max(I Z, L): where I Z < L, each cut
    of a reduction saves up to P - I of its stalls. WS and IS have the bound of `mapping_bounds` alone.
    """
    uncut, saved = np.float64(0.0), np.float64(0.0)
    if mapping.dataflow == OS:
        layout = slot_layout(size.k, array.macs_per_pe, kept, group)
        m_block, n_block = min(size.m, array.rows * mapping.ia), min(size.n, array.cols * mapping.ib)
        m_blocks, n_blocks = ceil_div(size.m, m_block), ceil_div(size.n, n_block)
        for m_edge in range(2):
            mt, m_tiles = (size.m - (m_blocks - 1) * m_block, 1) if m_edge else (m_block, m_blocks - 1)
            for n_edge in range(2):
                nt, n_tiles = (size.n - (n_blocks - 1) * n_block, 1) if n_edge else (n_block, n_blocks - 1)
                held = ceil_div(mt, array.rows) * ceil_div(nt, array.cols)
                period = max(held * mapping.split_k, array.adder_latency)
                uncut += np.float64(m_tiles) * n_tiles * period * layout.slots / mapping.split_k
                saved += np.float64(m_tiles) * n_tiles * (period - held)
    return Stalls(uncut=uncut * (1 - 1e-12), saved=saved)


@jit
def without_ports(array):
    """The array with ports as wide as needed."""
    return ArrayNumbers(
        rows=array.rows,
        cols=array.cols,
        macs_per_pe=array.macs_per_pe,
        adder_latency=array.adder_latency,
        overlapped=array.overlapped,
        row_port=UNLIMITED,
        col_port=UNLIMITED,
    )


@jit
def port_cycles(size, kept, group, array, mapping):
    """Cycles that the narrower port alone needs for the words of one job; 0 where ports are as wide as needed."""
    rows, cols, row_port, col_port = array.rows, array.cols, array.row_port, array.col_port
    if mapping.dataflow == OS:
        layout, ia, ib = slot_layout(size.k, array.macs_per_pe, kept, group), mapping.ia, mapping.ib
        m_rows = (size.m // (rows * ia)) * ia + ceil_div(size.m % (rows * ia), rows)
        n_cols = (size.n // (cols * ib)) * ib + ceil_div(size.n % (cols * ib), cols)
        by_row = ceil_div(m_rows * layout.x_length, row_port) * ceil_div(size.n, cols * ib) if row_port > 0 else 0
        by_col = ceil_div(n_cols * layout.w_length, col_port) * ceil_div(size.m, rows * ia) if col_port > 0 else 0
        return max(by_row, by_col)
    held = stationary_layout(size.k, array.macs_per_pe, kept, group, mapping.variant)
    length, width = (size.m, size.n) if mapping.dataflow == WS else (size.n, size.m)
    tiles = ceil_div(held.slot_rows, rows) * ceil_div(width, cols)
    words = length * streamed_words(held, kept, group, array, mapping)
    return tiles * ceil_div(words, row_port) if row_port > 0 else 0
