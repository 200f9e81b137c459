"""Figures and tables from Python, as a notebook has them."""

import runpy
from pathlib import Path

import pandas as pd
import pytest
from html_checks import read_page, table_called
from matplotlib.figure import Figure

import accelsim as acs

EXAMPLES = Path(__file__).parents[2] / "workloads" / "examples"


@pytest.fixture(scope="module")
def results(sat: acs.Design) -> acs.Results:
    return acs.compare(
        acs.load_trace("resnet9_cifar10"), sat, methods=("dense", "bdwp"), patterns=("2:4", "2:8"), batch=16
    )


@pytest.fixture(scope="module")
def training(sat: acs.Design) -> acs.TrainingResult:
    return acs.simulate_training(acs.load_trace("resnet9_cifar10"), sat, method="stepwise-decay", batch=16, steps=1000)


def test_compare_is_simulate_case_by_case(results: acs.Results, sat: acs.Design) -> None:
    trace = acs.load_trace("resnet9_cifar10")
    assert [result.case for result in results] == ["dense", "bdwp 2:4", "bdwp 2:8"]
    assert results[2] == acs.simulate(trace, sat, method="bdwp", pattern="2:8", batch=16)
    assert results[0] == acs.simulate(trace, sat, method="dense", batch=16)
    frame = results.to_frame()
    assert frame["latency_s"].tolist() == [result.step.latency_s for result in results]


@pytest.mark.parametrize("kind", ["speedup", "stages", "energy", "layer-speedup"])
def test_results_are_drawn_as_figures(results: acs.Results, kind: str) -> None:
    figure = acs.plot(results, kind, width="single")
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() == 3.5


def test_the_kind_follows_from_the_data(results, training, tmp_path: Path) -> None:
    assert acs.plot(results).axes[0].get_xlabel() == "speedup over dense (x)"
    assert acs.plot(results[1]).axes[0].get_xlabel() == "step time relative to dense"
    assert acs.plot(training).axes[0].get_xlabel() == "time of the run relative to dense"
    frame = pd.DataFrame({"measured": [1.0, 2.0], "predicted": [1.1, 1.9]})
    assert acs.plot(frame, title="mine").axes[0].get_ylabel() == "predicted"
    frame.to_csv(tmp_path / "p.csv", index=False)
    assert acs.plot(tmp_path / "p.csv").axes[0].get_ylabel() == "predicted"
    one = acs.plot(results, "utilisation", where={"pattern": "2:8"})
    assert one.get_suptitle().endswith("bdwp 2:8, batch 16")


def test_what_cannot_be_drawn_is_said(results) -> None:
    for data, kind, message in (
        ([], None, "no results to draw"),
        (pd.DataFrame({"a": [1]}), None, "frame: say which kind of figure to draw"),
        (results, "speedups", "no such figure 'speedups'; did you mean 'speedup'?; allowed: "),
        (
            results,
            "utilisation",
            "utilisation: shows one result, got 3; choose with --where, as in --where method=bdwp",
        ),
        (
            [results[0], pd.DataFrame({"a": [1]})],
            "speedup",
            "results: holds results, frame a table; one figure shows one of them",
        ),
    ):
        with pytest.raises(acs.InputError) as error:
            acs.plot(data, kind)
        assert str(error.value).startswith(message)


def test_results_show_as_tables_in_a_notebook(results: acs.Results, training: acs.TrainingResult) -> None:
    result = results[2]
    page = read_page(result._repr_html_())
    _, *rows = table_called(page, "resnet9_cifar10 on sat_vcu1525: bdwp 2:8, batch 16")
    shown = {row[0].text: float(row[1].attributes["data-v"]) for row in rows}
    assert (shown["step time"], shown["energy"]) == (result.step.latency_s, result.step.energy_j)
    assert [row[0].text for row in table_called(page, "by stage")[1:]] == list(result.stages)
    _, *rows = table_called(read_page(results._repr_html_()), "one step")
    assert [row[2].text for row in rows] == ["dense", "bdwp 2:4", "bdwp 2:8"]
    assert [float(row[-1].attributes["data-v"]) for row in rows] == [item.step.speedup for item in results]
    _, *rows = table_called(read_page(training._repr_html_()), "resnet9_cifar10 on sat_vcu1525: stepwise-decay")
    assert [row[0].text for row in rows] == [phase.name for phase in training.phases]
    assert read_page(acs.Results()._repr_html_()).all("td") == []


def test_names_are_escaped_in_a_notebook(make_trace, sat: acs.Design) -> None:
    linear = {"name": "fc", "kind": "linear", "in_features": 8, "out_features": 8, "rows": 1}
    trace = make_trace(linear).model_copy(update={"model": "<img src=x onerror=alert(1)>"})
    results = acs.compare(trace, sat, batch=8)
    for shown in (results, results[0]):
        assert "&lt;img src=x onerror=alert(1)&gt;" in shown._repr_html_()
        assert "<img" not in shown._repr_html_()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path))
    assert "x over dense" in capsys.readouterr().out
    assert {item.name for item in tmp_path.iterdir()} == {"my_report", "speedup.png", "utilisation.pdf"}


def test_traces_and_designs_show_as_tables_in_a_notebook() -> None:
    trace, design = acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525", {"array.rows": 16})
    _, *rows = table_called(read_page(trace._repr_html_()), f"resnet9_cifar10: {trace.size}")
    assert {row[0].text for row in rows} == {operation.kind for operation in trace.operations}
    assert sum(int(row[1].attributes["data-v"]) for row in rows) == len(trace.operations)
    assert sum(int(row[2].attributes["data-v"]) for row in rows) == trace.macs
    _, *rows = table_called(read_page(design._repr_html_()), f"{design.label}: {design.description}")
    values = {row[0].text: [cell.text for cell in row[1:]] for row in rows}
    assert values["array.rows"][0] == "16"
    assert values["dram.bandwidth_gb_per_s"][2] in {"datasheet", "assumption", "derived", "quoted", "recalled"}
