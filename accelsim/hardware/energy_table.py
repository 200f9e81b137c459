"""Energy tables: picojoules per event and static power, each with source, confidence and plausible range."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from accelsim.base.files import packaged_names, shipped_or_file
from accelsim.hardware.sourced import SourcedModel, leaf_paths, load_sourced

__all__ = ["EnergyTable", "energy_table_names", "load_energy_table"]

Picojoules = Annotated[float, Field(ge=0, le=1e9)]


class EnergyTable(SourcedModel):
    """Energy per event of a design's technology."""

    format: Literal["accelsim-energy/1"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str
    pj_per_mac: Picojoules = Field(description="one issued multiply-accumulate, padding included")
    pj_per_register_word: Picojoules = Field(description="one word that moves through a PE's registers")
    pj_per_buffer_byte: Picojoules = Field(description="one byte read from or written to an on-chip buffer")
    pj_per_sore_element: Picojoules = Field(description="one element streamed through SORE")
    pj_per_wuve_weight: Picojoules = Field(description="one weight updated")
    pj_per_vector_element: Picojoules = Field(description="one element read or written by the vector unit")
    pj_per_dram_byte: Picojoules = Field(description="one byte to or from DRAM")
    static_w: Annotated[float, Field(ge=0, le=1e6)] = Field(description="power drawn whatever happens")

    @model_validator(mode="after")
    def _check_takes_energy(self) -> Self:
        if not any(getattr(self, path) for path in leaf_paths(type(self))):
            raise ValueError("every value is 0: a step would take no energy")
        return self


def energy_table_names() -> list[str]:
    """Return the names of the shipped energy tables."""
    return list(packaged_names("hw_configs/energy", (".yaml",)))


def load_energy_table(name_or_path: str | Path) -> EnergyTable:
    """Return a shipped energy table by name, or the one in a YAML file. Raises `InputError` listing every error."""
    shipped = packaged_names("hw_configs/energy", (".yaml",))
    return load_sourced(EnergyTable, shipped_or_file(name_or_path, shipped, "energy table"))
