"""Figures draw the frame they are given, and nothing else."""

from pathlib import Path

import pandas as pd
import pytest

from accelsim.plots.stages import plot_stage_stacks
from accelsim.plots.style import new_figure, save_figure


@pytest.fixture
def frame() -> pd.DataFrame:
    shares = {
        ("a", "dense"): (0.6, 0.4),
        ("a", "bdwp"): (0.2, 0.3),
        ("b", "dense"): (0.5, 0.5),
        ("b", "bdwp"): (0.1, 0.5),
    }
    return pd.DataFrame(
        [
            {"workload": workload, "bar": bar, "stage": stage, "share": share, "speedup": 1 / sum(parts)}
            for (workload, bar), parts in shares.items()
            for stage, share in zip(("FF", "WU"), parts, strict=True)
        ]
    )


def test_stacked_bars_have_the_heights_of_the_frame(frame: pd.DataFrame) -> None:
    with new_figure() as figure:
        ax = figure.subplots()
        plot_stage_stacks(frame, ax)
    drawn = sorted((round(bar.get_x(), 3), round(bar.get_y(), 3), round(bar.get_height(), 3)) for bar in ax.patches)
    heights = [height for _, _, height in drawn]
    assert heights == [0.6, 0.4, 0.2, 0.3, 0.5, 0.5, 0.1, 0.5]
    assert [text.get_text() for text in ax.texts] == ["dense", "dense", "bdwp\n2.00x", "bdwp\n1.67x"]
    assert ax.get_ylabel() == "step time relative to dense"


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_files_are_byte_identical_from_run_to_run(frame: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        with new_figure("single") as figure:
            plot_stage_stacks(frame, figure.subplots())
            save_figure(figure, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
