"""``accelsim schedule`` and ``simulate --plan``: the plan on the screen, in a file, and executed."""

import json
import re
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.engines.bound import step_bound
from accelsim.hardware.sourced import override
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.schedule.explain import explain
from accelsim.schedule.plan_file import load_plan, plan_text
from accelsim.simulation import plan_step

TRACE = "resnet18_tinyimagenet"
QUICK = ["--batch", "16"]
# a DRAM slower than the vector unit, so that it pays to keep what vector work reads
SLOW = ["--set", "dram.bandwidth_gb_per_s=38.4"]
OPTIMAL = ["--set", "schedule.scheduler=optimal", *SLOW]
SGD = find_optimizer("sgd")


def planned(engine="closed", changes=None, method="bdwp"):
    design = override(
        acs.load_design("sat_vcu1525"),
        changes or {"schedule.scheduler": "optimal", "dram.bandwidth_gb_per_s": "38.4"},
    )
    trace = acs.load_trace(TRACE)
    return plan_step(trace, design, case_of(method=method, batch=16, engine=engine)), design


@pytest.mark.parametrize("engine", ["closed", "event"])
def test_schedule_shows_and_saves_the_plan_that_simulate_executes(run, tmp_path: Path, engine: str) -> None:
    path, options = tmp_path / "plan.json", [TRACE, *QUICK, *OPTIMAL, "--engine", engine]
    code, out, err = run("schedule", *options, "-o", str(path))
    assert (code, err) == (0, "")
    plan, design = planned(engine)
    assert load_plan(path, plan.step, design) == plan
    assert path.read_text() == plan_text(plan, design, SGD)
    simulated = json.loads(run("simulate", *options, "--json")[1])
    assert json.loads(run("simulate", *options, "--plan", str(path), "--json")[1]) == simulated
    cycles, (bound, limit) = simulated["step"]["cycles"], step_bound(plan, design, SGD)
    how = "units side by side" if engine == "event" else "one task after another"
    assert re.search(rf"^the step +{cycles:,} cycles, {how} \({engine} engine\) *$", out, re.MULTILINE)
    gap = f"{bound:,} cycles with any mapping in any order, set by {limit}; the step is {cycles / bound - 1:.1%} above"
    assert re.search(rf"^lower bound +{re.escape(gap)} *$", out, re.MULTILINE)
    assert re.search(
        rf"^generated ahead +{len(plan.ahead)} copies behind the update of their weight: layer4", out, re.MULTILINE
    )
    assert re.search(r"^generated online +nothing *$", out, re.MULTILINE)
    kept = (
        f"{len(plan.resident)} results for the next task: conv1 \\(FF\\), bn1\\[FF\\]" if plan.resident else "nothing"
    )
    assert re.search(rf"^stays on the chip +{kept}", out, re.MULTILINE)
    assert out.endswith(f"written: {path}\n")
    assert [item.name for item in tmp_path.iterdir()] == ["plan.json"]


def test_a_saved_plan_is_shown_as_it_was_made(run, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    first = run("schedule", TRACE, *QUICK, *OPTIMAL, "-o", str(path))[1]
    again = run("schedule", TRACE, *QUICK, *OPTIMAL, "--plan", str(path))[1]
    kept = [line for line in first.splitlines() if "mappings evaluated" not in line and not line.startswith("written")]
    assert again.splitlines() == kept


def test_online_generation_is_listed_by_its_gemm(run) -> None:
    code, out, _ = run("schedule", TRACE, *QUICK, "--method", "sdgp")
    assert code == 0
    assert "generated ahead    nothing" in out
    assert re.search(
        r"^generated online +28 operands in front of their GEMM: layer4.1.conv2 \(BP\), layer4.1.conv1 \(BP\),",
        out,
        re.MULTILINE,
    )


@pytest.mark.parametrize("command", [["schedule", TRACE], ["schedule", TRACE, "--explain", "layer2.0.conv1"],
                                     ["schedule", "vit_cifar100", "--engine", "event"], ["schedule", TRACE, "--explain", "fc", "--all"]])  # fmt: skip
def test_lines_fit_the_width(run, command: list[str]) -> None:
    code, out, _ = run(*command, *QUICK, *OPTIMAL)
    assert code == 0
    assert max(len(line) for line in out.splitlines()) <= 118


def test_a_dataflow_that_does_not_fit_has_no_column_value(run) -> None:
    code, out, _ = run("schedule", TRACE, *QUICK, "--set", "buffers.w_bytes=1200")
    assert code == 0
    assert re.search(r"^layer1.0.conv1 +FF .* 1\.000x +none +drain", out, re.MULTILINE)


# --explain


def test_explain_shows_the_alternatives_of_every_stage_best_first(run) -> None:
    code, out, err = run("schedule", TRACE, *QUICK, *OPTIMAL, "--explain", "layer2.0.conv1")
    assert (code, err) == (0, "")
    plan, design = planned()
    explanation = explain(plan, design, SGD, "layer2.0.conv1")
    assert out.startswith(f"layer2.0.conv1 of {TRACE}, bdwp 2:8, 16 samples, on {design.name}\n")
    for choice in explanation.gemms:
        assert f"\n{choice.gemm.stage}  {choice.gemm.name}  {choice.gemm.m}x{choice.gemm.n}x{choice.gemm.k}, " in out
        assert re.search(
            rf"^\*  {choice.chosen.mapping.dataflow} .* {choice.chosen.cycles:,} +1\.000x ", out, re.MULTILINE
        )
    tables = out.split("\n\n")
    assert len(tables) == 1 + len(explanation.gemms) + 3
    for table in tables[1:-3]:
        ratios = [float(value) for value in re.findall(r" (\d+\.\d{3})x ", table)]
        assert ratios == sorted(ratios)
        assert not ratios or ratios[0] == 1
    assert tables[-3] == (
        "at 85% of the bandwidth (dram.efficiency), as runs of 64 bytes or more:\n"
        "   the result of a phase of BP, whose neighbours are those of other phases\n"
        "   the input that WU reads transposed, in rows of its planes"
    )
    planned_copies = next(item for item in explanation.placements if item.chosen)
    assert re.search(rf"^\*  layer2.0.conv1\[FF copy\], +none +{planned_copies.update_cycles:,} +{planned_copies.reader_cycles:,} +"
                     rf"{planned_copies.cycles:,} +1\.000x", out, re.MULTILINE)  # fmt: skip
    forward, _, gradient = explanation.handovers  # and the last phase of BP for the sum behind it
    assert re.search(
        rf"^\*  layer2.0.conv1 \(FF\) +layer2.0.bn1\[FF\] \(VECTOR\) +262 kB +{forward.saved_cycles:,}  yes",
        out,
        re.MULTILINE,
    )
    assert re.search(
        rf"^\*  layer2.0.conv1 \(WU\) +layer2.0.conv1 \(UPDATE\) +295 kB +{gradient.saved_cycles:,}  yes",
        out,
        re.MULTILINE,
    )


def test_explain_shows_a_dozen_and_with_all_every_mapping(run) -> None:
    options = ["schedule", TRACE, *QUICK, "--explain", "layer2.0.conv1"]
    few, every = run(*options)[1], run(*options, "--all")[1]
    more = [
        int(number)
        for number in re.findall(r"^   and (\d+) more mappings? \(--all\), up to \d+\.\d\dx$", few, re.MULTILINE)
    ]
    assert more
    assert all(number >= 1 for number in more)
    assert "--all" not in every
    plan, design = planned(changes={"schedule.scheduler": "greedy"})
    for choice in explain(plan, design, SGD, "layer2.0.conv1").gemms:
        section = every.split(f"\n{choice.gemm.stage}  {choice.gemm.name} ")[1].split("\n\n")[0]
        if "   as " in section:
            continue
        shown = re.findall(r"(?:os|ws|,) ?(\d+x\d+(?:x\d+)?|split|chain \d+ to \d+|chain \d+)", section)
        runs = [list(map(int, re.findall(r"\d+", text))) for text in shown if " to " in text]
        dense_ws = len(re.findall(r"^.  ws {2,}", section, re.MULTILINE))
        assert len(shown) + sum(last - first for first, last in runs) + dense_ws == len(choice.alternatives)


def test_explain_shows_alternatives_that_are_those_of_another_product_once(run) -> None:
    """FF and BP of as many channels; not two phases whose windows are 1 x 2 and 2 x 1."""
    code, out, _ = run("schedule", TRACE, "--batch", "16", "--method", "dense", "--explain", "layer1.0.conv2")
    assert code == 0
    assert "BP  layer1.0.conv2  4096x64x576, dense\n   as FF  layer1.0.conv2\n" in out
    code, out, _ = run("schedule", TRACE, *QUICK, "--explain", "layer2.0.conv1")
    assert code == 0
    assert "   as BP" not in out


def test_explain_says_what_is_generated_online_and_what_that_costs(run) -> None:
    code, out, _ = run("schedule", TRACE, *QUICK, "--set", "schedule.pregenerate=false", "--explain", "layer2.0.conv2")
    assert code == 0
    assert "FF  layer2.0.conv2  1024x128x1152, 2:8, generated online\n" in out
    assert re.search("loops  im2col +cycles  vs plan  generation", out)
    assert re.search(r"^\*  none +layer2.0.conv2\[FF copy\], layer2.0.conv2\[BP copy\] ", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("room", "why"),
    [
        ("0", "no: larger than the 0 B there"),
        ("8388608", "no"),
    ],
)
def test_explain_says_why_a_result_does_not_stay(run, room: str, why: str) -> None:
    out = run("schedule", TRACE, *QUICK, *SLOW, "--set", f"buffers.resident_bytes={room}", "--explain", "bn1")[1]
    assert re.search(
        rf"^  bn1\[FF\] \(VECTOR\)  maxpool\[FF\] \(VECTOR\)  2\.10 MB +[\d,]+  {re.escape(why)} *$", out, re.MULTILINE
    )


def test_explain_names_the_neighbours_that_share_the_room(run) -> None:
    changes = ["--set", "buffers.resident_bytes=3000000"]
    out = run("schedule", TRACE, *QUICK, *OPTIMAL, *changes, "--explain", "conv1")[1]
    other = run("schedule", TRACE, *QUICK, *OPTIMAL, *changes, "--explain", "bn1")[1]
    both = out + other
    assert len(re.findall(r"^\*  (?:conv1 \(FF\)|bn1).*  yes", both, re.MULTILINE)) == 1
    assert (
        len(
            re.findall(
                r"^   ?(?:conv1 \(FF\)|bn1).*  no: 3\.00 MB hold no more beside what stays already", both, re.MULTILINE
            )
        )
        == 1
    )


def test_explain_of_a_plan_by_hand_marks_what_is_planned(run, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    run("schedule", TRACE, *QUICK, "-o", str(path))
    data = json.loads(path.read_text())
    entry = next(task for task in data["tasks"] if (task["name"], task["stage"]) == ("fc", "FF"))
    entry["mapping"] = {"dataflow": "os", "ia": 1, "ib": 1, "split": 3, "tile": [16, 100, 512], "order": "nmk"}
    path.write_text(json.dumps(data))
    code, out, _ = run("schedule", TRACE, *QUICK, "--plan", str(path), "--explain", "fc")
    assert code == 0
    assert re.search(r"^\*  os 1x1x3 +16x100x512  nmk +[\d,]+ +1\.000x", out, re.MULTILINE)
    assert re.search(r"^   os 1x1x8 .* 0\.\d{3}x", out, re.MULTILINE)


# What stops it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["schedule", TRACE, "--explain", "layer2.0.con1"], "error: operation 'layer2.0.con1': not in the step; did you mean 'layer2.0.conv1'?\n"),
        (["schedule", TRACE, "--all"], "error: --all: shows every mapping of one layer; add --explain LAYER\n"),
        (["schedule", TRACE, "-o", "plan.yaml"], "error: -o plan.yaml: got suffix '.yaml'; allowed: .json\n"),
        (["schedule", TRACE, "-o", "no/plan.json"], "error: -o no/plan.json: no directory no\n"),
        (["schedule", TRACE, "--engine", "clsed", "-o", "plan.json"], "error: engine 'clsed' is not known; did you mean 'closed'?; allowed: closed, event\n"),
        (["schedule", TRACE, "--plan", "none.json"], "error: none.json: no such file\n"),
        (["simulate", TRACE, "--plan", "none.json", "-o", "r.json"], "error: none.json: no such file\n"),
        (["simulate", TRACE, "--plan", str(Path(__file__)), "-o", "r.json"], f"error: {Path(__file__)}: not valid JSON: Extra data at line 1, column 3\n"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == (2, "", message)
    assert list(tmp_path.iterdir()) == []


def broken(run, path: Path, change) -> None:
    run("schedule", TRACE, *QUICK, "-o", str(path))
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_plan_with_errors_is_exit_code_2_and_a_result_survives_it(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    broken(
        run,
        Path("plan.json"),
        lambda data: (data["tasks"].pop(0), data["tasks"][4].update(resident=True, after=["conv1 (F)"])),
    )
    Path("r.json").write_text("precious")
    for command in (["simulate", "-o", "r.json"], ["schedule", "-o", "r.json"], ["schedule", "--explain", "conv1"]):
        code, out, err = run(command[0], TRACE, *QUICK, "--plan", "plan.json", *command[1:])
        assert (code, out) == (2, "")
        assert err == (
            "error: plan.json: missing: 'conv1' (FF)\n"
            "error: plan.json: 'layer1.0.conv2' (FF): after: no task 'conv1 (F)'; did you mean 'conv1 (FF)'?\n"
        )
    assert Path("r.json").read_text() == "precious"


def test_a_plan_whose_tiles_do_not_fit_is_exit_code_3_and_writes_nothing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("schedule", TRACE, *QUICK, "-o", "plan.json")
    code, out, err = run(
        "simulate", TRACE, *QUICK, "--plan", "plan.json", "--set", "buffers.y_bytes=1000000", "-o", "r.json"
    )
    assert (code, out) == (3, "")
    assert err.splitlines()[:2] == [
        "error: plan.json: made for buffers.y_bytes 2097152 (here 1000000)",
        "error: plan.json: 'conv1' (FF): tile 4096 x 64 x 147 held twice needs 2097152 bytes of buffers.y_bytes, which has"
        " 1000000: 1097152 bytes are missing",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json"]


def test_check_and_schema_know_plans(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("schedule", TRACE, *QUICK, "-o", "plan.json")
    plan, _ = planned()
    assert run("check", "plan.json") == (
        0,
        f"ok: plan.json: plan of {len(plan.step.tasks)} tasks one after another, made for {TRACE} on sat_vcu1525, bdwp 2:8, batch"
        " 16, train; its form alone was checked, not whether a step and a design can use it (accelsim schedule TRACE --plan)\n",
        "",
    )
    broken(run, Path("bad.json"), lambda data: data["tasks"][0].update(mapping={"dataflow": "os"}))
    code, out, err = run("check", "bad.json")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        f"error: bad.json: tasks[0].mapping.{name} (in 'conv1'): missing"
        for name in ("ia", "ib", "split", "tile", "order")
    ]
    schema = json.loads(run("schema", "plan")[1])
    assert schema["title"] == "PlanFile"
    assert set(schema["$defs"]["TaskEntry"]["properties"]) == {
        "name",
        "stage",
        "mapping",
        "online",
        "ahead",
        "resident",
        "after",
    }


def test_a_dense_plan_is_shown_beside_the_scheduler_s(run, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    run("schedule", TRACE, *QUICK, "--method", "dense", "-o", str(path))
    out = run("simulate", TRACE, *QUICK, "--method", "dense", "--plan", str(path))[1]
    assert re.search(r"^ +dense +dense, as planned *$", out, re.MULTILINE)
    assert "dense, as planned takes" in out
    assert ": as fast for the same energy." in out


def test_the_timeline_is_that_of_the_plan_given(run, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    broken(run, path, lambda data: None)
    assert (
        run(
            "simulate", TRACE, *QUICK, "--engine", "event", "--plan", str(path), "--timeline", str(tmp_path / "t.json")
        )[0]
        == 0
    )
    serial = acs.simulate(acs.load_trace(TRACE), acs.load_design("sat_vcu1525"), batch=16)
    slices = [item for item in json.loads((tmp_path / "t.json").read_text())["traceEvents"] if item["ph"] == "X"]
    end = max(item["args"]["start_cycle"] + item["args"]["cycles"] for item in slices)
    assert end == serial.step.cycles
