"""How each product runs: in the mode of its pattern, in one that covers it, dense, or on the vector unit.

Each takes the way that is fastest for tasks one after another. A product that reads copies of a weight is decided with
the others that do and with the update in whose stream the copies are made, as a denser copy has more bytes; every other
one by itself, with the generation in front of it. A way other than its own is taken only where the products are faster
in it. So a step is not slower than the dense one but for what it generates, and of two patterns of the same groups, one
of which covers the other, the sparser is not slower.

The same decision is made for one design and for many at once; cycles are arrays by design.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import product as combinations_of
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from accelsim.cost.charges import (
    UnitRows,
    charge_units,
    copy_numbers,
    unit_numbers,
    unit_table,
    update_numbers,
    vector_cycles,
    vector_gemm_numbers,
)
from accelsim.cost.compiled.unit_pace import COPIES, UPDATES, VECTORS
from accelsim.cost.gemm import gemm_numbers
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Generation, Step, Update, Way
from accelsim.lowering.ways import WayGroup, in_way, in_ways, least_macs, products_of
from accelsim.schedule.mapping import MappingCache, Searcher
from accelsim.schedule.offline import greedy_outline
from accelsim.schedule.plan import Plan, copies_of
from accelsim.sparsity.pattern import Pattern

__all__ = [
    "CyclesOf",
    "OnOneDesign",
    "alternatives",
    "decide",
    "decided_alone",
    "in_fastest_ways",
    "update_of_copies",
    "ways_at",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Records = NDArray[np.void]

CyclesOf = Callable[[WayGroup, Way, Floats | None], Floats]
"""Cycles of a product in some way, by design, with the generation in front of it; infinite where it fits no buffer, and
where it takes no less than a limit, if there is one."""


def alternatives(step: Step, design: Design) -> tuple[WayGroup, ...]:
    """Return the products of a step, as it was lowered, among whose ways a design chooses."""
    found = products_of(step, design.patterns, vector=design.vector.macs_per_lane > 0)
    return tuple(item for item in found if design.schedule.cover or item.ways[-1].on_vector)


def in_fastest_ways(step: Step, design: Design, optimizer: Optimizer, cache: MappingCache | None = None) -> Step:
    """Return a step, as it was lowered, with each product in the way that `decide` finds fastest on `design`."""
    products = alternatives(step, design)
    if not products:
        return step
    plan = greedy_outline(step, design)
    cycles = OnOneDesign(plan, design, Searcher(design, cache)).cycles
    return in_ways(step, ways_at(0, products, decide(products, plan, design, optimizer, unit_table([design]), cycles)))


def ways_at(design: int, products: Sequence[WayGroup], chosen: Mapping[int, Ints]) -> dict[int, Way]:
    """Return the ways of the GEMMs on one of the designs; `chosen` as of `decide`."""
    return {
        gemm: products[place].ways[choice[design]]
        for place, choice in chosen.items()
        for gemm in products[place].gemms
        if choice[design]
    }


def decide(
    products: Sequence[WayGroup], plan: Plan, design: Design, optimizer: Optimizer, units: Records, cycles_of: CyclesOf
) -> dict[int, Ints]:
    """Return by place of a product, and by design, which of its ways it takes; those that keep their own are left out.

    Args:
        products: as of `alternatives`.
        plan: says where copies are generated.
        design: one of the designs, which store elements alike.
        optimizer: what the updates do.
        units: the designs, as of `accelsim.cost.charges.unit_table`.
        cycles_of: what the products take.
    """
    updates = update_of_copies(plan.step)
    chosen: dict[int, Ints] = {}
    together: dict[int, list[tuple[int, Floats]]] = {}
    for place, item in enumerate(products):
        cycles = _of_ways(item, cycles_of, alone=(alone := decided_alone(item, plan)))
        if not np.isfinite(cycles[1:]).any():
            continue
        if not alone:
            together.setdefault(updates[item.copy], []).append((place, cycles))
        else:
            chosen[place] = np.argmin(cycles, axis=0)
    for update, readers in together.items():
        chosen |= _with_update(update, readers, products, plan, design, optimizer, units)
    return chosen


def decided_alone(item: WayGroup, plan: Plan) -> bool:
    """Say whether no copy made behind an update depends on the way of a product, so that its fastest is taken."""
    return item.copy not in plan.ahead


def _of_ways(item: WayGroup, cycles_of: CyclesOf, *, alone: bool) -> Floats:
    """Cycles by way and design: of a way other than the first where they are less than those of the first, and where it
    is decided alone than those of all ways behind it."""
    limit = cycles_of(item, item.ways[0], None)
    found = np.full((len(item.ways), len(limit)), np.inf)
    found[0] = limit
    for at in reversed(range(1, len(item.ways))):
        cycles = cycles_of(item, item.ways[at], limit)
        faster = cycles < limit
        found[at, faster] = cycles[faster]
        if alone:
            limit = np.minimum(limit, cycles)
    return found


def update_of_copies(step: Step) -> dict[int | None, int]:
    """Return the update in whose stream each copy can be generated."""
    updates = (index for index, task in enumerate(step.tasks) if isinstance(task, Update))
    return {copy: update for update in updates for copy in copies_of(step, update)}


def _with_update(
    update: int,
    readers: Sequence[tuple[int, Floats]],
    products: Sequence[WayGroup],
    plan: Plan,
    design: Design,
    optimizer: Optimizer,
    units: Records,
) -> dict[int, Ints]:
    """Decide the products that read copies made behind an update: every combination of their ways with its stream."""
    usable = [np.flatnonzero(np.isfinite(cycles).any(axis=1)).tolist() for _, cycles in readers]
    ways = list(combinations_of(*({0, *own} for own in usable)))
    taken = [sum(cycles[way] for way, (_, cycles) in zip(own, readers, strict=True)) for own in ways]
    modes = [
        {products[place].copy: products[place].ways[way].pattern for way, (place, _) in zip(own, readers, strict=True)}
        for own in ways
    ]
    total = np.array(taken) + _stream_cycles(update, modes, plan, design, optimizer, units)
    best = np.argmin(total, axis=0)
    return {place: np.array(ways)[best, at] for at, (place, _) in enumerate(readers)}


def _stream_cycles(
    update: int,
    modes: Sequence[Mapping[int | None, Pattern | None]],
    plan: Plan,
    design: Design,
    optimizer: Optimizer,
    units: Records,
) -> Ints:
    """Cycles of an update with its copies, by the modes in which these are stored, and by design."""
    task, behind = plan.step.tasks[update], plan.copies_behind(update)
    assert isinstance(task, Update), "copies follow updates"
    rows, own = 1 + len(behind), update_numbers(task, optimizer, dense=plan.reads_dense(update))
    updates, copies = list[tuple[float, ...]](), list[tuple[float, ...]]()
    for place, stored in enumerate(modes):
        updates.append((place * rows, *own, len(copies), len(behind)))
        for at, index in enumerate(behind, 1):
            copy = plan.step.tasks[index]
            assert isinstance(copy, Generation), "only generations follow an update"
            copy = replace(copy, mode=stored.get(index, copy.mode))
            copies.append((place * rows + at, *copy_numbers(copy, design)))
    stream = UnitRows(np.array(updates, UPDATES), np.array(copies, COPIES), np.array([], VECTORS))
    serial = charge_units(stream, len(modes) * rows, units).serial
    found: Ints = serial.reshape(len(modes), rows, len(units)).sum(axis=1)
    return found


_what_counts = attrgetter(
    "m", "n", "k", "count", "stage", "product", "x_elements", "w_elements", "w_operand", "mask", "channels"
)
"""Of GEMMs that are equal in this, every way costs the same."""


class OnOneDesign:
    """What products take on one design."""

    def __init__(self, plan: Plan, design: Design, searcher: Searcher) -> None:
        self._tasks, self._online = plan.step.tasks, plan.online
        self._design, self._searcher, self._units = design, searcher, unit_numbers(design)
        self._known: dict[Hashable, tuple[float, float]] = {}

    def cycles(self, item: WayGroup, way: Way, limit: Floats | None) -> Floats:
        """See `CyclesOf`."""
        key = way, *((_what_counts(self._tasks[index]), index in self._online) for index in item.gemms)
        most = np.inf if limit is None else float(limit[0])
        known, found = self._known.get(key, (0.0, np.inf))
        if found == np.inf and known < most:
            found = self._total(item, way, most)
            self._known[key] = most, found
        return np.array([found])

    def _total(self, item: WayGroup, way: Way, limit: float) -> float:
        total = 0.0
        for index in item.gemms:
            total += self._cycles(index, way, limit - total)
            if total >= limit:
                return np.inf
        return total

    def _cycles(self, index: int, way: Way, limit: float) -> float:
        task = self._tasks[index]
        assert isinstance(task, Gemm), "products are GEMMs"
        if not way.on_vector and least_macs(task, way) >= limit * self._design.peak_macs_per_cycle:
            return np.inf
        gemm = in_way(task, way)
        if way.on_vector:
            return float(vector_cycles(vector_gemm_numbers(gemm, self._design), self._units))
        numbers = gemm_numbers(gemm, self._design, online=index in self._online)
        return self._searcher.within(gemm, numbers, limit)
