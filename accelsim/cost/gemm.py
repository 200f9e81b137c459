"""The numbers a compiled kernel needs about a GEMM and about a design."""

from accelsim.cost.compiled import unit_pace
from accelsim.cost.compiled.values import (
    ArrayNumbers,
    BufferBytes,
    ElementBytes,
    GemmNumbers,
    GemmShape,
    MachineNumbers,
)
from accelsim.hardware.design import Design
from accelsim.lowering.tasks import Gemm, Stage

__all__ = ["gemm_numbers", "machine_numbers", "result_bits", "sore_cycles"]


def machine_numbers(design: Design) -> MachineNumbers:
    """Return the numbers of a design; a port of 0 is as wide as needed."""
    array, sizes = design.array, design.buffers
    return MachineNumbers(
        array=ArrayNumbers(
            rows=array.rows,
            cols=array.cols,
            macs_per_pe=array.macs_per_pe,
            adder_latency=array.adder_latency_cycles,
            overlapped=array.overlap_tiles,
            row_port=array.row_port_elements_per_cycle or 0,
            col_port=array.col_port_elements_per_cycle or 0,
        ),
        buffers=BufferBytes(x=float(sizes.x_bytes), w=float(sizes.w_bytes), y=float(sizes.y_bytes)),
        bytes_per_cycle=float(design.dram_bytes_per_cycle),
    )


def sore_cycles(elements: int, group: int, lanes: int) -> int:
    """Cycles in which `lanes` lanes reduce `elements` in groups: one group takes as many cycles as it has elements."""
    return int(unit_pace.sore_cycles(elements, group, lanes))


def gemm_numbers(
    gemm: Gemm, design: Design, *, online: bool, x_resident: bool = False, y_resident: bool = False
) -> GemmNumbers:
    """Return the numbers of one GEMM.

    An im2col operand is fetched once per pass in its distinct elements and spread while the buffer fills, so its DRAM
    bytes per element of the matrix are the share of distinct ones. A compact operand carries its index bits; one that
    is generated `online` is fetched dense and has the form of its mode only in the buffer. What is resident on the chip
    costs no DRAM.
    """
    bits = design.precision
    dense_w = bits.operand_bits / 8
    compact_w = dense_w if gemm.pattern is None else design.compact_bits(gemm.pattern) / 8
    x_share = gemm.x_elements / (gemm.m * gemm.k)
    w_share = gemm.w_elements / (gemm.k * gemm.n)
    kept, group = (0, 0) if gemm.pattern is None else (gemm.pattern.kept, gemm.pattern.group)
    return GemmNumbers(
        shape=GemmShape(m=gemm.m, n=gemm.n, k=gemm.k, count=gemm.count, kept=kept, group=group),
        element_bytes=ElementBytes(
            x=0.0 if x_resident else bits.operand_bits / 8 * x_share,
            w=(dense_w if online else compact_w) * w_share,
            y=0.0 if y_resident else result_bits(gemm, design) / 8,
            psum=bits.accumulator_bits / 8,
            buffered_x=bits.operand_bits / 8,
            buffered_w=compact_w,
        ),
        fetch_cycles=sore_cycles(gemm.w_elements, gemm.mask.group, design.sore.lanes) if online and gemm.mask else 0,
    )


def result_bits(gemm: Gemm, design: Design) -> int:
    """Bits of an element of the result: a gradient of a weight has the width of the master copies."""
    return design.precision.master_bits if gemm.stage is Stage.WU else design.precision.operand_bits
