"""The numbers a compiled kernel needs about a GEMM and about a design."""

from functools import lru_cache
from math import prod

from accelsim.cost.compiled import unit_pace, window_reads
from accelsim.cost.compiled.values import (
    ALONE,
    ON_W,
    ON_X,
    WITHOUT,
    Along,
    ArrayNumbers,
    BufferBytes,
    ElementBytes,
    GemmNumbers,
    GemmShape,
    MachineNumbers,
    WindowNumbers,
)
from accelsim.hardware.design import Design
from accelsim.lowering.tasks import Gemm, Im2col, Stage

__all__ = ["gemm_numbers", "machine_numbers", "sore_cycles"]


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

    An im2col operand is spread while the buffer fills: what passes are the pixels, so its DRAM bytes per element of the
    matrix are the share of distinct ones, times what tiles that share pixels read again (`WindowNumbers`). A compact
    operand carries its index bits; one that is generated `online` is fetched dense and compact only in the buffer, and
    SORE reduces each distinct element once in a pass. What is resident on the chip costs no DRAM.
    """
    bits = design.precision
    dense_w = bits.operand_bits / 8
    compact_w = dense_w if gemm.pattern is None else design.compact_bits(gemm.pattern) / 8
    x_elements, w_elements, window = gemm.x_elements, gemm.w_elements, WITHOUT
    if gemm.window is not None:
        block = 1 if gemm.pattern is None or gemm.window.windows != "k" else gemm.pattern.group
        window, elements = _window_numbers(gemm.window, getattr(gemm, gemm.window.windows), block)
        if gemm.window.operand == "x":
            x_elements = elements
        else:
            w_elements = elements
    x_share = x_elements / (gemm.m * gemm.k)
    w_share = w_elements / (gemm.k * gemm.n)
    result_bits = bits.master_bits if gemm.stage is Stage.WU else bits.operand_bits
    kept, group = (0, 0) if gemm.pattern is None else (gemm.pattern.kept, gemm.pattern.group)
    return GemmNumbers(
        shape=GemmShape(m=gemm.m, n=gemm.n, k=gemm.k, count=gemm.count, kept=kept, group=group),
        element_bytes=ElementBytes(
            x=0.0 if x_resident else bits.operand_bits / 8 * x_share,
            w=(dense_w if online else compact_w) * w_share,
            y=0.0 if y_resident else result_bits / 8,
            psum=bits.accumulator_bits / 8,
            buffered_x=bits.operand_bits / 8,
            buffered_w=compact_w,
        ),
        fetch_cycles=sore_cycles(gemm.w_elements, group, design.sore.lanes) if online else 0,
        window=window,
    )


@lru_cache(maxsize=4096)
def _window_numbers(window: Im2col, size: int, block: int) -> tuple[WindowNumbers, int]:
    """Return the numbers of an im2col operand with `size` channels x taps, and how many distinct elements it reads."""
    along = [Along(*spatial) for spatial in window.spatial]
    depth, height, width = (*[ALONE] * (3 - len(along)), *along)
    numbers = WindowNumbers(
        operand=ON_X if window.operand == "x" else ON_W,
        positions="mnk".index(window.positions),
        windows="mnk".index(window.windows),
        size=size,
        block=block,
        images=window.images,
        depth=depth,
        height=height,
        width=width,
    )
    return numbers, window.images * window.channels * prod(int(window_reads.touched(one)) for one in along)
