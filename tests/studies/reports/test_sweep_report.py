"""The report on bandwidth answers by its rule."""

from pathlib import Path

import pandas as pd
import pytest

from accelsim.studies.reports.sweep import LIMIT, bandwidth_needed, needs_frame, write_bandwidth

COMMITTED = Path(__file__).parents[3] / "reports" / "array_bandwidth"


@pytest.mark.parametrize(
    ("times", "limit", "needed"),
    [
        ([8.0, 6.0, 5.9, 5.8], 0.05, 20),
        ([8.0, 7.9, 6.0, 5.9], 0.05, 30),  # a later gain counts
        ([8.0, 7.9, 7.8, 7.7], 0.05, 10),
        ([8.0, 6.0, 4.0, 3.0], 0.05, None),
        ([8.0, 6.0, 4.0, 3.8], 0.05, None),  # 5 % is a gain
        ([8.0], 0.05, None),
    ],
)
def test_a_step_stops_gaining_where_all_that_follows_is_small(times, limit: float, needed: float | None) -> None:
    points = [(10.0 * place, time) for place, time in enumerate(times, 1)]
    assert bandwidth_needed(points, limit) == needed
    assert bandwidth_needed(points[::-1], limit) == needed


def test_the_committed_answer_follows_from_its_table() -> None:
    points, needs = pd.read_csv(COMMITTED / "points.csv"), pd.read_csv(COMMITTED / "needs.csv")
    pd.testing.assert_frame_equal(needs_frame(points), needs)
    own = needs[(needs["array.rows"] == 32) & (needs["array.cols"] == 32) & (needs["limit"] == LIMIT)]
    needed = dict(zip(own["method"], own["needed_gb_per_s"], strict=True))
    text = (COMMITTED / "report.md").read_text()
    answer = text.split("\n\n")[1]
    assert f"stops gaining at {needed['bdwp']:g} GB/s, where dense training needs {needed['dense']:g} GB/s" in answer
    assert answer.count(". ") == 1  # two sentences
    drawn = pd.read_csv(COMMITTED / "bandwidth.csv")
    sparse = points[points["method"] == "bdwp"]
    assert drawn["samples_per_s"].tolist() == pytest.approx(sparse["samples_per_s"].tolist(), rel=1e-11)


def test_it_comes_out_as_committed(tmp_path: Path) -> None:
    write_bandwidth(tmp_path / "r")
    for path in sorted(COMMITTED.iterdir()):
        if path.suffix in {".csv", ".md"}:
            assert (tmp_path / "r" / path.name).read_text() == path.read_text(), path.name
