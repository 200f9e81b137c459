"""The scheduler against brute force: placement of copies, what stays on the chip, order, and the lower bound."""

from dataclasses import replace
from itertools import chain, combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.engines.closed_form import run as closed_form
from accelsim.engines.event import run as event
from accelsim.hardware.sourced import override
from accelsim.lowering.builder import lower
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.lowering.tasks import Gemm, Generation, Stage, Update
from accelsim.schedule.bounds import TaskCost, lower_bound
from accelsim.schedule.edges import edges_of
from accelsim.schedule.mapping import Searcher
from accelsim.schedule.offline import _Scheduler, kept_edges, make_plan
from accelsim.schedule.overlap import Unit, list_schedule, unit_of, waits_of
from accelsim.schedule.plan import copies_of, readers_of
from accelsim.simulation import plan_step
from accelsim.sparsity.methods import find_method

SGD = find_optimizer("sgd")


def conv(name, cin, cout, size, **more):
    return {"name": name, "kind": "conv2d", "in_channels": cin, "out_channels": cout, "in_size": [size, size],
            "kernel": [3, 3], "padding": [1, 1], **more}  # fmt: skip


@pytest.fixture
def small(make_trace):
    """A stem, two convolutions with vector work between them, a classifier."""
    return make_trace(
        conv("stem", 3, 16, 8),
        {"name": "relu", "kind": "activation", "reads": 1024, "writes": 1024},
        conv("a", 16, 32, 8),
        {"name": "bn", "kind": "norm", "reads": 2048, "writes": 2048},
        conv("b", 32, 32, 8),
        {"name": "pool", "kind": "pooling", "reads": 2048, "writes": 32},
        {"name": "fc", "kind": "linear", "in_features": 32, "out_features": 10},
    )


def stepped(trace, changes=None, method="bdwp", batch=4):
    design = override(acs.load_design("sat_vcu1525"), {"schedule.scheduler": "optimal", "schedule.overlap": "false",
                                                       **(changes or {})})  # fmt: skip
    method = find_method(method)
    return lower(trace, design, method, pattern=acs.Pattern(2, 8) if method.is_sparse else None, batch=batch), design


def cycles_of(plan, design):
    return closed_form(plan, design, SGD).cycles


# Placement of compact copies


@pytest.mark.parametrize("method", ["bdwp", "sr-ste", "transposable"])
@pytest.mark.parametrize("changes", [{}, {"sore.lanes": "1"}, {"sore.lanes": "4096", "dram.bandwidth_gb_per_s": "2"}])
def test_copies_are_placed_as_well_as_by_trying_every_way(small, method, changes):
    changes = {"buffers.resident_bytes": "0", **changes}
    step, design = stepped(small, changes, method)
    best = make_plan(step, design, SGD)
    copies = [index for index, task in enumerate(step.tasks) if isinstance(task, Generation)]
    scheduler = _Scheduler(step, design, SGD, Searcher(design))
    ways = chain.from_iterable(combinations(copies, size) for size in range(len(copies) + 1))
    every = {way: cycles_of(scheduler.plan(way, overlap=False, keep=False), design) for way in ways}
    assert len(every) == 2 ** len(copies) > 3
    assert cycles_of(best, design) == min(every.values())


def test_where_sore_is_slow_and_dram_fast_copies_go_behind_the_update_and_else_online(small):
    slow, design = stepped(small, {"sore.lanes": "1"})
    plan = make_plan(slow, design, SGD)
    assert plan.ahead == frozenset(i for i, task in enumerate(slow.tasks) if isinstance(task, Generation))
    assert plan.online == frozenset()
    none, design = stepped(small, {"schedule.pregenerate": "false"})
    plan = make_plan(none, design, SGD)
    assert plan.ahead == frozenset()
    assert plan.online == frozenset(chain.from_iterable(readers_of(none).values()))


# What stays on the chip


@pytest.mark.parametrize("room", [0, 6000, 9000, 20000, 2**20])
def test_what_stays_is_as_good_as_the_best_of_all_choices(small, room):
    step, design = stepped(small, {"buffers.resident_bytes": str(room), "dram.bandwidth_gb_per_s": "1"})
    best = make_plan(step, design, SGD)
    edges = edges_of(step, range(len(step.tasks)), design)
    scheduler = _Scheduler(step, design, SGD, Searcher(design))
    bare = scheduler.plan(best.ahead, overlap=False, keep=False)
    cycles = []
    for some in chain.from_iterable(combinations(edges, size) for size in range(len(edges) + 1)):
        held = [
            (edges[i - 1].size if i - 1 in some else 0) + (edges[i].size if i in some else 0)
            for i in range(len(step.tasks))
        ]
        if max(held) <= room:
            plan = replace(bare, resident=frozenset(some))
            plan = replace(plan, mappings=scheduler._mappings(plan, kept_edges(plan, design)))
            cycles.append(cycles_of(plan, design))
    assert cycles_of(best, design) == min(cycles)
    assert bool(best.resident) == (room > 0)


def test_edges_are_results_that_the_next_task_reads(small):
    step, design = stepped(small)
    edges = edges_of(step, range(len(step.tasks)), design)
    named = {(step.tasks[e.producer].name, step.tasks[e.producer].stage.value, step.tasks[e.consumer].name, e.elements,
              e.size, e.stored) for e in edges.values()}  # fmt: skip
    assert ("stem", "FF", "relu", 4 * 1024, 2 * 4 * 1024, True) in named
    assert ("relu", "VECTOR", "a", 4 * 1024, 2 * 4 * 1024, True) in named
    assert ("a", "WU", "a", 16 * 32 * 9, 4 * 16 * 32 * 9, False) in named  # the gradient is for the update alone
    assert not any(stage == "UPDATE" for _, stage, *_ in named)
    assert all(isinstance(step.tasks[e.consumer], Update) is not e.stored for e in edges.values())


def test_gradients_that_stay_are_neither_stored_nor_loaded(small):
    step, design = stepped(small)
    edges = edges_of(step, range(len(step.tasks)), design)
    producer = next(p for p, e in edges.items() if not e.stored and step.tasks[p].operation == "b")
    scheduler = _Scheduler(step, design, SGD, Searcher(design))
    plain = scheduler.plan(scheduler.readers, overlap=False, keep=False)
    kept = replace(plain, resident=frozenset({producer}))
    moved = [sum(row.events.dram_bytes for row in closed_form(plan, design, SGD).rows) for plan in (plain, kept)]
    assert moved[0] - moved[1] == 2 * 4 * 32 * 32 * 9  # 16 instead of 20 bytes per weight, and no store


# Order


def test_the_order_by_longest_path_keeps_dependencies_and_starts_bp_before_wu(small):
    step, _ = stepped(small)
    durations = [1000 if isinstance(task, Gemm) else 10 for task in step.tasks]
    order = list_schedule(step, durations, {}, 0)
    assert sorted(order) == list(range(len(step.tasks)))
    position = {index: at for at, index in enumerate(order)}
    for index, after in enumerate(waits_of(step, {})):
        assert all(position[other] < position[index] for other in after)
    gemms = [step.tasks[i] for i in order if isinstance(step.tasks[i], Gemm)]
    backward = [(task.operation, task.stage) for task in gemms if task.stage is not Stage.FF]
    for layer in ("fc", "b", "a"):  # what the chain of BP waits for goes first, WU fills the gaps
        assert backward.index((layer, Stage.BP)) < backward.index((layer, Stage.WU))


def test_units_of_tasks(small):
    step, _ = stepped(small)
    units = {type(task).__name__: unit_of(task) for task in step.tasks}
    assert units == {"Gemm": Unit.ARRAY, "VectorWork": Unit.VECTOR, "Update": Unit.UPDATE, "Generation": Unit.UPDATE}


def test_copies_and_readers(small):
    step, _ = stepped(small)
    update = next(i for i, task in enumerate(step.tasks) if isinstance(task, Update) and task.operation == "b")
    copies = copies_of(step, update)
    assert [(step.tasks[copy].reader, step.tasks[copy].tensor) for copy in copies] == [
        (Stage.FF, "b.weight"), (Stage.BP, "b.weight"),
    ]  # fmt: skip
    for copy in copies:
        readers = [step.tasks[reader] for reader in readers_of(step)[copy]]
        assert [(task.operation, task.stage) for task in readers] == [("b", step.tasks[copy].reader)]


# The lower bound


@st.composite
def small_instances(draw):
    """Up to five tasks on two machines, each waiting for some before it."""
    count = draw(st.integers(1, 5))
    tasks = [(draw(st.sampled_from("AB")), draw(st.integers(1, 9))) for _ in range(count)]
    after = [tuple(j for j in range(i) if draw(st.booleans()) and draw(st.booleans())) for i in range(count)]
    return tasks, after


@given(small_instances())
@settings(max_examples=150, deadline=None)
def test_no_order_beats_the_lower_bound(instance):
    tasks, after = instance
    bound, _ = lower_bound([TaskCost(least=cycles, busy={machine: cycles}) for machine, cycles in tasks], after)
    best = None
    for order in permutations(range(len(tasks))):
        free, ends = {"A": 0, "B": 0}, {}
        for index in order:
            if not all(other in ends for other in after[index]):
                break
            machine, cycles = tasks[index]
            start = max([free[machine], *(ends[other] for other in after[index])])
            free[machine] = ends[index] = start + cycles
        else:
            best = max(ends.values()) if best is None else min(best, max(ends.values()))
    assert bound <= best


def test_the_bound_sees_that_backward_work_starts_late():
    """A chain of 10 on A, then 3 x 10 on B of which each is followed by 5 on A: 10 + 30 + 5."""
    costs = [TaskCost(least=10, busy={"A": 10}), *[TaskCost(least=10, busy={"B": 10})] * 3,
             *[TaskCost(least=5, busy={"A": 5})] * 3]  # fmt: skip
    after = [(), (0,), (0,), (0,), (1,), (2,), (3,)]
    assert lower_bound(costs, after) == (45, "B")
    assert lower_bound([], []) == (0, "longest path")
    assert lower_bound([TaskCost(least=7, busy={"A": 2})], [()]) == (7, "longest path")


def test_the_judge_also_sees_mappings_for_half_of_the_dram():
    """Where units share a narrow DRAM, mappings with less traffic make a step faster than those best one by one."""
    sizes = dict.fromkeys(("buffers.x_bytes", "buffers.w_bytes", "buffers.y_bytes"), 262144)
    design = acs.load_design("sat_vcu1525", {"schedule.scheduler": "optimal", "dram.bandwidth_gb_per_s": 10, **sizes})
    trace, sgd, seen = acs.load_trace("resnet9_cifar10"), find_optimizer("sgd"), []
    step = plan_step(trace, design, case_of(batch=64)).step

    def judge(plan):
        seen.append((event(plan, design, sgd).cycles, plan.mappings))
        return seen[-1][0]

    make_plan(step, design, sgd, None, judge)
    best = min(seen, key=lambda item: item[0])
    alone = min(cycles for cycles, mappings in seen if mappings != best[1])
    assert len({mappings for _, mappings in seen}) == 2
    assert best[0] * 1.05 < alone
