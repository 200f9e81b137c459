"""The plan: for every GEMM of a step its mapping, found by exhaustive search.

With every tensor in DRAM between stages and stages one after another, the cost of a step is the sum of the costs of its
tasks, and the cost of a GEMM depends on its own mapping alone. Minimising each term over its whole space therefore
minimises the sum: the greedy choice is exact. It stops being so where neighbours share buffers or overlap.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accelsim.cost import _kernels
from accelsim.cost.gemm import GemmNumbers, MachineNumbers, gemm_numbers, machine_numbers
from accelsim.errors import InfeasibleError
from accelsim.hardware.design import Design
from accelsim.step import Gemm, Step

__all__ = ["DATAFLOWS", "VARIANTS", "Mapping", "MappingCache", "Plan", "make_plan"]

DATAFLOWS = ("os", "ws", "is")
VARIANTS = ("split", "chain", "flat")
_DIMENSIONS = "mnk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """How one GEMM runs: dataflow and variant, accumulators Ia x Ib with Z partial sums each, buffer tile, loop order.

    `order` lists the loops over buffer tiles from the outermost, as in ``mnk``.
    """

    dataflow: str
    variant: str | None
    ia: int
    ib: int
    split: int
    tile: tuple[int, int, int]
    order: str

    @property
    def interleave(self) -> str:
        """Accumulators as Ia x Ib, with x Z where partial sums are split."""
        return f"{self.ia}x{self.ib}" + (f"x{self.split}" if self.split > 1 else "")

    @property
    def codes(self) -> tuple[int, int, int, int, int]:
        """The mapping as kernels see it."""
        variant = 0 if self.variant is None else VARIANTS.index(self.variant)
        return DATAFLOWS.index(self.dataflow), variant, self.ia, self.ib, self.split


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A step with everything decided: `mappings[i]` belongs to task i (None where it is no GEMM).

    `evaluated` and `pruned` count the mappings whose cost was computed and those excluded by a bound.
    """

    step: Step
    mappings: tuple[Mapping | None, ...]
    pregenerate: bool
    evaluated: int
    pruned: int


MappingCache = dict[GemmNumbers, tuple[Mapping, int, int]]


def make_plan(step: Step, design: Design, cache: MappingCache | None = None) -> Plan:
    """Choose the fastest mapping of every GEMM; equal GEMMs are searched once (across calls that share `cache`).

    Raises `InfeasibleError` naming the buffer and the missing bytes when no tile of a GEMM fits.
    """
    known: MappingCache = {} if cache is None else cache
    machine = machine_numbers(design)
    tables = {sparse: _mapping_table(design, sparse) for sparse in (False, True)}
    mappings: list[Mapping | None] = []
    used: dict[GemmNumbers, None] = {}
    for task in step.tasks:
        if not isinstance(task, Gemm):
            mappings.append(None)
            continue
        numbers = gemm_numbers(task, design, design.schedule.pregenerate)
        if numbers not in known:
            known[numbers] = _search(task, numbers, machine, tables[task.pattern is not None])
        used[numbers] = None
        mappings.append(known[numbers][0])
    return Plan(
        step=step,
        mappings=tuple(mappings),
        pregenerate=design.schedule.pregenerate,
        evaluated=sum(known[numbers][1] for numbers in used),
        pruned=sum(known[numbers][2] for numbers in used),
    )


def _mapping_table(design: Design, sparse: bool) -> NDArray[np.int64]:
    """Array mappings of a design: (dataflow, variant, ia, ib, split) with powers of two up to the accumulators.

    Without a pattern a slot row holds one slot, so the variants of WS and IS are one machine, here `split`.
    """
    schedule, array = design.schedule, design.array
    accumulators = array.accumulators_per_pe if schedule.interleave else 1
    rows: list[tuple[int, int, int, int, int]] = []
    for dataflow in array.dataflows if schedule.dataflow == "auto" else (schedule.dataflow,):
        code = DATAFLOWS.index(dataflow)
        if dataflow == "os":
            rows += [
                (code, 0, ia, ib, split)
                for ia in _powers(accumulators)
                for ib in _powers(accumulators // ia)
                for split in _powers(accumulators // (ia * ib))
            ]
            continue
        for variant in array.stationary_variants if sparse else ("split",):
            if variant == "chain":
                rows += [(code, 1, depth, 1, 1) for depth in _powers(accumulators)]
            elif not (variant == "flat" and dataflow == "is"):
                rows.append((code, VARIANTS.index(variant), 1, 1, 1))
    return np.array(rows, dtype=np.int64).reshape(len(rows), 5)


def _powers(limit: int) -> Iterator[int]:
    value = 1
    while value <= limit:
        yield value
        value *= 2


def _search(
    gemm: Gemm, numbers: GemmNumbers, machine: MachineNumbers, table: NDArray[np.int64]
) -> tuple[Mapping, int, int]:
    shape, per_element = np.array(numbers.shape, dtype=np.int64), np.array(numbers.per_element)
    best, cycles, _, _, evaluated, pruned = _kernels.search(
        shape, per_element, machine.machine, machine.buffers, machine.bytes_per_cycle, numbers.fetch_cycles, table
    )
    if cycles < 0:
        raise InfeasibleError(_why_nothing_fits(gemm, numbers, machine, table))
    row, tm, tn, tk, order = (int(value) for value in best)
    dataflow, variant, ia, ib, split = (int(value) for value in table[row])
    mapping = Mapping(
        dataflow=DATAFLOWS[dataflow],
        variant=None if dataflow == _kernels.OS else VARIANTS[variant],
        ia=ia,
        ib=ib,
        split=split,
        tile=(tm, tn, tk),
        order="".join(_DIMENSIONS[d] for d in _kernels.ORDERS[order]),
    )
    return mapping, int(evaluated), int(pruned)


def _why_nothing_fits(gemm: Gemm, numbers: GemmNumbers, machine: MachineNumbers, table: NDArray[np.int64]) -> str:
    """Name the buffer that the least demanding smallest tile overflows, and by how much."""
    m, n, k, _, kept, group = numbers.shape
    _, _, _, psum, x_bytes, w_bytes = numbers.per_element
    fields = ("buffers.x_bytes", "buffers.w_bytes", "buffers.y_bytes")
    shortages = []
    for row in table:
        steps = _kernels.tile_steps(kept, group, k, machine.machine, row)
        tm, tn, tk = (min(size, int(step)) for size, step in zip((m, n, k), steps, strict=True))
        needs = (2 * x_bytes * tm * tk, 2 * w_bytes * tk * tn, 2 * psum * tm * tn)
        missing = [
            (max(0.0, need - have), field, need, have)
            for need, have, field in zip(needs, machine.buffers, fields, strict=True)
        ]
        worst = max(missing)
        shortages.append((worst[0], worst[1], worst[2], worst[3], (tm, tn, tk)))
    short, field, need, have, tile = min(shortages)
    return (
        f"operation '{gemm.operation}', {gemm.stage} {m} x {n} x {k}: no tile fits; the smallest,"
        f" {' x '.join(str(size) for size in tile)} held twice, needs {need:.0f} bytes of {field},"
        f" which has {have:.0f}: {short:.0f} bytes are missing"
    )
