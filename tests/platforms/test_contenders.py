"""SAT and platforms in one table: the same numbers, their origin, and the interval of SAT's energy."""

import dataclasses

import pytest

import accelsim as acs
from accelsim.hardware.energy_table import load_energy_table
from accelsim.hardware.platform import load_platform
from accelsim.platforms.contenders import (
    Contender,
    contender_of_estimate,
    contender_of_result,
    recalled_names,
    relative_to,
)
from accelsim.platforms.estimate import estimate
from accelsim.results.energy import energy_at
from accelsim.studies.reports.platforms import COMPARED

RESNET = acs.load_trace("resnet18_tinyimagenet")


@pytest.fixture(scope="module")
def simulated(sat: acs.Design) -> Contender:
    result = acs.simulate(RESNET, sat, method="bdwp", pattern="2:8", batch=64)
    return contender_of_result(result)


@pytest.fixture(scope="module")
def estimated() -> Contender:
    step = estimate(RESNET, load_platform("rtx2080ti"), method="bdwp", pattern="2:8", batch=64)
    return contender_of_estimate(step)


def test_energy_of_sat_at_the_ends_of_its_table(sat: acs.Design, simulated: Contender) -> None:
    """The energy with the low, and the high, end of every entry of its table."""
    table = load_energy_table(sat.energy)
    result = acs.simulate(RESNET, sat, method="bdwp", pattern="2:8", batch=64)
    for end, found in (("low", simulated.energy_low_j), ("high", simulated.energy_high_j)):
        assert found == pytest.approx(energy_at(result.energy, sat, table, end))
    assert simulated.energy_low_j < simulated.energy_j < simulated.energy_high_j


def test_a_simulated_step(simulated: Contender) -> None:
    assert (simulated.name, simulated.kind, simulated.method, simulated.pattern) == (
        "sat_vcu1525",
        "sat",
        "bdwp",
        "2:8",
    )
    assert (simulated.error, simulated.basis) == (None, "simulated; assumptions in the design")
    assert simulated.recalled == ("fabric.pj_per_dsp", "pj_per_buffer_byte", "base_w")
    assert simulated.gops_per_w == pytest.approx(simulated.effective_gops * simulated.latency_s / simulated.energy_j)


def test_an_estimated_step(estimated: Contender) -> None:
    assert (estimated.name, estimated.kind, estimated.precision) == ("rtx2080ti", "gpu", "amp")
    assert estimated.error is not None
    assert 0 < estimated.error < 0.3
    assert estimated.basis.endswith(" held-out measurements of it")
    assert estimated.notes == ("2:8 runs dense: the platform has no 2:4 products",)
    assert estimated.recalled == ("power.idle_w",)


def test_both_have_the_same_work(simulated: Contender, estimated: Contender) -> None:
    assert simulated.effective_gops * simulated.latency_s == pytest.approx(
        estimated.effective_gops * estimated.latency_s
    )


def test_a_published_accelerator_has_no_error_of_its_own() -> None:
    found = contender_of_estimate(estimate(RESNET, load_platform("ef_train"), batch=64))
    assert (found.error, found.basis) == (None, "the rate of its own paper")


def test_relative_to_a_baseline(simulated: Contender, estimated: Contender) -> None:
    other = dataclasses.replace(estimated, workload="other", latency_s=2.0)
    slow = dataclasses.replace(simulated, workload="other", latency_s=8.0)
    factors = relative_to([simulated, estimated, slow, other], "sat_vcu1525")
    assert factors == {0: 1, 1: simulated.latency_s / estimated.latency_s, 2: 1, 3: 4}
    assert relative_to([slow, other], "rtx2080ti") == {0: 0.25, 1: 1}


def test_who_rests_on_recalled_facts(simulated: Contender, estimated: Contender) -> None:
    sure = dataclasses.replace(estimated, name="sure", recalled=())
    assert recalled_names([simulated, sure, estimated, simulated]) == ["sat_vcu1525", "rtx2080ti"]


def test_the_report_spans_one_fpga_two_edge_modules_and_three_gpus() -> None:
    assert [load_platform(name).kind for name in COMPARED] == ["fpga", "edge", "edge", "gpu", "gpu", "gpu"]
