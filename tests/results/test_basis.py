"""What a result rests on: it stands in every file, and a file in which it does not fit the numbers is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.hardware.design import differences
from accelsim.lowering.case import case_of
from accelsim.results.result_file import comparison, load_results, read_results, write_results
from accelsim.results.training import read_training
from accelsim.schedule.plan_file import save_plan
from accelsim.simulation import plan_step

SLOW = {"dram.bandwidth_gb_per_s": 9.6}


@pytest.fixture(scope="module")
def trace() -> acs.Trace:
    return acs.load_trace("resnet9_cifar10")


@pytest.fixture(scope="module")
def slow() -> acs.Design:
    return acs.load_design("sat_vcu1525", SLOW)


@pytest.fixture(scope="module")
def result(trace: acs.Trace, slow: acs.Design) -> acs.Result:
    return acs.simulate(trace, slow, batch=8, pattern="2:4")


@pytest.fixture
def data(result: acs.Result) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(result.to_dict()))
    return plain


def test_a_result_says_on_what_it_rests(data: dict[str, Any], slow: acs.Design) -> None:
    assert data["format"] == "accelsim-result/2"
    design = data["design"]
    assert (design["name"], design["overrides"]) == (
        "sat_vcu1525", {"dram.bandwidth_gb_per_s": {"base": 76.8, "value": 9.6}}
    )  # fmt: skip
    assert design["values"]["dram.bandwidth_gb_per_s"] == {
        "value": 9.6, "source": "with_ dram.bandwidth_gb_per_s=9.6 (was 76.8)", "confidence": "assumption",
    }  # fmt: skip
    assert design["values"]["schedule.dataflow"] == {"value": "auto"}
    assert data["energy_table"]["name"] == slow.energy
    assert data["energy_table"]["values"]["fabric.pj_per_dsp"]["source"]
    assert data["options"] == {
        "method": "bdwp", "pattern": "2:4", "batch": 8, "accumulate": 1, "engine": "closed", "mode": "train", "optimizer": "sgd", "dense": [],
        "sparse": [], "link_gb_per_s": None,
    }  # fmt: skip


def test_every_kind_of_file_gives_the_design_back(
    trace: acs.Trace, slow: acs.Design, result: acs.Result, tmp_path: Path
) -> None:
    write_results(tmp_path / "r.json", [result, result.dense])
    group = acs.compare(trace, [slow, acs.load_design("sat_vcu1525")], batch=8)
    run = acs.simulate_training(trace, slow, batch=8, steps=3)
    again = read_training(json.loads(json.dumps(run.to_dict())), "t.json")
    compared = read_results(json.loads(json.dumps(comparison([group]))), "c.json")
    for found in (*load_results(tmp_path / "r.json"), *compared[:2], again.dense, again.phases[0].result):
        assert found.basis.design == slow
        assert found.design == "sat_vcu1525 + DRAM 9.6 GB/s"
        assert found.basis.energy_table.name == slow.energy
    assert compared[2].design == "sat_vcu1525"


CHANGED = "identity: is not that of the workload, design, energy_table, options, trace, plan and version here, one of which was changed after the step was simulated; simulate it again"
FOLLOWS = "from the layers, the energy and the design follows"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(workload="other"), CHANGED),
        (lambda d: d.update(version="0.1"), CHANGED),
        (lambda d: d.update(identity="0" * 64), CHANGED),
        (lambda d: d.update(trace_sha256="0" * 64), CHANGED),
        (lambda d: d.update(plan_sha256="0" * 64), CHANGED),
        (lambda d: d["options"].update(batch=16), CHANGED),
        (lambda d: d["options"].update(dense=["fc"]), CHANGED),
        (lambda d: d["design"]["values"]["array.rows"].update(value=64), CHANGED),
        (lambda d: d["design"]["overrides"].clear(), CHANGED),
        (lambda d: d["energy_table"]["values"]["fabric.pj_per_dsp"].update(value=0.5), CHANGED),
        (lambda d: d["design"]["values"].pop("array.rows"), "design.values.array.rows: missing"),
        (lambda d: d["design"]["values"].update({"array.row": {"value": 1}}),
         "design.values.array.row: no such field; did you mean 'array.rows'?"),
        (lambda d: d["design"]["values"]["array.rows"].update(value=0),
         "design.values: array.rows: got 0; should be greater than or equal to 1"),
        (lambda d: d["design"]["values"]["dram.bandwidth_gb_per_s"].update(value=76.8),
         "design.overrides.dram.bandwidth_gb_per_s.value: got 9.6; the value is 76.8"),
        (lambda d: d["options"].update(optimizer="adan"),
         "options: optimizer 'adan' is not known; did you mean 'adam'?; allowed: sgd, adam"),
        (lambda d: d["step"].update(energy_j=1.0), f"step.energy_j: got 1.0; {FOLLOWS}"),
        (lambda d: d["step"].update(samples_per_s=1.0), f"step.samples_per_s: got 1.0; {FOLLOWS}"),
        (lambda d: d["stages"]["BP"].update(cycles=1), f"stages.BP.cycles: got 1; {FOLLOWS}"),
        (lambda d: d["layers"][0].update(latency_s=1.0), "layers[0].latency_s: got 1.0; from its cycles and the clock follows"),
        (lambda d: d["layers"][0].update(macs_executed=1), f"step.macs_executed: got {{macs}}; {FOLLOWS}"),
    ],
)  # fmt: skip
def test_a_result_whose_parts_do_not_fit_is_refused(
    data: dict[str, Any], change: Callable[[dict[str, Any]], None], message: str
) -> None:
    message = message.replace("{macs}", str(data["step"]["macs_executed"]))
    change(data)
    with pytest.raises(acs.InputError) as caught:
        read_results(data, "r.json")
    assert str(caught.value).startswith(f"r.json: {message}")


def test_sources_may_be_reworded(data: dict[str, Any]) -> None:
    data["design"]["values"]["array.rows"]["source"] = "our own words"
    assert read_results(data, "r.json")[0].identity == data["identity"]


def test_a_way_to_the_same_design_makes_no_other_identity(trace: acs.Trace, result: acs.Result, tmp_path: Path) -> None:
    path = tmp_path / "slow.yaml"
    path.write_text("base: sat_vcu1525\ndram: {bandwidth_gb_per_s: 9.6}\n")
    assert acs.simulate(trace, acs.load_design(path), batch=8, pattern="2:4").identity == result.identity


def test_a_baseline_of_another_design_is_refused_even_where_it_is_called_the_same(
    trace: acs.Trace, result: acs.Result, slow: acs.Design
) -> None:
    other = (
        slow.model_copy(update={"overrides": ()})
        .with_({"sore.lanes": 16})
        .model_copy(update={"overrides": slow.overrides})
    )
    assert other.label == slow.label
    with pytest.raises(
        acs.InputError, match=r"^baseline: not the dense step of this trace on this design under the same options$"
    ):
        acs.simulate(trace, other, batch=8, pattern="2:4", baseline=result.dense)


@pytest.mark.parametrize("as_file", [True, False])
def test_a_plan_on_another_design_says_how_they_differ(
    trace: acs.Trace, slow: acs.Design, tmp_path: Path, *, as_file: bool
) -> None:
    case = case_of(batch=8, pattern="2:4")
    fast = acs.load_design("sat_vcu1525", {"sore.lanes": 16})
    plan: Any = plan_step(trace, slow, case)
    if as_file:
        save_plan(tmp_path / "plan.json", plan, slow, case.optimizer)
        plan = tmp_path / "plan.json"
    here, there = (acs.simulate(trace, design, batch=8, pattern="2:4", plan=plan) for design in (slow, fast))
    assert [note.text for note in here.notes if note.operation is None] == []
    assert [note.text for note in there.notes if note.operation is None] == [
        "the plan was made for sat_vcu1525 + DRAM 9.6 GB/s: dram.bandwidth_gb_per_s 9.6 (here 76.8), sore.lanes 32 (here 16)"
    ]
    assert len(differences(slow, fast)) == 2
    write_results(tmp_path / "r.json", [there])
    assert load_results(tmp_path / "r.json") == (there,)
