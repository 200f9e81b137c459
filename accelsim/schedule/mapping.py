"""The exhaustive search for the fastest mapping of a GEMM.

With every tensor in DRAM between stages and stages one after another, the cost of a step is the sum of the costs of its
tasks, and the cost of a GEMM depends on its own mapping alone. Minimising each term over its whole space therefore
minimises the sum: the greedy choice is exact. It stops being so where neighbours share buffers or overlap.

An im2col operand stands with its channels outermost: a border between tiles then parts the taps of one block of
channels, with taps outermost those of every channel.
"""

from collections.abc import Sequence
from math import floor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InfeasibleError
from accelsim.base.jit import plain
from accelsim.cost.compiled import array_timing, mapping_search, values
from accelsim.cost.compiled.values import ArrayMapping, BufferBytes, GemmNumbers, MachineNumbers
from accelsim.cost.gemm import machine_numbers
from accelsim.hardware.design import Design
from accelsim.lowering.tasks import Gemm
from accelsim.schedule.plan import DATAFLOWS, DIMENSIONS, VARIANTS, Mapping

__all__ = ["BufferNeed", "Found", "MappingCache", "Searcher", "array_mappings", "buffer_needs", "why_nothing_fits"]


class BufferNeed(NamedTuple):
    """A field of the design with the size of a buffer, the bytes that two tiles of its operand need, and the size."""

    field: str
    needed: float
    available: float


class Found(NamedTuple):
    """A mapping, its cycles with the generation in front of it, and the numbers of mappings evaluated and pruned."""

    mapping: Mapping
    cycles: int
    evaluated: int
    pruned: int


MappingCache = dict[GemmNumbers, Found]

_BUFFERS = ("buffers.x_bytes", "buffers.w_bytes", "buffers.y_bytes")


class Searcher:
    """Finds the fastest mapping of GEMMs on a design; equal ones are searched once, also by searchers that share
    `cache`. `evaluated` and `pruned` count over the distinct GEMMs that this searcher was asked for."""

    def __init__(self, design: Design, cache: MappingCache | None = None) -> None:
        self._machine: MachineNumbers = machine_numbers(design)
        self._mappings = {sparse: array_mappings(design, sparse=sparse) for sparse in (False, True)}
        self._tables = {sparse: values.mapping_table(mappings) for sparse, mappings in self._mappings.items()}
        self._known: MappingCache = {} if cache is None else cache
        self._asked: dict[GemmNumbers, None] = {}

    def fastest(self, gemm: Gemm, numbers: GemmNumbers) -> tuple[Mapping, int]:
        """Return the fastest mapping and its cycles, those of the generation in front of the GEMM included.

        Raises `InfeasibleError` naming the buffer and the missing bytes when no tile fits.
        """
        if numbers not in self._known:
            self._known[numbers] = self._search(gemm, numbers)
        self._asked[numbers] = None
        found = self._known[numbers]
        return found.mapping, found.cycles

    def best_of_each(self, gemm: Gemm, numbers: GemmNumbers) -> list[tuple[Mapping, int]]:
        """Return every array mapping that fits, each with its best tile and loop order and their cycles, as they come
        in `array_mappings`."""
        each = (
            _best_of(numbers, self._machine, [one], values.mapping_table([one]))
            for one in self._mappings[gemm.pattern is not None]
        )
        return [(found.mapping, found.cycles) for found in each if found is not None]

    def floor(self, gemm: Gemm, numbers: GemmNumbers) -> tuple[int, int]:
        """Return cycles of the array and bytes of DRAM that no mapping of a GEMM goes below, whatever its tile."""
        table = self._tables[gemm.pattern is not None]
        shape, of = numbers.shape, numbers.element_bytes
        once = shape.m * shape.k * of.x + shape.k * shape.n * of.w + shape.m * shape.n * of.y
        return int(mapping_search.array_floor(numbers, self._machine, table)), floor(shape.count * once)

    def _search(self, gemm: Gemm, numbers: GemmNumbers) -> Found:
        sparse = gemm.pattern is not None
        found = _best_of(numbers, self._machine, self._mappings[sparse], self._tables[sparse])
        if found is None:
            raise InfeasibleError(why_nothing_fits(gemm, numbers, self._machine, self._mappings[sparse]))
        return found

    @property
    def evaluated(self) -> int:
        """Mappings whose cost was computed."""
        return sum(self._known[numbers].evaluated for numbers in self._asked)

    @property
    def pruned(self) -> int:
        """Mappings that a bound excluded."""
        return sum(self._known[numbers].pruned for numbers in self._asked)


def array_mappings(design: Design, *, sparse: bool) -> list[ArrayMapping]:
    """Return the array mappings of a design, with all ways to share out its accumulators.

    Without a pattern a slot row holds one slot, so the variants of WS and IS are one machine, here `split`.
    """
    schedule, array = design.schedule, design.array
    accumulators = array.accumulators_per_pe if schedule.interleave else 1
    found: list[ArrayMapping] = []
    for dataflow in array.dataflows if schedule.dataflow == "auto" else (schedule.dataflow,):
        code = DATAFLOWS.index(dataflow)
        if dataflow == "os":
            found += [
                ArrayMapping(code, values.SPLIT, ia, ib, split_k)
                for ia in range(1, accumulators + 1)
                for ib in range(1, accumulators // ia + 1)
                for split_k in range(1, accumulators // (ia * ib) + 1)
            ]
            continue
        for variant in array.stationary_variants if sparse else ("split",):
            if variant == "chain":
                found += [ArrayMapping(code, values.CHAIN, depth, 1, 1) for depth in range(1, accumulators + 1)]
            elif not (variant == "flat" and dataflow == "is"):
                found.append(ArrayMapping(code, VARIANTS.index(variant), 1, 1, 1))
    return found


def buffer_needs(numbers: GemmNumbers, tile: Sequence[int], machine: MachineNumbers) -> tuple[BufferNeed, ...]:
    """Return what a buffer tile (m, n, k) needs of each buffer, held twice."""
    (tm, tn, tk), of = tile, numbers.element_bytes
    needs = BufferBytes(x=2 * of.buffered_x * tm * tk, w=2 * of.buffered_w * tk * tn, y=2 * of.psum * tm * tn)
    return tuple(map(BufferNeed, _BUFFERS, needs, machine.buffers))


def _best_of(
    numbers: GemmNumbers, machine: MachineNumbers, mappings: Sequence[ArrayMapping], table: NDArray[np.void]
) -> Found | None:
    """Return the fastest of some array mappings, in a `table` for kernels, None where no tile of any fits."""
    found = plain(mapping_search.search(numbers, machine, table))
    if found.cycles < 0:
        return None
    best = mappings[found.row]
    mapping = Mapping(
        dataflow=DATAFLOWS[best.dataflow],
        variant=None if best.dataflow == values.OS else VARIANTS[best.variant],
        ia=best.ia,
        ib=best.ib,
        split_k=best.split_k,
        tile=tuple(found.tile),
        order="".join(DIMENSIONS[dimension] for dimension in values.ORDERS[found.order]),
        im2col=None if numbers.window.operand == values.NO_WINDOW else "channels",
    )
    return Found(mapping, found.cycles, found.evaluated, found.pruned)


def why_nothing_fits(
    gemm: Gemm, numbers: GemmNumbers, machine: MachineNumbers, mappings: Sequence[ArrayMapping]
) -> str:
    """Name the buffer that the least demanding smallest tile overflows, and by how much."""
    shape = numbers.shape
    sizes, shortages = (shape.m, shape.n, shape.k), []
    for mapping in mappings:
        steps = array_timing.tile_steps(shape.kept, shape.group, shape.k, machine.array, mapping)
        tile = tuple(map(min, sizes, steps))
        needs = buffer_needs(numbers, tile, machine)
        shortages.append((*max((max(0.0, need.needed - need.available), *need) for need in needs), tile))
    short, field, need, have, tile = min(shortages)
    return (
        f"operation '{gemm.operation}', {gemm.stage} {shape.m} x {shape.n} x {shape.k}: no tile fits; the smallest,"
        f" {' x '.join(str(size) for size in tile)} held twice, needs {need:.0f} bytes of {field},"
        f" which has {have:.0f}: {short:.0f} bytes are missing"
    )
