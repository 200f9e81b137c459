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

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import AccelsimError, InfeasibleError
from accelsim.base.files import Scalar
from accelsim.cost.charges import charge_units, slot_bits, unit_table, word_bits
from accelsim.cost.compiled import bandwidth_search
from accelsim.cost.compiled.values import mapping_table
from accelsim.cost.gemm import machine_numbers
from accelsim.engines.timing import check_laws
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.energy_prices import Prices, prices_of
from accelsim.hardware.energy_table import load_energy_table
from accelsim.hardware.sourced import override
from accelsim.lowering.builder import lower_case
from accelsim.lowering.case import Case
from accelsim.lowering.tasks import Stage, Step
from accelsim.results.energy import COMPONENTS, Energy, EventArrays, PriceArrays, add_rows, energy_of_many
from accelsim.results.performance import stage_result, step_result
from accelsim.schedule.capacity import capacity_bytes, check_capacity, memory_of_plan
from accelsim.schedule.forms import bordered
from accelsim.schedule.mapping import array_mappings, why_nothing_fits
from accelsim.schedule.offline import greedy_outline
from accelsim.sweep.families import (
    BESIDE_PRICES,
    BESIDE_SEARCH,
    BESIDE_STEP,
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

        That is so for other engines and schedulers, for messages between ranks, for a batch in parts, and where the
        design decides the form of a product.

        Reads and checks in the order of `simulate`, so that of several errors the same is found.
        """
        trace = self._once(("trace", point.workload), lambda: load_trace(point.workload))
        base = self._once(("design", point.design), lambda: load_design(point.design))
        design = override(base, dict(point.changes), origin="vary")
        case, schedule = point.case, design.schedule
        alone = case.engine != "closed" or schedule.scheduler != "greedy" or case.link_gb_per_s is not None
        alone = alone or case.accumulate > 1
        if alone or self._once(("bordered", point.workload), lambda: bordered(trace)):
            return None
        table = self._once(("energy", design.energy), lambda: load_energy_table(design.energy))

        own = values_besides(design, BESIDE_PRICES)
        prices = self._once(("prices", design.energy, own), lambda: prices_of(design, table))
        values = design.name, values_besides(design, BESIDE_STEP)

        def lowered(own: Case) -> Step:
            return self._once(("step", point.workload, own, values), lambda: lower_case(trace, design, own))

        def family() -> Family:
            return Family(lowered(case), lowered(case.dense), design, case.optimizer)

        found = self._once(("family", point.workload, case, values), family)

        def check(own: Case) -> None:
            """Refuse a step that needs more DRAM than there is; what it needs is the same in the whole family."""
            memory = self._once(
                ("memory", point.workload, own, values),
                lambda: memory_of_plan(greedy_outline(lowered(own), design), design, own),
            )
            key = "capacity", point.workload, own, values, design.label, design.dram.capacity_gb
            if memory.total > capacity_bytes(design):
                self._once(key, lambda: check_capacity(memory, design, own, trace.model, lower_other))

        def lower_other(other: Case) -> Step:
            return lower_case(trace, design, other)

        check(case)
        dense_error: InfeasibleError | None = None
        try:
            check(case.dense)
        except InfeasibleError as error:
            dense_error = error
        return found, _Member(design, prices, dense_error)

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
        found = _search(family, [member.design for member in members])
        self.evaluated += int(found.seen["evaluated"].sum())
        self.pruned += int(found.seen["pruned"].sum())
        fits = np.all(found.costs["cycles"] >= 0, axis=0)
        fits &= np.array([member.dense_error is None for member in members])
        usable = [member for member, fit in zip(members, fits, strict=True) if fit]
        rows = iter(_rows(family, usable, found.of(fits)) if usable else ())
        return [next(rows) if fit else failed(_infeasible(family, found, p, members[p])) for p, fit in enumerate(fits)]


@dataclass(frozen=True, slots=True)
class _Member:
    """A point of a family; `dense_error`: why the dense step does not fit the DRAM, if it does not."""

    design: Design
    prices: Prices
    dense_error: InfeasibleError | None


@dataclass(frozen=True, slots=True)
class _Found:
    """The best mappings of a family's GEMMs, by GEMM and design, as `bandwidth_search.search_step` has them."""

    costs: Records
    seen: Records

    def of(self, designs: NDArray[np.bool_]) -> "_Found":
        """Return what was found for some of the designs."""
        return _Found(self.costs[:, designs], self.seen[designs])


def _search(family: Family, designs: Sequence[Design]) -> _Found:
    """Search designs of the same array and buffers together, at their bandwidths."""
    alike: dict[Hashable, list[int]] = {}
    for p, design in enumerate(designs):
        alike.setdefault(values_besides(design, BESIDE_SEARCH), []).append(p)
    found = _nothing_found(len(family.numbers), len(designs))
    for members in alike.values():
        design = designs[members[0]]
        machine = machine_numbers(design)
        bandwidths, places = np.unique([designs[p].dram_bytes_per_cycle for p in members], return_inverse=True)
        part = _nothing_found(len(family.numbers), len(bandwidths))
        bandwidth_search.search_step(
            family.numbers,
            machine,
            bandwidths,
            mapping_table(array_mappings(design, sparse=False)),
            mapping_table(array_mappings(design, sparse=True)),
            part.costs,
            part.seen,
        )
        found.costs[:, members], found.seen[members] = part.costs[:, places], part.seen[places]
    return found


def _nothing_found(gemms: int, designs: int) -> _Found:
    costs, seen = np.zeros((gemms, designs), bandwidth_search.BEST), np.zeros(designs, bandwidth_search.SEEN)
    return _Found(costs, seen)


def _infeasible(family: Family, found: _Found, p: int, member: _Member) -> InfeasibleError:
    """Return the first error of the step, then of the dense one: of its DRAM, then of its GEMMs as they are planned."""
    design, misfits = member.design, found.costs["cycles"][:, p] < 0
    if member.dense_error is not None and not misfits[: family.own_gemms].any():
        return member.dense_error
    place = int(np.argmax(misfits))
    numbers, gemm = list(family.gemms.items())[place]
    mappings = array_mappings(design, sparse=gemm.pattern is not None)
    return InfeasibleError(why_nothing_fits(gemm, numbers, machine_numbers(design), mappings))


def _rows(family: Family, members: Sequence[_Member], found: _Found) -> list[Row | None]:
    """Return the rows of members for which every GEMM has a mapping; None where counts may not fit 64 bits."""
    designs, layout = [member.design for member in members], family.step.layout
    units, lanes = unit_table(designs), _Lanes.of(family, designs)
    cycles, events = _costs(family, family.step, units, lanes, found)
    dense = cycles if family.dense is family.step else _costs(family, family.dense, units, lanes, found)[0]
    prices = PriceArrays._make(np.array([member.prices for member in members], np.float64).T)
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
    in_update = sum(own.macs for own in layout.gemms if layout.rows[own.row].stage is Stage.UPDATE)
    small = _counts_fit(family, lanes.macs_per_pe, found, cycles, dense)
    if small.all():
        _check(family.step, designs, found, cycles, events)
    result: list[Row | None] = []
    for p, (own, total_energy) in enumerate(zip(totals, energies, strict=True)):
        if not small[p]:
            result.append(None)
            continue
        design, energy = designs[p], Energy(**dict(zip(COMPONENTS, total_energy, strict=True)))
        stages = {name: stage_result(*values[p], clock_hz=design.clock_hz) for name, values in by_stage.items()}
        step = step_result(
            design, stages, energy, batch=family.batch, cycles=own[0], dense_cycles=own[1],
            dense_macs=family.dense_macs, executed_macs=executed,
            update_macs=in_update, dram_bytes=own[2],
        )  # fmt: skip
        result.append({"status": "ok", **flat_metrics(step, energy, stages)})
    return result


def _down(values: Floats) -> list[float]:
    """Add up the rows of an array, in their order, for each design."""
    totals: list[float] = add_rows(values).tolist()
    return totals


@dataclass(frozen=True, slots=True)
class _Lanes:
    """What an op of a PE takes: multiply-accumulates by design, bits of registers by GEMM and design."""

    macs_per_pe: Ints
    slot_bits: Floats

    @classmethod
    def of(cls, family: Family, designs: Sequence[Design]) -> "_Lanes":
        """Return those of the GEMMs of a family, whose designs have the same widths."""
        widths = word_bits(designs[0])
        lanes = np.array([design.array.macs_per_pe for design in designs], np.int64)
        kept, group = family.numbers["kept"], family.numbers["group"]
        bits = np.zeros((len(kept), len(lanes)))
        for n, m in dict.fromkeys(zip(kept.tolist(), group.tolist(), strict=True)):
            alike = np.nonzero((kept == n) & (group == m))[0]
            for count in np.unique(lanes).tolist():
                bits[np.ix_(alike, lanes == count)] = slot_bits(n, m, count, widths)
        return cls(lanes, bits)


def _costs(family: Family, step: StepArrays, units: Records, lanes: _Lanes, found: _Found) -> tuple[Ints, EventArrays]:
    """Return the cycles of a step by row and design, and its events; `units` and `lanes` are by design."""
    charges = charge_units(step.layout.units, len(step.layout.rows), units)
    cycles, moved = charges.serial, charges.dram_bytes
    macs, selections, bits, buffered = (np.zeros(cycles.shape) for _ in range(4))
    rows, places = step.gemms["row"], step.gemms["place"]
    costs = found.costs[places]
    cycles[rows], moved[rows], buffered[rows] = costs["cycles"], costs["dram_bytes"], costs["buffer_bytes"]
    macs[rows] = costs["op_slots"] * lanes.macs_per_pe
    selections[rows] = macs[rows] * (family.numbers["kept"][places] > 0)[:, None]
    bits[rows] = costs["op_slots"] * lanes.slot_bits[places]
    sore = np.repeat(step.sore_elements[:, None].astype(np.float64), len(units), axis=1)
    rows, places = step.online["row"], step.online["place"]
    fetches = found.costs["fetches"][places]
    cycles[rows] = fetches * family.numbers["fetch_cycles"][places, None]
    sore[rows] = fetches * step.sore_elements[rows, None]
    return cycles, EventArrays(
        macs=macs,
        selections=selections,
        register_bits=bits,
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


def _counts_fit(family: Family, macs_per_pe: Ints, found: _Found, cycles: Ints, dense: Ints) -> NDArray[np.bool_]:
    """Say for each design whether no count of its tasks can exceed 64 bits; the largest are checked as floats."""
    macs = 1.0 * found.costs["op_slots"] * macs_per_pe
    fits: NDArray[np.bool_] = np.all(macs < _LARGEST_COUNT, axis=0)
    for total in (cycles, dense):
        fits &= total.sum(axis=0, dtype=np.float64) < _LARGEST_COUNT
    rows, places = family.step.online["row"], family.step.online["place"]
    fetches = found.costs["fetches"][places].astype(np.float64)
    for factors in (family.step.sore_elements[rows], family.numbers["fetch_cycles"][places]):
        fits &= np.all(fetches * factors[:, None] < _LARGEST_COUNT, axis=0)
    return fits
