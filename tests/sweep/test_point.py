"""One point of a sweep is what simulate says of it."""

from dataclasses import replace

import accelsim as acs
from accelsim.hardware.sourced import override
from accelsim.lowering.case import case_of
from accelsim.sweep.point import METRICS, Point, evaluate_one

POINT = Point(
    workload="resnet9_cifar10",
    design="sat_vcu1525",
    changes=(("array.rows", "16"), ("dram.bandwidth_gb_per_s", "19.2")),
    case=case_of(method="bdwp", pattern="2:8", batch=64, optimizer="adam", engine="closed"),
)


def test_a_point_is_what_simulate_says_of_it(sat: acs.Design) -> None:
    row = evaluate_one(POINT)
    design = override(sat, dict(POINT.changes))
    result = acs.simulate(acs.load_trace(POINT.workload), design, batch=64, optimizer="adam")
    assert tuple(row) == ("status", *METRICS)
    assert row["status"] == "ok"
    assert (row["cycles"], row["speedup"], row["energy_j"]) == (
        result.step.cycles,
        result.step.speedup,
        result.step.energy_j,
    )
    assert row["ff_latency_s"] == result.stages["FF"].latency_s
    assert row["dram_j"] == result.energy.dram_j


def test_a_design_without_room_for_one_tile_is_a_row_with_its_reason() -> None:
    row = evaluate_one(replace(POINT, changes=(("buffers.x_bytes", "1"),)))
    assert row["status"] == "infeasible"
    assert "x_bytes" in str(row["reason"])


def test_input_that_cannot_be_used_is_a_row_with_its_reason() -> None:
    assert evaluate_one(replace(POINT, changes=(("schedule.dataflow", "is"),))) == {
        "status": "error",
        "reason": "vary: top level: schedule.dataflow: got 'is'; the array has os, ws (array.dataflows)",
    }
