"""``accelsim diff``: its screens, exit codes, object, and bad input."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accelsim.results.result_file import load_results, write_results

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(documented: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write trace a.json and a changed b.json into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(change: Callable[[dict[str, Any]], Any]) -> None:
        Path("a.json").write_text(json.dumps(documented))
        change(documented)
        Path("b.json").write_text(json.dumps(documented))

    return write


TRACES = """\
A: a.json
B: b.json

trace
field           A        B   change
parameters  1,226  123,000  +9,933%

operations
operation  field                               A          B   change
conv       inputs                        input:0       relu
           stride                           1, 1       2, 2
relu       inputs                           conv    input:0
           recomputed                      false       true
           reads                          16,384     20,480  +25.00%
fc         inputs                           pool  pool[max]
           other_parameters[x].elements        -         42
           other_parameters[x].frozen          -      false
only in A: pool
only in B: pool[max]
moved: relu

9 of 53 values differ, 1 row only in A, 1 row only in B, 1 row moved
"""


def test_two_traces(run: Run, files: Callable[..., None]) -> None:
    def change(data: dict[str, Any]) -> None:
        conv, relu, pool, fc = data["operations"]
        conv["stride"] = [2, 2]
        relu.update(reads=20480, recomputed=True)
        fc["other_parameters"].append({"name": "x", "elements": 42})
        relu["inputs"], conv["inputs"], fc["inputs"] = ["input:0"], ["relu"], ["pool[max]"]
        data.update(parameters=123000, operations=[relu, conv, {**pool, "name": "pool[max]"}, fc])

    files(change)
    code, out, err = run("diff", "a.json", "b.json")
    assert (code, err) == (1, "")
    assert [line.rstrip() for line in out.splitlines()] == TRACES.splitlines()


def test_equal_traces(run: Run, files: Callable[..., None]) -> None:
    files(lambda data: data["operations"][0].update(groups=1))
    assert run("diff", "a.json", "b.json") == (0, "equal: 58 values\n", "")


def test_a_tolerance_hides_small_changes(run: Run, files: Callable[..., None]) -> None:
    files(lambda data: data["operations"][1].update(reads=16400))
    assert run("diff", "a.json", "b.json")[0] == 1
    assert run("diff", "a.json", "b.json", "--rtol", "0.0009")[0] == 1
    assert run("diff", "a.json", "b.json", "--rtol", "0.001")[0] == 0


def test_results(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["resnet18_tinyimagenet", "--batch", "8"]
    assert run("simulate", *command, "-o", "a.json")[0] == 0
    assert run("simulate", *command, "--optimizer", "adam", "-o", "b.json")[0] == 0
    a, b = load_results("a.json")[0], load_results("b.json")[0]
    code, out, err = run("diff", "a.json", "b.json")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    words = [line.split() for line in lines]
    assert ["optimizer", "sgd", "adam"] in words
    assert ["identity", a.identity[:12], b.identity[:12]] in words
    ratio = b.step.cycles / a.step.cycles - 1
    assert ["cycles", f"{a.step.cycles:,}", f"{b.step.cycles:,}", f"{ratio:+.2%}"] in words
    update = a.stages["UPDATE"].cycles
    assert any(line[:3] == ["UPDATE", "cycles", f"{update:,}"] for line in words)
    assert any(line[:3] == ["conv1", "UPDATE", "cycles"] for line in words)
    titles = [line for line in lines if line in {"inputs", "step", "stages", "energy", "layers", "notes"}]
    assert titles == ["inputs", "step", "stages", "energy", "layers"]
    assert max(map(len, lines)) <= 118
    # what the screen and the object say is the same
    data = json.loads(run("diff", "a.json", "b.json", "--json", "--rtol", "0.9")[1])
    assert (data["format"], data["old"], data["new"], data["rtol"], data["equal"]) == (
        "accelsim-diff/1", "a.json", "b.json", 0.9, False,
    )  # fmt: skip
    changes = [(section["title"], change) for section in data["sections"] for change in section["changes"]]
    assert [(title, change["field"]) for title, change in changes if title != "layers"] == [
        ("inputs", "optimizer"), ("inputs", "identity"),
    ]  # fmt: skip


def test_results_of_a_comparison(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    both = ["resnet9_cifar10", "--batch", "8"]
    Path("a.json").write_text(run("compare", *both, "--json")[1])
    assert run("compare", *both, "-o", "b.json")[0] == 0
    assert run("diff", "a.json", "b.json")[0] == 0
    assert run("simulate", *both, "-o", "c.json")[0] == 0
    code, out, _ = run("diff", "a.json", "c.json")
    assert code == 1
    assert out.splitlines()[3:5] == ["results", "only in A: dense -"]
    assert out.splitlines()[-1].startswith("0 of ")
    dense, sparse = load_results("b.json")
    first, *others = sparse.layers
    utilisation = first.utilisation * (1 + 1e-9)
    changed = (replace(first, utilisation=utilisation), *others)
    write_results(Path("d.json"), [dense, replace(sparse, layers=changed)])
    lines = run("diff", "a.json", "d.json")[1].splitlines()
    assert lines[3] == "layers of bdwp 2:8"
    assert lines[5].split()[2:] == ["utilisation", repr(first.utilisation), repr(utilisation), "+1.0e-09"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vit_cifar10", "vit_cifar100"], "error: trace 'vit_cifar10': neither a file nor a shipped trace; did you mean"
         " 'vit_cifar100'?; shipped: "),
        (["none.json", "vit_cifar100"], "error: none.json: no such file\n"),
        (["vit_cifar100", "cut.json"], "error: cut.json: not valid JSON: Expecting property name enclosed in double quotes at"
         " line 1, column 2 (the file ends there: truncated?)\n"),
        (["vit_cifar100", "vit_cifar100", "--rtol", "2"], "error: rtol: got 2.0; a number from 0 to below 1 is needed\n"),
        (["vit_cifar100", "vit_cifar100", "--rtol", "x"], "error: Invalid value for '--rtol': 'x' is not a valid float."),
        (["vit_cifar100"], "error: Missing argument 'B'. (try: accelsim diff --help)\n"),
    ],
)  # fmt: skip
def test_bad_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.json").write_text("{")
    code, out, err = run("diff", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
