"""The numbers that kernels get of a GEMM: widths, shares of distinct elements, SORE cycles; and fetches, ports, spills."""

import numpy as np
import pytest

import accelsim as acs
from accelsim.arrays.array import gemm_on_array
from accelsim.arrays.functional import sore_reduce
from accelsim.cost.compiled import array_timing, pipeline
from accelsim.cost.compiled.values import (
    OS,
    SPLIT,
    UNLIMITED,
    ArrayMapping,
    ArrayNumbers,
    BufferBytes,
    ElementBytes,
    GemmNumbers,
    GemmShape,
    K,
    LoopOrder,
    M,
    MachineNumbers,
    MappingNumbers,
    Mnk,
    N,
)
from accelsim.cost.gemm import gemm_numbers, sore_cycles
from accelsim.engines.buffer_walk import walk_buffers
from accelsim.lowering.tasks import Gemm, Stage
from accelsim.sparsity.methods import Operand


def gemm(stage: Stage = Stage.FF, pattern: acs.Pattern | None = None, operand: Operand = Operand.WEIGHT) -> Gemm:
    return Gemm(name="g", operation="g", stage=stage, m=256, n=32, k=144, count=1, x_elements=4096, w_elements=144 * 32,
                w_operand=operand, macs=256 * 32 * 144, pattern=pattern)  # fmt: skip


@pytest.mark.parametrize(("stage", "result_bytes"), [(Stage.FF, 2), (Stage.BP, 2), (Stage.WU, 4)])
def test_widths_follow_the_precision_of_the_design(sat: acs.Design, stage: Stage, result_bytes: int) -> None:
    of = gemm_numbers(gemm(stage), sat, online=False).element_bytes
    assert of.x == 2 * 4096 / (256 * 144)  # im2col: only distinct elements come from DRAM
    assert of == ElementBytes(x=of.x, w=2, y=result_bytes, psum=4, buffered_x=2, buffered_w=2)


def test_compact_weights_are_narrow_in_the_buffer_and_in_dram_unless_generated_online(sat: acs.Design) -> None:
    sparse = gemm(pattern=acs.Pattern(2, 8), mask=acs.Pattern(2, 8))
    ahead, online = (gemm_numbers(sparse, sat, online=online) for online in (False, True))
    assert (ahead.element_bytes.w, ahead.element_bytes.buffered_w, ahead.fetch_cycles) == (0.59375, 0.59375, 0)
    assert (online.element_bytes.w, online.element_bytes.buffered_w) == (2, 0.59375)
    assert online.fetch_cycles == 8 * 144 * 32 / 8 / sat.sore.lanes
    dense = gemm_numbers(gemm(mask=acs.Pattern(2, 8)), sat, online=True)
    assert (dense.element_bytes.w, dense.element_bytes.buffered_w, dense.fetch_cycles) == (2, 2, online.fetch_cycles)


@pytest.mark.parametrize("lanes", [1, 3, 5, 32])
def test_charged_sore_cycles_are_those_of_the_stepped_sorter(lanes: int) -> None:
    values = np.arange(7 * 16, dtype=np.float32).reshape(7, 16)
    for pattern in (acs.Pattern(1, 4), acs.Pattern(2, 8), acs.Pattern(4, 16)):
        assert sore_cycles(values.size, pattern.group, lanes) == sore_reduce(values, pattern, lanes).cycles


ARRAY = ArrayNumbers(
    rows=2, cols=3, macs_per_pe=1, adder_latency=2, overlapped=True, row_port=UNLIMITED, col_port=UNLIMITED
)
MAPPING = ArrayMapping(dataflow=OS, variant=SPLIT, ia=1, ib=1, split_k=1)
BYTES = ElementBytes(x=2.0, w=0.5, y=2.0, psum=4.0, buffered_x=2.0, buffered_w=0.5)
MNK = LoopOrder(M, N, K)


def evaluated(shape, tile, order=MNK, bandwidth=16.0, array=ARRAY, mapping=MAPPING):
    numbers = GemmNumbers(GemmShape(*shape, kept=0, group=0), BYTES, fetch_cycles=0)
    machine = MachineNumbers(array, BufferBytes(0.0, 0.0, 0.0), bandwidth)
    return pipeline.evaluate(numbers, machine, MappingNumbers(mapping, Mnk(*tile), LoopOrder(*order)))


def test_fetches_of_w_are_counted_for_all_copies() -> None:
    """Order m, n, k with m in four tiles and n cut: w is fetched four times by each of three copies."""
    assert evaluated((16, 8, 8, 3), (4, 4, 8)).fetches == 3 * 4


def test_port_cycles_of_ragged_blocks_by_hand() -> None:
    """m = 5 on 2 rows: three blocks of one output per PE, each with 6 words through a port of 2; n = 7 makes 3 blocks."""
    narrow, wide = ARRAY._replace(row_port=2), MAPPING._replace(ia=2)
    assert evaluated((5, 7, 6, 1), (5, 7, 6), array=narrow).port_cycles == 3 * 3 * 3
    assert evaluated((5, 7, 6, 1), (5, 7, 6), array=narrow, mapping=wide).port_cycles == (6 + 3) * 3
    assert evaluated((7, 7, 6, 1), (7, 7, 6), array=narrow, mapping=wide).port_cycles == (2 + 2) * 3 * 3


@pytest.mark.parametrize("bandwidth", np.linspace(0.5, 24, 95).tolist())
def test_spilled_partial_sums_fill_the_pipeline_as_they_do_in_a_walk(bandwidth: float) -> None:
    def job_cycles(m: int, n: int, k: int) -> int:
        return int(array_timing.os_cycles(Mnk(m, n, k), 0, 0, ARRAY, MAPPING))

    for order in ((2, 0, 1), (2, 1, 0), (0, 2, 1)):
        walked = walk_buffers((8, 9, 12), (4, 3, 4), order, 2, BYTES, job_cycles, bandwidth)
        assert evaluated((8, 9, 12, 2), (4, 3, 4), order, bandwidth).cycles == walked.cycles


@pytest.mark.parametrize("port", [1, 2, 3])
@pytest.mark.parametrize("split", [2, 3, 4])
def test_reduction_rounds_wait_for_narrow_ports_as_the_register_engine_does(port: int, split: int) -> None:
    case = {"rows": 2, "cols": 3, "macs_per_pe": 2, "adder_latency": 4, "dataflow": "os", "pattern": "2:8",
            "interleave": (1, 2), "split_k": split}  # fmt: skip
    for ports in ((port, None), (None, port)):
        assert gemm_on_array(7, 1, 60, **case, ports=ports) == gemm_on_array(
            7, 1, 60, **case, ports=ports, array_model="register"
        )
