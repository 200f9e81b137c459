"""Fronts and hypervolumes against brute force."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from accelsim.base.errors import InputError
from accelsim.sweep.pareto import hypervolume, pareto_front

# small whole numbers: many points are equal in one objective or in all
POINTS = st.tuples(st.integers(0, 12), st.integers(2, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 5).map(float))
)
VOLUMES = st.tuples(st.integers(0, 12), st.integers(2, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 6).map(float))
)


def dominates(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.all(one <= other) and np.any(one < other))


@given(POINTS)
def test_a_front_is_what_brute_force_finds(points: np.ndarray) -> None:
    wanted = [
        place
        for place, point in enumerate(points)
        if not any(dominates(other, point) for other in points)
        and not any(np.array_equal(other, point) for other in points[:place])
    ]
    found = pareto_front(points)
    assert sorted(found.tolist()) == wanted
    assert points[found].tolist() == sorted(points[found].tolist())


@given(VOLUMES)
def test_a_hypervolume_is_a_count_of_cells(points: np.ndarray) -> None:
    cells = itertools.product(range(5), repeat=points.shape[1])
    count = sum(bool(np.any(np.all(points <= np.array(cell), axis=1))) for cell in cells)
    assert hypervolume(points, [5.0] * points.shape[1]) == count


@given(VOLUMES)
def test_the_front_alone_has_the_whole_hypervolume(points: np.ndarray) -> None:
    reference = [6.5] * points.shape[1]
    assert hypervolume(points[pareto_front(points)], reference) == hypervolume(points, reference)


@given(arrays(np.float64, (9, 2), elements=st.floats(-1e6, 1e6)))
def test_two_objectives_are_three_of_which_one_is_the_same(points: np.ndarray) -> None:
    flat = np.column_stack((points, np.zeros(9)))
    assert pareto_front(flat).tolist() == pareto_front(points).tolist()
    corner = points.max(axis=0) + 1
    assert hypervolume(flat, [*corner, 1.0]) == pytest.approx(hypervolume(points, corner), rel=1e-12)


def test_a_large_front_of_two_and_of_three_objectives() -> None:
    angles = np.random.default_rng(0).uniform(0, np.pi / 2, 20_000)
    circle = 1 - np.column_stack((np.cos(angles), np.sin(angles)))
    assert len(pareto_front(circle)) == 20_000
    assert hypervolume(circle, [1, 1]) == pytest.approx(np.pi / 4, rel=1e-3)
    ball = np.random.default_rng(0).normal(size=(5000, 3))
    ball = 1 - np.abs(ball) / np.linalg.norm(ball, axis=1, keepdims=True)
    assert len(pareto_front(ball)) == 5000
    assert 0.95 * np.pi / 6 < hypervolume(ball, [1, 1, 1]) < np.pi / 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], "points of 2 or more objectives are needed, got an array of shape (2,)"),
        ([[1.0], [2.0]], "points of 2 or more objectives are needed, got an array of shape (2, 1)"),
        ([[1.0, 2.0], [1.0, np.nan]], "point 1: holds no finite number"),
    ],
)
def test_bad_points(values: list[object], message: str) -> None:
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        pareto_front(values)


def test_bad_reference() -> None:
    with pytest.raises(InputError, match=r"^reference: got 3 numbers for 2 objectives$"):
        hypervolume([[0.0, 1.0]], [1.0, 1.0, 1.0])
    with pytest.raises(InputError, match=r"^reference: got \[1\.0, nan\]; finite numbers are needed$"):
        hypervolume([[0.0, 1.0]], [1.0, np.nan])


def test_nothing_dominates_nothing() -> None:
    assert pareto_front(np.empty((0, 3))).tolist() == []
    assert hypervolume(np.empty((0, 3)), [1, 1, 1]) == 0.0


def test_five_objectives_have_a_volume_whatever_their_number() -> None:
    points = np.abs(np.random.default_rng(0).normal(size=(3000, 5)))
    points = 1 - points / np.linalg.norm(points, axis=1, keepdims=True)
    front = pareto_front(points)
    assert len(front) == 3000
    drawn = np.random.default_rng(1).random((4000, 5))
    share = np.mean([bool(np.any(np.all(points <= place, axis=1))) for place in drawn])
    assert hypervolume(points, [1] * 5) == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)
