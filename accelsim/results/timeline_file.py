"""The file of a timeline, ``accelsim-timeline/1``: JSON that Chrome's trace viewer and Perfetto open, too.

Every field stands here as it does in the file. `ts` and `dur` are microseconds of the design's clock, to the whole
nanosecond, so that slices which follow each other also do so on the screen; the exact cycles are in `args`.
"""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from accelsim.base.errors import InputError
from accelsim.base.files import FileModel, parse_json, read_text, validate, write_atomically
from accelsim.base.units import MEGA
from accelsim.lowering.tasks import Stage
from accelsim.schedule.overlap import Unit
from accelsim.sparsity.methods import case_name

__all__ = [
    "BANDWIDTH",
    "FILL",
    "LOADS",
    "STORES",
    "TRACKS",
    "About",
    "Counter",
    "Label",
    "Slice",
    "SliceArgs",
    "Timeline",
    "load_timeline",
    "write_timeline",
]

FORMAT: Final = "accelsim-timeline/1"
LOADS, STORES = "DRAM load", "DRAM store"
TRACKS: tuple[str, ...] = (Unit.ARRAY, Unit.GENERATE, Unit.UPDATE, Unit.VECTOR, LOADS, STORES)
"""Names of the tracks; the thread of a track is its place here, from 1 on."""
BANDWIDTH, FILL = "DRAM bandwidth", "buffer fill (bytes)"
"""Names of the counters; their values are called ``GB/s``, and ``x``, ``w``, ``y`` and ``resident``."""

_PROCESS = 1
_ROUNDED_US = 1e-3

Time = Annotated[float, Field(ge=0)]


class SliceArgs(FileModel):
    """What a slice is, exactly.

    `layer`: the operation of the trace. `adds_cycles`: what the task adds to the step, where others hide the rest.
    `gemm`: m x n x k and the copies, if several. `dram_bytes` of the whole task, its ends included. `jobs`: how many
    jobs a slice inside a GEMM stands for.
    """

    start_cycle: int
    cycles: int
    layer: str
    adds_cycles: int | None = None
    gemm: str | None = None
    pattern: str | None = None
    mapping: str | None = None
    bound: str | None = None
    macs_executed: int | None = None
    dram_bytes: float | None = None
    jobs: int | None = None


class Slice(FileModel):
    """A stretch of time on a track; `cat` is the stage."""

    ph: Literal["X"] = "X"
    name: str
    cat: Stage
    pid: int = _PROCESS
    tid: Annotated[int, Field(ge=1, le=len(TRACKS))]
    ts: Time
    dur: Time
    args: SliceArgs

    @property
    def track(self) -> str:
        """One of `TRACKS`."""
        return TRACKS[self.tid - 1]


class Counter(FileModel):
    """Values from `ts` on, until the next of its name."""

    ph: Literal["C"] = "C"
    name: str
    pid: int = _PROCESS
    ts: Time
    args: dict[str, float]

    @model_validator(mode="after")
    def _check_bandwidth(self) -> Self:
        if self.name == BANDWIDTH and "GB/s" not in self.args:
            raise ValueError(f"args: of {BANDWIDTH} GB/s is needed")
        return self


class Label(FileModel):
    """The name or place of the process or of a track."""

    ph: Literal["M"] = "M"
    name: Literal["process_name", "thread_name", "thread_sort_index"]
    pid: int = _PROCESS
    tid: int = 0
    args: dict[str, str | int]


class About(FileModel):
    """What was simulated, and what the file shows of it.

    `dram_gb_per_s`: all that the DRAM delivers. `buffer_bytes`: sizes of the buffers. `window`: cycles in which jobs
    are shown; `jobs`: how many that are, at most `jobs_per_slice` of them as one slice.
    """

    format: Literal["accelsim-timeline/1"] = FORMAT
    workload: str
    design: str
    method: str
    pattern: str | None
    batch: int
    mode: str
    optimizer: str
    version: str
    clock_hz: Annotated[float, Field(ge=MEGA)]
    cycles: Annotated[int, Field(ge=1)]
    dram_gb_per_s: Annotated[float, Field(ge=1e-3)]
    buffer_bytes: dict[str, int]
    window: Annotated[tuple[int, int] | None, Field(strict=False)]
    jobs: int
    jobs_per_slice: int

    @property
    def title(self) -> str:
        """What was simulated, in one line."""
        return f"{self.workload} on {self.design}: {case_name(self.method, self.pattern)}, batch {self.batch}"


Event = Annotated[Slice | Counter | Label, Field(discriminator="ph")]


class Timeline(FileModel):
    """The whole file; events in order of time, those that enclose others first."""

    unit: Literal["ns"] = Field(alias="displayTimeUnit")
    about: About = Field(alias="otherData")
    events: Annotated[tuple[Event, ...], Field(strict=False)] = Field(alias="traceEvents")

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        ends = max((item.ts + item.dur for item in self.slices), default=0.0)
        whole = self.about.cycles / self.about.clock_hz * 1e6
        if ends > whole * (1 + 1e-6) + _ROUNDED_US:
            raise ValueError(f"traceEvents: the last ends after {ends:g} us; cycles and clock_hz give {whole:g} us")
        return self

    @property
    def slices(self) -> tuple[Slice, ...]:
        """All slices: tasks, transfers and jobs."""
        return tuple(event for event in self.events if isinstance(event, Slice))

    def counter(self, name: str) -> tuple[Counter, ...]:
        """The values of a counter."""
        return tuple(event for event in self.events if isinstance(event, Counter) and event.name == name)


def write_timeline(path: Path, timeline: Timeline) -> None:
    """Write a timeline, packed where `path` ends in ``.gz``; byte-identical from run to run, one event a line."""
    about = timeline.about.model_dump_json()
    events = ",\n".join(event.model_dump_json(exclude_none=True) for event in timeline.events)
    write_atomically(
        path, f'{{"displayTimeUnit":"{timeline.unit}","otherData":{about},"traceEvents":[\n{events}\n]}}\n'
    )


def load_timeline(path: str | Path) -> Timeline:
    """Return the timeline in a file that `write_timeline` wrote; `InputError` for any other."""
    path = Path(path)
    text = read_text(path)
    data = parse_json(text, str(path))
    about = data.get("otherData") if isinstance(data, dict) else None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f"{path}: is no timeline of accelsim simulate --timeline ({FORMAT})")
    return validate(Timeline, data, str(path), text=text)
