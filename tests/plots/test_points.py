"""Points, roofs, lines, cells and fronts are the values of the frame."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba

from accelsim.plots.compose import draw_pareto, draw_platforms, draw_roofline
from accelsim.plots.points import plot_platforms, plot_predicted
from accelsim.plots.roofline import plot_roofline
from accelsim.plots.style import COLOURS, new_figure, stage_marker, stage_style
from accelsim.plots.sweep import plot_pareto, plot_sweep, plot_sweep_map

ROOFLINE = pd.DataFrame(
    [
        ("layer", "conv1", "FF", "dense", 20.0, 700.0, 1e-3),
        ("layer", "conv2", "FF", "2:8", 50.0, 2000.0, 4e-3),
        ("layer", "conv2", "WU", "dense", 5.0, 300.0, 1e-6),
        ("roof", "dense roof", None, "dense", 10.0, 800.0, None),
        ("roof", "2:8 roof", None, "2:8", 40.0, 3200.0, None),
    ],
    columns=["kind", "layer", "stage", "pattern", "intensity", "gops", "latency_s"],
)


def test_roofline_has_a_point_per_layer_and_stage_its_area_by_time() -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_roofline(ROOFLINE, ax)
    found = {
        item.get_label(): (item.get_offsets().tolist(), item.get_sizes().tolist())
        for item in ax.collections
        if isinstance(item, PathCollection)
    }
    assert found == {
        "FF dense": ([[20.0, 700.0]], [35.0]),
        "FF sparse": ([[50.0, 2000.0]], [140.0]),
        "WU dense": ([[5.0, 300.0]], [5.0]),
    }
    roofs = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}
    assert roofs == {
        "dense roof, 800 GOPS": ([2.5, 10.0, 85.0], [200.0, 800.0, 800.0]),
        "2:8 roof, 3,200 GOPS": ([2.5, 40.0, 85.0], [200.0, 3200.0, 3200.0]),
    }
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_roofline_names_the_layers_that_take_longest() -> None:
    with new_figure() as figure:
        draw_roofline(ROOFLINE, figure)
    slope, *names = figure.axes[0].texts
    assert [text.get_text() for text in names] == ["conv2 FF", "conv1 FF", "conv2 WU"]
    assert [text.xy for text in names] == [(50.0, 2000.0), (20.0, 700.0), (5.0, 300.0)]
    assert slope.get_text() == "DRAM 80 GB/s"


def test_the_bandwidth_stands_along_the_slope_beside_the_line() -> None:
    with new_figure() as figure:
        draw_roofline(ROOFLINE, figure)
    ax = figure.axes[0]
    (slope,) = (text for text in ax.texts if text.get_text() == "DRAM 80 GB/s")
    (x0, y0), (x1, y1) = (ax.transData.transform((x, 80 * x)) for x in (3.0, 30.0))
    assert slope.get_rotation() == pytest.approx(math.degrees(math.atan2(y1 - y0, x1 - x0)))
    x, y = ax.transData.transform(slope.get_position())
    across = ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / math.hypot(x1 - x0, y1 - y0)
    assert across == pytest.approx(7)  # pixels above it


def test_stages_look_the_same_in_every_figure() -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        turned = ROOFLINE.iloc[::-1]  # whichever stage comes first
        plot_roofline(turned, ax)
    for points in ax.collections:
        stage, sparse = points.get_label().split()
        colour = to_rgba(stage_marker(stage)[0])
        shown = points.get_facecolor()[0] if sparse == "sparse" else points.get_edgecolor()[0]
        assert tuple(shown[:3]) == pytest.approx(colour[:3])
        assert stage_style(stage)["color"] == stage_marker(stage)[0]
    assert len({stage_marker(stage) for stage in ("FF", "BP", "WU", "GENERATE", "UPDATE", "VECTOR")}) == 6


def test_sweep_lines_run_over_the_values_in_order() -> None:
    frame = pd.DataFrame(
        {
            "series": ["a", "b", "a", "b", "a"],
            "array.rows": [32, 8, 8, 16, 16],
            "latency_s": [2e-3, 8e-3, 7e-3, 4e-3, 3e-3],
        }
    )
    with new_figure() as figure:
        ax = figure.subplots()
        plot_sweep(frame, ax, "array.rows", "latency_s")
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}
    assert lines == {"a": ([8, 16, 32], [7e-3, 3e-3, 2e-3]), "b": ([8, 16], [8e-3, 4e-3])}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("PE rows", "step latency (ms)")
    assert ax.get_ylim()[0] == 0
    figure.draw_without_rendering()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "16", "32"]
    assert ax.yaxis.get_major_formatter()(4e-3, 0) == "4"


def test_sweep_over_words_keeps_their_order() -> None:
    frame = pd.DataFrame({"series": "", "pattern": ["2:8", "2:4", "1:8"], "energy_j": [2.0, 4.0, 1.0]})
    with new_figure() as figure:
        ax = figure.subplots()
        plot_sweep(frame, ax, "pattern", "energy_j")
    (line,) = ax.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 1, 2], [2.0, 4.0, 1.0])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2:8", "2:4", "1:8"]
    assert ax.get_ylabel() == "step energy (J)"


def test_sweep_map_has_a_cell_per_pair_and_crosses_what_is_not_feasible() -> None:
    frame = pd.DataFrame(
        {"array.rows": [16, 8, 16, 8], "array.cols": [4, 4, 2, 2], "latency_s": [1e-3, 2e-3, 3e-3, np.nan]}
    )
    with new_figure() as figure:
        ax = figure.subplots()
        mesh = plot_sweep_map(frame, ax, "array.rows", "array.cols", "latency_s")
    np.testing.assert_allclose(np.asarray(mesh.get_array(), dtype=float), [[np.nan, 3.0], [2.0, 1.0]])
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        (1.5, 0.5): "3.00", (0.5, 1.5): "2.00", (1.5, 1.5): "1.00",
    }  # fmt: skip
    (crosses,) = ax.lines
    assert (list(crosses.get_xdata()), list(crosses.get_ydata())) == ([0.5], [0.5])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "16"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["2", "4"]


PARETO = pd.DataFrame(
    {
        "pattern": ["2:4", "2:8", "1:8", "x"],
        "latency_s": [3.0, 1.0, 2.0, 4.0],
        "energy_j": [1.0, 4.0, 1.5, 4.0],
        "on_front": [True, True, True, False],
        "knee": [False, False, True, False],
    }
)


def test_pareto_front_is_a_staircase_over_its_points() -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_pareto(PARETO, ax, "latency_s", "energy_j")
    found = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}
    assert found == {
        "dominated": ([4.0], [4.0]), "Pareto front": ([1.0, 2.0, 3.0], [4.0, 1.5, 1.0]), "knee": ([2.0], [1.5]),
    }  # fmt: skip
    assert next(line for line in ax.lines if line.get_label() == "Pareto front").get_drawstyle() == "steps-post"


def test_where_more_is_better_across_the_steps_go_the_other_way() -> None:
    frame = PARETO.rename(columns={"latency_s": "samples_per_s"})
    with new_figure() as figure:
        ax = figure.subplots()
        plot_pareto(frame, ax, "samples_per_s", "energy_j")
    assert next(line for line in ax.lines if line.get_label() == "Pareto front").get_drawstyle() == "steps-pre"


def test_points_of_the_front_say_which_they_are_the_knee_first() -> None:
    frame = PARETO.assign(**{"array.rows": [8, 16, 32, 64], "dram.bandwidth_gb_per_s": [10.0, 20.5, 40.0, 5.0]})
    with new_figure() as figure:
        named = ["pattern", "array.rows", "dram.bandwidth_gb_per_s"]
        draw_pareto(frame, figure, x="latency_s", y="energy_j", named=named)
    assert [text.get_text() for text in figure.axes[0].texts] == [
        "1:8\nPE rows 32, DRAM bandwidth 40 GB/s", "2:8\nPE rows 16, DRAM bandwidth 20.5 GB/s",
        "2:4\nPE rows 8, DRAM bandwidth 10 GB/s",
    ]  # fmt: skip


def test_methods_have_colours_of_their_own_pale_where_dominated() -> None:
    frame = PARETO.assign(method=["dense", "bdwp", "bdwp", "dense"])
    with new_figure() as figure:
        ax = figure.subplots()
        plot_pareto(frame, ax, "latency_s", "energy_j")
    points = [
        (line.get_color(), line.get_alpha(), list(line.get_xdata()))
        for line in ax.lines
        if line.get_linestyle() == "None" and len(line.get_xdata()) and line.get_label() != "knee"
    ]
    assert points == [(COLOURS[0], 0.35, [4.0]), (COLOURS[0], None, [3.0]), (COLOURS[3], None, [1.0, 2.0])]
    labels = [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]
    assert labels == ["dominated: pale", "Pareto front", "dense", "bdwp", "knee"]


PLATFORMS = pd.DataFrame(
    {
        "name": ["SAT", "A100", "V100"],
        "kind": ["FPGA", "GPU", "GPU"],
        "throughput_gops": [1400.0, 60000.0, 14000.0],
        "gops_per_w": [41.0, 150.0, 47.0],
        "gops_per_w_low": [31.0, 120.0, np.nan],
        "gops_per_w_high": [59.0, 190.0, np.nan],
        "confidence": ["derived", "measured", "measured in a paper"],
    }
)


def test_platforms_stand_at_throughput_and_efficiency_with_bars_of_error() -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_platforms(PLATFORMS, ax, "throughput_gops")
    found = {bars.get_label(): (bars[0], bars[2]) for bars in ax.containers}
    assert set(found) == {"FPGA (not measured)", "GPU"}
    assert list(found["GPU"][0].get_xdata()) == [60000.0, 14000.0]
    assert list(found["GPU"][0].get_ydata()) == [150.0, 47.0]
    (spans,) = found["GPU"][1]
    assert [segment[:, 1].tolist() for segment in spans.get_segments()] == [[120.0, 190.0], [47.0, 47.0]]
    assert found["FPGA (not measured)"][0].get_markerfacecolor() == "white"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("throughput (GOPS)", "energy efficiency (GOPS/W)")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_each_platform_has_its_name() -> None:
    with new_figure() as figure:
        draw_platforms(PLATFORMS, figure, x="throughput_gops")
    assert {text.get_text(): text.xy for text in figure.axes[0].texts} == {
        "SAT": (1400.0, 41.0), "A100": (60000.0, 150.0), "V100": (14000.0, 47.0),
    }  # fmt: skip


def test_predictions_stand_over_measurements_between_bands() -> None:
    frame = pd.DataFrame({"measured": [10.0, 100.0], "predicted": [12.0, 90.0], "group": ["x", "y"]})
    with new_figure() as figure:
        ax = figure.subplots()
        plot_predicted(frame, ax, ("measured (s)", "predicted (s)"), bands=(0.1, 0.5))
    points = {bars.get_label(): (list(bars[0].get_xdata()), list(bars[0].get_ydata())) for bars in ax.containers}
    assert points == {"x": ([10.0], [12.0]), "y": ([100.0], [90.0])}
    diagonal = next(line for line in ax.lines if len(line.get_xdata()) == 2)
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    bands = {
        item.get_label(): item.get_paths()[0].vertices for item in ax.collections if item.get_label()[:6] == "within"
    }
    assert set(bands) == {"within 10 %", "within 50 %"}
    assert set(np.round(bands["within 50 %"][:, 1] / bands["within 50 %"][:, 0], 9)) == {0.5, 1.5}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("measured (s)", "predicted (s)")
    assert ax.get_xlim() == ax.get_ylim() == pytest.approx((7, 140))
