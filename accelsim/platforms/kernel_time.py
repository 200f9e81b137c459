"""How long kernels take on a platform.

A product of m x n x k is cut into tiles; the tile is the fastest of `_TILES`, in both orientations. With S
multiprocessors, peak rate P and efficiency e::

    tiles   = count ceil(m / tm) ceil(n / tn)
    depth   = max(k / floor(S / tiles), min(k, 512))               k is split where there are fewer tiles than S
    compute = ceil(tiles / S) tm tn 32 ceil(depth / 32) 2 / (P / S e q)    q = i / (i + C) relative to the largest tile,
    memory  = bytes / (B b)                                        i = tm tn / (tm + tn) MACs per word read
    time    = (compute^4 + memory^4)^(1/4) + kernel

The fourth power stands for what compute and memory lose to each other where they are about equal. B b is the bandwidth
that kernels reach; within a step what fits half the last-level cache moves `cache_gain` times faster.

Within a training step the power limit caps e on matrix units (`sustained_share`). A convolution runs at `conv_factor`
of the rate, times `channels_last_gain` or, in TF32 or without matrix units, a gain of its own; times `winograd_gain`
where Winograd's algorithm suits it and matrix units are not used. A grouped or depthwise one may run without matrix
units if that is faster. Without matrix units 16-bit products run at the rate of FP32 if that is higher. The step takes
(kernels^2 + host^2)^(1/2), with the time that the host needs to issue them, as neither hides the other altogether.

Products alone, run again and again, find what they move in the last-level cache: all of it up to `cache_share` of the
cache, nothing from half a cache above that. Each element of k adds `product_depth_ns`, as a small result leaves few
tiles to walk along k and splitting k costs too.

A 2:4 product on a platform that has them computes `sparse_gain` times faster, reads the compact weight, and takes
`sparse_kernel_us` and `sparse_depth_ns` instead, which is why small ones and those of small m lose. As it computes
twice as fast from the same reads, its C is twice that of a dense one. Libraries without kernels made for an
architecture walk n first, 128 rows of m at a time: of a weight that the cache does not hold `sparse_reread` is read
again for each of them, until large ones are slower than dense.
"""

from dataclasses import dataclass
from math import hypot

import numpy as np

from accelsim.base.units import GIGA, MEGA, MICRO, NANO, PICO
from accelsim.hardware.platform import Behaviour, Platform
from accelsim.platforms.kernels import Floats, Kernels, Software, compact_share

__all__ = ["Times", "pair_seconds", "step_seconds", "sustained_share", "unit_seconds"]

_TILES = ((256, 128), (128, 128), (128, 64), (64, 64), (128, 32), (64, 32), (64, 16), (32, 32), (32, 16), (16, 8))
_TILE_DEPTH = 32
_SMALLEST_PART = 512
"""Elements of k that a part has at least where a product is split."""

_INTENSITY_HALF = 20.0
"""C above: the tile intensity, in MACs per word, at which half the rate would be reached. Assumption."""

_REREAD_ROWS = 128
"""Rows of m that a 2:4 product takes at a time where it reads its weight again. Assumption: the usual tile."""

_STEEPNESS = 2.0
"""How fast the last-level cache loses what does not fit: all of it within 1 / 2 of its size. Assumption."""

_OPERAND_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1}
_RESULT_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 2, "int8": 2}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Times:
    """Seconds of each kernel, of which compute and memory alone would take so long; seconds of the host for all.

    `stack`: time of the step relative to frameworks of today.
    """

    kernels: Floats
    compute: Floats
    memory: Floats
    host_s: float
    stack: float = 1.0

    @property
    def step_s(self) -> float:
        """Seconds of the step."""
        return self.stack * hypot(float(self.kernels.sum()), self.host_s)


def step_seconds(
    kernels: Kernels,
    platform: Platform,
    behaviour: Behaviour,
    software: Software,
    repeats: Floats | None = None,
    unit: Floats | None = None,
) -> Times:
    """Return how long the kernels of a step take, each run once or as often as `repeats` says.

    `unit`: `unit_seconds` of the kernels, if they are at hand. Raises `InputError` for a precision that the platform
    lacks.
    """
    assert platform.compute is not None
    times = np.ones(len(kernels)) if repeats is None else repeats
    if unit is None:
        unit = unit_seconds(kernels, platform)
    sparse = kernels.sparse & platform.compute.sparse_2_4
    compute = unit / _rates(kernels, platform, behaviour, software)
    direct = np.where(kernels.depthwise, behaviour.depthwise_share or behaviour.direct_share, behaviour.direct_share)
    plain = platform.peak_flops("fp32") * behaviour.fp32_efficiency
    grouped = kernels.spatial & (kernels.copies > 1)
    compute = np.minimum(compute, np.where(grouped, kernels.flops / (plain * direct), np.inf))
    moved = kernels.bytes
    if software.arithmetic == "tf32":
        moved = moved + kernels.layout_bytes * (behaviour.tf32_layout_share - 1.0)
    if not software.compiled:
        moved = np.where(kernels.activation, moved * behaviour.activation_passes, moved)
    if sparse.any():
        moved = moved + np.where(sparse, _reread_in_step(kernels, platform, behaviour, software), 0.0)
    memory = _memory_seconds(moved, platform, behaviour.memory_efficiency, behaviour.cache_gain)
    deeper_ns = max(0.0, behaviour.sparse_depth_ns - behaviour.product_depth_ns)
    fixed = kernels.launches * behaviour.kernel_us + np.where(
        sparse, behaviour.sparse_kernel_us + kernels.k * deeper_ns * (NANO / MICRO), 0.0
    )
    early = behaviour.early_factor if software.stack == "early" else 1.0
    issued = 0.0 if software.compiled else float((kernels.launches * times).sum())
    return Times(
        kernels=(_together(compute, memory) + fixed * MICRO) * times,
        compute=compute * times,
        memory=memory * times,
        host_s=issued * behaviour.host_us * early * MICRO,
        stack=behaviour.tensorflow2_factor if software.stack == "tensorflow2" else 1.0,
    )


def unit_seconds(kernels: Kernels, platform: Platform) -> Floats:
    """Return the seconds of the products among kernels on multiprocessors of together one operation per second."""
    assert platform.compute is not None
    found, which = np.zeros(len(kernels)), kernels.copies > 0
    if which.any():
        m, n, k, count = (column[which] for column in (kernels.m, kernels.n, kernels.k, kernels.copies))
        half = np.where(kernels.sparse[which] & platform.compute.sparse_2_4, 2.0, 1.0) * _INTENSITY_HALF
        found[which] = _product_seconds(m, n, k, count, platform.compute.multiprocessors, 1.0, half)
    return found


def pair_seconds(
    m: Floats, n: Floats, k: Floats, platform: Platform, behaviour: Behaviour, arithmetic: str
) -> tuple[Floats, Floats]:
    """Seconds of products m x n x k alone, dense and with a 2:4 n x k weight, each by the best kernel that there is."""
    assert platform.compute is not None
    assert platform.memory is not None
    values, units = behaviour.products(arithmetic), platform.compute.multiprocessors
    once, half = np.ones_like(m), np.full_like(m, _INTENSITY_HALF)
    rate = platform.peak_flops(arithmetic) * values.efficiency
    width = _OPERAND_BYTES[arithmetic]
    others, weight = m * k * width + m * n * _RESULT_BYTES[arithmetic], n * k * width
    compact = weight * compact_share(width)
    again = _reread_bytes(m, n, compact, platform, behaviour) if width > 1 else np.zeros_like(m)
    dense = _resident_seconds(others + weight, platform, behaviour)
    sparse = _resident_seconds(others + compact, platform, behaviour) + again / _bandwidth(platform, behaviour)
    dense_us = values.kernel_us + k * values.depth_ns * (NANO / MICRO)
    sparse_us = values.kernel_us + values.sparse_kernel_us + k * values.sparse_depth_ns * (NANO / MICRO)
    return (
        _together(_product_seconds(m, n, k, once, units, rate, half), dense) + dense_us * MICRO,
        _together(_product_seconds(m, n, k, once, units, rate * values.sparse_gain, 2.0 * half), sparse)
        + np.maximum(sparse_us, 0.0) * MICRO,
    )


def sustained_share(platform: Platform, behaviour: Behaviour) -> float:
    """Share of the matrix units' peak that the power limit sustains: (limit - idle) / (J per operation x peak)."""
    assert platform.power is not None
    full_w = behaviour.pj_per_operation * PICO * platform.peak_flops("fp16")
    return (platform.power.peak_w - platform.power.idle_w) / full_w


def _together(compute: Floats, memory: Floats) -> Floats:
    return np.sqrt(np.hypot(compute**2, memory**2))


def _memory_seconds(moved: Floats, platform: Platform, efficiency: float, cache_gain: float) -> Floats:
    """Seconds to move bytes within a step, faster where they fit the last-level cache."""
    assert platform.memory is not None
    rate = platform.memory.bandwidth_gb_per_s * GIGA * efficiency
    cached = np.minimum(moved, platform.memory.cache_mb * MEGA / 2)
    return (moved - cached) / rate + cached / (rate * cache_gain)


def _bandwidth(platform: Platform, behaviour: Behaviour) -> float:
    """Bytes per second that the best kernels reach."""
    assert platform.memory is not None
    return platform.memory.bandwidth_gb_per_s * GIGA * behaviour.product_memory_efficiency


def _resident_seconds(moved: Floats, platform: Platform, behaviour: Behaviour) -> Floats:
    """Seconds to move the bytes of a product that is run again and again."""
    missed, rate = _missed(moved, platform, behaviour), _bandwidth(platform, behaviour)
    return moved * (missed / rate + (1.0 - missed) / (rate * behaviour.cache_gain))


def _missed(moved: Floats, platform: Platform, behaviour: Behaviour) -> Floats:
    """Share of bytes that the last-level cache does not hold."""
    assert platform.memory is not None
    size = platform.memory.cache_mb * MEGA
    return np.clip(_STEEPNESS * (moved / size - behaviour.cache_share), 0.0, 1.0)


def _reread_bytes(m: Floats, n: Floats, compact: Floats, platform: Platform, behaviour: Behaviour) -> Floats:
    """Bytes of a compact weight that are read once more for each `_REREAD_ROWS` of m that do not run at once."""
    assert platform.compute is not None
    at_once = np.maximum(1.0, np.floor(platform.compute.multiprocessors / np.ceil(n / _REREAD_ROWS)))
    passes = np.ceil(np.ceil(m / _REREAD_ROWS) / at_once)
    return behaviour.sparse_reread * _missed(compact, platform, behaviour) * compact * (passes - 1.0)


def _reread_in_step(kernels: Kernels, platform: Platform, behaviour: Behaviour, software: Software) -> Floats:
    width = software.element_bytes
    compact = kernels.n * kernels.k * width * compact_share(width)
    safe_n = np.maximum(kernels.n, 1.0)
    return kernels.copies * _reread_bytes(kernels.m, safe_n, compact, platform, behaviour)


def _rates(kernels: Kernels, platform: Platform, behaviour: Behaviour, software: Software) -> Floats:
    """Operations per second of each kernel as a product."""
    assert platform.compute is not None
    arithmetic, matrix = software.arithmetic, platform.compute.matrix_units and software.arithmetic != "fp32"
    if matrix:
        wanted = behaviour.tf32_efficiency if arithmetic == "tf32" else behaviour.matrix_efficiency
        rate = platform.peak_flops(arithmetic) * min(wanted, sustained_share(platform, behaviour))
    else:
        rate = max(platform.peak_flops(arithmetic), platform.peak_flops("fp32")) * behaviour.fp32_efficiency
    conv = behaviour.conv_factor
    if matrix:
        conv *= behaviour.tf32_conv_gain if arithmetic == "tf32" else 1.0
        conv *= behaviour.channels_last_gain if software.channels_last else 1.0
    else:
        conv *= behaviour.fp32_conv_gain
    factor = np.where(kernels.spatial, conv, 1.0)
    if not matrix:
        factor = np.where(kernels.winograd, factor * behaviour.winograd_gain, factor)
    sparse = kernels.sparse & platform.compute.sparse_2_4
    return rate * np.where(sparse, factor * behaviour.sparse_gain, factor)


def _product_seconds(m: Floats, n: Floats, k: Floats, count: Floats, units: int, rate: float, half: Floats) -> Floats:
    """Seconds of `count` products of m x n x k on `units` multiprocessors of together `rate` operations per second.

    `half`: C of each, see above.
    """
    best = np.full(m.shape, np.inf)
    for rows, cols in _TILES:
        quality = _quality(rows, cols, half)
        for tall, wide in {(rows, cols), (cols, rows)}:
            tiles = count * np.ceil(m / tall) * np.ceil(n / wide)
            parts = np.maximum(1.0, np.floor(units / tiles))
            depth = _TILE_DEPTH * np.ceil(np.maximum(k / parts, np.minimum(k, _SMALLEST_PART)) / _TILE_DEPTH)
            waves = np.ceil(tiles / units)
            np.minimum(best, waves * (tall * wide * 2.0) * depth * units / (rate * quality), out=best)
    return best


def _quality(rows: int, cols: int, half: Floats) -> Floats:
    """Rate of a tile relative to the largest, from how often it uses what it reads."""
    intensity, largest = rows * cols / (rows + cols), _TILES[0][0] * _TILES[0][1] / sum(_TILES[0])
    return intensity * (largest + half) / (largest * (intensity + half))
