"""The points of a sweep: axes, what is linked to them, and which of their combinations are wanted.

Points are made one after another and never held: a million of them take no memory. Their order, and so the order of
the rows, follows from the sweep alone.
"""

import itertools
import math
import random
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from accelsim.base.errors import InputError
from accelsim.base.markup import data_table
from accelsim.hardware.design import GO_WITH, load_design
from accelsim.hardware.sourced import text_of, value_at
from accelsim.lowering.case import LARGEST_BATCH, case_of, check_accumulate
from accelsim.results.step import identity_of
from accelsim.sparsity.methods import METHODS
from accelsim.sweep.axes import RESERVED, Axis, Interval, Levels, Value, is_batch, whole_where_counted
from accelsim.sweep.expression import Expression, shown
from accelsim.sweep.inputs import Inputs, base_values
from accelsim.sweep.point import Point

__all__ = ["SAMPLINGS", "Link", "Sampling", "Sweep", "strata"]

SAMPLINGS = ("random", "latin-hypercube")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A field that follows from others: `path` has the value of `expression`."""

    path: str
    expression: Expression

    def value(self, values: Mapping[str, Value]) -> Value:
        """Return the value of the field. Raises `InputError` where it has none."""
        value = whole_where_counted(self.path, self.expression.value(values))
        if self.path == "batch" and not is_batch(value):
            wanted = f"a whole number from 1 to {LARGEST_BATCH} is needed"
            raise InputError(f"'{self.expression.text}': a batch of {shown(value)}; {wanted}")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How many combinations are drawn, and how.

    ``random``: each value on its own, or, where all axes are lists, different combinations of the grid.
    ``latin-hypercube``: each axis is cut into `points` parts, and every part is met once. Where every axis is lists or
    whole numbers, a combination that is drawn again is left out.
    """

    kind: Literal["random", "latin-hypercube"]
    points: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep over a design: the grid of its `axes`, the last one fastest, or combinations drawn from it.

    `links` are set after the axes. A combination that a constraint does not hold for is no point. Under a method that
    takes no pattern, the values of the axis `pattern` are one point, not several. `fits`: points whose design is more
    than its device holds are not simulated.
    """

    name: str
    description: str
    axes: tuple[Axis, ...]
    links: tuple[Link, ...]
    constraints: tuple[Expression, ...]
    fits: bool
    sampling: Sampling | None
    inputs: Inputs

    @property
    def remarks(self) -> tuple[str, ...]:
        """What stays as it is where a value is varied that it goes with, as the bandwidth where the channels are."""
        changed = {item.path for item in (*self.axes, *self.links)}
        design = load_design(self.inputs.design)
        return tuple(
            f"{path} stays {value:g} while {leader} varies; --link '{path} = {value / value_at(design, leader):g} *"
            f" {leader}' changes it in proportion"
            for leader, path in GO_WITH
            if leader in changed and path not in changed and (value := value_at(design, path)) is not None
        )

    def _repr_html_(self) -> str:
        """A table for notebooks: what is varied, over which values, and what follows from it."""
        rows = [
            (axis.path, ", ".join(map(text_of, axis.values)) if isinstance(axis, Levels) else _interval(axis))
            for axis in self.axes
        ]
        rows += [(link.path, link.expression.text) for link in self.links]
        rows += [("where", constraint.text) for constraint in self.constraints]
        drawn = f", {self.sampling.points:,} of them drawn ({self.sampling.kind})" if self.sampling else ""
        title = f"{self.name or 'sweep'} of {self.inputs.name_of(self.inputs.design)}: {self.count():,} points{drawn}"
        return data_table(title, ("what varies", "over"), rows)

    @property
    def changed(self) -> tuple[str, ...]:
        """Fields of the design that the points change, by path."""
        paths = [item.path for item in (*self.axes, *self.links)]
        return tuple(path for path in paths if path not in RESERVED)

    @property
    def identity(self) -> str:
        """Sixteen digits that tell this sweep from others: what it varies, how, and of which inputs."""
        axes = [
            [axis.path, *map(text_of, axis.values)]
            if isinstance(axis, Levels)
            else [axis.path, axis.low, axis.high, axis.log, axis.whole]
            for axis in self.axes
        ]
        inputs = self.inputs
        return identity_of(
            {
                "axes": axes,
                "links": [[link.path, link.expression.text] for link in self.links],
                "where": [constraint.text for constraint in self.constraints],
                "fits": self.fits,
                "sample": self.sampling and [self.sampling.kind, self.sampling.points, self.sampling.seed],
                "inputs": [inputs.design, inputs.design_digest, inputs.traces, inputs.tables],
            }
        )[:16]

    @property
    def batched(self) -> bool:
        """Whether points are evaluated many at a time; those of other engines and schedulers are simulated one by one,
        each as long as hundreds of these."""
        engines = next(axis.values for axis in self.axes if isinstance(axis, Levels) and axis.path == "engine")
        greedy = load_design(self.inputs.design).schedule.scheduler == "greedy"
        return set(engines) == {"closed"} and greedy and "schedule.scheduler" not in self.changed

    def combinations(self) -> Iterator[tuple[Value, ...]]:
        """Yield the values of the axes, before links and constraints."""
        if self.sampling is None:
            yield from itertools.product(*(axis.values for axis in self.axes if isinstance(axis, Levels)))
        else:
            drawn = _drawn(self.axes, self.sampling)
            countable = all(isinstance(axis, Levels) or axis.whole for axis in self.axes)
            yield from dict.fromkeys(drawn) if countable else drawn

    def setter(self) -> Callable[[tuple[Value, ...]], dict[str, Value] | None]:
        """Return what makes of a combination the values of every field of the design and of every reserved axis.

        It returns None for a combination that is no point.
        """
        base, paths = base_values(load_design(self.inputs.design)), [axis.path for axis in self.axes]
        patterns = next(axis.values for axis in self.axes if isinstance(axis, Levels) and axis.path == "pattern")

        def setting(combination: tuple[Value, ...]) -> dict[str, Value] | None:
            values: dict[str, Value] = {**base, **dict(zip(paths, combination, strict=True))}
            if not METHODS[values["method"]].takes_pattern:
                if values["pattern"] != patterns[0]:
                    return None
                values["pattern"] = None
            for link in self.links:
                values[link.path] = link.value(values)
            check_accumulate(values["accumulate"], values["batch"])
            return values if all(constraint.holds(values) for constraint in self.constraints) else None

        return setting

    def settings(self) -> Iterator[dict[str, Value]]:
        """Yield the values of every field of the design and of every reserved axis, point by point."""
        setting = self.setter()
        for combination in self.combinations():
            values = setting(combination)
            if values is not None:
                yield values

    def point(self, values: Mapping[str, Value]) -> Point:
        """Return the point of these values."""
        return Point(
            workload=values["workload"],
            design=self.inputs.design,
            changes=tuple((path, text_of(values[path])) for path in self.changed),
            case=_case(**{name: values[name] for name in _CASE}),
        )

    def points(self) -> Iterator[Point]:
        """Yield the points in the order of their rows."""
        return map(self.point, self.settings())

    def count(self) -> int:
        """Return the number of points; where anything can leave some out, they are all made and counted."""
        methods = next(axis.values for axis in self.axes if isinstance(axis, Levels) and axis.path == "method")
        parts = next(axis for axis in self.axes if axis.path == "accumulate")
        whole = isinstance(parts, Levels) and parts.values == (1,)
        every = whole and all(METHODS[name].takes_pattern for name in methods)
        if self.sampling or self.links or self.constraints or not every:
            return sum(1 for _ in self.settings())
        return math.prod(len(axis.values) for axis in self.axes if isinstance(axis, Levels))


def _interval(axis: Interval) -> str:
    return f"{axis.low:g} .. {axis.high:g}{', logarithmic' if axis.log else ''}"


_CASE = ("method", "pattern", "batch", "optimizer", "engine", "accumulate")
_case = lru_cache(maxsize=1024)(case_of)  # points share their cases


def _drawn(axes: tuple[Axis, ...], sampling: Sampling) -> Iterator[tuple[Value, ...]]:
    # the generator of the standard library: its numbers are promised to stay the same from version to version
    generator = random.Random(sampling.seed)
    sizes = [len(axis.values) for axis in axes if isinstance(axis, Levels)]
    if sampling.kind == "random" and len(sizes) == len(axes) and math.prod(sizes) <= sys.maxsize:
        for index in generator.sample(range(math.prod(sizes)), sampling.points):
            yield _combination(axes, index)
    elif sampling.kind == "random":
        for _ in range(sampling.points):
            yield tuple(axis.at(generator.random()) for axis in axes)
    else:
        columns = [strata(generator, sampling.points) for _ in axes]
        for shares in zip(*columns, strict=True):
            yield tuple(axis.at(share) for axis, share in zip(axes, shares, strict=True))


def _combination(axes: tuple[Axis, ...], index: int) -> tuple[Value, ...]:
    values: list[Value] = []
    for axis in reversed(axes):
        assert not isinstance(axis, Interval)
        index, place = divmod(index, len(axis.values))
        values.append(axis.values[place])
    return tuple(reversed(values))


def strata(generator: random.Random, points: int) -> "array[float]":
    """One share in each of `points` equal parts from 0 to 1, in random order."""
    places = array("q", range(points))
    generator.shuffle(places)
    return array("d", ((place + generator.random()) / points for place in places))
