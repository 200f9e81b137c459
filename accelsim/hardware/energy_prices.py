"""What events cost on a design: the parts that work in each, by the estimate of its resources or its operators.

- A multiply-accumulate takes its share of a PE: V multipliers and V - 1 adders at operand precision, one adder at
  accumulator precision. On an FPGA that is the DSPs and LUTs of these, and the LUTs of conversion, partial sums and
  control. The adders at the edge of the array are taken to work whenever it does.
- A selection takes the multiplexer in front of a multiplier, as wide as the widest group of the design's patterns.
- An element takes a lane of SORE, with all entries of its sorter; a weight updated a lane of WUVE, an element of vector
  work a lane of the vector unit. A multiply-accumulate on the vector unit is one such element.
- What is in use takes power in each cycle, whether it works or not, on top of what board and device take themselves.

Widths decide which operators these are (`accelsim.hardware.resources.operator_width`). What memory controllers and DMA
engines take when they work is in the price of a byte of DRAM.
"""

from typing import NamedTuple

from accelsim.base.units import MEBI, PICO
from accelsim.hardware.design import Design
from accelsim.hardware.energy_table import EnergyTable, Fabric, OperatorEnergies
from accelsim.hardware.resources import (
    Arithmetic,
    FpgaCosts,
    ResourceUse,
    UnitUse,
    estimate_resources,
    operator_width,
    operators_of,
    shipped_fpga_costs,
    widest_patterns,
)

__all__ = ["Prices", "prices_of"]


class Prices(NamedTuple):
    """Picojoules per event on a design and per cycle of all that is in use; watts that are there anyway."""

    pj_per_mac: float
    pj_per_selection: float
    pj_per_register_bit: float
    pj_per_buffer_byte: float
    pj_per_sore_element: float
    pj_per_wuve_weight: float
    pj_per_vector_element: float
    pj_per_dram_byte: float
    idle_pj_per_cycle: float
    base_w: float

    def static_w(self, clock_hz: float) -> float:
        """Power whatever happens."""
        return self.base_w + self.idle_pj_per_cycle * PICO * clock_hz


def prices_of(design: Design, table: EnergyTable, costs: FpgaCosts | None = None) -> Prices:
    """Return what events cost on `design` by `table`; `costs` are the shipped ones unless given."""
    costs = shipped_fpga_costs() if costs is None else costs
    priced = _on_fabric(design, table.fabric, costs) if table.is_fpga else _on_asic(design, table.operators, costs)
    macs = design.array.rows * design.array.cols * design.array.macs_per_pe
    return Prices(
        pj_per_mac=priced.array / macs,
        pj_per_selection=priced.selection / macs,
        pj_per_register_bit=table.pj_per_register_bit,
        pj_per_buffer_byte=table.pj_per_buffer_byte,
        pj_per_sore_element=priced.sore / design.sore.lanes,
        pj_per_wuve_weight=priced.wuve / design.wuve.lanes,
        pj_per_vector_element=priced.vector / design.vector.lanes,
        pj_per_dram_byte=table.pj_per_dram_byte,
        idle_pj_per_cycle=priced.idle,
        base_w=table.base_w + priced.leakage_w,
    )


class _Units(NamedTuple):
    """Picojoules of whole units that work for a cycle, and of everything that idles for one; leakage beside that."""

    array: float
    selection: float
    sore: float
    wuve: float
    vector: float
    idle: float
    leakage_w: float = 0.0


def _on_fabric(design: Design, fabric: Fabric, costs: FpgaCosts) -> _Units:
    use = estimate_resources(design, costs)
    units = {unit.unit: unit for unit in use.units}

    def working(*names: str) -> float:
        return sum(_spent(units[name], _given(fabric.pj_per_dsp), _given(fabric.pj_per_lut)) for name in names)

    idle = _spent(use, _given(fabric.idle_pj_per_dsp), _given(fabric.idle_pj_per_lut))
    idle += use.bram36 * _given(fabric.idle_pj_per_bram36) + use.uram288 * _given(fabric.idle_pj_per_uram288)
    return _Units(
        array=working("PE products", "PE sums", "edge sums", "partial sums", "control"),
        selection=working("N:M selection"),
        sore=working("SORE"),
        wuve=working("WUVE"),
        vector=working("vector unit"),
        idle=idle,
    )


def _spent(unit: UnitUse | ResourceUse, pj_per_dsp: float, pj_per_lut: float) -> float:
    return unit.dsp * pj_per_dsp + unit.lut * pj_per_lut


def _on_asic(design: Design, energies: OperatorEnergies, costs: FpgaCosts) -> _Units:
    multiply = {8: energies.pj_per_multiply_8, 16: energies.pj_per_multiply_16, 32: energies.pj_per_multiply_32}
    add = {8: energies.pj_per_add_8, 16: energies.pj_per_add_16, 32: energies.pj_per_add_32}

    def working(unit: Arithmetic) -> float:
        products = unit.multipliers * _given(multiply[operator_width(unit.multiplier_bits)])
        return products + unit.adders * _given(add[operator_width(unit.adder_bits)])

    units = {unit.unit: working(unit) for unit in operators_of(design, costs.lane)}
    widest, logic = widest_patterns(design), _given(energies.pj_per_logic_bit)
    bits, buffers = design.precision.operand_bits, design.buffers
    macs = design.array.rows * design.array.cols * design.array.macs_per_pe
    # an entry of the sorter is compared with what arrives, and takes that with its index or keeps its own
    entry = 2 * bits + widest.index_bits
    selection = macs * widest.group * bits * logic if widest.group > 1 else 0.0
    sore = design.sore.lanes * widest.kept * entry * logic
    held = buffers.x_bytes + buffers.w_bytes + buffers.y_bytes + buffers.resident_bytes
    return _Units(
        array=units["PE products"] + units["PE sums"] + units["edge sums"],
        selection=selection,
        sore=sore,
        wuve=units["WUVE"],
        vector=units["vector unit"],
        idle=_given(energies.idle_share) * (sum(units.values()) + selection + sore),
        leakage_w=_given(energies.idle_w_per_mib) * held / MEBI,
    )


def _given(value: float | None) -> float:
    """Return a value that the check of a table found to be there."""
    assert value is not None, "a table gives every value of its technology"
    return value
