"""Masks from the command line: gains by layer, runs of own phases, options that would be ignored, pictures and diff."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accelsim as acs
from accelsim.results.course import ALL, course_of
from accelsim.results.training import load_training
from accelsim.sparsity.masks import group_histograms, magnitude_mask
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.sampled_run import Sample

Run = Callable[..., tuple[int, str, str]]

SHAPE = (256, 256)


def seen(pattern: str | None) -> dict[str, Any]:
    """What the tracer writes of a weight with an N:M mask along its inputs, or a dense one."""
    if pattern is None:
        return {stage: {"weight": {"density": 1.0}} for stage in ("FF", "BP")}
    weights = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    mask = magnitude_mask(weights, Pattern.parse(pattern), 1)
    groups = [counts.tolist() for counts in group_histograms(mask, 1).values()]
    ff = {"density": float(mask.mean()), "axis": "input", "pattern": pattern, "groups": groups}
    return {"FF": {"weight": ff}, "BP": {"weight": {"density": 1.0}}}


@pytest.fixture
def files(make_trace: Callable[..., acs.Trace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """p0.json, p1.json and p2.json: a model whose layer pw1 is dense, 4:8 and 2:8; run.json: all three in turn."""
    monkeypatch.chdir(tmp_path)

    def made(pattern: str | None, bare: bool = False) -> acs.Trace:
        layers = [
            {"name": name, "kind": "linear", "in_features": 256, "out_features": 256, "rows": 16}
            | ({} if bare else {"observed": seen(own)})
            for name, own in (("first", None), ("pw1", pattern), ("last", None))
        ]
        return make_trace(*layers)

    patterns = (None, "4:8", "2:8")
    for index, pattern in enumerate(patterns):
        acs.save_trace(made(pattern), f"p{index}.json")
    samples = [{"step": 100 * index, "observed": {"pw1": seen(pattern)}} for index, pattern in enumerate(patterns)]
    run = acs.SampledRun(steps=300, trace=made(None, bare=True), samples=tuple(map(Sample.model_validate, samples)))
    acs.save_run(run, "run.json")
    return tmp_path


def test_the_table_of_gains_says_what_the_result_says(run: Run, files: Path) -> None:
    code, out, err = run("simulate", "p2.json", "--method", "traced", "--batch", "64", "--by-layer")
    assert (code, err) == (0, "")
    result = acs.simulate(acs.load_trace("p2.json"), acs.load_design("sat_vcu1525"), method="traced", batch=64)
    rows = [" ".join(line.split()) for line in out.splitlines()]
    at = rows.index("gain of each layer over the dense step")
    assert rows[at + 1] == "layer count stage dense ms ms gain masks density runs why not more"
    (gain,) = [gain for gain in result.layer_gains() if (gain.layer, gain.stage) == ("pw1", "FF")]
    wanted = f"pw1 FF {1e3 * gain.dense_s:.4g} {1e3 * gain.latency_s:.4g} {gain.gain:.2f}x 2:8 0.25 2:8 {gain.why}"
    assert any(row and wanted.startswith(row) for row in rows), wanted
    assert f"What limits it: {result.diagnosis()}." in rows
    assert result.dense is not None
    assert rows[-1 if rows[-1] else -2].startswith("step ") or any(
        row
        == f"step {1e3 * result.dense.step.latency_s:.4g} {1e3 * result.step.latency_s:.4g} {result.step.speedup:.2f}x"
        for row in rows
    )


def test_gains_as_json(run: Run, files: Path) -> None:
    data = json.loads(run("simulate", "p2.json", "--method", "traced", "--batch", "64", "--by-layer", "--json")[1])
    assert (data["format"], data["workload"], data["method"]) == ("accelsim-gains/1", "tiny", "traced")
    assert [(row["layer"], row["stage"], row["runs"]) for row in data["layers"] if row["runs"]] == [
        ("pw1", "FF", "2:8")
    ]


def test_masks_that_the_default_method_replaces_are_told_of(run: Run, files: Path) -> None:
    note = "note: tiny: this trace has masks, which the default method replaces by its own: --method traced runs them as they are\n"
    assert run("simulate", "p2.json", "--batch", "8")[::2] == (0, note)
    assert run("schedule", "p2.json", "--batch", "8")[::2] == (0, note)
    assert run("compare", "p2.json", "--batch", "8")[::2] == (0, note)
    assert run("simulate", "p2.json", "--batch", "8", "--method", "bdwp")[::2] == (0, "")
    assert note in run("sweep", "p2.json", "--batch", "8", "-o", "r.csv")[2]
    assert note not in run("sweep", "p2.json", "--batch", "8", "--method", "bdwp", "-o", "m.csv")[2]
    assert run("simulate", "p0.json", "--batch", "8")[::2] == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("simulate p2.json --method traced --pattern 2:4", "--pattern 2:4: method 'traced' takes no pattern; leave it out, or"
         " choose a method that does (accelsim list methods)"),
        ("schedule p2.json --method dense --pattern 2:4", "--pattern 2:4: method 'dense' takes no pattern; leave it out, or"
         " choose a method that does (accelsim list methods)"),
        ("compare p2.json --method dense --method traced --pattern 2:4", "--pattern 2:4: methods 'dense', 'traced' take no"
         " pattern; leave it out, or choose a method that does (accelsim list methods)"),
        ("report p2.json --method traced --pattern 2:4 -o new", "--pattern 2:4: method 'traced' takes no pattern; leave it"
         " out, or choose a method that does (accelsim list methods)"),
        ("ablate p2.json --method dense --pattern 2:4", "--pattern 2:4: method 'dense' takes no pattern; leave it out, or"
         " choose a method that does (accelsim list methods)"),
        ("simulate p2.json --method dense --sparse pw*", "--sparse pw*: with method 'dense' all runs dense; leave it out"),
        ("simulate p2.json --method dense --dense pw1", "--dense pw1: with method 'dense' all runs dense; leave it out"),
        ("simulate p2.json --method traced --mode infer --optimizer adam", "--optimizer adam: a step with --mode infer has no"
         " update; leave it out"),
        ("simulate p2.json --phase p1.json:3", "p2.json: --phase names the traces of a training run; leave TRACE out"),
        ("simulate --phase p1.json", "--phase p1.json: expected TRACE:STEPS, as in pruned.json:334"),
        ("simulate --phase p1.json:0", "--phase p1.json:0: expected TRACE:STEPS, as in pruned.json:334"),
        ("simulate --phase p1.json:3 --steps 4", "--steps 4: a run of phases is as long as its phases say; leave it out"),
        ("simulate --phase p1.json:3 --method bdwp", "--method bdwp: phases run the masks in their traces; leave it out, or"
         " say traced"),
        ("simulate --phase p1.json:3 --pattern 2:8", "--pattern: phases run the masks in their traces; leave it out"),
        ("simulate run.json --by-layer", "--by-layer: is about one step, and phases make a training run"),
        ("simulate --phase p1.json:3 --mode infer", "mode: got 'infer'; the steps of a training run have the mode train"),
        ("simulate p1.json --steps 3 --by-layer", "--by-layer: is about one step; leave --epochs, --dataset-size and --steps"
         " out"),
        ("simulate --phase p0.json:3 --phase resnet9_cifar10:3", "resnet9_cifar10: does other work than p0: operation 'first'"
         " is another; phases of a run differ in masks alone"),
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(run: Run, files: Path, arguments: str, message: str) -> None:
    assert run(*arguments.split()) == (2, "", f"error: {message}\n")
    assert not Path("new").exists()


def test_a_link_without_messages_is_told_of(run: Run, files: Path) -> None:
    note = "note: --link-gb-per-s: the trace has no messages between ranks; nothing is charged\n"
    assert run("simulate", "p0.json", "--batch", "8", "--link-gb-per-s", "3")[::2] == (0, note)


def test_phases_and_a_sampled_run_are_the_same_training(run: Run, files: Path) -> None:
    phases = [word for index in range(3) for word in ("--phase", f"p{index}.json:100")]
    code, out, err = run("simulate", *phases, "--batch", "64", "-o", "own.json")
    assert (code, err) == (0, "")
    assert run("simulate", "run.json", "--batch", "64", "-o", "sampled.json")[::2] == (0, "")
    own, sampled = load_training("own.json"), load_training("sampled.json")
    assert ([phase.name for phase in own.phases], own.totals.steps) == (["p0", "p1", "p2"], 300)
    assert [phase.name for phase in sampled.phases] == ["step 0", "step 100", "step 200"]
    assert own.totals == sampled.totals
    design = acs.load_design("sat_vcu1525")
    for index, phase in enumerate(own.phases):
        step = acs.simulate(acs.load_trace(f"p{index}.json"), design, method="traced", batch=64)
        assert (phase.result.step, phase.result.layers) == (step.step, step.layers)
    assert "p2     traced  -          100    0.750" in out


def test_the_course_of_a_run(run: Run, files: Path) -> None:
    run("simulate", "run.json", "--batch", "64", "-o", "sampled.json")
    training = load_training("sampled.json")
    points = course_of(training)
    assert list(dict.fromkeys(point.layer for point in points)) == [ALL, "pw1"]
    own = [point for point in points if point.layer == "pw1"]
    assert [(point.step, point.steps, point.density) for point in own] == [
        (0, 100, 1.0),
        (100, 100, 0.5),
        (200, 100, 0.25),
    ]
    assert {point.pattern for point in points} == {"2:8"}
    assert [point.conforming for point in own][::2] == [0.0, 1.0]
    assert [point.speedup for point in points if point.layer == ALL] == [
        phase.result.step.speedup for phase in training.phases
    ]
    for point, phase in zip(own, training.phases, strict=True):
        gains = [gain for gain in phase.result.layer_gains() if gain.layer == "pw1"]
        wanted = sum(gain.dense_s for gain in gains) / sum(gain.latency_s for gain in gains)
        assert point.speedup == pytest.approx(wanted, rel=1e-12)
    with pytest.raises(
        acs.InputError,
        match=r"^pattern 3:8: groups are held against modes of the design; did you mean '4:8'\?; allowed: 1:2, ",
    ):
        course_of(training, "3:8")


def test_pictures_of_own_phases(run: Run, files: Path) -> None:
    run("simulate", "run.json", "--batch", "64", "-o", "sampled.json")
    for index in (1, 2):
        run("simulate", f"p{index}.json", "--method", "traced", "--batch", "64", "-o", f"s{index}.json")

    def rows(*arguments: str) -> list[dict[str, str]]:
        assert run("plot", *arguments, "-o", "f.png")[0] == 0
        return list(csv.DictReader(Path("f.csv").read_text().splitlines()))

    assert [row["speedup"] for row in rows("phases", "sampled.json") if row["layer"] == ALL] == [
        f"{phase.result.step.speedup:.12g}" for phase in load_training("sampled.json").phases
    ]
    assert {row["pattern"] for row in rows("phases", "sampled.json", "--value", "4:8", "--layer", "pw1")} == {"4:8"}
    assert {row["case"] for row in rows("stages", "s2.json")} == {"dense", "traced"}
    assert {row["case"] for row in rows("energy", "s1.json", "s2.json")} == {"dense", "traced (s1)", "traced (s2)"}
    layers = rows("layer-speedup", "s1.json", "s2.json")
    assert {(row["case"], row["over"]) for row in layers} == {("traced (s1)", "dense"), ("traced (s2)", "dense")}
    assert [row["case"] for row in rows("speedup", "s1.json", "s2.json")] == ["traced (s1)", "traced (s2)"]
    assert run("plot", "phases", "sampled.json", "--layer", "pw", "-o", "f.png")[2] == (
        "error: --layer pw: sampled.json has no such layer with a mask; did you mean 'pw1'?\n"
    )


def test_traces_of_one_model_carry_the_names_of_their_files(run: Run, files: Path) -> None:
    code, _, _ = run(
        "compare", "p1.json", "p2.json", "--method", "dense", "--method", "traced", "--batch", "8", "-o", "c.json"
    )
    assert code == 0
    assert [result.workload for result in acs.load_results("c.json")] == ["tiny (p1.json)"] * 2 + ["tiny (p2.json)"] * 2
    for index in (1, 2):
        run("simulate", f"p{index}.json", "--method", "traced", "--batch", "8", "-o", f"s{index}.json")
    assert run("report", "s1.json", "s2.json", "-o", "page")[0] == 0
    assert "<h1>tiny (s1), tiny (s2) on sat_vcu1525" in Path("page/index.html").read_text()


def test_a_run_in_samples_is_no_trace(run: Run, files: Path) -> None:
    text = "error: run.json: holds a training run in samples, not a trace; accelsim simulate run.json takes it\n"
    assert run("info", "run.json") == (2, "", text)
    assert run("compare", "p0.json", "run.json") == (2, "", text)
    assert run("plot", "phases", "run.json", "-o", "f.png") == (
        2,
        "",
        "error: run.json: holds the masks of a training run, not what it takes; simulate it first: accelsim simulate"
        " run.json -o RESULT.json\n",
    )


def test_what_masks_became_between_two_phases(run: Run, files: Path) -> None:
    code, out, err = run("diff", "p1.json", "p2.json")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[:5] == ["A: p1.json", "B: p2.json", "", "masks", "pw1 FF 4:8 -> 2:8, density 0.50 -> 0.25"]
    assert lines[5].startswith("histograms and densities of operands: ")
    assert lines[5].endswith(" values differ in 1 operation; --all shows them")
    every = run("diff", "p1.json", "p2.json", "--all")[1]
    assert "observed.FF.weight.groups[1]" in every
    assert "--all shows them" not in every
