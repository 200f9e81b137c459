"""Time and energy of a training step on a platform, from the trace that SAT is simulated with.

GPUs, edge modules and CPUs run the kernels of the step (`accelsim.platforms.timing`); a published FPGA accelerator does
the operations of the dense step at the rate that its paper states for its own networks.

N:M on platforms with 2:4 products: a pattern runs where every group of four keeps at most two (2:8 does, 4:8 does
not) and gains what 2:4 gains, in linear layers alone, as no library has 2:4 convolutions for training. Everything else
runs dense, and the notes say so.

Several devices: each runs the whole step on its own samples; gradients are summed by a ring, 2 (D - 1) / D of their
bytes over each link, beside the backward pass, of which the last twenty-fifth (a bucket) cannot overlap.

Power: a kernel draws the limit where compute binds it and `_MEMORY_SHARE` of the way from idle to the limit where
memory does; idle power runs all the time. The interval of the energy spans `_SHARE_RANGE` and 1 instead.
"""

import functools
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np

from accelsim.errors import InputError, did_you_mean
from accelsim.hardware.platform import Platform, load_behaviour
from accelsim.platforms.kernels import MASTER_BYTES, Kernels, Software, kernels_of
from accelsim.platforms.memory import step_bytes
from accelsim.platforms.timing import Times, step_seconds
from accelsim.sparsity.methods import Method, find_method
from accelsim.sparsity.pattern import Pattern
from accelsim.step import Stage, Step, check_batch, lower
from accelsim.units import GIGA, MICRO, show
from accelsim.update import find_optimizer
from accelsim.workload.trace import Trace

__all__ = ["PLATFORM_PRECISIONS", "Estimate", "estimate"]

PLATFORM_PRECISIONS = ("auto", "fp32", "tf32", "fp16", "amp", "bf16")
"""How a step computes; auto: mixed precision where 16 bits are faster, else FP32."""

_MEMORY_SHARE = 0.7
_SHARE_RANGE = 0.5
"""Assumptions: power of kernels bound by memory, as a share of the way from idle to the limit, and its least."""

_BUCKET_SHARE = 1 / 25
_LINK_GB_PER_S = 12.0
"""Assumption: what PCIe 3.0 x16 delivers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A training step on a platform.

    `parts`: how many passes of FF, BP and WU the batch takes (gradients accumulate). `macs_dense`: multiply-accumulates
    of the dense step on all devices. `speedup`: over dense training on the same platform. `energy_j` None where the
    platform states no power; `energy_low_j` and `energy_high_j` are its interval. `bound`: what the step waits for
    most. `stage_items`: seconds of each stage on the device. `recalled`: facts of the platform that nobody read.
    """

    workload: str
    platform: str
    kind: str
    method: str
    pattern: str | None
    batch: int
    parts: int
    devices: int
    precision: str
    optimizer: str
    latency_s: float
    macs_dense: int
    speedup: float
    energy_j: float | None
    energy_low_j: float | None
    energy_high_j: float | None
    bound: Literal["compute", "memory", "host", "link", "published rate"]
    stage_items: tuple[tuple[str, float], ...]
    recalled: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def samples_per_s(self) -> float:
        """Samples per second of all devices."""
        return self.batch * self.devices / self.latency_s

    @property
    def effective_gops(self) -> float:
        """Two operations per MAC of the dense step, per second, in 10^9."""
        return 2 * self.macs_dense / self.latency_s / GIGA

    @property
    def gops_per_w(self) -> float | None:
        """The same per watt; None where the power is not known."""
        return None if self.energy_j is None else 2 * self.macs_dense / self.energy_j / GIGA


@dataclass(frozen=True, slots=True)
class _Target:
    """A platform as lowering sees it; see `accelsim.step.Target`."""

    name: str
    patterns: frozenset[Pattern]
    fuses_activations: bool = False


def estimate(
    trace: Trace,
    platform: Platform,
    *,
    method: str = "dense",
    pattern: str | Pattern | None = None,
    batch: int = 512,
    optimizer: str = "sgd",
    precision: str = "auto",
    channels_last: bool = True,
    compiled: bool = False,
    accumulate: bool = False,
    devices: int = 1,
    link_gb_per_s: float = _LINK_GB_PER_S,
) -> Estimate:
    """Estimate one training step of `batch` samples per device on each of `devices` equal platforms.

    `precision`: one of `PLATFORM_PRECISIONS`. `compiled`: a graph compiler fuses elementwise work and issues the step
    at once. `accumulate`: a batch that does not fit the memory runs in equal parts. Raises `InputError` for what is not
    known, for a precision that the platform lacks and for a batch that does not fit its memory.
    """
    check_batch(batch)
    if devices < 1 or link_gb_per_s <= 0:
        raise InputError(
            f"devices: got {devices} with links of {link_gb_per_s:g} GB/s; 1 or more and above 0 are needed"
        )
    chosen = find_method(method)
    parsed = Pattern.parse(pattern) if isinstance(pattern, str) else pattern
    if chosen.takes_pattern and parsed is None:
        raise InputError(f"method '{method}' needs a pattern, as in 2:8")
    if platform.published is not None:
        return _published(trace, platform, chosen, parsed, batch, optimizer)
    if platform.compute is None or platform.behaviour is None:
        raise InputError(
            f"platform '{platform.name}': is a device without compute rates; simulate a design on it with --hw instead"
        )
    software = Software(
        precision=_precision(precision, platform),
        channels_last=channels_last,
        compiled=compiled,
        optimizer=find_optimizer(optimizer),
    )
    platform.peak_flops(software.arithmetic)
    parts = _parts(trace, platform, software, batch, accumulate=accumulate)
    run = functools.partial(_run, trace, platform, software, -(-batch // parts), parts)
    dense = run(find_method("dense"), None)
    mine = run(chosen, parsed) if chosen.is_sparse else dense
    return _finish(trace, platform, software, mine, dense.seconds, chosen, parsed, batch, parts, devices, link_gb_per_s)


def _precision(wanted: str, platform: Platform) -> Literal["fp32", "tf32", "fp16", "amp", "bf16"]:
    if wanted not in PLATFORM_PRECISIONS:
        raise InputError(
            f"precision '{wanted}': not known{did_you_mean(wanted, PLATFORM_PRECISIONS)};"
            f" allowed: {', '.join(PLATFORM_PRECISIONS)}"
        )
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    assert platform.compute is not None
    faster = (platform.compute.fp16_tflops or 0.0) > platform.compute.fp32_tflops
    return "amp" if faster else "fp32"


def _parts(trace: Trace, platform: Platform, software: Software, batch: int, *, accumulate: bool) -> int:
    """Into how many parts a batch is cut; the fewest that fit."""
    assert platform.memory is not None
    capacity = platform.memory.capacity_gb * GIGA
    needed = step_bytes(trace, batch, software)
    if needed <= capacity:
        return 1
    one, two = step_bytes(trace, 1, software), step_bytes(trace, 2, software)
    largest = int((capacity - one) / (two - one)) + 1 if one <= capacity else 0
    where = f"platform '{platform.name}': a step of {batch} samples of {trace.model} ({software.precision}) needs about"
    if largest < 1:
        raise InputError(f"{where} {show(needed, 'B')}, one sample {show(one, 'B')}; it has {show(capacity, 'B')}")
    if not accumulate:
        raise InputError(
            f"{where} {show(needed, 'B')}; it has {show(capacity, 'B')}, enough for {largest} samples. Lower the batch,"
            " or let gradients accumulate over parts of it (--accumulate)"
        )
    return ceil(batch / largest)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Run:
    """A step on one device: the kernels of one part, how often each runs, and their times."""

    step: Step
    kernels: Kernels
    times: Times
    repeats: np.ndarray
    host_s: float
    notes: tuple[str, ...]

    @property
    def device_s(self) -> float:
        return float((self.times.kernels * self.repeats).sum())

    @property
    def seconds(self) -> float:
        return max(self.device_s, self.host_s)


def _run(
    trace: Trace,
    platform: Platform,
    software: Software,
    samples: int,
    parts: int,
    method: Method,
    pattern: Pattern | None,
) -> _Run:
    """Lower and time a step that runs in parts of `samples`; only the update runs once."""
    notes: list[str] = []
    patterns = _usable(platform, method, pattern, notes)
    runs = method if patterns else find_method("dense")
    step = lower(trace, _Target(platform.name, patterns), runs, pattern=pattern if patterns else None, batch=samples)
    kernels = kernels_of(trace, step, software, matrix_units=bool(platform.compute and platform.compute.matrix_units))
    if patterns and (kernels.spatial & kernels.pruned).any():
        notes.append(
            f"{pattern or 'the traced sparsity'} of convolutions runs dense: no library has 2:4 ones for training"
        )
    behaviour = _load_behaviour(str(platform.behaviour))
    times = step_seconds(kernels, platform, behaviour, software)
    once = np.array([stage in (Stage.UPDATE, Stage.GENERATE) for stage in kernels.stages])
    repeats = np.where(once, 1.0, float(parts))
    host_s = 0.0 if software.compiled else float((kernels.launches * repeats).sum()) * behaviour.host_us * MICRO
    return _Run(step=step, kernels=kernels, times=times, repeats=repeats, host_s=host_s, notes=tuple(notes))


_load_behaviour = functools.cache(load_behaviour)


def _usable(platform: Platform, method: Method, pattern: Pattern | None, notes: list[str]) -> frozenset[Pattern]:
    """The patterns that the platform executes as 2:4; notes why there are none."""
    if not method.is_sparse:
        return frozenset()
    assert platform.compute is not None
    what = "the traced sparsity" if pattern is None else f"{pattern}"
    if not platform.compute.sparse_2_4:
        notes.append(f"{what} runs dense: the platform has no 2:4 products")
        return frozenset()
    if method.traced:
        return frozenset({_TWO_OF_FOUR})
    if pattern is None or pattern.kept > _TWO_OF_FOUR.kept or pattern.group % _TWO_OF_FOUR.group:
        notes.append(f"{what} runs dense: not every group of four keeps at most two")
        return frozenset()
    if pattern != _TWO_OF_FOUR:
        notes.append(f"{what} gains what 2:4 gains")
    return frozenset({pattern})


_TWO_OF_FOUR = Pattern(kept=2, group=4)


def _finish(
    trace: Trace,
    platform: Platform,
    software: Software,
    run: _Run,
    dense_s: float,
    method: Method,
    pattern: Pattern | None,
    batch: int,
    parts: int,
    devices: int,
    link_gb_per_s: float,
) -> Estimate:
    assert software.optimizer is not None
    seconds = run.times.kernels * run.repeats
    stages = {stage: float(seconds[[own == stage for own in run.kernels.stages]].sum()) for stage in Stage}
    exposed = _exposed_link_s(trace, devices, link_gb_per_s, stages[Stage.BP] + stages[Stage.WU])
    latency = run.seconds + exposed
    bound_by_compute = run.times.compute >= run.times.memory
    energy = _energy(platform, seconds, bound_by_compute, latency)
    bound: Literal["compute", "memory", "host", "link"] = "host" if run.host_s > run.device_s else "memory"
    if bound != "host" and seconds[bound_by_compute].sum() >= seconds.sum() / 2:
        bound = "compute"
    if exposed > run.seconds:
        bound = "link"
    notes = list(run.notes)
    if parts > 1:
        notes.append(f"{batch} samples run in {parts} parts, as they do not fit the memory")
    if devices > 1:
        notes.append(
            f"{devices} devices, links of {link_gb_per_s:g} GB/s, {show(exposed, 's')} of the exchange exposed"
        )
    return Estimate(
        workload=trace.model,
        platform=platform.name,
        kind=platform.kind,
        method=method.name,
        pattern=None if pattern is None or not method.takes_pattern else str(pattern),
        batch=batch,
        parts=parts,
        devices=devices,
        precision=software.precision,
        optimizer=software.optimizer.name,
        latency_s=latency,
        macs_dense=_macs(trace, batch) * devices,
        speedup=(dense_s + exposed) / latency,
        energy_j=energy[1] * devices,
        energy_low_j=energy[0] * devices,
        energy_high_j=energy[2] * devices,
        bound=bound,
        stage_items=tuple((str(stage), value) for stage, value in stages.items()),
        recalled=platform.recalled,
        notes=tuple(notes),
    )


def _exposed_link_s(trace: Trace, devices: int, link_gb_per_s: float, backward_s: float) -> float:
    """Seconds of the exchange of gradients that no backward work hides."""
    if devices == 1:
        return 0.0
    whole = 2 * (devices - 1) / devices * trace.parameters * MASTER_BYTES / (link_gb_per_s * GIGA)
    return max(whole - backward_s, whole * _BUCKET_SHARE)


def _energy(
    platform: Platform, seconds: np.ndarray, bound_by_compute: np.ndarray, latency: float
) -> tuple[float, float, float]:
    """Joules of one device: least, expected, most."""
    assert platform.power is not None
    idle, above = platform.power.idle_w, platform.power.peak_w - platform.power.idle_w
    compute = float(seconds[bound_by_compute].sum())
    memory = float(seconds.sum()) - compute
    least, expected, most = (
        idle * latency + above * (compute * bound + memory * share)
        for bound, share in ((_SHARE_RANGE, _SHARE_RANGE), (1.0, _MEMORY_SHARE), (1.0, 1.0))
    )
    return least, expected, most


def _macs(trace: Trace, batch: int) -> int:
    """Multiply-accumulates of the dense step."""
    return lower(trace, _Target("dense", frozenset()), find_method("dense"), pattern=None, batch=batch).macs_dense


def _published(
    trace: Trace, platform: Platform, method: Method, pattern: Pattern | None, batch: int, optimizer: str
) -> Estimate:
    """The operations of the dense step at the published rate."""
    assert platform.published is not None
    macs = _macs(trace, batch)
    latency = 2 * macs / (platform.published.throughput_gops * GIGA)
    efficiency = platform.published.gops_per_w
    energy = None if efficiency is None else 2 * macs / (efficiency * GIGA)
    notes = ["at the rate that its paper states for its own network and number format"]
    if method.is_sparse:
        notes.append(f"{pattern or 'the traced sparsity'} runs dense: the accelerator has no N:M products")
    return Estimate(
        workload=trace.model,
        platform=platform.name,
        kind=platform.kind,
        method=method.name,
        pattern=None if pattern is None or not method.takes_pattern else str(pattern),
        batch=batch,
        parts=1,
        devices=1,
        precision="as published",
        optimizer=find_optimizer(optimizer).name,
        latency_s=latency,
        macs_dense=macs,
        speedup=1.0,
        energy_j=energy,
        energy_low_j=energy,
        energy_high_j=energy,
        bound="published rate",
        stage_items=(),
        recalled=platform.recalled,
        notes=tuple(notes),
    )
