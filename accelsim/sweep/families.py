"""What the points of a sweep share that have the same steps: their tasks as arrays, for evaluation all at once."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from accelsim.cost.compiled.values import GemmNumbers, gemm_table, records, whole
from accelsim.engines.layout import GemmRow, Layout, OnlineRow, lay_out
from accelsim.hardware.design import Design
from accelsim.hardware.resources import changes_resources
from accelsim.hardware.sourced import leaf_paths
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Step
from accelsim.schedule.offline import greedy_outline

__all__ = [
    "BESIDE_PRICES",
    "BESIDE_SEARCH",
    "BESIDE_STEP",
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
    "dram.capacity_gb",
    "dram.dma_channels", "wuve.lanes", "vector.lanes", "resources.dsp", "resources.lut", "resources.bram36",
    "resources.uram288", "resources.shell_dsp", "resources.shell_lut", "resources.shell_bram36",
    "resources.shell_uram288", "resources.given_controllers", "schedule.overlap", "schedule.scheduler", "energy",
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

BESIDE_PRICES = frozenset(path for path in leaf_paths(Design) if not changes_resources(path))
"""Values of a design that what an event costs on it does not depend on, but by its energy table."""

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


class Family:
    """The steps of points that differ in nothing but numbers of the design which no task depends on by itself.

    `step` and `dense`: the step, and the dense one that its speedup is over. `gemms`: the distinct GEMMs of both in the
    order in which they are planned, each with the first task that it is; `numbers` are theirs. The first `own_gemms`
    are those of the step.
    """

    def __init__(self, step: Step, dense: Step, design: Design, optimizer: Optimizer) -> None:
        self.batch, self.dense_macs = step.batch, step.macs_dense
        self.gemms: dict[GemmNumbers, Gemm] = {}
        self.step = self._arrays(step, design, optimizer)
        self.own_gemms = len(self.gemms)
        self.dense = self.step if dense is step else self._arrays(dense, design, optimizer)
        self.numbers = gemm_table(list(self.gemms))

    def _arrays(self, step: Step, design: Design, optimizer: Optimizer) -> StepArrays:
        layout = lay_out(greedy_outline(step, design), design, optimizer, self.gemms)
        return StepArrays(
            layout=layout,
            gemms=np.array(list(layout.gemms), dtype=GEMM_ROWS),
            online=np.array(list(layout.online), dtype=ONLINE_ROWS),
            sore_elements=np.array([row.sore_elements for row in layout.rows], dtype=np.int64),
            wuve_weights=np.array([row.wuve_weights for row in layout.rows], dtype=np.int64),
            vector_elements=np.array([row.vector_elements for row in layout.rows], dtype=np.int64),
        )
