"""The closed form against the event engine: errors add up, reasons are true, and bugs of either engine are seen."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.engines import ENGINES
from accelsim.engines.timing import Bound, Span, TaskTiming, Timing
from accelsim.lowering.tasks import Stage
from accelsim.studies import overlap as overlap_check
from accelsim.studies.overlap import EngineComparison, compare_on, comparison_lines
from accelsim.studies.paper import WORKLOADS
from accelsim.studies.validation import run_check

REPORT = Path(__file__).parents[2] / "reports" / "validation"


def committed() -> list[dict[str, str]]:
    return list(csv.DictReader((REPORT / "overlap.csv").read_text().splitlines()))


def test_cycles_are_those_of_simulations_and_differences_add_up(sat: acs.Design) -> None:
    found = compare_on("resnet9_cifar10", "bdwp", 76.8)
    steps = {
        engine: acs.simulate(acs.load_trace("resnet9_cifar10"), sat, engine=engine).step
        for engine in ("closed", "event")
    }
    assert (found.closed_cycles, found.event_cycles) == (steps["closed"].cycles, steps["event"].cycles)
    assert found.vector_cycles + found.update_cycles + found.gemm_cycles == found.closed_cycles - found.event_cycles
    assert found.relative_error == found.closed_cycles / found.event_cycles - 1
    assert found.gap == found.event_cycles / found.bound_cycles - 1 >= 0
    assert found.rows == found.equal_rows > 0
    assert found.pairs == [(found.rows, found.rows), (0, 0)]
    assert (found.worst, found.reason) == ("layer1.1[BP] VECTOR", "vector work hidden behind residual1.0.0 WU")


def test_the_committed_table_has_every_workload_method_and_bandwidth() -> None:
    rows = committed()
    assert [(row["workload"], row["method"], row["bandwidth_gb_per_s"]) for row in rows] == [
        (name, method, bandwidth)
        for name in WORKLOADS
        for method in ("dense", "bdwp")
        for bandwidth in ("76.8", "19.2")
    ]
    for row in rows:
        parts = (int(row[name]) for name in ("vector_cycles", "update_cycles", "gemm_cycles"))
        assert sum(parts) == int(row["closed_cycles"]) - int(row["event_cycles"])
        assert int(row["bound_cycles"]) <= int(row["event_cycles"])
        assert row["rows"] == row["equal_rows"]
        assert row["reason"] != "nothing differs"


def planted(engine: str, change: Callable[[Timing], Timing]) -> Callable[..., Timing]:
    return lambda *arguments: change(ENGINES[engine](*arguments))


def later(timing: Timing) -> Timing:
    """One cycle more in the last row."""
    return replace(timing, rows=(*timing.rows[:-1], replace(timing.rows[-1], cycles=timing.rows[-1].cycles + 1)))


def sooner(timing: Timing) -> Timing:
    """Half of all cycles lost where units overlap."""
    if not timing.overlapped:
        return timing
    return replace(timing, rows=tuple(replace(row, cycles=row.cycles // 2) for row in timing.rows))


@pytest.mark.parametrize(
    ("engine", "change", "rows", "faster"),
    [("closed", later, 90, False), ("event", later, 90, False), ("event", sooner, 91, True)],
)
def test_planted_bugs_of_the_engines_are_seen(
    monkeypatch: pytest.MonkeyPatch, engine: str, change: Any, rows: int, faster: bool
) -> None:
    monkeypatch.setattr(overlap_check, "ENGINES", {**ENGINES, engine: planted(engine, change)})
    found = compare_on("resnet9_cifar10", "bdwp", 76.8)
    equal, below = found.pairs
    assert (equal, below[0] > 0) == ((rows, 91), faster)
    monkeypatch.setattr("accelsim.studies.validation.compare_engines", lambda: iter([found]))
    result = run_check("overlap")
    assert (result.cases, result.exact, result.passed, result.comparisons) == (1, 0, False, (found,))


def row(name: str, stage: Stage) -> TaskTiming:
    return TaskTiming(name=name, operation=name, stage=stage, count=1, cycles=5, bound=Bound.COMPUTE)


@pytest.mark.parametrize(
    ("which", "hidden", "reason"),
    [
        (0, 5, "first tile loaded, or last result stored, beside long WU"),
        (0, -5, "shares the DRAM with long WU"),
        (1, 5, "vector work hidden behind long WU"),
        (2, 5, "update hidden behind long WU"),
        (3, 5, "generation hidden behind long WU"),
        (1, 0, "nothing differs"),
        (5, 5, "nothing differs"),
    ],
)
def test_the_reason_names_what_runs_beside_for_longest(which: int, hidden: int, reason: str) -> None:
    stages = (Stage.BP, Stage.VECTOR, Stage.UPDATE, Stage.GENERATE, Stage.WU, Stage.FF)
    names = ("a", "b", "c", "d", "long", "alone")
    spans = [Span(row=index, unit="x", start=10 + index, end=15 + index) for index in range(4)]
    spans += [Span(row=4, unit="STCE", start=0, end=14), Span(row=4, unit="STCE", start=14, end=40)]
    spans += [Span(row=5, unit="STCE", start=40, end=50)]
    rows = tuple(row(name, stage) for name, stage in zip(names, stages, strict=True))
    timing = Timing(rows=rows, overlapped=True, spans=tuple(spans))
    assert overlap_check._reason(timing, which, hidden) == reason


def test_lines_say_error_gap_and_parts() -> None:
    made_up = EngineComparison(
        workload="net", method="bdwp", bandwidth_gb_per_s=19.2, rows=4, equal_rows=4, closed_cycles=1100,
        event_cycles=1000, bound_cycles=800, bound_by="DRAM", vector_cycles=150, update_cycles=10, gemm_cycles=-60,
        worst="bn[BP] VECTOR", worst_alone_cycles=90, worst_added_cycles=2, reason="vector work hidden behind a WU",
    )  # fmt: skip
    lines = comparison_lines([made_up])
    assert "| net | bdwp | 19.2 | 1,100 | 1,000 | +10.00% | 800 | 25.00% | 15.00% | 1.00% | -6.00% |" in lines
    assert lines[-1] == "| net | bdwp | 19.2 | bn[BP] VECTOR | 90 | 2 | vector work hidden behind a WU |"
