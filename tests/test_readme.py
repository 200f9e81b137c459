"""The README is true: its commands run, its Python runs, its table is what the tool computes."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

import accelsim as acs
from accelsim.cli import main
from accelsim.hardware.platform import load_platform, platform_names
from accelsim.platforms.accuracy import check_platforms
from accelsim.platforms.estimate import estimate
from accelsim.studies.reports.workloads import (
    WORKLOADS,
    compare_paper_workloads,
    speedup_table,
    stage_frame,
    workloads_report,
)

ROOT = Path(acs.__file__).parents[1]
README = ROOT / "README.md"
WORKLOADS_REPORT = ROOT / "reports" / "paper_workloads"
pytestmark = pytest.mark.skipif(not README.exists(), reason="an installed wheel has no README beside it")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL) if README.exists() else []


def commands(block: str) -> list[str]:
    """The accelsim commands of a block; later ones may read what earlier ones wrote."""
    return [line[line.index("accelsim ") :] for line in block.splitlines() if re.search(r"(^|/bin/)accelsim ", line)]


@pytest.mark.parametrize("block", [block for block in blocks("sh") if commands(block)], ids=lambda block: block[:30])
def test_commands_run(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if " trace " in block:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    for command in commands(block):
        words = shlex.split(command)[1:]
        given = [str(ROOT / word) if word.startswith("workloads/") else word for word in words]
        assert main(given) == 0, command
        assert capsys.readouterr().out, command
        assert "-o" not in words or (tmp_path / words[words.index("-o") + 1]).exists(), command


def test_both_commands_of_the_introduction_set_up_everything() -> None:
    first, second = (block.strip() for block in blocks("sh")[:2])
    assert first.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert second.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert "accelsim simulate" in first
    assert second.endswith("-m pytest -q -n auto")


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.strip().splitlines()[-1])
def test_python_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "import torch" in block:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102  our own text
    assert "x " in capsys.readouterr().out


def words() -> str:
    """The text, line breaks as spaces."""
    return " ".join(README.read_text().split())


def test_table_and_report_are_what_the_tool_computes() -> None:
    results = compare_paper_workloads()
    assert speedup_table(results) in README.read_text()
    assert (WORKLOADS_REPORT / "report.md").read_text() == workloads_report(results)
    want = stage_frame(results).to_csv(index=False, float_format="%.9g", lineterminator="\n")
    assert (WORKLOADS_REPORT / "stages.csv").read_text() == want
    average = sum(results[name, "bdwp"].step.speedup for name in WORKLOADS) / len(WORKLOADS)
    assert f"{100 * (average / 1.75 - 1):.0f} % higher" in words()


def test_every_cell_of_the_table_is_in_the_layers_of_its_report() -> None:
    """README to report, report to layers: two hops."""
    layers = pd.read_csv(WORKLOADS_REPORT / "layers.csv")
    clock_hz = acs.load_design("sat_vcu1525").clock_hz
    cycles = layers.groupby(["workload", "method"])["cycles"].sum()
    rows = []
    for name in WORKLOADS:
        dense = cycles[name, "dense"]
        gains = [dense / cycles[name, method] for method in ("sr-ste", "sdgp", "bdwp")]
        rows.append(gains)
        cells = [name, f"{1e3 * dense / clock_hz:,.0f} ms", *(f"{gain:.2f}x" for gain in gains)]
        assert f"| {' | '.join(cells)} |\n" in README.read_text()
    means = [sum(column) / len(WORKLOADS) for column in zip(*rows, strict=True)]
    assert f"| **average** | | {' | '.join(f'**{mean:.2f}x**' for mean in means)} |\n" in README.read_text()
    in_wu = layers[layers["stage"] == "WU"].groupby(["workload", "method"])["cycles"].sum() / cycles
    shares = [in_wu[name, "bdwp"] for name in WORKLOADS]
    assert f"WU stays dense and becomes {100 * min(shares):.0f} to {100 * max(shares):.0f} % of the step" in words()


def test_what_is_said_of_the_machine_and_its_assumptions() -> None:
    array, clock_hz = acs.load_design("sat_vcu1525").array, acs.load_design("sat_vcu1525").clock_hz
    machine = f"{array.rows} x {array.cols} x {array.macs_per_pe} MACs at {clock_hz / 1e6:.0f} MHz"
    assert f"One step of 512 samples on `sat_vcu1525` ({machine})" in words()
    moved = pd.read_csv(ROOT / "reports" / "paper" / "sensitivity.csv")
    moved = moved[moved["assumption"] != "workloads"]
    least, most = (moved.loc[place] for place in (moved["speedup_closed"].idxmin(), moved["speedup_closed"].idxmax()))
    assert (least["assumption"], least["value"]) == ("dram.bandwidth_gb_per_s", "19.2")
    assert (most["assumption"], most["value"]) == ("array size", "16 x 16")
    low, high = least["speedup_closed"], most["speedup_closed"]
    assert f"between {low:.2f}x (DRAM at 19.2 GB/s) and {high:.2f}x (a quarter of the PEs)" in words()
    together = pd.read_csv(ROOT / "reports" / "paper" / "joint.csv")["average_speedup"].dropna()
    low, high = together.quantile([0.05, 0.95])
    assert f"between {low:.2f}x and {high:.2f}x (5th to 95th percentile), drawn together" in words()


def test_what_does_not_fit_is_what_the_report_says() -> None:
    claims = [line.split("|") for line in (ROOT / "reports" / "paper" / "report.md").read_text().splitlines()]
    inside = {cells[1].strip(): cells[5].strip() for cells in claims if len(cells) == 7 and "ratios inside" in cells[5]}
    throughput, energy = (inside[f"{name} over earlier accelerators"] for name in ("throughput", "energy efficiency"))
    assert (
        f"{throughput.removesuffix(' ratios inside')} in throughput and {energy.removesuffix(' ratios inside')} in energy"
        " efficiency lie inside"
    ) in words()


def test_how_much_faster_a_gpu_is() -> None:
    card, design = load_platform("rtx2080ti"), acs.load_design("sat_vcu1525")
    said = {"amp": "times faster in mixed precision on tensor cores", "fp32": "times faster in FP32"}
    for precision, place in said.items():
        factors = []
        for name in WORKLOADS:
            trace = acs.load_trace(name)
            step = acs.simulate(trace, design, method="bdwp", pattern="2:8").step
            gpu = estimate(trace, card, method="dense", pattern=None, batch=512, precision=precision, accumulate=True)
            factors.append(step.latency_s / gpu.latency_s)
        assert f" {min(factors):.1f} to {max(factors):.1f} {place}" in words()


def test_everything_that_is_named_exists() -> None:
    text = README.read_text()
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    named = {word for word in re.findall(r"`([^`\s]+)`", outside) if "/" in word or word.endswith(".md")}
    linked = {word for word in re.findall(r"\]\(([^)]+)\)", outside) if "://" not in word}
    assert len(named) >= 30
    assert [path for path in sorted(named | linked) if not (ROOT / path).exists()] == []


def test_errors_of_platform_estimates_are_those_of_the_held_out_rows() -> None:
    throughput, gain = (check_platforms(name).overall for name in ("throughput", "sparse-gemm"))
    assert throughput is not None
    assert gain is not None
    text = words()
    assert (
        f"the median error is {throughput.median * 100:.0f} % and the 90th percentile {throughput.p90 * 100:.0f} %"
        in text
    )
    assert f"on the gain of 2:4 products {gain.median * 100:.0f} % and {gain.p90 * 100:.0f} %." in text
    signs = check_platforms("sparse-gemm").signs
    assert signs is not None
    assert f"Whether 2:4 gains or loses is right in {signs.right} of {signs.rows} rows" in text
    assert f"rows, and in {signs.losses_seen} of the {signs.losses} where it loses." in text
    machines = sum(load_platform(name).compute is not None for name in platform_names())
    assert f"on {machines} GPUs, edge modules and CPUs" in text
