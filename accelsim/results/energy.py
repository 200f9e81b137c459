"""Energy of a task, or of arrays of many: counted events times what each costs on the design, plus static power over
the time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import reduce
from operator import add, attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from accelsim.base.units import PICO
from accelsim.hardware.design import Design
from accelsim.hardware.energy_prices import Prices, prices_of
from accelsim.hardware.energy_table import EnergyTable
from accelsim.hardware.sourced import at_end

if TYPE_CHECKING:
    from accelsim.engines.timing import TaskTiming  # compiled kernels, which readers of results do not need

__all__ = [
    "COMPONENTS",
    "Energy",
    "EnergyArrays",
    "EventArrays",
    "PriceArrays",
    "add_rows",
    "add_up",
    "energy_at",
    "energy_of",
    "energy_of_many",
    "total_energy",
]

Floats = NDArray[np.float64]
Amount = TypeVar("Amount", float, Floats)
Read_co = TypeVar("Read_co", float, Floats, covariant=True)
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Joules by component."""

    mac_j: float = 0.0
    select_j: float = 0.0
    register_j: float = 0.0
    buffer_j: float = 0.0
    sore_j: float = 0.0
    wuve_j: float = 0.0
    vector_j: float = 0.0
    dram_j: float = 0.0
    static_j: float = 0.0

    @property
    def total_j(self) -> float:
        """Sum of the components."""
        total: float = _total(_components_of(self))
        return total


COMPONENTS = tuple(item.name for item in fields(Energy))
_components_of = attrgetter(*COMPONENTS)


class EnergyArrays(NamedTuple):
    """Joules by component, as `Energy` has them: arrays by row and design."""

    mac_j: Floats
    select_j: Floats
    register_j: Floats
    buffer_j: Floats
    sore_j: Floats
    wuve_j: Floats
    vector_j: Floats
    dram_j: Floats
    static_j: Floats

    @property
    def total_j(self) -> Floats:
        """Sum of the components."""
        return _total(self)


def _total(components: Iterable[Amount]) -> Amount:
    return reduce(add, components)


class _Counts(Protocol[Read_co]):
    """Events, by the names that `accelsim.cost.charges.Events` has for them."""

    @property
    def macs(self) -> Read_co: ...
    @property
    def selections(self) -> Read_co: ...
    @property
    def register_bits(self) -> Read_co: ...
    @property
    def buffer_bytes(self) -> Read_co: ...
    @property
    def sore_elements(self) -> Read_co: ...
    @property
    def wuve_weights(self) -> Read_co: ...
    @property
    def vector_elements(self) -> Read_co: ...
    @property
    def dram_bytes(self) -> Read_co: ...


class _Prices(Protocol[Read_co]):
    """Entries of `accelsim.hardware.energy_prices.Prices`."""

    @property
    def pj_per_mac(self) -> Read_co: ...
    @property
    def pj_per_selection(self) -> Read_co: ...
    @property
    def pj_per_register_bit(self) -> Read_co: ...
    @property
    def pj_per_buffer_byte(self) -> Read_co: ...
    @property
    def pj_per_sore_element(self) -> Read_co: ...
    @property
    def pj_per_wuve_weight(self) -> Read_co: ...
    @property
    def pj_per_vector_element(self) -> Read_co: ...
    @property
    def pj_per_dram_byte(self) -> Read_co: ...
    @property
    def idle_pj_per_cycle(self) -> Read_co: ...
    @property
    def base_w(self) -> Read_co: ...


class EventArrays(NamedTuple):
    """Events, arrays by row and design (or by row alone, of one column)."""

    macs: Floats
    selections: Floats
    register_bits: Floats
    buffer_bytes: Floats
    sore_elements: Floats
    wuve_weights: Floats
    vector_elements: Floats
    dram_bytes: Floats


class PriceArrays(NamedTuple):
    """Prices on many designs, as `accelsim.hardware.energy_prices.Prices` has them."""

    pj_per_mac: Floats
    pj_per_selection: Floats
    pj_per_register_bit: Floats
    pj_per_buffer_byte: Floats
    pj_per_sore_element: Floats
    pj_per_wuve_weight: Floats
    pj_per_vector_element: Floats
    pj_per_dram_byte: Floats
    idle_pj_per_cycle: Floats
    base_w: Floats


def energy_of(row: "TaskTiming", prices: Prices, clock_hz: float) -> Energy:
    """Return the energy of one task: event counts times their prices, static power times its latency."""
    return _spent(Energy, row.events, row.cycles, prices, clock_hz)


def energy_of_many(events: EventArrays, cycles: Floats, prices: PriceArrays, clock_hz: Floats) -> EnergyArrays:
    """Return the energy of tasks on designs, each as `energy_of` has it; `prices` and `clock_hz` are by design."""
    return _spent(EnergyArrays, events, cycles, prices, clock_hz)


def _spent(
    make: Callable[..., Made], events: _Counts[Amount], cycles: Amount, prices: _Prices[Amount], clock_hz: Amount
) -> Made:
    return make(
        mac_j=events.macs * prices.pj_per_mac * PICO,
        select_j=events.selections * prices.pj_per_selection * PICO,
        register_j=events.register_bits * prices.pj_per_register_bit * PICO,
        buffer_j=events.buffer_bytes * prices.pj_per_buffer_byte * PICO,
        sore_j=events.sore_elements * prices.pj_per_sore_element * PICO,
        wuve_j=events.wuve_weights * prices.pj_per_wuve_weight * PICO,
        vector_j=events.vector_elements * prices.pj_per_vector_element * PICO,
        dram_j=events.dram_bytes * prices.pj_per_dram_byte * PICO,
        static_j=(prices.base_w / clock_hz + prices.idle_pj_per_cycle * PICO) * cycles,
    )


_EVENTS = {
    "mac_j": "pj_per_mac",
    "select_j": "pj_per_selection",
    "register_j": "pj_per_register_bit",
    "buffer_j": "pj_per_buffer_byte",
    "sore_j": "pj_per_sore_element",
    "wuve_j": "pj_per_wuve_weight",
    "vector_j": "pj_per_vector_element",
    "dram_j": "pj_per_dram_byte",
}


def energy_at(energy: Energy, design: Design, table: EnergyTable, end: Literal["low", "high"]) -> float:
    """Return the joules with every entry of `table`, which gave `energy` on `design`, at one end of its range.

    An entry without a range stays; so do the amounts of resources that the estimate has.
    """
    prices, moved = prices_of(design, table), prices_of(design, at_end(table, end))
    pairs = {name: (getattr(prices, price), getattr(moved, price)) for name, price in _EVENTS.items()}
    pairs["static_j"] = prices.static_w(design.clock_hz), moved.static_w(design.clock_hz)
    joules = {name: getattr(energy, name) for name in pairs}
    return add_up(joules[name] * (limit / value if value else 1.0) for name, (value, limit) in pairs.items())


def total_energy(parts: list[Energy]) -> Energy:
    """Sum component by component."""
    return Energy(**{name: add_up(map(attrgetter(name), parts)) for name in COMPONENTS})


def add_up(values: Iterable[float]) -> float:
    """Sum numbers from the first to the last: `sum` does so for floats only before Python 3.12, and results are the
    same on all versions."""
    return reduce(add, values, 0.0)


def add_rows(values: Floats) -> Floats:
    """Sum the rows of an array as `add_up` sums numbers."""
    return reduce(add, values, np.zeros(values.shape[1:]))
