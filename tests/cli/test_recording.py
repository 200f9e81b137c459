"""``accelsim simulate --timeline``: what is written, and what is refused."""

import json
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.base.units import show
from accelsim.results.timeline import make_timeline
from accelsim.results.timeline_file import load_timeline

TRACE = "resnet18_tinyimagenet"
EVENT = ["--engine", "event", "--batch", "8"]


def test_simulate_writes_the_timeline_of_its_step(run, tmp_path: Path) -> None:
    target = tmp_path / "t.json.gz"
    code, out, err = run("simulate", TRACE, *EVENT, "--timeline", str(target), "--window", "100us:0.2ms")
    assert (code, err) == (0, "")
    assert out.endswith(f"written: {target}\n")
    timeline = load_timeline(target)
    result = json.loads(run("simulate", TRACE, *EVENT, "--json")[1])
    assert timeline.about.cycles == result["step"]["cycles"]
    assert timeline.about.window == (20_000, 40_000)
    assert timeline.about.title == "resnet18_tinyimagenet on sat_vcu1525: bdwp 2:8, batch 8"
    added = sum(item.args.adds_cycles or 0 for item in timeline.slices)
    assert added == sum(layer["cycles"] for layer in result["layers"]) == result["step"]["cycles"]
    assert [path.name for path in tmp_path.iterdir()] == ["t.json.gz"]


def test_timeline_beside_json_output_and_results(run, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("r.json", "t.json")]
    code, out, err = run("simulate", TRACE, *EVENT, "-o", names[0], "--timeline", names[1], "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((tmp_path / "r.json").read_text())
    first = (tmp_path / "t.json").read_bytes()
    assert run("simulate", TRACE, *EVENT, "--timeline", names[1])[0] == 0
    assert (tmp_path / "t.json").read_bytes() == first


@pytest.mark.parametrize(
    "options",
    [["--mode", "infer"], ["--optimizer", "adam", "--set", "schedule.scheduler=optimal"], ["--method", "dense"],
     ["--dense", "layer1.*", "--pattern", "1:4"]],
)  # fmt: skip
def test_timeline_is_of_the_step_under_all_options(run, tmp_path: Path, options: list[str]) -> None:
    target = tmp_path / "t.json"
    code, out, _ = run("simulate", TRACE, *EVENT, *options, "--timeline", str(target), "--json")
    assert code == 0
    about, step = load_timeline(target).about, json.loads(out)
    assert about.cycles == step["step"]["cycles"]
    assert (about.method, about.pattern, about.mode, about.optimizer) == tuple(
        step["options"][name] for name in ("method", "pattern", "mode", "optimizer")
    )


def test_a_note_says_where_jobs_are_drawn_together(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.results.timeline.MOST_JOBS", 50)
    target = tmp_path / "t.json"
    code, _, err = run("simulate", TRACE, *EVENT, "--timeline", str(target), "--window", ":")
    about = load_timeline(target).about
    assert code == 0
    assert err == (
        f"note: {about.jobs:,} jobs in the window; up to {about.jobs_per_slice} neighbours of a GEMM are one slice\n"
    )


def test_timeline_of_a_given_plan(run, tmp_path: Path) -> None:
    plan, ours, given = (str(tmp_path / name) for name in ("plan.json", "ours.json", "given.json"))
    optimal = ["--set", "schedule.scheduler=optimal"]
    assert run("schedule", TRACE, *EVENT, *optimal, "-o", plan)[0] == 0
    assert run("simulate", TRACE, *EVENT, *optimal, "--timeline", ours)[0] == 0
    assert run("simulate", TRACE, *EVENT, *optimal, "--plan", plan, "--timeline", given)[0] == 0
    assert load_timeline(ours) == load_timeline(given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--timeline", "t.json"],
         "--timeline t.json: only the event engine has a notion of time; got 'closed', use --engine event"),
        ([*EVENT, "--window", "1:2"], "--window 1:2: is a part of a timeline; add --timeline FILE"),
        ([*EVENT, "--timeline", "t.csv"], "--timeline t.csv: got suffix '.csv'; allowed: .json, .json.gz"),
        ([*EVENT, "--timeline", "t.gz"], "--timeline t.gz: got suffix '.gz'; allowed: .json, .json.gz"),
        ([*EVENT, "--timeline", "no/t.json"], "--timeline no/t.json: no directory no"),
        ([*EVENT, "--timeline", "t.json", "--window", "7:7"], "--window 7:7: is empty"),
        ([*EVENT, "--timeline", "t.json", "--window", "7:6"], "--window 7:6: ends before it starts"),
        ([*EVENT, "--timeline", "t.json", "--window", "7"],
         "--window 7: expected START:END in cycles, as in 20000:35000, or in time, as in 1.5ms:2ms"),
        ([*EVENT, "--timeline", "t.json", "-o", "r.json", "--window", "9s:"],
         "--window 9s:: starts at cycle 1,800,000,000, outside the step, which takes {step}"),
        ([*EVENT, "--timeline", "t.json", "--window", "0:1s"],
         "--window 0:1s: ends at cycle 200,000,000, outside the step, which takes {step}"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    step = acs.simulate(acs.load_trace(TRACE), acs.load_design("sat_vcu1525"), batch=8, engine="event").step
    want = message.format(step=f"{step.cycles:,} cycles ({show(step.latency_s, 's')})")
    assert run("simulate", TRACE, *arguments) == (2, "", f"error: {want}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_window_with_too_many_events_is_exit_code_3(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(make_timeline.__kwdefaults__, "limit", 1600)
    target = tmp_path / "t.json"
    code, out, err = run("simulate", TRACE, *EVENT, "--timeline", str(target), "--window", ":")
    assert (code, out) == (3, "")
    assert err.startswith("error: more than 1,600 events: '")
    assert err.endswith("; narrow the window, or raise the limit\n")
    assert not target.exists()
