"""Objectives, and the Pareto fronts of the rows of a table."""

from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.sweep.expression import Expression
from accelsim.sweep.pareto import hypervolume, pareto_front
from accelsim.sweep.results_table import Selection, Table, Value, more_is_better, number_of, read_formula, selected

__all__ = ["Front", "Objective", "find_fronts", "read_objectives", "why_one_point"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is to be little, or much if `most`: a column, or an expression over columns."""

    formula: Expression
    most: bool

    @property
    def text(self) -> str:
        """What it is, as it was written."""
        return self.formula.text

    def cost(self, row: Mapping[str, Value], path: str, line: int) -> float:
        """Return the number, of which less is better, that a row costs. Raises `InputError` where it is none."""
        number = number_of(self.formula, row, path, line)
        return -number if self.most else number


def read_objectives(
    given: Sequence[tuple[str, str]], maximise: Sequence[str], columns: Collection[str]
) -> tuple[Objective, ...]:
    """Read objectives, each with the option it was given by; more is wanted of those in `maximise` and of some metrics.

    The metrics are `accelsim.results.step.MORE_IS_BETTER`. Raises `InputError` for an objective that cannot be
    read or is given twice, and for one in `maximise` that is none.
    """
    found: list[Objective] = []
    for place, text in given:
        formula = read_formula(text, columns, place)
        if formula.text in {other.text for other in found}:
            raise InputError(f"{place} {text}: is given twice; the objectives must differ")
        found.append(Objective(formula=formula, most=more_is_better(formula) or formula.text in maximise))
    names = [item.text for item in found]
    for text in maximise:
        if text not in names:
            raise InputError(f"--maximise {text}: is none of the objectives; they are {', '.join(names)}")
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The front of `points` rows that have the values `group`; of equal rows the first stands for all.

    `rows`: with all columns, from the best in the first objective on. `values`: of the objectives, a row each. `equal`:
    how many other rows have the same values. `reference` bounds the `hypervolume`: unless it was given, the worst of
    all rows in each objective. `share`: of the box between the reference and the best of each objective.
    """

    group: tuple[Value, ...]
    points: int
    rows: tuple[dict[str, Value], ...]
    values: tuple[tuple[float, ...], ...]
    equal: tuple[int, ...]
    reference: tuple[float, ...]
    hypervolume: float
    share: float | None


def find_fronts(
    table: Table,
    objectives: Sequence[Objective],
    *,
    group: Sequence[str] = (),
    where: Expression | None = None,
    reference: Sequence[float] | None = None,
) -> tuple[tuple[Front, ...], Selection]:
    """Return the front of each combination of values of the columns `group`, and counts of the rows.

    Raises `InputError` where no row is left, or an objective is no number in one.
    """
    counts = Selection(failed={})
    needed = dict.fromkeys((*group, *(name for item in objectives for name in item.formula.names)))
    costs: dict[tuple[Value, ...], array[float]] = {}
    lines: dict[tuple[Value, ...], array[int]] = {}
    for line, row in selected(table, needed, where, counts):
        key = tuple(row[name] for name in group)
        costs.setdefault(key, array("d")).extend(item.cost(row, table.path, line) for item in objectives)
        lines.setdefault(key, array("q")).append(line)
    counts.check(table.path, where)
    signs = np.array([-1.0 if item.most else 1.0 for item in objectives])
    found: dict[tuple[Value, ...], dict[str, Any]] = {}
    for key, flat in costs.items():
        points = np.frombuffer(flat).reshape(-1, len(objectives))
        front = pareto_front(points)
        corner = points.max(axis=0) if reference is None else signs * np.array(reference)
        distinct, times = np.unique(points, axis=0, return_counts=True)
        equal = dict(zip(map(tuple, distinct.tolist()), (times - 1).tolist(), strict=True))
        found[key] = {
            "points": len(points),
            "lines": [lines[key][place] for place in front],
            "values": tuple(map(tuple, (signs * points[front] + 0.0).tolist())),
            "equal": tuple(equal[tuple(point)] for point in points[front].tolist()),
            "reference": tuple((signs * corner + 0.0).tolist()),
            **_volume(points[front], corner),
        }
    wanted = [line for item in found.values() for line in item["lines"]]
    rows = dict(zip(wanted, table.rows_at(wanted), strict=True))
    fronts = [
        Front(group=key, rows=tuple(rows[line] for line in item.pop("lines")), **item) for key, item in found.items()
    ]
    return tuple(fronts), counts


def _volume(front: "NDArray[np.float64]", corner: "NDArray[np.float64]") -> dict[str, float | None]:
    volume, box = hypervolume(front, corner), float(np.prod(corner - front.min(axis=0)))
    return {"hypervolume": volume, "share": volume / box if box > 0 else None}


def why_one_point(points: int, equal: int, objectives: Sequence[str]) -> str:
    """Say why the front of so many points is one of them, which `equal` others have the same objectives as."""
    if points == 1:
        return "one point, as there is no other"
    if points == 1 + equal:
        return f"one point, as all have the same {' and '.join(objectives)}"
    return f"one point, as it is the best in {' and in '.join(objectives)} at once: these are no compromise here"
