"""The buffer loop nest: what is loaded and stored around every job, and the DRAM bytes of all of them.

A GEMM is cut into buffer tiles; each is one job of the array. Bytes per element come as `ElementBytes`.
"""

from typing import NamedTuple

import numpy as np

from accelsim.base.jit import borrowing, jit
from accelsim.cost.compiled.array_timing import ceil_div
from accelsim.cost.compiled.values import K, LoopOrder, M, Mnk, N


class Tiling(NamedTuple):
    """A GEMM in buffer tiles: full tiles, those at the far edges, and how many there are of both."""

    full: Mnk
    edge: Mnk
    trips: Mnk


class Traffic(NamedTuple):
    """DRAM bytes of the operands."""

    x: float
    w: float
    y: float


class Beside(NamedTuple):
    """What passes beside a job: bytes loaded for the next and stored of the one before; whether the job is the last and
    the first of its copy, and at which edges (1) it is."""

    load: float
    store: float
    last: bool
    first: bool
    m_edge: int
    n_edge: int
    k_edge: int


@jit
def tiling_of(shape, tile):
    """Cut a GEMM into tiles."""
    trips = Mnk(m=ceil_div(shape.m, tile.m), n=ceil_div(shape.n, tile.n), k=ceil_div(shape.k, tile.k))
    edge = Mnk(
        m=shape.m - (trips.m - 1) * tile.m, n=shape.n - (trips.n - 1) * tile.n, k=shape.k - (trips.k - 1) * tile.k
    )
    return Tiling(full=tile, edge=edge, trips=trips)


@jit
def transfer_cycles(transferred, bytes_per_cycle):
    """Cycles that `transferred` bytes occupy the DRAM."""
    return np.int64(np.ceil(transferred / bytes_per_cycle))


@jit
def loads_of(absent, trips, order):
    """How often an operand without the dimension `absent` is fetched in full: the trips of the one loop that does not
    index it, if that loop stands outside a loop (of more than one trip) that does; otherwise once."""
    outside = False
    for dimension in order:
        if dimension == absent:
            outside = True
        elif outside and trips[dimension] > 1:
            return trips[absent]
    return 1


@jit
def traffic_bytes(shape, trips, order, element_bytes):
    """DRAM bytes of x, w and y of one copy of a GEMM under a loop order."""
    visits = loads_of(K, trips, order)
    return Traffic(
        x=np.float64(shape.m) * shape.k * element_bytes.x * loads_of(N, trips, order),
        w=np.float64(shape.k) * shape.n * element_bytes.w * loads_of(M, trips, order),
        y=np.float64(shape.m) * shape.n * (element_bytes.y + 2 * (visits - 1) * element_bytes.psum),
    )


@borrowing
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
def representative(trips, which):
    """Index and multiplicity of a loop's classes of iterations: first, second to third last, second last, last."""
    if trips <= 4:
        return which, 1
    if which < 2:
        return which, 1 if which == 0 else trips - 3
    return trips - 4 + which, 1


@jit
def first_bytes(full, element_bytes):
    """Bytes of the first load, of a full tile of x and of w."""
    return np.float64(full.k) * (np.float64(full.m) * element_bytes.x + np.float64(full.n) * element_bytes.w)


@jit
def last_bytes(edge, element_bytes):
    """Bytes of the last store."""
    return np.float64(edge.m) * edge.n * element_bytes.y


@jit
def end_cycles(tiling, element_bytes, bytes_per_cycle):
    """Cycles of the first load and of the last store, which nothing hides."""
    first = transfer_cycles(first_bytes(tiling.full, element_bytes), bytes_per_cycle)
    return first + transfer_cycles(last_bytes(tiling.edge, element_bytes), bytes_per_cycle)


@jit
def largest_transfer(tiling, element_bytes):
    """Upper bound of the bytes of the transfers beside any job of a tiling, a hair more for how they are rounded."""
    full = tiling.full
    load = first_bytes(full, element_bytes)
    psums = element_bytes.y if tiling.trips.k == 1 else 2 * max(element_bytes.y, element_bytes.psum)
    return (load + np.float64(full.m) * full.n * psums) * (1 + 1e-12)


@jit
def by_dimension(order, at):
    """Turn the iterations of the loops of `order` into those of m, n and k."""
    return Mnk(
        m=at.outer if order.outer == M else (at.mid if order.mid == M else at.inner),
        n=at.outer if order.outer == N else (at.mid if order.mid == N else at.inner),
        k=at.outer if order.outer == K else (at.mid if order.mid == K else at.inner),
    )


@jit
def beside_job(at, tiling, order, element_bytes):
    """What passes beside the job in iteration `at` of the loops. Copies follow each other: after the last job comes the
    first of the next copy."""
    trips, full, edge = tiling.trips, tiling.full, tiling.edge
    outer_last, mid_last, inner_last = trips[order.outer] - 1, trips[order.mid] - 1, trips[order.inner] - 1
    last, first = False, False
    if at.inner < inner_last:
        after = LoopOrder(at.outer, at.mid, at.inner + 1)
    elif at.mid < mid_last:
        after = LoopOrder(at.outer, at.mid + 1, np.int64(0))
    else:
        last = at.outer == outer_last
        after = LoopOrder(np.int64(0) if last else at.outer + 1, np.int64(0), np.int64(0))
    if at.inner > 0:
        before = LoopOrder(at.outer, at.mid, at.inner - 1)
    elif at.mid > 0:
        before = LoopOrder(at.outer, at.mid - 1, inner_last)
    else:
        first = at.outer == 0
        before = LoopOrder(outer_last if first else at.outer - 1, mid_last, inner_last)
    here, coming, gone = by_dimension(order, at), by_dimension(order, after), by_dimension(order, before)
    m_last, n_last, k_last = trips.m - 1, trips.n - 1, trips.k - 1
    m_new, n_new, k_new = coming.m != here.m, coming.n != here.n, coming.k != here.k
    m_tile, n_tile = edge.m if coming.m == m_last else full.m, edge.n if coming.n == n_last else full.n
    k_tile = edge.k if coming.k == k_last else full.k
    load, store = 0.0, 0.0
    if last or m_new or k_new:
        load += np.float64(m_tile) * k_tile * element_bytes.x
    if last or n_new or k_new:
        load += np.float64(k_tile) * n_tile * element_bytes.w
    if not last and (m_new or n_new) and coming.k > 0:
        load += np.float64(m_tile) * n_tile * element_bytes.psum
    if first or gone.m != here.m or gone.n != here.n:
        m_tile, n_tile = edge.m if gone.m == m_last else full.m, edge.n if gone.n == n_last else full.n
        store = np.float64(m_tile) * n_tile * (element_bytes.y if gone.k == k_last else element_bytes.psum)
    return Beside(
        load=load,
        store=store,
        last=last,
        first=first,
        m_edge=int(here.m == m_last),
        n_edge=int(here.n == n_last),
        k_edge=int(here.k == k_last),
    )
