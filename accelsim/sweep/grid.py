"""The grid of a sweep, for a search: its points by their places, and which of them to try."""

import itertools
import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

from accelsim.sweep.axes import Levels, Value
from accelsim.sweep.point import Point
from accelsim.sweep.space import Sweep

__all__ = ["Grid", "Places", "beside", "first_points", "unknown_points"]

Places = tuple[int, ...]
"""For each axis of a sweep, which of its values: numbers count in ascending order."""

_MOST_DRAWN = 200
_FARTHEST = 3


class Grid:
    """The points of a sweep by their places; `sizes` of its axes, and which are `ordered`, being of numbers."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._axes = [_ascending(axis.values) for axis in sweep.axes if isinstance(axis, Levels)]
        self.sizes = [len(values) for values, _ in self._axes]
        self.ordered = [ordered for _, ordered in self._axes]
        self._setting = sweep.setter()
        self._known: dict[Places, Point | None] = {}

    def point(self, places: Places) -> Point | None:
        """Return the point at these places; None where a constraint excludes it."""
        if places not in self._known:
            values = self._setting(tuple(axis[place] for (axis, _), place in zip(self._axes, places, strict=True)))
            self._known[places] = None if values is None else self.sweep.point(values)
        return self._known[places]

    def places(self) -> Iterator[Places]:
        """Yield all points, in the order of the sweep."""
        orders = [{_key(value): place for place, value in enumerate(values)} for values, _ in self._axes]
        for combination in self.sweep.combinations():
            places = tuple(order[_key(value)] for order, value in zip(orders, combination, strict=True))
            if self.point(places) is not None:
                yield places

    def near(self, places: Places, steps: int) -> Iterator[Places]:
        """Yield the points one step away along each of `steps` axes."""
        moves = [(axis, place) for axis in range(len(places)) for place in self._next(axis, places[axis])]
        for several in itertools.combinations(moves, steps):
            moved = list(places)
            for axis, place in several:
                moved[axis] = place
            found = tuple(moved)
            if len(dict(several)) == steps and self.point(found) is not None:
                yield found

    def _next(self, axis: int, place: int) -> Iterable[int]:
        if self.ordered[axis]:
            return (at for at in (place - 1, place + 1) if 0 <= at < self.sizes[axis])
        return (at for at in range(self.sizes[axis]) if at != place)


def _ascending(values: tuple[Value, ...]) -> tuple[tuple[Value, ...], bool]:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return (tuple(sorted(values)) if numbers else values), numbers


def _key(value: Value) -> tuple[type, Value]:
    return type(value), value


def first_points(grid: Grid, generator: random.Random, count: int) -> list[Places]:
    """Return points at both ends of every ordered axis, and others of a Latin hypercube, at most `count` in all."""
    found: dict[Places, None] = {}
    for axis, size in enumerate(grid.sizes):
        if grid.ordered[axis] and size > 1:
            for end in (0, size - 1):
                _draw_into(found, grid, generator, {axis: end})
    left = max(count - len(found), 0)
    strata = [[index * size // max(left, 1) for index in range(left)] for size in grid.sizes]
    for places in strata:
        generator.shuffle(places)
    for drawn in zip(*strata, strict=True):
        if drawn in found or grid.point(drawn) is None:
            _draw_into(found, grid, generator)
        else:
            found[drawn] = None
    return list(found)[:count]


def _draw_into(
    found: dict[Places, None], grid: Grid, generator: random.Random, fixed: Mapping[int, int] = MappingProxyType({})
) -> None:
    """Add a point not found yet, with the `fixed` places of axes, if one is drawn soon."""
    for _ in range(_MOST_DRAWN):
        drawn = tuple(fixed.get(axis, generator.randrange(size)) for axis, size in enumerate(grid.sizes))
        if drawn not in found and grid.point(drawn) is not None:
            found[drawn] = None
            return


def beside(
    grid: Grid, generator: random.Random, front: Collection[Places], known: Collection[Places], count: int
) -> list[Places]:
    """Return at most `count` points next to a front that are not known: a step along one axis, then two, then three."""
    found: dict[Places, None] = {}
    for steps in range(1, _FARTHEST + 1):
        near = (near for places in front for near in grid.near(places, steps))
        candidates = [places for places in dict.fromkeys(near) if places not in known]
        generator.shuffle(candidates)
        found |= dict.fromkeys(candidates[: count - len(found)])
        if len(found) == count:
            break
    return list(found)


def unknown_points(grid: Grid, generator: random.Random, known: Collection[Places], count: int) -> list[Places]:
    """Return at most `count` points that are not known, drawn, or the first of the sweep where drawing finds none."""
    found = dict.fromkeys(known)
    for _ in range(count):
        _draw_into(found, grid, generator)
    fresh = list(found)[len(known) :]
    return fresh or list(itertools.islice((places for places in grid.places() if places not in found), count))
