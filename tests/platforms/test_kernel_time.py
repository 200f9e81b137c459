"""Times of products worked by hand, and what may never happen: faster than a roof, slower with more of anything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_cases import conv, kernels, linear, round_behaviour, round_platform, vector

from accelsim.base.errors import InputError
from accelsim.platforms.kernel_time import pair_seconds, step_seconds, sustained_share
from accelsim.platforms.kernels import Software

AMP, FP32 = Software(precision="amp"), Software(precision="fp32")
PEAK = 8e12
FAST = 1e6
"""Bandwidth, in GB/s, at which memory does not bind."""

# rates of tiles relative to one of 256 x 128, which does 85.33 MACs a word read: one of 128 x 64 does 42.67, one of
# 128 x 128 does 64; with C = 20
QUALITY = (128 / 3) / (128 / 3 + 20) * (256 / 3 + 20) / (256 / 3)
HALF_TILE_QUALITY = 64 / (64 + 20) * (256 / 3 + 20) / (256 / 3)


def dense_s(m, n, k, behaviour=None, arithmetic="fp16", **platform) -> float:
    """Seconds of one product alone, bound by compute."""
    sizes = (np.array([float(value)]) for value in (m, n, k))
    found = pair_seconds(
        *sizes,
        round_platform(bandwidth_gb_per_s=FAST, **platform),
        round_behaviour() if behaviour is None else behaviour,
        arithmetic,
    )
    return float(found[0][0])


# multiprocessors, m, n, k, and how many times the time at the peak it takes
TILES = {
    "one whole tile": (1, 256, 128, 64, 1),
    "two tiles, two waves": (1, 512, 128, 64, 1),
    "k is rounded to 32": (1, 256, 128, 65, 96 / 65),
    # five of 64 x 128 beat two of 256 x 128, three of 128 x 128 and all smaller ones
    "one row more": (1, 257, 128, 64, 5 * 64 / 257 / QUALITY),
    "four tiles of 128 x 64 on four multiprocessors": (4, 256, 128, 64, 1 / QUALITY),
    # two of 256 x 128 would leave half idle, eight of 128 x 64 use what they read less often
    "four tiles of 128 x 128": (4, 512, 128, 64, 1 / HALF_TILE_QUALITY),
    # one tile; k in eight parts of 512
    "k is split": (8, 256, 128, 4096, 1),
    # parts have 512 at least: of 1024 only two, so that four tiles of 128 x 64 take all eight
    "k is split no further": (8, 256, 128, 1024, 1 / QUALITY),
}


@pytest.mark.parametrize("name", TILES)
def test_tiles_and_waves(name: str) -> None:
    units, m, n, k, times = TILES[name]
    at_peak = 2 * m * n * k / PEAK
    assert dense_s(m, n, k, multiprocessors=units) == pytest.approx(times * at_peak, rel=1e-6)


def test_arithmetic_types_have_their_rates() -> None:
    times = {name: dense_s(256, 128, 64, arithmetic=name) for name in ("fp32", "tf32", "fp16", "bf16", "fp8", "int8")}
    ratios = {name: times["fp32"] / value for name, value in times.items()}
    assert ratios == pytest.approx({"fp32": 1, "tf32": 4, "fp16": 8, "bf16": 8, "fp8": 16, "int8": 16}, rel=1e-6)


def test_memory_of_a_product_alone() -> None:
    # 16 x 512 and 512 x 512 at two bytes, the result at two: 557056 bytes at 100 GB/s, compute far below
    m, n, k = (np.array([value]) for value in (16.0, 512.0, 512.0))
    platform = round_platform(fp16_tflops=1e5)
    dense, sparse = pair_seconds(m, n, k, platform, round_behaviour(product_memory_efficiency=0.5), "fp16")
    assert dense[0] == pytest.approx((16 * 512 + 512 * 512 + 16 * 512) * 2 / 50e9, rel=1e-6)
    assert sparse[0] == pytest.approx((16 * 512 + 0.5625 * 512 * 512 + 16 * 512) * 2 / 50e9, rel=1e-6)


def test_what_fits_half_the_cache_is_faster() -> None:
    # 557056 bytes: 0.2 MB of 0.4 MB of cache at four times the speed, the rest at 100 GB/s
    m, n, k = (np.array([value]) for value in (16.0, 512.0, 512.0))
    platform = round_platform(fp16_tflops=1e5, cache_mb=0.4)
    dense, _ = pair_seconds(m, n, k, platform, round_behaviour(cache_gain=4.0), "fp16")
    assert dense[0] == pytest.approx((557056 - 200000) / 100e9 + 200000 / 400e9, rel=1e-6)


def test_compute_and_memory_are_added_as_fourth_powers() -> None:
    # 256 x 128 x 64: 4194304 operations at 8 TFLOP/s take 0.524288 us; so do its bytes at the right bandwidth
    bytes_moved = (256 * 64 + 64 * 128 + 256 * 128) * 2
    m, n, k = (np.array([value]) for value in (256.0, 128.0, 64.0))
    platform = round_platform(bandwidth_gb_per_s=bytes_moved / 0.524288e-6 / 1e9)
    dense, _ = pair_seconds(m, n, k, platform, round_behaviour(product_kernel_us=3.0), "fp16")
    assert dense[0] == pytest.approx(0.524288e-6 * 2**0.25 + 3e-6, rel=1e-6)


def test_2_4_is_slower_for_small_and_faster_for_large_products() -> None:
    size = np.array([64.0, 512.0, 2048.0, 8192.0])
    behaviour = round_behaviour(sparse_gain=1.6, sparse_kernel_us=2.0, product_kernel_us=4.0)
    dense, sparse = pair_seconds(
        size, size, size, round_platform(fp16_tflops=300.0, bandwidth_gb_per_s=3000.0), behaviour, "fp16"
    )
    gains = dense / sparse
    assert (np.diff(gains) > 0).all()
    assert gains[0] < 0.7
    assert 1.5 < gains[-1] < 1.6


def test_2_4_within_a_step(make_trace) -> None:
    # the middle one of three: 64 x 128 x 64 computes 1.6 times faster, and takes 3 us more
    layers = [linear(name, in_features=128, out_features=128, rows=16) for name in "abc"]
    layers[0]["input_gradient"] = False
    found = kernels(make_trace(*layers), AMP, method="bdwp", pattern="2:4")
    behaviour = round_behaviour(sparse_gain=1.6, sparse_kernel_us=3.0)
    able, unable = (
        step_seconds(found, round_platform(bandwidth_gb_per_s=FAST, sparse_2_4=flag), behaviour, AMP)
        for flag in (True, False)
    )
    sparse = found.sparse
    assert sparse.sum() == 2
    assert unable.compute[sparse] == pytest.approx(1.6 * able.compute[sparse])
    assert (unable.kernels[~sparse] == able.kernels[~sparse]).all()
    gained = unable.compute[sparse] - able.compute[sparse]
    assert (able.kernels - unable.kernels)[sparse] == pytest.approx(3e-6 - gained, rel=1e-3)


def test_the_power_limit_caps_matrix_units(make_trace) -> None:
    # 100 W above idle at 25 pJ are 4 TFLOP/s, half of the peak
    platform, behaviour = round_platform(bandwidth_gb_per_s=FAST), round_behaviour(pj_per_operation=25.0)
    assert sustained_share(platform, behaviour) == pytest.approx(0.5)
    found = kernels(make_trace(linear(in_features=64, out_features=128, rows=64)), AMP)
    capped, free = (
        step_seconds(found, platform, each, AMP).compute for each in (behaviour, round_behaviour(pj_per_operation=1.0))
    )
    assert capped == pytest.approx(2 * free)
    found = kernels(make_trace(linear(in_features=64, out_features=128, rows=64)), FP32)
    assert step_seconds(found, platform, behaviour, FP32).compute == pytest.approx(8 * free)


def test_convolutions_at_their_own_rate(make_trace) -> None:
    platform = round_platform(bandwidth_gb_per_s=FAST)
    trace = make_trace(conv(in_channels=64, out_channels=128))
    base, slower, winograd = (
        {
            software.precision: step_seconds(kernels(trace, software), platform, behaviour, software).compute[0]
            for software in (AMP, FP32)
        }
        for behaviour in (round_behaviour(), round_behaviour(conv_factor=0.5), round_behaviour(winograd_gain=1.6))
    )
    assert slower["amp"] == pytest.approx(2 * base["amp"])
    assert slower["fp32"] == pytest.approx(2 * base["fp32"])
    assert winograd["amp"] == base["amp"]
    assert winograd["fp32"] == pytest.approx(base["fp32"] / 1.6)


def test_grouped_convolutions_run_without_matrix_units_where_that_is_faster(make_trace) -> None:
    trace = make_trace(conv(in_channels=16, out_channels=16, groups=16))
    found = kernels(trace, AMP)
    times = step_seconds(found, round_platform(), round_behaviour(direct_share=0.25), AMP)
    # 2 x 256 positions x 9 taps x 16 channels at a quarter of 1 TFLOP/s
    assert times.compute[0] == pytest.approx(2 * 256 * 9 * 16 / 0.25e12)
    assert step_seconds(found, round_platform(), round_behaviour(direct_share=1e-6), AMP).compute[0] < 1e-5


def test_without_matrix_units_16_bits_are_no_slower_than_fp32(make_trace) -> None:
    found = kernels(make_trace(linear()), AMP)
    slow = round_platform(matrix_units=False, fp16_tflops=0.1, sparse_2_4=False)
    plain = step_seconds(found, slow, round_behaviour(), AMP).compute
    fp32 = step_seconds(found, slow, round_behaviour(), FP32).compute
    assert (plain == fp32).all()


def test_a_step_of_small_kernels_waits_for_the_host(make_trace) -> None:
    found = kernels(make_trace(vector("norm", 10, 10), linear()), AMP)
    behaviour = round_behaviour(host_us=50.0, kernel_us=2.0)
    times = step_seconds(found, round_platform(), behaviour, AMP)
    # two of the norm, three products
    assert times.host_s == pytest.approx(5 * 50e-6)
    assert times.step_s == times.host_s > times.kernels.sum() > 5 * 2e-6
    graph = Software(compiled=True)
    assert step_seconds(found, round_platform(), behaviour, graph).step_s == pytest.approx(times.kernels.sum())


def test_repeated_kernels_take_as_often_as_long(make_trace) -> None:
    found = kernels(make_trace(linear()), AMP)
    platform, behaviour = round_platform(), round_behaviour(host_us=5.0)
    once = step_seconds(found, platform, behaviour, AMP)
    often = step_seconds(found, platform, behaviour, AMP, np.array([1.0, 2.0, 3.0]))
    assert often.kernels == pytest.approx(once.kernels * [1, 2, 3])
    assert (once.host_s, often.host_s) == (pytest.approx(15e-6), pytest.approx(30e-6))


def test_a_precision_that_the_platform_lacks(make_trace) -> None:
    found = kernels(make_trace(linear()), AMP)
    platform = round_platform(bf16_tflops=None, fp8_tflops=None)
    with pytest.raises(InputError) as error:
        step_seconds(found, platform, round_behaviour(), Software(precision="bf16"))
    assert str(error.value) == (
        "precision 'bf16': platform 'round' has none; did you mean 'fp16'?; allowed: fp32, tf32, fp16, int8"
    )


SIZE = st.integers(1, 5000)


@settings(max_examples=150, deadline=None)
@given(SIZE, SIZE, SIZE, st.integers(1, 700), st.sampled_from([1, 7, 108]), st.sampled_from(["m", "n", "k"]))
def test_never_faster_with_more_to_do(m, n, k, more, units, grown) -> None:
    sizes = {"m": m, "n": n, "k": k}
    larger = {**sizes, grown: sizes[grown] + more}
    both = [np.array([one[name] for one in (sizes, larger)], dtype=float) for name in "mnk"]
    for seconds in pair_seconds(*both, round_platform(multiprocessors=units), round_behaviour(), "fp16"):
        assert seconds[0] <= seconds[1] * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(SIZE, SIZE, SIZE, st.floats(0.1, 1.0), st.floats(0.1, 1.0), st.floats(1.0, 8.0), st.floats(0.001, 100.0))
def test_never_below_the_roofs(m, n, k, efficiency, share, cache_gain, cache_mb) -> None:
    behaviour = round_behaviour(product_efficiency=efficiency, product_memory_efficiency=share, cache_gain=cache_gain)
    sizes = [np.array([float(value)]) for value in (m, n, k)]
    dense, sparse = pair_seconds(*sizes, round_platform(multiprocessors=68, cache_mb=cache_mb), behaviour, "fp16")
    compute = 2 * m * n * k / (PEAK * efficiency)
    fastest = 100e9 * share * cache_gain
    assert dense[0] >= max(compute, 2 * (m * k + n * k + m * n) / fastest) * (1 - 1e-9)
    assert sparse[0] >= max(compute / 2, 2 * (m * k + 0.5625 * n * k + m * n) / fastest) * (1 - 1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["bandwidth_gb_per_s", "fp16_tflops", "fp32_tflops", "multiprocessors", "cache_mb", "peak_w"]),
    st.integers(2, 5),
    st.integers(1, 64),
)
def test_never_slower_with_more_of_anything(limit: str, factor: int, batch: int) -> None:
    # more multiprocessors of the same total rate are smaller ones, so the rate grows with them, and no power limit binds
    trace, base = _NETWORK[0], {"multiprocessors": 8, "cache_mb": 0.5}
    start = round_platform(**base)
    section = next(part for part in (start.compute, start.memory, start.power) if hasattr(part, limit))
    grown = {**base, limit: getattr(section, limit) * factor}
    if limit == "multiprocessors":
        grown["fp16_tflops"] = start.compute.fp16_tflops * factor
    energy = 1.0 if limit == "multiprocessors" else 20.0
    behaviour = round_behaviour(cache_gain=3.0, pj_per_operation=energy, kernel_us=1.0, host_us=0.1)
    found = kernels(trace, AMP, batch=batch)
    before, after = (step_seconds(found, each, behaviour, AMP) for each in (start, round_platform(**grown)))
    assert (after.kernels <= before.kernels * (1 + 1e-12)).all()


_NETWORK: list = []


@pytest.fixture(autouse=True)
def network(make_trace) -> None:
    _NETWORK[:] = [make_trace(conv(), conv("grouped", groups=4), vector("norm"), linear(rows=32))]
