"""Tables: cells as they are, and the numbers that a step and a comparison print, worked out anew."""

import re
from dataclasses import replace

import pytest
from changed_results import as_if

import accelsim as acs
from accelsim.base.units import show
from accelsim.cli.screen import console, show_comparison, show_result, table_of, words


def test_cells_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of(words("layer"), "cycles")
    table.add_row("conv1[phase 0,1]", None)
    table.add_row("mm[dA]", "[b]7[/b]")
    console().print(table)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["layer               cycles", "conv1[phase 0,1]", "mm[dA]            [b]7[/b]"]


@pytest.fixture(scope="module")
def step() -> acs.Result:
    return acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=8)


def taking(step: acs.Result, workload: str, method: str, latency_s: float) -> acs.Result:
    """The step as if it took that long."""
    return replace(as_if(step, workload=workload, method=method), step=replace(step.step, latency_s=latency_s))


def test_a_comparison_prints_ratios_and_their_geometric_mean(
    step: acs.Result, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {"a": (8.0, 4.0), "b": (8.0, 1.0)}
    groups = [[taking(step, name, *pair) for pair in zip(("dense", "bdwp"), pairs, strict=True)]
              for name, pairs in times.items()]  # fmt: skip
    show_comparison(groups)
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.startswith(("a ", "b "))]
    assert [(row[0], row[2], row[4], row[6]) for row in rows] == [
        ("a", "dense", "8.00", "1.00x"), ("a", "bdwp", "4.00", "2.00x"),
        ("b", "dense", "8.00", "1.00x"), ("b", "bdwp", "1.00", "8.00x"),
    ]  # fmt: skip
    # the square root of 2 x 8; their sum would give 5, their times 3.2
    means = [line.split() for line in lines if line.startswith("geometric mean ")]
    assert [row[2:] for row in means] == [
        ["sat_vcu1525", "dense", "-", "1.00x"], ["sat_vcu1525", "bdwp", "2:8", "4.00x"],
    ]  # fmt: skip
    assert "speedup: step latency of the first row of a workload over this; batch 8" in lines


def test_a_step_prints_its_numbers(step: acs.Result, capsys: pytest.CaptureFixture[str]) -> None:
    dense = acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=8, method="dense")
    show_result(step)
    out = capsys.readouterr().out
    clock_hz, peak = 200e6, 32 * 32 * 2
    times = [result.step.cycles / clock_hz for result in (dense, step)]
    shares = []
    for result in (dense, step):
        products = [layer for layer in result.layers if layer.stage in {"FF", "BP", "WU"}]
        shares.append(sum(layer.macs_executed for layer in products) / sum(layer.cycles for layer in products) / peak)
    want = {
        "step time": [show(time, "s") for time in times],
        "throughput": [f"{8 / time:,.0f} samples/s" for time in times],
        "dense-equivalent": [show(2 * dense.step.macs_dense / time, "OP/s") for time in times],
        "array utilisation": [f"{share:.1%}" for share in shares],
        "efficiency": [
            f"{2e-9 * dense.step.macs_dense / result.step.energy_j:.1f} GOP/s/W" for result in (dense, step)
        ],
    }
    for name, cells in want.items():
        line = next(line for line in out.splitlines() if line.startswith(f"{name} "))
        assert re.split(r" {2,}", line.rstrip()) == [name, *cells]
    for stage in ("FF", "BP", "WU", "VECTOR"):
        want_of_stage = [stage]
        for result in (dense, step):
            cycles = sum(layer.cycles for layer in result.layers if layer.stage == stage)
            want_of_stage += [show(cycles / clock_hz, "s"), f"{cycles / result.step.cycles:.1%}"]
        line = next(line for line in out.splitlines() if line.startswith(f"{stage} "))
        assert re.split(r" {2,}", line.rstrip()) == want_of_stage
    gain, energy = times[0] / times[1], dense.step.energy_j / step.step.energy_j
    assert f": {gain:.2f}x faster for {energy:.2f}x less energy.\n" in out
