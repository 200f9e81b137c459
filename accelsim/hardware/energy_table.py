"""Energy tables: what the parts of a technology take, each with source, confidence and plausible range.

A table is of an FPGA or of an ASIC. Of an FPGA it prices DSP slices, LUTs and memories, of which
`accelsim.hardware.resources` says how many a design has; of an ASIC multipliers and adders, for each width that they
are built for. Registers, buffers and DRAM are priced by bit and byte on both. `accelsim.hardware.energy_prices` makes
prices per event of a table and a design.
"""

from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from accelsim.base.files import FileModel, packaged_names, shipped_or_file
from accelsim.hardware.sourced import SourcedModel, leaf_paths, load_sourced

__all__ = ["EnergyTable", "Fabric", "OperatorEnergies", "energy_table_names", "load_energy_table"]

Picojoules = Annotated[float, Field(ge=0, le=1e9)]
Watts = Annotated[float, Field(ge=0, le=1e6)]


class Fabric(FileModel):
    """The fabric of an FPGA; all null on an ASIC."""

    pj_per_dsp: Picojoules | None = Field(description="a DSP slice that works for a cycle")
    pj_per_lut: Picojoules | None = Field(description="a LUT that works for a cycle, with its wires and flip-flops")
    idle_pj_per_dsp: Picojoules | None = Field(description="a DSP slice in use, each cycle, whether it works or not")
    idle_pj_per_lut: Picojoules | None = Field(description="a LUT in use with its flip-flops, likewise")
    idle_pj_per_bram36: Picojoules | None = Field(description="a block RAM in use, likewise")
    idle_pj_per_uram288: Picojoules | None = Field(description="an UltraRAM in use, likewise")


class OperatorEnergies(FileModel):
    """The operators of an ASIC; all null on an FPGA."""

    pj_per_multiply_8: Picojoules | None = Field(description="one product of operands of 8 bits or less")
    pj_per_multiply_16: Picojoules | None = Field(description="one product of operands of 9 to 16 bits")
    pj_per_multiply_32: Picojoules | None = Field(description="one product of operands of 17 to 32 bits")
    pj_per_add_8: Picojoules | None = Field(description="one sum of operands of 8 bits or less")
    pj_per_add_16: Picojoules | None = Field(description="one sum of operands of 9 to 16 bits")
    pj_per_add_32: Picojoules | None = Field(description="one sum of operands of 17 to 32 bits")
    pj_per_logic_bit: Picojoules | None = Field(description="a bit that is compared, or an input bit of a multiplexer")
    idle_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        description="of its energy that an operator takes each cycle, whether it works or not: clock and leakage"
    )
    idle_w_per_mib: Watts | None = Field(description="leakage of a MiB of SRAM")


class EnergyTable(SourcedModel):
    """What the parts of a design's technology take."""

    format: Literal["accelsim-energy/2"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str
    fabric: Fabric
    operators: OperatorEnergies
    pj_per_register_bit: Picojoules = Field(description="one bit that moves through a PE's registers")
    pj_per_buffer_byte: Picojoules = Field(description="one byte read from or written to an on-chip buffer")
    pj_per_dram_byte: Picojoules = Field(description="one byte to or from DRAM")
    base_w: Watts = Field(description="power of board and device whatever the design is")

    @property
    def is_fpga(self) -> bool:
        """Whether it prices the fabric of an FPGA; an ASIC's prices operators."""
        return self.fabric.pj_per_dsp is not None

    @model_validator(mode="after")
    def _check(self) -> Self:
        given, other = ("fabric", "operators") if self.is_fpga else ("operators", "fabric")
        for section, wanted in ((given, True), (other, False)):
            for name, value in getattr(self, section):
                if (value is not None) is not wanted:
                    kind = "an FPGA" if self.is_fpga else "an ASIC"
                    needed = "a number is needed" if wanted else "null is needed"
                    raise ValueError(
                        f"{section}.{name}: got {'null' if value is None else value}; {needed}, as the table is one of"
                        f" {kind} (fabric.pj_per_dsp {'has a value' if self.is_fpga else 'is null'})"
                    )
        return self

    @model_validator(mode="after")
    def _check_takes_energy(self) -> Self:
        if not any(attrgetter(*leaf_paths(type(self)))(self)):
            raise ValueError("every value is 0: a step would take no energy")
        return self


def energy_table_names() -> list[str]:
    """Return the names of the shipped energy tables."""
    return list(packaged_names("hw_configs/energy", (".yaml",)))


def load_energy_table(name_or_path: str | Path) -> EnergyTable:
    """Return a shipped energy table by name, or the one in a YAML file. Raises `InputError` listing every error."""
    shipped = packaged_names("hw_configs/energy", (".yaml",))
    return load_sourced(EnergyTable, shipped_or_file(name_or_path, shipped, "energy table"))
