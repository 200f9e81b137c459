"""Energy of a task: counted events times the energy table, plus static power over its time."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import reduce
from operator import add, attrgetter
from typing import TYPE_CHECKING, Any, Literal

from accelsim.base.units import PICO
from accelsim.hardware.energy_table import EnergyTable

if TYPE_CHECKING:
    from accelsim.engines.timing import TaskTiming  # compiled kernels, which readers of results do not need

__all__ = ["COMPONENTS", "Energy", "add_up", "energy_at", "energy_of", "total_energy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Joules by component."""

    mac_j: float = 0.0
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
        dynamic = self.mac_j + self.register_j + self.buffer_j + self.sore_j + self.wuve_j + self.vector_j
        return dynamic + self.dram_j + self.static_j


COMPONENTS = tuple(item.name for item in fields(Energy))


def energy_of(row: "TaskTiming", table: EnergyTable, clock_hz: float) -> Energy:
    """Return the energy of one task: event counts times picojoules per event, static power times its latency."""
    events = row.events
    return Energy(
        mac_j=events.macs * table.pj_per_mac * PICO,
        register_j=events.register_words * table.pj_per_register_word * PICO,
        buffer_j=events.buffer_bytes * table.pj_per_buffer_byte * PICO,
        sore_j=events.sore_elements * table.pj_per_sore_element * PICO,
        wuve_j=events.wuve_weights * table.pj_per_wuve_weight * PICO,
        vector_j=events.vector_elements * table.pj_per_vector_element * PICO,
        dram_j=events.dram_bytes * table.pj_per_dram_byte * PICO,
        static_j=table.static_w * row.cycles / clock_hz,
    )


_ENTRIES = {
    "mac_j": "pj_per_mac",
    "register_j": "pj_per_register_word",
    "buffer_j": "pj_per_buffer_byte",
    "sore_j": "pj_per_sore_element",
    "wuve_j": "pj_per_wuve_weight",
    "vector_j": "pj_per_vector_element",
    "dram_j": "pj_per_dram_byte",
    "static_j": "static_w",
}


def energy_at(energy: Energy, table: EnergyTable, end: Literal["low", "high"]) -> float:
    """Return the joules with every entry of `table`, which gave `energy`, at one end of its range.

    Components are linear in their entry; an entry without a range, and one of zero, stays.
    """
    ends = {origin.path: getattr(origin, end) for origin in table.provenance}
    parts = []
    for component, entry in _ENTRIES.items():
        joules, value, limit = getattr(energy, component), getattr(table, entry), ends.get(entry)
        parts.append(joules if limit is None or value == 0 else joules * limit / value)
    return float(add_up(parts))


def total_energy(parts: list[Energy]) -> Energy:
    """Sum component by component."""
    return Energy(**{name: add_up(map(attrgetter(name), parts)) for name in COMPONENTS})


def add_up(values: Iterable[Any]) -> Any:
    """Sum numbers, or arrays element by element, from the first to the last: `sum` does so for floats only before
    Python 3.12, and results are the same on all versions."""
    return reduce(add, values, 0.0)
