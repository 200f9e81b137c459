"""The paper's claims: numbers are those of simulations and of the data, excluded rows are named, the report is true."""

import copy
import csv
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest
import yaml

import accelsim as acs
from accelsim.base.files import packaged_path
from accelsim.hardware.sourced import override
from accelsim.studies import paper as paper_module
from accelsim.studies.joint import Joint
from accelsim.studies.paper import WORKLOADS, Paper, Setting, accelerators, compare_with_paper, run_setting
from accelsim.studies.region import Region, find_region
from accelsim.studies.reports.paper import paper_frames, paper_text, speedup_frame, tornado_frame, write_paper
from accelsim.studies.sensitivity import (
    UNVARIED,
    Average,
    Sensitivity,
    assumptions,
    average,
    bandwidth_for,
    sensitivities,
)

REPORT = Path(__file__).parents[2] / "reports" / "paper"
NEEDED = {"closed": 46.8, "event": 26.3}


@pytest.fixture(scope="module")
def paper() -> Paper:
    return compare_with_paper()


@pytest.fixture(scope="module")
def region() -> Region:
    return find_region()


def committed_joint() -> Joint:
    draws = pd.read_csv(REPORT / "joint.csv")
    counts = draws["status"].value_counts()
    return Joint(
        speedups=tuple(draws["average_speedup"].dropna()),
        unfit=int(counts["does not fit"]),
        infeasible=int(counts.get("infeasible", 0)),
    )


def data(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((resources.files("accelsim") / "data" / name).read_text().splitlines()))


@pytest.mark.parametrize("engine", ["closed", "event"])
def test_speedups_are_those_of_the_shipped_design(paper: Paper, engine: str) -> None:
    steps = {
        name: acs.simulate(acs.load_trace(name), acs.load_design("sat_vcu1525"), engine=engine).step
        for name in WORKLOADS
    }
    found = {item.workload: item for item in paper.workloads if item.engine == engine}
    assert list(found) == list(WORKLOADS)
    for name, step in steps.items():
        assert (found[name].speedup, found[name].latency_s) == (step.speedup, step.latency_s)
        assert (found[name].effective_gops, found[name].gops_per_w) == (step.effective_gops, step.gops_per_w)
        assert found[name].dense_latency_s == pytest.approx(step.latency_s * step.speedup)
    assert paper.average_speedup(engine) == sum(step.speedup for step in steps.values()) / 5
    claim = paper.claims[0]
    assert getattr(claim, engine) == (paper.average_speedup(engine),) * 2


def test_published_numbers_are_those_of_the_abstract(paper: Paper) -> None:
    (sat,) = [row["headline"] for row in data("fpga_training_accelerators.csv") if row["name"].startswith("SAT ")]
    assert [claim.published for claim in paper.claims] == [(1.75, 1.75), (2.97, 25.22), (1.36, 3.58)]
    assert sat.startswith("1.75x avg speedup vs own dense at 2:8")
    assert sat.endswith("2.97~25.22x throughput and 1.36~3.58x energy efficiency over prior FPGA works")


def test_only_numbers_that_a_paper_states_are_compared(paper: Paper) -> None:
    assert [(ratio.quantity, ratio.accelerator, ratio.published) for ratio in paper.ratios] == [
        ("throughput", "F-CNN", 62.06),
        ("throughput", "Automatic compiler (FPL'19)", 479),
        ("throughput", "ETA", 610.98),
        ("throughput", "ETA (CIFAR-ResNet20)", 658.64),
        ("throughput", "ETA (ResNet18)", 811.24),
        ("throughput", "EF-Train", 46.99),
        ("energy efficiency", "EF-Train", 6.09),
        ("throughput", "BFLOAT MLP training", 5000),
    ]
    left_out = {
        other.name: (other.no_throughput, other.no_efficiency) for other in accelerators() if other.no_throughput
    }
    assert left_out == {
        "HBM low-batch (ICCAD'20)": ("no number found", "no number found"),
        "DarkFPGA": ("recalled, not read", "power recalled, not read"),
        "FeCaffe": ("no number found", "no number found"),
        "Precision-scalable RISC-V DNN processor": ("no number found", "no number found"),
        "BrainWave NPU (INFERENCE reference)": ("inference, not training", "inference, not training"),
        "FPDeep": ("nothing of it was read in a paper", "nothing of it was read in a paper"),
    }
    with_reason = {other.name for other in accelerators() if other.no_efficiency}
    assert with_reason == {row["name"] for row in data("fpga_training_accelerators.csv")[1:]} - {"EF-Train"}


def test_a_recalled_number_is_left_out_whatever_its_row_says(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {**data("fpga_training_accelerators.csv")[1], "throughput_GOPS": "62.06 (recalled)", "GOPS_per_W": "2.5"}
    monkeypatch.setattr(paper_module, "_rows", lambda _: [row])
    (found,) = accelerators()
    assert (found.throughput_gops, found.no_throughput) == (None, "recalled, not read")
    assert (found.gops_per_w, found.no_efficiency) == (2.5, "")


def test_ratios_are_the_mean_of_the_workloads_over_the_number(paper: Paper) -> None:
    gops = {
        engine: [item.effective_gops for item in paper.workloads if item.engine == engine]
        for engine in ("closed", "event")
    }
    for ratio in paper.ratios:
        if ratio.quantity == "throughput":
            assert ratio.closed == pytest.approx(sum(gops["closed"]) / 5 / ratio.published)
            assert ratio.event == pytest.approx(sum(gops["event"]) / 5 / ratio.published)
            assert ratio.low == pytest.approx(min(gops["closed"]) / ratio.published)
            assert ratio.high == pytest.approx(max(gops["closed"]) / ratio.published)
    (energy,) = [ratio for ratio in paper.ratios if ratio.quantity == "energy efficiency"]
    closed = [item for item in paper.workloads if item.engine == "closed"]
    assert energy.closed == pytest.approx(sum(item.gops_per_w for item in closed) / 5 / 6.09)
    assert energy.low < energy.closed < energy.high
    throughput = [ratio.closed for ratio in paper.ratios if ratio.quantity == "throughput"]
    assert paper.claims[1].closed == (min(throughput), max(throughput))
    assert paper.claims[2].closed == (energy.closed, energy.closed)


def test_the_range_of_efficiency_is_that_of_the_energy_table(paper: Paper, sat: acs.Design, tmp_path: Path) -> None:
    """A table with every entry at one end of its range, simulated."""
    shipped = yaml.safe_load((packaged_path("hw_configs") / "energy" / "fpga_vu9p.yaml").read_text())
    (item,) = [item for item in paper.workloads if (item.workload, item.engine) == ("vit_cifar100", "closed")]
    for end, want in (("low", item.gops_per_w_high), ("high", item.gops_per_w_low)):
        table = copy.deepcopy(shipped)
        for entry in (*table.values(), *table["fabric"].values()):
            if isinstance(entry, dict) and end in entry:
                entry["value"] = entry[end]
        (tmp_path / f"{end}.yaml").write_text(yaml.safe_dump(table))
        design = override(sat, {"energy": str(tmp_path / f"{end}.yaml")})
        step = acs.simulate(acs.load_trace("vit_cifar100"), design).step
        assert step.gops_per_w == pytest.approx(want, rel=1e-12)


def test_every_assumption_of_the_design_is_varied_or_said_not_to_be(sat: acs.Design) -> None:
    found = assumptions(sat)
    varied = {path for assumption in found for path in assumption.paths}
    assumed = {item.path for item in sat.provenance if item.confidence in {"assumption", "derived", "recalled"}}
    assert assumed - varied == set(UNVARIED)
    assert varied <= assumed
    assert len({assumption.name for assumption in found}) == len(found)
    for assumption in found:
        assert assumption.reason
        for value in assumption.settings:
            changed = override(sat, dict(value.changes))
            assert (value.changes == ()) == (assumption.paths == ())
            assert not value.changes or changed != sat


def test_ranges_of_the_design_are_taken_from_it(sat: acs.Design) -> None:
    by_name = {assumption.name: assumption for assumption in assumptions(sat)}
    assert [value.changes for value in by_name["clock_hz"].settings] == [
        (("clock_hz", "150000000"),), (("clock_hz", "300000000"),),
    ]  # fmt: skip
    assert [value.changes for value in by_name["dram.efficiency"].settings] == [
        (("dram.efficiency", "0.75"),), (("dram.efficiency", "0.925"),),
    ]  # fmt: skip
    assert by_name["array.macs_per_pe, ports with it"].settings[1].changes == (
        ("array.macs_per_pe", "4"),
        ("array.row_port_elements_per_cycle", "16"),
        ("array.col_port_elements_per_cycle", "4"),
    )


def test_settings_change_batch_optimizer_and_workloads(sat: acs.Design) -> None:
    setting = Setting(label="x", changes=(("dram.bandwidth_gb_per_s", "19.2"),), batch=8, optimizer="adam",
                      workloads=("resnet9_cifar10",))  # fmt: skip
    (found,) = run_setting(sat, setting, "event")
    design = override(sat, {"dram.bandwidth_gb_per_s": "19.2"})
    want = acs.simulate(acs.load_trace("resnet9_cifar10"), design, batch=8, optimizer="adam", engine="event")
    assert found == want
    assert average(sat, setting, "event") == Average(speedup=want.step.speedup, gops=want.step.effective_gops)


def test_the_bandwidth_of_the_published_speedup_is_found(sat: acs.Design) -> None:
    assert bandwidth_for(1.75, "closed") == NEEDED["closed"]
    for tenths, enough in ((468, True), (467, False)):
        setting = Setting(label="", changes=(("dram.bandwidth_gb_per_s", str(tenths / 10)),))
        assert (average(sat, setting, "closed").speedup >= 1.75) is enough
    assert bandwidth_for(1.0, "closed") is None
    assert bandwidth_for(3.0, "closed") is None


def committed_sensitivity() -> tuple[Sensitivity, ...]:
    table = csv.DictReader((REPORT / "sensitivity.csv").read_text().splitlines())
    return tuple(
        Sensitivity(
            assumption=row["assumption"],
            value=row["value"],
            reason=row["reason"],
            closed=Average(speedup=float(row["speedup_closed"]), gops=float(row["gops_closed"])),
            event=Average(speedup=float(row["speedup_event"]), gops=float(row["gops_event"])),
        )
        for row in table
    )


def as_csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, float_format="%.9g", lineterminator="\n")


def test_the_committed_speedups_and_ratios_are_what_the_tool_computes(paper: Paper) -> None:
    frames = paper_frames(paper, committed_sensitivity())
    assert as_csv(frames["speedups"]) == (REPORT / "speedups.csv").read_text()
    assert as_csv(frames["ratios"]) == (REPORT / "ratios.csv").read_text()


def test_the_committed_sensitivity_is_what_the_tool_computes(paper: Paper, sat: acs.Design) -> None:
    """Three assumptions of those that matter; all take half a minute."""
    names = ("array size", "dram.bandwidth_gb_per_s", "batch")
    found = sensitivities([assumption for assumption in assumptions(sat) if assumption.name in names])
    lines = as_csv(paper_frames(paper, found)["sensitivity"]).splitlines()
    committed = (REPORT / "sensitivity.csv").read_text().splitlines()
    assert len(lines) == 8
    assert lines[0] == committed[0]
    assert set(lines) <= set(committed)
    assert [item.assumption for item in committed_sensitivity()] == [
        assumption.name for assumption in assumptions(sat) for _ in assumption.settings
    ]


def test_the_committed_text_follows_from_the_numbers(paper: Paper, region: Region) -> None:
    text = (REPORT / "report.md").read_text()
    assert paper_text(paper, committed_sensitivity(), NEEDED, region, committed_joint()) == text
    assert "| average speedup | 1.75x | 1.80x | 1.86x | 3.0% higher |" in text
    assert (
        "| throughput over earlier accelerators | 2.97 - 25.22x | 0.27 - 28.80x | 0.29 - 30.75x | 1 of 7 ratios inside |"
        in text
    )
    assert "- energy, power recalled, not read: DarkFPGA\n" in text
    assert all(
        (REPORT / f"{name}{suffix}").exists()
        for name in ("speedups", "sensitivity", "region")
        for suffix in (".png", ".svg")
    )


def test_a_target_out_of_reach_is_said_so(paper: Paper, region: Region) -> None:
    text = paper_text(paper, committed_sensitivity(), {"closed": None, "event": 21.1}, region, committed_joint())
    assert "DRAM at no bandwidth of one to four channels would give 1.75x in the closed form, at 21.1 GB/s" in text


def test_frames_of_the_figures(paper: Paper) -> None:
    speedups = speedup_frame(paper)
    assert list(dict.fromkeys(speedups["workload"])) == [*WORKLOADS, "average"]
    assert speedups["speedup"].iloc[-2] == paper.average_speedup("closed")
    base = paper.average_speedup("closed")

    def item(assumption: str, value: str, move: float) -> Sensitivity:
        closed = Average(speedup=base + move, gops=1)
        return Sensitivity(
            assumption=assumption, value=value, reason="", closed=closed, event=Average(speedup=9, gops=9)
        )

    moved = (item("small", "a", 0.001), item("narrow", "a", -0.01), item("narrow", "b", 0.0001), item("wide", "a", 0.1),
             item("wide", "b", -0.2), item("wide", "c", 0.05))  # fmt: skip
    frame = tornado_frame(paper, moved)
    assert frame.to_dict("records") == [
        {"assumption": "wide", "low": base - 0.2, "low_value": "b", "high": base + 0.1, "high_value": "a"},
        {"assumption": "narrow", "low": base - 0.01, "low_value": "a", "high": base, "high_value": ""},
    ]


def test_the_report_is_written_with_its_figures(
    paper: Paper, region: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelsim.studies.reports.paper.find_region", lambda _: region)
    monkeypatch.setattr("accelsim.studies.reports.paper.draw_together", lambda **_: committed_joint())
    monkeypatch.setattr("accelsim.studies.reports.paper.sensitivities", lambda **_: committed_sensitivity())
    monkeypatch.setattr("accelsim.studies.reports.paper.bandwidth_for", lambda _, engine: NEEDED[engine])
    assert write_paper(tmp_path / "new") == (paper, region)
    names = ["joint.csv", "ratios.csv", "region.csv", "region.png", "region.svg", "report.md", "sensitivity.csv",
             "sensitivity.png", "sensitivity.svg", "speedups.csv", "speedups.png", "speedups.svg"]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    for name in (name for name in names if name.endswith((".csv", ".md"))):
        assert (tmp_path / "new" / name).read_text() == (REPORT / name).read_text()
