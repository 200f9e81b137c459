"""What the points of a sweep share that have the same steps: their tasks as arrays, for evaluation all at once."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from accelsim.cost.charges import vector_gemm_numbers
from accelsim.cost.compiled.unit_pace import VECTORS
from accelsim.cost.compiled.values import GemmNumbers, gemm_table, records, whole
from accelsim.cost.gemm import gemm_numbers
from accelsim.engines.layout import GemmRow, Layout, OnlineRow, lay_out
from accelsim.hardware.design import Design
from accelsim.hardware.sourced import leaf_paths
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Step, Way
from accelsim.lowering.ways import WayGroup, in_way, in_ways, least_macs
from accelsim.schedule.fastest_ways import CyclesOf, alternatives, decide
from accelsim.schedule.mapping import once_bytes
from accelsim.schedule.offline import greedy_outline

__all__ = [
    "BESIDE_SEARCH",
    "BESIDE_STEP",
    "Choices",
    "Family",
    "Floats",
    "Ints",
    "Records",
    "StepArrays",
    "values_besides",
]

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

_MOST_ARRAYS = 256
"""Layouts of steps that a family remembers."""

GEMM_ROWS = records(whole(GemmRow._fields))
ONLINE_ROWS = records(whole(OnlineRow._fields))


@dataclass(frozen=True, slots=True, eq=False)
class StepArrays:
    """The rows of a step (`layout`) as arrays: `GEMM_ROWS`, `ONLINE_ROWS`, and by row the elements that SORE, WUVE and
    the vector unit take, those of SORE in front of a GEMM for each full fetch."""

    layout: Layout
    gemms: Records
    online: Records
    sore_elements: Ints
    wuve_weights: Ints
    vector_elements: Ints


@cache
def _reader(beside: frozenset[str]) -> Callable[[Design], tuple[Hashable, ...]]:
    return attrgetter(*(path for path in leaf_paths(Design) if path not in beside))


def values_besides(design: Design, beside: frozenset[str]) -> Hashable:
    """Return all values of a design but those at the paths `beside`: equal where designs differ there alone."""
    return _reader(beside)(design)


class Choices:
    """A step as it was lowered, and what its products take in each of their ways.

    `products`: those that can run in several ways. `places`: by product and way the GEMMs that it then is, by their
    places among the distinct ones.
    """

    def __init__(self, step: Step, design: Design, optimizer: Optimizer, gemms: dict[GemmNumbers, Gemm]) -> None:
        self._step, self._design, self._optimizer, self._gemms = step, design, optimizer, gemms
        self.plan = greedy_outline(step, design)
        self.own = self.arrays({})
        self.products = alternatives(step, design)
        self.places: dict[tuple[WayGroup, Way], list[int]] = {}
        self.least_macs = {
            (item, way): sum(least_macs(_gemm_at(step, index), way) for index in item.gemms)
            for item in self.products
            for way in item.ways
        }

    def add_ways(self) -> None:
        """Add the GEMMs that products are in their ways to the distinct ones."""
        places = {numbers: place for place, numbers in enumerate(self._gemms)}
        for item in self.products:
            for way in item.ways:
                if not way.on_vector:
                    self.places[item, way] = [self._place(index, way, places) for index in item.gemms]

    def _place(self, index: int, way: Way, places: dict[GemmNumbers, int]) -> int:
        gemm = in_way(_gemm_at(self._step, index), way)
        numbers = gemm_numbers(gemm, self._design, online=index in self.plan.online)
        self._gemms.setdefault(numbers, gemm)
        return places.setdefault(numbers, len(places))

    def decide(self, units: Records, cycles_of: CyclesOf) -> dict[int, Ints]:
        """Return what `accelsim.schedule.fastest_ways.decide` chooses on designs with these units."""
        return decide(self.products, self.plan, self._design, self._optimizer, units, cycles_of)

    def vector_rows(self, item: WayGroup) -> Records:
        """Return the GEMMs of a product as rows of the vector unit."""
        rows = (vector_gemm_numbers(_gemm_at(self._step, index), self._design) for index in item.gemms)
        return np.array([(row, *numbers) for row, numbers in enumerate(rows)], VECTORS)

    def arrays(self, ways: Mapping[int, Way]) -> StepArrays:
        """Return the rows of the step with GEMMs, by their places among the tasks, in these ways."""
        step = in_ways(self._step, ways)
        layout = lay_out(greedy_outline(step, self._design), self._design, self._optimizer, self._gemms)
        return StepArrays(
            layout=layout,
            gemms=np.array(list(layout.gemms), dtype=GEMM_ROWS),
            online=np.array(list(layout.online), dtype=ONLINE_ROWS),
            sore_elements=np.array([row.sore_elements for row in layout.rows], dtype=np.int64),
            wuve_weights=np.array([row.wuve_weights for row in layout.rows], dtype=np.int64),
            vector_elements=np.array([row.vector_elements for row in layout.rows], dtype=np.int64),
        )


def _gemm_at(step: Step, index: int) -> Gemm:
    task = step.tasks[index]
    assert isinstance(task, Gemm), "GEMMs only"
    return task


class Family:
    """The steps of points that differ in nothing but numbers of the design which no task depends on by itself.

    `step` and `dense`: the step, and the dense one that its speedup is over, as they were lowered. `gemms`: the
    distinct GEMMs of both in the order in which they are planned, each with the first task that it is, and behind these
    `own` those that products are in other ways; `numbers` are theirs, `once_bytes` what they move at least, and
    `sore_cycles` those in front of one full fetch.
    """

    def __init__(self, step: Step, dense: Step, design: Design, optimizer: Optimizer) -> None:
        self.batch, self.dense_macs = step.batch, step.macs_dense
        self.gemms: dict[GemmNumbers, Gemm] = {}
        self.step = Choices(step, design, optimizer, self.gemms)
        self.dense = self.step if dense is step else Choices(dense, design, optimizer, self.gemms)
        self.own = len(self.gemms)
        self.choices = tuple(dict.fromkeys((self.step, self.dense)))
        for choices in self.choices:
            choices.add_ways()
        self.numbers = gemm_table(list(self.gemms))
        self.once_bytes = np.array([once_bytes(numbers) for numbers in self.gemms])
        self.sore_cycles = self.numbers["count"] * self.numbers["fetch_cycles"]
        self._arrays: dict[Hashable, StepArrays] = {}

    def arrays(self, choices: Choices, ways: Mapping[int, Way]) -> StepArrays:
        """Return the rows of one of the steps with GEMMs in these ways, which are made once."""
        if not ways:
            return choices.own
        key = choices, frozenset(ways.items())
        if len(self._arrays) > _MOST_ARRAYS:
            self._arrays.clear()
        if key not in self._arrays:
            self._arrays[key] = choices.arrays(ways)
        return self._arrays[key]
