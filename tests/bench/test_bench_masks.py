"""Masks of a 25-million-weight network side by side with plain numpy: the first group of rows against the second."""

import numpy as np
import pytest

from accelsim.arrays.functional import sore_reduce
from accelsim.sparsity.masks import group_histograms, magnitude_mask, pack, unpack
from accelsim.sparsity.pattern import Pattern

pytestmark = pytest.mark.bench

PATTERN = Pattern(kept=2, group=8)
# (shape, axis): last axis, first axis, input and output channels of a convolution; 25 million weights each
LAYOUTS = {
    "last": ((5000, 5000), 1),
    "first": ((5000, 5000), 0),
    "channels": ((2777, 1000, 3, 3), 1),
    "outputs": ((2777, 1000, 3, 3), 0),
}


@pytest.fixture(scope="module", params=LAYOUTS)
def weights_and_axis(request):
    shape, axis = LAYOUTS[request.param]
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32), axis


def in_groups(weights, axis):
    return np.abs(np.moveaxis(weights, axis, -1)).reshape(-1, PATTERN.group)


def mask_of(kept, weights, axis):
    moved = np.moveaxis(weights, axis, -1)
    mask = np.zeros((moved.size // PATTERN.group, PATTERN.group), bool)
    np.put_along_axis(mask, kept, values=True, axis=1)
    return np.moveaxis(mask.reshape(moved.shape), -1, axis)


def by_argpartition(weights, axis):
    kept = np.argpartition(in_groups(weights, axis), PATTERN.group - PATTERN.kept, axis=1)[:, -PATTERN.kept :]
    return mask_of(kept, weights, axis)


def by_argsort(weights, axis):
    kept = np.argsort(-in_groups(weights, axis), axis=1, kind="stable")[:, : PATTERN.kept]
    return mask_of(kept, weights, axis)


@pytest.mark.parametrize("method", [magnitude_mask, by_argpartition, by_argsort])
def test_bench_mask(benchmark, weights_and_axis, method):
    weights, axis = weights_and_axis
    arguments = (weights, PATTERN, axis) if method is magnitude_mask else (weights, axis)
    benchmark.group = f"2:8 mask of {weights.size} float32 along axis {axis} of {weights.shape}"
    mask = benchmark.pedantic(method, arguments, rounds=3, warmup_rounds=1)
    # a partition is free to choose among equals, so only the magnitudes it keeps are determined
    kept = np.abs(weights, where=mask, out=np.zeros_like(weights))
    expected = np.abs(weights, where=magnitude_mask(weights, PATTERN, axis), out=np.zeros_like(weights))
    assert kept.sum(dtype=np.float64) == pytest.approx(expected.sum(dtype=np.float64), rel=1e-12)


def by_reduceat(nonzero, axis):
    moved = np.moveaxis(nonzero, axis, -1)
    sums = {group: np.add.reduceat(moved, np.arange(0, moved.shape[-1], group), axis=-1) for group in (4, 8, 16, 32)}
    return {group: np.bincount(found.ravel(), minlength=group + 1) for group, found in sums.items()}


@pytest.mark.parametrize("method", [group_histograms, by_reduceat])
def test_bench_histograms(benchmark, weights_and_axis, method):
    """Groups of 4, 8, 16 and 32; the nonzero bytes read per second are printed as extra information."""
    weights, axis = weights_and_axis
    nonzero = (np.abs(weights) > 1).view(np.uint8)
    benchmark.group = f"histograms of {weights.size} bytes along axis {axis} of {weights.shape}"
    found = benchmark.pedantic(method, (nonzero, axis), rounds=3, warmup_rounds=1)
    benchmark.extra_info.update(gb_per_s=round(nonzero.size / benchmark.stats["min"] / 1e9, 2))
    for group, counts in by_reduceat(nonzero, axis).items():
        np.testing.assert_array_equal(found[group], counts)


def test_bench_pack(benchmark, weights_and_axis):
    weights, axis = weights_and_axis
    mask = magnitude_mask(weights, PATTERN, axis)
    benchmark.pedantic(pack, (weights, PATTERN, axis, mask), rounds=3, warmup_rounds=1)


def test_bench_unpack(benchmark, weights_and_axis):
    weights, axis = weights_and_axis
    benchmark.pedantic(unpack, (pack(weights, PATTERN, axis),), rounds=3, warmup_rounds=1)


def test_bench_sore(benchmark):
    weights = np.random.default_rng(2).standard_normal((1000, 1000), dtype=np.float32)
    benchmark.pedantic(sore_reduce, (weights, PATTERN, 32), rounds=3, warmup_rounds=1)
