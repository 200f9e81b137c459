"""The region: designs as `simulate` has them, judged by the rules that the module states; all assumptions together."""

from dataclasses import replace
from statistics import mean

import numpy as np
import pytest

import accelsim as acs
from accelsim.studies.joint import Joint, draw_together
from accelsim.studies.paper import WORKLOADS, Setting
from accelsim.studies.region import SWEEP, Candidate, Region, find_region
from accelsim.studies.reports.region import HEADS, assignment_cells, drawn_region, region_frames, region_summary
from accelsim.studies.sensitivity import assumptions, average


@pytest.fixture(scope="module")
def region() -> Region:
    return find_region()


def test_every_design_of_the_sweep_is_judged_or_left_out(region):
    sweep = acs.load_sweep(SWEEP)
    assert len(region.designs) + region.left_out == sweep.count() / len(WORKLOADS)
    assert len({design.changes for design in region.designs}) == len(region.designs)


@pytest.mark.parametrize("place", [0, 0.5, 0.99])
def test_a_design_is_as_simulate_has_it(region, place):
    candidate = region.designs[int(place * len(region.designs))]
    design = acs.load_design("sat_vcu1525").with_(dict(candidate.changes))
    steps = [acs.simulate(acs.load_trace(name), design).step for name in WORKLOADS]
    assert candidate.speedup == pytest.approx(mean(step.speedup for step in steps))
    assert candidate.gops == pytest.approx(mean(step.effective_gops for step in steps))
    assert candidate.gops_low == min(step.effective_gops for step in steps)
    assert candidate.gops_high == max(step.effective_gops for step in steps)
    assert candidate.gops_per_w == pytest.approx(mean(step.gops_per_w for step in steps))
    pes = design.array.rows * design.array.cols * design.array.macs_per_pe
    assert candidate.peak_gmacs == pytest.approx(pes * design.clock_hz / 1e9)
    usable = design.dram.bandwidth_gb_per_s * design.dram.efficiency
    assert candidate.bytes_per_mac == pytest.approx(usable / candidate.peak_gmacs)


def test_assignments_hold_all_designs_that_agree_and_no_other(region):
    assert region.assignments
    for pair in region.assignments:
        for design in region.designs:
            speedup = 1.75 * 0.97 <= design.speedup <= 1.75 * 1.03
            reached = all(design.gops_low <= gops <= design.gops_high for gops in pair.gops)
            assert (design in pair.designs) == (speedup and reached)
    over = {(pair.largest_over, pair.smallest_over): pair.gops for pair in region.assignments}
    assert over["EF-Train", "Automatic compiler (FPL'19)"] == pytest.approx((25.22 * 46.99, 2.97 * 479))


def test_power_that_the_energy_claim_would_need():
    design = Candidate(
        changes=(), peak_gmacs=400, bytes_per_mac=0.2, speedup=1.75, gops=1400, gops_low=1100, gops_high=1500,
        gops_per_w=40,
    )  # fmt: skip
    assert design.power_w == 35
    assert not replace(design, speedup=1.69).agrees_in_speedup()
    assert not design.reaches(1501)
    assert design.reaches(1500)


def test_tables_and_figure_say_the_same(region):
    joint = Joint(speedups=(1.5, 1.7), unfit=3, infeasible=1)
    frames = region_frames(region, joint)
    table, groups = frames["region"], drawn_region(region)["group"].value_counts()
    agreeing = table.filter(like="largest over").any(axis=1)
    assert groups["all three"] == agreeing.sum() > 0
    assert groups["average speedup"] == (table["agrees_in_speedup"] & ~agreeing).sum()
    assert len(frames["joint"]) == 6
    assert region_summary(region).startswith(f"{len(region.designs):,} designs of the sweep paper_region fit")
    assert {len(cells) for cells in assignment_cells(region)} == {len(HEADS)}
    assert [int(cells[2]) for cells in assignment_cells(region)] == [len(pair.designs) for pair in region.assignments]


def test_draws_cover_every_assumption_and_are_repeated_alike():
    first, again = draw_together(60), draw_together(60)
    assert first == again
    assert draw_together(60, seed=1).speedups != first.speedups
    assert len(first.speedups) + first.unfit + first.infeasible == 60
    low, median, high = first.percentiles
    assert (low, median, high) == pytest.approx(tuple(np.percentile(first.speedups, [5, 50, 95])))
    assert first.speedups[0] < low < median < high < first.speedups[-1]


def test_a_draw_is_the_average_of_its_setting(monkeypatch):
    design = acs.load_design("sat_vcu1525")
    chosen = [item for item in assumptions(design) if item.name == "wuve.lanes"]
    monkeypatch.setattr("accelsim.studies.joint.assumptions", lambda _: tuple(chosen))
    settings = (Setting(label=""), *chosen[0].settings)
    found = draw_together(len(settings))  # a part of the hypercube for each of its values
    assert [setting.changes for setting in settings] == [(), (("wuve.lanes", "5"),), (("wuve.lanes", "80"),)]
    assert found.unfit == 1  # 80 lanes do not fit the device
    assert found.speedups == pytest.approx(
        tuple(sorted(average(design, setting, "closed").speedup for setting in settings[:2]))
    )
