"""Speed of sweeps on one core: pytest tests/bench/test_bench_sweep.py -m bench -s.

Rows together equal rows one by one, and rates that the README states are met within a factor of three, as machines and
what else they do differ. Rates count CPU time of this process, which other work on the machine does not stretch. Side
by side: points together, and the loop over `simulate` that they replace.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import accelsim as acs
from accelsim.base.jit import jit
from accelsim.cost.compiled import mapping_search
from accelsim.cost.compiled.values import GemmNumbers, Mnk, mapping_table
from accelsim.cost.gemm import gemm_numbers, machine_numbers
from accelsim.lowering.builder import lower
from accelsim.lowering.case import case_of
from accelsim.lowering.tasks import Gemm
from accelsim.schedule.mapping import array_mappings
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern
from accelsim.sweep.batched import BatchEvaluator
from accelsim.sweep.point import Point, evaluate_one

pytestmark = pytest.mark.bench

STEP = Point(
    workload="resnet50_imagenet",
    design="sat_vcu1525",
    changes=(),
    case=case_of(method="bdwp", pattern="2:8", batch=512, optimizer="sgd", engine="closed"),
)
SIDES = (8, 12, 16, 20, 24, 28, 32, 40, 48, 64)
SWEEPS = {
    "bandwidth only, 10 to 80 GB/s": [(("dram.bandwidth_gb_per_s", f"{value:.6g}"),) for value in np.linspace(10, 80, 2000)],
    "array shape only, 8 to 64 a side": [(("array.rows", str(r)), ("array.cols", str(c))) for r in SIDES for c in SIDES],
    "array shape x 10 bandwidths": [
        (("array.rows", str(r)), ("array.cols", str(c)), ("dram.bandwidth_gb_per_s", f"{8 * b}"))
        for r in SIDES[::2]
        for c in SIDES[::2]
        for b in range(1, 11)
    ],
    "buffers and clock": [
        (("buffers.x_bytes", str(2**x)), ("buffers.w_bytes", str(2**w)), ("clock_hz", f"{clock}e+6"))
        for x in range(18, 23)
        for w in range(18, 23)
        for clock in (150, 200, 250, 300)
    ],
}  # fmt: skip
README = Path(acs.__file__).parents[1] / "README.md"
STATED = {
    "bandwidth only, 10 to 80 GB/s": r"about ([0-9,]+) whole ResNet-50 steps per second and core where bandwidth varies",
    "array shape only, 8 to 64 a side": r"where bandwidth varies, ([0-9,]+) where the array does",
}


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize("name", SWEEPS)
def test_design_points_per_second(benchmark, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole ResNet-50 training steps, BDWP 2:8 at batch 512, each with its dense step; files are read anew each time."""
    points = [replace(STEP, changes=changes) for changes in SWEEPS[name]]
    BatchEvaluator().evaluate(points[:8])
    seconds, last = [], []

    def together() -> None:
        evaluator = BatchEvaluator()
        seconds.append(cpu_seconds(lambda: last.__setitem__(slice(None), evaluator.evaluate(points))))
        benchmark.extra_info.update(evaluated=evaluator.evaluated, pruned=evaluator.pruned)

    benchmark.pedantic(together, rounds=3)
    some = range(0, len(points), max(1, len(points) // 25))
    alone: list[dict[str, object]] = []
    loop = len(some) / cpu_seconds(lambda: alone.extend(evaluate_one(points[index]) for index in some))
    assert alone == [last[index] for index in some]
    rate = len(points) / min(seconds)
    evaluated, pruned = (benchmark.extra_info[key] / len(points) for key in ("evaluated", "pruned"))
    benchmark.extra_info.update(points_per_s=round(rate), loop_points_per_s=round(loop, 1))
    with capsys.disabled():
        print(  # noqa: T201  the numbers are what a benchmark is for
            f"\n{name}: {len(points):,} points, {rate:,.0f} points/s together, {loop:,.1f} points/s by simulate one by"
            f" one ({rate / loop:,.0f}x); per point {evaluated:,.0f} mappings evaluated, {pruned:,.0f} pruned"
        )
    if name in STATED:
        stated = re.search(STATED[name], " ".join(README.read_text().split()))
        assert stated is not None
        assert 1 / 3 < rate / float(stated[1].replace(",", "")) < 3


@pytest.fixture(scope="module")
def gemms() -> list[GemmNumbers]:
    """The distinct GEMMs of the step and of its dense baseline."""
    trace, design = acs.load_trace(STEP.workload), acs.load_design(STEP.design)
    steps = [
        lower(trace, design, find_method(name), pattern=Pattern.parse("2:8"), batch=512) for name in ("bdwp", "dense")
    ]
    return list(
        {
            gemm_numbers(task, design, online=False): None
            for step in steps
            for task in step.tasks
            if isinstance(task, Gemm)
        }
    )


@pytest.mark.parametrize("bandwidth", [19.2, 76.8, 1e6])
def test_mapping_evaluations_per_second(
    benchmark, gemms: Sequence[GemmNumbers], bandwidth: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exhaustive search of all distinct GEMMs: with bounds, and with every candidate of the space timed.

    Much bandwidth makes a candidate cheap to evaluate: what its jobs load and store need not be looked at.
    """
    design = acs.load_design(STEP.design)
    machine = machine_numbers(design)._replace(bytes_per_cycle=bandwidth * 1e9 / design.clock_hz)
    tables = [mapping_table(array_mappings(design, sparse=sparse)) for sparse in (False, True)]
    cycles_again, kept = mapping_search.cycles_again, np.empty(1 << 16, mapping_search.CANDIDATES)

    @jit
    def least_of_all(gemm, machine, mappings, kept):
        least = np.inf
        for index in range(kept.shape[0]):
            one = kept[index]
            taken = cycles_again(gemm, machine, mappings, one.row, Mnk(one.m, one.n, one.k), one.order)
            least = min(least, taken)
        return least

    def searched() -> list[mapping_search.Fastest]:
        return [mapping_search.search(gemm, machine, tables[gemm.shape.kept > 0]) for gemm in gemms]

    def all_timed() -> tuple[int, list[float]]:
        total, best = 0, []
        for gemm in gemms:
            table = tables[gemm.shape.kept > 0]
            found = mapping_search.candidates_within(gemm, machine, table, np.inf, kept)
            assert found <= len(kept)
            total, best = total + found, [*best, least_of_all(gemm, machine, table, kept[:found])]
        return total, best

    found, seconds = searched(), list[float]()
    benchmark.pedantic(lambda: seconds.append(cpu_seconds(searched)), rounds=5)
    evaluated, pruned = sum(one.evaluated for one in found), sum(one.pruned for one in found)
    timed, best = all_timed()
    everything = cpu_seconds(all_timed)
    assert best == [one.cycles for one in found]
    with capsys.disabled():
        print(  # noqa: T201  the numbers are what a benchmark is for
            f"\n{len(gemms)} GEMMs at {bandwidth:g} GB/s, a space of {evaluated + pruned:,} mappings:"
            f" {(evaluated + pruned) / min(seconds):,.0f} mappings/s decided ({evaluated:,} evaluated, {pruned:,} pruned,"
            f" {min(seconds) * 1e3:.1f} ms); without pruning {timed / everything:,.0f} mappings/s timed,"
            f" {everything * 1e3:.0f} ms"
        )
