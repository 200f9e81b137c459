"""Machines of others, described as far as their published cycle counts need (``hw_configs/machines/*.yaml``)."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from accelsim.base.errors import InputError
from accelsim.base.files import packaged_names
from accelsim.hardware.sourced import SourcedModel, load_sourced
from accelsim.sparsity.pattern import Pattern

__all__ = ["Machine", "load_machine", "machine_names"]

Count = Annotated[int, Field(ge=1, le=2**20)]


class Machine(SourcedModel):
    """A weight-stationary array whose operands share one port."""

    format: Literal["accelsim-machine/1"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str
    rows: Count
    cols: Count
    macs_per_pe: Count
    dataflow: Literal["ws"]
    timing: Literal["ideal"] = Field(description="compute and port overlap perfectly: the longer one counts")
    patterns: Annotated[tuple[str, ...], Field(strict=False)]
    metadata_bits: Annotated[tuple[Annotated[int, Field(ge=0, le=32)], ...], Field(strict=False)]
    stream_tile: Count = Field(description="streamed vectors between reloads of the stationary operand")
    shared_port_words_per_cycle: Count
    published_as: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.metadata_bits) != len(self.patterns):
            raise ValueError(f"metadata_bits: {len(self.patterns)} numbers are needed, one per pattern")
        for text in self.patterns:
            try:
                Pattern.parse(text)
            except InputError as error:
                raise ValueError(f"patterns: {error}") from None
        return self

    def mode_for(self, wanted: Pattern | None) -> tuple[Pattern | None, int]:
        """Return the pattern in which the machine runs a mask, with its metadata bits; (None, 0) where it runs dense.

        That is the widest group it has with the same N and at most M: 2:8 runs as 2:4 where that is the only mode.
        """
        modes = [(Pattern.parse(text), bits) for text, bits in zip(self.patterns, self.metadata_bits, strict=True)]
        if wanted is None:
            return None, 0
        usable = [mode for mode in modes if mode[0].kept == wanted.kept and mode[0].group <= wanted.group]
        return max(usable, key=lambda mode: mode[0].group) if usable else (None, 0)


def machine_names() -> list[str]:
    """Return the names of the shipped machines."""
    return list(packaged_names("hw_configs/machines", (".yaml",)))


def load_machine(name: str | Path) -> Machine:
    """Return a shipped machine by name, or the one in a YAML file. Raises `InputError` listing every error."""
    return load_sourced(Machine, packaged_names("hw_configs/machines", (".yaml",)).get(str(name)) or Path(name))
