"""Speed of the event engine and the scheduler beside the closed form, on the ResNet-50 step at batch 512."""

import resource

import pytest

import accelsim as acs
from accelsim.engines.closed_form import run as closed_form
from accelsim.engines.event import run as event
from accelsim.engines.event import run_in_detail
from accelsim.hardware.sourced import override
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.simulation import plan_step

pytestmark = pytest.mark.bench
SGD = find_optimizer("sgd")


@pytest.fixture(scope="module")
def planned():
    design = acs.load_design("sat_vcu1525")
    return plan_step(acs.load_trace("resnet50_imagenet"), design, case_of(engine="event")), design


@pytest.mark.parametrize("engine", [closed_form, event], ids=["closed", "event"])
def test_bench_engine(benchmark, planned, engine):
    """One planned step; the events of the event engine and the peak memory are printed."""
    plan, design = planned
    benchmark.group = "ResNet-50 step, planned"
    benchmark.pedantic(engine, (plan, design, SGD), rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(
        events=run_in_detail(plan, design, SGD).events if engine is event else 0,
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    )


def test_bench_jobs_one_by_one(benchmark, planned):
    """The same step with every job an event: what strides save."""
    plan, design = planned
    benchmark.group = "ResNet-50 step, planned"
    made = benchmark.pedantic(run_in_detail, (plan, design, SGD), {"window": (0, 2**60)}, rounds=2, warmup_rounds=0)
    benchmark.extra_info.update(events=made.events, jobs=len(made.jobs))


@pytest.mark.parametrize("scheduler", ["greedy", "optimal"])
def test_bench_scheduler(benchmark, scheduler):
    """Lowering and the whole plan, its orders judged by the event engine."""
    design = override(acs.load_design("sat_vcu1525"), {"schedule.scheduler": scheduler})
    trace = acs.load_trace("resnet50_imagenet")
    benchmark.group = "ResNet-50 step, scheduler"
    benchmark.pedantic(plan_step, (trace, design, case_of(engine="event")), rounds=5, warmup_rounds=1)
