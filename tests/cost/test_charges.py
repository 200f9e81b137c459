"""Charges of one task and of arrays of many, beside the rule in exact numbers and counts worked by hand."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.arrays.array import gemm_on_array
from accelsim.cost.charges import (
    Bound,
    UnitRows,
    charge_gemms,
    charge_units,
    copy_numbers,
    unit_numbers,
    update_cycles,
    update_numbers,
    vector_cycles,
    vector_numbers,
    word_bits,
)
from accelsim.cost.compiled.unit_pace import (
    COPIES,
    UNITS,
    UPDATES,
    VECTORS,
    CopyNumbers,
    UnitNumbers,
    UpdateNumbers,
    VectorNumbers,
)
from accelsim.cost.compiled.values import OS, SPLIT, ArrayMapping, LoopOrder, MappingNumbers, Mnk
from accelsim.cost.gemm import gemm_numbers, machine_numbers
from accelsim.lowering.optimizers import find_optimizer
from accelsim.lowering.tasks import Gemm, Generation, Stage, Update, VectorWork
from accelsim.sparsity.methods import Operand

SIZES = st.integers(1, 10**7)
UNIT_NUMBERS = st.builds(
    UnitNumbers, wuve_lanes=st.integers(1, 100), sore_lanes=st.integers(1, 100), vector_lanes=st.integers(1, 100),
    master_bits=st.sampled_from((16, 32)), operand_bits=st.sampled_from((8, 16)),
    bytes_per_cycle=st.sampled_from((0.5, 1.0, 12.5, 96.0)),
)  # fmt: skip
UPDATE_NUMBERS = st.builds(UpdateNumbers, elements=SIZES, words=SIZES, dense=st.integers(0, 10**7))
COPY_NUMBERS = st.builds(
    CopyNumbers, elements=SIZES, passes=st.integers(0, 2), group=st.sampled_from((4, 8, 9)),
    compact_bits=st.sampled_from((4.75, 6.0)),
)  # fmt: skip
VECTOR_NUMBERS = st.builds(VectorNumbers, elements=SIZES, moved=st.integers(0, 10**7))
Charged = tuple[int, int, int, bool, Fraction]


def update_by_hand(update: UpdateNumbers, copies: list[CopyNumbers], units: UnitNumbers) -> list[Charged]:
    """Cycles in all, of the unit and of DRAM, whether DRAM is waited for, bytes: of an update and of each copy."""
    rows: list[Charged] = []
    moved = Fraction(update.words * units.master_bits + update.dense * units.operand_bits, 8)
    wuve, sore, ends = ceil(Fraction(update.elements, units.wuve_lanes)), 0, 0
    own, unit, before = moved, wuve, 0
    for copy in (None, *copies):
        if copy is not None:
            own = Fraction(copy.elements) * Fraction(copy.compact_bits) / 8
            groups = ceil(Fraction(copy.elements, copy.group))
            unit = copy.passes * copy.group * ceil(Fraction(groups, units.sore_lanes))
            moved, sore = moved + own, sore + unit
        dram = moved / Fraction(units.bytes_per_cycle)
        end = max(wuve, sore, ceil(dram))
        waits = dram > wuve if copy is None else not sore > dram
        rows.append((end - ends, unit, ceil(dram) - before, waits, own))
        ends, before = end, ceil(dram)
    return rows


def vector_by_hand(vector: VectorNumbers, units: UnitNumbers) -> Charged:
    moved, unit = Fraction(vector.moved * units.operand_bits, 8), ceil(Fraction(vector.elements, units.vector_lanes))
    dram = moved / Fraction(units.bytes_per_cycle)
    return max(unit, ceil(dram)), unit, ceil(dram), dram > unit, moved


@settings(deadline=None)  # kernels are compiled in the first example
@given(
    st.lists(st.tuples(UPDATE_NUMBERS, st.lists(COPY_NUMBERS, max_size=3)), max_size=3),
    st.lists(VECTOR_NUMBERS, max_size=3),
    st.lists(UNIT_NUMBERS, min_size=1, max_size=3),
)
def test_rows_of_all_units_on_all_designs(
    streams: list[tuple[UpdateNumbers, list[CopyNumbers]]], vectors: list[VectorNumbers], designs: list[UnitNumbers]
) -> None:
    updates, copies, others, row = [], [], [], 1  # row 0 is of a GEMM
    for update, behind in streams:
        updates.append((row, *update, len(copies), len(behind)))
        copies += [(row + 1 + at, *copy) for at, copy in enumerate(behind)]
        row += 1 + len(behind)
    for vector in vectors:
        others.append((row, *vector))
        row += 1
    rows = UnitRows(np.array(updates, UPDATES), np.array(copies, COPIES), np.array(others, VECTORS))
    found = charge_units(rows, row, np.array(designs, UNITS))
    for p, units in enumerate(designs):
        wanted: list[Charged] = [(0, 0, 0, False, Fraction(0))]
        for update, behind in streams:
            wanted += update_by_hand(update, behind, units)
            assert update_cycles(update, behind, units) == sum(own[0] for own in update_by_hand(update, behind, units))
        for vector in vectors:
            wanted.append(vector_by_hand(vector, units))
            assert vector_cycles(vector, units) == wanted[-1][0]
        assert list(zip(*(column[:, p].tolist() for column in found), strict=True)) == wanted


def test_numbers_of_the_units_of_a_design(sat: acs.Design) -> None:
    assert unit_numbers(sat) == UnitNumbers(
        wuve_lanes=20, sore_lanes=32, vector_lanes=192, master_bits=32, operand_bits=16,
        bytes_per_cycle=sat.dram_bytes_per_cycle,
    )  # fmt: skip


def test_numbers_of_an_update_of_a_copy_and_of_vector_work(sat: acs.Design) -> None:
    update = Update(name="u", operation="u", tensor="w", elements=1000, dense_elements=10)
    sgd = find_optimizer("sgd")
    assert update_numbers(update, sgd, dense=10) == UpdateNumbers(elements=1000, words=1000 * sgd.words, dense=10)
    assert update_numbers(update, sgd, dense=0, resident=600) == UpdateNumbers(1000, 1000 * sgd.words - 600, 0)
    copy = Generation(
        name="c", operation="u", reader=Stage.BP, tensor="w", pattern=acs.Pattern(2, 8), elements=1000, passes=2
    )
    assert copy_numbers(copy, sat) == CopyNumbers(elements=1000, passes=2, group=8, compact_bits=2 * (16 + 3) / 8)
    work = VectorWork(name="v", operation="v", direction="FF", reads=300, writes=50)
    assert vector_numbers(work) == VectorNumbers(elements=350, moved=350)
    assert vector_numbers(work, resident=200) == VectorNumbers(elements=350, moved=150)


@pytest.mark.parametrize("pattern", [None, acs.Pattern(2, 8)])
def test_bytes_at_the_edge_of_the_array_pass_the_buffers_beside_those_of_dram(
    sat: acs.Design, pattern: acs.Pattern | None
) -> None:
    """One tile of 64 x 32 x 144: each operand comes from DRAM once, and its words enter the array as it counts them."""
    task = Gemm(name="g", operation="g", stage=Stage.WU, m=64, n=32, k=144, count=3, x_elements=64 * 144,
                w_elements=144 * 32, w_operand=Operand.WEIGHT, macs=3 * 64 * 32 * 144, pattern=pattern)  # fmt: skip
    mapping = MappingNumbers(ArrayMapping(OS, SPLIT, 1, 1, 1), Mnk(64, 32, 144), LoopOrder(0, 1, 2))
    numbers = gemm_numbers(task, sat, online=False)
    charge, again = charge_gemms([(numbers, mapping), (numbers, mapping)], machine_numbers(sat), word_bits(sat))
    assert charge == again
    assert [charge] == charge_gemms([(numbers, mapping)], machine_numbers(sat), word_bits(sat))
    array = sat.array
    on_array = gemm_on_array(
        64, 32, 144, rows=array.rows, cols=array.cols, macs_per_pe=array.macs_per_pe,
        adder_latency=array.adder_latency_cycles, dataflow="os", pattern=pattern,
    )  # fmt: skip
    w_bytes = 16 / 8 if pattern is None else (2 * 16 + 2 * 3) / 2 / 8  # of a kept value, with its index
    w_dram = 144 * 32 * (2 if pattern is None else 8 / 8 * 2 * (16 + 3) / 8 / 8)
    moved = 3 * (64 * 144 * 2 + w_dram + 64 * 32 * 4)
    assert charge.events.dram_bytes == moved
    edge = on_array.x_words * 2 + on_array.w_words * w_bytes + on_array.y_words * 4
    assert charge.events.buffer_bytes == moved + 3 * edge
    assert charge.events.macs == 3 * on_array.op_slots * sat.array.macs_per_pe
    assert charge.events.selections == (0 if pattern is None else charge.events.macs)
    # an op of two lanes: activations, weights (with 3 index bits), a sum of two products, the partial sum
    slot = 2 * 16 + 2 * 16 + 16 + 32 if pattern is None else 8 * 16 + 2 * (16 + 3) + 16 + 32
    assert charge.events.register_bits == 3 * on_array.op_slots * slot
    assert charge.bound is Bound.COMPUTE
