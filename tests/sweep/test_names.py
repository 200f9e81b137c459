"""Rows of a sweep call workloads and designs as results of simulate do."""

import csv
import shutil
from pathlib import Path

import accelsim as acs
from accelsim.base.files import packaged_path
from accelsim.hardware.design import design_names
from accelsim.sweep.run import run_sweep
from accelsim.sweep.spec import make_sweep

TRACE = "resnet9_cifar10"


def called(workloads: list[str], design: str, path: Path) -> list[tuple[str, str]]:
    run_sweep(make_sweep(workloads, design, vary={"batch": 32}), path)
    run_sweep(make_sweep(workloads, design, vary={"batch": 32}), path)  # the rows are those of the sweep
    return [(row["workload"], row["design"]) for row in csv.DictReader(path.read_text().splitlines())]


def test_files_are_called_by_what_is_in_them(tmp_path: Path) -> None:
    assert "sat_vcu1525" in design_names()
    trace, design = tmp_path / "own.json", tmp_path / "mine.yaml"
    shutil.copy(packaged_path("workloads") / f"{TRACE}.json", trace)
    text = (packaged_path("hw_configs") / "sat_vcu1525.yaml").read_text()
    design.write_text(text.replace("name: sat_vcu1525", "name: my_sat", 1))
    result = acs.simulate(acs.load_trace(trace), acs.load_design(design), batch=32)
    assert called([str(trace)], str(design), tmp_path / "r.csv") == [(result.workload, result.design)]
    assert (result.workload, result.design) == (TRACE, "my_sat")


def test_traces_of_one_model_are_told_apart_by_file(tmp_path: Path) -> None:
    traces = [tmp_path / "p0.json", tmp_path / "p1.json"]
    for trace in traces:
        shutil.copy(packaged_path("workloads") / f"{TRACE}.json", trace)
    found = called([TRACE, *map(str, traces)], "sat_vcu1525", tmp_path / "r.csv")
    assert [workload for workload, _ in found] == [TRACE, *(f"{TRACE} ({trace})" for trace in traces)]
