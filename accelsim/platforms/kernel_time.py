"""How long kernels take on a platform.

A product of m x n x k is cut into tiles; the tile is the fastest of `_TILES`, in both orientations. With S
multiprocessors, peak rate P and efficiency e::

    tiles   = count ceil(m / tm) ceil(n / tn)
    depth   = max(k / floor(S / tiles), min(k, 512))               k is split where there are fewer tiles than S
    compute = ceil(tiles / S) tm tn 32 ceil(depth / 32) 2 / (P / S e q)    q = i / (i + C) relative to the largest tile,
    memory  = bytes / (B b)                                        i = tm tn / (tm + tn) MACs per word read
    time    = (compute^4 + memory^4)^(1/4) + kernel

The fourth power stands for what compute and memory lose to each other where they are about equal. B b is the bandwidth
that kernels reach; what fits half the last-level cache moves `cache_gain` times faster. The power limit caps e on
matrix units (`sustained_share`). A convolution runs at `conv_factor` of the rate, times `winograd_gain` where
Winograd's algorithm suits it and matrix units are not used; a grouped one may run without matrix units if that is
faster. Without matrix units 16-bit products run at the rate of FP32 if that is higher.

A 2:4 product on a platform that has them computes `sparse_gain` times faster, reads the compact weight, and takes
`sparse_kernel_us` on top, which is why small ones lose. The step takes as long as its kernels, or as the host needs to
issue them, whichever is longer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accelsim.base.units import GIGA, MEGA, MICRO, PICO
from accelsim.hardware.platform import Behaviour, Platform
from accelsim.platforms.kernels import Floats, Kernels, Software, compact_share

__all__ = ["Times", "pair_seconds", "step_seconds", "sustained_share"]

_TILES = ((256, 128), (128, 128), (128, 64), (64, 64), (128, 32), (64, 32), (64, 16), (32, 32), (32, 16), (16, 8))
_TILE_DEPTH = 32
_SMALLEST_PART = 512
"""Elements of k that a part has at least where a product is split."""

_INTENSITY_HALF = 20.0
"""C above: the tile intensity, in MACs per word, at which half the rate would be reached. Assumption."""

_OPERAND_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1}
_RESULT_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 2, "int8": 2}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Times:
    """Seconds of each kernel, of which compute and memory alone would take so long; seconds of the host for all."""

    kernels: Floats
    compute: Floats
    memory: Floats
    host_s: float

    @property
    def step_s(self) -> float:
        """Seconds of the step."""
        return max(float(self.kernels.sum()), self.host_s)


def step_seconds(
    kernels: Kernels, platform: Platform, behaviour: Behaviour, software: Software, repeats: Floats | None = None
) -> Times:
    """Return how long the kernels of a step take, each run once or as often as `repeats` says.

    Raises `InputError` for a precision that the platform lacks.
    """
    assert platform.compute is not None
    times = np.ones(len(kernels)) if repeats is None else repeats
    compute = np.zeros(len(kernels))
    which = kernels.copies > 0
    if which.any():
        compute[which] = _compute_seconds(kernels, which, platform, behaviour, software.arithmetic)
    memory = _memory_seconds(kernels.bytes, platform, behaviour.memory_efficiency, behaviour.cache_gain)
    sparse = kernels.sparse & platform.compute.sparse_2_4
    fixed = kernels.launches * behaviour.kernel_us + np.where(sparse, behaviour.sparse_kernel_us, 0.0)
    return Times(
        kernels=(_together(compute, memory) + fixed * MICRO) * times,
        compute=compute * times,
        memory=memory * times,
        host_s=0.0 if software.compiled else float((kernels.launches * times).sum()) * behaviour.host_us * MICRO,
    )


def pair_seconds(
    m: Floats, n: Floats, k: Floats, platform: Platform, behaviour: Behaviour, arithmetic: str
) -> tuple[Floats, Floats]:
    """Seconds of products m x n x k alone, dense and with a 2:4 n x k weight, each by the best kernel that there is."""
    assert platform.compute is not None
    once = np.ones_like(m)
    rate = platform.peak_flops(arithmetic) * behaviour.product_efficiency
    compute = _product_seconds(m, n, k, once, platform.compute.multiprocessors, rate)
    width, result = _OPERAND_BYTES[arithmetic], m * n * _RESULT_BYTES[arithmetic]
    compact = n * k * width * compact_share(width)
    efficiency, gain = behaviour.product_memory_efficiency, behaviour.cache_gain
    dense = _memory_seconds((m * k + n * k) * width + result, platform, efficiency, gain)
    sparse = _memory_seconds(m * k * width + compact + result, platform, efficiency, gain)
    fixed = behaviour.product_kernel_us
    return (
        _together(compute, dense) + fixed * MICRO,
        _together(compute / behaviour.sparse_gain, sparse) + (fixed + behaviour.sparse_kernel_us) * MICRO,
    )


def sustained_share(platform: Platform, behaviour: Behaviour) -> float:
    """Share of the matrix units' peak that the power limit sustains: (limit - idle) / (J per operation x peak)."""
    assert platform.power is not None
    full_w = behaviour.pj_per_operation * PICO * platform.peak_flops("fp16")
    return (platform.power.peak_w - platform.power.idle_w) / full_w


def _together(compute: Floats, memory: Floats) -> Floats:
    return np.sqrt(np.hypot(compute**2, memory**2))


def _memory_seconds(moved: Floats, platform: Platform, efficiency: float, cache_gain: float) -> Floats:
    """Seconds to move bytes, faster where they fit the last-level cache."""
    assert platform.memory is not None
    rate = platform.memory.bandwidth_gb_per_s * GIGA * efficiency
    cached = np.minimum(moved, platform.memory.cache_mb * MEGA / 2)
    return (moved - cached) / rate + cached / (rate * cache_gain)


def _compute_seconds(
    kernels: Kernels, which: NDArray[np.bool_], platform: Platform, behaviour: Behaviour, arithmetic: str
) -> Floats:
    assert platform.compute is not None
    m, n, k, count = (column[which] for column in (kernels.m, kernels.n, kernels.k, kernels.copies))
    matrix = arithmetic != "fp32" and platform.compute.matrix_units
    plain = platform.peak_flops("fp32") * behaviour.fp32_efficiency
    if matrix:
        wanted = behaviour.tf32_efficiency if arithmetic == "tf32" else behaviour.matrix_efficiency
        rate = platform.peak_flops(arithmetic) * min(wanted, sustained_share(platform, behaviour))
    else:
        rate = max(platform.peak_flops(arithmetic) * behaviour.fp32_efficiency, plain)
    factor = np.where(kernels.spatial[which], behaviour.conv_factor, 1.0)
    if not matrix:
        factor = np.where(kernels.winograd[which], factor * behaviour.winograd_gain, factor)
    sparse = kernels.sparse[which] & platform.compute.sparse_2_4
    factor = np.where(sparse, factor * behaviour.sparse_gain, factor)
    seconds = _product_seconds(m, n, k, count, platform.compute.multiprocessors, rate) / factor
    grouped = kernels.spatial[which] & (count > 1)
    direct = np.where(grouped, kernels.flops[which] / (plain * behaviour.direct_share), np.inf)
    return np.asarray(np.minimum(seconds, direct))


def _product_seconds(m: Floats, n: Floats, k: Floats, count: Floats, units: int, rate: float) -> Floats:
    """Seconds of `count` products of m x n x k on `units` multiprocessors of together `rate` operations per second."""
    best = np.full(m.shape, np.inf)
    for rows, cols in _TILES:
        quality = _quality(rows, cols)
        for tall, wide in {(rows, cols), (cols, rows)}:
            tiles = count * np.ceil(m / tall) * np.ceil(n / wide)
            parts = np.maximum(1.0, np.floor(units / tiles))
            depth = _TILE_DEPTH * np.ceil(np.maximum(k / parts, np.minimum(k, _SMALLEST_PART)) / _TILE_DEPTH)
            waves = np.ceil(tiles / units)
            np.minimum(best, waves * (tall * wide * 2.0) * depth * units / (rate * quality), out=best)
    return best


def _quality(rows: int, cols: int) -> float:
    """Rate of a tile relative to the largest, from how often it uses what it reads."""
    intensity, largest = rows * cols / (rows + cols), _TILES[0][0] * _TILES[0][1] / sum(_TILES[0])
    return intensity * (largest + _INTENSITY_HALF) / (largest * (intensity + _INTENSITY_HALF))
