"""Frames of figures hold what the results hold; every metric is computed here, and checked against another way."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from changed_results import as_if

import accelsim as acs
from accelsim.base.errors import InputError
from accelsim.plots import frames
from accelsim.results.step import Result

METHODS = ("dense", "bdwp")


@pytest.fixture(scope="module")
def results() -> list[Result]:
    """Two workloads, dense and sparse."""
    design = acs.load_design("sat_vcu1525")
    return [
        acs.simulate(acs.load_trace(name), design, method=method, batch=64)
        for name in ("resnet9_cifar10", "resnet18_tinyimagenet")
        for method in METHODS
    ]


@pytest.fixture(scope="module")
def sparse(results: list[Result]) -> Result:
    return results[3]


def test_speedups_are_over_dense_with_the_geometric_mean(results: list[Result]) -> None:
    frame = frames.speedup_frame(results)
    assert frame["workload"].tolist() == ["resnet9_cifar10", "resnet18_tinyimagenet", "geometric mean"]
    assert set(frame["case"]) == {"bdwp 2:8"}
    assert set(frame["over"]) == {"dense"}
    first, second, mean = frame["speedup"]
    assert first == pytest.approx(results[0].step.latency_s / results[1].step.latency_s)
    assert second == pytest.approx(results[2].step.latency_s / results[3].step.latency_s)
    assert mean == pytest.approx(math.sqrt(first * second))


def test_no_mean_over_one_workload_or_over_some_of_several(results: list[Result]) -> None:
    assert frames.speedup_frame(results[:2])["workload"].tolist() == ["resnet9_cifar10"]
    some = frames.speedup_frame([*results[:3], as_if(results[3], method="sdgp")])
    assert "geometric mean" not in set(some["workload"])


def test_other_designs_are_compared_with_the_first_result(results: list[Result]) -> None:
    edge = acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_edge_zcu104"), method="bdwp", batch=32)
    frame = frames.speedup_frame([results[0], results[1], edge])
    assert frame["case"].tolist() == ["bdwp 2:8 sat_vcu1525 batch 64", "bdwp 2:8 sat_edge_zcu104 batch 32"]
    assert set(frame["over"]) == {"dense sat_vcu1525 batch 64"}
    assert frame["speedup"].tolist() == pytest.approx(
        [each.step.samples_per_s / results[0].step.samples_per_s for each in (results[1], edge)]
    )


def test_stages_and_components_sum_to_the_step(results: list[Result]) -> None:
    stages, energy = frames.stage_frame(results), frames.energy_frame(results)
    for frame, column, total in ((stages, "latency_s", "latency_s"), (energy, "energy_j", "energy_j")):
        for result, case in ((results[0], "dense"), (results[1], "bdwp 2:8")):
            rows = frame[(frame["workload"] == result.workload) & (frame["case"] == case)]
            assert rows[column].sum() == pytest.approx(getattr(result.step, total))
            gain = getattr(results[0].step, total) / getattr(result.step, total)
            assert rows["gain"].tolist() == pytest.approx([gain] * len(rows))
            assert rows["share"].sum() == pytest.approx(1 / rows["gain"].iloc[0])
    assert list(dict.fromkeys(stages["stage"])) == ["FF", "BP", "WU", "GENERATE", "UPDATE", "VECTOR"]
    assert list(dict.fromkeys(energy["component"])) == [
        "mac", "select", "register", "buffer", "sore", "wuve", "vector", "dram", "static",
    ]  # fmt: skip


def test_layers_have_their_utilisation_and_mapping(sparse: Result, sat: acs.Design) -> None:
    frame = frames.utilisation_frame([sparse])
    peak = sat.peak_macs_per_cycle
    for row in frame.itertuples():
        own = [layer for layer in sparse.layers if (layer.operation, layer.stage) == (row.layer, row.stage)]
        executed, cycles = sum(layer.macs_executed for layer in own), sum(layer.cycles for layer in own)
        assert row.cycles == cycles
        assert row.utilisation == pytest.approx(executed / (cycles * peak))
    assert len(frame) == len({(layer.operation, layer.stage) for layer in sparse.layers if layer.m})
    mapping = frames.mapping_frame([sparse]).set_index(["layer", "stage"])
    assert mapping.loc[("conv1", "FF"), "pattern"] == "dense"
    assert mapping.loc[("layer1.0.conv1", "FF"), "pattern"] == "2:8"
    flows = {layer.dataflow for layer in sparse.layers if (layer.operation, layer.stage) == ("layer1.0.conv1", "WU")}
    assert {mapping.loc[("layer1.0.conv1", "WU"), "dataflow"]} == flows


def test_layer_speedups_compare_all_that_an_operation_takes(results: list[Result]) -> None:
    frame = frames.layer_speedup_frame(results[2:]).set_index("layer")
    dense, sparse = results[2:]

    def time(result: Result, name: str) -> float:
        cycles = sum(layer.cycles for layer in result.layers if layer.operation == name)
        return cycles * result.step.latency_s / result.step.cycles

    for name in ("conv1", "layer3.0.conv2", "fc"):
        assert frame.loc[name, "speedup"] == pytest.approx(time(dense, name) / time(sparse, name))
    assert set(frame["over"]) == {"dense"}
    assert "bn1" not in frame.index


def test_equal_layers_of_a_large_network_are_drawn_as_one() -> None:
    design = acs.load_design("sat_vcu1525")
    bert = acs.simulate(acs.load_trace("bert_base_128"), design, batch=8)
    frame = frames.utilisation_frame([bert])
    assert frame["layer"].nunique() < 20
    assert "blocks.{0..11}.mlp.0" in set(frame["layer"])
    gemms = [layer for layer in bert.layers if layer.m]
    assert frame["cycles"].sum() == sum(layer.cycles for layer in gemms)
    first = frame.drop_duplicates("layer")
    assert first["layers"].sum() == len({layer.operation for layer in gemms})


def test_roofline_points_stay_under_their_roofs(sparse: Result, sat: acs.Design) -> None:
    frame = frames.roofline_frame([sparse])
    points, roofs = (frame[frame["kind"] == kind] for kind in ("layer", "roof"))
    peaks = roofs.set_index("pattern")["gops"]
    bandwidth = sat.dram.bandwidth_gb_per_s * sat.dram.efficiency
    assert peaks["dense"] == 2 * sat.peak_macs_per_cycle * sat.clock_hz / 1e9
    assert peaks["2:8"] == 4 * peaks["dense"]
    assert (roofs["gops"] / roofs["intensity"]).tolist() == pytest.approx([bandwidth] * 2)
    for row in points.itertuples():
        assert row.gops <= min(peaks[row.pattern], row.intensity * bandwidth) * (1 + 1e-9)
    row = points[(points["layer"] == "conv1") & (points["stage"] == "FF")].iloc[0]
    (layer,) = [item for item in sparse.layers if (item.operation, item.stage) == ("conv1", "FF")]
    assert row["intensity"] == pytest.approx(2 * layer.macs_dense / layer.dram_bytes)
    assert row["gops"] == pytest.approx(2 * layer.macs_dense / (layer.cycles / sat.clock_hz) / 1e9)


def test_the_roofs_are_those_of_the_design_that_was_simulated(sat: acs.Design) -> None:
    slow = sat.with_({"dram.bandwidth_gb_per_s": 9.6, "array.rows": 16, "clock_hz": 100e6})
    result = acs.simulate(acs.load_trace("resnet9_cifar10"), slow, batch=16)
    frame = frames.roofline_frame([result])
    roofs = frame[frame["kind"] == "roof"].set_index("pattern")
    assert roofs["gops"].to_dict() == {"dense": 2 * 16 * 32 * 2 * 0.1, "2:8": 4 * 2 * 16 * 32 * 2 * 0.1}
    assert (roofs["gops"] / roofs["intensity"]).tolist() == pytest.approx(2 * [9.6 * sat.dram.efficiency])


def test_training_runs_are_relative_to_dense_training() -> None:
    run = acs.simulate_training(
        acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), method="stepwise-decay", steps=30, batch=64
    )
    frame = frames.training_frame([run])
    assert frame["phase"].tolist() == ["dense", *(phase.name for phase in run.phases)]
    own = frame[frame["case"] == run.title]
    assert own["latency_s"].sum() == pytest.approx(run.totals.latency_s)
    assert own["share"].sum() == pytest.approx(1 / run.totals.speedup)
    assert set(own["gain"]) == {run.totals.speedup}
    from_csv = frames.phase_frame(run.to_frame())
    pd.testing.assert_frame_equal(from_csv, frame)


def test_what_cannot_be_compared_is_refused(results: list[Result]) -> None:
    for call, message in (
        (lambda: frames.speedup_frame([results[0]]), "nothing to compare: only the baseline is there"),
        (lambda: frames.stage_frame([results[0], results[0]]), "resnet9_cifar10: dense is there twice; files of different names tell results apart"),
        (lambda: frames.stage_frame([results[0], replace(results[1], version="0.0.9")]),
         "results of versions 0.0.9, 0.1.0: simulate them again with one version"),
        (lambda: frames.utilisation_frame(results[:2]),
         "utilisation: shows one result, got 2; choose with --where, as in --where method=bdwp"),
        (lambda: frames.layer_speedup_frame(results),
         "layer-speedup: compares results of one workload, the first with each other; got 4 of resnet9_cifar10,"
         " resnet18_tinyimagenet"),
        (lambda: frames.utilisation_frame([replace(results[0], layers=())]),
         "resnet9_cifar10: no layer has a matrix product"),
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == message


def test_sweep_axes_are_inputs_that_vary() -> None:
    frame = pd.DataFrame(
        {"array.rows": [8, 16], "array.cols": [8, 8], "pattern": ["2:8", None], "latency_s": [1.0, 2.0]}
    )
    assert frames.sweep_axes(frame) == ["array.rows", "pattern"]
    assert frames.series_of(frame, ["array.rows", "pattern"]).tolist() == [
        "PE rows 8, pattern 2:8", "PE rows 16, pattern none",
    ]  # fmt: skip


def test_effects_are_geometric_means_over_the_other_values() -> None:
    frame = pd.DataFrame({"array.rows": [8, 8, 16, 16], "batch": [1, 2, 1, 2], "latency_s": [4.0, 9.0, 1.0, 4.0]})
    found = frames.effects_frame(frame, "latency_s")
    assert found["assumption"].tolist() == ["array.rows", "batch"]
    assert found["low"].tolist() == pytest.approx([2.0, 2.0])
    assert found["high"].tolist() == pytest.approx([6.0, 6.0])
    assert found[["low_value", "high_value"]].to_numpy().tolist() == [["16", "8"], ["1", "2"]]
    assert found["base"].tolist() == pytest.approx([math.sqrt(12)] * 2)


@pytest.mark.parametrize(
    ("points", "front", "knee"),
    [
        ([(1, 10), (2, 2), (10, 1), (5, 5), (2, 3)], {(1, 10), (2, 2), (10, 1)}, (2, 2)),
        ([(1, 1), (1, 1), (2, 2)], {(1, 1)}, None),
        ([(1, 2), (2, 1)], {(1, 2), (2, 1)}, None),
        ([(1, 5), (1, 4), (2, 4)], {(1, 4)}, None),
    ],
)
def test_the_front_holds_what_nothing_is_better_than(
    points: list[tuple[int, int]], front: set[tuple[int, int]], knee: tuple[int, int] | None
) -> None:
    frame = frames.pareto_frame(pd.DataFrame(points, columns=["x", "y"], dtype=float), "x", "y", ())
    on_front = {(row.x, row.y) for row in frame.itertuples() if row.on_front}
    better = {
        point for point in points
        if not any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
    }  # fmt: skip
    assert on_front == front == better
    assert [(row.x, row.y) for row in frame.itertuples() if row.knee] == ([knee] if knee else [])


def test_where_more_is_better_the_front_turns() -> None:
    frame = pd.DataFrame({"samples_per_s": [1.0, 2.0, 3.0], "energy_j": [1.0, 1.0, 3.0]})
    found = frames.pareto_frame(frame, "samples_per_s", "energy_j", ("samples_per_s",))
    assert found["on_front"].tolist() == [False, True, True]


def test_predictions_have_their_error_and_the_median_of_their_group() -> None:
    frame = pd.DataFrame(
        {"platform": ["a", "a", "a", "b"], "measured": [10.0] * 4, "predicted": [11.0, 8.0, 10.5, 20.0]}
    )
    found = frames.predicted_frame(frame, "platform")
    assert found["relative_error"].tolist() == pytest.approx([0.1, -0.2, 0.05, 1.0])
    assert found["group"].tolist() == [*["a (3, 10.0 %)"] * 3, "b (1, 100.0 %)"]


def test_contenders_are_means_over_workloads_with_their_errors() -> None:
    head = {"kind": "gpu", "energy_j": 2.0, "energy_low_j": 1.0, "energy_high_j": 4.0, "speedup": 1.0}
    rows = [
        {**head, "name": "x", "method": "dense", "pattern": None, "effective_gops": gops, "gops_per_w": 3.0, "error": 0.25,
         "basis": "12 held-out measurements of it"}
        for gops in (100.0, 400.0)
    ]  # fmt: skip
    rows.append({**rows[0], "method": "bdwp", "pattern": "2:8"})
    rows.append({**rows[0], "name": "sat", "method": "bdwp", "pattern": "2:8", "speedup": 1.9, "error": None,
                 "basis": "simulated; assumptions in the design"})  # fmt: skip
    (first, second) = frames.contenders_frame(pd.DataFrame(rows)).to_dict("records")
    assert first["name"] == "x"
    assert first["throughput_gops"] == pytest.approx(200)
    assert first["throughput_gops_low"] == pytest.approx(160)
    assert first["throughput_gops_high"] == pytest.approx(250)
    assert [first[name] for name in ("gops_per_w_low", "gops_per_w_high")] == pytest.approx([1.5, 6.0])
    assert (first["confidence"], second["confidence"]) == ("measured", "assumed")
    assert second["name"] == "sat bdwp 2:8"
