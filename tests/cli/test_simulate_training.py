"""``accelsim simulate`` of a whole training run: its screen, object and files, and bad input."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.base.units import show, show_duration
from accelsim.results.training import load_training

Run = Callable[..., tuple[int, str, str]]

TRACE = "resnet9_cifar10"
COMMAND = ["simulate", TRACE, "--batch", "64", "--epochs", "3", "--dataset-size", "50000"]


def run_of(**options: object) -> acs.TrainingResult:
    options = {"epochs": 3, "dataset_size": 50_000, "batch": 64, **options}
    return acs.simulate_training(acs.load_trace(TRACE), acs.load_design("sat_vcu1525"), **options)


def test_the_screen_shows_phases_and_totals_against_dense_training(run: Run) -> None:
    code, out, err = run(*COMMAND, "--method", "stepwise-decay", "--fine-tune-share", "0.25")
    assert (code, err) == (0, "")
    want = run_of(method="stepwise-decay", fine_tune_share=0.25)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[:6] == [
        "resnet9_cifar10, 2,346 training steps of 64 samples (3 epochs of 50,000 samples) on sat_vcu1525 (closed engine)",
        "stepwise-decay of sr-ste 2:8",
        "dense at first: 0 of the steps (published configuration of Bambhaniya et al., 2024)",
        "fine-tuning at last: 0.25 of the steps (given)",
        "",
        "phase method pattern steps step time phase time energy speedup",
    ]
    assert lines[6:10] == [
        f"{phase.name} sr-ste {pattern} {phase.steps} {show(phase.result.step.latency_s, 's')} {show_duration(phase.latency_s)}"
        f" {show(phase.energy_j, 'J')} {phase.result.step.speedup:.2f}x"
        for phase, pattern in zip(want.phases, ("7:8, runs dense", "4:8", "2:8", "2:8"), strict=True)
    ]
    totals = want.totals
    dense, sparse = show_duration(totals.dense_latency_s), show_duration(totals.latency_s)
    energies = [
        f"{show(energy / 3600, 'Wh')} ({show(energy, 'J')})" for energy in (totals.dense_energy_j, totals.energy_j)
    ]
    assert lines[10:] == [
        "",
        "dense stepwise-decay of sr-ste 2:8",
        f"training time {dense} {sparse}",
        f"energy {energies[0]} {energies[1]}",
        "",
        f"stepwise-decay of sr-ste 2:8 takes {sparse} instead of {dense}: {totals.speedup:.2f}x faster for"
        f" {totals.energy_gain:.2f}x less energy.",
        "",
        "notes",
        "decay 1 of 3: 7:8 runs dense, design 'sat_vcu1525' has no such mode; choosing the masks meanwhile is not counted",
        "the last batch of an epoch, 16 samples, counts as a whole step",
        "",
        "warnings",
        "kept dense, first layer: prep.0 (FF)",
        "kept dense, last layer: fc (FF)",
    ]


def test_dense_training_stands_alone(run: Run) -> None:
    code, out, _ = run("simulate", TRACE, "--batch", "8", "--steps", "1", "--method", "dense")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert lines[0] == "resnet9_cifar10, 1 training step of 8 samples on sat_vcu1525 (closed engine)"
    assert lines[5] == "dense"
    assert lines[6].startswith("training time")
    assert lines[7].startswith("energy")
    assert len(lines) == 8


def test_the_object_has_the_api_numbers_and_every_step(run: Run) -> None:
    code, out, err = run(*COMMAND, "--method", "mask-decay:bdwp", "--json")
    data = json.loads(out)
    assert (code, err) == (0, "")
    assert data == json.loads(json.dumps(run_of(method="mask-decay:bdwp").to_dict()))
    assert (data["format"], data["recipe"], data["method"], data["pattern"]) == (
        "accelsim-training/2", "mask-decay", "bdwp", "2:8",
    )  # fmt: skip
    assert [phase["result"]["format"] for phase in data["phases"]] == ["accelsim-result/2"] * 2
    assert data["dense"]["options"]["method"] == "dense"


def test_files_are_read_by_check_and_diff(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, steps in (("a", "100"), ("b", "102")):
        arguments = ["--steps", steps, "--method", "dense-then-sparse", "-o", f"{name}.json"]
        code, out, err = run("simulate", TRACE, "--batch", "8", *arguments)
        assert (code, err) == (0, "")
        assert out.endswith(f"written: {name}.json\n")
    assert run("simulate", TRACE, "--batch", "8", "--steps", "100", "-o", "c.csv")[0] == 0
    assert [row["phase"] for row in csv.DictReader(Path("c.csv").read_text().splitlines())] == ["training"]
    assert run("check", "a.json") == (
        0,
        "ok: a.json: training run of resnet9_cifar10 on sat_vcu1525, dense-then-sparse of bdwp 2:8: 100 steps in 2 phases\n",
        "",
    )
    assert run("diff", "a.json", "a.json")[0] == 0
    code, out, err = run("diff", "a.json", "b.json")
    assert (code, err) == (1, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    first, second = load_training("a.json"), load_training("b.json")
    assert f"identity {first.identity[:12]} {second.identity[:12]}" in lines
    assert "steps 100 102 +2.00%" in lines
    assert "sparse steps 50 51 +2.00%" in lines
    assert [line for line in lines if line in {"inputs", "totals", "phases", "notes"}] == ["inputs", "totals", "phases"]
    assert not any(line.startswith("step of") for line in lines)
    Path("b.json").write_text(Path("a.json").read_text().replace('"steps": 100', '"steps": 101'))
    assert run("check", "b.json") == (
        2,
        "",
        "error: b.json: totals.steps: got 101; from the steps in the file follows 100\n",
    )


def test_recipes_are_listed(run: Run) -> None:
    code, out, _ = run("list", "recipes")
    assert code == 0
    assert [line.split()[:4] for line in out.splitlines() if line and not line.startswith(" ")] == [
        ["recipe", "method", "dense", "share"],
        ["constant", "bdwp", "-", "-"],
        ["stepwise-decay", "sr-ste", "0", "0"],
        ["mask-decay", "sr-ste", "0", "0.5"],
        ["dense-then-sparse", "bdwp", "0.5", "-"],
    ]


OF_A_STEP = "is about one step; leave --epochs, --dataset-size and --steps out"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "stepwise-decay"], "method 'stepwise-decay' is a recipe for a training run, not for one step; say how"
         " long the run is: simulate with --epochs and --dataset-size, or with --steps (in Python simulate_training)"),
        (["--epochs", "3"], "epochs: dataset_size is missing, the samples of an epoch (1281167 in ImageNet-1k)"),
        (["--dataset-size", "3"], "dataset_size: says nothing without epochs"),
        (["--steps", "3", "--epochs", "2"], "steps: epochs is given as well; a run is as long as one of the two says"),
        (["--steps", "0"], "steps: got 0; a whole number of at least 1 is needed"),
        (["--steps", "-3"], "steps: got -3; a whole number of at least 1 is needed"),
        (["--steps", "9" * 13], f"length of the run: {'9' * 13} steps; allowed: 1 to 1000000000000"),
        (["--epochs", "1.5", "--dataset-size", "3"],
         "Invalid value for '--epochs': '1.5' is not a valid integer. (try: accelsim simulate --help)"),
        (["--epochs", "0", "--dataset-size", "3"], "epochs: got 0; a whole number of at least 1 is needed"),
        (["--dense-share", "0.1"],
         "--dense-share 0.1: is a part of a training run; add --epochs and --dataset-size, or --steps"),
        (["--fine-tune-share", "0.1"],
         "--fine-tune-share 0.1: is a part of a training run; add --epochs and --dataset-size, or --steps"),
        (["--steps", "3", "--dense-share", "0.1"], "dense_share: 'constant' has no such part; recipes that have one:"
         " stepwise-decay, mask-decay, dense-then-sparse"),
        (["--steps", "3", "--method", "mask-decay", "--dense-share", "2"],
         "dense_share: got 2; a share of the steps from 0 to below 1 is needed"),
        (["--steps", "3", "--method", "bdpw"], "method 'bdpw' is neither a method nor a recipe; did you mean 'bdwp'?; methods"
         " dense, sr-ste, sdgp, sdwp, bdwp, bi-mask, transposable, mvue, traced; recipes constant, stepwise-decay, mask-decay,"
         " dense-then-sparse, as in stepwise-decay or stepwise-decay:bdwp"),
        (["--steps", "3", "--mode", "infer"], "mode: got 'infer'; the steps of a training run have the mode train"),
        (["--steps", "3", "--timeline", "t.json"], f"--timeline t.json: {OF_A_STEP}"),
        (["--steps", "3", "--window", "1:2"], f"--window 1:2: {OF_A_STEP}"),
        (["--steps", "3", "--plan", "p.json"], f"--plan p.json: {OF_A_STEP}"),
        (["--steps", "3", "-o", "run.xlsx"], "-o run.xlsx: got suffix '.xlsx'; allowed: .json, .csv"),
        (["--steps", "3", "--method", "stepwise-decay", "--sparse", "fc=1:4"],
         "--sparse fc=1:4: an operation with a pattern of its own does not follow 'stepwise-decay'; leave the pattern out"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("simulate", TRACE, *arguments) == (2, "", f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []
