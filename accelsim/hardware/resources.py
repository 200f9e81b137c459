"""What a SAT design takes on an FPGA, estimated from its parameters, and whether its device has as much.

The estimate counts operators, selection logic and memories; control, routing, memory controllers and the shell of a
board come on top, so a design that does not fit by it does not fit. Unit costs are a sourced file
(``hw_configs/fpga/*.yaml``).

- A PE multiplies V operands at a time, adds the products in a tree of V - 1 adders at operand precision, converts the
  sum and accumulates it. Each multiplier picks its activation of the M of a group: a multiplexer as wide as the widest
  group of the design's patterns. Partial sums stand in distributed RAM, in two banks where tiles overlap.
- A SORE lane sorts a group as it arrives: as many comparators and registers as the most that a pattern keeps.
- WUVE lanes work at master precision, vector lanes multiply at operand and add at accumulator precision.
- Multipliers are built of DSPs. Adders take the DSPs that are left, the ones first that save most logic by it; the rest
  is built of LUTs alone.
- A buffer is as wide as its ports read in a cycle, cut into columns as wide as a memory block. Columns go to UltraRAM
  while there is any, then to block RAM. Capacities of a design include double buffering.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from accelsim.base.files import FileModel, packaged_names, shipped_or_file
from accelsim.hardware.design import Design
from accelsim.hardware.sourced import SourcedModel, load_sourced

__all__ = [
    "RESOURCES",
    "SECTIONS",
    "FpgaCosts",
    "ResourceUse",
    "Shortfall",
    "UnitUse",
    "check_fits",
    "estimate_resources",
    "has_device",
    "load_fpga_costs",
    "shortfalls_of",
]

Amount = Annotated[int, Field(ge=0, le=10**6)]
Size = Annotated[int, Field(ge=1, le=10**6)]


class Multiplier(FileModel):
    """A pipelined floating-point multiplier."""

    dsp: Amount
    lut: Amount


class Adder(FileModel):
    """A pipelined floating-point adder, built with DSPs or without."""

    dsp: Size
    lut: Amount = Field(description="beside the DSPs")
    lut_without_dsp: Amount


class Logic(FileModel):
    """Costs of what is no arithmetic."""

    convert_lut: Amount = Field(description="from operand to accumulator precision")
    mux_inputs_per_lut: Size = Field(description="inputs of a multiplexer that a LUT takes, per bit")
    comparator_bits_per_lut: Size
    register_file_depth: Size = Field(description="words of a memory that takes one LUT per bit")


class MemoryBlocks(FileModel):
    """Shape of the memory blocks of the device."""

    word_bits: Size = Field(description="of block RAM and UltraRAM at their widest")
    bram36_depth: Size = Field(description="words of that width")
    uram288_depth: Size = Field(description="words of that width")


class Engines(FileModel):
    """Operators of one lane."""

    wuve_multipliers: Amount
    wuve_adders: Amount
    vector_multipliers: Amount
    vector_adders: Amount


class FpgaCosts(SourcedModel):
    """Unit costs: operators of 16 bits or less (half) and wider ones (single), logic, memories, operators of a lane."""

    format: Literal["accelsim-fpga-costs/1"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str
    half_multiplier: Multiplier
    half_adder: Adder
    single_multiplier: Multiplier
    single_adder: Adder
    logic: Logic
    memory: MemoryBlocks
    engines: Engines

    def multiplier(self, bits: int) -> Multiplier:
        """Return the multiplier of operands of so many bits."""
        return self.half_multiplier if bits <= 16 else self.single_multiplier

    def adder(self, bits: int) -> Adder:
        """Return the adder of operands of so many bits."""
        return self.half_adder if bits <= 16 else self.single_adder


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitUse:
    """What one unit of the design takes."""

    unit: str
    dsp: int = 0
    lut: int = 0
    bram36: int = 0
    uram288: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUse:
    """What a design takes, unit by unit."""

    units: tuple[UnitUse, ...]

    @property
    def dsp(self) -> int:
        """DSP slices."""
        return sum(unit.dsp for unit in self.units)

    @property
    def lut(self) -> int:
        """Look-up tables with six inputs."""
        return sum(unit.lut for unit in self.units)

    @property
    def bram36(self) -> int:
        """Block RAMs of 36 Kib."""
        return sum(unit.bram36 for unit in self.units)

    @property
    def uram288(self) -> int:
        """UltraRAMs of 288 Kib."""
        return sum(unit.uram288 for unit in self.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A resource of which the design needs more than its device has."""

    resource: str
    needed: int
    available: int

    def __str__(self) -> str:
        return f"{self.resource}: needs {self.needed:,}, the device has {self.available:,}"


RESOURCES = ("dsp", "lut", "bram36", "uram288")
"""What is counted, by the names of `ResourceUse` and of a design's device."""

SECTIONS = ("array", "buffers", "precision", "resources", "sore", "vector", "wuve")
"""Sections of a design that the estimate reads: designs that are equal in these take the same."""


def load_fpga_costs(name_or_path: str | Path = "vitis_hls") -> FpgaCosts:
    """Return shipped unit costs by name, or the ones in a YAML file. Raises `InputError` listing every error."""
    shipped = packaged_names("hw_configs/fpga", (".yaml",))
    return load_sourced(FpgaCosts, shipped_or_file(name_or_path, shipped, "table of FPGA costs"))


@cache
def _shipped_costs() -> FpgaCosts:
    return load_fpga_costs()


def has_device(design: Design) -> bool:
    """Return whether `design` states what its device has: an ASIC does not."""
    return any(getattr(design.resources, name) is not None for name in RESOURCES)


def check_fits(design: Design, costs: FpgaCosts | None = None) -> tuple[Shortfall, ...]:
    """Return what the device of `design` has too little of, by the estimate; nothing where it states no resources."""
    return shortfalls_of(design, estimate_resources(design, costs)) if has_device(design) else ()


def shortfalls_of(design: Design, use: ResourceUse) -> tuple[Shortfall, ...]:
    """Return what the device of `design` has less of than `use`, which its design takes."""
    device = {name: getattr(design.resources, name) for name in RESOURCES}
    return tuple(
        Shortfall(resource=name.upper(), needed=getattr(use, name), available=available)
        for name, available in device.items()
        if available is not None and getattr(use, name) > available
    )


def estimate_resources(design: Design, costs: FpgaCosts | None = None) -> ResourceUse:
    """Estimate what `design` takes on its device; see the module for what is counted.

    Where the device's DSPs or UltraRAMs are not stated, there are enough DSPs and no UltraRAM. `costs` are the shipped
    ones unless given.
    """
    costs = _shipped_costs() if costs is None else costs
    arithmetic = _place_adders(_arithmetic(design, costs), design.resources.dsp)
    return ResourceUse(units=(*arithmetic, *_logic(design, costs), *_buffers(design, costs)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operators:
    """Operators of a unit: how many multipliers and adders of which kind."""

    unit: str
    multipliers: int = 0
    multiplier: Multiplier
    adders: int = 0
    adder: Adder


def _arithmetic(design: Design, costs: FpgaCosts) -> list[_Operators]:
    array, precision, lane = design.array, design.precision, costs.engines
    pes = array.rows * array.cols
    narrow, wide, master = precision.operand_bits, precision.accumulator_bits, precision.master_bits
    return [
        _Operators(
            unit="PE products",
            multipliers=pes * array.macs_per_pe,
            multiplier=costs.multiplier(narrow),
            adders=pes * (array.macs_per_pe - 1),
            adder=costs.adder(narrow),
        ),
        _Operators(unit="PE sums", multiplier=costs.multiplier(wide), adders=pes, adder=costs.adder(wide)),
        _Operators(
            unit="WUVE",
            multipliers=design.wuve.lanes * lane.wuve_multipliers,
            multiplier=costs.multiplier(master),
            adders=design.wuve.lanes * lane.wuve_adders,
            adder=costs.adder(master),
        ),
        _Operators(
            unit="vector unit",
            multipliers=design.vector.lanes * lane.vector_multipliers,
            multiplier=costs.multiplier(narrow),
            adders=design.vector.lanes * lane.vector_adders,
            adder=costs.adder(wide),
        ),
    ]


def _place_adders(units: Iterable[_Operators], available: int | None) -> list[UnitUse]:
    """Give adders the DSPs that multipliers leave, the ones first that save most LUTs per DSP."""
    units = list(units)
    left = None if available is None else max(0, available - sum(u.multipliers * u.multiplier.dsp for u in units))
    by_saving = sorted(units, key=lambda u: (u.adder.lut - u.adder.lut_without_dsp) / u.adder.dsp)
    placed: dict[str, UnitUse] = {}
    for unit in by_saving:
        in_dsps = unit.adders if left is None else min(unit.adders, left // unit.adder.dsp)
        left = None if left is None else left - in_dsps * unit.adder.dsp
        placed[unit.unit] = UnitUse(
            unit=unit.unit,
            dsp=unit.multipliers * unit.multiplier.dsp + in_dsps * unit.adder.dsp,
            lut=unit.multipliers * unit.multiplier.lut
            + in_dsps * unit.adder.lut
            + (unit.adders - in_dsps) * unit.adder.lut_without_dsp,
        )
    return [placed[unit.unit] for unit in units]


def _logic(design: Design, costs: FpgaCosts) -> list[UnitUse]:
    array, precision, logic = design.array, design.precision, costs.logic
    pes = array.rows * array.cols
    group = max((pattern.group for pattern in design.patterns), default=1)
    kept = max((pattern.kept for pattern in design.patterns), default=0)
    index_bits = max((pattern.index_bits for pattern in design.patterns), default=0)

    mux = ceil(group / logic.mux_inputs_per_lut) * precision.operand_bits if group > 1 else 0
    sums = array.accumulators_per_pe * (2 if array.overlap_tiles else 1)
    file = ceil(sums / logic.register_file_depth) * precision.accumulator_bits
    convert = logic.convert_lut if precision.accumulator_bits > precision.operand_bits else 0
    # an entry of the sorter is compared with what arrives and takes it, its predecessor's value, or keeps its own
    entry = ceil(precision.operand_bits / logic.comparator_bits_per_lut) + precision.operand_bits + index_bits
    return [
        UnitUse(unit="N:M selection", lut=pes * array.macs_per_pe * mux),
        UnitUse(unit="partial sums", lut=pes * (file + convert)),
        UnitUse(unit="SORE", lut=design.sore.lanes * kept * entry),
    ]


def _buffers(design: Design, costs: FpgaCosts) -> list[UnitUse]:
    left = design.resources.uram288 or 0
    found = []
    for unit, size, width_bits in _buffer_shapes(design):
        columns = ceil(width_bits / costs.memory.word_bits) if size else 0
        depth = ceil(size * 8 / width_bits)
        urams = max(1, ceil(depth / costs.memory.uram288_depth))
        brams = max(1, ceil(depth / costs.memory.bram36_depth))
        in_uram = min(columns, left // urams)
        left -= in_uram * urams
        found.append(UnitUse(unit=unit, bram36=(columns - in_uram) * brams, uram288=in_uram * urams))
    return found


def _buffer_shapes(design: Design) -> list[tuple[str, int, int]]:
    """Name, bytes and bits read per cycle of each buffer, the largest first."""
    array, precision, buffers = design.array, design.precision, design.buffers
    spread = max((ceil(pattern.group / pattern.kept) for pattern in design.patterns), default=1)
    index_bits = max((pattern.index_bits for pattern in design.patterns), default=0)
    row_port = array.row_port_elements_per_cycle or array.macs_per_pe * spread
    col_port = array.col_port_elements_per_cycle or array.macs_per_pe
    row_bits = array.rows * row_port * precision.operand_bits
    shapes = [
        ("X buffer", buffers.x_bytes, row_bits),
        ("W buffer", buffers.w_bytes, array.cols * col_port * (precision.operand_bits + index_bits)),
        ("Y buffer", buffers.y_bytes, array.cols * precision.accumulator_bits),
        ("resident tensors", buffers.resident_bytes, row_bits),
    ]
    return sorted(shapes, key=lambda shape: -shape[1])
