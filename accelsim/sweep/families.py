"""What the points of a sweep share that have the same steps: their tasks as arrays, for evaluation all at once."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from accelsim.cost.charges import WordBytes, word_bytes
from accelsim.cost.compiled.unit_pace import COPIES, UPDATES, VECTORS
from accelsim.cost.compiled.values import GemmNumbers, gemm_table, records, whole
from accelsim.cost.gemm import gemm_numbers
from accelsim.engines.work import executed_macs
from accelsim.hardware.design import Design
from accelsim.hardware.sourced import leaf_paths
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Generation, Stage, Step, Update, VectorWork
from accelsim.schedule.offline import greedy_outline

__all__ = ["BESIDE_SEARCH", "BESIDE_STEP", "Family", "Floats", "Ints", "Layout", "Records", "values_besides"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Records = NDArray[np.void]

BESIDE_SEARCH = frozenset({
    "clock_hz", "buffers.resident_bytes", "dram.channels", "dram.bandwidth_gb_per_s", "dram.efficiency",
    "dram.dma_channels", "wuve.lanes", "vector.lanes", "resources.dsp", "resources.lut", "resources.bram36",
    "resources.uram288", "schedule.overlap", "schedule.scheduler", "energy",
})  # fmt: skip
"""Values of a design that the mapping search does not see but as the bytes that DRAM moves per cycle."""

BESIDE_STEP = BESIDE_SEARCH | {
    "array.rows", "array.cols", "array.macs_per_pe", "array.adder_latency_cycles", "array.accumulators_per_pe",
    "array.overlap_tiles", "array.dataflows", "array.stationary_variants", "array.row_port_elements_per_cycle",
    "array.col_port_elements_per_cycle", "buffers.x_bytes", "buffers.w_bytes", "buffers.y_bytes", "schedule.dataflow",
    "schedule.interleave",
}  # fmt: skip
"""Values of a design in which the points of a family may differ: no task of a step depends on them. What is not listed,
as a value that designs get later, parts families."""

GEMM_ROWS = records(whole(("row", "place", "macs")))
"""GEMMs: row, place among the distinct ones of the family, executed multiply-accumulates."""

ONLINE_ROWS = records(whole(("row", "place", "elements")))
"""SORE in front of a GEMM: row, place of the GEMM, elements of its operand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A step as the rows that the closed-form engine has of it, in that order.

    `names` and `stages` of all rows. Each kind of row is an array of records: `GEMM_ROWS`, `ONLINE_ROWS`, and of
    `accelsim.cost.compiled.unit_pace` `UPDATES`, `COPIES` (each in the row after the one it follows) and `VECTORS`.
    """

    names: tuple[str, ...]
    stages: tuple[Stage, ...]
    gemms: Records
    online: Records
    updates: Records
    copies: Records
    vectors: Records


@cache
def _reader(beside: frozenset[str]) -> Callable[[Design], tuple[Hashable, ...]]:
    return attrgetter(*(path for path in leaf_paths(Design) if path not in beside))


def values_besides(design: Design, beside: frozenset[str]) -> Hashable:
    """Return all values of a design but those at the paths `beside`: equal where designs differ there alone."""
    return _reader(beside)(design)


class Family:
    """The steps of points that differ in nothing but numbers of the design which no task depends on by itself.

    `layout` is that of the step, `dense_layout` that of the dense one its speedup is over. `gemms`: the distinct GEMMs
    of both in the order in which they are planned, each with the first task that it is; what follows is by place there.
    """

    def __init__(self, step: Step, dense: Step, design: Design, optimizer: Optimizer) -> None:
        self.batch, self.dense_macs = step.batch, step.macs_dense
        self.gemms: dict[GemmNumbers, Gemm] = {}
        self.layout = self._laid_out(step, design, optimizer)
        self.dense_layout = self.layout if dense is step else self._laid_out(dense, design, optimizer)
        numbers = list(self.gemms)
        self.numbers = gemm_table(numbers)
        widths = np.array([word_bytes(item, design) for item in numbers], dtype=np.float64).reshape(-1, 3)
        self.word_bytes = WordBytes(*widths.T)
        self.master_bits, self.operand_bits = design.precision.master_bits, design.precision.operand_bits
        self.sore_lanes = design.sore.lanes

    def _laid_out(self, step: Step, design: Design, optimizer: Optimizer) -> Layout:
        plan, rows = greedy_outline(step, design), list[tuple[str, Stage]]()
        gemms, online, vectors = list[tuple[int, ...]](), list[tuple[int, ...]](), list[tuple[int, ...]]()
        updates, copies = list[tuple[int, ...]](), list[tuple[int | float, ...]]()
        places = {numbers: place for place, numbers in enumerate(self.gemms)}
        for index, task in enumerate(step.tasks):
            if isinstance(task, Gemm):
                numbers = gemm_numbers(task, design, online=index in plan.online)
                place = places.setdefault(numbers, len(places))
                self.gemms.setdefault(numbers, task)
                if index in plan.online:
                    online.append((len(rows), place, task.w_elements))
                    rows.append((task.name, Stage.GENERATE))
                gemms.append((len(rows), place, executed_macs(task)))
                rows.append((task.name, task.stage))
            elif isinstance(task, VectorWork):
                vectors.append((len(rows), task.reads + task.writes))
                rows.append((task.name, Stage.VECTOR))
            elif isinstance(task, Update):
                behind = [step.tasks[copy] for copy in plan.copies_behind(index)]
                words, dense = task.elements * optimizer.words, plan.reads_dense(index)
                updates.append((len(rows), task.elements, words, dense, len(copies), len(behind)))
                rows.append((task.name, Stage.UPDATE))
                for copy in behind:
                    assert isinstance(copy, Generation), "only generations follow an update"
                    bits = design.compact_bits(copy.pattern)
                    copies.append((len(rows), copy.elements, copy.passes, copy.pattern.group, bits))
                    rows.append((copy.name, Stage.GENERATE))
        return Layout(
            names=tuple(name for name, _ in rows),
            stages=tuple(stage for _, stage in rows),
            gemms=np.array(gemms, dtype=GEMM_ROWS),
            online=np.array(online, dtype=ONLINE_ROWS),
            updates=np.array(updates, dtype=UPDATES),
            copies=np.array(copies, dtype=COPIES),
            vectors=np.array(vectors, dtype=VECTORS),
        )
