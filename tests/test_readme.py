"""The README is true: its commands run, its Python runs, its table is what the tool computes."""

import re
import shlex
from pathlib import Path

import pytest

import accelsim
from accelsim.cli import main
from accelsim.hardware.platform import load_platform, platform_names
from accelsim.platforms.accuracy import check_platforms
from accelsim.studies.reports.workloads import WORKLOADS, compare_paper_workloads, speedup_table, stage_frame

ROOT = Path(accelsim.__file__).parents[1]
README = ROOT / "README.md"
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


def test_table_and_report_are_what_the_tool_computes() -> None:
    results = compare_paper_workloads()
    table = speedup_table(results)
    assert table in README.read_text()
    folder = ROOT / "reports" / "paper_workloads"
    assert (folder / "table.md").read_text() == table
    want = stage_frame(results).to_csv(index=False, float_format="%.9g", lineterminator="\n")
    assert (folder / "stages.csv").read_text() == want
    average = sum(results[name, "bdwp"].step.speedup for name in WORKLOADS) / len(WORKLOADS)
    assert f"{100 * (average / 1.75 - 1):.0f} % higher" in README.read_text()
    for path in re.findall(r"`(accelsim/[^`*]+\.py|hw_configs/[^`*]+\.yaml)`", README.read_text()):
        assert (ROOT / path).exists(), path


def test_errors_of_platform_estimates_are_those_of_the_held_out_rows() -> None:
    throughput, gain = (check_platforms(name).overall for name in ("throughput", "sparse-gemm"))
    assert throughput is not None
    assert gain is not None
    text = " ".join(README.read_text().split())
    assert (
        f"{throughput.median * 100:.0f} % on training throughput, {gain.median * 100:.0f} % on the gain of 2:4" in text
    )
    machines = sum(load_platform(name).compute is not None for name in platform_names())
    assert f"on {machines} GPUs, edge modules and CPUs" in text
