"""The Gantt figure draws the frame it is given; the frame is the timeline, cut to what a panel shows."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import accelsim as acs
from accelsim.base.errors import InputError
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.lowering.tasks import Stage
from accelsim.plots.style import COLOURS, HATCHES, new_figure, save_figure
from accelsim.plots.timeline import MOST_JOBS, draw_timeline, plot_bandwidth, plot_timeline, timeline_frame
from accelsim.results.timeline import make_timeline
from accelsim.results.timeline_file import Timeline
from accelsim.simulation import plan_step

LANES = ["STCE", "VECTOR", "DRAM load"]
SUFFIXES = [".svg", ".png", ".pdf"]


def made(trace: str, batch: int, window: tuple[int, int] | None = None) -> Timeline:
    design, sgd = acs.load_design("sat_vcu1525"), find_optimizer("sgd")
    plan = plan_step(acs.load_trace(trace), design, case_of(batch=batch, engine="event"))
    return make_timeline(plan, design, sgd, window=window)


@pytest.fixture(scope="module")
def resnet() -> Timeline:
    return made("resnet18_tinyimagenet", 8, (0, 10**15))


@pytest.fixture(scope="module")
def gpt2() -> Timeline:
    return made("gpt2_1024", 1)


@pytest.fixture
def frame() -> pd.DataFrame:
    """A panel from 2 to 6 ms of a step: a GEMM with two jobs, vector work that began before, a load."""
    head = {"panel": "FF", "panel_start_s": 2e-3, "panel_end_s": 6e-3}
    rows = [
        ("STCE", "task", "FF", "conv1", 3e-3, 5e-3, True, None),
        ("STCE", "job", "FF", "conv1", 3e-3, 4e-3, True, None),
        ("STCE", "job", "FF", "conv1", 4e-3, 4.5e-3, True, None),
        ("VECTOR", "task", "VECTOR", "bn1", 1e-3, 3e-3, False, None),
        ("DRAM load", "transfer", "FF", "conv1", 2.99e-3, 3e-3, True, None),
        ("DRAM", "bandwidth", None, None, 1e-3, 3e-3, True, 1.0),
        ("DRAM", "bandwidth", None, None, 3e-3, 7e-3, True, 0.25),
    ]
    names = ("lane", "kind", "stage", "layer", "start_s", "end_s", "chosen", "share")
    return pd.DataFrame([{**head, **dict(zip(names, row, strict=True)), "name": row[3]} for row in rows])


def boxes(ax, label: str) -> list[tuple[float, float, float, float]]:
    """Left, right, top and bottom of the bars of a label, in the units of the axes."""
    found = [collection for collection in ax.collections if collection.get_label() == label]
    corners = [path.get_extents() for collection in found for path in collection.get_paths()]
    return [tuple(np.round((c.x0, c.x1, c.y0, c.y1), 9)) for c in corners]


# What is drawn


def test_bars_stand_where_the_frame_says(frame: pd.DataFrame) -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_timeline(frame, ax, LANES)
    assert boxes(ax, "STCE FF") == [(1.0, 3.0, -0.4, 0.4)]  # ms after the start of the panel
    assert boxes(ax, "VECTOR VECTOR") == [(-1.0, 1.0, 0.6, 1.4)]
    assert boxes(ax, "DRAM load FF") == [(0.99, 1.0, 1.6, 2.4)]
    assert boxes(ax, "jobs") == [(1.0, 2.0, 0.12, 0.4), (2.0, 2.5, 0.12, 0.4)]
    assert ax.get_xlim() == (0.0, 4.0)
    assert [label.get_text() for label in ax.get_yticklabels()] == LANES
    top, bottom = ax.get_ylim()
    assert top > bottom, "the first lane is on top"


def test_stages_differ_in_colour_and_hatch(frame: pd.DataFrame) -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_timeline(frame, ax, LANES)
    drawn = {collection.get_label(): collection for collection in ax.collections}
    for label, stage, pale in (("STCE FF", Stage.FF, False), ("VECTOR VECTOR", Stage.VECTOR, True)):
        index = list(Stage).index(stage)
        assert to_hex(drawn[label].get_facecolor()[0]) == COLOURS[index].lower()
        assert drawn[label].get_hatch() == HATCHES[index]
        assert (drawn[label].get_alpha() < 1) == pale
    edge = drawn["DRAM load FF"].get_edgecolor()[0]
    assert to_hex(edge) == COLOURS[0].lower(), "a black edge would hide a narrow bar"


def test_bandwidth_is_drawn_as_steps(frame: pd.DataFrame) -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_bandwidth(frame, ax)
    (steps,) = ax.patches
    values, edges, _ = steps.get_data()
    assert values.tolist() == [1.0, 0.25]
    assert np.round(edges, 9).tolist() == [-1.0, 1.0, 5.0]
    assert steps.get_fill()
    assert ax.get_xlabel() == "ms after 2.00 ms"


def test_jobs_are_left_out_where_they_are_many(frame: pd.DataFrame) -> None:
    many = pd.concat([frame, *[frame[frame["kind"] == "job"]] * (MOST_JOBS // 2)], ignore_index=True)
    with new_figure() as figure:
        ax = figure.subplots()
        plot_timeline(many, ax, LANES)
    assert (many["kind"] == "job").sum() == MOST_JOBS + 2
    assert boxes(ax, "jobs") == []


@pytest.mark.parametrize("name", ["resnet", "gpt2"])
def test_every_slice_of_a_step_is_drawn_once(request: pytest.FixtureRequest, name: str) -> None:
    frame = timeline_frame(request.getfixturevalue(name))
    with new_figure("double", 2.9) as figure:
        draw_timeline(frame, figure, "title")
    above, below = figure.axes
    scale = {"s": 1, "ms": 1e3, "us": 1e6}[below.get_xlabel().removeprefix("time (").removesuffix(")")]
    for lane in set(frame["lane"]) - {"DRAM"}:
        bars = frame[(frame["lane"] == lane) & frame["kind"].isin(["task", "transfer", "stream"])]
        drawn = [box for stage in Stage for box in boxes(above, f"{lane} {stage}")]
        assert sorted(box[0] for box in drawn) == pytest.approx(sorted(bars["start_s"] * scale), abs=1e-8)
        assert sorted(box[1] for box in drawn) == pytest.approx(sorted(bars["end_s"] * scale), abs=1e-8)


@pytest.mark.parametrize(("name", "layer"), [("resnet", None), ("gpt2", None), ("resnet", "layer2.0.conv1"),
                                             ("gpt2", "h.3.mlp.2")])  # fmt: skip
def test_words_never_overlap_and_stand_inside_their_bars(request: pytest.FixtureRequest, name: str, layer: str) -> None:
    frame = timeline_frame(request.getfixturevalue(name), layer)
    with new_figure("double", 2.9) as figure:
        draw_timeline(frame, figure, "title")
        figure.draw_without_rendering()
        axes = figure.axes[: len(figure.axes) // 2]
        words = [text for ax in axes for text in ax.texts]
        places = [text.get_window_extent() for text in words]
        for ax in axes:
            bars = frame[(frame["panel"] == ax.get_title()) | (len(axes) == 1)]
            names = set(bars["layer"].dropna()) | set(bars["name"])
            assert {text.get_text() for text in ax.texts} <= names
            room = ax.get_window_extent()
            assert all(room.x0 <= t.get_window_extent().x0 and t.get_window_extent().x1 <= room.x1 for t in ax.texts)
        assert words
        assert not any(one.overlaps(two) for one, two in combinations(places, 2))


# What the frame holds


def test_frame_of_the_whole_step(resnet: Timeline) -> None:
    frame = timeline_frame(resnet)
    seconds = resnet.about.cycles / resnet.about.clock_hz
    assert (frame["panel"] == "whole step").all()
    assert (frame["panel_start_s"] == 0).all()
    assert (frame["panel_end_s"] == seconds).all()
    assert frame["chosen"].all()
    kinds = frame["kind"].value_counts()
    assert kinds["job"] == len([item for item in resnet.slices if item.args.jobs])
    assert kinds["task"] + kinds["transfer"] + kinds["job"] == len(resnet.slices)
    busy = frame[frame["kind"] == "task"].assign(s=lambda f: f["end_s"] - f["start_s"]).groupby("lane")["s"].sum()
    for lane, total in busy.items():
        cycles = sum(item.args.cycles for item in resnet.slices if item.track == lane and item.args.jobs is None)
        assert total == pytest.approx(cycles / resnet.about.clock_hz, rel=1e-9)
    shares = frame[frame["kind"] == "bandwidth"]
    assert shares["share"].between(0, 1 + 1e-9).all()
    assert shares["start_s"].tolist()[1:] == shares["end_s"].tolist()[:-1]


def test_blocks_are_neighbours_of_one_name(resnet: Timeline, gpt2: Timeline) -> None:
    frame = timeline_frame(resnet)
    blocks = frame[frame["kind"] == "block"]
    there_and_back = ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert blocks["name"].tolist() == [*there_and_back, *reversed(there_and_back[:-1])]
    assert (blocks["end_s"].to_numpy()[:-1] <= blocks["start_s"].to_numpy()[1:]).all()
    assert {"h.0", "h.11"} <= set(timeline_frame(gpt2).query("kind == 'block'")["name"])


def test_frame_of_a_layer_has_a_panel_around_each_stage(resnet: Timeline) -> None:
    frame = timeline_frame(resnet, "layer2.0.conv1")
    assert list(dict.fromkeys(frame["panel"])) == ["FF", "BP", "WU"]
    for panel, rows in frame.groupby("panel"):
        own = rows[(rows["layer"] == "layer2.0.conv1") & (rows["stage"] == panel)]
        start, end = rows["panel_start_s"].iloc[0], rows["panel_end_s"].iloc[0]
        assert set(own["kind"]) == {"task", "transfer", "stream", "job"}
        assert own["start_s"].min() - start == pytest.approx(end - own["end_s"].max())
        assert 0 < own["start_s"].min() - start < 0.06 * (end - start)
        assert (rows["start_s"] < end).all()
        assert (rows["end_s"] > start).all()
    assert set(frame[frame["chosen"]]["layer"].dropna()) == {"layer2.0.conv1"}
    assert "block" not in set(frame["kind"])


def test_frame_of_vector_work_has_a_panel_for_each_direction(resnet: Timeline) -> None:
    assert list(dict.fromkeys(timeline_frame(resnet, "layer1.0.bn1")["panel"])) == [
        "layer1.0.bn1[FF]", "layer1.0.bn1[BP]", "layer1.0.bn1 UPDATE",
    ]  # fmt: skip


def test_an_unknown_layer_is_answered_with_the_nearest(resnet: Timeline) -> None:
    with pytest.raises(
        InputError, match=r"^layer 'layer2\.conv1': is not in this step; did you mean 'layer\d\.\d\.conv1'\?$"
    ):
        timeline_frame(resnet, "layer2.conv1")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_figures_are_byte_identical_from_run_to_run(resnet: Timeline, tmp_path: Path, suffix: str) -> None:
    frame = timeline_frame(resnet, "conv1")
    for name in ("one", "two"):
        with new_figure("double", 2.9) as figure:
            draw_timeline(frame, figure, resnet.about.title)
            save_figure(figure, tmp_path / f"{name}{suffix}")
    payload = (tmp_path / f"one{suffix}").read_bytes()
    assert payload == (tmp_path / f"two{suffix}").read_bytes()
    assert {".svg": b">conv1</text>", ".pdf": b"/FontFile2", ".png": b"PNG"}[suffix] in payload
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one{suffix}", f"two{suffix}"]
