"""Shipped reports are what the code makes; the long ones are compared by ``.ci/run``."""

from pathlib import Path

import pytest

from accelsim.base.errors import InputError
from accelsim.studies.reports.shipped import REPORTS, write_reports

COMMITTED = Path(__file__).parents[3] / "reports"


@pytest.mark.parametrize("name", ["paper_workloads", "validation", "resnet18_tinyimagenet"])
def test_a_report_comes_out_as_committed(tmp_path: Path, name: str) -> None:
    write_reports(tmp_path, name)
    made = sorted(path for path in (tmp_path / name).iterdir() if path.suffix in {".csv", ".md"})
    assert made
    for path in made:
        assert path.read_text() == (COMMITTED / name / path.name).read_text(), path.name


def test_every_report_is_committed() -> None:
    assert all((COMMITTED / name).is_dir() for name in REPORTS)


def test_an_unknown_report_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        write_reports(tmp_path, "ablations")
    assert str(error.value) == (
        f"report 'ablations': not known; did you mean 'ablation'?; allowed: {', '.join(REPORTS)}"
    )
    assert not list(tmp_path.iterdir())
