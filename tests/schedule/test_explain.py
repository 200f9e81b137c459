"""What else there was: alternatives hold the search's own numbers, and the sums of what engines charge."""

from dataclasses import replace

import pytest

import accelsim as acs
from accelsim.engines.closed_form import run as closed_form
from accelsim.hardware.sourced import override
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.lowering.tasks import Gemm, Generation
from accelsim.schedule.explain import dataflows_of, explain, mapped_gemms
from accelsim.schedule.mapping import Searcher
from accelsim.schedule.offline import _outline, _Scheduler, kept_edges, make_plan
from accelsim.schedule.plan import copies_of
from accelsim.simulation import plan_step
from accelsim.sparsity.methods import METHODS

SGD = find_optimizer("sgd")
TRACE = "resnet18_tinyimagenet"


def planned(changes=None, method="bdwp", *, trace=TRACE, batch=16, engine="closed", hw="sat_vcu1525"):
    design = override(acs.load_design(hw), changes or {})
    trace = acs.load_trace(trace) if isinstance(trace, str) else trace
    return plan_step(trace, design, case_of(method=method, batch=batch, engine=engine)), design


def row_cycles(plan, design):
    """Cycles of each task of a plan alone, with SORE in front of it, by name and kind."""
    found = {}
    for row in closed_form(plan, design, SGD).rows:
        name, stage = row.name, row.stage.value
        if name.endswith(" online]"):
            name, stage = name.removesuffix(" online]").rsplit("[", 1)
        found[name, stage] = found.get((name, stage), 0) + row.cycles
    return found


@pytest.mark.parametrize("method", [name for name in METHODS if name != "traced"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule.scheduler": "optimal", "dram.bandwidth_gb_per_s": "5"},
        {"schedule.pregenerate": "false", "sore.lanes": "4"},
        {"schedule.dataflow": "ws", "schedule.interleave": "false"},
        {"array.dataflows": "[os, ws, is]", "array.stationary_variants": "[flat, split, chain]"},
    ],
    ids=["plain", "optimal", "online", "ws", "everything"],
)
def test_the_best_alternative_is_the_one_that_was_chosen(method, changes):
    plan, design = planned(changes, method)
    rows = row_cycles(plan, design)
    for operation in ("conv1", "layer2.0.conv1", "fc"):
        for choice in explain(plan, design, SGD, operation).gemms:
            best = choice.alternatives[0]
            assert best.cycles == choice.chosen.cycles == rows[choice.gemm.name, choice.gemm.stage]
            assert choice.chosen in choice.alternatives
            assert [item.cycles for item in choice.alternatives] == sorted(item.cycles for item in choice.alternatives)
            ways = [
                (item.mapping.dataflow, item.mapping.variant, item.mapping.interleave) for item in choice.alternatives
            ]
            assert len(set(ways)) == len(ways)
            assert {item.mapping.dataflow for item in choice.alternatives} == set(dataflows_of(design))


@pytest.mark.parametrize("engine", ["closed", "event"])
def test_the_best_of_each_dataflow_is_what_a_design_with_it_alone_takes(engine):
    plan, design = planned({"schedule.scheduler": "greedy"}, engine=engine)
    found = mapped_gemms(plan, design, SGD)
    assert [item.task for item in found] == [i for i, task in enumerate(plan.step.tasks) if isinstance(task, Gemm)]
    for at, flow in enumerate(dataflows_of(design)):
        alone = row_cycles(*planned({"schedule.dataflow": flow, "schedule.scheduler": "greedy"}))
        assert [item.best_cycles[at] for item in found] == [alone[item.gemm.name, item.gemm.stage] for item in found]
    assert all(item.chosen.cycles == min(item.best_cycles) for item in found)


def test_a_dataflow_that_fits_no_tile_has_no_best():
    plan, design = planned({"buffers.w_bytes": "1200"})
    found = mapped_gemms(plan, design, SGD)
    at = dataflows_of(design).index("ws")
    assert None in [item.best_cycles[at] for item in found]
    choice = explain(plan, design, SGD, "layer1.0.conv1").gemms[0]
    assert {item.mapping.dataflow for item in choice.alternatives} == {"os"}


def test_each_array_mapping_comes_with_the_tile_and_order_that_a_search_of_it_alone_finds():
    plan, design = planned()
    choice = explain(plan, design, SGD, "layer2.0.conv1").gemms[0]
    searcher = Searcher(design)
    numbers = _numbers(plan, design, choice.task)
    assert {(item.mapping, item.cycles) for item in choice.alternatives} == set(
        searcher.best_of_each(choice.gemm, numbers)
    )
    assert searcher.evaluated == 0


def _numbers(plan, design, index):
    from accelsim.cost.gemm import gemm_numbers

    return gemm_numbers(plan.step.tasks[index], design, online=index in plan.online)


@pytest.mark.parametrize(
    "changes", [{}, {"schedule.pregenerate": "false"}, {"sore.lanes": "1"}, {"wuve.lanes": "1024"}]
)
@pytest.mark.parametrize("method", ["bdwp", "sr-ste", "transposable"])
@pytest.mark.parametrize("room", ["0", "8388608"])
def test_placements_of_copies_cost_what_the_steps_with_them_do(method, changes, room):
    bandwidth = {"dram.bandwidth_gb_per_s": "9.6"}
    plan, design = planned(
        {"schedule.scheduler": "optimal", "buffers.resident_bytes": room, **bandwidth, **changes}, method
    )
    assert bool(plan.resident) is (room != "0")
    placements = explain(plan, design, SGD, "layer2.0.conv1").placements
    chosen = next(item for item in placements if item.chosen)
    copies, allowed = chosen.copies, design.schedule.pregenerate
    assert copies == copies_of(plan.step, chosen.update)
    assert len(placements) == ((3 if method == "transposable" else 2 ** len(copies)) if allowed else 1)
    assert room != "0" or placements[0].cycles == chosen.cycles
    scheduler = _Scheduler(plan.step, design, SGD, Searcher(design))
    for placement in placements:
        ahead = plan.ahead.difference(copies).union(placement.ahead)
        online = _outline(plan.step, ahead, scheduler.readers, design, overlap=False).online
        changed = replace(plan, ahead=ahead, online=online)
        changed = replace(changed, mappings=scheduler._mappings(changed, kept_edges(changed, design)))
        difference = closed_form(changed, design, SGD).cycles - closed_form(plan, design, SGD).cycles
        assert placement.cycles - chosen.cycles == difference


def test_placements_belong_to_the_weight_and_not_to_dense_layers_or_vector_work():
    plan, design = planned()
    assert explain(plan, design, SGD, "fc").placements == ()
    assert explain(plan, design, SGD, "bn1").placements == ()
    placements = explain(plan, design, SGD, "layer2.0.conv1").placements
    copies = {plan.step.tasks[copy].name for item in placements for copy in item.copies}
    assert copies == {"layer2.0.conv1[FF copy]", "layer2.0.conv1[BP copy]"}
    assert all(isinstance(plan.step.tasks[copy], Generation) for item in placements for copy in item.copies)


def test_what_staying_saves_is_the_difference_of_the_steps():
    changes = {"schedule.scheduler": "optimal", "dram.bandwidth_gb_per_s": "9.6"}
    plan, design = planned(changes)
    scheduler = _Scheduler(plan.step, design, SGD, Searcher(design))
    seen = set()
    for operation in ("conv1", "layer1.0.conv1", "layer2.0.bn1", "layer4.1.conv2"):
        for handover in explain(plan, design, SGD, operation).handovers:
            index = handover.edge.producer
            assert handover.stays is (index in plan.resident)
            assert plan.step.tasks[index].operation == operation
            other = replace(plan, resident=plan.resident ^ {index})
            other = replace(other, mappings=scheduler._mappings(other, kept_edges(other, design)))
            difference = closed_form(other, design, SGD).cycles - closed_form(plan, design, SGD).cycles
            assert handover.saved_cycles == (difference if handover.stays else -difference)
            seen.add((handover.stays, handover.edge.stored))
    assert {(True, True), (True, False)} <= seen


@pytest.mark.parametrize(
    ("room", "stays", "fits"),
    [("0", (), False), ("262143", (), False), ("262144", (), True), ("524287", (14,), False), ("524288", (14,), True)],
)
def test_a_result_fits_beside_what_stays_already(room, stays, fits):
    """layer2.0.conv1, task 13, hands 16 x 128 x 8 x 8 elements of 2 bytes to task 14, which hands on as many."""
    plan, design = planned({"buffers.resident_bytes": room})
    handover, *_ = explain(replace(plan, resident=frozenset(stays)), design, SGD, "layer2.0.conv1").handovers
    assert (handover.edge.producer, handover.edge.consumer, handover.edge.size) == (13, 14, 262144)
    assert handover.fits is fits


def test_a_plan_by_hand_is_shown_beside_what_is_better():
    plan, design = planned()
    index = next(i for i, task in enumerate(plan.step.tasks) if task.name == "layer2.0.conv1")
    slow = replace(plan.mappings[index], ia=1, ib=1, split_k=1)
    hand = replace(plan, mappings=(*plan.mappings[:index], slow, *plan.mappings[index + 1 :]))
    choice = explain(hand, design, SGD, "layer2.0.conv1").gemms[0]
    assert choice.chosen.mapping == slow
    assert choice.chosen.cycles > choice.alternatives[0].cycles


def test_an_unknown_operation_has_a_nearest_name():
    plan, design = planned()
    with pytest.raises(acs.InputError) as caught:
        explain(plan, design, SGD, "layer2.0.con1")
    assert str(caught.value) == "operation 'layer2.0.con1': not in the step; did you mean 'layer2.0.conv1'?"


def test_a_cost_that_forgets_the_generation_is_caught(monkeypatch):
    """The tests are alive."""
    import accelsim.schedule.explain as module
    from accelsim.cost.charges import charge_online

    monkeypatch.setattr(module, "charge_online", lambda elements, fetches, _cycles: charge_online(elements, fetches, 0))
    plan, design = planned({"schedule.pregenerate": "false"})
    rows = row_cycles(plan, design)
    choice = explain(plan, design, SGD, "layer1.0.conv1").gemms[0]
    assert choice.chosen.cycles < rows[choice.gemm.name, choice.gemm.stage]


def test_the_same_plan_is_explained_whoever_made_it():
    plan, design = planned({"schedule.scheduler": "optimal"})
    again = make_plan(plan.step, design, SGD)
    assert explain(again, design, SGD, "layer2.0.conv1") == explain(plan, design, SGD, "layer2.0.conv1")
