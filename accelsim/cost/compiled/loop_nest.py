"""The buffer loop nest: what is loaded and stored around every job, and the DRAM bytes of all of them.

A GEMM is cut into buffer tiles (Tm, Tn, Tk); each is one job of the array. Dimensions are numbered m = 0, n = 1, k = 2;
an order lists them from the outermost loop to the innermost. `per_element` holds bytes per element: in DRAM of x, w, a
finished y and a spilled psum; in the buffers of x and w.
"""

import numpy as np

from accelsim.base.jit import jit

ORDERS = np.array([(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0), (2, 1, 0)], dtype=np.int64)


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
