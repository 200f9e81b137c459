"""What a result prints of itself: the numbers of the step, worked out anew, and gains the way round that is above one."""

import re
from dataclasses import replace

import pytest

import accelsim as acs
from accelsim.base.units import show
from accelsim.results.wording import gain_sentence, slowest_table


@pytest.fixture(scope="module")
def step() -> acs.Result:
    return acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=8)


def test_a_result_prints_the_summary(step: acs.Result) -> None:
    text, dense = str(step), step.dense
    assert dense is not None
    assert repr(step) == text
    assert len(text) < 1500
    lines = text.splitlines()
    assert lines[0] == "resnet9_cifar10, one training step of 8 samples on sat_vcu1525 (closed engine)"
    assert re.search(
        rf"^step time +{show(dense.step.latency_s, 's')} +{show(step.step.latency_s, 's')}$", text, re.MULTILINE
    )
    for name, stage in step.stages.items():
        own, other = stage.cycles / step.step.cycles, dense.stages[name].cycles / dense.step.cycles
        assert re.search(
            rf"^{name} +{show(dense.stages[name].latency_s, 's')} +{other:.1%} +{show(stage.latency_s, 's')} +{own:.1%}$",
            text, re.MULTILINE,
        ), name  # fmt: skip
    assert lines[-1] == "2 warnings, in .notes"
    assert gain_sentence(step) in lines


def test_a_result_that_was_read_prints_itself_alone(step: acs.Result) -> None:
    text = str(replace(step, dense=None))
    assert text.splitlines()[2].split() == ["bdwp", "2:8"]
    assert "instead of" not in text


def test_results_print_a_row_each(step: acs.Result) -> None:
    assert step.dense is not None
    head, *rows = str(acs.Results([step.dense, step])).splitlines()
    assert head.split()[:3] == ["workload", "design", "method"]
    assert [row.split()[-1] for row in rows] == ["1.00x", f"{step.step.speedup:.2f}x"]
    assert str(acs.Results()).split() == ["workload", "design", "method", "speedup", "over", "dense"]


@pytest.mark.parametrize(
    ("speedup", "energy", "words"),
    [
        (1.25, 2.0, "1.25x faster for 2.00x less energy"),
        (0.8, 0.5, "1.25x slower for 2.00x more energy"),
        (1.001, 0.999, "as fast for the same energy"),
    ],
)
def test_a_gain_is_said_the_way_round_that_is_above_one(
    step: acs.Result, speedup: float, energy: float, words: str
) -> None:
    dense = step.dense
    assert dense is not None
    other = replace(step, step=replace(step.step, speedup=speedup, energy_j=dense.step.energy_j / energy))
    assert gain_sentence(other).endswith(f": {words}.")


def test_the_slowest_are_layers_with_all_their_stages(step: acs.Result) -> None:
    title, table = slowest_table(step)
    times: dict[str, float] = {}
    for layer in step.layers:
        times[layer.operation] = times.get(layer.operation, 0.0) + layer.latency_s
    assert title == f"the 5 slowest of {len(times)} layers, and the longest stage of each"
    ranked = sorted(times, key=lambda name: -times[name])[:5]
    assert [row[0] for row in table.rows] == ranked
    for row in table.rows:
        own = [layer for layer in step.layers if layer.operation == row[0]]
        longest = max(own, key=lambda layer: layer.cycles)
        assert row[1:5] == (
            show(times[row[0]], "s"), f"{times[row[0]] / step.step.latency_s:.1%}", longest.stage,
            show(longest.latency_s, "s"),
        )  # fmt: skip


def test_a_training_run_prints_its_phases() -> None:
    trace, design = acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525")
    run = acs.simulate_training(trace, design, method="stepwise-decay", batch=8, steps=30)
    head, _, _, *phases, _, sentence = str(run).splitlines()
    assert head == "resnet9_cifar10, 30 training steps of 8 samples on sat_vcu1525"
    assert [line.split()[4:6] for line in phases] == [["sr-ste", "7:8"], ["sr-ste", "4:8"], ["sr-ste", "2:8"]]
    assert sentence.startswith("stepwise-decay of sr-ste 2:8 takes ")
    assert f": {run.totals.speedup:.2f}x faster for {run.totals.energy_gain:.2f}x less energy." in sentence
