"""What figures say: titles with what is fixed, axes in words, values with units, labels clear of lines, few bars lying."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

import accelsim as acs
from accelsim.base.errors import InputError
from accelsim.hardware.design import Design
from accelsim.hardware.platform import load_platform
from accelsim.hardware.sourced import leaf_paths
from accelsim.plots import frames
from accelsim.plots.compose import (
    draw_claims,
    draw_layer_speedup,
    draw_predicted,
    draw_speedup,
    draw_stacks,
    draw_tornado,
    make_figure,
)
from accelsim.plots.kinds import Choice, prepare
from accelsim.plots.sources import PlotSource
from accelsim.plots.style import COLOURS, fitted, new_figure, stage_style, width_of
from accelsim.plots.text import PARAMETERS, in_words, words_of

POINTS = pd.DataFrame(
    {
        "workload": "net", "design": "sat", "method": ["dense", "bdwp", "bdwp"] * 2, "pattern": [None, "2:8", "2:4"] * 2,
        "batch": 64, "array.rows": 32, "clock_hz": [1e8] * 3 + [2e8] * 3, "buffers.x_bytes": 2**21, "status": "ok",
        "latency_s": [6.0, 3.0, 4.0, 3.0, 1.5, 2.0], "fits": [True, True, False] * 2,
    }
)  # fmt: skip


def drawn(kind: str, table: pd.DataFrame, **choice) -> tuple:
    drawing = prepare(kind, [PlotSource(path="t.csv", form="table", data=table)], Choice(**choice))
    return drawing, make_figure(drawing)


def test_every_value_of_a_design_is_said_in_words() -> None:
    assert set(PARAMETERS) == set(leaf_paths(Design))
    assert len({words for words, _ in PARAMETERS.values()}) == len(PARAMETERS)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("clock_hz", 3e8, "300 MHz"), ("buffers.y_bytes", 3 * 2**19, "1.5 MiB"), ("buffers.resident_bytes", 0, "0 B"),
        ("dram.bandwidth_gb_per_s", 19.2, "19.2 GB/s"), ("array.overlap_tiles", False, "false"), ("pattern", None, "none"),
        ("pattern", math.nan, "none"), ("array.rows", np.int64(32), "32"), ("batch", 64, "64"), ("latency_s", 2e-3, "2 ms"),
    ],
)  # fmt: skip
def test_values_have_their_units(column: str, value: object, words: str) -> None:
    assert in_words(column, value) == words


def test_a_sweep_says_what_is_fixed_and_what_its_axes_are() -> None:
    drawing, figure = drawn("sweep", POINTS, x="clock_hz")
    assert drawing.title == "net on sat, batch 64, PE rows 32, X buffer 2 MiB"
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("clock (MHz)", "step latency (s)")
    figure.draw_without_rendering()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["100", "200"]
    assert [line.get_label() for line in ax.lines] == ["dense", "bdwp 2:8", "bdwp 2:4"]


def test_a_clock_is_an_axis_of_a_sweep() -> None:
    assert frames.sweep_axes(POINTS) == ["method", "pattern", "clock_hz"]
    assert words_of("clock_hz") == ("clock", "Hz")


def test_a_map_says_its_sizes_in_binary_units() -> None:
    table = POINTS[POINTS["method"] == "dense"]
    table = pd.concat([table, table.assign(**{"buffers.x_bytes": 2**22})], ignore_index=True)
    drawing, figure = drawn("sweep-map", table, x="clock_hz", y="buffers.x_bytes")
    assert drawing.title == "net on sat, dense, batch 64, PE rows 32"
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("clock (MHz)", "X buffer (MiB)")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["2", "4"]


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        (("fits",), [0, 1, 3, 4]), (("latency_s < 3.5 and method == 'bdwp'",), [1, 4, 5]), (("pattern == null",), [0, 3]),
        (("latency_s < 4", ("method", "bdwp")), [1, 4, 5]), (("clock_hz / 1e8 in [2]", "latency_s >= 2"), [3, 5]),
    ],
)  # fmt: skip
def test_rows_are_chosen_by_expressions(where: tuple, rows: list[int]) -> None:
    drawing, _ = drawn("pareto", POINTS, x="latency_s", y="clock_hz", where=where)
    assert drawing.frame.index.tolist() == rows
    if len(where) == 1:
        figure = acs.plot(POINTS, "pareto", where=where[0], x="latency_s", y="clock_hz")
        assert len(figure.axes) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latency_s > 9", "t.csv: --where latency_s > 9: holds for none of 6 rows"),
        ("latency > 9", "--where: 'latency > 9': 'latency' is not known; did you mean 'latency_s'?"),
        ("latency_s", "t.csv: row 1: --where 'latency_s': is 6.0, not true or false; write a comparison"),
        ("clock", "--where clock: there is no such column; did you mean 'clock_hz'?"),
    ],
)
def test_bad_expressions(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        drawn("pareto", POINTS, x="latency_s", y="clock_hz", where=(text,))
    assert str(error.value) == message


def test_titles_break_after_commas_and_fit() -> None:
    title = "resnet18_tinyimagenet on sat_vcu1525 + array 64x16x4, bdwp 2:8, batch 512"
    for width in (1.5, 2.5, 3.4, 7.0):
        lines = fitted(title, width).split("\n")
        assert max(width_of(line, 8) for line in lines) <= width
        assert " ".join(lines) == title
    assert fitted("two\nlines", 7.0) == "two\nlines"
    assert fitted("", 7.0) == ""


STACK = pd.DataFrame(
    [
        {"workload": "net", "case": case, "stage": stage, "share": share, "gain": gain}
        for case, gain, shares in (("dense", 1.0, (0.5, 0.5)), ("bdwp 2:8", 2.0, (0.125, 0.375)))
        for stage, share in zip(("WU", "FF"), shares, strict=True)
    ]
)


def test_few_bars_of_one_workload_lie_with_their_shares_and_gains() -> None:
    with new_figure() as figure:
        draw_stacks(STACK, figure, part="stage", label="step time relative to {}")
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == ["50%", "25%", "50%", "75%", "2.00x"]
    bars = [(bar.get_x(), bar.get_width(), bar.get_facecolor()) for bar in ax.patches]
    wu, ff = (to_rgba(stage_style(stage)["color"]) for stage in ("WU", "FF"))
    assert bars == [(0.0, 0.5, wu), (0.0, 0.125, wu), (0.5, 0.5, ff), (0.125, 0.375, ff)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dense", "bdwp 2:8"]
    assert ax.get_xlabel() == "step time relative to dense"


def test_few_speedups_of_one_workload_lie() -> None:
    frame = pd.DataFrame({"workload": "net", "case": ["a", "b"], "speedup": [1.5, 0.97], "over": "dense"})
    with new_figure() as figure:
        draw_speedup(frame, figure)
    (ax,) = figure.axes
    assert [bar.get_width() for bar in ax.patches] == [1.5, 0.97]
    assert [(text.get_text(), text.xy[0]) for text in ax.texts] == [("1.50x", 1.5), ("0.97x", 1)]  # right of the line
    assert ax.get_xlabel() == "speedup over dense (x)"


def test_many_layers_and_methods_are_a_map_crossed_where_slower() -> None:
    frame = pd.DataFrame(
        [
            {"layer": f"layer{at}", "case": case, "speedup": gain + at / 100, "over": "dense"}
            for at in range(54)
            for case, gain in (("sdgp 2:8", 0.9), ("bdwp 2:8", 1.6), ("mvue 2:8", 3.0))
        ]
    )
    with new_figure() as figure:
        draw_layer_speedup(frame, figure)
    cells = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(cells) == len(frame)
    crossed = [int(line.get_xdata()[0]) for line in figure.axes[0].lines]
    assert crossed == list(range(10))  # 0.90 to 0.99
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["sdgp 2:8", "bdwp 2:8", "mvue 2:8"]
    few = frame[frame["layer"].isin(["layer0", "layer1"])]
    with new_figure() as figure:
        draw_layer_speedup(few, figure)
    assert figure.axes[0].get_ylabel() == "speedup over\ndense (x)"


def test_many_platforms_are_groups_of_one_architecture_with_the_worst_named() -> None:
    names = ["v100_sxm2_16gb", "titan_v", "rtx2080ti", "titan_rtx", "a10", "rtx3090", "h100_sxm", "h200", "gtx1080ti"]
    frame = pd.DataFrame({"platform": names, "measured": 100.0})
    frame["predicted"] = [101, 102, 150, 104, 105, 106, 40, 130, 90.0]
    few = frames.predicted_frame(frame.head(8), "platform")
    assert few["group"].iloc[0] == "v100_sxm2_16gb (1, 1.0 %)"
    found = frames.predicted_frame(frame, "platform")
    assert load_platform("titan_v").behaviour == "volta"
    assert found["group"].tolist() == [
        *["volta (2, 1.5 %)"] * 2, *["turing (2, 27.0 %)"] * 2, *["ampere client (2, 5.5 %)"] * 2,
        *["hopper (2, 45.0 %)"] * 2, "pascal (1, 10.0 %)",
    ]  # fmt: skip
    with new_figure() as figure:
        draw_predicted(found, figure, words=("measured", "predicted"))
    named = [text.get_text() for text in figure.axes[0].texts]
    assert named == ["h100_sxm -60%", "rtx2080ti +50%", "h200 +30%", "gtx1080ti -10%", "rtx3090 +6%"]


def test_labels_stand_on_no_reference_line() -> None:
    rows = [("a", 1.73), ("b", 0.98), ("c", 1.9)]
    claims = pd.DataFrame(
        [{"workload": name, "engine": "closed", "speedup": value, "published": 1.75} for name, value in rows]
    )
    with new_figure() as figure:
        draw_claims(claims, figure)
    (ax,) = figure.axes
    figure.draw_without_rendering()
    assert [text.get_text() for text in ax.texts] == ["1.73", "0.98", "1.90"]
    for text in ax.texts:
        box = text.get_window_extent()
        for line in (1.0, 1.75):
            y = ax.transData.transform((0, line))[1]
            assert not box.y0 < y < box.y1, (text.get_text(), line)
    moved = pd.DataFrame(
        {"assumption": ["clock_hz", "batch"], "low": [1.79, 1.8], "high": [1.9, 1.83], "low_value": ["300,000,000", "64"],
         "high_value": ["150,000,000", "1024"], "base": 1.82, "published": 1.75}
    )  # fmt: skip
    for width in ("single", "double"):
        with new_figure(width) as figure:
            draw_tornado(moved, figure, label="speedup")
        (ax,) = figure.axes
        figure.draw_without_rendering()
        assert [text.get_text() for text in ax.texts] == ["300 MHz", "150 MHz", "64", "1024"]
        assert [label.get_text() for label in ax.get_yticklabels()] == ["clock", "batch"]
        for text in ax.texts:
            box = text.get_window_extent()
            for line in (1.82, 1.75):
                x = ax.transData.transform((line, 0))[0]
                assert not box.x0 < x < box.x1, (width, text.get_text(), line)


def test_colours_of_stages_stay_where_some_are_left_out(tmp_path: Path) -> None:
    one = pd.DataFrame(
        [{"workload": f"net{at}", "case": "dense", "stage": "WU", "share": 1.0, "gain": 1.0} for at in range(6)]
    )
    with new_figure() as figure:
        draw_stacks(one, figure, part="stage", label="{}")
    assert {bar.get_facecolor() for bar in figure.axes[0].patches} == {to_rgba(COLOURS[2])}
