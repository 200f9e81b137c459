"""Time and energy of a training step on a platform, from the trace that SAT is simulated with.

GPUs, edge modules and CPUs run the kernels of the step (`accelsim.platforms.kernel_time`); a published FPGA accelerator
does the operations of the dense step at the rate that its paper states for its own networks.

N:M on platforms with 2:4 products: a pattern runs where every group of four keeps at most two (2:8 does, 4:8 does
not) and gains what 2:4 gains, in linear layers alone, as no library has 2:4 convolutions for training, and not in FP32.
Everything else runs dense, and the notes say so.

Several devices: each runs the whole step on its own samples; gradients are summed by a ring, 2 (D - 1) / D of their
bytes over each link, beside BP and WU of the last part of the batch; the last twenty-fifth of them (a bucket) has
nothing left to hide behind.

Power: a kernel draws the limit where compute binds it and `_MEMORY_SHARE` of the way from idle to the limit where
memory does; idle power runs all the time. The interval of the energy spans `_SHARE_RANGE` and 1 instead.
"""

import functools
from dataclasses import dataclass
from math import ceil, inf, lcm
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.units import GIGA, show
from accelsim.hardware.platform import Behaviour, Platform, behaviour_names, load_behaviour
from accelsim.lowering.builder import lower
from accelsim.lowering.case import check_batch
from accelsim.lowering.optimizers import find_optimizer
from accelsim.lowering.tasks import Stage
from accelsim.platforms.kernel_time import Times, step_seconds
from accelsim.platforms.kernels import Floats, Kernels, Software, kernels_of
from accelsim.platforms.memory import step_bytes
from accelsim.sparsity.methods import Method, find_method
from accelsim.sparsity.pattern import Pattern
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
    behaviour: str | None
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
    """A platform as lowering sees it; see `accelsim.lowering.rules.Target`."""

    patterns: frozenset[Pattern]
    name: str = "platform"
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
    if devices < 1 or not 0 < link_gb_per_s < inf:
        raise InputError(
            f"devices: got {devices} with links of {link_gb_per_s:g} GB/s; 1 or more and above 0 are needed"
        )
    chosen = find_method(method)
    parsed = Pattern.parse(pattern) if isinstance(pattern, str) else pattern
    if chosen.takes_pattern and parsed is None:
        raise InputError(f"method '{method}' needs a pattern, as in 2:8")
    if not chosen.takes_pattern:
        parsed = None
    wanted, updated = _precision(precision, platform), find_optimizer(optimizer)
    if platform.published is not None:
        return _published(trace, platform, chosen, parsed, batch, updated.name, devices)
    if platform.compute is None or platform.behaviour is None:
        raise InputError(
            f"platform '{platform.name}': is a device without compute rates; simulate a design on it with --hw instead"
        )
    software = Software(precision=wanted, channels_last=channels_last, compiled=compiled, optimizer=updated)
    platform.peak_flops(software.arithmetic)
    case = _Case(
        trace=trace,
        platform=platform,
        software=software,
        batch=batch,
        parts=_parts(trace, platform, software, batch, accumulate=accumulate),
        devices=devices,
        link_gb_per_s=link_gb_per_s,
    )
    dense = _run(case, _DENSE, None)
    return _finish(case, _run(case, chosen, parsed) if chosen.is_sparse else dense, dense, chosen, parsed)


def _precision(wanted: str, platform: Platform) -> Literal["fp32", "tf32", "fp16", "amp", "bf16"]:
    if wanted not in PLATFORM_PRECISIONS:
        raise InputError(
            f"precision '{wanted}': not known{did_you_mean(wanted, PLATFORM_PRECISIONS)};"
            f" allowed: {', '.join(PLATFORM_PRECISIONS)}"
        )
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    compute = platform.compute
    faster = compute is not None and (compute.fp16_tflops or 0.0) > compute.fp32_tflops
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What does not depend on the method: `batch` samples on each of the devices, in `parts` passes."""

    trace: Trace
    platform: Platform
    software: Software
    batch: int
    parts: int
    devices: int
    link_gb_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lowered:
    """A step as kernels, with the number of the stage of each; how many products the trace
    shows sparse but run dense."""

    kernels: Kernels
    stages: NDArray[np.intp]
    unused: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Run:
    """A step on one device: times of all parts, seconds of each stage, and of the exchange that nothing hides."""

    times: Times
    stages: dict[Stage, float]
    exposed_s: float
    macs: int
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return self.times.step_s + self.exposed_s


@functools.lru_cache(maxsize=64)
def _lowered(
    trace: Trace, method: Method, pattern: Pattern | None, samples: int, software: Software, *, matrix_units: bool
) -> _Lowered:
    """Lower a step and name its kernels; no platform enters, so that what was asked for lately is at hand for all."""
    patterns = frozenset({pattern or _TWO_OF_FOUR}) if method.is_sparse else frozenset[Pattern]()
    step = lower(trace, _Target(patterns), method, pattern=pattern, batch=samples)
    kernels = kernels_of(trace, step, software, matrix_units=matrix_units)
    numbers = {stage: number for number, stage in enumerate(Stage)}
    return _Lowered(
        kernels=kernels,
        stages=np.array([numbers[stage] for stage in kernels.stages], dtype=np.intp),
        unused=len(step.notes) if method.traced else 0,
        macs=step.macs_dense,
    )


def _run(case: _Case, method: Method, pattern: Pattern | None) -> _Run:
    """Time a step that runs in parts; compact copies are made, and weights updated, once for all of them."""
    platform, software = case.platform, case.software
    assert platform.compute is not None
    notes: list[str] = []
    if not _usable(platform, software, method, pattern, notes):
        method, pattern = _DENSE, None
    samples, matrix_units = -(-case.batch // case.parts), platform.compute.matrix_units
    lowered = _lowered(case.trace, method, pattern, samples, software, matrix_units=matrix_units)
    kernels, what = lowered.kernels, pattern or "the traced sparsity"
    if kernels.sparse.any() and pattern not in (None, _TWO_OF_FOUR):
        notes.append(f"{what} gains what 2:4 gains")
    if (kernels.spatial & kernels.pruned).any():
        notes.append(f"{what} of convolutions runs dense: no library has 2:4 ones for training")
    if lowered.unused:
        products = f"{lowered.unused} {'product' if lowered.unused == 1 else 'products'}"
        notes.append(f"{what} of {products} runs dense: not every group of four keeps at most two")
    once = [list(Stage).index(stage) for stage in (Stage.UPDATE, Stage.GENERATE)]
    repeats = np.where(np.isin(lowered.stages, once), 1.0, float(case.parts))
    times = step_seconds(kernels, platform, _behaviour(str(platform.behaviour)), software, repeats)
    by_stage = np.bincount(lowered.stages, weights=times.kernels, minlength=len(Stage))
    stages = {stage: float(value) for stage, value in zip(Stage, by_stage, strict=True)}
    exposed_s = _exposed_link_s(case, (stages[Stage.BP] + stages[Stage.WU]) / case.parts)
    return _Run(times=times, stages=stages, exposed_s=exposed_s, macs=lowered.macs, notes=tuple(notes))


def _behaviour(name: str) -> Behaviour:
    """Shipped ones are read once; a file may have changed since."""
    return _shipped_behaviour(name) if name in behaviour_names() else load_behaviour(name)


_shipped_behaviour = functools.cache(load_behaviour)


def _usable(platform: Platform, software: Software, method: Method, pattern: Pattern | None, notes: list[str]) -> bool:
    """Say whether a sparse method runs as 2:4 where it can; notes why it does not."""
    if not method.is_sparse:
        return True
    assert platform.compute is not None
    what = "the traced sparsity" if pattern is None else f"{pattern}"
    reason = None
    if not platform.compute.sparse_2_4:
        reason = "the platform has no 2:4 products"
    elif software.arithmetic == "fp32":
        reason = "there are no 2:4 products in FP32"
    elif pattern is not None and not _within_two_of_four(pattern):
        reason = "not every group of four keeps at most two"
    if reason is not None:
        notes.append(f"{what} runs dense: {reason}")
        return False
    return True


_DENSE = find_method("dense")
_TWO_OF_FOUR = Pattern(kept=2, group=4)


def _within_two_of_four(pattern: Pattern) -> bool:
    """Say whether four neighbours keep at most two, wherever the kept ones of each group are.

    >>> [_within_two_of_four(Pattern.parse(text)) for text in ("2:4", "2:8", "1:2", "4:8", "2:6")]
    [True, True, True, False, False]
    """
    four, group = _TWO_OF_FOUR.group, pattern.group
    for start in range(0, lcm(four, group), four):
        most = 0
        for first in range(start - start % group, start + four, group):
            most += min(pattern.kept, min(start + four, first + group) - max(start, first))
        if most > _TWO_OF_FOUR.kept:
            return False
    return True


def _finish(case: _Case, run: _Run, dense: _Run, method: Method, pattern: Pattern | None) -> Estimate:
    trace, platform, software, parts, devices = case.trace, case.platform, case.software, case.parts, case.devices
    assert software.optimizer is not None
    seconds, latency = run.times.kernels, run.seconds
    if not latency > 0:
        raise InputError(f"trace '{trace.model}': a step on {platform.name} has nothing to do")
    bound_by_compute = run.times.compute >= run.times.memory
    energy = _energy(platform, seconds, bound_by_compute, latency)
    bound: Literal["compute", "memory", "host", "link"] = "memory"
    if run.exposed_s > run.times.step_s:
        bound = "link"
    elif run.times.host_s > seconds.sum():
        bound = "host"
    elif seconds[bound_by_compute].sum() >= seconds.sum() / 2:
        bound = "compute"
    notes = list(run.notes)
    if parts > 1:
        notes.append(f"{case.batch} samples run in {parts} parts, as they do not fit the memory")
    if devices > 1:
        notes.append(
            f"{devices} devices, links of {case.link_gb_per_s:g} GB/s, {show(run.exposed_s, 's')} of the exchange"
            " exposed"
        )
    return Estimate(
        workload=trace.model,
        platform=platform.name,
        behaviour=platform.behaviour,
        kind=platform.kind,
        method=method.name,
        pattern=None if pattern is None else str(pattern),
        batch=case.batch,
        parts=parts,
        devices=devices,
        precision=software.precision,
        optimizer=software.optimizer.name,
        latency_s=latency,
        macs_dense=(dense.macs if parts == 1 else _macs(trace, case.batch)) * devices,
        speedup=dense.seconds / latency,
        energy_j=energy[1] * devices,
        energy_low_j=energy[0] * devices,
        energy_high_j=energy[2] * devices,
        bound=bound,
        stage_items=tuple((str(stage), value) for stage, value in run.stages.items()),
        recalled=platform.recalled,
        notes=tuple(notes),
    )


def _exposed_link_s(case: _Case, backward_s: float) -> float:
    """Seconds of the exchange of gradients that the backward pass does not hide."""
    if case.devices == 1:
        return 0.0
    moved = 2 * (case.devices - 1) / case.devices * case.trace.parameters * case.software.master_bytes
    whole = moved / (case.link_gb_per_s * GIGA)
    return max(whole - backward_s, whole * _BUCKET_SHARE)


def _energy(
    platform: Platform, seconds: Floats, bound_by_compute: NDArray[np.bool_], latency: float
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


@functools.lru_cache(maxsize=16)
def _macs(trace: Trace, batch: int) -> int:
    """Multiply-accumulates of the dense step."""
    return lower(trace, _Target(frozenset()), _DENSE, pattern=None, batch=batch).macs_dense


def _published(
    trace: Trace,
    platform: Platform,
    method: Method,
    pattern: Pattern | None,
    batch: int,
    optimizer: str,
    devices: int,
) -> Estimate:
    """The operations of the dense step at the published rate."""
    assert platform.published is not None
    macs = _macs(trace, batch)
    if not macs:
        raise InputError(
            f"trace '{trace.model}': has no products, whose rate is all that is published of {platform.name}"
        )
    latency = 2 * macs / (platform.published.throughput_gops * GIGA)
    efficiency = platform.published.gops_per_w
    energy = None if efficiency is None else 2 * macs / (efficiency * GIGA)
    notes = ["at the rate that its paper states for its own network and number format"]
    if method.is_sparse:
        notes.append(f"{pattern or 'the traced sparsity'} runs dense: the accelerator has no N:M products")
    if devices > 1:
        notes.append("one device: how several share a step is not published")
    return Estimate(
        workload=trace.model,
        platform=platform.name,
        behaviour=None,
        kind=platform.kind,
        method=method.name,
        pattern=None if pattern is None else str(pattern),
        batch=batch,
        parts=1,
        devices=1,
        precision="as published",
        optimizer=optimizer,
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
