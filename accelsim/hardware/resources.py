"""What a SAT design takes on an FPGA, estimated from its parameters, and whether its device has as much.

The estimate counts operators, selection logic, memories, memory controllers, DMA engines and control. It is held
against the usable region: the device less the shell of its board (`resources.shell_*` of a design), which is fixed.
Routing comes on top, so a design that does not fit by it does not fit. Unit costs are a sourced file
(``hw_configs/fpga/*.yaml``).

- A PE multiplies V operands at a time, adds the products in a tree of V - 1 adders at operand precision, converts the
  sum and accumulates it. Each multiplier picks its activation of the M of a group: a multiplexer as wide as the widest
  group of the design's patterns. Partial sums stand in distributed RAM, in two banks where tiles overlap.
- Where weights (WS) or activations (IS) are stationary, each multiplier holds those of a group in distributed RAM, with
  the index of each weight, in two sets where tiles overlap. At the edge of each column an adder joins the partial sums
  of k tiles.
- A SORE lane sorts a group as it arrives: as many comparators and registers as the most that a pattern keeps.
- WUVE lanes work at master precision, vector lanes multiply at operand and add at accumulator precision.
- Arithmetic are built for 8, 16 and 32 bits; other widths take the next wider one.
- Multipliers are built of DSPs. Adders take the DSPs that are left, the ones first that save most logic by it; the rest
  is built of LUTs alone.
- A buffer is as wide as its ports read in a cycle, cut into columns as wide as a memory block. Columns go to UltraRAM
  while there is any, then to block RAM. Capacities of a design include double buffering.
- A channel of DRAM takes a controller, but for those that are hard or in the shell (`resources.given_controllers`); a
  DMA channel takes an engine. Control is a share of the logic of the units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from accelsim.base.files import FileModel, packaged_names, shipped_or_file
from accelsim.hardware.design import Array, Design
from accelsim.hardware.sourced import SourcedModel, load_sourced

__all__ = [
    "RESOURCES",
    "Arithmetic",
    "FpgaCosts",
    "Lane",
    "ResourceUse",
    "Shortfall",
    "UnitUse",
    "Widest",
    "changes_resources",
    "check_fits",
    "estimate_resources",
    "has_device",
    "load_fpga_costs",
    "operator_width",
    "operators_of",
    "shipped_fpga_costs",
    "shortfalls_of",
    "usable",
    "widest_patterns",
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


class Lane(FileModel):
    """Arithmetic of one lane of WUVE and of the vector unit."""

    wuve_multipliers: Amount
    wuve_adders: Amount
    vector_multipliers: Amount
    vector_adders: Amount


class Controller(FileModel):
    """The controller of a memory channel, with its physical layer."""

    dsp: Amount
    lut: Amount
    bram36: Amount


class DmaEngine(FileModel):
    """The engine of a DMA channel, with its buffers."""

    lut: Amount
    bram36: Amount


class FpgaCosts(SourcedModel):
    """Unit costs: operators of 8 bits (byte), 16 (half) and 32 (single), logic, memories, operators of a lane, and what
    stands around the units."""

    format: Literal["accelsim-fpga-costs/2"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str
    byte_multiplier: Multiplier
    byte_adder: Adder
    half_multiplier: Multiplier
    half_adder: Adder
    single_multiplier: Multiplier
    single_adder: Adder
    logic: Logic
    memory: MemoryBlocks
    lane: Lane
    controller: Controller
    dma_engine: DmaEngine
    control_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="LUTs of control and address generation over those of the units that they control"
    )

    def multiplier(self, bits: int) -> Multiplier:
        """Return the multiplier of operands of so many bits."""
        return {8: self.byte_multiplier, 16: self.half_multiplier, 32: self.single_multiplier}[operator_width(bits)]

    def adder(self, bits: int) -> Adder:
        """Return the adder of operands of so many bits."""
        return {8: self.byte_adder, 16: self.half_adder, 32: self.single_adder}[operator_width(bits)]


def operator_width(bits: int) -> int:
    """Return the width of the operator that takes operands of so many bits, 32 at most: 8, 16 or 32."""
    return next(width for width in (8, 16, 32) if bits <= width)


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
    """A resource of which the design needs more than is `available`: what its device has less its `shell`."""

    resource: str
    needed: int
    available: int
    shell: int = 0

    def __str__(self) -> str:
        beside = f" beside its shell of {self.shell:,}" if self.shell else ""
        return f"{self.resource}: needs {self.needed:,}, the device has {self.available:,}{beside}"


RESOURCES = ("dsp", "lut", "bram36", "uram288")
"""What is counted, by the names of `ResourceUse` and of a design's device."""

_READ = ("array.", "buffers.", "dram.channels", "dram.dma_channels", "precision.", "resources.", "sore.", "vector.",
         "wuve.")  # fmt: skip


def changes_resources(path: str) -> bool:
    """Return whether the estimate reads the value at a path of a design."""
    return path.startswith(_READ)


def load_fpga_costs(name_or_path: str | Path = "vitis_hls") -> FpgaCosts:
    """Return shipped unit costs by name, or the ones in a YAML file. Raises `InputError` listing every error."""
    shipped = packaged_names("hw_configs/fpga", (".yaml",))
    return load_sourced(FpgaCosts, shipped_or_file(name_or_path, shipped, "table of FPGA costs"))


@cache
def shipped_fpga_costs() -> FpgaCosts:
    """Return the unit costs that hold where no others are asked for; their file is read once."""
    return load_fpga_costs()


def has_device(design: Design) -> bool:
    """Return whether `design` states what its device has: an ASIC does not."""
    return any(getattr(design.resources, name) is not None for name in RESOURCES)


def usable(design: Design, resource: str) -> int | None:
    """Return how much of a resource the device has beside its shell; None where that is not stated."""
    total: int | None = getattr(design.resources, resource)
    return None if total is None else total - int(getattr(design.resources, f"shell_{resource}"))


def check_fits(design: Design, costs: FpgaCosts | None = None) -> tuple[Shortfall, ...]:
    """Return what the device of `design` has too little of, by the estimate; nothing where it states no resources."""
    return shortfalls_of(design, estimate_resources(design, costs)) if has_device(design) else ()


def shortfalls_of(design: Design, use: ResourceUse) -> tuple[Shortfall, ...]:
    """Return what the device of `design` has less of than `use`, which its design takes."""
    region = {name: usable(design, name) for name in RESOURCES}
    return tuple(
        Shortfall(
            resource=name.upper(),
            needed=getattr(use, name),
            available=available,
            shell=getattr(design.resources, f"shell_{name}"),
        )
        for name, available in region.items()
        if available is not None and getattr(use, name) > available
    )


def estimate_resources(design: Design, costs: FpgaCosts | None = None) -> ResourceUse:
    """Estimate what `design` takes on its device beside the shell; see the module for what is counted.

    Where the device's DSPs or UltraRAMs are not stated, there are enough DSPs and no UltraRAM. `costs` are the shipped
    ones unless given.
    """
    costs = shipped_fpga_costs() if costs is None else costs
    around = _around(design, costs)
    dsps = usable(design, "dsp")
    left = None if dsps is None else dsps - sum(unit.dsp for unit in around)
    arithmetic = _place_adders(operators_of(design, costs.lane), costs, left)
    widest = widest_patterns(design)
    logic = _logic(design, costs, widest)
    control = UnitUse(unit="control", lut=ceil(costs.control_share * sum(unit.lut for unit in (*arithmetic, *logic))))
    return ResourceUse(units=(*arithmetic, *logic, control, *_buffers(design, costs, widest), *around))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """Arithmetic of a unit: how many multipliers and adders, and how many bits their operands have."""

    unit: str
    multipliers: int = 0
    multiplier_bits: int
    adders: int
    adder_bits: int


def operators_of(design: Design, lane: Lane) -> tuple[Arithmetic, ...]:
    """Return the operators of each unit of `design` that has any."""
    array, precision = design.array, design.precision
    pes = array.rows * array.cols
    narrow, wide, master = precision.operand_bits, precision.accumulator_bits, precision.master_bits
    return (
        Arithmetic(
            unit="PE products",
            multipliers=pes * array.macs_per_pe,
            multiplier_bits=narrow,
            adders=pes * (array.macs_per_pe - 1),
            adder_bits=narrow,
        ),
        Arithmetic(unit="PE sums", multiplier_bits=wide, adders=pes, adder_bits=wide),
        Arithmetic(unit="edge sums", multiplier_bits=wide, adders=array.cols, adder_bits=wide),
        Arithmetic(
            unit="WUVE",
            multipliers=design.wuve.lanes * lane.wuve_multipliers,
            multiplier_bits=master,
            adders=design.wuve.lanes * lane.wuve_adders,
            adder_bits=master,
        ),
        Arithmetic(
            unit="vector unit",
            multipliers=design.vector.lanes * lane.vector_multipliers,
            multiplier_bits=narrow,
            adders=design.vector.lanes * lane.vector_adders,
            adder_bits=wide,
        ),
    )


def _place_adders(units: Sequence[Arithmetic], costs: FpgaCosts, available: int | None) -> list[UnitUse]:
    """Give adders the DSPs that multipliers leave, the ones first that save most LUTs per DSP."""
    kinds = {unit.unit: (costs.multiplier(unit.multiplier_bits), costs.adder(unit.adder_bits)) for unit in units}
    multiplying = sum(unit.multipliers * kinds[unit.unit][0].dsp for unit in units)
    left = None if available is None else max(0, available - multiplying)

    def saving(unit: Arithmetic) -> float:
        adder = kinds[unit.unit][1]
        return (adder.lut_without_dsp - adder.lut) / adder.dsp

    placed: dict[str, UnitUse] = {}
    for unit in sorted(units, key=saving, reverse=True):
        multiplier, adder = kinds[unit.unit]
        in_dsps = unit.adders if left is None else min(unit.adders, left // adder.dsp)
        left = None if left is None else left - in_dsps * adder.dsp
        placed[unit.unit] = UnitUse(
            unit=unit.unit,
            dsp=unit.multipliers * multiplier.dsp + in_dsps * adder.dsp,
            lut=unit.multipliers * multiplier.lut
            + in_dsps * adder.lut
            + (unit.adders - in_dsps) * adder.lut_without_dsp,
        )
    return [placed[unit.unit] for unit in units]


@dataclass(frozen=True, slots=True, kw_only=True)
class Widest:
    """The most that any pattern of a design asks for: elements of a group, kept ones, bits of an index; elements of a
    group for each kept one; stationary elements that a multiplier holds, of weights and of activations."""

    group: int = 1
    kept: int = 0
    index_bits: int = 0
    spread: int = 1
    held_weights: int = 1
    held_activations: int = 1


def widest_patterns(design: Design) -> Widest:
    """Return what selection, sorting and registers are built for; a design without patterns selects one of one."""
    patterns, lanes = design.patterns, design.array.macs_per_pe
    if not patterns:
        return Widest()
    groups = {pattern: max(1, lanes // pattern.kept) for pattern in patterns}
    return Widest(
        group=max(pattern.group for pattern in patterns),
        kept=max(pattern.kept for pattern in patterns),
        index_bits=max(pattern.index_bits for pattern in patterns),
        spread=max(ceil(pattern.group / pattern.kept) for pattern in patterns),
        held_weights=max(ceil(count * pattern.kept / lanes) for pattern, count in groups.items()),
        held_activations=max(ceil(count * pattern.group / lanes) for pattern, count in groups.items()),
    )


def _logic(design: Design, costs: FpgaCosts, widest: Widest) -> list[UnitUse]:
    array, precision, logic = design.array, design.precision, costs.logic
    pes = array.rows * array.cols
    banks = 2 if array.overlap_tiles else 1

    mux = ceil(widest.group / logic.mux_inputs_per_lut) * precision.operand_bits if widest.group > 1 else 0
    sums = ceil(array.accumulators_per_pe * banks / logic.register_file_depth) * precision.accumulator_bits
    widens = operator_width(precision.accumulator_bits) > operator_width(precision.operand_bits)
    convert = logic.convert_lut if widens else 0
    held = ceil(_held_words(array, widest) * banks / logic.register_file_depth)
    held_bits = precision.operand_bits + (widest.index_bits if "ws" in array.dataflows else 0)
    # an entry of the sorter is compared with what arrives and takes it, its predecessor's value, or keeps its own
    entry = ceil(precision.operand_bits / logic.comparator_bits_per_lut) + precision.operand_bits + widest.index_bits
    return [
        UnitUse(unit="N:M selection", lut=pes * array.macs_per_pe * mux),
        UnitUse(unit="partial sums", lut=pes * (sums + convert)),
        UnitUse(unit="stationary operands", lut=pes * array.macs_per_pe * held * held_bits),
        UnitUse(unit="SORE", lut=design.sore.lanes * widest.kept * entry),
    ]


def _held_words(array: Array, widest: Widest) -> int:
    """Stationary elements that a multiplier holds: kept weights of its groups (WS; of a flat slot one), or all elements
    of these (IS)."""
    weights = widest.held_weights if array.stationary_variants != ("flat",) else 1
    return max(weights if "ws" in array.dataflows else 0, widest.held_activations if "is" in array.dataflows else 0)


def _around(design: Design, costs: FpgaCosts) -> list[UnitUse]:
    """Memory controllers that are neither hard nor in the shell, and DMA engines."""
    controllers = max(0, design.dram.channels - design.resources.given_controllers)
    each, engine, engines = costs.controller, costs.dma_engine, design.dram.dma_channels
    return [
        UnitUse(
            unit="memory controllers",
            dsp=controllers * each.dsp,
            lut=controllers * each.lut,
            bram36=controllers * each.bram36,
        ),
        UnitUse(unit="DMA engines", lut=engines * engine.lut, bram36=engines * engine.bram36),
    ]


def _buffers(design: Design, costs: FpgaCosts, widest: Widest) -> list[UnitUse]:
    left = max(0, usable(design, "uram288") or 0)
    found = []
    for unit, size, width_bits in _buffer_shapes(design, widest):
        columns = ceil(width_bits / costs.memory.word_bits) if size else 0
        depth = ceil(size * 8 / width_bits)
        urams = max(1, ceil(depth / costs.memory.uram288_depth))
        brams = max(1, ceil(depth / costs.memory.bram36_depth))
        in_uram = min(columns, left // urams)
        left -= in_uram * urams
        found.append(UnitUse(unit=unit, bram36=(columns - in_uram) * brams, uram288=in_uram * urams))
    return found


def _buffer_shapes(design: Design, widest: Widest) -> list[tuple[str, int, int]]:
    """Name, bytes and bits read per cycle of each buffer, the largest first."""
    array, precision, buffers = design.array, design.precision, design.buffers
    row_port = array.row_port_elements_per_cycle or array.macs_per_pe * widest.spread
    col_port = array.col_port_elements_per_cycle or array.macs_per_pe
    row_bits = array.rows * row_port * precision.operand_bits
    shapes = [
        ("X buffer", buffers.x_bytes, row_bits),
        ("W buffer", buffers.w_bytes, array.cols * col_port * (precision.operand_bits + widest.index_bits)),
        ("Y buffer", buffers.y_bytes, array.cols * precision.accumulator_bits),
        ("resident tensors", buffers.resident_bytes, row_bits),
    ]
    return sorted(shapes, key=lambda shape: -shape[1])
