"""Bars stand at the values of the frame: speedups from 0 or 1, stacks on top of each other."""

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer

from accelsim.plots.bars import plot_speedup, plot_stacks
from accelsim.plots.compose import draw_speedup, draw_stacks
from accelsim.plots.style import new_figure, save_figure


def speedups(*values: float) -> pd.DataFrame:
    """Two cases on each workload."""
    return pd.DataFrame(
        [
            {"workload": f"w{at // 2}", "case": "ab"[at % 2], "speedup": value, "over": "dense"}
            for at, value in enumerate(values)
        ]
    )


def tops(ax: Axes) -> dict[str, list[float]]:
    found = [container for container in ax.containers if isinstance(container, BarContainer)]
    return {str(item.get_label()): [bar.get_y() + bar.get_height() for bar in item] for item in found}


def test_speedups_stand_on_zero_with_a_line_at_one() -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_speedup(speedups(1.5, 2, 0.9, 1.1), ax)
    assert tops(ax) == {"a": [1.5, 0.9], "b": [2, 1.1]}
    assert {bar.get_y() for bar in ax.patches} == {0}
    centres = [round(bar.get_x() + bar.get_width() / 2, 3) for bar in ax.patches]
    assert centres == [-0.21, 0.79, 0.21, 1.21]
    assert [text.get_text() for text in ax.texts] == ["1.50", "0.90", "2.00", "1.10"]
    (line,) = ax.lines
    assert set(line.get_ydata()) == {1}
    assert ax.get_yscale() == "linear"
    assert ax.get_ylabel() == "speedup over dense (x)"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["w0", "w1"]


def test_ratios_far_apart_go_up_and_down_from_one_on_a_logarithmic_axis() -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_speedup(speedups(0.5, 50), ax)
    assert ax.get_yscale() == "log"
    assert {bar.get_y() for bar in ax.patches} == {1}
    assert tops(ax) == {"a": [0.5], "b": [50]}
    low, high = ax.get_ylim()
    assert low < 0.5
    assert high > 50


def test_of_many_cases_the_best_carries_its_value() -> None:
    frame = pd.DataFrame({"workload": "w", "case": list("abc"), "speedup": [1.1, 1.7, 1.3], "over": "dense"})
    with new_figure() as figure:
        ax = figure.subplots()
        plot_speedup(frame, ax)
    assert [text.get_text() for text in ax.texts] == ["1.70"]


def test_a_workload_without_a_case_has_a_gap() -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_speedup(speedups(1.5, 2, 1.2), ax)
    assert tops(ax) == {"a": [1.5, 1.2], "b": [2]}


def test_many_workloads_stand_in_rows_with_one_scale() -> None:
    frame = speedups(*(1 + at / 10 for at in range(24)))
    with new_figure("single") as figure:
        draw_speedup(frame, figure)
    assert len(figure.axes) > 1
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    drawn = [top for ax in figure.axes for top in tops(ax)["a"]]
    assert drawn == pytest.approx(frame[frame["case"] == "a"]["speedup"].tolist())


@pytest.fixture
def stacks() -> pd.DataFrame:
    shares = {
        ("a", "dense"): (0.6, 0.4),
        ("a", "bdwp"): (0.2, 0.3),
        ("b", "dense"): (0.5, 0.5),
        ("b", "bdwp"): (0.1, 0.5),
    }
    return pd.DataFrame(
        [
            {"workload": workload, "case": case, "stage": stage, "share": share, "gain": 1 / sum(parts)}
            for (workload, case), parts in shares.items()
            for stage, share in zip(("FF", "WU"), parts, strict=True)
        ]
    )


def test_stacks_have_the_heights_of_the_frame(stacks: pd.DataFrame) -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_stacks(stacks, ax, "stage")
    first, second = ([(round(bar.get_y(), 9), round(bar.get_height(), 9)) for bar in item] for item in ax.containers)
    assert first == [(0, 0.6), (0, 0.2), (0, 0.5), (0, 0.1)]
    assert second == [(0.6, 0.4), (0.2, 0.3), (0.5, 0.5), (0.1, 0.5)]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in ax.containers[0]]
    assert centres == pytest.approx([0, 1, 2.5, 3.5])
    assert [text.get_text() for text in ax.texts] == ["2.00x", "1.67x", "a", "b"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["dense", "bdwp", "dense", "bdwp"]


def test_stacks_say_what_they_are_relative_to(stacks: pd.DataFrame) -> None:
    with new_figure() as figure:
        draw_stacks(stacks, figure, part="stage", label="step time relative to {}")
    assert figure.axes[0].get_ylabel().replace("\n", " ") == "step time relative to dense"
    other = stacks.assign(case=stacks["case"].where(stacks["workload"] == "a", stacks["case"] + " 2:8"))
    with new_figure() as figure:
        draw_stacks(other, figure, part="stage", label="step time relative to {}")
    assert figure.axes[0].get_ylabel().replace("\n", " ") == "step time relative to the first"


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_files_are_byte_identical_from_run_to_run(stacks: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        with new_figure("single") as figure:
            draw_stacks(stacks, figure, part="stage", label="")
            save_figure(figure, tmp_path / f"{name}{suffix}")
    first = (tmp_path / f"one{suffix}").read_bytes()
    assert first == (tmp_path / f"two{suffix}").read_bytes()
    if suffix == ".pdf":
        assert b"/Subtype /Type3" not in first  # glyphs drawn one by one, which cannot be edited
        assert b"/FontFile2" in first
    if suffix == ".svg":
        assert b">dense</text>" in first
        assert b"sans-serif" in first
