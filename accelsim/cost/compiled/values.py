"""What kernels are told about a GEMM, a design and a mapping, and what they answer: numbers with names.

Structured arrays hold many of a kind, with the same field names; `gemm_at` and `mapping_at` read one.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelsim.base.jit import jit

M, N, K = range(3)  # dimensions, as loop orders and `Mnk` number them
OS, WS, IS = range(3)  # dataflows
SPLIT, CHAIN, FLAT = range(3)  # variants of WS and IS
UNLIMITED = 0  # elements per cycle of a port that is as wide as needed


class Mnk(NamedTuple):
    """A number for each dimension of a GEMM."""

    m: int
    n: int
    k: int


class LoopOrder(NamedTuple):
    """The dimension of each loop over buffer tiles; also the iteration that each of these loops is in."""

    outer: int
    mid: int
    inner: int


ORDERS = (
    LoopOrder(M, N, K),
    LoopOrder(N, M, K),
    LoopOrder(M, K, N),
    LoopOrder(K, M, N),
    LoopOrder(N, K, M),
    LoopOrder(K, N, M),
)


class ArrayNumbers(NamedTuple):
    """An array of R x C PEs with V MACs each: adder latency L in cycles, whether tiles overlap, elements per cycle that
    enter at the edge of a PE row and of a PE column."""

    rows: int
    cols: int
    macs_per_pe: int
    adder_latency: int
    overlapped: bool
    row_port: int
    col_port: int


class BufferBytes(NamedTuple):
    """Bytes of the buffers."""

    x: float
    w: float
    y: float


class MachineNumbers(NamedTuple):
    """A design as kernels see it, with the bytes that its DRAM moves per cycle."""

    array: ArrayNumbers
    buffers: BufferBytes
    bytes_per_cycle: float


class GemmShape(NamedTuple):
    """`count` copies of an m x n x k GEMM, w with `kept` of every `group` elements along k (`kept` 0: dense)."""

    m: int
    n: int
    k: int
    count: int
    kept: int
    group: int


class ElementBytes(NamedTuple):
    """Bytes per element: in DRAM of x, w and a finished y; of a partial sum, there and in its buffer; of x and w in
    their buffers."""

    x: float
    w: float
    y: float
    psum: float
    buffered_x: float
    buffered_w: float


class GemmNumbers(NamedTuple):
    """A GEMM as kernels see it; equal numbers mean equal cost.

    `fetch_cycles`: SORE cycles for each full fetch of w of one copy.
    """

    shape: GemmShape
    element_bytes: ElementBytes
    fetch_cycles: int


class ArrayMapping(NamedTuple):
    """How the array runs a tile: `ia` x `ib` accumulators (Ia x Ib) with `split_k` partial sums each (Z, OS alone)."""

    dataflow: int
    variant: int
    ia: int
    ib: int
    split_k: int


class MappingNumbers(NamedTuple):
    """A mapping as kernels see it: how the array runs a buffer tile, the tile, the loops over tiles."""

    array: ArrayMapping
    tile: Mnk
    order: LoopOrder


class Costs(NamedTuple):
    """What all copies of a GEMM cost with a mapping: cycles in all and of the array; those of its issues, drains and
    ports if there were nothing else; full fetches of w; op slots; words at the edge of the array; jobs; DRAM bytes."""

    cycles: int
    array_cycles: int
    issue_cycles: int
    drain_cycles: int
    port_cycles: int
    fetches: int
    op_slots: int
    x_words: int
    w_words: int
    y_words: int
    jobs: int
    x_bytes: float
    w_bytes: float
    y_bytes: float


def records(fields: Iterable[tuple[str, *tuple[Any, ...]]]) -> np.dtype[np.void]:
    """The type of an array whose elements have names, in compiled functions and in Python, where what numpy's records
    have of their own, as `size`, comes before a field of that name."""
    listed = list(fields)
    assert not (taken := {name for name, *_ in listed} & set(dir(np.record))), f"names of numpy's own: {taken}"
    return np.dtype((np.record, listed))


def whole(names: Iterable[str]) -> list[tuple[str, type]]:
    """Fields of whole numbers."""
    return [(name, np.int64) for name in names]


MAPPINGS = records(whole(ArrayMapping._fields))
GEMMS = records([
    *whole(GemmShape._fields), *((name, np.float64) for name in ElementBytes._fields), ("fetch_cycles", np.int64),
])  # fmt: skip


def mapping_table(mappings: Sequence[ArrayMapping]) -> NDArray[np.void]:
    """Array mappings as an array of `MAPPINGS`."""
    return np.array([tuple(mapping) for mapping in mappings], dtype=MAPPINGS)


def gemm_table(gemms: Sequence[GemmNumbers]) -> NDArray[np.void]:
    """GEMMs as an array of `GEMMS`."""
    return np.array([(*gemm.shape, *gemm.element_bytes, gemm.fetch_cycles) for gemm in gemms], dtype=GEMMS)


@jit
def mapping_at(mappings, index):
    """One of an array of `MAPPINGS`."""
    own = mappings[index]
    return ArrayMapping(dataflow=own.dataflow, variant=own.variant, ia=own.ia, ib=own.ib, split_k=own.split_k)


@jit
def gemm_at(gemms, index):
    """One of an array of `GEMMS`."""
    own = gemms[index]
    return GemmNumbers(
        shape=GemmShape(m=own.m, n=own.n, k=own.k, count=own.count, kept=own.kept, group=own.group),
        element_bytes=ElementBytes(
            x=own.x, w=own.w, y=own.y, psum=own.psum, buffered_x=own.buffered_x, buffered_w=own.buffered_w
        ),
        fetch_cycles=own.fetch_cycles,
    )
