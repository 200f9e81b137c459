"""What is lost, or silent, where files, folders and terminals are not as they should be. Whole messages."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import accelsim as acs
from accelsim.base.errors import InputError
from accelsim.base.files import packaged_path, validate
from accelsim.hardware.energy_table import EnergyTable
from accelsim.plots.style import new_figure, save_with_data
from accelsim.sweep.rows import is_intact
from accelsim.workload.trace import Trace, save_trace

Run = Callable[..., tuple[int, str, str]]
QUICK = ("resnet9_digits_bdwp_2of8", "--batch", "8")
SWEEP = ("sweep", *QUICK, "--method", "dense", "--vary", "array.rows=16,32", "--jobs", "1", "-o")


def command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "accelsim", *arguments], text=True, **options)


# Traces


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(input_shapes=[]), "input_shapes: Tuple should have at least 1 item after validation, not 0"),
        (lambda data: data["operations"][0]["other_parameters"].append({"name": "conv.weight", "elements": 1}),
         "operations[0] (in 'conv'): other_parameters: 'conv.weight' is the weight of the operation; names are unique"),
        (lambda data: data["operations"][1].update(name="conv[phase 0,0]"),
         "top level: operations: 'conv[phase 0,0]' is what a task of 'conv' is called; choose another name"),
        (lambda data: data["operations"][1].update(name="conv[FF copy]"),
         "top level: operations: 'conv[FF copy]' is what a task of 'conv' is called; choose another name"),
    ],
)  # fmt: skip
def test_traces_that_are_refused(documented: dict[str, Any], change: Callable[..., None], message: str) -> None:
    change(documented)
    with pytest.raises(InputError, match=rf"^{re.escape(f'f: {message}')}$"):
        validate(Trace, documented, "f")


@pytest.mark.parametrize(("extra", "stride", "dilation", "fits"), [(1, 2, 1, True), (1, 1, 2, True), (2, 2, 1, False)])
def test_output_padding_is_less_than_the_stride_or_dilation(
    make_trace: Callable[..., Trace], extra: int, stride: int, dilation: int, fits: bool
) -> None:
    up = {"name": "up", "kind": "conv_transpose1d", "in_channels": 4, "out_channels": 8, "in_size": [4], "kernel": [3],
          "stride": [stride], "dilation": [dilation], "output_padding": [extra]}  # fmt: skip
    if fits:
        assert make_trace(up).operations[0].name == "up"
        return
    message = "test: operations[0] (in 'up'): output_padding: got 2; less than the stride 2 or dilation 1 is needed"
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        make_trace(up)


def test_a_name_with_a_bracket_of_another_operation_is_one(make_trace: Callable[..., Trace]) -> None:
    assert make_trace({"name": "a[phase 0,0]", "kind": "norm", "reads": 1, "writes": 1}).operations


def test_a_step_with_nothing_to_do(make_trace: Callable[..., Trace], run: Run, tmp_path: Path) -> None:
    path = tmp_path / "still.json"
    save_trace(make_trace({"name": "a", "kind": "norm", "reads": 0, "writes": 0}, parameters=0), path)
    wanted = "error: trace 'tiny': a step (train) has nothing to do: no operation computes or moves anything\n"
    for line in (["simulate"], ["schedule"], ["compare", "--platform", "rtx2080ti"], ["ablate"]):
        assert run(*line, str(path), "--batch", "8") == (2, "", wanted)


def test_a_platform_whose_rate_is_all_that_is_known(make_trace: Callable[..., Trace], run: Run, tmp_path: Path) -> None:
    path = tmp_path / "norm.json"
    save_trace(make_trace({"name": "a", "kind": "norm", "reads": 9, "writes": 9}, parameters=0), path)
    code, _, errors = run("compare", str(path), "--batch", "8", "--platform", "ef_train")
    wanted = "error: trace 'tiny': has no products, whose rate is all that is published of ef_train\n"
    assert (code, errors) == (2, wanted)


def test_names_in_place_of_what_they_name() -> None:
    trace, design = acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525")
    with pytest.raises(InputError, match=r"^design: got 'sat_vcu1525'; what accelsim\.load_design returns is needed$"):
        acs.simulate(trace, "sat_vcu1525")  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"^trace: got 'resnet9_cifar10'; what accelsim\.load_trace returns is needed$"
    ):
        acs.simulate("resnet9_cifar10", design, method="dense")  # type: ignore[arg-type]


# Energy and plans


def test_an_energy_table_of_zeros() -> None:
    def plain(entry: Any, scale: float) -> Any:
        """Values without their sources, numbers scaled."""
        if not isinstance(entry, dict):
            return entry
        if "value" in entry:
            return None if entry["value"] is None else scale * entry["value"]
        return {name: plain(item, scale) for name, item in entry.items()}

    data = yaml.safe_load((packaged_path("hw_configs") / "energy" / "asic_28nm.yaml").read_text())
    assert validate(EnergyTable, plain(data, 1), "f").pj_per_buffer_byte > 0
    assert validate(EnergyTable, {**plain(data, 0), "base_w": 0.1}, "f").base_w == 0.1
    with pytest.raises(InputError, match=r"^f: top level: every value is 0: a step would take no energy$"):
        validate(EnergyTable, plain(data, 0), "f")


def test_a_design_whose_energy_table_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("base: sat_vcu1525\nenergy: none.yaml\n")
    message = f"{path}: energy: energy table 'none.yaml': neither a file nor a shipped energy table; shipped: "
    with pytest.raises(InputError, match=rf"^{re.escape(message)}"):
        acs.load_design(path)


def test_a_plan_of_another_step_says_so(run: Run, tmp_path: Path) -> None:
    plan = str(tmp_path / "plan.json")
    assert run("schedule", QUICK[0], "--batch", "8", "-o", plan)[0] == 0
    assert "the plan was made for" not in run("simulate", *QUICK, "--plan", plan)[1]
    _, out, _ = run("simulate", QUICK[0], "--batch", "9", "--plan", plan, "--json")
    notes = [note["text"] for note in json.loads(out)["notes"]]
    assert "the plan was made for batch 8 (here 9)" in notes
    _, out, _ = run("simulate", *QUICK, "--optimizer", "adam", "--plan", plan, "--json")
    assert "the plan was made for optimizer sgd (here adam)" in [note["text"] for note in json.loads(out)["notes"]]


def test_results_hold_no_number_below_zero(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    assert run("simulate", *QUICK, "-o", str(path))[0] == 0
    data = json.loads(path.read_text())
    index = next(index for index, layer in enumerate(data["layers"]) if layer["tile"])
    data["layers"][index]["tile"][1] = -4
    path.write_text(json.dumps(data))
    tile = json.dumps(data["layers"][index]["tile"])
    wanted = f"error: {path}: layers[{index}].tile: got {tile}; a number from 0 is needed\n"
    assert run("check", str(path)) == (2, "", wanted)


# Work that is done


@pytest.mark.parametrize("cell", ["1", "x", "0x1F", "-5"])
def test_a_row_that_was_changed_is_named(run: Run, tmp_path: Path, cell: str) -> None:
    path = tmp_path / "r.csv"
    assert run(*SWEEP, str(path))[0] == 0
    whole = path.read_text()
    header, first, second = whole.splitlines()
    assert all(is_intact(line.encode()) for line in (first, second))
    cells = second.split(",")
    cells[header.split(",").index("cycles")] = cell
    path.write_text(f"{header}\n{first}\n{','.join(cells)}\n")
    code, _, errors = run(*SWEEP, str(path))
    wanted = (
        f"error: {path}: line 3: was changed after it was written, its checksum says; restore the file, or write to"
        " another\n"
    )
    assert (code, errors.splitlines(keepends=True)[-1]) == (2, wanted)
    path.write_text(whole)
    assert run(*SWEEP, str(path))[0] == 0
    assert path.read_text() == whole


def test_every_change_of_a_row_is_seen(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    run(*SWEEP, str(path))
    line = path.read_bytes().splitlines()[1]
    ends = len(line.rsplit(b",", 2)[1]) + len(line.rsplit(b",", 2)[2]) + 2  # of the sweep and version, looked at before
    for place in range(len(line) - ends):
        assert not is_intact(line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]), place


def test_a_figure_and_its_data_are_both_there_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    with new_figure() as figure:
        figure.subplots()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"cannot be written: No space left on device$"):
        save_with_data(pd.DataFrame({"a": [1]}), figure, tmp_path / "f.png")
    assert list(tmp_path.iterdir()) == []


def test_an_ablation_leaves_what_others_wrote(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    arguments = ("ablate", *QUICK, "--method", "dense", "-o")
    wanted = f"error: {tmp_path}: holds mine.txt, which no ablation wrote; name a folder that is new or empty\n"
    assert run(*arguments, str(tmp_path)) == (2, "", wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    new = tmp_path / "new"
    for _ in range(2):
        assert run(*arguments, str(new))[0] == 0
    assert sorted(path.name for path in new.iterdir()) == ["ablation.csv", "ablation.png", "ablation.svg", "table.md"]


def test_a_report_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    process = command("report", *QUICK, "-o", str(tmp_path / "rep"), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    for _ in range(600):  # until its folder is being filled
        if any(tmp_path.glob(".rep.*/new/*.csv")) or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors.splitlines()[-1]) == (130, "", "interrupted")
    assert list(tmp_path.iterdir()) == []


# Cells, figures and terminals


def test_cells_that_spreadsheets_execute_are_escaped_and_read_again(
    make_trace: Callable[..., Trace], run: Run, tmp_path: Path
) -> None:
    trace = make_trace({"name": "=1+1", "kind": "linear", "in_features": 8, "out_features": 8})
    path = tmp_path / "evil.json"
    save_trace(trace.model_copy(update={"model": "@model"}), path)
    layers, table = str(tmp_path / "layers.csv"), str(tmp_path / "table.csv")
    assert run("simulate", str(path), "--batch", "8", "-o", layers)[0] == 0
    sweep = ("sweep", str(path), "--batch", "8", "--vary", "array.rows=16,32", "--jobs", "1", "-o", table)
    assert run(*sweep)[0] == 0
    cells = [
        cell for file in (layers, table) for line in Path(file).read_text().splitlines() for cell in line.split(",")
    ]
    assert "'=1+1" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "@"))]
    rows = json.loads(run("results", table, "--json")[1])
    assert {row["workload"] for row in rows} <= {"@model", "evil"}
    before = Path(table).read_text()
    assert run(*sweep)[0] == 0
    assert Path(table).read_text() == before


@pytest.mark.parametrize("name", ["$x^{$", r"$\frac{$", "名前", "x" * 500])
def test_names_that_figures_could_take_for_something_else(run: Run, tmp_path: Path, name: str) -> None:
    trace = acs.load_trace(QUICK[0])
    first, *others = trace.operations
    others = [
        item.model_copy(update={"inputs": tuple(name if at == first.name else at for at in item.inputs or ())})
        for item in others
    ]
    path, result = tmp_path / "t.json", str(tmp_path / "r.json")
    save_trace(
        trace.model_copy(update={"model": name, "operations": (first.model_copy(update={"name": name}), *others)}), path
    )
    assert run("simulate", str(path), "--batch", "8", "--method", "dense", "-o", result)[0] == 0
    for kind in ("stages", "utilisation"):
        figure = tmp_path / f"{kind}.svg"
        code, _, errors = run("plot", kind, result, "-o", str(figure), "--title", name)
        assert code == 0, errors


def test_a_full_or_closed_output(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = command("list", "methods", stdout=full, stderr=subprocess.PIPE)
        assert process.communicate()[1] == "error: standard output: cannot be used: No space left on device\n"
        assert process.returncode == 2
    closed = f"exec {sys.executable} -m accelsim list methods >&- 2>&-"
    assert subprocess.run(["bash", "-c", closed], check=False, cwd=tmp_path).returncode == 0


def test_a_reader_that_has_gone() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    process = command("explain", stdout=writes, stderr=subprocess.PIPE)
    os.close(writes)
    assert process.communicate()[1] == ""
    assert process.returncode == 1


def test_a_terminal_that_knows_only_ascii(make_trace: Callable[..., Trace], tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    save_trace(make_trace({"name": "名", "kind": "norm", "reads": 9, "writes": 9}, parameters=0), path)
    process = command(
        "info", str(path), "--all", stdout=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert "\\u540d" in process.communicate()[0]
    assert process.returncode == 0


def test_names_that_no_file_can_have(run: Run) -> None:
    name = "x" * 300
    assert run("check", f"{name}.json") == (2, "", f"error: {name}.json: cannot be read: File name too long\n")
    code, _, errors = run("simulate", QUICK[0], "--batch", "8", "--hw", name)
    assert (code, errors) == (2, f"error: {name[:200]}: cannot be read: File name too long\n")


def test_no_locks(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.sweep.journal.fcntl", None)
    code, _, errors = run(*SWEEP, str(tmp_path / "r.csv"))
    wanted = (
        f"error: {tmp_path}/r.csv: sweeps are written under a lock (flock), which this system does not have; run them on"
        " Linux or macOS, or on Windows in WSL\n"
    )
    assert (code, errors.splitlines(keepends=True)[-1]) == (2, wanted)
    assert list(tmp_path.iterdir()) == []
