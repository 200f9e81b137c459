"""What measurements on a machine say about it: the facts and the behaviour of `accelsim.hardware.platform`.

Everything here is a pure function of `Measurement`; `accelsim.calibration.devices` makes them. Each parameter of the
equations of `accelsim.platforms.kernel_time` comes from the kernels that depend on little else:

- `kernel_us` is the median time of the smallest kernel, and is taken off every other time; `product_kernel_us` the
  time of the smallest GEMM;
- the rate of large GEMMs: those with at least a sixteenth of the most operations measured in that precision, where what
  tiles and waves lose is small. Where no peak is stated the best rate is the peak. `matrix_efficiency` and the like are
  the median over the peak, `product_efficiency` is the best over it;
- bandwidth likewise: large are kernels bound by memory of at least a quarter of the most bytes. `memory_efficiency` is
  the median over the bandwidth, `product_memory_efficiency` the best over it;
- `cache_gain` is how much faster kernels of the same kind move what fits half the last-level cache;
- `conv_factor` is GEMM time over convolution time of the same m, n and k on matrix units, at most 1; `winograd_gain`
  what FP32 convolutions gain beyond that; `direct_share` the rate of grouped FP32 convolutions over that of GEMMs;
- `sparse_gain` g and `sparse_kernel_us` s are the line  sparse = dense / g + s  through all pairs, least squares of the
  relative error, g from 1 to 2 and s from 0;
- `pj_per_operation` is what the power between idle and limit allows at the peak, so that it caps nothing: the power
  limit has acted on the measured rates already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.base.units import GIGA, MEGA, MICRO, PICO, TERA
from accelsim.calibration.measured_rows import Measurement, What
from accelsim.hardware.platform import PRECISIONS, rate_field
from accelsim.hardware.sourced_text import SourcedValue

__all__ = ["Calibration", "calibrate"]

_LARGE_GEMM = 1 / 16
_LARGE_STREAM = 1 / 4
_LEAST_OPERATIONS = 2 * 256**3
"""A GEMM of fewer says nothing of rates."""

_ABOVE_PEAK = 1.3
"""How far clocks may exceed those that a data sheet counts its peak with."""
_MOST_CACHE_GAIN, _MOST_WINOGRAD_GAIN, _MOST_PJ = 20.0, 4.0, 1000.0
"""What `accelsim.hardware.platform.Behaviour` allows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Values of a platform and of its behaviour by dotted path, each with its source."""

    platform: Mapping[str, SourcedValue]
    behaviour: Mapping[str, SourcedValue]


def calibrate(measurements: Sequence[Measurement], facts: Mapping[str, SourcedValue]) -> Calibration:
    """Return what `measurements` say, beside `facts` by dotted path as `accelsim.hardware.platform.Platform` has them.

    `facts` needs all of a platform but peak rates, bandwidth and 2:4; such of them as it has are kept, and the shares
    are relative to them. Raises `InputError` where a measured rate is far above the stated one, or where a measurement
    that is needed is missing.
    """
    origin = _Origin.of(measurements)
    kernel_s = _typical(measurements, "kernel")
    found = dict(facts)
    gemms: dict[str, _Shares] = {}
    for precision in PRECISIONS:
        large = _large([item for item in measurements if item.what == "gemm" and item.precision == precision])
        if large:
            rates = [item.operations / _without(kernel_s, item) for item in large]
            path, best = f"compute.{rate_field(precision)}", f"best of {len(rates)} large {precision.upper()} GEMMs"
            gemms[precision] = _shares(found, path, rates, TERA, origin.value(max(rates) / TERA, best))
    if "fp32" not in gemms:
        raise InputError("no FP32 GEMM was measured")
    for precision in gemms:
        most = max(item.operations for item in measurements if item.what == "gemm" and item.precision == precision)
        if most < _LEAST_OPERATIONS:
            raise InputError(
                f"the largest {precision.upper()} GEMM that was measured has {most:.3g} operations, too few for a rate"
                f" ({_LEAST_OPERATIONS:.3g} are needed): larger ones took too long. Leave out --quick, or wait until"
                " the machine is quiet"
            )
    streams = [item for item in measurements if item.what == "stream"]
    moved = [item.bytes / _without(kernel_s, item) for item in _large(streams, _LARGE_STREAM)]
    if not moved:
        raise InputError("no kernel bound by memory was measured")
    best = f"best of {len(moved)} large kernels bound by memory"
    memory = _shares(found, "memory.bandwidth_gb_per_s", moved, GIGA, origin.value(max(moved) / GIGA, best))
    sparse = _sparse(measurements, kernel_s, origin)
    skips = sparse["sparse_gain"].confidence == "measured"
    found.setdefault("compute.sparse_2_4", SourcedValue(skips, sparse["sparse_gain"].source, "derived"))
    behaviour = {
        **_efficiencies(gemms, origin),
        **_convolutions(measurements, kernel_s, gemms["fp32"].rate, bool(found["compute.matrix_units"].value), origin),
        "pj_per_operation": _energy(found),
        "memory_efficiency": origin.value(
            min(1.0, memory.typical), f"median of {len(moved)} large copies, additions and normalisations"
        ),
        "kernel_us": origin.value(kernel_s / MICRO, "median time of the smallest kernel"),
        "host_us": _host_us(measurements, origin),
        "product_efficiency": origin.value(
            max(item.best for item in gemms.values()), "best rate of a large GEMM over the peak, of all precisions"
        ),
        "product_memory_efficiency": origin.value(min(1.0, memory.best), f"{best}, over the bandwidth"),
        "product_kernel_us": origin.value(
            min(item.median_s for item in measurements if item.what == "gemm") / MICRO, "time of the smallest GEMM"
        ),
        "cache_gain": _cache_gain(streams, kernel_s, float(found["memory.cache_mb"].value) * MEGA, origin),
        **sparse,
    }
    return Calibration(platform=found, behaviour=behaviour)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Says where values come from."""

    text: str

    @classmethod
    def of(cls, measurements: Sequence[Measurement]) -> "_Origin":
        if not measurements:
            raise InputError("no measurements to calibrate from")
        dates = sorted({item.date for item in measurements})
        software = ", ".join(dict.fromkeys(item.software for item in measurements))
        when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
        return cls(f"measured by accelsim calibrate on {measurements[0].device}, {software}, {when}")

    def value(self, value: float, how: str) -> SourcedValue:
        """A measured value, with four digits; `how` says which statistic it is."""
        return SourcedValue(float(f"{value:.4g}"), f"{self.text}: {how}", "measured")


@dataclass(frozen=True, slots=True)
class _Shares:
    """Rates relative to a peak, the median and the best; and the median itself."""

    typical: float
    best: float
    rate: float


def _shares(
    found: dict[str, SourcedValue], path: str, rates: Sequence[float], unit: float, best: SourcedValue
) -> _Shares:
    """Rates over the peak that `found` states, or else over the best of them, which is added to `found`."""
    stated = found.setdefault(path, best)
    peak = max(rates) if stated is best else float(stated.value) * unit
    if max(rates) > peak * _ABOVE_PEAK:
        raise InputError(
            f"{path}: got {stated.value:g} ({stated.source}), but {best.value:g} was measured; leave it out to take the"
            " best measured rate as the peak, or state the right one"
        )
    return _Shares(median(rates) / peak, max(rates) / peak, median(rates))


def _typical(measurements: Sequence[Measurement], what: What) -> float:
    times = [item.median_s for item in measurements if item.what == what]
    if not times:
        raise InputError(f"no measurement of kind '{what}'")
    return median(times)


def _large(measurements: Sequence[Measurement], share: float = _LARGE_GEMM) -> list[Measurement]:
    """Those of at least a share of the most operations, or bytes where there are none."""
    most = max((item.operations or item.bytes for item in measurements), default=0)
    return [item for item in measurements if (item.operations or item.bytes) >= most * share]


def _without(kernel_s: float, item: Measurement) -> float:
    """The time of a kernel less that of the smallest one."""
    if item.median_s <= kernel_s:
        raise InputError(
            f"a {item.what} takes {item.median_s:.3g} s, no longer than the smallest kernel with {kernel_s:.3g} s:"
            " the measurements contradict each other"
        )
    return item.median_s - kernel_s


def _efficiencies(gemms: Mapping[str, _Shares], origin: _Origin) -> dict[str, SourcedValue]:
    """Shares of the peak on matrix units, for TF32 and for FP32; what was not measured is as FP32."""
    groups = {
        "matrix_efficiency": [precision for precision in ("fp16", "bf16") if precision in gemms],
        "tf32_efficiency": [precision for precision in ("tf32",) if precision in gemms],
        "fp32_efficiency": ["fp32"],
    }
    found = {}
    for name, group in groups.items():
        if group:
            how = f"median rate of large {' and '.join(group).upper()} GEMMs over the peak"
            found[name] = origin.value(median(gemms[precision].typical for precision in group), how)
        else:
            share = float(f"{gemms['fp32'].typical:.4g}")
            found[name] = SourcedValue(share, "no GEMM was measured in such a precision: as FP32", "assumption")
    return found


def _convolutions(
    measurements: Sequence[Measurement], kernel_s: float, fp32_rate: float, matrix_units: bool, origin: _Origin
) -> dict[str, SourcedValue]:
    """How convolutions fare beside GEMMs: of their size, or grouped ones beside large GEMMs."""
    gemms = _by_shape(measurements, "gemm")
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for item in measurements:
        if item.what == "conv" and (item.precision, item.shape) in gemms:
            on_units = matrix_units and item.precision != "fp32"
            gemm = gemms[item.precision, item.shape]
            ratios[on_units].append(_without(kernel_s, gemm) / _without(kernel_s, item))
    grouped = [item.operations / _without(kernel_s, item) for item in measurements if item.kind == "grouped"]
    unknown = SourcedValue(1.0, "no such convolution was measured: as fast as GEMMs", "assumption")
    factors = ratios[True] or ratios[False]
    if not factors:
        return dict.fromkeys(("conv_factor", "winograd_gain", "direct_share"), unknown)
    factor = min(1.0, median(factors))
    found = {
        "conv_factor": origin.value(
            factor, f"GEMM time over that of a 3x3 convolution of its size, forward, median of {len(factors)}"
        ),
        "winograd_gain": unknown,
        "direct_share": unknown,
    }
    if ratios[False]:
        gain = min(_MOST_WINOGRAD_GAIN, max(1.0, median(ratios[False]) / factor))
        how = f"the same without matrix units over conv_factor, at least 1, median of {len(ratios[False])}"
        found["winograd_gain"] = origin.value(gain, how)
    if grouped:
        how = f"rate of convolutions of 32 groups over that of large FP32 GEMMs, median of {len(grouped)}"
        found["direct_share"] = origin.value(min(1.0, median(grouped) / fp32_rate), how)
    return found


def _energy(found: Mapping[str, SourcedValue]) -> SourcedValue:
    """The energy of an operation at which the power limit just allows the peak, or more."""
    powers = [float(found[f"power.{name}"].value) for name in ("peak_w", "idle_w")]
    path = next(path for path in ("compute.fp16_tflops", "compute.bf16_tflops", "compute.fp32_tflops") if path in found)
    value = min(_MOST_PJ, (powers[0] - powers[1]) / (float(found[path].value) * TERA) / PICO)
    source = f"power between idle and limit over {path}, so that it caps nothing: the limit acted on what was measured"
    return SourcedValue(float(f"{value:.4g}"), source, "derived")


def _host_us(measurements: Sequence[Measurement], origin: _Origin) -> SourcedValue:
    if any(item.what == "issue" for item in measurements):
        how = "host time per kernel of a forward and backward pass of small operations"
        return origin.value(_typical(measurements, "issue") / MICRO, how)
    return SourcedValue(0.0, "the host runs the kernels itself: kernel_us holds what a kernel costs it", "derived")


def _cache_gain(streams: Sequence[Measurement], kernel_s: float, cache_bytes: float, origin: _Origin) -> SourcedValue:
    gains = []
    for kind in {item.kind for item in streams}:
        alike = [item for item in streams if item.kind == kind]
        rates = {item.bytes: item.bytes / _without(kernel_s, item) for item in alike}
        cached = [rate for size, rate in rates.items() if size <= cache_bytes / 2]
        if cached:
            gains.append(median(cached) / rates[max(rates)])
    if not gains:
        return SourcedValue(1.0, "nothing that fits the cache was measured: as fast as memory", "assumption")
    gain = min(_MOST_CACHE_GAIN, max(1.0, median(gains)))
    return origin.value(gain, f"median over {len(gains)} kinds of memory-bound kernels")


def _sparse(measurements: Sequence[Measurement], kernel_s: float, origin: _Origin) -> dict[str, SourcedValue]:
    gemms = _by_shape(measurements, "gemm")
    pairs = [
        (_without(kernel_s, gemms[item.precision, item.shape]), _without(kernel_s, item))
        for item in measurements
        if item.what == "sparse_gemm" and (item.precision, item.shape) in gemms
    ]
    if len(pairs) < 2:
        source = "no 2:4 GEMMs were measured: none are assumed to run"
        return {
            "sparse_gain": SourcedValue(1.0, source, "assumption"),
            "sparse_kernel_us": SourcedValue(0.0, source, "assumption"),
        }
    slope, extra_s = _relative_line(*(np.array(times) for times in zip(*pairs, strict=True)))
    how = f"line through {len(pairs)} pairs of dense and 2:4 GEMMs"
    return {
        "sparse_gain": origin.value(1.0 / slope, how),
        "sparse_kernel_us": origin.value(extra_s / MICRO, how),
    }


def _relative_line(dense: NDArray[np.float64], sparse: NDArray[np.float64]) -> tuple[float, float]:
    """Slope from 1/2 to 1 and intercept from 0 of sparse over dense times, least squares of the relative error."""

    def intercept(slope: float) -> float:
        weights = sparse**-2.0
        return max(0.0, float(((sparse - slope * dense) * weights).sum() / weights.sum()))

    columns = np.stack([dense / sparse, 1.0 / sparse], axis=1)
    slope, extra_s = np.linalg.lstsq(columns, np.ones(len(dense)), rcond=None)[0]
    if extra_s < 0:
        slope, extra_s = float((dense / sparse).sum() / ((dense / sparse) ** 2).sum()), 0.0
    if 0.5 <= slope <= 1.0:
        return float(slope), float(extra_s)
    bound = min(1.0, max(0.5, float(slope)))
    return bound, intercept(bound)


def _by_shape(measurements: Sequence[Measurement], what: What) -> dict[tuple[str, tuple[int, int, int]], Measurement]:
    return {(item.precision, item.shape): item for item in measurements if item.what == what}
