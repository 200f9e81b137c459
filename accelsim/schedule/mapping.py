"""The exhaustive search for the fastest mapping of a GEMM.

With every tensor in DRAM between stages and stages one after another, the cost of a step is the sum of the costs of its
tasks, and the cost of a GEMM depends on its own mapping alone. Minimising each term over its whole space therefore
minimises the sum: the greedy choice is exact. It stops being so where neighbours share buffers or overlap.
"""

from collections.abc import Sequence
from math import floor, inf, nextafter
from typing import NamedTuple

from accelsim.base.errors import InfeasibleError
from accelsim.base.jit import plain
from accelsim.cost.compiled import array_timing, mapping_search, values
from accelsim.cost.compiled.values import ArrayMapping, BufferBytes, GemmNumbers, MachineNumbers
from accelsim.cost.gemm import machine_numbers
from accelsim.hardware.design import Design
from accelsim.lowering.tasks import Gemm
from accelsim.schedule.plan import DATAFLOWS, DIMENSIONS, VARIANTS, Mapping

__all__ = [
    "BufferNeed",
    "Found",
    "MappingCache",
    "Searcher",
    "array_mappings",
    "buffer_needs",
    "once_bytes",
    "why_nothing_fits",
]


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
        self._mappings = {sparse: _Mappings(array_mappings(design, sparse=sparse)) for sparse in (False, True)}
        self._known: MappingCache = {} if cache is None else cache
        self._asked: dict[GemmNumbers, None] = {}
        self._no_less: dict[GemmNumbers, float] = {}

    def fastest(self, gemm: Gemm, numbers: GemmNumbers) -> tuple[Mapping, int]:
        """Return the fastest mapping and its cycles, those of the generation in front of the GEMM included.

        Raises `InfeasibleError` naming the buffer and the missing bytes when no tile fits.
        """
        if numbers not in self._known:
            self._known[numbers] = _search(gemm, numbers, self._machine, self._mappings[gemm.pattern is not None])
        self._asked[numbers] = None
        found = self._known[numbers]
        return found.mapping, found.cycles

    def within(self, gemm: Gemm, numbers: GemmNumbers, limit: float) -> float:
        """Return the cycles that `fastest` finds where they are less than `limit`, else infinity, with less work."""
        if numbers not in self._known:
            if limit <= max(self._no_less.get(numbers, 0.0), self._least(numbers)):
                return inf
            found = _best_of(numbers, self._machine, self._mappings[gemm.pattern is not None], limit)
            if found is None:
                self._no_less[numbers] = limit
                return inf
            self._known[numbers] = found
        self._asked[numbers] = None
        cycles = float(self._known[numbers].cycles)
        return cycles if cycles < limit else inf

    def _least(self, numbers: GemmNumbers) -> float:
        """Cycles in which DRAM moves each operand and each result once, with SORE before it."""
        moved = once_bytes(numbers) / self._machine.bytes_per_cycle
        return moved * (1 - 1e-12) + numbers.shape.count * numbers.fetch_cycles

    def best_of_each(self, gemm: Gemm, numbers: GemmNumbers) -> list[tuple[Mapping, int]]:
        """Return every array mapping that fits, each with its best tile and loop order and their cycles, as they come
        in `array_mappings`."""
        each = (
            _best_of(numbers, self._machine, _Mappings([one])) for one in self._mappings[gemm.pattern is not None].own
        )
        return [(found.mapping, found.cycles) for found in each if found is not None]

    def floor(self, gemm: Gemm, numbers: GemmNumbers) -> tuple[int, int]:
        """Return cycles of the array and bytes of DRAM that no mapping of a GEMM goes below, whatever its tile."""
        table = self._mappings[gemm.pattern is not None].table
        return int(mapping_search.array_floor(numbers, self._machine, table)), floor(once_bytes(numbers))

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


def once_bytes(numbers: GemmNumbers) -> float:
    """Return the bytes that all copies of a GEMM move at least: each operand in, and each result out, once."""
    shape, of = numbers.shape, numbers.element_bytes
    once = shape.m * shape.k * of.x + shape.k * shape.n * of.w + shape.m * shape.n * of.y
    return shape.count * once


class _Mappings:
    """Array mappings, also as kernels take them."""

    def __init__(self, own: Sequence[ArrayMapping]) -> None:
        self.own, self.table = own, values.mapping_table(own)


def _search(gemm: Gemm, numbers: GemmNumbers, machine: MachineNumbers, mappings: _Mappings) -> Found:
    found = _best_of(numbers, machine, mappings)
    if found is None:
        raise InfeasibleError(why_nothing_fits(gemm, numbers, machine, mappings.own))
    return found


def _best_of(numbers: GemmNumbers, machine: MachineNumbers, mappings: _Mappings, limit: float = inf) -> Found | None:
    """Return the fastest of some array mappings that takes less than `limit` cycles, None where no tile of any fits."""
    most = nextafter(limit, 0.0) if limit < inf else inf
    found = plain(mapping_search.fastest(numbers, machine, mappings.table, most))
    if found.cycles < 0:
        return None
    best = mappings.own[found.row]
    mapping = Mapping(
        dataflow=DATAFLOWS[best.dataflow],
        variant=None if best.dataflow == values.OS else VARIANTS[best.variant],
        ia=best.ia,
        ib=best.ib,
        split_k=best.split_k,
        tile=tuple(found.tile),
        order="".join(DIMENSIONS[dimension] for dimension in values.ORDERS[found.order]),
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
