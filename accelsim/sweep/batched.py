"""Many points of a sweep at once, each exactly as `simulate` has it.

Points are sorted into families (`accelsim.sweep.families`) that share all that Python does task by task: the lowered
steps (workload, method, pattern, batch, the modes of the design) and the bytes per element of their GEMMs (precision,
metadata, SORE). Within a family, points that share the array and its buffers are searched together at all their
bandwidths; GEMMs that are equal, within the step or between it and the dense one that its speedup is over, are searched
once. What the events of tasks cost is then computed for all points of a family together, by the functions that
`simulate` calls for one.

The search covers the space of `simulate`. It leaves out only candidates that a bound excludes; the bounds and why they
are safe stand at `search` and `search_bandwidths` in `accelsim.cost.compiled`.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import AccelsimError, InfeasibleError
from accelsim.base.files import Scalar
from accelsim.cost.charges import UnitRows, charge_units, issued, unit_table
from accelsim.cost.compiled import bandwidth_search
from accelsim.cost.compiled.unit_pace import COPIES, UPDATES
from accelsim.cost.compiled.values import mapping_table
from accelsim.cost.gemm import machine_numbers
from accelsim.engines.timing import check_laws
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.energy_table import EnergyTable, load_energy_table
from accelsim.hardware.sourced import override
from accelsim.lowering.builder import lower_case
from accelsim.lowering.case import Case
from accelsim.lowering.tasks import Stage, Step, Way
from accelsim.lowering.ways import WayGroup
from accelsim.results.energy import COMPONENTS, Energy, EventArrays, PriceArrays, add_rows, energy_of_many
from accelsim.results.performance import stage_result, step_result
from accelsim.schedule.fastest_ways import CyclesOf, decided_alone, ways_at
from accelsim.schedule.forms import bordered
from accelsim.schedule.mapping import array_mappings, why_nothing_fits
from accelsim.sweep.families import (
    BESIDE_SEARCH,
    BESIDE_STEP,
    Choices,
    Family,
    Floats,
    Ints,
    Records,
    StepArrays,
    values_besides,
)
from accelsim.sweep.point import Point, evaluate_one, failed, flat_metrics
from accelsim.workload.trace import load_trace

__all__ = ["BatchEvaluator", "evaluate_points"]

Row = dict[str, Scalar]
Value = TypeVar("Value")

_AT_ONCE = 512
"""Points whose tasks are in memory together."""

_MOST_KNOWN = 512
"""Files, lowered steps and families that are remembered from one batch to the next."""

_LARGEST_COUNT = 2.0**62
"""From here on counts might not fit 64 bits, as they do in Python; such points are simulated one by one."""


def evaluate_points(points: Sequence[Point]) -> list[Row]:
    """Return for each point what `evaluate_one` returns, value for value."""
    return BatchEvaluator().evaluate(points)


class BatchEvaluator:
    """Evaluates points batch by batch, and remembers files, lowered steps and families from one batch to the next.

    `evaluated` and `pruned` count mappings whose cost was computed and those that a bound excluded singly, over the
    distinct GEMMs of each point; they leave out points that are simulated one by one: those of another engine or
    scheduler.
    """

    def __init__(self) -> None:
        self.evaluated = 0
        self.pruned = 0
        self._known: dict[Hashable, Any] = {}

    def evaluate(self, points: Sequence[Point]) -> list[Row]:
        """Return for each point what `evaluate_one` returns, value for value."""
        return [
            row for start in range(0, len(points), _AT_ONCE) for row in self._slice(points[start : start + _AT_ONCE])
        ]

    def _slice(self, points: Sequence[Point]) -> list[Row]:
        """Evaluate points that are in memory together, family by family."""
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        rows: list[Row | None] = [None] * len(points)
        families: dict[Family, list[tuple[int, _Member]]] = {}
        for index, point in enumerate(points):
            try:
                prepared = self._prepared(point)
            except AccelsimError as error:
                rows[index] = failed(error)
                continue
            if prepared is not None:
                families.setdefault(prepared[0], []).append((index, prepared[1]))
        for family, members in families.items():
            together = self._together(family, [member for _, member in members])
            for (index, _), row in zip(members, together, strict=True):
                rows[index] = row
        return [evaluate_one(point) if row is None else row for point, row in zip(points, rows, strict=True)]

    def _prepared(self, point: Point) -> "tuple[Family, _Member] | None":
        """Return the family of a point with what is its own; None where it is simulated by itself.

        That is so for other engines and schedulers, for messages between ranks, and where the design decides the form
        of a product.

        Reads and checks in the order of `simulate`, so that of several errors the same is found.
        """
        trace = self._once(("trace", point.workload), lambda: load_trace(point.workload))
        base = self._once(("design", point.design), lambda: load_design(point.design))
        design = override(base, dict(point.changes), origin="vary")
        case, schedule = point.case, design.schedule
        alone = case.engine != "closed" or schedule.scheduler != "greedy" or case.link_gb_per_s is not None
        if alone or self._once(("bordered", point.workload), lambda: bordered(trace)):
            return None
        table = self._once(("energy", design.energy), lambda: load_energy_table(design.energy))

        values = design.name, values_besides(design, BESIDE_STEP)

        def lowered(own: Case) -> Step:
            return self._once(("step", point.workload, own, values), lambda: lower_case(trace, design, own))

        def family() -> Family:
            return Family(lowered(case), lowered(case.dense), design, case.optimizer)

        return self._once(("family", point.workload, case, values), family), _Member(design, table)

    def _once(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return what `make` returned, or raise what it raised, the first time."""
        if key not in self._known:
            try:
                self._known[key] = make()
            except AccelsimError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, AccelsimError):
            raise found
        value: Value = found
        return value

    def _together(self, family: Family, members: "Sequence[_Member]") -> list[Row | None]:
        """Return the rows of members of a family; None where it takes Python's integers to count."""
        designs = [member.design for member in members]
        found = _search(family, designs)
        self.evaluated += int(found.seen["evaluated"].sum())
        self.pruned += int(found.seen["pruned"].sum())
        rows: list[Row | None] = [None] * len(members)
        for steps, alike in _by_ways(family, designs, found):
            needed = _needed(steps)
            fits = np.all(found.costs["cycles"][np.ix_(np.array(needed), alike)] >= 0, axis=0)
            usable = alike[fits]
            own = iter(_rows(family, steps, [members[p] for p in usable], found.of(usable)) if len(usable) else ())
            for p, fit in zip(alike.tolist(), fits, strict=True):
                rows[p] = next(own) if fit else failed(_infeasible(family, found, p, designs[p], needed))
        return rows


@dataclass(frozen=True, slots=True)
class _Member:
    """A point of a family."""

    design: Design
    table: EnergyTable


@dataclass(frozen=True, slots=True)
class _Found:
    """The best mappings of a family's GEMMs, by GEMM and design, as `bandwidth_search.search_step` has them; those that
    products are in other ways only where that may be faster."""

    costs: Records
    seen: Records

    def of(self, designs: Ints) -> "_Found":
        """Return what was found for some of the designs."""
        return _Found(self.costs[:, designs], self.seen[designs])


def _search(family: Family, designs: Sequence[Design]) -> _Found:
    """Search designs of the same array and buffers together, at their bandwidths."""
    alike: dict[Hashable, list[int]] = {}
    for p, design in enumerate(designs):
        alike.setdefault(values_besides(design, BESIDE_SEARCH), []).append(p)
    found = _nothing_found(len(family.numbers), len(designs))
    for members in alike.values():
        bandwidths, places = np.unique([designs[p].dram_bytes_per_cycle for p in members], return_inverse=True)
        part = _search_bandwidths(family, designs[members[0]], bandwidths)
        found.costs[:, members], found.seen[members] = part.costs[:, places], part.seen[places]
    return found


def _search_bandwidths(family: Family, design: Design, bandwidths: Floats) -> _Found:
    """Search the GEMMs that were lowered, then those that products are in other ways, where these may be faster."""
    machine, numbers = machine_numbers(design), family.numbers
    dense, sparse = (mapping_table(array_mappings(design, sparse=sparse)) for sparse in (False, True))
    found = _nothing_found(len(numbers), len(bandwidths))
    own = slice(family.own)
    bandwidth_search.search_step(numbers[own], machine, bandwidths, dense, sparse, found.costs[own], found.seen)
    wanted = _limits_of_ways(family, design, bandwidths, found)
    if wanted:
        places, limits = list(wanted), np.array(list(wanted.values()))
        costs = found.costs[places]
        bandwidth_search.search_within(
            numbers[places], machine, bandwidths, dense, sparse, family.once_bytes[places], limits, costs, found.seen
        )
        found.costs[places] = costs
    return found


def _nothing_found(gemms: int, designs: int) -> _Found:
    costs, seen = np.zeros((gemms, designs), bandwidth_search.BEST), np.zeros(designs, bandwidth_search.SEEN)
    costs["cycles"] = -1
    return _Found(costs, seen)


def _limits_of_ways(family: Family, design: Design, bandwidths: Floats, found: _Found) -> dict[int, Floats]:
    """Return the GEMMs that products are in other ways and that were not searched, where these may be the fastest, each
    with the cycles that it must not exceed, by bandwidth."""
    wanted: dict[int, Floats] = {}
    known: dict[Hashable, Floats] = {}
    for choices in family.choices:
        for item in choices.products:
            key = tuple(choices.places[item, item.ways[0]]), decided_alone(item, choices.plan)
            if key not in known:
                known[key] = _to_beat(family, choices, item, found)
            for way in item.ways[1:]:
                places = choices.places.get((item, way), [])
                if not places or max(places) < family.own:
                    continue
                busy = choices.least_macs[item, way] / design.peak_macs_per_cycle
                least = np.maximum(busy, family.once_bytes[places].sum() / bandwidths) * (1 - 1e-12)
                if np.any(least + family.sore_cycles[places].sum() < known[key]):
                    for place in places:
                        wanted[place] = np.maximum(wanted.get(place, 0.0), np.nextafter(known[key], 0.0))
    return {place: limit for place, limit in wanted.items() if place >= family.own}


def _to_beat(family: Family, choices: Choices, item: WayGroup, found: _Found) -> Floats:
    """Cycles of a product that other ways have to stay below: its own, and where it is decided by itself those of the
    ways that were searched for the dense step."""
    limit = _cycles_at(family, choices.places[item, item.ways[0]], found)
    for way in item.ways[1:] if decided_alone(item, choices.plan) else ():
        places = choices.places.get((item, way), [])
        if places and max(places) < family.own:
            limit = np.minimum(limit, _cycles_at(family, places, found))
    return limit


def _cycles_at(family: Family, places: Sequence[int], found: _Found) -> Floats:
    """Cycles of the GEMMs at some places together, with the generation in front of them; infinite where one of them has
    no mapping."""
    costs = found.costs[list(places)]
    cycles = costs["cycles"] + costs["fetches"] * family.numbers["fetch_cycles"][list(places), None]
    total: Floats = np.where(costs["cycles"] < 0, np.inf, cycles).sum(axis=0)
    return total


def _by_ways(
    family: Family, designs: Sequence[Design], found: _Found
) -> Iterator[tuple[tuple[StepArrays, StepArrays], Ints]]:
    """Yield the step and the dense one with their products in the ways that are fastest, and the designs where they
    are."""
    units = unit_table(designs)

    def cycles_of(choices: Choices) -> CyclesOf:
        def cycles(item: WayGroup, way: Way, _: Floats | None) -> Floats:
            if not way.on_vector:
                return _cycles_at(family, choices.places[item, way], found)
            rows = choices.vector_rows(item)
            own = UnitRows(np.array([], UPDATES), np.array([], COPIES), rows)
            total: Floats = charge_units(own, len(rows), units).serial.sum(axis=0).astype(np.float64)
            return total

        return cycles

    chosen = {choices: choices.decide(units, cycles_of(choices)) for choices in family.choices}
    none = np.zeros(len(designs), np.int64)
    taken = np.array([none, *(own for each in chosen.values() for own in each.values())])
    _, first, group = np.unique(taken, axis=1, return_index=True, return_inverse=True)
    for number, example in enumerate(first.tolist()):
        ways = {choices: ways_at(example, choices.products, own) for choices, own in chosen.items()}
        step, dense = (family.arrays(choices, ways[choices]) for choices in (family.step, family.dense))
        yield (step, dense), np.flatnonzero(group.reshape(-1) == number)


def _needed(steps: tuple[StepArrays, StepArrays]) -> list[int]:
    """The distinct GEMMs of two steps in the order in which they are planned."""
    return list(dict.fromkeys(own.place for step in steps for own in step.layout.gemms))


def _infeasible(family: Family, found: _Found, p: int, design: Design, needed: Sequence[int]) -> InfeasibleError:
    """Return the error of the first GEMM that does not fit, in the order in which GEMMs are planned."""
    place = next(place for place in needed if found.costs["cycles"][place, p] < 0)
    numbers, gemm = list(family.gemms.items())[place]
    mappings = array_mappings(design, sparse=gemm.pattern is not None)
    return InfeasibleError(why_nothing_fits(gemm, numbers, machine_numbers(design), mappings))


def _rows(
    family: Family, steps: tuple[StepArrays, StepArrays], members: Sequence[_Member], found: _Found
) -> list[Row | None]:
    """Return the rows of members for which every GEMM has a mapping; None where counts may not fit 64 bits."""
    own_step, dense_step = steps
    designs, layout = [member.design for member in members], own_step.layout
    units, macs_per_pe = unit_table(designs), np.array([design.array.macs_per_pe for design in designs], np.int64)
    cycles, events = _costs(family, own_step, units, macs_per_pe, found)
    dense = cycles if dense_step is own_step else _costs(family, dense_step, units, macs_per_pe, found)[0]
    entries = [[getattr(member.table, name) for member in members] for name in PriceArrays._fields]
    prices = PriceArrays._make(np.array(entries, np.float64))
    clocks_hz = np.array([design.clock_hz for design in designs], np.float64)
    joules = energy_of_many(events, cycles.astype(np.float64), prices, clocks_hz)
    spent = joules.total_j
    by_stage = {}
    for stage in Stage:
        rows = [row for row, own in enumerate(layout.rows) if own.stage is stage]
        parts = cycles[rows].sum(axis=0).tolist(), _down(events.dram_bytes[rows]), _down(spent[rows])
        by_stage[stage.value] = list(zip(*parts, strict=True))
    energies = zip(*(_down(getattr(joules, name)) for name in COMPONENTS), strict=True)
    totals = zip(cycles.sum(axis=0).tolist(), dense.sum(axis=0).tolist(), _down(events.dram_bytes), strict=True)
    executed = sum(own.macs for own in layout.gemms)
    on_vector = sum(own.macs for own in layout.on_vector)
    in_update = sum(own.macs for own in layout.gemms if layout.rows[own.row].stage is Stage.UPDATE)
    small = _counts_fit(family, own_step, macs_per_pe, found, cycles, dense)
    if small.all():
        _check(own_step, designs, found, cycles, events)
    result: list[Row | None] = []
    for p, (own, total_energy) in enumerate(zip(totals, energies, strict=True)):
        if not small[p]:
            result.append(None)
            continue
        design, energy = designs[p], Energy(**dict(zip(COMPONENTS, total_energy, strict=True)))
        stages = {name: stage_result(*values[p], clock_hz=design.clock_hz) for name, values in by_stage.items()}
        step = step_result(
            design, stages, energy, batch=family.batch, cycles=own[0], dense_cycles=own[1],
            dense_macs=family.dense_macs, executed_macs=executed + on_vector,
            other_macs=in_update + on_vector, dram_bytes=own[2],
        )  # fmt: skip
        result.append({"status": "ok", **flat_metrics(step, energy, stages)})
    return result


def _down(values: Floats) -> list[float]:
    """Add up the rows of an array, in their order, for each design."""
    totals: list[float] = add_rows(values).tolist()
    return totals


def _costs(
    family: Family, step: StepArrays, units: Records, macs_per_pe: Ints, found: _Found
) -> tuple[Ints, EventArrays]:
    """Return the cycles of a step by row and design, and its events; `units` and `macs_per_pe` are by design."""
    charges = charge_units(step.layout.units, len(step.layout.rows), units)
    cycles, moved = charges.serial, charges.dram_bytes
    macs, words, buffered = (np.zeros(cycles.shape) for _ in range(3))
    rows, costs = step.gemms["row"], found.costs[step.gemms["place"]]
    cycles[rows], moved[rows], buffered[rows] = costs["cycles"], costs["dram_bytes"], costs["buffer_bytes"]
    macs[rows], words[rows] = issued(costs["op_slots"], macs_per_pe)
    sore = np.repeat(step.sore_elements[:, None].astype(np.float64), len(units), axis=1)
    rows, places = step.online["row"], step.online["place"]
    fetches = found.costs["fetches"][places]
    cycles[rows] = fetches * family.numbers["fetch_cycles"][places, None]
    sore[rows] = fetches * step.sore_elements[rows, None]
    return cycles, EventArrays(
        macs=macs,
        register_words=words,
        buffer_bytes=buffered,
        sore_elements=sore,
        wuve_weights=step.wuve_weights[:, None].astype(np.float64),
        vector_elements=step.vector_elements[:, None].astype(np.float64),
        dram_bytes=moved,
    )


def _check(step: StepArrays, designs: Sequence[Design], found: _Found, cycles: Ints, events: EventArrays) -> None:
    """Check the conservation laws, as `simulate` does."""
    array_cycles, executed = np.zeros(cycles.shape), np.zeros((len(cycles), 1))
    rows = step.gemms["row"]
    array_cycles[rows] = found.costs["array_cycles"][step.gemms["place"]]
    executed[rows, 0] = step.gemms["macs"]
    check_laws(
        [row.name for row in step.layout.rows],
        cycles=cycles.astype(np.float64),
        array_cycles=array_cycles,
        executed=executed,
        issued=events.macs,
        moved=events.dram_bytes,
        hidden=np.array([[row.stage is Stage.GENERATE] for row in step.layout.rows]),
        peak=np.array([float(design.peak_macs_per_cycle) for design in designs]),
        per_cycle=np.array([design.dram_bytes_per_cycle for design in designs]),
    )


def _counts_fit(
    family: Family, step: StepArrays, macs_per_pe: Ints, found: _Found, cycles: Ints, dense: Ints
) -> NDArray[np.bool_]:
    """Say for each design whether no count of its tasks can exceed 64 bits; the largest are checked as floats."""
    words = 3.0 * found.costs["op_slots"] * macs_per_pe
    fits: NDArray[np.bool_] = np.all(words < _LARGEST_COUNT, axis=0)
    for total in (cycles, dense):
        fits &= total.sum(axis=0, dtype=np.float64) < _LARGEST_COUNT
    rows, places = step.online["row"], step.online["place"]
    fetches = found.costs["fetches"][places].astype(np.float64)
    for factors in (step.sore_elements[rows], family.numbers["fetch_cycles"][places]):
        fits &= np.all(fetches * factors[:, None] < _LARGEST_COUNT, axis=0)
    return fits
