"""The closed form in compiled loops: array timing, edge words, the buffer loop nest and the mapping search.

Numbers in, numbers out: no text, no checks, no exceptions. `accelsim.cost.array` and `accelsim.schedule` wrap these
functions and say what they mean. Everything that calls each other stands in this one file, because the compile cache of
a file does not notice changes in another.

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


# The buffer level. A GEMM is cut into buffer tiles (Tm, Tn, Tk); each is one job of the array. Dimensions are numbered
# m = 0, n = 1, k = 2; an order lists them from the outermost loop to the innermost.

ORDERS = np.array([(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0), (2, 1, 0)], dtype=np.int64)

# per_element holds bytes per element: in DRAM of x, w, a finished y and a spilled psum; in the buffers of x and w.


@jit
def transfer_cycles(transferred, bytes_per_cycle):
    """Cycles that `transferred` bytes occupy the DRAM."""
    return np.int64(np.ceil(transferred / bytes_per_cycle))


@jit
def loads_of(operand_absent, trips, order):
    """How often an operand is fetched in full: the trips of the one loop that does not index it, if that loop stands
    outside a loop (of more than one trip) that does; otherwise once."""
    outside = False
    for position in range(3):
        dimension = order[position]
        if dimension == operand_absent:
            outside = True
        elif outside and trips[dimension] > 1:
            return trips[operand_absent]
    return 1


@jit
def traffic_bytes(m, n, k, trips, order, per_element):
    """DRAM bytes of x, w and y of one copy of a GEMM under a loop order."""
    x = np.float64(m) * k * per_element[0] * loads_of(1, trips, order)
    w = np.float64(k) * n * per_element[1] * loads_of(0, trips, order)
    visits = loads_of(2, trips, order)
    y = np.float64(m) * n * (per_element[2] + 2 * (visits - 1) * per_element[3])
    return x, w, y


@jit
def representative(trips, which):
    """Index and multiplicity of a loop's classes of iterations: first, second to third last, second last, last."""
    if trips <= 4:
        return which, 1
    if which < 2:
        return which, 1 if which == 0 else trips - 3
    return trips - 4 + which, 1


@jit
def end_bytes(full, edge, per_element):
    """Bytes of the first load and of the last store, which nothing hides."""
    first = np.float64(full[2]) * (np.float64(full[0]) * per_element[0] + np.float64(full[1]) * per_element[1])
    return first, np.float64(edge[0]) * edge[1] * per_element[2]


@jit
def end_transfers(full, edge, per_element, bytes_per_cycle):
    """Cycles of the first load and of the last store."""
    first, last = end_bytes(full, edge, per_element)
    return transfer_cycles(first, bytes_per_cycle), transfer_cycles(last, bytes_per_cycle)


@jit
def largest_transfer(trips, full, per_element):
    """Upper bound of the bytes of the transfers beside any job of a tiling, a hair more for how they are rounded."""
    load = np.float64(full[2]) * (np.float64(full[0]) * per_element[0] + np.float64(full[1]) * per_element[1])
    psums = per_element[2] if trips[2] == 1 else 2 * max(per_element[2], per_element[3])
    return (load + np.float64(full[0]) * full[1] * psums) * (1 + 1e-12)


@jit
def beside_job(outer, mid, inner, trips, order, full, edge, per_element):
    """Bytes loaded for the job after (outer, mid, inner) and stored of the job before it, whether it is the last and
    the first of its copy, and whether it is at the edge of m, n and k. Copies follow each other: after the last job
    comes the first of the next copy."""
    outer_last, mid_last, inner_last = trips[order[0]] - 1, trips[order[1]] - 1, trips[order[2]] - 1
    last, first = False, False
    if inner < inner_last:
        after = (outer, mid, inner + 1)
    elif mid < mid_last:
        after = (outer, mid + 1, np.int64(0))
    else:
        last = outer == outer_last
        after = (np.int64(0) if last else outer + 1, np.int64(0), np.int64(0))
    if inner > 0:
        before = (outer, mid, inner - 1)
    elif mid > 0:
        before = (outer, mid - 1, inner_last)
    else:
        first = outer == 0
        before = (outer_last if first else outer - 1, mid_last, inner_last)
    m, n, k, m_after, n_after, k_after = outer, outer, outer, after[0], after[0], after[0]
    m_before, n_before, k_before = before[0], before[0], before[0]
    for position in range(3):
        here = outer if position == 0 else (mid if position == 1 else inner)
        if order[position] == 0:
            m, m_after, m_before = here, after[position], before[position]
        elif order[position] == 1:
            n, n_after, n_before = here, after[position], before[position]
        else:
            k, k_after, k_before = here, after[position], before[position]
    m_last, n_last, k_last = trips[0] - 1, trips[1] - 1, trips[2] - 1
    m_new, n_new, k_new = m_after != m, n_after != n, k_after != k
    m_tile, n_tile = edge[0] if m_after == m_last else full[0], edge[1] if n_after == n_last else full[1]
    k_tile = edge[2] if k_after == k_last else full[2]
    load, store = 0.0, 0.0
    if last or m_new or k_new:
        load += np.float64(m_tile) * k_tile * per_element[0]
    if last or n_new or k_new:
        load += np.float64(k_tile) * n_tile * per_element[1]
    if not last and (m_new or n_new) and k_after > 0:
        load += np.float64(m_tile) * n_tile * per_element[3]
    if first or m_before != m or n_before != n:
        m_tile, n_tile = edge[0] if m_before == m_last else full[0], edge[1] if n_before == n_last else full[1]
        store = np.float64(m_tile) * n_tile * per_element[2 if k_before == k_last else 3]
    return load, store, last, first, int(m == m_last), int(n == n_last), int(k == k_last)


@jit
def pipeline_cycles(trips, full, edge, order, count, compute, total, per_element, bytes_per_cycle, jobs, beside):
    """Cycles of `count` copies of a GEMM, double buffered: first load + sum of max(compute of job j, load of job j+1
    with store of job j-1) + last store. `full` and `edge` are the tile sizes, `compute[m, n, k]` the job cycles with 1
    at an edge and `total` their sum over a copy. Loads and stores share the DRAM. `jobs` and `beside` are scratch of
    `JOBS` rows.
    """
    first_load, last_store = end_transfers(full, edge, per_element, bytes_per_cycle)
    ends = first_load + last_store
    if least_of(compute) >= transfer_cycles(largest_transfer(trips, full, per_element), bytes_per_cycle):
        return ends + count * total
    found = jobs_beside_transfers(trips, full, edge, order, count, compute, per_element, jobs, beside)
    return ends + jobs_cycles(found, jobs, beside, bytes_per_cycle)


@jit
def least_of(compute):
    """The least of the job cycles by edge class."""
    least = compute[0, 0, 0]
    for a in range(2):
        for b in range(2):
            for c in range(2):
                least = min(least, compute[a, b, c])
    return least


@jit
def jobs_cycles(found, jobs, beside, bytes_per_cycle):
    """Cycles of the first `found` jobs (number, array cycles) with the bytes that pass beside each."""
    cycles = np.int64(0)
    for index in range(found):
        cycles += jobs[index, 0] * max(jobs[index, 1], transfer_cycles(beside[index], bytes_per_cycle))
    return cycles


JOBS = 68  # four classes of iterations of three loops, and corrections of the first and the last job


@jit
def jobs_beside_transfers(trips, full, edge, order, count, compute, per_element, jobs, beside):
    """Fill in the jobs of `count` copies (number, array cycles) and the bytes that pass `beside` each; return how many
    entries that takes. Iterations of a loop that cost the same are counted, not walked; copies are alike but for the
    first job of the first, which stores nothing, and the last job of the last, which loads nothing."""
    found = 0
    outer, mid, inner = trips[order[0]], trips[order[1]], trips[order[2]]
    for i in range(min(outer, 4)):
        at_outer, weight_i = representative(outer, i)
        for j in range(min(mid, 4)):
            at_mid, weight_j = representative(mid, j)
            for h in range(min(inner, 4)):
                at_inner, weight_h = representative(inner, h)
                load, store, last, first, a, b, c = beside_job(
                    at_outer, at_mid, at_inner, trips, order, full, edge, per_element
                )
                busy, whole = compute[a, b, c], found
                jobs[found, 0], jobs[found, 1] = count * weight_i * weight_j * weight_h, busy
                beside[found] = load + store
                found += 1
                if first and last and count == 1:
                    beside[whole] = 0.0
                    continue
                if first:
                    jobs[whole, 0] -= 1
                    jobs[found, 0], jobs[found, 1], beside[found] = 1, busy, load
                    found += 1
                if last:
                    jobs[whole, 0] -= 1
                    jobs[found, 0], jobs[found, 1], beside[found] = 1, busy, store
                    found += 1
    return found


@jit
def job_classes(shape, per_element, machine, bytes_per_cycle, mapping, tile, order):
    """The jobs of a GEMM by class, for engines that run them one by one.

    Returns trips; for up to four classes of each loop, outermost first, the array cycles of a job and the DRAM cycles
    beside it: of the load of the next job with the store of the one before, of the load alone and of the store alone;
    and the DRAM cycles of the first load and of the last store.
    """
    trips, edge = np.empty(3, np.int64), np.empty(3, np.int64)
    for d in range(3):
        trips[d] = ceil_div(shape[d], tile[d])
        edge[d] = shape[d] - (trips[d] - 1) * tile[d]
    compute = np.empty((2, 2, 2), np.int64)
    job_table(trips, tile, edge, shape[4], shape[5], machine, mapping, compute)
    jobs = np.zeros((4, 4, 4, 4), np.int64)
    outer, mid, inner = trips[order[0]], trips[order[1]], trips[order[2]]
    for i in range(min(outer, 4)):
        at_outer, _ = representative(outer, i)
        for j in range(min(mid, 4)):
            at_mid, _ = representative(mid, j)
            for h in range(min(inner, 4)):
                at_inner, _ = representative(inner, h)
                load, store, _, _, a, b, c = beside_job(
                    at_outer, at_mid, at_inner, trips, order, tile, edge, per_element
                )
                jobs[i, j, h, 0] = compute[a, b, c]
                jobs[i, j, h, 1] = transfer_cycles(load + store, bytes_per_cycle)
                jobs[i, j, h, 2] = transfer_cycles(load, bytes_per_cycle)
                jobs[i, j, h, 3] = transfer_cycles(store, bytes_per_cycle)
    first_load, last_store = end_transfers(tile, edge, per_element, bytes_per_cycle)
    return trips, jobs, first_load, last_store


@jit
def job_table(trips, full, edge, kept, group, machine, mapping, compute):
    """Fill in the array cycles of the jobs of a tiling by edge class [m, n, k] (huge where there is none); return
    their sum."""
    compute[:] = np.iinfo(np.int64).max
    same_m, same_n = trips[0] > 1 and edge[0] == full[0], trips[1] > 1 and edge[1] == full[1]
    same_k = trips[2] > 1 and edge[2] == full[2]
    total = np.int64(0)
    for a in range(2):
        m_jobs = 1 if a else trips[0] - 1
        for b in range(2):
            n_jobs = 1 if b else trips[1] - 1
            for c in range(2):
                k_jobs = 1 if c else trips[2] - 1
                jobs = m_jobs * n_jobs * k_jobs
                if jobs == 0:
                    continue
                if (same_m and a) or (same_n and b) or (same_k and c):  # the last is as large as the others
                    compute[a, b, c] = compute[0 if same_m else a, 0 if same_n else b, 0 if same_k else c]
                    total += jobs * compute[a, b, c]
                    continue
                cycles = array_cycles(
                    edge[0] if a else full[0],
                    edge[1] if b else full[1],
                    edge[2] if c else full[2],
                    machine[0],
                    machine[1],
                    machine[2],
                    machine[3],
                    kept,
                    group,
                    mapping[0],
                    mapping[1],
                    mapping[2],
                    mapping[3],
                    mapping[4],
                    machine[4] == 1,
                    machine[5],
                    machine[6],
                )
                compute[a, b, c] = cycles
                total += jobs * cycles
    return total


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
def tile_candidates(whole, step, shapes_blocks, sizes, trips, jobs):
    """Fill in the tile sizes of a dimension, largest first: all of it, then `step` times powers of two; their number.

    With each size its trips, and how many of them surely hold whole array blocks: the last one does when no block is
    ragged, when one block holds all, or when the dimension does not shape the array's blocks.
    """
    last_is_whole = not shapes_blocks or whole <= step or whole % step == 0
    found = 1
    sizes[0] = whole
    size = step
    while size * 2 < whole:
        size *= 2
    while size >= step and size < whole:
        sizes[found] = size
        found += 1
        size //= 2
    for index in range(found):
        trips[index] = ceil_div(whole, sizes[index])
        jobs[index] = trips[index] if last_is_whole else trips[index] - 1
    return found


@jit
def first_fitting(sizes, found, room):
    """Index of the largest of the sizes that is at most `room`; `found` if none is."""
    index = 0
    while index < found and sizes[index] > room:
        index += 1
    return index


@jit
def traffic_of_orders(m, n, k, x_bytes, w_bytes, y_bytes, psum_bytes, order_bytes):
    """Fill in the DRAM bytes of each of `ORDERS` (`traffic_bytes` written out) for trips m, n, k; return the least,
    which grows with every trip count. `psum_bytes`: one write of all partial sums."""
    m_many, n_many, k_many = m > 1, n > 1, k > 1
    spill = 2 * (k - 1) * psum_bytes
    order_bytes[0] = x_bytes * (n if k_many else 1) + w_bytes * (m if n_many or k_many else 1)
    order_bytes[1] = x_bytes * (n if m_many or k_many else 1) + w_bytes * (m if k_many else 1)
    order_bytes[2] = x_bytes + w_bytes * (m if n_many or k_many else 1) + (spill if n_many else 0.0)
    order_bytes[3] = x_bytes + w_bytes * (m if n_many else 1) + (spill if m_many or n_many else 0.0)
    order_bytes[4] = x_bytes * (n if m_many or k_many else 1) + w_bytes + (spill if m_many else 0.0)
    order_bytes[5] = x_bytes * (n if m_many else 1) + w_bytes + (spill if m_many or n_many else 0.0)
    least = np.inf
    for o in range(6):
        order_bytes[o] += y_bytes
        least = min(least, order_bytes[o])
    return least


@jit
def dram_floor(moved, bytes_per_cycle):
    """Lower bound of the cycles in which `moved` bytes pass: a hair less than their quotient, because the transfers
    beside the jobs, which add up to `moved`, are rounded one by one."""
    return moved * (1 - 1e-12) / bytes_per_cycle


@jit
def search(shape, per_element, machine, buffers, bytes_per_cycle, fetch_cycles, mappings):
    """Exhaustive search for the fastest mapping of one GEMM; ties go to fewer DRAM bytes, then to the first found.

    shape: m, n, k, count, kept, group. machine: rows, cols, lanes, latency, overlapped, row port, column port.
    mappings: one row (dataflow, variant, ia, ib, split) each. Tiles run over the whole dimension and the array block
    times powers of two, as far as they fit the buffers; orders over all six. Each full fetch of w costs another
    `fetch_cycles` (SORE in front of the GEMM).

    A candidate is skipped only when a lower bound of its cycles exceeds the best found, so the result is that of the
    whole space. The bounds: array issue, drain and per-job extra cycles (`mapping_bounds`), and DRAM bytes / bandwidth.
    They never fall when a tile shrinks, so a bound that fails for Tm fails for all smaller Tm, and one
    that fails for the largest Tm and Tn that fit beside Tk fails for that Tk. The issues without stalls plus what the
    fewest jobs add exclude all smaller Tk, too. Mappings are tried by rising bound. Of orders that differ in the place
    of loops of one trip alone, which are the same, the first is evaluated.

    Returns the best (mapping row, Tm, Tn, Tk, order), its cycles, array cycles and DRAM bytes, and the numbers of
    candidates evaluated and pruned; cycles -1 when nothing fits.
    """
    none_codes, none_numbers = np.empty((0, CODES), np.int64), np.empty((0, NUMBERS))
    return walk(
        shape, per_element, machine, buffers, bytes_per_cycle, fetch_cycles, mappings, np.inf, True, none_codes,
        none_numbers,
    )[:6]  # fmt: skip


CODES, NUMBERS = 15, 4  # of a kept candidate

# By dimensions with more than one trip (1 for m, 2 for n, 4 for k) the first of the orders in which these stand alike.
FIRST_ALIKE = np.array(
    [
        [
            min(
                other
                for other in range(6)
                if [d for d in ORDERS[other] if many >> d & 1] == [d for d in ORDERS[order] if many >> d & 1]
            )
            for order in range(6)
        ]
        for many in range(8)
    ]
)


@jit
def walk(
    shape, per_element, machine, buffers, bytes_per_cycle, fetch_cycles, mappings, limit, lowering, codes, numbers
):
    """Walk the space of `search`: for its fastest candidate, or for all that may take at most `limit` cycles.

    Only candidates with a bound of at most `limit` are looked at. With `lowering` that falls to the best found; a first
    value that some candidate reaches saves time and changes nothing. Without, the limit stays; an infinite one
    evaluates the whole space, whatever is alike in it. Where `codes` has rows, candidates are not evaluated but kept,
    in the order of the walk: `codes` (mapping row, Tm, Tn, Tk, order, cycles of SORE, of all jobs, of a job by edge
    class m, n, k) and `numbers` (DRAM bytes; bytes of the first load, of the last store, the most beside a job), as
    many as there is room for.

    Returns as `search`, and the number of candidates kept or, where they exceed the room, that would have been.
    """
    stored, evaluate_all = np.int64(0), not lowering and codes.shape[0] == 0
    m, n, k, count, kept, group = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    best = np.zeros(5, np.int64)
    best_cycles, best_compute, best_bytes = np.int64(-1), np.int64(0), np.inf
    evaluated, pruned = np.int64(0), np.int64(0)
    trips, full, edge, whole = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64), shape[:3]
    order_bytes, compute = np.empty(6), np.empty((2, 2, 2), np.int64)
    jobs, beside = np.empty((JOBS, 2), np.int64), np.empty(JOBS)
    x_bytes = count * (np.float64(m) * k * per_element[0])
    w_bytes = count * (np.float64(k) * n * per_element[1])
    y_bytes, psum_bytes = count * (np.float64(m) * n * per_element[2]), count * (np.float64(m) * n * per_element[3])
    sizes, trips_of, jobs_of = np.empty((3, 64), np.int64), np.empty((3, 64), np.int64), np.empty((3, 64), np.int64)
    found = np.empty(3, np.int64)
    x_capacity, w_capacity = buffers[0] / (2 * per_element[4]), buffers[1] / (2 * per_element[5])
    y_capacity = buffers[2] / (2 * per_element[3])
    rank, stall_free = np.empty(mappings.shape[0], np.int64), np.empty(mappings.shape[0], np.int64)
    for v in range(mappings.shape[0]):
        issue, drain, to_issue, to_drain, ops = mapping_bounds(m, n, k, kept, group, machine, mappings[v])
        rank[v], stall_free[v] = max(issue + to_issue, drain + to_drain), ops
    for v in np.argsort(rank, kind="mergesort"):
        mapping = mappings[v]
        steps = tile_steps(kept, group, k, machine, mapping)
        free = 2 if mapping[0] == OS else (0 if mapping[0] == WS else 1)
        for d in range(3):
            found[d] = tile_candidates(whole[d], steps[d], d != free, sizes[d], trips_of[d], jobs_of[d])
        hopeless = count * (stall_free[v] + fetch_cycles) > limit
        for k_index in range(found[2]):
            tk, k_trips, k_jobs = sizes[2, k_index], trips_of[2, k_index], jobs_of[2, k_index]
            m_first = first_fitting(sizes[0], found[0], x_capacity / tk)
            n_first = first_fitting(sizes[1], found[1], w_capacity / tk)
            if m_first == found[0] or n_first == found[1]:
                continue
            if hopeless:
                for n_index in range(n_first, found[1]):
                    m_index = max(m_first, first_fitting(sizes[0], found[0], y_capacity / sizes[1, n_index]))
                    pruned += 6 * (found[0] - m_index)
                continue
            issue, drain, to_issue, to_drain, _ = mapping_bounds(m, n, tk, kept, group, machine, mapping)
            if k_trips > 1:
                k_last = k - (k_trips - 1) * tk
                before, last = k_trips - 1, mapping_bounds(m, n, k_last, kept, group, machine, mapping)
                issue, drain = before * issue + last[0], before * drain + last[1]
                to_issue = before * to_issue + (k_jobs - before) * last[2]
                to_drain = before * to_drain + (k_jobs - before) * last[3]
            else:
                to_issue, to_drain = k_jobs * to_issue, k_jobs * to_drain
            fewest_jobs = to_issue * jobs_of[0, 0] * jobs_of[1, 0]
            hopeless = count * (stall_free[v] + fewest_jobs + fetch_cycles) > limit
            whole_jobs = jobs_of[0, m_first] * jobs_of[1, n_first]
            floor = np.float64(max(issue + to_issue * whole_jobs, drain + to_drain * whole_jobs) + fetch_cycles) * count
            if floor <= limit:
                least = traffic_of_orders(
                    trips_of[0, m_first],
                    trips_of[1, n_first],
                    k_trips,
                    x_bytes,
                    w_bytes,
                    y_bytes,
                    psum_bytes,
                    order_bytes,
                )
                floor = max(floor, dram_floor(least, bytes_per_cycle))
            excluded = floor > limit
            for n_index in range(n_first, found[1]):
                tn = sizes[1, n_index]
                m_index = max(m_first, first_fitting(sizes[0], found[0], y_capacity / tn))
                while m_index < found[0] and not excluded:
                    whole_jobs = jobs_of[0, m_index] * jobs_of[1, n_index]
                    floor = np.float64(max(issue + to_issue * whole_jobs, drain + to_drain * whole_jobs) + fetch_cycles)
                    floor *= count
                    if floor > limit:
                        break
                    least = traffic_of_orders(
                        trips_of[0, m_index],
                        trips_of[1, n_index],
                        k_trips,
                        x_bytes,
                        w_bytes,
                        y_bytes,
                        psum_bytes,
                        order_bytes,
                    )
                    if dram_floor(least, bytes_per_cycle) > limit:
                        break
                    full[0], full[1], full[2] = sizes[0, m_index], tn, tk
                    trips[0], trips[1], trips[2] = trips_of[0, m_index], trips_of[1, n_index], k_trips
                    for d in range(3):
                        edge[d] = whole[d] - (trips[d] - 1) * full[d]
                    m_index += 1
                    first_load, last_store = end_transfers(full, edge, per_element, bytes_per_cycle)
                    ends = first_load + last_store
                    if floor + ends > limit or (floor + ends == limit and least >= best_bytes):
                        pruned += 6
                        continue
                    total = job_table(trips, full, edge, kept, group, machine, mapping, compute)
                    many = (trips[0] > 1) + 2 * (trips[1] > 1) + 4 * (trips[2] > 1)
                    for o in range(6):
                        if FIRST_ALIKE[many, o] != o and not evaluate_all:
                            pruned += 1
                            continue
                        generation = count * fetch_cycles * loads_of(0, trips, ORDERS[o])
                        bound = generation + max(ends + count * total, dram_floor(order_bytes[o], bytes_per_cycle))
                        if bound > limit or (bound == limit and order_bytes[o] >= best_bytes):
                            pruned += 1
                            continue
                        if codes.shape[0] > 0:
                            if stored < codes.shape[0]:
                                row = codes[stored]
                                row[0], row[1], row[2], row[3], row[4] = v, full[0], full[1], full[2], o
                                row[5], row[6] = generation, count * total
                                row[7:] = compute.ravel()
                                bytes_in, bytes_out = end_bytes(full, edge, per_element)
                                numbers[stored, 0], numbers[stored, 1] = order_bytes[o], bytes_in
                                numbers[stored, 2] = bytes_out
                                numbers[stored, 3] = largest_transfer(trips, full, per_element)
                            stored += 1
                            continue
                        evaluated += 1
                        cycles = generation + pipeline_cycles(
                            trips, full, edge, ORDERS[o], count, compute, total, per_element, bytes_per_cycle, jobs,
                            beside,
                        )  # fmt: skip
                        fewer = cycles < best_cycles or (cycles == best_cycles and order_bytes[o] < best_bytes)
                        if cycles <= limit and (best_cycles < 0 or fewer):
                            best_cycles, best_compute, best_bytes = cycles, count * total, order_bytes[o]
                            best[0], best[1], best[2], best[3], best[4] = v, full[0], full[1], full[2], o
                            if lowering:
                                limit = np.float64(cycles)
                pruned += 6 * (found[0] - m_index)
    return best, best_cycles, best_compute, best_bytes, evaluated, pruned, stored


@jit
def cycles_again(shape, per_element, machine, bytes_per_cycle, fetch_cycles, mappings, found):
    """Cycles of what `search` found, at another bandwidth."""
    trips, edge = np.empty(3, np.int64), np.empty(3, np.int64)
    tile, order = found[1:4], ORDERS[found[4]]
    for d in range(3):
        trips[d] = ceil_div(shape[d], tile[d])
        edge[d] = shape[d] - (trips[d] - 1) * tile[d]
    compute, jobs, beside = np.empty((2, 2, 2), np.int64), np.empty((JOBS, 2), np.int64), np.empty(JOBS)
    total = job_table(trips, tile, edge, shape[4], shape[5], machine, mappings[found[0]], compute)
    cycles = pipeline_cycles(
        trips, tile, edge, order, shape[3], compute, total, per_element, bytes_per_cycle, jobs, beside
    )
    return np.float64(cycles + shape[3] * fetch_cycles * loads_of(0, trips, order))


@jit
def undominated(codes, numbers):
    """Move to the front, in their order, the kept candidates (`walk`) that no earlier one with the same tile and order
    equals or beats in every job; return their number. Their transfers being the same, no other can be the fastest."""
    heads, links = np.full(2 * codes.shape[0] + 1, -1), np.empty(codes.shape[0], np.int64)
    found = 0
    for index in range(codes.shape[0]):
        code = codes[index]
        place = (code[1] * 31 + code[2] * 961 + code[3] * 29791 + code[4]) % heads.shape[0]
        other, beaten = heads[place], False
        while other >= 0 and not beaten:
            beaten = True
            for field in range(1, 5):
                beaten &= codes[other, field] == code[field]
            for field in range(7, CODES):
                beaten &= codes[other, field] <= code[field]
            other = links[other]
        if beaten:
            continue
        codes[found], numbers[found] = code, numbers[index]
        links[found], heads[place] = heads[place], found
        found += 1
    return found


@jit
def fastest_kept(kept, codes, numbers, starts, jobs, beside, bytes_per_cycle, limit, best):
    """Find the fastest of `kept` candidates, as `search` would find it among them, and write it to `best`.

    `starts`: where the jobs of each candidate begin in `jobs` and `beside`. `limit`: cycles that one of them reaches.
    Returns its cycles and the number of candidates evaluated.
    """
    best_cycles, best_bytes, evaluated = np.int64(-1), np.inf, np.int64(0)
    for index in range(kept):
        code, moved = codes[index], numbers[index, 0]
        ends = transfer_cycles(numbers[index, 1], bytes_per_cycle) + transfer_cycles(numbers[index, 2], bytes_per_cycle)
        smooth = code[5] + ends + code[6]
        bound = max(np.float64(smooth), code[5] + dram_floor(moved, bytes_per_cycle))
        if bound > limit or (bound == limit and moved >= best_bytes):
            continue
        evaluated += 1
        cycles = smooth
        if code[7:].min() < transfer_cycles(numbers[index, 3], bytes_per_cycle):
            first, found = starts[index], starts[index + 1] - starts[index]
            cycles = code[5] + ends + jobs_cycles(found, jobs[first:], beside[first:], bytes_per_cycle)
        fewer = cycles < best_cycles or (cycles == best_cycles and moved < best_bytes)
        if cycles <= limit and (best_cycles < 0 or fewer):
            best_cycles, best_bytes, limit = cycles, moved, np.float64(cycles)
            best[:] = code[:5]
    return best_cycles, evaluated


@jit
def jobs_of_kept(shape, per_element, codes, starts, jobs, beside):
    """Fill in the jobs of kept candidates (`jobs_beside_transfers`), equal ones counted together."""
    trips, edge = np.empty(3, np.int64), np.empty(3, np.int64)
    starts[0] = 0
    for index in range(codes.shape[0]):
        code, first = codes[index], starts[index]
        for d in range(3):
            trips[d] = ceil_div(shape[d], code[1 + d])
            edge[d] = shape[d] - (trips[d] - 1) * code[1 + d]
        found = jobs_beside_transfers(
            trips, code[1:4], edge, ORDERS[code[4]], shape[3], code[7:].reshape((2, 2, 2)), per_element, jobs[first:],
            beside[first:],
        )  # fmt: skip
        end = first
        for job in range(first, first + found):
            same = first
            while same < end and not (jobs[same, 1] == jobs[job, 1] and beside[same] == beside[job]):
                same += 1
            if same < end:
                jobs[same, 0] += jobs[job, 0]
            elif jobs[job, 0] != 0:
                jobs[end], beside[end] = jobs[job], beside[job]
                end += 1
        starts[index + 1] = end


SHARED_RANGE = 1.25  # of bandwidths that share kept candidates
LEAST_SHARED = 4  # bandwidths for which keeping candidates pays


@jit
def search_bandwidths(
    shape, per_element, machine, buffers, bandwidths, fetch_cycles, mappings, codes, numbers, best, cycles, seen
):
    """`search` at each of some rising `bandwidths` (bytes per cycle): same mappings, less work.

    The cycles of a candidate never grow with the bandwidth b, nor does its lower bound L(b), that of `search`. So a
    candidate that is fastest at b in [lo, hi] has L(hi) <= L(b) <= cycles(b) = fastest(b) <= fastest(lo). All with
    L(hi) <= fastest(lo) are kept, in the order in which `search` meets them, and for each b the same choice is made
    among them. A single bandwidth is searched, from the cycles that the best mapping before takes there.

    `codes` and `numbers` are the room for kept candidates (`walk`); where it is too small, the range is halved. Fills
    in, by bandwidth, `best` (mapping row, Tm, Tn, Tk, order), `cycles` (-1 where nothing fits) and `seen` (candidates
    evaluated, pruned).
    """
    none_codes, none_numbers, room = codes[:0], numbers[:0], codes.shape[0]
    index, total = 0, bandwidths.shape[0]
    while index < total:
        here, limit = bandwidths[index], np.inf
        if index > 0:
            limit = cycles_again(shape, per_element, machine, here, fetch_cycles, mappings, best[index - 1])
        found, least, _, _, evaluated, pruned, _ = walk(
            shape, per_element, machine, buffers, here, fetch_cycles, mappings, limit, True, none_codes, none_numbers
        )
        best[index], cycles[index], seen[index, 0], seen[index, 1] = found, least, evaluated, pruned
        if least < 0:
            cycles[:], seen[:] = -1, 0
            return
        space = evaluated + pruned
        last = index
        while last + 1 < total and bandwidths[last + 1] <= here * SHARED_RANGE:
            last += 1
        stored = room + 1
        while last - index + 1 >= LEAST_SHARED:
            walked = walk(
                shape, per_element, machine, buffers, bandwidths[last], fetch_cycles, mappings, np.float64(least),
                False, codes, numbers,
            )  # fmt: skip
            stored = walked[6]
            if stored <= room:
                break
            last = (index + last) // 2
        index += 1
        if stored > room:
            continue
        kept = undominated(codes[:stored], numbers[:stored])
        starts, jobs, beside = np.empty(kept + 1, np.int64), np.empty((kept * JOBS, 2), np.int64), np.empty(kept * JOBS)
        jobs_of_kept(shape, per_element, codes[:kept], starts, jobs, beside)
        while index <= last:
            here = bandwidths[index]
            limit = cycles_again(shape, per_element, machine, here, fetch_cycles, mappings, best[index - 1])
            cycles[index], seen[index, 0] = fastest_kept(
                kept, codes, numbers, starts, jobs, beside, here, limit, best[index]
            )
            seen[index, 1] = space - seen[index, 0]
            index += 1


@jit
def search_step(
    shapes, per_element, fetch_cycles, machine, buffers, bandwidths, dense_mappings, sparse_mappings, whole, moved, seen
):
    """Search and evaluate the GEMMs of a step at rising `bandwidths`: `search_bandwidths` and `evaluate` for each.

    Fills in by GEMM and bandwidth `whole` (the numbers of `evaluate`; the cycles are -1 where nothing fits) and `moved`
    (DRAM bytes), and by bandwidth `seen` (candidates evaluated, pruned).
    """
    total = bandwidths.shape[0]
    codes, numbers = np.empty((ROOM, CODES), np.int64), np.empty((ROOM, NUMBERS))
    best, cycles, counts = np.empty((total, 5), np.int64), np.empty(total, np.int64), np.zeros((total, 2), np.int64)
    for g in range(shapes.shape[0]):
        mappings = sparse_mappings if shapes[g, 4] > 0 else dense_mappings
        search_bandwidths(
            shapes[g], per_element[g], machine, buffers, bandwidths, fetch_cycles[g], mappings, codes, numbers, best,
            cycles, counts,
        )  # fmt: skip
        seen += counts
        if cycles[0] < 0:
            whole[g, :, 0] = -1
            continue
        for index in range(total):
            found = best[index]
            if index > 0 and (found == best[index - 1]).all():
                whole[g, index], moved[g, index] = whole[g, index - 1], moved[g, index - 1]
                whole[g, index, 0] = cycles[index] - whole[g, index, 5] * fetch_cycles[g]
                continue
            whole[g, index], x_bytes, w_bytes, y_bytes = evaluate(
                shapes[g], per_element[g], machine, bandwidths[index], mappings[found[0]], found[1:4], ORDERS[found[4]]
            )
            moved[g, index] = x_bytes + w_bytes + y_bytes


ROOM = 4096  # candidates kept


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


COSTS = 11  # whole numbers of `evaluate`, some of them at
ARRAY_CYCLES, FETCHES, SLOTS, X_WORDS = 1, 5, 6, 7


@jit
def evaluate(shape, per_element, machine, bytes_per_cycle, mapping, tile, order):
    """What one mapping costs: whole numbers (cycles, array cycles, issue, drain and port cycles, full fetches of w, op
    slots, words of x, w and y, jobs) for all copies, and the DRAM bytes of x, w and y.
    """
    kept, group, count = shape[4], shape[5], shape[3]
    whole = shape[:3]
    trips, edge = np.empty(3, np.int64), np.empty(3, np.int64)
    for d in range(3):
        trips[d] = ceil_div(whole[d], tile[d])
        edge[d] = whole[d] - (trips[d] - 1) * tile[d]
    compute, jobs, beside = np.empty((2, 2, 2), np.int64), np.empty((JOBS, 2), np.int64), np.empty(JOBS)
    total = job_table(trips, tile, edge, kept, group, machine, mapping, compute)
    unlimited = machine.copy()
    unlimited[5], unlimited[6] = UNLIMITED, UNLIMITED
    numbers = np.zeros(COSTS, np.int64)
    numbers[0] = pipeline_cycles(
        trips, tile, edge, order, count, compute, total, per_element, bytes_per_cycle, jobs, beside
    )
    numbers[1] = count * total
    for a in range(2):
        for b in range(2):
            for c in range(2):
                jobs = (1 if a else trips[0] - 1) * (1 if b else trips[1] - 1) * (1 if c else trips[2] - 1)
                if jobs == 0:
                    continue
                jobs *= count
                mt, nt, kt = edge[0] if a else tile[0], edge[1] if b else tile[1], edge[2] if c else tile[2]
                issue, drain, _, _, _ = mapping_bounds(mt, nt, kt, kept, group, unlimited, mapping)
                slots, x, w, y, _ = array_counts(
                    mt,
                    nt,
                    kt,
                    machine[0],
                    machine[1],
                    machine[2],
                    kept,
                    group,
                    mapping[0],
                    mapping[1],
                    mapping[2],
                    mapping[3],
                )
                port = port_cycles(mt, nt, kt, kept, group, machine, mapping)
                numbers[2] += jobs * issue
                numbers[3] += jobs * drain
                numbers[4] += jobs * port
                numbers[6] += jobs * slots
                numbers[7] += jobs * x
                numbers[8] += jobs * w
                numbers[9] += jobs * y
                numbers[10] += jobs
    numbers[5] = count * loads_of(0, trips, order)
    x_bytes, w_bytes, y_bytes = traffic_bytes(whole[0], whole[1], whole[2], trips, order, per_element)
    return numbers, count * x_bytes, count * w_bytes, count * y_bytes


# The other units. SORE, WUVE and the vector unit work beside the DRAM: the slower sets the pace.


@jit
def sore_cycles(elements, group, lanes):
    """Cycles in which `lanes` lanes reduce `elements` in groups: one group takes as many cycles as it has elements."""
    return ceil_div(ceil_div(elements, group), lanes) * group


@jit
def stream_pace(wuve, sore, moved, bytes_per_cycle):
    """Cycles of WUVE, SORE (0 where it has nothing to do) and `moved` bytes of DRAM traffic side by side."""
    return max(wuve, sore, transfer_cycles(moved, bytes_per_cycle))


@jit
def update_bytes(words, dense, master_bits, operand_bits):
    """DRAM bytes of an update that moves `words` of master precision and writes `dense` in the operands' precision."""
    return words * master_bits / 8 + dense * operand_bits / 8


@jit
def compact_bytes(elements, compact_bits):
    """Bytes of a compact copy."""
    return elements * compact_bits / 8


@jit
def vector_bytes(elements, operand_bits):
    """DRAM bytes of the elements that vector work reads and writes."""
    return elements * operand_bits / 8


@jit
def update_rows(
    updates, copies, compact_bits, master_bits, operand_bits, wuve_lanes, sore_lanes, bandwidths, cycles, moved
):
    """Fill in `cycles` and `moved` DRAM bytes of updates and of the copies made in their stream, by row and design.

    updates: row, elements, words, dense elements, first copy, copies. copies: row, elements, passes, group;
    `compact_bits` per element.
    """
    for u in range(updates.shape[0]):
        row, first, last = updates[u, 0], updates[u, 4], updates[u, 4] + updates[u, 5]
        for p in range(bandwidths.shape[0]):
            total = update_bytes(updates[u, 2], updates[u, 3], master_bits, operand_bits)
            wuve, sore = ceil_div(updates[u, 1], wuve_lanes[p]), np.int64(0)
            pace = stream_pace(wuve, sore, total, bandwidths[p])
            cycles[row, p], moved[row, p] = pace, total
            for c in range(first, last):
                written = compact_bytes(copies[c, 1], compact_bits[c])
                sore += copies[c, 2] * sore_cycles(copies[c, 1], copies[c, 3], sore_lanes)
                total += written
                slowest = stream_pace(wuve, sore, total, bandwidths[p])
                cycles[copies[c, 0], p], moved[copies[c, 0], p] = slowest - pace, written
                pace = slowest


@jit
def vector_rows(vectors, operand_bits, lanes, bandwidths, cycles, moved):
    """Fill in `cycles` and `moved` DRAM bytes of vector work (row, elements), by row and design."""
    for v in range(vectors.shape[0]):
        row, elements = vectors[v, 0], vectors[v, 1]
        total = vector_bytes(elements, operand_bits)
        for p in range(bandwidths.shape[0]):
            cycles[row, p] = stream_pace(ceil_div(elements, lanes[p]), 0, total, bandwidths[p])
            moved[row, p] = total
