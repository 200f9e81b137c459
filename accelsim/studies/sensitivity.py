"""How far each assumption moves the average speedup: what the paper does not say, one by one from end to end.

Ends are those that the design states for a value; for assumptions without a range they are chosen here, visibly. Some
values belong together: ports follow the MACs per PE as the design says they do, and the three buffers are scaled alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accelsim.base.progress import Progress, silent
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.sourced import Provenance, value_at
from accelsim.studies.paper import DESIGN, WORKLOADS, Setting, run_setting

__all__ = [
    "UNVARIED",
    "Assumption",
    "Average",
    "Sensitivity",
    "assumptions",
    "average",
    "bandwidth_for",
    "sensitivities",
    "with_ports",
]

UNVARIED = {
    "array.patterns": "2:8 alone is compared",
    "array.metadata_bits_per_value": "follows from the pattern",
    "dram.channels": "enters by the bandwidth alone",
    "dram.capacity_gb": "the steps fit, and take no longer where there is more",
    **{
        f"resources.shell_{name}": "decides what fits beside it, not how fast that is"
        for name in ("dsp", "lut", "bram36", "uram288")
    },
}
"""Values of the design that rest on an assumption or derivation and are not varied, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """What is assumed, with other plausible `settings`; `paths`: where it stands in the design, if it stands there.

    `ends`: the range that the design states for its one value.
    """

    name: str
    paths: tuple[str, ...]
    settings: tuple[Setting, ...]
    reason: str
    ends: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """Average speedup and dense-equivalent throughput over the workloads, one engine."""

    speedup: float
    gops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What another value of an assumption makes of the averages, by engine."""

    assumption: str
    value: str
    reason: str
    closed: Average
    event: Average


def average(design: Design, setting: Setting, engine: str) -> Average:
    """Return the averages of a setting."""
    steps = [result.step for result in run_setting(design, setting, engine)]
    return Average(
        speedup=sum(step.speedup for step in steps) / len(steps),
        gops=sum(step.effective_gops for step in steps) / len(steps),
    )


def sensitivities(chosen: Sequence[Assumption] | None = None, progress: Progress = silent) -> tuple[Sensitivity, ...]:
    """Run every value of every assumption, or of those `chosen`, on the shipped design; `progress` hears of each."""
    design = load_design(DESIGN)
    values = [
        (assumption, value)
        for assumption in (assumptions(design) if chosen is None else chosen)
        for value in assumption.settings
    ]
    found = []
    for done, (assumption, value) in enumerate(values):
        progress(done, len(values), f"{assumption.name} {value.label}")
        closed, event = (average(design, value, engine) for engine in ("closed", "event"))
        found.append(
            Sensitivity(
                assumption=assumption.name, value=value.label, reason=assumption.reason, closed=closed, event=event
            )
        )
    progress(len(values), len(values), "")
    return tuple(found)


def bandwidth_for(target: float, engine: str) -> float | None:
    """Return the DRAM bandwidth in GB/s, to a tenth, at which the average speedup is `target`.

    None where the shipped bandwidth is too little for it, or a single channel's too much.
    """
    design = load_design(DESIGN)

    def reached(tenths: int) -> bool:
        setting = Setting(label="", changes=(("dram.bandwidth_gb_per_s", str(tenths / 10)),))
        return average(design, setting, engine).speedup >= target

    low, high = _ONE_CHANNEL_TENTHS, round(10 * design.dram.bandwidth_gb_per_s)
    if reached(low) or not reached(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high / 10


_ONE_CHANNEL_TENTHS = 192


def assumptions(design: Design) -> tuple[Assumption, ...]:
    """Return every assumption that is varied: those with a range in the design, those with a range here, the step's."""
    stated = [_stated(design, origin) for origin in design.provenance if origin.low is not None]
    return (*stated, *map(_chosen, _CHOSEN), *_of_the_step())


def _stated(design: Design, origin: Provenance) -> Assumption:
    """An assumption with the ends that the design states, where they differ from its value."""
    value = value_at(design, origin.path)
    low, high = (value if end is None else end for end in (origin.low, origin.high))
    whole = isinstance(value, int) or value > 1
    ends = [int(end) if whole else end for end in (low, high) if end != value]
    return Assumption(
        name=f"{origin.path}, ports with it" if origin.path == _MACS else origin.path,
        paths=(origin.path,),
        settings=tuple(Setting(label=f"{end:,}", changes=with_ports(origin.path, end)) for end in ends),
        reason="range stated by the design",
        ends=(low, high),
    )


_MACS = "array.macs_per_pe"


def with_ports(path: str, value: float) -> tuple[tuple[str, str], ...]:
    """Return the changes that set a value of the design, those of the ports with it where they follow from it."""
    ports = ((port, str(each * int(value))) for port, each in _PORTS_PER_MAC if path == _MACS)
    return (path, str(value)), *ports


_PORTS_PER_MAC = (("array.row_port_elements_per_cycle", 4), ("array.col_port_elements_per_cycle", 1))
"""The design's ports are V M/N (for 2:8) and V elements."""

_Chosen = tuple[str, tuple[str, ...], dict[str, tuple[str, ...]], str]

_CHOSEN: tuple[_Chosen, ...] = (
    (
        "array size",
        ("array.rows", "array.cols"),
        {"16 x 16": ("16", "16"), "64 x 32": ("64", "32")},
        "a quarter of the PEs; twice, as 64 x 64 x 2 MACs are more than the device has DSP slices",
    ),
    ("array.overlap_tiles", ("array.overlap_tiles",), {"false": ("false",)}, "no second bank"),
    (
        "array.row_port_elements_per_cycle",
        ("array.row_port_elements_per_cycle",),
        {"2": ("2",), "no limit": ("null",)},
        "the rate of dense activations; as wide as needed",
    ),
    (
        "array.col_port_elements_per_cycle",
        ("array.col_port_elements_per_cycle",),
        {"1": ("1",), "no limit": ("null",)},
        "half the dense rate; as wide as needed",
    ),
    (
        "buffers x, w and y",
        ("buffers.x_bytes", "buffers.w_bytes", "buffers.y_bytes"),
        {"a quarter": ("1048576", "524288", "524288"), "twice": ("8388608", "4194304", "4194304")},
        "what the device could still hold at most",
    ),
    (
        "dram.bandwidth_gb_per_s",
        ("dram.bandwidth_gb_per_s",),
        {"19.2": ("19.2",), "38.4": ("38.4",), "57.6": ("57.6",)},
        "one, two and three of the four channels",
    ),
    ("precision.accumulator_bits", ("precision.accumulator_bits",), {"16": ("16",)}, "sums as wide as operands"),
    ("wuve.lanes", ("wuve.lanes",), {"5": ("5",), "80": ("80",)}, "a quarter; four times"),
    ("vector.lanes", ("vector.lanes",), {"48": ("48",), "768": ("768",)}, "a quarter; four times"),
    (
        "vector.fuse_activations",
        ("vector.fuse_activations",),
        {"false": ("false",)},
        "activations take a pass of their own",
    ),
)
"""Name, paths, other values of these paths, and why these: assumptions without a range in the design."""


def _chosen(entry: _Chosen) -> Assumption:
    name, paths, values, reason = entry
    return Assumption(
        name=name,
        paths=paths,
        settings=tuple(
            Setting(label=label, changes=tuple(zip(paths, texts, strict=True))) for label, texts in values.items()
        ),
        reason=reason,
    )


def _of_the_step() -> Iterator[Assumption]:
    """Yield what is assumed of the training step: batch, optimizer, models."""
    batches = tuple(Setting(label=str(batch), batch=batch) for batch in (64, 1024))
    yield Assumption(name="batch", paths=(), settings=batches, reason="an eighth; twice")
    adam = Setting(label="adam", optimizer="adam")
    yield Assumption(name="optimizer", paths=(), settings=(adam,), reason="4 words read and 3 written per weight")
    small = tuple(f"{name}_3x3" if name == "resnet18_tinyimagenet" else name for name in WORKLOADS)
    stem = Setting(label="3 x 3", workloads=small)
    yield Assumption(name="stem of ResNet-18", paths=(), settings=(stem,), reason="as usual for small images")
    others = tuple(
        Setting(label=f"without {name}", workloads=tuple(other for other in WORKLOADS if other != name))
        for name in WORKLOADS
    )
    yield Assumption(
        name="workloads", paths=(), settings=others, reason="the five are recalled, not read; one left out"
    )
