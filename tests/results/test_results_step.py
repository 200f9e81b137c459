"""Results read from files: round trips, and every kind of damage named with its path."""

import json
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.cli import main
from accelsim.results.result_file import load_results, read_results, write_results


@pytest.fixture(scope="module")
def result() -> acs.Result:
    """A step with tiles, notes, generation and vector work."""
    return acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=8)


@pytest.fixture
def data(result: acs.Result) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(result.to_dict()))
    return plain


def error_of(data: Any) -> str:
    with pytest.raises(acs.InputError) as caught:
        read_results(data, "r.json")
    return str(caught.value)


def test_written_results_load_as_they_were(result: acs.Result, tmp_path: Path) -> None:
    other = acs.simulate(acs.load_trace("vit_cifar100"), acs.load_design("sat_vcu1525"), batch=2, method="dense")
    for results in ([result], [result, other]):
        write_results(tmp_path / "r.json", results)
        loaded = load_results(tmp_path / "r.json")
        assert loaded == tuple(results)
        assert [item.to_dict() for item in loaded] == [item.to_dict() for item in results]


def test_a_comparison_loads_as_its_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "resnet9_cifar10", "--batch", "8", "--json", "-o", str(tmp_path / "r.json")]) == 0
    (tmp_path / "c.json").write_text(capsys.readouterr().out)
    assert load_results(tmp_path / "c.json") == load_results(tmp_path / "r.json")
    assert [item.method for item in load_results(tmp_path / "c.json")] == ["dense", "bdwp"]


KEYS = (
    "format, workload, design, energy_table, options, trace_sha256, plan_sha256, version, identity, step, stages, energy, memory, layers,"
    " notes, operations, dense"
)


def test_all_errors_of_a_result_are_named_with_their_paths(data: dict[str, Any]) -> None:
    del data["options"]["batch"], data["step"]["cycles"], data["stages"]["WU"]
    data["options"]["method"] = 7
    data["layers"][0]["cycles"] = "12"
    data["layers"][1]["tile"] = [1, 2]
    data["stages"]["FF"]["cycles"] = 1.5
    data["notes"][0]["stage"] = "FP"
    data["extra"] = 1
    assert error_of(data).splitlines() == [
        "r.json: options.method: got 7; should be a valid string",
        "r.json: options.batch: missing",
        "r.json: step.cycles: missing",
        "r.json: stages.FF.cycles: got 1.5; should be a valid integer",
        "r.json: stages.WU: missing",
        "r.json: layers[0].cycles (in 'prep.0'): got \"12\"; should be a valid integer",
        "r.json: layers[1].tile[2] (in 'prep.1[FF]'): missing",
        "r.json: notes[0].stage: got \"FP\"; should be 'FF', 'BP', 'WU', 'GENERATE', 'UPDATE' or 'VECTOR'",
        f"r.json: extra: unknown key; allowed: {KEYS}",
    ]


def test_entries_of_lists_and_comparisons_are_named(data: dict[str, Any]) -> None:
    bad = {**data, "energy": {**data["energy"], "mac_j": None}}
    assert error_of([data, bad]) == "r.json[1]: energy.mac_j: got null; should be a valid number"
    assert error_of([data, 3]) == ("r.json[1]: format: got null; allowed: accelsim-result/2")
    comparison = {"format": "accelsim-comparison/2", "results": [{**data, "relative_speedup": 1.0}, bad]}
    assert error_of(comparison).splitlines() == [
        "r.json: results[1].energy.mac_j: got null; should be a valid number",
        "r.json: results[1].relative_speedup: missing",
    ]
    assert error_of({**data, "relative_speedup": 1.0}) == f"r.json: relative_speedup: unknown key; allowed: {KEYS}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": "accelsim-result/3"}', "format: got \"accelsim-result/3\"; did you mean 'accelsim-result/2'?;"
         " allowed: accelsim-result/2, accelsim-comparison/2"),
        ("{}", "format: got null; allowed: accelsim-result/2, accelsim-comparison/2"),
        ("3", "format: got null; allowed: accelsim-result/2, accelsim-comparison/2"),
        *(
            (text, f"{where}accelsim-{form}/1 is of an earlier version, which did not hold the design that it rests on; make"
             f" it again with this one (accelsim {command}), which writes accelsim-{form}/2")
            for text, where, form, command in (
                ('{"format": "accelsim-result/1"}', "", "result", "simulate -o"),
                ('{"format": "accelsim-comparison/1"}', "", "comparison", "compare --json"),
            )
        ),
        ('{"format": "accelsim-re', "not valid JSON: Unterminated string starting at line 1, column 12 (the file ends there:"
         " truncated?)"),
        ('{"format": 1, "format": 2}', "key 'format' stands twice in one object"),
        ('{"format": NaN}', "NaN is not a number that can be used"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(acs.InputError) as caught:
        load_results(path)
    assert str(caught.value) == f"{path}: {message}"


def test_missing_files_and_tables_of_layers_are_refused(tmp_path: Path) -> None:
    for name, message in (
        ("none.json", "no such file"),
        ("r.csv", "results are read from .json; a .csv holds their layers alone"),
    ):
        with pytest.raises(acs.InputError) as caught:
            load_results(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {message}"
