"""No command writes over what it reads, by whatever name."""

import os
import shutil
from pathlib import Path

import pytest

from accelsim.base.files import packaged_path
from accelsim.cli import main

TRACE = packaged_path("workloads") / "resnet9_cifar10.json"
STEP = ["--batch", "8"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trace with other names, a sweep, a design and a plan."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(TRACE, "t.json")
    Path("link.json").symlink_to("t.json")
    os.link("t.json", "twin.json")
    for command in (
        ["sweep", "t.json", "--vary", "array.rows=16,32", *STEP, "-o", "s.csv"],
        ["simulate", "t.json", *STEP, "--set", "array.rows=16", "--save-design", "d.yaml", "-o", "r.json"],
        ["schedule", "t.json", *STEP, "-o", "p.json"],
    ):
        assert main(command) == 0
    return tmp_path


@pytest.mark.parametrize(
    ("command", "lost"),
    [
        (["simulate", "t.json", *STEP, "-o", "t.json"], "t.json"),
        (["simulate", "t.json", *STEP, "-o", "link.json"], "link.json"),
        (["simulate", "t.json", *STEP, "-o", "twin.json"], "twin.json"),
        (["simulate", "t.json", *STEP, "--engine", "event", "--timeline", "t.json"], "t.json"),
        (["simulate", "t.json", *STEP, "--hw", "d.yaml", "--save-design", "d.yaml"], "d.yaml"),
        (["compare", "t.json", *STEP, "-o", "t.json"], "t.json"),
        (["schedule", "t.json", *STEP, "--plan", "p.json", "-o", "p.json"], "p.json"),
        (["pareto", "s.csv", "-x", "latency_s", "-y", "energy_j", "-o", "s.csv"], "s.csv"),
        (["results", "s.csv", "-o", "s.csv"], "s.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_an_input_is_no_output(folder: Path, capsys: pytest.CaptureFixture[str], command: list[str], lost: str) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.endswith(f"error: {lost}: is an input of this command and would be lost; give another output\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_another_run_may_write_what_the_first_one_read(folder: Path) -> None:
    assert main(["simulate", "t.json", *STEP, "-o", "r.json"]) == 0
    assert main(["simulate", str(TRACE), *STEP, "-o", "t.json"]) == 0
