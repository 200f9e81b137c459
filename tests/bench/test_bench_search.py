"""How much of the front of the shipped edge-budget sweep a search finds in 5 % of its evaluations.

pytest tests/bench/test_bench_search.py -m bench -s. Nothing here is asserted but that all ran; numbers are read.
"""

import csv
import statistics
import time
from pathlib import Path

import numpy as np
import pytest

from accelsim.hardware.design import load_design
from accelsim.hardware.resources import RESOURCES, estimate_resources
from accelsim.hardware.sourced import override
from accelsim.sweep.pareto import hypervolume, pareto_front
from accelsim.sweep.run import run_sweep
from accelsim.sweep.search import run_search
from accelsim.sweep.space import Sweep
from accelsim.sweep.spec import load_sweep

pytest.importorskip("optuna")
pytestmark = pytest.mark.bench

SEEDS = range(5)
SHARE = 0.05
OBJECTIVES = (
    ("latency_s", "energy_j"),
    ("latency_s", "energy_j", "lut"),
    ("latency_s", "energy_j", "dsp"),
    ("latency_s", "lut", "dram.bandwidth_gb_per_s"),
    ("latency_s", "energy_j", "lut", "dram.bandwidth_gb_per_s"),
)

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return load_sweep("edge_budget")


@pytest.fixture(scope="module")
def enumerated(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Every point of the sweep, with what its design takes."""
    path = tmp_path_factory.mktemp("enumerated") / "edge.csv"
    run_sweep(sweep, path, jobs=2)
    base = load_design(sweep.inputs.design)
    known: dict[tuple[str, ...], dict[str, str]] = {}
    found = []
    for row in rows_of(path):
        key = tuple(row[name] for name in sweep.changed)
        if key not in known:
            use = estimate_resources(override(base, {name: row[name] for name in sweep.changed}))
            known[key] = {name: str(getattr(use, name)) for name in RESOURCES}
        found.append({**row, **known[key]})
    return found


def rows_of(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def costs_of(rows: Rows, objectives: tuple[str, ...]) -> np.ndarray:
    return np.array([[float(row[name]) for name in objectives] for row in rows if row["status"] == "ok"])


@pytest.mark.parametrize("objectives", OBJECTIVES, ids=",".join)
def test_front_of_the_edge_budget(sweep: Sweep, enumerated: Rows, tmp_path: Path, objectives: tuple[str, ...]) -> None:
    """Hypervolume that is missing, to the worst of all points and to the worst of the front, the median of the seeds."""
    every = costs_of(enumerated, objectives)
    front = every[pareto_front(every)]
    corners = {"all points": every.max(axis=0), "the front": front.max(axis=0) + 1e-6 * np.ptp(every, axis=0)}
    volumes = {name: hypervolume(front, corner) for name, corner in corners.items()}
    trials = int(SHARE * len(enumerated))
    lost: dict[str, list[float]] = {name: [] for name in corners}
    met, began = [], time.perf_counter()
    for seed in SEEDS:
        path = tmp_path / f"{seed}.csv"
        outcome = run_search(sweep, path, objectives=objectives, trials=trials, sampler="nsga2", seed=seed)
        assert outcome.points == trials
        found = costs_of(rows_of(path), objectives)
        for name, corner in corners.items():
            lost[name].append(1 - hypervolume(found, corner) / volumes[name])
        met.append(len({*map(tuple, found)} & {*map(tuple, front)}) / len(front))
    print(  # noqa: T201  what this is for
        f"\nNSGA-II: {', '.join(objectives)}: front of {len(front)} of {len(enumerated):,} points;"
        f" {trials:,} evaluations ({trials / len(enumerated):.1%}), seeds {list(SEEDS)}"
    )
    for name, values in lost.items():
        each = ", ".join(f"{value:.3%}" for value in values)
        print(f"  hypervolume to the worst of {name}: {statistics.median(values):.3%} missing ({each})")  # noqa: T201
    seconds = (time.perf_counter() - began) / len(SEEDS)
    print(f"  points of the front met: {statistics.median(met):.0%}; {seconds:.1f} s per search")  # noqa: T201
