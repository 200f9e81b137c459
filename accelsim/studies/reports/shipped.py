"""The reports that stand in ``reports/``, made again by ``accelsim report --all -o reports``.

CSV files and text come out byte for byte as they are committed.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from accelsim.base.errors import InputError, did_you_mean
from accelsim.hardware.design import load_design
from accelsim.report.writing import write_report
from accelsim.simulation import compare
from accelsim.studies.ablation import ablate
from accelsim.studies.paper import DESIGN, WORKLOADS
from accelsim.studies.reports.ablation import write_ablation
from accelsim.studies.reports.paper import write_paper
from accelsim.studies.reports.platforms import write_platforms
from accelsim.studies.reports.sweep import SWEEP, write_bandwidth
from accelsim.studies.reports.validation import write_validation
from accelsim.studies.reports.workloads import METHODS, write_paper_workloads
from accelsim.studies.validation import NAMES, run_check
from accelsim.workload.trace import load_trace

__all__ = ["REPORTS", "write_reports"]

_PATTERNS = ("2:4", "1:4", "2:8", "1:8", "2:16", "1:16")
_BATCH = 512
_SHOWN = "resnet18_tinyimagenet"


def _ablation(folder: Path) -> None:
    design = load_design(DESIGN)
    rows = [
        row
        for name in WORKLOADS
        for row in ablate(load_trace(name), design, methods=METHODS, patterns=_PATTERNS, batch=_BATCH)
    ]
    options = [
        f"--hw {DESIGN}",
        *(f"--method {name}" for name in METHODS),
        *(f"--pattern {item}" for item in _PATTERNS),
    ]
    write_ablation(folder, rows, " ".join(["accelsim ablate", *WORKLOADS, *options, f"--batch {_BATCH} -o DIR"]))


def _paper(folder: Path) -> None:
    write_paper(folder)


def _page(folder: Path) -> None:
    trace, design = load_trace(_SHOWN), load_design(DESIGN)
    command = f"accelsim report {_SHOWN} --hw {DESIGN} -o reports/{_SHOWN}"
    write_report(folder, compare(trace, design), [design], traces=[trace], command=command)


def _validation(folder: Path) -> None:
    write_validation(folder, [run_check(name) for name in NAMES])


REPORTS: Mapping[str, Callable[[Path], None]] = {
    "paper_workloads": write_paper_workloads,
    "ablation": _ablation,
    "paper": _paper,
    "validation": _validation,
    "platforms": write_platforms,
    SWEEP: write_bandwidth,
    _SHOWN: _page,
}
"""What writes each report into a folder, by the name of its folder."""


def write_reports(folder: Path, *names: str, done: Callable[[Path], None] = lambda _: None) -> None:
    """Write the named reports, or all, each into a folder of its name below `folder`; `done` hears of each.

    Raises `InputError` for a name that is not known.
    """
    for name in names:
        if name not in REPORTS:
            raise InputError(f"report '{name}': not known{did_you_mean(name, REPORTS)}; allowed: {', '.join(REPORTS)}")
    for name in names or REPORTS:
        REPORTS[name](folder / name)
        done(folder / name)
