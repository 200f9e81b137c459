"""The exhaustive search for the fastest mapping of a GEMM.

With every tensor in DRAM between stages and stages one after another, the cost of a step is the sum of the costs of its
tasks, and the cost of a GEMM depends on its own mapping alone. Minimising each term over its whole space therefore
minimises the sum: the greedy choice is exact. It stops being so where neighbours share buffers or overlap.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InfeasibleError
from accelsim.cost.compiled import array_timing, loop_nest, mapping_search
from accelsim.cost.gemm import GemmNumbers, MachineNumbers, machine_numbers
from accelsim.hardware.design import Design
from accelsim.lowering.tasks import Gemm
from accelsim.schedule.plan import DATAFLOWS, DIMENSIONS, VARIANTS, Mapping

__all__ = ["BufferNeed", "Found", "MappingCache", "Searcher", "buffer_needs", "mapping_table", "why_nothing_fits"]

BufferNeed = tuple[str, float, float]
"""A buffer, the bytes that two tiles of its operand need, and those it has."""

Found = tuple[Mapping, int, int, int]
"""A mapping, its cycles with the generation in front of it, and the numbers of mappings evaluated and pruned."""

MappingCache = dict[GemmNumbers, Found]

_BUFFERS = ("buffers.x_bytes", "buffers.w_bytes", "buffers.y_bytes")


class Searcher:
    """Finds the fastest mapping of GEMMs on a design; equal ones are searched once, also by searchers that share
    `cache`. `evaluated` and `pruned` count over the distinct GEMMs that this searcher was asked for."""

    def __init__(self, design: Design, cache: MappingCache | None = None) -> None:
        self._machine: MachineNumbers = machine_numbers(design)
        self._tables = {sparse: mapping_table(design, sparse=sparse) for sparse in (False, True)}
        self._known: MappingCache = {} if cache is None else cache
        self._asked: dict[GemmNumbers, None] = {}

    def fastest(self, gemm: Gemm, numbers: GemmNumbers) -> tuple[Mapping, int]:
        """Return the fastest mapping and its cycles, those of the generation in front of the GEMM included.

        Raises `InfeasibleError` naming the buffer and the missing bytes when no tile fits.
        """
        if numbers not in self._known:
            self._known[numbers] = _search(gemm, numbers, self._machine, self._tables[gemm.pattern is not None])
        self._asked[numbers] = None
        return self._known[numbers][:2]

    def best_of_each(self, gemm: Gemm, numbers: GemmNumbers) -> list[tuple[Mapping, int]]:
        """Return every array mapping that fits, each with its best tile and loop order and their cycles, as they come
        in `mapping_table`."""
        table = self._tables[gemm.pattern is not None]
        each = (_best_of(numbers, self._machine, table[row : row + 1]) for row in range(len(table)))
        return [found[:2] for found in each if found is not None]

    @property
    def evaluated(self) -> int:
        """Mappings whose cost was computed."""
        return sum(self._known[numbers][2] for numbers in self._asked)

    @property
    def pruned(self) -> int:
        """Mappings that a bound excluded."""
        return sum(self._known[numbers][3] for numbers in self._asked)


def mapping_table(design: Design, *, sparse: bool) -> NDArray[np.int64]:
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


def buffer_needs(numbers: GemmNumbers, tile: Sequence[int], machine: MachineNumbers) -> tuple[BufferNeed, ...]:
    """Return what a buffer tile (m, n, k) needs of each buffer, held twice."""
    tm, tn, tk = tile
    _, _, _, psum, x_bytes, w_bytes = numbers.per_element
    needs = (2 * x_bytes * tm * tk, 2 * w_bytes * tk * tn, 2 * psum * tm * tn)
    return tuple(zip(_BUFFERS, needs, map(float, machine.buffers), strict=True))


def _search(gemm: Gemm, numbers: GemmNumbers, machine: MachineNumbers, table: NDArray[np.int64]) -> Found:
    found = _best_of(numbers, machine, table)
    if found is None:
        raise InfeasibleError(why_nothing_fits(gemm, numbers, machine, table))
    return found


def _best_of(numbers: GemmNumbers, machine: MachineNumbers, table: NDArray[np.int64]) -> Found | None:
    """Return the fastest of some array mappings, None where no tile of any fits."""
    shape, per_element = np.array(numbers.shape, dtype=np.int64), np.array(numbers.per_element)
    best, cycles, _, _, evaluated, pruned = mapping_search.search(
        shape, per_element, machine.machine, machine.buffers, machine.bytes_per_cycle, numbers.fetch_cycles, table
    )
    if cycles < 0:
        return None
    row, tm, tn, tk, order = (int(value) for value in best)
    dataflow, variant, ia, ib, split = (int(value) for value in table[row])
    mapping = Mapping(
        dataflow=DATAFLOWS[dataflow],
        variant=None if dataflow == array_timing.OS else VARIANTS[variant],
        ia=ia,
        ib=ib,
        split=split,
        tile=(tm, tn, tk),
        order="".join(DIMENSIONS[d] for d in loop_nest.ORDERS[order]),
    )
    return mapping, int(cycles), int(evaluated), int(pruned)


def why_nothing_fits(gemm: Gemm, numbers: GemmNumbers, machine: MachineNumbers, table: NDArray[np.int64]) -> str:
    """Name the buffer that the least demanding smallest tile overflows, and by how much."""
    m, n, k, _, kept, group = numbers.shape
    shortages = []
    for row in table:
        steps = array_timing.tile_steps(kept, group, k, machine.machine, row)
        tile = tuple(min(size, int(step)) for size, step in zip((m, n, k), steps, strict=True))
        missing = (
            (max(0.0, need - have), field, need, have) for field, need, have in buffer_needs(numbers, tile, machine)
        )
        shortages.append((*max(missing), tile))
    short, field, need, have, tile = min(shortages)
    return (
        f"operation '{gemm.operation}', {gemm.stage} {m} x {n} x {k}: no tile fits; the smallest,"
        f" {' x '.join(str(size) for size in tile)} held twice, needs {need:.0f} bytes of {field},"
        f" which has {have:.0f}: {short:.0f} bytes are missing"
    )
