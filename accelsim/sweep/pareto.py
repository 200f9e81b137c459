"""Pareto fronts and their hypervolume, exact, by moocore: of every objective less is better."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelsim.base.errors import InputError

__all__ = ["hypervolume", "pareto_front"]

_Floats = NDArray[np.float64]


def pareto_front(values: ArrayLike) -> NDArray[np.intp]:
    """Return the rows of `values`, a point each, that no other point is as good as in all columns and better in one.

    Of equal points the first stands for all. Rows come in the order of the first column, so in that of falling values
    of the second where there are two.

    >>> pareto_front([[3, 1], [2, 2], [3, 1], [2, 3], [1, 9]]).tolist()
    [4, 1, 0]
    """
    import moocore  # noqa: PLC0415  80 ms, for those who ask for a front

    points = _points(values)
    if not len(points):
        return np.empty(0, dtype=np.intp)
    front = np.flatnonzero(moocore.is_nondominated(points))
    return front[np.lexsort(points[front].T[::-1])]


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Return the area or volume that points dominate, bounded by the `reference` point.

    Points that are not better than the reference in every objective add nothing. O(n log n) for a front of two or three
    objectives; each further one takes up to n times as long.

    >>> hypervolume([[1, 3], [2, 1]], [4, 4])
    7.0
    """
    import moocore  # noqa: PLC0415  80 ms, for those who ask for a volume

    points, corner = _points(values), np.asarray(reference, dtype=np.float64)
    if corner.shape != points.shape[1:]:
        raise InputError(f"reference: got {corner.size} numbers for {points.shape[1]} objectives")
    if not np.all(np.isfinite(corner)):
        raise InputError(f"reference: got {corner.tolist()}; finite numbers are needed")
    return float(moocore.hypervolume(points, ref=corner)) if len(points) else 0.0


def _points(values: ArrayLike) -> _Floats:
    """Return points as an array, all finite: what moocore makes of others is silent."""
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] < 2:
        raise InputError(f"points of 2 or more objectives are needed, got an array of shape {points.shape}")
    if not np.all(np.isfinite(points)):
        raise InputError(f"point {int(np.argmin(np.all(np.isfinite(points), axis=1)))}: holds no finite number")
    return points
