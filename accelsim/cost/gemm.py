"""The numbers a compiled kernel needs about a GEMM and about a design."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelsim.cost.compiled import unit_pace
from accelsim.hardware.design import Design
from accelsim.lowering.tasks import Gemm, Stage

__all__ = ["GemmNumbers", "MachineNumbers", "MappingNumbers", "gemm_numbers", "machine_numbers", "sore_cycles"]


class GemmNumbers(NamedTuple):
    """A GEMM as kernels see it; equal numbers mean equal cost.

    shape: m, n, k, count, kept, group (kept 0 = dense). per_element: DRAM bytes of x and w, of a result and a spilled
    partial sum; buffer bytes of x and w. fetch_cycles: SORE cycles for each full fetch of w of one copy.
    """

    shape: tuple[int, int, int, int, int, int]
    per_element: tuple[float, float, float, float, float, float]
    fetch_cycles: int


class MappingNumbers(NamedTuple):
    """A mapping as kernels see it: (dataflow, variant, Ia, Ib, Z), buffer tile (m, n, k), loops from the outermost."""

    codes: tuple[int, int, int, int, int]
    tile: tuple[int, int, int]
    order: tuple[int, int, int]


class MachineNumbers(NamedTuple):
    """A design as kernels see it.

    machine: rows, cols, MACs per PE, adder latency, overlap, row port, column port. buffers: bytes for x, w and y.
    """

    machine: NDArray[np.int64]
    buffers: NDArray[np.float64]
    bytes_per_cycle: float


def machine_numbers(design: Design) -> MachineNumbers:
    """Return the numbers of a design; a port of 0 is as wide as needed."""
    array = design.array
    machine = np.array(
        [
            array.rows,
            array.cols,
            array.macs_per_pe,
            array.adder_latency_cycles,
            int(array.overlap_tiles),
            array.row_port_elements_per_cycle or 0,
            array.col_port_elements_per_cycle or 0,
        ],
        dtype=np.int64,
    )
    sizes = design.buffers
    buffers = np.array([sizes.x_bytes, sizes.w_bytes, sizes.y_bytes], dtype=np.float64)
    return MachineNumbers(machine, buffers, design.dram_bytes_per_cycle)


def sore_cycles(elements: int, group: int, lanes: int) -> int:
    """Cycles in which `lanes` lanes reduce `elements` in groups: one group takes as many cycles as it has elements."""
    return int(unit_pace.sore_cycles(elements, group, lanes))


def gemm_numbers(
    gemm: Gemm, design: Design, *, online: bool, x_resident: bool = False, y_resident: bool = False
) -> GemmNumbers:
    """Return the numbers of one GEMM.

    An im2col operand is fetched once per pass in its distinct elements and spread while the buffer fills, so its DRAM
    bytes per element of the matrix are the share of distinct ones. A compact operand carries its index bits; one that
    is generated `online` is fetched dense and compact only in the buffer. What is resident on the chip costs no DRAM.
    """
    bits = design.precision
    dense_w = bits.operand_bits / 8
    compact_w = dense_w if gemm.pattern is None else design.compact_bits(gemm.pattern) / 8
    x_share = gemm.x_elements / (gemm.m * gemm.k)
    w_share = gemm.w_elements / (gemm.k * gemm.n)
    result_bits = bits.master_bits if gemm.stage is Stage.WU else bits.operand_bits
    kept, group = (0, 0) if gemm.pattern is None else (gemm.pattern.kept, gemm.pattern.group)
    return GemmNumbers(
        shape=(gemm.m, gemm.n, gemm.k, gemm.count, kept, group),
        per_element=(
            0.0 if x_resident else bits.operand_bits / 8 * x_share,
            (dense_w if online else compact_w) * w_share,
            0.0 if y_resident else result_bits / 8,
            bits.accumulator_bits / 8,
            bits.operand_bits / 8,
            compact_w,
        ),
        fetch_cycles=sore_cycles(gemm.w_elements, group, design.sore.lanes) if online else 0,
    )
