"""Speed of the main job: pytest tests/bench -m bench. Nothing here is asserted; numbers are read side by side."""

import resource
import subprocess
import sys
import time

import pytest

import accelsim as acs
from accelsim.cost.compiled import array_timing, mapping_search
from accelsim.cost.compiled.values import (
    OS,
    SPLIT,
    ArrayMapping,
    ArrayNumbers,
    ElementBytes,
    GemmNumbers,
    GemmShape,
    Mnk,
    mapping_table,
)
from accelsim.cost.gemm import machine_numbers
from accelsim.lowering.case import case_of
from accelsim.schedule.mapping import array_mappings
from accelsim.simulation import plan_step

pytestmark = pytest.mark.bench


@pytest.fixture(scope="module")
def resnet50() -> acs.Trace:
    return acs.load_trace("resnet50_imagenet")


@pytest.fixture(scope="module")
def sat() -> acs.Design:
    return acs.load_design("sat_vcu1525")


def test_resnet50_step_scheduled_and_timed(benchmark, resnet50, sat) -> None:
    """The whole step at batch 512 under BDWP 2:8, its dense baseline included."""
    result = benchmark(acs.simulate, resnet50, sat, batch=512)
    assert result.step.speedup > 1


def test_resnet50_dense_step_alone(benchmark, resnet50, sat) -> None:
    """One step without a baseline."""
    assert benchmark(acs.simulate, resnet50, sat, method="dense", batch=512).step.speedup == 1


def test_resnet50_lowered_and_planned(benchmark, resnet50, sat) -> None:
    """Lowering and the exhaustive mapping search; the space searched is printed."""
    plan = benchmark(plan_step, resnet50, sat, case_of())
    benchmark.extra_info.update(mappings_evaluated=plan.evaluated, mappings_pruned=plan.pruned)


def test_mapping_search_of_one_gemm(benchmark, sat) -> None:
    """One search kernel call; divide the mappings of its space by the time."""
    machine, table = machine_numbers(sat), mapping_table(array_mappings(sat, sparse=True))
    shape = GemmShape(m=25088, n=512, k=4608, count=1, kept=2, group=8)
    of = ElementBytes(x=2 / 9, w=0.59375, y=2.0, psum=4.0, buffered_x=2.0, buffered_w=0.59375)
    found = benchmark(mapping_search.search, GemmNumbers(shape, of, 0), machine, table)
    benchmark.extra_info.update(mappings_evaluated=found.evaluated, mappings_pruned=found.pruned)


def test_closed_form_per_gemm(benchmark) -> None:
    """One GEMM in the closed form, a thousand times per call, inside compiled code."""
    from accelsim.base.jit import jit

    array_cycles = array_timing.array_cycles

    @jit
    def many(count, array, mapping):
        total = 0
        for i in range(count):
            total += array_cycles(Mnk(25088 + i, 512, 4608), 2, 8, array, mapping)
        return total

    array = ArrayNumbers(rows=32, cols=32, macs_per_pe=2, adder_latency=8, overlapped=True, row_port=8, col_port=2)
    mapping = ArrayMapping(OS, SPLIT, ia=4, ib=2, split_k=1)
    many(1, array, mapping)
    benchmark(many, 1000, array, mapping)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["simulate", "resnet18_tinyimagenet", "--json"]], ids=["help", "simulate"]
)
def test_new_process(benchmark, arguments: list[str]) -> None:
    """A command in a new process with the kernel cache filled; peak memory of the largest child is printed."""
    command = [sys.executable, "-m", "accelsim", *arguments]
    subprocess.run(command, capture_output=True, check=True)
    benchmark.pedantic(lambda: subprocess.run(command, capture_output=True, check=True), rounds=5)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    benchmark.extra_info.update(peak_mb=round(peak / 1024, 1), cpu_s=round(time.process_time(), 2))
