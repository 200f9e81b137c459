"""Searches: only points of the grid, none twice, resumed as if never interrupted, and the front found."""

import csv
import json
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accelsim.base.code import code_version
from accelsim.base.errors import InputError
from accelsim.base.version import __version__
from accelsim.hardware.design import load_design
from accelsim.hardware.resources import RESOURCES, estimate_resources
from accelsim.hardware.sourced import override
from accelsim.sweep import search
from accelsim.sweep.grid import Grid, beside, first_points, unknown_points
from accelsim.sweep.pareto import pareto_front
from accelsim.sweep.rows import columns_of
from accelsim.sweep.run import run_sweep
from accelsim.sweep.search import SearchOutcome, run_search
from accelsim.sweep.space import Sweep
from accelsim.sweep.spec import make_sweep

pytest.importorskip("optuna")

TRACE = "resnet9_cifar10"
VARY = {
    "batch": 32,
    "pattern": "2:4,2:8",
    "array.rows": [32, 8, 16, 24],
    "array.cols": [8, 16, 24, 32],
    "buffers.x_bytes": [1, 65536, 262144],
    "dram.bandwidth_gb_per_s": "5:20:5",
}
WHERE = ["array.rows * array.cols <= 512"]
OBJECTIVES = ("latency_s", "energy_j", "dsp")


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return make_sweep([TRACE], vary=VARY, where=WHERE)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def found(sweep: Sweep, path: Path, **more: Any) -> SearchOutcome:
    return run_search(sweep, path, **{"objectives": OBJECTIVES, "trials": 90, "seed": 3, **more})


@pytest.fixture(scope="module")
def whole(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("search") / "whole.csv"
    assert found(sweep, path) == SearchOutcome(points=90, before=0, exhausted=False)
    return path.read_bytes()


@pytest.fixture(scope="module")
def swept(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    path = tmp_path_factory.mktemp("search") / "sweep.csv"
    run_sweep(sweep, path)
    return {row["identity"]: row for row in rows_of(path)}


def test_rows_are_those_of_a_sweep_each_once(
    sweep: Sweep, whole: bytes, swept: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "r.csv").write_bytes(whole)
    rows = rows_of(tmp_path / "r.csv")
    assert Counter(row["identity"] for row in rows).most_common(1)[0][1] == 1
    base = load_design("sat_vcu1525")
    for row in rows:
        wanted = swept[row["identity"]]
        assert {name: row[name] for name in wanted if name != "sweep"} == {
            name: value for name, value in wanted.items() if name != "sweep"
        }
        use = estimate_resources(override(base, {path: row[path] for path in sweep.changed}))
        assert [row[name] for name in RESOURCES] == [str(getattr(use, name)) for name in RESOURCES]
    assert tuple(rows[0]) == columns_of(sweep)
    assert {row["status"] for row in rows} == {"ok", "infeasible"}
    assert {row["version"] for row in rows} == {__version__}


def test_the_front_is_found(sweep: Sweep, swept: dict[str, dict[str, str]], tmp_path: Path) -> None:
    """A third of the points is enough for most seeds."""
    seeds = range(3, 8)
    for seed in seeds:
        found(sweep, tmp_path / f"{seed}.csv", objectives=("latency_s", "energy_j"), trials=100, seed=seed)

    def front(rows: list[dict[str, str]]) -> set[tuple[float, ...]]:
        points = np.array([[float(row["latency_s"]), float(row["energy_j"])] for row in rows if row["status"] == "ok"])
        return set(map(tuple, points[pareto_front(points)].tolist()))

    assert len(swept) == 288
    whole = front(list(swept.values()))
    assert sum(front(rows_of(tmp_path / f"{seed}.csv")) == whole for seed in seeds) > len(seeds) / 2


@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.8, 0.999])
def test_a_search_that_ended_anywhere_is_resumed(
    sweep: Sweep, whole: bytes, tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.csv"
    begun(path, whole[: int(share * len(whole))])
    done = max(path.read_bytes().count(b"\n") - 1, 0)
    evaluated = count_points(monkeypatch)
    assert found(sweep, path) == SearchOutcome(points=90, before=done, exhausted=False)
    assert sum(evaluated) == 90 - done
    assert path.read_bytes() == whole


def begun(path: Path, rows: bytes) -> None:
    """Write the rows of a search that ended, made by this code."""
    path.write_bytes(rows)
    basis = {"format": "accelsim-sweep-basis/1", "code": code_version()}
    path.with_suffix(".basis.json").write_text(json.dumps(basis))


def count_points(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    evaluated: list[int] = []
    evaluate: Callable[..., Any] = search.lines_of

    def counted(chunk: Any) -> Any:
        evaluated.append(len(chunk.points))
        return evaluate(chunk)

    monkeypatch.setattr(search, "lines_of", counted)
    return evaluated


def test_more_trials_go_on_where_fewer_ended(sweep: Sweep, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    seen: list[tuple[int, int]] = []
    found(sweep, path, trials=47)
    assert whole.startswith(path.read_bytes())
    found(sweep, path, progress=lambda *done: seen.append(done))
    assert path.read_bytes() == whole
    assert seen[-1] == (90, 90)
    before = path.stat().st_mtime_ns
    found(sweep, path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (whole, before)
    message = f"{path}: holds 90 points, more than the 50 to be evaluated"
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        found(sweep, path, trials=50)


def test_processes_find_what_one_does(sweep: Sweep, whole: bytes, tmp_path: Path) -> None:
    found(sweep, tmp_path / "r.csv", jobs=2)
    assert (tmp_path / "r.csv").read_bytes() == whole


KILLED = """
import os, signal, sys
from accelsim.sweep import journal
from accelsim.sweep.search import run_search
from accelsim.sweep.spec import make_sweep

write, writes = os.write, 0

def write_half_and_die(file, data):
    global writes
    writes += 1
    if writes == 3:
        write(file, bytes(data)[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(file, data)

journal.os.write = write_half_and_die
run_search(make_sweep([{trace!r}], vary={vary!r}, where={where!r}), sys.argv[1], objectives={objectives!r}, trials=90, seed=3)
"""


def test_a_search_killed_in_the_middle_of_a_write_is_resumed(sweep: Sweep, whole: bytes, tmp_path: Path) -> None:
    path, script = tmp_path / "r.csv", tmp_path / "killed.py"
    script.write_text(KILLED.format(trace=TRACE, vary=VARY, where=WHERE, objectives=OBJECTIVES))
    done = subprocess.run([sys.executable, str(script), str(path)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    torn = path.read_bytes()
    assert not torn.endswith(b"\n")
    outcome = found(sweep, path)
    assert outcome.before == torn.count(b"\n") - 1 > 0
    assert path.read_bytes() == whole


def test_tpe_searches_and_is_resumed(sweep: Sweep, tmp_path: Path) -> None:
    found(sweep, tmp_path / "r.csv", sampler="tpe", trials=50)
    wanted = (tmp_path / "r.csv").read_bytes()
    assert len({row["identity"] for row in rows_of(tmp_path / "r.csv")}) == 50
    begun(tmp_path / "half.csv", wanted[: len(wanted) // 2])
    found(sweep, tmp_path / "half.csv", sampler="tpe", trials=50)
    assert (tmp_path / "half.csv").read_bytes() == wanted


def test_a_small_grid_is_exhausted(tmp_path: Path) -> None:
    small = make_sweep(
        [TRACE], vary={"batch": 32, "method": "dense,bdwp", "pattern": "2:4,2:8", "array.rows": "8,16,32"},
        where=["array.rows > 8 or pattern == '2:8'"],
    )  # fmt: skip
    outcome = run_search(small, tmp_path / "r.csv", trials=40)
    assert (outcome.points, outcome.exhausted) == (small.count(), True)
    run_sweep(small, tmp_path / "sweep.csv")
    assert {row["identity"] for row in rows_of(tmp_path / "r.csv")} == {
        row["identity"] for row in rows_of(tmp_path / "sweep.csv")
    }
    again = run_search(small, tmp_path / "r.csv", trials=40)
    assert (again.before, again.points, again.exhausted) == (small.count(), small.count(), True)


def test_a_search_in_which_nothing_can_be_simulated(tmp_path: Path) -> None:
    sweep = make_sweep([TRACE], vary={"batch": 32, "buffers.x_bytes": "1,2,3", "array.rows": "8,16"})
    outcome = run_search(sweep, tmp_path / "r.csv", trials=50)
    assert (outcome.points, outcome.exhausted) == (6, True)
    assert {row["status"] for row in rows_of(tmp_path / "r.csv")} == {"infeasible"}


def test_steps_on_a_grid(sweep: Sweep) -> None:
    grid = Grid(sweep)
    axes = [axis.path for axis in sweep.axes]
    assert len(list(grid.places())) == len(set(grid.places())) == sweep.count()
    rows, cols, pattern = axes.index("array.rows"), axes.index("array.cols"), axes.index("pattern")
    start = tuple(2 if name in {"array.rows", "array.cols"} else 0 for name in axes)  # 24 x 24 is too much
    assert grid.point(start) is None
    start = (*start[:rows], 1, *start[rows + 1 :])
    assert dict(grid.point(start).changes)["array.rows"] == "16"  # type: ignore[union-attr]
    one, two = list(grid.near(start, 1)), list(grid.near(start, 2))
    differing = [[axes[index] for index in range(len(axes)) if near[index] != start[index]] for near in (*one, *two)]
    assert sorted(names[0] for names in differing[: len(one)]) == [
        "array.cols", "array.cols", "array.rows", "buffers.x_bytes", "dram.bandwidth_gb_per_s", "pattern",
    ]  # fmt: skip
    assert all(len(names) == 2 for names in differing[len(one) :])
    assert (2, 1) in {(near[rows], near[cols]) for near in two}
    assert all(grid.point(near) is not None for near in two)
    assert {near[pattern] for near in one} == {0, 1}
    generator = random.Random(0)
    known = [start, *one]
    assert set(beside(grid, generator, [start], [start], 999)) == {*one, *two, *grid.near(start, 3)}
    nearest = beside(grid, generator, [start], [start], len(one) + 2)
    assert (set(nearest[: len(one)]), set(nearest[len(one) :]) < set(two)) == (set(one), True)
    assert set(beside(grid, generator, [start], known, 5)) < set(two)
    first = first_points(grid, generator, 40)
    assert len(first) == len(set(first)) == 40
    for axis, size in enumerate(grid.sizes):
        assert {0, size - 1} <= {places[axis] for places in first}
    left = list(grid.places())[-1]
    assert unknown_points(grid, generator, [item for item in grid.places() if item != left], 7) == [left]
    assert unknown_points(grid, generator, list(grid.places()), 7) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "nsga"}, "sampler 'nsga' is not known; did you mean 'nsga2'?; allowed: nsga2, tpe"),
        ({"trials": 0}, "trials: got 0; a whole number from 1 is needed"),
        ({"objectives": ["latency_s"]}, "objectives: got 1; 2 or more are needed"),
        ({"objectives": ["latency_s", "latency_s"]}, "objective latency_s: is given twice; the objectives must differ"),
        ({"objectives": ["latency_s", "luts"]}, "objective luts: there is no such column; did you mean 'lut'?"),
        ({"maximise": ["dsps"]}, "--maximise dsps: is none of the objectives; they are latency_s, energy_j, dsp"),
        ({"output": "r.parquet"}, "r.parquet: a search is written as .csv, got '.parquet'"),
    ],
)
def test_bad_arguments(sweep: Sweep, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    output = arguments.pop("output", tmp_path / "r.csv")
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        found(sweep, output, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_spaces_that_cannot_be_searched(tmp_path: Path) -> None:
    drawn = make_sweep([TRACE], vary={"dram.bandwidth_gb_per_s": "10..80"}, sample=5)
    alone = make_sweep([TRACE], vary={"array.rows": 16})
    for sweep, message in (
        (drawn, "a search draws its own points: leave the sampling out of the sweep, and list the values of axes"),
        (alone, "nothing to search: no axis has more than one value"),
    ):
        with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
            run_search(sweep, tmp_path / "r.csv")


def test_an_objective_that_is_no_number(sweep: Sweep, tmp_path: Path) -> None:
    message = f"{tmp_path / 'r.csv'}: row 2: 'pattern' is '2:8'; a number is needed"
    with pytest.raises(InputError) as caught:
        found(sweep, tmp_path / "r.csv", objectives=("latency_s", "pattern"))
    assert re.sub(r"row \d+: 'pattern' is '2:\d'", "row 2: 'pattern' is '2:8'", str(caught.value)) == message


def test_files_of_other_searches(sweep: Sweep, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(whole)
    with pytest.raises(InputError) as caught:
        found(sweep, path, seed=4)
    assert re.fullmatch(
        rf"{re.escape(str(path))}: line 2: is of the sweep \w{{16}}, and this is \w{{16}}: what is varied or what it"
        r" rests on differs; write to another file",
        str(caught.value),
    )
    lines = whole.splitlines(keepends=True)
    begun(path, b"".join([*lines[:5], lines[6], lines[5], *lines[7:]]))
    message = (
        f"{path}: line 6: is another point than this search comes to; made with another version of Optuna? write to"
        " another file"
    )
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        found(sweep, path)


def test_without_optuna(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.sweep.search.find_spec", lambda _: None)
    with pytest.raises(
        InputError, match=r"^a search needs Optuna: pip install -e '\.\[dse\]' in the folder of accelsim$"
    ):
        found(sweep, tmp_path / "r.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_search_without_workers_keeps_its_rows(sweep: Sweep, tmp_path: Path) -> None:
    from accelsim.sweep.run import WorkersLostError

    class Lost(Executor):
        calls = 0

        def submit(self, function: Any, /, *arguments: Any) -> "Future[Any]":  # type: ignore[override]
            Lost.calls += 1
            future: Future[Any] = Future()
            if Lost.calls > 2:
                future.set_exception(WorkersLostError("no worker is left"))
            else:
                future.set_result(function(*arguments))
            return future

    path = tmp_path / "r.csv"
    with pytest.raises(InputError) as caught:
        run_search(sweep, path, objectives=OBJECTIVES, trials=90, executor=Lost(), jobs=2)
    rows = path.read_bytes().count(b"\n") - 1
    assert rows > 0
    assert str(caught.value) == (
        f"{path}: no worker is left; {rows:,} points are kept: run the same search again to go on"
    )
