"""Scattered products run phase by phase or as columns, whichever is faster alone."""

import pytest

import accelsim as acs
from accelsim.hardware.sourced import override
from accelsim.lowering.builder import lower
from accelsim.lowering.case import case_of
from accelsim.lowering.tasks import Stage
from accelsim.schedule.forms import bordered
from accelsim.schedule.plan_file import save_plan
from accelsim.simulation import plan_step
from accelsim.sparsity.methods import METHODS

# The first layer of DCGAN's generator: 1 x 1 to 4 x 4, where a place of the result is reached by one tap of 16.
DCGAN = {
    "name": "first",
    "kind": "conv_transpose2d",
    "in_channels": 100,
    "out_channels": 512,
    "in_size": [1, 1],
    "kernel": [4, 4],
}
# The second layer of LeNet-5, with a border in BP.
LENET = {
    "name": "second",
    "kind": "conv2d",
    "in_channels": 6,
    "out_channels": 16,
    "in_size": [14, 14],
    "kernel": [5, 5],
    "input_gradient": True,
}
SAME = {
    "name": "same",
    "kind": "conv2d",
    "in_channels": 16,
    "out_channels": 16,
    "in_size": [8, 8],
    "kernel": [3, 3],
    "padding": [1, 1],
    "input_gradient": True,
}


def test_the_first_layer_of_a_generator_runs_as_columns(make_trace, sat):
    trace = make_trace(DCGAN)
    assert bordered(trace) == {("first", Stage.FF)}
    result = acs.simulate(trace, sat, method="dense", batch=64)
    rows = {row.name: row for row in result.layers if row.stage in {"FF", "VECTOR"}}
    assert list(rows) == ["first[columns]", "first[col2im][FF]"]
    assert rows["first[columns]"].macs_dense == rows["first[columns]"].macs_executed == 64 * 100 * 512 * 16
    by_phases = acs.simulate(
        make_trace({**DCGAN, "in_size": [1, 1]}), override(sat, {"vector.lanes": "1"}), method="dense", batch=64
    )
    (slow,) = [row for row in by_phases.layers if row.stage == "FF"]
    assert (slow.name, slow.macs_dense, slow.macs_executed) == ("first", 64 * 819200, 64 * 16 * 819200)
    assert sum(row.cycles for row in rows.values()) < slow.cycles


def test_no_other_choice_of_forms_is_faster(make_trace, sat):
    trace = make_trace(DCGAN, LENET, SAME)
    assert bordered(trace) == {("first", Stage.FF), ("second", Stage.BP)}
    result = acs.simulate(trace, sat, method="dense", batch=32)
    totals = []
    for columns in [(), {("first", Stage.FF)}, {("second", Stage.BP)}, bordered(trace)]:
        step = lower(trace, sat, METHODS["dense"], pattern=None, batch=32, columns=columns)
        totals.append((plan_of(step, sat), columns))
    best = min(total for total, _ in totals)
    assert result.step.cycles == best
    assert len({total for total, _ in totals}) == 4


def plan_of(step, design):
    """Cycles of a step as it was lowered."""
    from accelsim.engines import ENGINES
    from accelsim.lowering.optimizers import find_optimizer
    from accelsim.schedule.offline import make_plan

    sgd = find_optimizer("sgd")
    return ENGINES["closed"](make_plan(step, design, sgd), design, sgd).cycles


def test_a_plan_keeps_its_forms(make_trace, sat, tmp_path):
    trace, case = make_trace(DCGAN, LENET), case_of(method="dense", pattern=None, batch=32)
    plan = plan_step(trace, sat, case)
    assert plan.step.columns
    save_plan(tmp_path / "plan.json", plan, sat, case.optimizer)
    again = plan_step(trace, override(sat, {"vector.lanes": "1"}), case, plan=tmp_path / "plan.json")
    assert again.step == plan.step
    assert plan_step(trace, sat, case, plan=plan) is plan


@pytest.mark.parametrize(
    "name", ["resnet50_imagenet", "vgg19_cifar100", "vit_cifar100", "mobilenet_v2_imagenet", "resnet9_cifar10"]
)
def test_padded_networks_have_no_border(name):
    """So their sweeps are evaluated together."""
    assert bordered(acs.load_trace(name)) == frozenset()


def test_sweeps_choose_as_simulate_does(make_trace, sat, tmp_path):
    from accelsim.sweep.batched import evaluate_points
    from accelsim.sweep.point import Point

    acs.save_trace(make_trace(DCGAN, LENET), tmp_path / "t.json")
    case = case_of(method="dense", pattern=None, batch=32)
    lanes = ("1", "64", "1024")
    rows = evaluate_points([
        Point(workload=str(tmp_path / "t.json"), design="sat_vcu1525", case=case, changes=(("vector.lanes", value),)) for value in lanes
    ])  # fmt: skip
    want = [
        acs.simulate(
            acs.load_trace(tmp_path / "t.json"), override(sat, {"vector.lanes": value}), method="dense", batch=32
        ).step.cycles
        for value in lanes
    ]
    assert [row["cycles"] for row in rows] == want
    assert want[0] > want[2]
