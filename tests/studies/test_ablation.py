"""Ablations: variants differ by what they say, numbers are those of the engines, the report is what is computed."""

import csv
from dataclasses import fields, replace
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.base.ratios import geometric_mean
from accelsim.hardware.sourced import override
from accelsim.plots.ablation import grid_frame, ladder_frame
from accelsim.results.ablation import (
    BASE,
    FULL,
    GROUPS,
    LADDER,
    OS_BASE,
    VARIANTS,
    AblationRow,
    Variant,
    summarise,
)
from accelsim.studies.ablation import ablate
from accelsim.studies.reports.ablation import ablation_table, write_ablation

REPORT = Path(__file__).parents[2] / "reports" / "ablation"
HEAD = ("workload", "design", "method", "pattern", "variant")


def differing(one: Variant, other: Variant) -> list[str]:
    return [field.name for field in fields(Variant) if getattr(one, field.name) != getattr(other, field.name)]


def test_variants_turn_on_one_thing_at_a_time() -> None:
    assert [differing(BASE, variant) for variant in GROUPS["alone"]] == [
        ["interleave"], ["dataflow"], ["dataflow"], ["pregenerate"], ["overlap"],
    ]  # fmt: skip
    assert [differing(*pair) for pair in zip((BASE, *LADDER), LADDER, strict=False)] == [
        ["interleave"], ["dataflow"], ["pregenerate"], ["overlap"], ["optimal"],
    ]  # fmt: skip
    assert [differing(OS_BASE, variant) for variant in GROUPS["from os"]] == [
        [], ["interleave"], ["pregenerate"], ["overlap"],
    ]  # fmt: skip
    assert [differing(FULL, variant) for variant in GROUPS["all but one"]] == [
        ["interleave"], ["dataflow"], ["dataflow"], ["pregenerate"], ["overlap"],
    ]  # fmt: skip
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS) == 17
    assert BASE.name == "ws"
    assert LADDER[-1].name == "auto+interleave+pregenerate+overlap+optimal"
    assert {variant.engine for variant in VARIANTS if variant.overlap} == {"event"}
    assert {variant.engine for variant in VARIANTS if not variant.overlap} == {"closed"}


@pytest.fixture(scope="module")
def rows() -> tuple[AblationRow, ...]:
    return ablate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=16)


@pytest.mark.parametrize(
    ("variant", "schedule"),
    [
        (BASE, {"dataflow": "ws", "interleave": "false", "pregenerate": "false", "overlap": "false", "scheduler": "greedy"}),
        (OS_BASE, {"dataflow": "os", "interleave": "false", "pregenerate": "false", "overlap": "false", "scheduler": "greedy"}),
        (FULL, {"dataflow": "auto", "interleave": "true", "pregenerate": "true", "overlap": "true", "scheduler": "greedy"}),
        (LADDER[-1], {"dataflow": "auto", "interleave": "true", "pregenerate": "true", "overlap": "true", "scheduler": "optimal"}),
        (LADDER[1], {"dataflow": "auto", "interleave": "true", "pregenerate": "false", "overlap": "false", "scheduler": "greedy"}),
    ],
    ids=lambda value: value.name if isinstance(value, Variant) else "",
)  # fmt: skip
def test_cycles_are_those_of_a_simulation_under_these_flags(
    rows: tuple[AblationRow, ...], sat: acs.Design, variant: Variant, schedule: dict[str, str]
) -> None:
    design = override(sat, {f"schedule.{name}": value for name, value in schedule.items()})
    for method, pattern in (("dense", None), ("bdwp", "2:8")):
        (row,) = [row for row in rows if (row.method, row.variant) == (method, variant)]
        want = acs.simulate(acs.load_trace("resnet9_cifar10"), design, method=method, batch=16, engine="event").step
        assert (row.cycles, row.latency_s, row.pattern) == (want.cycles, want.latency_s, pattern)
        assert row.dram_bytes == want.dram_bytes
        assert row.speedup == pytest.approx(want.speedup, rel=1e-12)


def test_gains_are_over_the_base_of_the_same_method(rows: tuple[AblationRow, ...]) -> None:
    assert len(rows) == 2 * len(VARIANTS)
    base = {row.method: row.cycles for row in rows if row.variant == BASE}
    for row in rows:
        assert row.gain == base[row.method] / row.cycles
        assert row.method != "dense" or row.speedup == 1
    gains = {row.variant: row.gain for row in rows if row.method == "bdwp"}
    assert gains[BASE] == 1
    assert gains[OS_BASE] < 0.3
    assert gains[LADDER[0]] <= gains[LADDER[1]] <= gains[LADDER[2]] <= gains[LADDER[3]] <= gains[LADDER[4]]


def test_every_method_runs_once_per_pattern_that_it_needs(sat: acs.Design) -> None:
    trace = acs.load_trace("resnet9_digits_bdwp_2of8")
    found = ablate(trace, sat, methods=("traced", "sr-ste", "dense"), patterns=("2:4", "2:8"), batch=4)
    cases = dict.fromkeys((row.method, row.pattern) for row in found)
    assert list(cases) == [("traced", None), ("sr-ste", "2:4"), ("sr-ste", "2:8"), ("dense", None)]


def test_an_array_without_both_dataflows_is_refused(sat: acs.Design) -> None:
    only = override(sat, {"array.dataflows": "[ws]", "schedule.dataflow": "ws"})
    message = r"^array\.dataflows: design 'sat_vcu1525' has no os; an ablation compares os and ws$"
    with pytest.raises(acs.InputError, match=message):
        ablate(acs.load_trace("resnet9_cifar10"), only)


def made_up(workload: str, variant: Variant, cycles: int, base: int, dense: int) -> AblationRow:
    return AblationRow(
        workload=workload, design="d", method="bdwp", pattern="2:8", batch=1, variant=variant, cycles=cycles,
        latency_s=cycles * 1e-6, dram_bytes=0.0, base_cycles=base, dense_cycles=dense,
    )  # fmt: skip


def test_summaries_take_geometric_means() -> None:
    some = [made_up("a", FULL, 100, 200, 400), made_up("b", FULL, 100, 800, 100)]
    (found,) = summarise(some, "bdwp", "2:8")
    assert (found.variant, found.gains) == (FULL, (2, 8))
    assert (found.mean_gain, found.mean_speedup) == (pytest.approx(4), pytest.approx(2))
    assert summarise(some, "bdwp", "2:4") == ()
    assert geometric_mean([1, 4, 16]) == pytest.approx(4)


def committed_rows() -> list[AblationRow]:
    """The rows of the committed CSV, with what they were divided by found again among them."""
    table = list(csv.DictReader((REPORT / "ablation.csv").read_text().splitlines()))
    cycles = {(row["workload"], row["method"], row["pattern"], row["variant"]): int(row["cycles"]) for row in table}
    by_name = {variant.name: variant for variant in VARIANTS}
    return [
        AblationRow(
            workload=row["workload"],
            design=row["design"],
            method=row["method"],
            pattern=row["pattern"] or None,
            batch=int(row["batch"]),
            variant=by_name[row["variant"]],
            cycles=int(row["cycles"]),
            latency_s=0.0,
            dram_bytes=float(row["dram_bytes"]),
            base_cycles=cycles[row["workload"], row["method"], row["pattern"], BASE.name],
            dense_cycles=cycles[row["workload"], "dense", "", row["variant"]],
        )
        for row in table
    ]


def test_the_committed_rows_are_what_the_tool_computes(tmp_path: Path) -> None:
    """A part of the grid; the whole takes a minute and a half: the first line of table.md makes it."""
    found = [
        row
        for name, pattern in (("resnet9_cifar10", "1:16"), ("resnet18_tinyimagenet", "2:8"))
        for row in ablate(acs.load_trace(name), acs.load_design("sat_vcu1525"), patterns=(pattern,))
    ]
    write_ablation(tmp_path, found, "accelsim ablate")
    lines = (tmp_path / "ablation.csv").read_text().splitlines()
    committed = (REPORT / "ablation.csv").read_text().splitlines()
    assert lines[0] == committed[0]
    assert len(lines) == 1 + 4 * len(VARIANTS)
    assert set(lines) <= set(committed)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ablation.csv", "ablation.png", "ablation.svg", "table.md",
    ]  # fmt: skip


def test_the_committed_table_follows_from_the_committed_rows() -> None:
    rows = committed_rows()
    assert len(rows) == 5 * 19 * len(VARIANTS)
    text = (REPORT / "table.md").read_text()
    command = text.splitlines()[0].removeprefix("Made by `").removesuffix("`.")
    assert command.startswith("accelsim ablate resnet9_cifar10 vgg19_cifar100 vit_cifar100 ")
    assert ablation_table(rows, command) == text


def test_frames_hold_the_gains_of_the_rungs_and_the_speedups() -> None:
    rows = committed_rows()
    ladder = ladder_frame(rows)
    assert list(dict.fromkeys(ladder["rung"])) == [
        "os", "ws", "os + interleave", "auto + interleave", "+ pregenerate", "+ overlap", "+ optimal",
    ]  # fmt: skip
    assert set(ladder["case"]) == {"bdwp 2:8"}
    of = {(row.workload, row.variant): row for row in rows if (row.method, row.pattern) == ("bdwp", "2:8")}
    last = ladder[ladder["rung"] == "+ optimal"].set_index("workload")["gain"]
    assert last.to_dict() == {name: row.gain for (name, variant), row in of.items() if variant == LADDER[-1]}
    grid = grid_frame(rows)
    assert len(grid) == 3 * 6 * 2
    (top,) = grid[(grid.method == "bdwp") & (grid.pattern == "2:8") & (grid.variant == "everything on")]["speedup"]
    assert top == geometric_mean([row.speedup for (_, variant), row in of.items() if variant == LADDER[-1]])


def test_dense_training_alone_gives_a_ladder_and_no_grid(tmp_path: Path, rows: tuple[AblationRow, ...]) -> None:
    dense = [row for row in rows if row.method == "dense"]
    assert grid_frame(dense).empty
    assert set(ladder_frame(dense)["case"]) == {"dense"}
    write_ablation(tmp_path, dense, "accelsim ablate")
    assert "## dense: step time of the base over that of the variant" in (tmp_path / "table.md").read_text()


def test_a_flag_that_does_nothing_would_be_seen(
    monkeypatch: pytest.MonkeyPatch, sat: acs.Design, rows: tuple[AblationRow, ...]
) -> None:
    """Were overlap lost on the way to the design, its gain would be one."""
    changes = Variant.changes.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Variant, "changes", property(lambda variant: changes(replace(variant, overlap=False))))
    lost = ablate(acs.load_trace("resnet9_cifar10"), sat, methods=("bdwp",), batch=16)
    gains, wanted = ({row.variant: row.gain for row in each if row.method == "bdwp"} for each in (lost, rows))
    assert gains[FULL] == gains[LADDER[2]]
    assert wanted[FULL] > wanted[LADDER[2]]
