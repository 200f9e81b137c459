"""A batch in parts: what each task adds is that of every part, and the update is there once."""

from dataclasses import fields

import pytest

import accelsim as acs
from accelsim.engines import ENGINES
from accelsim.engines.parts import run_step, times_of
from accelsim.engines.timing import Events, TaskTiming
from accelsim.lowering.case import case_of
from accelsim.lowering.tasks import Gemm, Stage, Update
from accelsim.simulation import plan_step
from accelsim.sweep.point import Point, evaluate_one

TRACE = acs.load_trace("resnet9_cifar10")
METHODS = ("dense", "bdwp", "sdgp", "bi-mask")


def numbers(row: TaskTiming) -> dict[str, float]:
    events = {item.name: getattr(row.events, item.name) for item in fields(Events)}
    own = {name: getattr(row, name) for name in ("count", "cycles", "array_cycles", "macs_dense", "macs_executed")}
    return {**own, **events}


def rows_of(design: acs.Design, **options: object) -> dict[tuple[str, str], TaskTiming]:
    case = case_of(**options)
    timing = run_step(plan_step(TRACE, design, case), design, case)
    timing.check(design)
    return {(row.name, row.stage): row for row in timing.rows}


@pytest.mark.parametrize("engine", ["closed", "event"])
@pytest.mark.parametrize("method", METHODS)
def test_one_part_is_the_step_itself(sat, method: str, engine: str) -> None:
    case = case_of(method=method, batch=32, engine=engine)
    plan = plan_step(TRACE, sat, case)
    assert run_step(plan, sat, case) == ENGINES[engine](plan, sat, case.optimizer)
    one, default = (acs.simulate(TRACE, sat, method=method, batch=32, engine=engine, **more)
                    for more in ({"accumulate": 1}, {}))  # fmt: skip
    assert one == default
    assert not [task for task in plan.step.tasks if isinstance(task, Update) and task.sums]


@pytest.mark.parametrize("parts", [2, 4, 32])
@pytest.mark.parametrize("method", METHODS)
def test_parts_add_up(sat, method: str, parts: int) -> None:
    """Every task of a part runs as often as there are parts, updates and copies once, and sums between parts."""
    part, step = rows_of(sat, method=method, batch=64 // parts), rows_of(sat, method=method, batch=64, accumulate=parts)
    sums = {key: row for key, row in step.items() if key[0].endswith("[sum of parts]")}
    assert step.keys() - sums.keys() == part.keys()
    for key, row in part.items():
        online = "online" in key[0]
        times = 1 if row.stage in {Stage.UPDATE, Stage.GENERATE} and not online else parts
        assert numbers(step[key]) == {name: times * value for name, value in numbers(row).items()}, key
    updates = [row for row in part.values() if row.stage is Stage.UPDATE]
    assert len(sums) == len(updates)
    # two gradients are read and one is written, in FP32, where a part has one before it
    assert sum(row.events.dram_bytes for row in sums.values()) == (parts - 1) * 3 * 4 * TRACE.parameters
    assert sum(row.events.wuve_weights for row in sums.values()) == (parts - 1) * TRACE.parameters


@pytest.mark.parametrize("method", ["dense", "bdwp"])
def test_parts_of_units_side_by_side(sat, method: str) -> None:
    """The last part is a step with sums; the others have no update, the first no sums: so between both ends."""
    options = {"method": method, "engine": "event"}
    whole = acs.simulate(TRACE, sat, batch=64, accumulate=4, **options)
    part = acs.simulate(TRACE, sat, batch=16, **options)
    case = case_of(batch=64, accumulate=4, **options)
    last = ENGINES["event"](whole.plan, sat, case.optimizer)
    assert 4 * (part.stages["FF"].cycles + part.stages["BP"].cycles) <= whole.step.cycles < 4 * last.cycles
    assert whole.step.macs_dense == 4 * part.step.macs_dense
    one_by_one = acs.simulate(TRACE, sat, batch=64, accumulate=4, method=method)
    assert whole.step.cycles <= one_by_one.step.cycles
    assert whole.step.dram_bytes <= one_by_one.step.dram_bytes


def test_without_overlap_both_engines_take_as_long(sat) -> None:
    apart = sat.with_({"schedule.overlap": False})
    closed, event = (
        acs.simulate(TRACE, apart, batch=64, accumulate=4, engine=engine) for engine in ("closed", "event")
    )
    assert closed.step.cycles == event.step.cycles


def test_a_product_of_the_optimizer_runs_once(make_trace, sat) -> None:
    trace = make_trace(
        {"name": "fc", "kind": "linear", "in_features": 64, "out_features": 64},
        {"name": "square", "kind": "matmul", "m": 64, "n": 64, "k": 64, "in_update": True, "scales_with_batch": False},
    )
    plan = plan_step(trace, sat, case_of(method="dense", batch=8, accumulate=4))
    often = {
        (task.name, str(task.stage)): times for task, times in zip(plan.step.tasks, times_of(plan.step), strict=True)
    }
    assert often == {
        ("fc", "FF"): 4,
        ("fc", "WU"): 4,
        ("fc[sum of parts]", "UPDATE"): 3,
        ("fc", "UPDATE"): 1,
        ("square", "UPDATE"): 1,
    }


def test_gradients_of_weights_are_there_all_along(sat) -> None:
    at_once, parts = (acs.simulate(TRACE, sat, batch=8, accumulate=number).memory for number in (1, 2))
    assert parts.gradients >= 4 * TRACE.parameters > at_once.gradients
    assert parts.activations < at_once.activations
    assert parts.weights == at_once.weights


def test_parts_are_of_the_identity_and_in_the_file(sat) -> None:
    one, two = (acs.simulate(TRACE, sat, batch=8, accumulate=number) for number in (1, 2))
    assert one.identity != two.identity
    assert two.to_dict()["options"]["accumulate"] == 2
    assert two.to_dict()["memory"].keys() == {"weights", "masters", "state", "gradients", "activations"}


def test_a_point_of_a_sweep_in_parts_is_that_simulation(sat) -> None:
    case = case_of(batch=8, accumulate=4)
    row = evaluate_one(Point(workload="resnet9_cifar10", design="sat_vcu1525", changes=(), case=case))
    assert row["cycles"] == acs.simulate(TRACE, sat, batch=8, accumulate=4).step.cycles


def test_no_weight_gradient_waits_on_the_chip_for_a_sum(sat) -> None:
    """The first part has nothing to sum, so its gradients go to the DRAM."""
    optimal = sat.with_({"schedule.scheduler": "optimal"})
    plans = [plan_step(TRACE, optimal, case_of(batch=8, accumulate=number)) for number in (1, 2)]
    wu = [[task for task in map(plan.step.tasks.__getitem__, plan.resident) if isinstance(task, Gemm) and task.stage is Stage.WU]
          for plan in plans]  # fmt: skip
    assert wu[0]
    assert not wu[1]


def test_a_result_says_in_how_many_parts_it_ran(sat) -> None:
    result = acs.simulate(TRACE, sat, batch=8, accumulate=2)
    assert str(result).startswith(
        "resnet9_cifar10, one training step of 8 samples in 2 parts on sat_vcu1525 (closed engine)\n"
    )
    assert "8 samples run in 2 parts of 4 on sat_vcu1525" in {note.text for note in result.notes}
    assert not [note for note in acs.simulate(TRACE, sat, batch=8).notes if "parts" in note.text]
