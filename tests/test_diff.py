"""Comparisons: changes planted one by one are found and nothing else; order, tolerance, and pairs of results."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from changed_results import as_if
from hypothesis import given
from hypothesis import strategies as st

import accelsim as acs
from accelsim.base.files import validate
from accelsim.diff import (
    Change,
    Section,
    compare_files,
    compare_results,
    compare_rows,
    compare_traces,
    compare_trainings,
)
from accelsim.lowering.optimizers import find_optimizer
from accelsim.results.result_file import write_results
from accelsim.results.training import write_training
from accelsim.training import simulate_training
from accelsim.workload.trace import Trace


@pytest.fixture(scope="module")
def result() -> acs.Result:
    return acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=8)


def section_of(old: dict[str, Any], new: dict[str, Any], **more: Any) -> Section:
    """Compare rows whose keys are single words."""
    first, second = ({(key,): row for key, row in side.items()} for side in (old, new))
    return compare_rows("rows", ("row",), first, second, **more)


def test_rows_by_hand() -> None:
    old = {"a": {"x": 1, "y": 2.0, "z": "t"}, "b": {"x": 1}, "c": {"x": (1, 2)}, "d": {}}
    new = {"c": {"x": (1, 3)}, "a": {"x": 2, "y": 2.0, "w": True}, "d": {}, "e": {"x": 1}}
    section = section_of(old, new)
    assert (section.removed, section.added, section.moved) == ((("b",),), (("e",),), (("c",),))
    assert [(change.key, change.field, change.old, change.new) for change in section.changes] == [
        (("a",), "x", 1, 2), (("a",), "z", "t", None), (("a",), "w", None, True), (("c",), "x", (1, 2), (1, 3)),
    ]  # fmt: skip
    assert (section.compared, section.equal) == (5, False)
    assert section_of(old, old).equal


@pytest.mark.parametrize(
    ("old", "new", "relative"),
    [
        (4, 5, 0.25),
        (4, 3.0, -0.25),
        (-4, -2, 0.5),
        (0, 3, None),
        (None, 3, None),
        ("4", "5", None),
        (True, False, None),
    ],
)
def test_relative_changes(old: Any, new: Any, relative: float | None) -> None:
    assert Change(key=(), field="x", old=old, new=new).relative == relative


@pytest.mark.parametrize(
    ("old", "new", "rtol", "equal"),
    [
        (100, 101, 0, False), (100, 101, 0.01, True), (100, 102, 0.01, False), (-100, -99, 0.01, True), (1, 1.0, 0, True),
        (1e-300, 2e-300, 0.4, False), (0, 1e-9, 0.9, False), ((100, 200), (101, 200), 0.01, True),
        ((100, 200), (101, 203), 0.01, False), ((1, 2), (1, 2, 3), 0.9, False), ((1, "a"), (1, "b"), 0.9, False),
        (1, True, 0.9, False), (1, "1", 0.9, False), (1, None, 0.9, False), ("a", "a", 0, True),
        (10**400, 10**400 + 1, 0, False), (0.1 + 0.2, 0.3, 0, False), (0.1 + 0.2, 0.3, 1e-15, True),
    ],
)  # fmt: skip
def test_what_differs(old: Any, new: Any, rtol: float, equal: bool) -> None:
    assert section_of({"a": {"x": old}}, {"a": {"x": new}}, rtol=rtol).equal is equal
    assert section_of({"a": {"x": new}}, {"a": {"x": old}}, rtol=rtol).equal is equal


@given(st.permutations(range(6)))
def test_as_few_rows_moved_as_explain_the_order(order: list[int]) -> None:
    rows = {str(index): {"x": index} for index in order}
    moved = section_of({str(index): {"x": index} for index in range(6)}, rows).moved
    names = [key[0] for key in moved]
    left = [name for name in rows if name not in names]
    assert left == sorted(left)
    runs = (kept for kept in combinations(rows, len(left) + 1) if list(kept) == sorted(kept))
    assert next(runs, None) is None


def changed(documented: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    data = copy.deepcopy(documented)
    change(data)
    return data


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda data: data.update(model="other"), ((), "model", "tiny", "other")),
        (lambda data: data.update(input_shapes=[[3, 32, 33]]), ((), "input_shapes[0]", (3, 32, 32), (3, 32, 33))),
        (lambda data: data["origin"].update(batch=4), ((), "origin.batch", None, 4)),
        (lambda data: data["operations"][0].update(dilation=[2, 2]), (("conv",), "dilation", (1, 1), (2, 2))),
        (lambda data: data["operations"][0]["weight"].update(frozen=True), (("conv",), "weight.frozen", False, True)),
        (lambda data: data["operations"][3]["other_parameters"][0].update(elements=41),
         (("fc",), "other_parameters[fc.bias].elements", 42, 41)),
        (lambda data: data["operations"][3].update(observed={"FF": {"activation": {"density": 0.5}}}),
         (("fc",), "observed.FF.activation.density", None, 0.5)),
        (lambda data: data["operations"][3].update(inputs=["relu"]), (("fc",), "inputs", ("pool",), ("relu",))),
        (lambda data: data["operations"][1].update(input_gradient=True), (("relu",), "input_gradient", None, True)),
    ],
)  # fmt: skip
def test_one_change_of_a_trace(documented: dict[str, Any], change: Callable[..., Any], where: tuple[Any, ...]) -> None:
    old, new = (validate(Trace, data, "t") for data in (documented, changed(documented, change)))
    comparison = compare_traces(old, new)
    found = [item for section in comparison.sections for item in section.changes]
    assert [(item.key, item.field, item.old, item.new) for item in found] == [where]
    assert not any(section.added or section.removed or section.moved for section in comparison.sections)
    assert compare_traces(old, old).equal


def test_operations_added_removed_and_moved(documented: dict[str, Any]) -> None:
    def change(data: dict[str, Any]) -> None:
        conv, relu, pool, fc = data["operations"]
        data["operations"] = [relu, conv, {**pool, "name": "pool2"}, fc]

    for operation in documented["operations"]:  # operations of any order: their edges are not known
        del operation["inputs"]
    old, new = (validate(Trace, data, "t") for data in (documented, changed(documented, change)))
    head, operations = compare_traces(old, new).sections
    assert head.equal
    assert (operations.added, operations.removed, operations.changes) == ((("pool2",),), (("pool",),), ())
    assert operations.moved in {(("conv",),), (("relu",),)}


def titles(comparison: Any) -> dict[str, Section]:
    return {section.title: section for section in comparison.sections if not section.equal}


def test_one_change_of_a_result(result: acs.Result) -> None:
    assert compare_results([result], [result]).equal
    for new, title, key, field in (
        (as_if(result, optimizer=find_optimizer("adam")), "inputs", (), "optimizer"),
        (replace(result, identity="0" * 64), "inputs", (), "identity"),
        (replace(result, version="0"), "inputs", (), "version"),
        (replace(result, step=replace(result.step, speedup=1.5)), "step", (), "speedup"),
        (replace(result, energy=replace(result.energy, mac_j=9.0)), "energy", (), "mac_j"),
    ):
        sections = titles(compare_results([result], [new]))
        assert [(name, item.key, item.field) for name, section in sections.items() for item in section.changes] == [
            (title, key, field)
        ]
    stages = tuple((name, replace(stage, cycles=stage.cycles + (name == "WU"))) for name, stage in result.stage_items)
    (change,) = titles(compare_results([result], [replace(result, stage_items=stages)]))["stages"].changes
    assert (change.key, change.field, change.new - change.old) == (("WU",), "cycles", 1)


def test_layers_and_notes_of_a_result(result: acs.Result) -> None:
    first, *others = result.layers
    slower = replace(first, cycles=2 * first.cycles, tile=(1, 2, 3))
    new = replace(result, layers=(slower, *others[:-1], replace(others[-1], name="new")), notes=result.notes[1:])
    sections = titles(compare_results([result], [new]))
    assert list(sections) == ["layers", "notes"]
    layers = sections["layers"]
    assert layers.columns == ("layer", "stage")
    assert [(item.key, item.field, item.new) for item in layers.changes] == [
        (("prep.0", "FF"), "tile", (1, 2, 3)), (("prep.0", "FF"), "cycles", 2 * first.cycles),
    ]  # fmt: skip
    assert layers.changes[1].relative == 1
    assert (layers.added, layers.removed) == ((("new", "UPDATE"),), ((others[-1].name, "UPDATE"),))
    note = result.notes[0]
    assert sections["notes"].removed == ((note.operation, note.stage, note.text),)


def test_results_are_paired_by_the_inputs_that_vary_within_a_file(result: acs.Result) -> None:
    dense, other = as_if(result, method="dense"), as_if(result, workload="b")
    everything = compare_results([result, dense, other], [dense, result])
    head = everything.sections[0]
    assert head.columns == ("workload", "method", "pattern")
    assert head.removed == (("b", "bdwp", "2:8"),)
    assert len(head.moved) == 1
    assert {section.of for section in everything.sections[1:]} == {
        "resnet9_cifar10 bdwp 2:8",
        "resnet9_cifar10 dense -",
    }
    assert [section.title for section in everything.sections if not section.equal] == ["results"]
    # the batch differs between the files, not within one: it pairs nothing and is shown as an input
    doubled = [as_if(item, batch=16) for item in (result, dense)]
    sections = [section for section in compare_results([result, dense], doubled).sections if not section.equal]
    assert [(section.title, section.of, section.changes[0].field) for section in sections] == [
        ("inputs", "bdwp 2:8", "batch"), ("inputs", "dense -", "batch"),
    ]  # fmt: skip
    twins = compare_results([result, result], [result])
    assert titles(twins)["results"].removed == (("#2",),)


def test_files_of_every_form(result: acs.Result, documented: dict[str, Any], tmp_path: Path) -> None:
    for name, results in (
        ("one", [result]),
        ("two", [result, acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=9)]),
    ):
        write_results(tmp_path / f"{name}.json", results)
    (tmp_path / "trace.json").write_text(json.dumps(documented))
    assert compare_files(tmp_path / "one.json", tmp_path / "one.json").equal
    assert compare_files(tmp_path / "one.json", tmp_path / "two.json").sections[0].added == (("9",),)
    assert compare_files("vit_cifar100", "vit_cifar100").kind == "trace"
    data = compare_files(tmp_path / "one.json", tmp_path / "two.json").to_dict()
    assert (data["format"], data["kind"], data["equal"]) == ("accelsim-diff/1", "results", False)
    assert json.loads(json.dumps(data))["sections"][0]["added"] == [["9"]]


def test_training_runs_by_phase_and_each_pair_of_steps_once(tmp_path: Path) -> None:
    trace, design = acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525")
    options = {"method": "stepwise-decay", "steps": 100, "fine_tune_share": 0.25, "batch": 8}
    first = simulate_training(trace, design, **options)
    second = simulate_training(trace, design, **{**options, "optimizer": "adam"})
    assert compare_trainings(first, first).equal
    everything = compare_trainings(first, second)
    assert everything.kind == "training"
    # fine-tuning has the step of the last decay, which is compared once
    steps = [section.of for section in everything.sections if section.title == "step"]
    assert steps == ["decay 1 of 3", "decay 2 of 3", "decay 3 of 3"]
    heads = {section.title: section for section in everything.sections[:4]}
    assert [change.field for change in heads["inputs"].changes] == ["optimizer", "identity"]
    assert {change.key for change in heads["phases"].changes} == {(phase.name,) for phase in first.phases}
    assert heads["totals"].changes[0].old == first.totals.cycles
    assert heads["notes"].equal
    write_training(tmp_path / "a.json", first)
    write_training(tmp_path / "b.json", second)
    assert compare_files(tmp_path / "a.json", tmp_path / "b.json") == everything
    other = compare_trainings(first, simulate_training(trace, design, **{**options, "method": "mask-decay"}))
    phases = next(section for section in other.sections if section.title == "phases")
    assert phases.added == (("mask decay",),)
    assert phases.removed == (("decay 1 of 3",), ("decay 2 of 3",), ("decay 3 of 3",))


def test_files_that_cannot_be_compared(result: acs.Result, documented: dict[str, Any], tmp_path: Path) -> None:
    names = ("one.json", "trace.json", "info.json", "t.txt", "run.json")
    one, trace, info, table, run = (tmp_path / name for name in names)
    write_results(one, [result])
    write_training(
        run, simulate_training(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=8, steps=1)
    )
    trace.write_text(json.dumps(documented))
    info.write_text('{"format": "accelsim-info/1"}')
    table.write_text("")
    for old, new, message in (
        (one, trace, f"{one} holds results, {trace} a trace: two of a kind can be compared"),
        ("vit_cifar100", one, f"vit_cifar100 holds a trace, {one} results: two of a kind can be compared"),
        (one, info, f"{info}: neither a trace nor results nor a training run; the format is one of accelsim-trace/1,"
         " accelsim-result/2, accelsim-comparison/2, accelsim-training/2, or a list of results"),
        (one, run, f"{one} holds results, {run} a training run: two of a kind can be compared"),
        (one, table, f"{table}: got suffix '.txt'; files are compared as .json, .json.gz, .csv or .parquet"),
        (tmp_path / "none.json", one, f"{tmp_path}/none.json: no such file"),
    ):  # fmt: skip
        with pytest.raises(acs.InputError) as caught:
            compare_files(old, new)
        assert str(caught.value) == message
    for rtol in (-0.1, 1.0, float("nan"), float("inf")):
        with pytest.raises(acs.InputError) as caught:
            compare_files(one, one, rtol=rtol)
        assert str(caught.value) == f"rtol: got {rtol}; a number from 0 to below 1 is needed"
