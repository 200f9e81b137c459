"""The event engine: equal to the closed form without overlap, never below the lower bound with it, and in order."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.cost.compiled import pipeline
from accelsim.cost.compiled.array_timing import tile_steps
from accelsim.cost.compiled.values import (
    OS,
    SPLIT,
    ArrayMapping,
    ArrayNumbers,
    BufferBytes,
    ElementBytes,
    GemmNumbers,
    GemmShape,
    LoopOrder,
    MachineNumbers,
    MappingNumbers,
    Mnk,
)
from accelsim.cost.gemm import gemm_numbers, machine_numbers
from accelsim.engines.bound import step_bound
from accelsim.engines.closed_form import run as closed_form
from accelsim.engines.event import run as event
from accelsim.engines.event import run_in_detail
from accelsim.engines.jobs import Job, gemm_jobs
from accelsim.hardware.sourced import override
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.lowering.tasks import Generation
from accelsim.schedule.mapping import array_mappings, buffer_needs
from accelsim.schedule.overlap import waits_of
from accelsim.schedule.plan import DATAFLOWS, VARIANTS, Mapping
from accelsim.simulation import plan_step
from accelsim.sparsity.methods import METHODS

SGD = find_optimizer("sgd")
PAPER = ("resnet9_cifar10", "vgg19_cifar100", "vit_cifar100", "resnet18_tinyimagenet", "resnet50_imagenet")


def planned(trace, changes=None, method="bdwp", pattern="2:8", batch=64, engine="event", hw="sat_vcu1525"):
    design = override(acs.load_design(hw), changes or {})
    trace = acs.load_trace(trace) if isinstance(trace, str) else trace
    return plan_step(trace, design, case_of(method=method, pattern=pattern, batch=batch, engine=engine)), design


def one_after_another(plan):
    return replace(plan, overlap=False)


# One task after another


@pytest.mark.parametrize("method", [name for name in METHODS if name != "traced"])
@pytest.mark.parametrize("scheduler", ["greedy", "optimal"])
@pytest.mark.parametrize("pregenerate", ["true", "false"])
@pytest.mark.parametrize("bandwidth", ["1.3", "76.8", "1e6"])
def test_without_overlap_every_row_is_that_of_the_closed_form(method, scheduler, pregenerate, bandwidth):
    changes = {"schedule.pregenerate": pregenerate, "schedule.scheduler": scheduler, "schedule.overlap": "false",
               "dram.bandwidth_gb_per_s": bandwidth}  # fmt: skip
    plan, design = planned("resnet18_tinyimagenet", changes, method)
    assert event(plan, design, SGD).rows == closed_form(plan, design, SGD).rows


@pytest.mark.parametrize("trace", [*PAPER, "gpt2_1024", "bert_base_128", "mobilenet_v2_imagenet"])
def test_without_overlap_every_network_takes_what_the_closed_form_says(trace):
    plan, design = planned(trace, {"schedule.overlap": "false"}, batch=8)
    assert event(plan, design, SGD).rows == closed_form(plan, design, SGD).rows


@st.composite
def gemms(draw):
    whole = draw(st.tuples(*[st.integers(1, 30)] * 3))
    tile = tuple(min(size, draw(st.integers(1, 12))) for size in whole)
    order = tuple(draw(st.permutations([0, 1, 2])))
    pattern = draw(st.sampled_from([(0, 0), (2, 8)]))
    shape = GemmShape(*whole, draw(st.integers(1, 4)), *pattern)
    numbers = GemmNumbers(shape, ElementBytes(2.0, 0.5, 2.0, 4.0, 2.0, 0.5), 0)
    mapping = MappingNumbers(ArrayMapping(OS, SPLIT, 2, 1, 1), Mnk(*tile), LoopOrder(*order))
    return numbers, mapping, draw(st.sampled_from([0.5, 3.0, 16.0, 1e9]))


@given(gemms())
@settings(max_examples=200, deadline=None)
def test_the_jobs_of_a_gemm_take_what_the_buffer_pipeline_takes(case):
    numbers, mapping, bandwidth = case
    machine = MachineNumbers(ArrayNumbers(2, 3, 1, 2, True, 0, 0), BufferBytes(0.0, 0.0, 0.0), bandwidth)
    costs = pipeline.evaluate(numbers, machine, mapping)
    jobs = gemm_jobs(numbers, mapping, machine)
    assert jobs.first_load + jobs.jobs.span(0)[0] + jobs.last_store == costs.cycles
    assert jobs.jobs.jobs == costs.jobs


# With overlap


@pytest.fixture(scope="module", params=["resnet18_tinyimagenet", "vit_cifar100", "gpt2_1024"])
def overlapped(request):
    plan, design = planned(request.param, {"dram.bandwidth_gb_per_s": "19.2"}, batch=16)
    return plan, design, run_in_detail(plan, design, SGD)


def test_overlap_helps_and_stays_above_the_lower_bound(overlapped):
    plan, design, run = overlapped
    bound, _ = step_bound(plan, design, SGD)
    assert bound <= run.timing.cycles < closed_form(plan, design, SGD).cycles
    traffic = sum(row.events.dram_bytes for row in run.timing.rows) / design.dram_bytes_per_cycle
    assert run.timing.cycles >= max(traffic, sum(row.array_cycles for row in run.timing.rows))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_mappings_of_a_plan_are_faster_than_the_lower_bound(data):
    """Any interleave that the accumulators allow, any tile of whole blocks that fits, any order of loops."""
    latency, accumulators = data.draw(st.sampled_from([(8, 8), (12, 12), (8, 3), (5, 1)]))
    changes = {"array.adder_latency_cycles": str(latency), "array.accumulators_per_pe": str(accumulators)}
    bandwidth = data.draw(st.sampled_from(["3", "19.2", "500"]))
    method = data.draw(st.sampled_from(["dense", "bdwp", "sdgp"]))
    plan, design = planned("resnet9_cifar10", {**changes, "dram.bandwidth_gb_per_s": bandwidth}, batch=8, method=method)
    bound, _ = step_bound(plan, design, SGD)
    mappings = [
        mapping and any_mapping(data.draw, task, design)
        for task, mapping in zip(plan.step.tasks, plan.mappings, strict=True)
    ]
    other = replace(plan, mappings=tuple(mappings))
    for run in (closed_form, event):
        assert bound <= run(other, design, SGD).cycles
    assert bound <= closed_form(plan, design, SGD).cycles


def any_mapping(draw, gemm, design):
    """A mapping of a GEMM with a tile that the buffers hold twice."""
    numbers, machine = gemm_numbers(gemm, design, online=False), machine_numbers(design)
    one, shape = draw(st.sampled_from(array_mappings(design, sparse=gemm.pattern is not None))), numbers.shape
    steps = tile_steps(shape.kept, shape.group, shape.k, machine.array, one)
    blocks = [draw(st.integers(1, 40)) for _ in range(3)]
    tile = [min(size, step * number) for size, step, number in zip(shape[:3], steps, blocks, strict=True)]
    while any(need.needed > need.available for need in buffer_needs(numbers, tile, machine)):
        largest = max(range(3), key=lambda at: tile[at] / steps[at])
        tile[largest] = max(steps[largest], tile[largest] // 2 // steps[largest] * steps[largest])
    order = "".join(draw(st.permutations("mnk")))
    return Mapping(
        dataflow=DATAFLOWS[one.dataflow], variant=None if one.dataflow == OS else VARIANTS[one.variant],
        ia=one.ia, ib=one.ib, split_k=one.split_k, tile=tuple(tile), order=order,
    )  # fmt: skip


def test_rows_sum_to_the_step_and_only_hidden_work_counts_less(overlapped):
    plan, design, run = overlapped
    alone = closed_form(plan, design, SGD).rows
    assert run.timing.cycles == max(span.end for span in run.timing.spans)
    for row, serial in zip(run.timing.rows, alone, strict=True):
        assert replace(row, cycles=0) == replace(serial, cycles=0)
        assert row.cycles >= row.array_cycles


def test_a_unit_does_one_thing_at_a_time(overlapped):
    _, _, run = overlapped
    for unit in {span.unit for span in run.timing.spans} - {"DRAM"}:
        spans = [(span.start, span.end) for span in run.timing.spans if span.unit == unit]
        assert all(before[1] <= after[0] for before, after in pairwise(spans)), unit


def test_no_task_begins_before_what_it_waits_for_has_ended(overlapped):
    plan, _, run = overlapped
    first, last, row = {}, {}, 0
    index_of = {}
    for index, task in enumerate(plan.step.tasks):
        if isinstance(task, Generation) and index not in plan.ahead:
            continue
        index_of[row] = index
        row += 1
    for span in run.timing.spans:
        index = index_of[span.row]
        first[index] = min(first.get(index, span.start), span.start)
        last[index] = max(last.get(index, 0), span.end)
    for index, after in enumerate(waits_of(plan.step, {})):
        if not isinstance(plan.step.tasks[index], Generation):
            assert all(last[other] <= first[index] for other in after if other in last), plan.step.tasks[index].name


def test_two_runs_are_the_same_event_for_event(overlapped):
    plan, design, run = overlapped
    again = run_in_detail(plan, design, SGD)
    assert again == run


def test_jobs_one_by_one_change_nothing(overlapped):
    plan, design, run = overlapped
    if plan.step.model == "gpt2_1024":
        pytest.skip("has more jobs than the event limit")
    unfolded = run_in_detail(plan, design, SGD, window=(0, 2**60))
    assert unfolded.timing == run.timing
    assert len(unfolded.jobs) > 100
    assert run.jobs == ()


def test_the_largest_shipped_step_needs_few_events():
    plan, design = planned("gpt2_1024", batch=8)
    assert run_in_detail(plan, design, SGD).events < 10_000
    plan, design = planned("resnet50_imagenet", batch=512)
    assert run_in_detail(plan, design, SGD).events < 10_000


@pytest.mark.parametrize("trace", PAPER)
def test_more_freedom_never_slows_the_best_plan(trace):
    cycles = {}
    for scheduler in ("greedy", "optimal"):
        plan, design = planned(trace, {"schedule.scheduler": scheduler}, batch=32)
        cycles[scheduler] = event(plan, design, SGD).cycles
    assert cycles["optimal"] <= cycles["greedy"]


def test_fewer_dma_channels_make_transfers_wait():
    cycles = []
    for channels in ("2", "3", "8"):
        changes = {"dram.dma_channels": channels, "dram.bandwidth_gb_per_s": "9.6"}
        plan, design = planned("resnet18_tinyimagenet", changes)
        cycles.append(event(plan, design, SGD).cycles)
    assert cycles[0] != cycles[2]
    assert all(c >= cycles[2] * 0.9 for c in cycles)


def test_small_tensors_that_stay_save_traffic():
    changes = {"schedule.scheduler": "optimal", "schedule.overlap": "false"}
    kept, design = planned("resnet18_tinyimagenet", changes, batch=8)
    none, bare = planned("resnet18_tinyimagenet", {**changes, "buffers.resident_bytes": "0"}, batch=8)
    assert kept.resident
    assert not none.resident
    a, b = closed_form(kept, design, SGD), closed_form(none, bare, SGD)
    assert a.cycles < b.cycles
    assert sum(r.events.dram_bytes for r in a.rows) < sum(r.events.dram_bytes for r in b.rows)


# What stops it


def test_too_many_events_are_refused_by_name():
    plan, design = planned("resnet18_tinyimagenet")
    with pytest.raises(acs.InfeasibleError) as caught:
        run_in_detail(plan, design, SGD, window=(0, 2**60), limit=100)
    assert str(caught.value) == (
        "more than 100 events: 'conv1' (FF) runs on STCE and waits for the DRAM, at cycle 289,394; narrow the window, or"
        " raise the limit"
    )


def test_tasks_that_wait_for_each_other_are_named():
    plan, design = planned("resnet18_tinyimagenet", {"schedule.overlap": "false"})
    backwards = replace(plan, order=tuple(reversed(plan.order)))
    with pytest.raises(acs.InfeasibleError) as caught:
        run_in_detail(backwards, design, SGD)
    count = len(plan.step.tasks)
    assert str(caught.value).startswith(f"the plan: {count} tasks wait for each other; 'conv1' (FF) waits for '")


# The tests are alive


def test_a_job_that_takes_a_cycle_less_is_caught(monkeypatch):
    honest = Job.span
    monkeypatch.setattr(Job, "span", lambda self, others: (honest(self, others)[0] - 1, honest(self, others)[1]))
    plan, design = planned("resnet50_imagenet", {"schedule.overlap": "false"})
    assert event(plan, design, SGD).rows != closed_form(plan, design, SGD).rows


def test_simulate_takes_the_engine_by_name():
    trace, design = acs.load_trace("resnet18_tinyimagenet"), acs.load_design("sat_vcu1525")
    closed, overlapped = (acs.simulate(trace, design, batch=64, engine=name) for name in ("closed", "event"))
    assert (closed.engine, overlapped.engine) == ("closed", "event")
    assert overlapped.step.cycles < closed.step.cycles
    assert sum(stage.cycles for stage in overlapped.stages.values()) == overlapped.step.cycles
    assert overlapped.step.dram_bytes == closed.step.dram_bytes
    assert closed.identity != overlapped.identity
