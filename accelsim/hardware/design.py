"""A SAT design: the array, its engines, buffers, DRAM, precision and the scheduler's freedom.

A design is one complete YAML file (``hw_configs/*.yaml``); every physical value states its source and confidence. A
file of one's own may also start from another, and give what differs::

    base: sat_vcu1525
    array: {rows: 64, cols: 16}
    dram.bandwidth_gb_per_s: 19.2

``accelsim list parameters`` lists what there is to change, ``accelsim schema design`` prints the JSON Schema,
``accelsim check FILE`` checks a file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from accelsim.base.errors import InputError
from accelsim.base.files import FileModel, Plain, packaged_names, shipped_or_file
from accelsim.base.markup import data_table
from accelsim.base.units import GIGA, MEGA
from accelsim.hardware.sourced import SourcedModel, leaf_paths, load_sourced, override, text_of, value_at
from accelsim.hardware.sourced_text import SourcedValue, sourced_text
from accelsim.sparsity.pattern import Pattern

__all__ = ["GO_WITH", "Design", "check_same", "design_names", "design_text", "differences", "load_design"]

Count = Annotated[int, Field(ge=1, le=2**20)]
Bytes = Annotated[int, Field(ge=1, le=2**40)]
Bits = Annotated[int, Field(ge=1, le=32)]
Taken = Annotated[int, Field(ge=0, le=2**30)]
Dataflow = Literal["os", "ws", "is"]


class Array(FileModel):
    """The STCE: rows x cols PEs."""

    rows: Count = Field(description="rows of PEs; outputs along m, or the reduction where weights are stationary")
    cols: Count = Field(description="columns of PEs; outputs along n")
    macs_per_pe: Annotated[int, Field(ge=1, le=1024, description="width V of the dot product a PE issues per cycle")]
    adder_latency_cycles: Annotated[int, Field(ge=1, le=256, description="cycles until a sum can be added to again")]
    accumulators_per_pe: Annotated[
        int, Field(ge=1, le=1024, description="partial sums a PE can interleave: Ia x Ib x Z at most")
    ]
    overlap_tiles: bool = Field(description="a second accumulator bank (OS) and shadow weight set (WS, IS)")
    dataflows: Annotated[
        tuple[Dataflow, ...],
        Field(strict=False, min_length=1, description="output-, weight- and input-stationary: what the array can do"),
    ]
    stationary_variants: Annotated[
        tuple[Literal["flat", "split", "chain"], ...],
        Field(strict=False, min_length=1, description="how WS and IS execute the slots of a group (see engines)"),
    ]
    patterns: Annotated[tuple[str, ...], Field(strict=False, description="N:M patterns; empty: dense only")]
    metadata_bits_per_value: Literal["log2"] | Annotated[int, Field(ge=0, le=32)] = Field(
        description="index bits stored with a kept value; 'log2': ceil(log2 M)"
    )
    row_port_elements_per_cycle: Count | None = Field(description="input width per PE row; null: as wide as needed")
    col_port_elements_per_cycle: Count | None = Field(description="input width per PE column; null: as wide as needed")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for text in self.patterns:
            try:
                Pattern.parse(text)
            except InputError as error:
                raise ValueError(f"patterns: {error}") from None
        return self


class Buffers(FileModel):
    """On-chip buffers of the two operands and the result of a GEMM, each holding two tiles."""

    x_bytes: Bytes = Field(description="operand of the row ports: activations, or gradients in BP")
    w_bytes: Bytes = Field(description="operand of the weight port, compact where it is sparse")
    y_bytes: Bytes = Field(description="partial sums and results")
    resident_bytes: Annotated[int, Field(ge=0, le=2**40)] = Field(
        description="whole tensors that stay on the chip from one task to the next; 0: none does"
    )


class Dram(FileModel):
    """External memory.

    Every transfer gets the same share of the bandwidth, as long bursts do: tensors lie so that a tile reads and writes
    runs of at least 64 bytes, a burst of DDR4. Activations and gradients stand image by image and channel block by
    channel block, each as a plane of rows, so that windows of a tile are rows of planes in FF, BP and WU alike and are
    turned round while the buffer fills. Two kinds of work have shorter runs and are charged as if they had not: dense
    weights that BP reads transposed, and results of the phases of a strided product, whose neighbours along a row come
    from different phases.
    """

    channels: Count = Field(description="memory channels; their bandwidth together is bandwidth_gb_per_s")
    bandwidth_gb_per_s: Annotated[float, Field(ge=1e-3, le=1e6, description="10^9 bytes/s, all channels together")]
    efficiency: Annotated[
        float, Field(ge=0.01, le=1, description="share of the bandwidth left by refresh, turnarounds and row misses")
    ]
    capacity_gb: Annotated[float, Field(gt=0, le=1e6, description="10^9 bytes, all channels together")]
    dma_channels: Annotated[int, Field(ge=2, le=1024, description="transfers under way at once; one is the array's")]


class Precision(FileModel):
    """Widths of what is stored."""

    operand_bits: Bits = Field(description="activations, gradients and working weights")
    accumulator_bits: Bits = Field(description="partial sums")
    master_bits: Bits = Field(description="master weights, optimizer state and weight gradients")


class Sore(FileModel):
    """The engine that finds which values are kept (SORE)."""

    lanes: Count = Field(description="elements sorted per cycle")


class Wuve(FileModel):
    """The engine that updates weights (WUVE)."""

    lanes: Count = Field(description="weights updated per cycle")


class VectorUnit(FileModel):
    """Normalisation, activation, pooling and the like."""

    lanes: Count = Field(description="elements read or written per cycle")
    fuse_activations: bool = Field(description="an activation right after a norm or add costs no pass of its own")


class Schedule(FileModel):
    """What the scheduler may choose."""

    dataflow: Literal["auto", "os", "ws", "is"] = Field(description="auto: the fastest of the array's dataflows")
    interleave: bool = Field(description="use the accumulators of a PE in turn to fill the adder pipeline")
    pregenerate: bool = Field(description="generate compact weights right after their update, not before each use")
    overlap: bool = Field(description="units work side by side where nothing waits for the other (engine event)")
    scheduler: Literal["greedy", "optimal"] = Field(
        description="greedy: the best mapping of each GEMM; optimal: also where compact copies are generated and what"
        " stays on the chip"
    )


class Resources(FileModel):
    """What the device offers, and what its board has taken of that already; null and 0 on an ASIC."""

    dsp: Count | None = Field(description="DSP slices")
    lut: Annotated[int, Field(ge=1)] | None = Field(description="lookup tables")
    bram36: Count | None = Field(description="block RAMs of 36 kbit")
    uram288: Count | None = Field(description="UltraRAMs of 288 kbit")
    shell_dsp: Taken = Field(description="DSP slices of the shell: PCIe, DMA to the host, configuration")
    shell_lut: Taken = Field(description="lookup tables of the shell")
    shell_bram36: Taken = Field(description="block RAMs of the shell")
    shell_uram288: Taken = Field(description="UltraRAMs of the shell")
    given_controllers: Taken = Field(description="memory controllers that are hard or in the shell")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("dsp", "lut", "bram36", "uram288"):
            total, shell = getattr(self, name), getattr(self, f"shell_{name}")
            if total is not None and shell > total:
                raise ValueError(f"shell_{name}: got {shell}; the device has {total} ({name})")
        return self


class Design(SourcedModel):
    """A SAT design; see the sections for the meaning and unit of each value."""

    plain: ClassVar[tuple[str, ...]] = ("format", "name", "description", "energy", "schedule")

    format: Literal["accelsim-design/1"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str
    clock_hz: Annotated[float, Field(ge=1e6, le=1e11, description="clock of the whole chip")]
    array: Array
    buffers: Buffers
    dram: Dram
    precision: Precision
    sore: Sore
    wuve: Wuve
    vector: VectorUnit
    resources: Resources
    schedule: Schedule
    energy: Annotated[str, Field(min_length=1, description="energy table: a shipped name or a file")]

    @model_validator(mode="after")
    def _check(self) -> Self:
        wanted = self.schedule.dataflow
        if wanted != "auto" and wanted not in self.array.dataflows:
            raise ValueError(
                f"schedule.dataflow: got '{wanted}'; the array has {', '.join(self.array.dataflows)} (array.dataflows)"
            )
        return self

    def with_(self, changes: Mapping[str, Plain]) -> Self:
        """Return the design with other values at dotted paths, as ``--set`` does; their source says so.

        Args:
            changes: paths such as ``array.rows`` (`accelsim list parameters`), and their values or, as in ``--set``,
                texts of them.

        Raises `InputError` with the nearest path for an unknown one, or what the field allows.

        >>> changed = load_design("sat_vcu1525").with_({"array.rows": 64, "dram.bandwidth_gb_per_s": 19.2})
        >>> changed.label
        'sat_vcu1525 + array 64x32x2, DRAM 19.2 GB/s'
        >>> next(item.source for item in changed.provenance if item.path == "array.rows")
        'with_ array.rows=64 (was 32)'
        """
        return override(self, changes, origin="with_")

    def _repr_html_(self) -> str:
        """A table for notebooks: each value with its source and how far it is known."""
        origins = {origin.path: origin for origin in self.provenance}
        rows = [
            (path, text_of(value_at(self, path)), *((item.source, item.confidence) if item else ("", "")))
            for path in leaf_paths(type(self))
            for item in [origins.get(path)]
        ]
        return data_table(f"{self.label}: {self.description}", ("value of", "is", "source", "confidence"), rows)

    @property
    def label(self) -> str:
        """The name, and what was changed of the design of that name."""
        changed = {item.path for item in self.overrides}
        if not changed:
            return self.name
        words = []
        if changed & set(_SHAPE):
            words.append(f"array {'x'.join(text_of(value_at(self, path)) for path in _SHAPE)}")
        if "clock_hz" in changed:
            words.append(f"{self.clock_hz / MEGA:g} MHz")
        if "dram.bandwidth_gb_per_s" in changed:
            words.append(f"DRAM {self.dram.bandwidth_gb_per_s:g} GB/s")
        others = sorted(changed - {*_SHAPE, "clock_hz", "dram.bandwidth_gb_per_s"})
        return f"{self.name} + {', '.join([*words, *(f'{path} {_in_words(value_at(self, path))}' for path in others)])}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was not changed along with a value that it goes with, as the bandwidth with the channels."""
        before = {item.path: item.before for item in self.overrides}
        return tuple(
            f"{path} stays {value:g}, as for {leader} {before[leader]:g}; in proportion it would be"
            f" {value * value_at(self, leader) / before[leader]:g}"
            for leader, path in GO_WITH
            if leader in before and path not in before and (value := value_at(self, path)) is not None
        )

    @property
    def patterns(self) -> frozenset[Pattern]:
        """N:M patterns that the array executes."""
        return frozenset(Pattern.parse(text) for text in self.array.patterns)

    @property
    def fuses_activations(self) -> bool:
        """Whether an activation right after a norm or an addition costs no pass of its own."""
        return self.vector.fuse_activations

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Bytes per clock cycle that all DRAM channels deliver."""
        return self.dram.bandwidth_gb_per_s * GIGA * self.dram.efficiency / self.clock_hz

    @property
    def peak_macs_per_cycle(self) -> int:
        """Dense multiply-accumulates per cycle."""
        return self.array.rows * self.array.cols * self.array.macs_per_pe

    def compact_bits(self, pattern: Pattern) -> float:
        """Mean bits per dense element of a compact operand: (N (operand + index bits)) / M."""
        bits = self.array.metadata_bits_per_value
        index = pattern.index_bits if bits == "log2" else int(bits)
        return pattern.kept * (self.precision.operand_bits + index) / pattern.group


_SHAPE = ("array.rows", "array.cols", "array.macs_per_pe")

GO_WITH = (
    ("array.macs_per_pe", "array.row_port_elements_per_cycle"),
    ("array.macs_per_pe", "array.col_port_elements_per_cycle"),
    ("dram.channels", "dram.bandwidth_gb_per_s"),
)
"""Values and others that a designer changes along with them."""


def _in_words(value: Plain) -> str:
    return "/".join(map(_in_words, value)) if isinstance(value, tuple) else text_of(value)


def design_text(design: Design, name: str) -> str:
    """Return the text of a complete file of a design under a new `name`, every value with its source."""
    data = design.model_dump(mode="json")
    origins = {origin.path: origin for origin in design.provenance}
    values = {
        path: SourcedValue(value_at(design, path), item.source, item.confidence, item.low, item.high)
        for path in leaf_paths(Design)
        if (item := origins.get(path)) and path.partition(".")[0] not in Design.plain
    }
    about = {"format": data["format"], "name": name, "description": f"{design.label}: {design.description}"}
    plain = {**about, "energy": data["energy"], "schedule": data["schedule"]}
    return sourced_text(f"Made of {design.label} by accelsim simulate --save-design.", plain, values)


def design_names() -> list[str]:
    """Return the names of the shipped designs."""
    return list(packaged_names("hw_configs", (".yaml",)))


def load_design(name_or_path: str | Path, changes: Mapping[str, Plain] | None = None) -> Design:
    """Return a shipped design by name, or the design in a YAML file.

    Args:
        name_or_path: a name that ``accelsim list designs`` shows, or the path of a file.
        changes: values that differ, by dotted path, as in `Design.with_`.

    Raises `InputError` listing every error of the file, and as `Design.with_`.

    >>> load_design("sat_vcu1525", {"array.rows": 64}).array.rows
    64
    """
    shipped = packaged_names("hw_configs", (".yaml",))
    path = shipped_or_file(name_or_path, shipped, "design", suffixes=(".yaml", ".yml"))
    design = load_sourced(Design, path, shipped)
    try:
        shipped_or_file(design.energy, packaged_names("hw_configs/energy", (".yaml",)), "energy table")
    except InputError as error:
        raise InputError(f"{path}: energy: {error}") from None
    return design.with_(changes) if changes else design


def check_same(design: Design, source: str, names: Sequence[str], settings: Mapping[str, str]) -> None:
    """Refuse ``--hw`` and ``--set`` that name another design than the one that a file holds.

    Args:
        design: what the file `source` was made on.
        source: the file, for the message.
        names: shipped names or files of which one has to be that design; none for the design of the file.
        settings: values by dotted path, as texts.

    Raises `InputError` that lists how they differ.
    """
    named = [override(load_design(name), settings) for name in names] or [override(design, settings)]
    if any(not differences(design, other) for other in named):
        return
    other = next((other for other in named if other.name == design.name), named[0])
    apart = ", ".join(f"{path} {value} (there {there})" for path, there, value in differences(design, other))
    option = f"--hw {' '.join(names)}" if names else f"--set {next(iter(settings))}"
    way_out = "leave the option out, or simulate again"
    raise InputError(f"{option}: {source} was made on {design.label}, another design: {apart}; {way_out}")


def differences(first: Design, second: Design) -> tuple[tuple[str, str, str], ...]:
    """Return the paths at which two designs differ, with both values."""
    pairs = ((path, value_at(first, path), value_at(second, path)) for path in leaf_paths(Design))
    return tuple((path, _in_words(one), _in_words(other)) for path, one, other in pairs if one != other)
