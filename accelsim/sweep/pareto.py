"""Pareto fronts and their hypervolume, exact. Of every objective less is better; negate one of which more is."""

import itertools
from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelsim.base.errors import InputError

__all__ = ["hypervolume", "pareto_front"]

_Floats = NDArray[np.float64]


def pareto_front(values: ArrayLike) -> NDArray[np.intp]:
    """Return the rows of `values`, a point each, that no other point is as good as in all columns and better in one.

    Of equal points the first stands for all. Rows come in the order of the first column, so in that of falling values
    of the second where there are two. O(n log n) for two columns; for more, a comparison of each point of the front
    with those that the ones before it leave.

    >>> pareto_front([[3, 1], [2, 2], [3, 1], [2, 3], [1, 9]]).tolist()
    [4, 1, 0]
    """
    points = _points(values)
    order = np.lexsort(points.T[::-1])  # by the first column, then the second ...; equal points stay in order
    points = points[order]
    if len(points) and points.shape[1] == 2:
        least_before = np.concatenate(([np.inf], np.minimum.accumulate(points[:-1, 1])))
        return order[points[:, 1] < least_before]
    # a point is never worse in all columns than one that is behind it in this order
    front = []
    while len(order):
        front.append(order[0])
        left = np.any(points < points[0], axis=1)
        order, points = order[left], points[left]
    return np.array(front, dtype=np.intp)


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Return the area or volume that points dominate, bounded by the `reference` point.

    Points that are not better than the reference in every objective add nothing. O(n log n) for a front of two or three
    objectives; each further one takes a sum over as many slices as it has values.

    >>> hypervolume([[1, 3], [2, 1]], [4, 4])
    7.0
    """
    points, corner = _points(values), np.asarray(reference, dtype=np.float64)
    if corner.shape != points.shape[1:]:
        raise InputError(f"reference: got {corner.size} numbers for {points.shape[1]} objectives")
    points = points[np.all(points < corner, axis=1)]
    if len(corner) == 2:
        return _volume(np.column_stack((points, np.zeros(len(points)))), np.append(corner, 1.0))
    return _volume(points, corner)


def _volume(points: _Floats, corner: _Floats) -> float:
    if len(corner) > 3:
        floors = np.append(np.unique(points[:, -1]), corner[-1])
        slices = [
            (above - floor) * _volume(points[points[:, -1] <= floor, :-1], corner[:-1])
            for floor, above in itertools.pairwise(floors.tolist())
        ]
        return float(sum(slices))
    if not len(points):
        return 0.0
    volume, below = 0.0, _Staircase(float(corner[0]), float(corner[1]))
    points = points[np.argsort(points[:, 2], kind="stable")]
    for (x, y, z), above in zip(points.tolist(), [*points[1:, 2].tolist(), float(corner[2])], strict=True):
        below.add(x, y)
        volume += below.area * (above - z)
    return volume


class _Staircase:
    """The area between points of a plane and a corner; its steps from left to right, each lower than the one before."""

    def __init__(self, right: float, top: float) -> None:
        self.area = 0.0
        self._right, self._top = right, top
        self._xs: list[float] = []
        self._ys: list[float] = []

    def add(self, x: float, y: float) -> None:
        """Add the area of a point left of and below the corner."""
        before = bisect_right(self._xs, x)
        if before and self._ys[before - 1] <= y:
            return
        first = last = bisect_left(self._xs, x)
        left, top = x, self._ys[first - 1] if first else self._top
        while last < len(self._xs) and self._ys[last] >= y:  # steps that the new one takes in
            self.area += (self._xs[last] - left) * (top - y)
            left, top = self._xs[last], self._ys[last]
            last += 1
        right = self._xs[last] if last < len(self._xs) else self._right
        self.area += (right - left) * (top - y)
        self._xs[first:last], self._ys[first:last] = [x], [y]


def _points(values: ArrayLike) -> _Floats:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] < 2:
        raise InputError(f"points of 2 or more objectives are needed, got an array of shape {points.shape}")
    if not np.all(np.isfinite(points)):
        raise InputError(f"point {int(np.argmin(np.all(np.isfinite(points), axis=1)))}: holds no finite number")
    return points
