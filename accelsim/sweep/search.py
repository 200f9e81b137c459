"""Search for the Pareto front of a sweep without evaluating all of its points (extra ``dse``).

Points are proposed in generations, evaluated together, and told to a sampler of Optuna: NSGA-II or TPE. The first
generation holds points at both ends of every ordered axis, and a Latin hypercube. Of every later one half are points
next to the front found so far that have not been evaluated: a step along one axis, then along two or three at once.
The sampler proposes the rest, and sees axes of numbers in order and others as categories; where it proposes what is
known already, points are drawn. Only points of the sweep are evaluated, each once.

A row is appended to a CSV for each point, in the order of evaluation: the columns of the sweep. All that is random
follows from the seed and the rows, so a search that was interrupted is resumed by going through it again with the rows
that are there: the file is in the end that of a search that was not.
"""

import csv
import io
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelsim.base.errors import InputError, did_you_mean, to_install
from accelsim.base.version import __version__
from accelsim.hardware.design import load_design
from accelsim.hardware.resources import RESOURCES, has_device
from accelsim.results.step import identity_of
from accelsim.sweep.axes import Levels
from accelsim.sweep.basis_file import check_code, write_basis
from accelsim.sweep.fan_out import Slots
from accelsim.sweep.fronts import Objective, read_objectives
from accelsim.sweep.grid import Grid, Places, beside, first_points, unknown_points
from accelsim.sweep.journal import Journal
from accelsim.sweep.pareto import pareto_front
from accelsim.sweep.point import Point
from accelsim.sweep.results_table import row_of
from accelsim.sweep.rows import chunk_of, columns_of, end_of_line, inputs_of, is_intact, lines_of
from accelsim.sweep.run import keeping_rows, local_executor
from accelsim.sweep.space import Sweep

__all__ = ["SAMPLERS", "SearchOutcome", "run_search"]

SAMPLERS = ("nsga2", "tpe")

_GENERATION = {"nsga2": 40, "tpe": 20}
_MOST_ASKED = 4  # proposals of the sampler per point of a generation, of which some are none or known

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOutcome:
    """A finished search: how many points were evaluated, how many of them before, and whether these are all."""

    points: int
    before: int
    exhausted: bool


def run_search(
    sweep: Sweep,
    output: str | Path,
    *,
    objectives: Sequence[str | tuple[str, str]] = ("latency_s", "energy_j"),
    maximise: Sequence[str] = (),
    trials: int = 500,
    sampler: str = "nsga2",
    seed: int = 0,
    jobs: int | Slots = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> SearchOutcome:
    """Evaluate at most `trials` points of `sweep` in search of its front, and write a row for each to the ``.csv``.

    An objective is a column of the sweep or an expression over columns; errors name the option that it is given with,
    as in ``("-x", "lut")``. `jobs` and `executor` are those of `run_sweep`. The same call, also with more `trials`,
    goes on with a search that was interrupted. Raises `InputError` for what cannot be searched, without Optuna, and for
    a file that holds something else.
    """
    _check(sweep, trials, sampler)
    columns = columns_of(sweep)
    named = [("objective", item) if isinstance(item, str) else item for item in objectives]
    read = read_objectives(named, maximise, columns)
    if len(read) < 2:
        raise InputError(f"objectives: got {len(read)}; 2 or more are needed")
    _check_device(sweep, named, read)
    identity = identity_of(
        {
            "sweep": sweep.identity,
            "objectives": [[item.text, item.most] for item in read],
            "sampler": sampler,
            "seed": seed,
        }
    )[:16]
    path = Path(output)
    if path.suffix != ".csv":
        raise InputError(f"{output}: a search is written as .csv, got '{path.suffix or 'no suffix'}'")
    header, ends = ",".join(columns).encode() + b"\n", (identity, __version__)
    with (
        Journal(path, header, end_of_line(ends), is_intact) as journal,
        keeping_rows(journal, trials, progress, "search"),
        local_executor(jobs) if isinstance(jobs, int) and jobs > 1 and not executor else nullcontext(executor) as given,
    ):
        if journal.lines > trials:
            raise InputError(f"{path}: holds {journal.lines:,} points, more than the {trials:,} to be evaluated")
        before = journal.lines
        check_code(path, before)
        write_basis(path, sweep.inputs, identity, complete=False)
        record = _Record(sweep, ends, journal, read, jobs, given)
        grid = Grid(sweep)
        proposer = _Proposer(grid, sampler, seed, len(read))
        exhausted = _search(record, grid, proposer, random.Random(seed), trials, progress)
        return SearchOutcome(points=len(record.costs), before=before, exhausted=exhausted)


def _check(sweep: Sweep, trials: int, sampler: str) -> None:
    if find_spec("optuna") is None:
        raise InputError(f"a search needs Optuna: {to_install('dse')}")
    if sampler not in SAMPLERS:
        raise InputError(f"sampler '{sampler}' is not known{did_you_mean(sampler, SAMPLERS)}; allowed: nsga2, tpe")
    if trials < 1:
        raise InputError(f"trials: got {trials}; a whole number from 1 is needed")
    if sweep.sampling is not None:
        raise InputError(
            "a search draws its own points: leave the sampling out of the sweep, and list the values of axes"
        )
    if all(len(axis.values) == 1 for axis in sweep.axes if isinstance(axis, Levels)):
        raise InputError("nothing to search: no axis has more than one value")


def _check_device(sweep: Sweep, given: Sequence[tuple[str, str]], objectives: Sequence[Objective]) -> None:
    """Refuse to look for less of what is not estimated: of a design without an FPGA, but where its device varies."""
    design = load_design(sweep.inputs.design)
    if has_device(design) or any(path.startswith("resources.") for path in sweep.changed):
        return
    for (place, text), objective in zip(given, objectives, strict=True):
        if not {"fits", *RESOURCES}.isdisjoint(objective.formula.names):
            raise InputError(f"{place} {text}: not known, as design {design.name} names no FPGA (resources)")


class _Record:
    """What has been evaluated, by places, in order: the costs of each point, None where it could not be simulated.

    Rows that the journal holds from before are taken for the first points evaluated, which they must be of.
    """

    def __init__(
        self,
        sweep: Sweep,
        ends: tuple[str, str],
        journal: Journal,
        objectives: Sequence[Objective],
        jobs: int | Slots,
        executor: Executor | None,
    ) -> None:
        self.costs: dict[Places, tuple[float, ...] | None] = {}
        self._sweep, self._ends, self._journal, self._objectives = sweep, ends, journal, objectives
        self._jobs, self._executor = jobs, executor
        self._columns = columns_of(sweep)
        with journal.path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            next(lines)
            self._before = [cells for _, cells in zip(range(journal.lines), lines, strict=False)]

    def evaluate(self, wanted: Sequence[Places], grid: Grid) -> None:
        """Evaluate points of the grid, and append their rows."""
        known = self._before[len(self.costs) : len(self.costs) + len(wanted)]
        points = [point for places in wanted if (point := grid.point(places)) is not None]
        for place, (point, cells) in enumerate(zip(points, known, strict=False), start=len(self.costs) + 2):
            inputs = inputs_of(point, self._sweep.inputs)
            if cells[: len(inputs)] != inputs:
                raise InputError(
                    f"{self._journal.path}: line {place}: is another point than this search comes to; made with"
                    " another version of Optuna? write to another file"
                )
        fresh = self._rows(points[len(known) :])
        if fresh:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(fresh)
            self._journal.append(text.getvalue().encode(), len(fresh))
        for places, cells in zip(wanted, [*known, *fresh], strict=True):
            row = row_of(self._columns, cells)
            line = len(self.costs) + 1
            self.costs[places] = (
                tuple(item.cost(row, str(self._journal.path), line) for item in self._objectives)
                if row["status"] == "ok"
                else None
            )

    def _rows(self, points: Sequence[Point]) -> list[list[str]]:
        slots = self._jobs if isinstance(self._jobs, int) else self._jobs()
        size = max(-(-len(points) // max(slots, 1)), 1)
        chunks = [
            chunk_of(self._sweep, points[start : start + size], self._ends) for start in range(0, len(points), size)
        ]
        done = map(lines_of, chunks) if self._executor is None else self._executor.map(lines_of, chunks)
        return [row for lines in done for row in csv.reader(lines.text.decode().splitlines())]

    def front(self) -> list[Places]:
        """Return the points that none evaluated is better than."""
        usable = [(places, costs) for places, costs in self.costs.items() if costs is not None]
        return [usable[index][0] for index in pareto_front([costs for _, costs in usable])] if usable else []


class _Proposer:
    """A sampler of Optuna that proposes points by their places, generation by generation."""

    def __init__(self, grid: Grid, sampler: str, seed: int, objectives: int) -> None:
        import optuna  # noqa: PLC0415  an extra

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.size = _GENERATION[sampler]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of the settings are new to Optuna
            found: Any = (
                optuna.samplers.NSGAIISampler(population_size=self.size, seed=seed)
                if sampler == "nsga2"
                else optuna.samplers.TPESampler(
                    n_startup_trials=self.size, multivariate=True, constant_liar=True, seed=seed
                )
            )
            self._study = optuna.create_study(directions=["minimize"] * objectives, sampler=found)
        self._failed = optuna.trial.TrialState.FAIL
        self._grid = grid
        self._asked: list[tuple[Any, Places]] = []

    def generation(self, first: Sequence[Places], costs: Mapping[Places, object]) -> list[Places]:
        """Return a generation: the points in `first`, then others of the sampler, which may be known already."""
        for places in first:
            self._study.enqueue_trial({str(axis): place for axis, place in enumerate(places)})
        self._asked = []
        for _ in range(_MOST_ASKED * self.size):
            trial = self._study.ask()
            places = tuple(self._place(trial, axis) for axis in range(len(self._grid.sizes)))
            if self._grid.point(places) is None or costs.get(places, ()) is None:
                self._study.tell(trial, state=self._failed)
            else:
                self._asked.append((trial, places))
            if len(self._asked) == self.size:
                break
        return [places for _, places in self._asked]

    def _place(self, trial: Any, axis: int) -> int:
        size = self._grid.sizes[axis]
        if size == 1:
            return 0
        if self._grid.ordered[axis]:
            return int(trial.suggest_int(str(axis), 0, size - 1))
        return int(trial.suggest_categorical(str(axis), range(size)))

    def tell(self, costs: Mapping[Places, tuple[float, ...] | None]) -> None:
        """Say what the points of the generation cost."""
        for trial, places in self._asked:
            found = costs.get(places)
            if found is None:
                self._study.tell(trial, state=self._failed)
            else:
                self._study.tell(trial, found)


def _search(
    record: _Record, grid: Grid, proposer: _Proposer, generator: random.Random, trials: int, progress: Progress | None
) -> bool:
    """Evaluate points until there are `trials` of them; return whether none is left before."""
    proposals = first_points(grid, generator, proposer.size)
    while (left := trials - len(record.costs)) > 0:
        asked = proposer.generation(proposals, record.costs)
        fresh = [places for places in dict.fromkeys(asked) if places not in record.costs]
        # as many whatever is left of the trials, so that what is drawn does not depend on their number
        missing = proposer.size // 2 - len(fresh)
        if missing > 0:
            fresh += unknown_points(grid, generator, [*record.costs, *fresh], missing)
        if not fresh:
            return True
        record.evaluate(fresh[:left], grid)
        if progress is not None:
            progress(len(record.costs), trials)
        proposer.tell(record.costs)
        proposals = beside(grid, generator, record.front(), record.costs, proposer.size // 2)
    return False
