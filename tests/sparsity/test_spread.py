"""ER, ERK and uniform against the numbers of the authors' rule; imbalance and cover against counting and simulation."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import accelsim as acs
from accelsim.sparsity.imbalance import cover_share, imbalance
from accelsim.sparsity.pattern import Pattern
from accelsim.sparsity.spread import spread

MODES_4 = tuple(map(Pattern.parse, ("1:4", "2:4")))


@pytest.fixture(scope="module")
def resnet50():
    return [layer for layer in acs.load_trace("resnet50_imagenet").operations if hasattr(layer, "weight")]


@pytest.mark.parametrize(
    ("rule", "sparsity", "eps", "capped", "macs"),
    [
        ("erk", 0.8, 99.6, 8, 0.4138),
        ("erk", 0.9, 48.8, 1, 0.2418),
        ("er", 0.8, None, None, 0.4530),
        ("er", 0.9, None, None, 0.2571),
    ],
)
def test_density_of_resnet50(resnet50, rule, sparsity, eps, capped, macs):
    found = spread([layer.weight_shape for layer in resnet50], sparsity, rule)
    if eps is not None:
        assert (round(found.eps, 1), found.capped) == (eps, capped)
    dense = sum(layer.macs for layer in resnet50)
    share = sum(layer.macs * density for layer, density in zip(resnet50, found.densities, strict=True)) / dense
    assert share == pytest.approx(macs, abs=5e-5)
    kept = sum(layer.weight_elements * density for layer, density in zip(resnet50, found.densities, strict=True))
    assert kept / sum(layer.weight_elements for layer in resnet50) == pytest.approx(1 - sparsity, abs=1e-5)


def test_layers_of_resnet50_under_erk(resnet50):
    densities = dict(
        zip(
            [layer.name for layer in resnet50],
            spread([layer.weight_shape for layer in resnet50], 0.8, "erk").densities,
            strict=True,
        )
    )
    assert round(densities["conv1"], 3) == 0.857
    stages = [densities[f"layer{stage}.1.conv2"] for stage in (1, 2, 3, 4)]
    assert stages == pytest.approx([0.362, 0.177, 0.087, 0.0435], abs=5e-4)
    assert round(densities["layer4.1.conv1"], 3) == 0.243
    assert round(densities["fc"], 3) == 0.148


@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 512), st.integers(1, 512), st.integers(1, 7), st.integers(1, 7)),
        min_size=1,
        max_size=8,
    ),
    sparsity=st.floats(0.05, 0.95),
)
def test_the_budget_is_kept_and_no_density_leaves_its_range(shapes, sparsity):
    found = spread(shapes, sparsity, "erk")
    sizes = [math.prod(shape) for shape in shapes]
    assert all(0 < density <= 1 for density in found.densities)
    kept = sum(size * density for size, density in zip(sizes, found.densities, strict=True))
    wanted = sum(size - math.floor(sparsity * size) for size in sizes)
    assert kept == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("reduction", "lanes", "wanted"),
    [
        (64, 32, [2.27, 1.84, 1.54, 1.46, 1.26]),
        (1152, 32, [1.27, 1.19, 1.12, 1.11, 1.06]),
        (4608, 32, [1.135, 1.093, 1.061, 1.053, 1.031]),
    ],
)
def test_imbalance_is_that_of_the_table(reduction, lanes, wanted):
    for density, value in zip((0.05, 0.1, 0.2, 0.25, 0.5), wanted, strict=True):
        assert imbalance(reduction, density, lanes) == pytest.approx(value, abs=0.006)


def test_imbalance_is_the_expected_maximum():
    reduction, density, lanes = 5, 0.3, 3
    chance = {
        kept: math.comb(reduction, kept) * density**kept * (1 - density) ** (reduction - kept)
        for kept in range(reduction + 1)
    }
    expected = sum(
        max(each) * math.prod(chance[kept] for kept in each) for each in itertools.product(chance, repeat=lanes)
    )
    assert imbalance(reduction, density, lanes) == pytest.approx(expected / (reduction * density))
    assert imbalance(700, 1.0, 32) == imbalance(700, 0.2, 1) == 1
    assert imbalance(2**22, 0.1, 32) == pytest.approx(1 + (imbalance(2**20, 0.1, 32) - 1) / 2)


def test_cover_by_counting_every_mask():
    density, groups = Fraction(1, 10), 2
    modes = tuple(map(Pattern.parse, ("1:2",)))
    total = Fraction(0)
    for mask in itertools.product((0, 1), repeat=2 * groups):
        chance = math.prod(density if kept else 1 - density for kept in mask)
        most = max(sum(mask[2 * at : 2 * at + 2]) for at in range(groups))
        total += chance * (Fraction(1, 2) if most <= 1 else 1)
    assert cover_share(float(density), groups, modes) == pytest.approx(float(total))


def test_cover_of_published_rows():
    assert round(1 / cover_share(0.1, 16, MODES_4), 3) == 2.364  # VEGETA publishes 2.36
    assert round(1 / cover_share(0.2, 16, MODES_4), 2) == 1.5


def test_cover_against_drawn_masks():
    generator = np.random.default_rng(3)
    masks = generator.random((20000, 16, 4)) < 0.15
    most = masks.sum(axis=2).max(axis=1)
    drawn = np.where(most <= 1, 0.25, np.where(most <= 2, 0.5, 1.0)).mean()
    assert cover_share(0.15, 16, MODES_4) == pytest.approx(drawn, abs=0.01)
