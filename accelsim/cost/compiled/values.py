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
NO_WINDOW, ON_X, ON_W = range(3)  # the operand that is an im2col matrix
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


class Along(NamedTuple):
    """One spatial dimension of an im2col operand: tap t at position p is pixel p x stride + t x dilation - padding."""

    positions: int
    pixels: int
    taps: int
    stride: int
    dilation: int
    padding: int


class WindowNumbers(NamedTuple):
    """What an im2col operand reads where windows share pixels (`accelsim.cost.compiled.window_reads`).

    `operand`: `ON_X`, `ON_W`, or `NO_WINDOW` where none is such a matrix. `positions`, `windows`: the dimensions of the
    GEMM that run over the positions of `images` and over channels x taps, `size` of these; `block` channels stay
    together where channels are outermost.
    """

    operand: int
    positions: int
    windows: int
    size: int
    block: int
    images: int
    depth: Along
    height: Along
    width: Along


ALONE = Along(positions=1, pixels=1, taps=1, stride=1, dilation=1, padding=0)
WITHOUT = WindowNumbers(NO_WINDOW, M, K, 1, 1, 1, ALONE, ALONE, ALONE)


class GemmNumbers(NamedTuple):
    """A GEMM as kernels see it; equal numbers mean equal cost.

    `element_bytes`: with every element that an operand reads loaded once in a pass over it. `fetch_cycles`: SORE cycles
    for each full fetch of w of one copy.
    """

    shape: GemmShape
    element_bytes: ElementBytes
    fetch_cycles: int
    window: WindowNumbers = WITHOUT


class ArrayMapping(NamedTuple):
    """How the array runs a tile: `ia` x `ib` accumulators (Ia x Ib) with `split_k` partial sums each (Z, OS alone)."""

    dataflow: int
    variant: int
    ia: int
    ib: int
    split_k: int


class MappingNumbers(NamedTuple):
    """A mapping as kernels see it: how the array runs a buffer tile, the tile, the loops over tiles, and whether taps
    stand outside channels in an im2col operand."""

    array: ArrayMapping
    tile: Mnk
    order: LoopOrder
    taps_outer: bool = False


class Costs(NamedTuple):
    """What all copies of a GEMM cost with a mapping: cycles in all and of the array; those of its issues, drains and
    ports if there were nothing else; full fetches of w; op slots; jobs; DRAM bytes, of each operand and in all; bytes
    that pass the buffers, to and from DRAM and at the edge of the array."""

    cycles: int
    array_cycles: int
    issue_cycles: int
    drain_cycles: int
    port_cycles: int
    fetches: int
    op_slots: int
    jobs: int
    x_bytes: float
    w_bytes: float
    y_bytes: float
    dram_bytes: float
    buffer_bytes: float


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
TILED_MAPPINGS = records(whole((*ArrayMapping._fields, *Mnk._fields, *LoopOrder._fields, "taps_outer")))
GEMMS = records([
    *whole(GemmShape._fields), *((name, np.float64) for name in ElementBytes._fields), ("fetch_cycles", np.int64),
    ("window", np.int64, (len(WindowNumbers._fields) - 3 + 3 * len(Along._fields),)),
])  # fmt: skip
COSTS = records((name, np.float64 if name.endswith("_bytes") else np.int64) for name in Costs._fields)


def mapping_table(mappings: Sequence[ArrayMapping]) -> NDArray[np.void]:
    """Array mappings as an array of `MAPPINGS`."""
    return np.array([tuple(mapping) for mapping in mappings], dtype=MAPPINGS)


def tiled_mapping_table(mappings: Sequence[MappingNumbers]) -> NDArray[np.void]:
    """Mappings with their tiles as an array of `TILED_MAPPINGS`."""
    return np.array(
        [(*item.array, *item.tile, *item.order, item.taps_outer) for item in mappings], dtype=TILED_MAPPINGS
    )


def gemm_table(gemms: Sequence[GemmNumbers]) -> NDArray[np.void]:
    """GEMMs as an array of `GEMMS`."""
    rows = [(*gemm.shape, *gemm.element_bytes, gemm.fetch_cycles, _flat(gemm.window)) for gemm in gemms]
    return np.array(rows, dtype=GEMMS)


def _flat(window: WindowNumbers) -> tuple[int, ...]:
    return (*window[:-3], *window.depth, *window.height, *window.width)


@jit
def mapping_at(mappings, index):
    """One of an array of `MAPPINGS`."""
    own = mappings[index]
    return ArrayMapping(dataflow=own.dataflow, variant=own.variant, ia=own.ia, ib=own.ib, split_k=own.split_k)


@jit
def tiled_mapping_at(mappings, index):
    """One of an array of `TILED_MAPPINGS`."""
    own = mappings[index]
    return MappingNumbers(
        array=mapping_at(mappings, index),
        tile=Mnk(m=own.m, n=own.n, k=own.k),
        order=LoopOrder(outer=own.outer, mid=own.mid, inner=own.inner),
        taps_outer=own.taps_outer != 0,
    )


@jit
def window_at(flat):
    """A window as `GEMMS` holds it."""
    return WindowNumbers(
        operand=flat[0], positions=flat[1], windows=flat[2], size=flat[3], block=flat[4], images=flat[5],
        depth=Along(flat[6], flat[7], flat[8], flat[9], flat[10], flat[11]),
        height=Along(flat[12], flat[13], flat[14], flat[15], flat[16], flat[17]),
        width=Along(flat[18], flat[19], flat[20], flat[21], flat[22], flat[23]),
    )  # fmt: skip


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
        window=window_at(own.window),
    )
