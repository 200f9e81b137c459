"""Training runs: sums of their steps by hand, each distinct step simulated once, files, and what cannot be."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.lowering.case import Case
from accelsim.lowering.tasks import Overrides
from accelsim.results.result_file import load_results, write_results
from accelsim.results.training import load_training, read_training, write_training
from accelsim.sparsity.methods import METHODS
from accelsim.training import steps_of

WORKLOAD = "resnet9_cifar10"
LACKING = (
    "decay 1 of 3: 7:8 runs dense, design 'sat_vcu1525' has no such mode; choosing the masks meanwhile is not counted"
)


def run_of(design: str = "sat_vcu1525", **more: Any) -> acs.TrainingResult:
    options = {"batch": 8, **({} if {"epochs", "dataset_size"} & set(more) else {"steps": 10}), **more}
    return acs.simulate_training(acs.load_trace(WORKLOAD), acs.load_design(design), **options)


def step_of(design: str = "sat_vcu1525", **more: Any) -> acs.Result:
    return acs.simulate(acs.load_trace(WORKLOAD), acs.load_design(design), **{"batch": 8, **more})


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_method_takes_so_many_steps(method: str) -> None:
    run, step = run_of(method=method), step_of(method=method)
    assert [(phase.name, phase.steps) for phase in run.phases] == [("training", 10)]
    assert run.phases[0].result == step
    assert run.totals.cycles == 10 * step.step.cycles
    assert run.totals.latency_s == 10 * step.step.latency_s
    assert run.totals.energy_j == 10 * step.step.energy_j
    assert run.totals.dram_bytes == 10 * step.step.dram_bytes
    assert run.totals.speedup == pytest.approx(step.step.speedup, rel=1e-12)
    assert run.pattern == step.pattern
    assert run.notes == ()


def test_totals_are_the_sum_of_phases_by_hand() -> None:
    run = run_of(method="stepwise-decay:bdwp", steps=100, dense_share=0.1, fine_tune_share=0.2)
    dense, half, quarter = step_of(method="dense").step, step_of(pattern="4:8").step, step_of(pattern="2:8").step
    # 10 dense; 70 decay: 24 at 7:8, which has no mode, 23 at 4:8, 23 at 2:8; 20 fine-tuning
    counts = {"dense": 10, "decay 1 of 3": 24, "decay 2 of 3": 23, "decay 3 of 3": 23, "fine-tuning": 20}
    assert {phase.name: phase.steps for phase in run.phases} == counts
    assert [phase.pattern for phase in run.phases] == [None, "7:8", "4:8", "2:8", "2:8"]
    assert [phase.method for phase in run.phases] == ["dense", *["bdwp"] * 4]
    assert [phase.result.method for phase in run.phases] == ["dense", "dense", "bdwp", "bdwp", "bdwp"]
    totals = run.totals
    assert totals.steps == 100
    assert totals.cycles == 34 * dense.cycles + 23 * half.cycles + 43 * quarter.cycles
    for name in ("latency_s", "energy_j", "dram_bytes"):
        by_hand = sum(steps * getattr(step, name) for steps, step in ((34, dense), (23, half), (43, quarter)))
        assert getattr(totals, name) == pytest.approx(by_hand, rel=1e-12)
    assert totals.dense_latency_s == 100 * dense.latency_s
    assert totals.dense_energy_j == 100 * dense.energy_j
    assert totals.speedup == pytest.approx(totals.dense_latency_s / totals.latency_s)
    assert totals.energy_gain == pytest.approx(totals.dense_energy_j / totals.energy_j)
    assert 1 < totals.speedup < quarter.speedup
    assert run.notes == (LACKING,)


@pytest.mark.parametrize("engine", ["closed", "event"])
def test_each_distinct_step_is_simulated_once(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    import accelsim.training as module

    simulated: list[str] = []
    caches: set[int] = set()
    real = module.simulate_case

    def counted(trace: acs.Trace, design: acs.Design, case: Case, **options: Any) -> acs.Result:
        simulated.append(str(case))
        caches.add(id(options["cache"]))
        assert options["cache"] is not None
        assert (str(case) == "dense") is (options.get("baseline") is None)
        return real(trace, design, case, **options)

    monkeypatch.setattr(module, "simulate_case", counted)
    run = run_of(method="stepwise-decay", steps=10**6, dense_share=0.1, fine_tune_share=0.5, engine=engine)
    assert len(run.phases) == 5
    assert simulated == ["dense", "sr-ste 4:8", "sr-ste 2:8"]
    assert len(caches) == 1
    assert {phase.result.engine for phase in run.phases} == {engine}


def test_mask_decay_is_dense_until_its_end() -> None:
    run = run_of(method="mask-decay")
    assert [(phase.name, phase.steps, phase.result.method) for phase in run.phases] == [
        ("mask decay", 5, "dense"), ("fine-tuning", 5, "sr-ste"),
    ]  # fmt: skip
    assert run.notes == (
        "mask decay: pruned weights are scaled, not zero, so products run dense; choosing the masks meanwhile is not counted",
    )
    assert (run.dense_share.value, run.fine_tune_share.value) == (0, 0.5)
    assert run.fine_tune_share.source.startswith("assumption: half of the run")


def test_epochs_count_the_last_batch_whole() -> None:
    run = run_of(epochs=3, dataset_size=20)
    assert (run.epochs, run.dataset_size, run.totals.steps) == (3, 20, 9)
    assert run.notes == ("the last batch of an epoch, 4 samples, counts as a whole step",)
    assert run_of(epochs=3, dataset_size=24).notes == ()


@pytest.mark.parametrize(
    ("batch", "length", "expected"),
    [
        (512, {"steps": 7}, 7),
        (512, {"epochs": 1, "dataset_size": 1}, 1),
        (512, {"epochs": 2, "dataset_size": 512}, 2),
        (512, {"epochs": 2, "dataset_size": 513}, 4),
        (256, {"epochs": 90, "dataset_size": 1_281_167}, 90 * 5005),
        (1, {"steps": 10**12}, 10**12),
    ],
)
def test_steps_of_a_run(batch: int, length: dict[str, int], expected: int) -> None:
    assert steps_of(batch, **length) == expected


MISSING = "steps: missing; a run is so many steps, or so many epochs over dataset_size samples"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": None}, MISSING),
        ({"epochs": 3}, "epochs: dataset_size is missing, the samples of an epoch (1281167 in ImageNet-1k)"),
        ({"dataset_size": 3}, "dataset_size: says nothing without epochs"),
        ({"steps": 3, "epochs": 3}, "steps: epochs is given as well; a run is as long as one of the two says"),
        ({"steps": 3, "dataset_size": 3}, "steps: dataset_size is given as well; a run is as long as one of the two says"),
        ({"steps": 0}, "steps: got 0; a whole number of at least 1 is needed"),
        ({"epochs": -1, "dataset_size": 3}, "epochs: got -1; a whole number of at least 1 is needed"),
        ({"epochs": 1.5, "dataset_size": 3}, "epochs: got 1.5; a whole number of at least 1 is needed"),
        ({"epochs": 1, "dataset_size": 0}, "dataset_size: got 0; a whole number of at least 1 is needed"),
        ({"epochs": 10**9, "dataset_size": 10**9}, f"length of the run: {10**9 * 125_000_000} steps; allowed: 1 to {10**12}"),
        ({"batch": 0}, "batch: got 0; allowed: 1 to 1048576"),
        ({"pattern": "2:x"}, "pattern '2:x': expected N:M with two whole numbers, as in 2:8"),
        ({"pattern": None}, "method 'bdwp' needs a pattern, as in 2:8"),
        ({"method": "stepwise-decay", "pattern": "3:8"}, "pattern 3:8: design 'sat_vcu1525' has no such mode; allowed: 1:2,"
         " 1:4, 2:4, 1:8, 2:8, 4:8, 1:16, 2:16, 4:16, 8:16 (array.patterns)"),
        ({"method": "stepwise-decay", "overrides": Overrides(sparse=(("fc", acs.Pattern(kept=1, group=4)),))},
         "--sparse fc=1:4: an operation with a pattern of its own does not follow 'stepwise-decay'; leave the pattern out"),
        ({"engine": "clsed"}, "engine 'clsed' is not known; did you mean 'closed'?; allowed: closed, event"),
        ({"optimizer": "adm"}, "optimizer 'adm' is not known; did you mean 'adam'?; allowed: sgd, adam"),
    ],
)  # fmt: skip
def test_runs_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(acs.InputError) as caught:
        run_of(**options)
    assert str(caught.value) == message


def test_a_design_without_modes_trains_dense_as_a_step_does() -> None:
    run = run_of("sat_vcu1525_dense", method="stepwise-decay", pattern="3:8")
    assert [phase.pattern for phase in run.phases] == ["7:8", "4:8", "3:8"]
    assert [phase.result.method for phase in run.phases] == ["sr-ste"] * 3
    assert run.totals.speedup == pytest.approx(1, rel=1e-12)
    assert run.notes == ()
    texts = {note.text for phase in run.phases for note in phase.result.notes}
    assert texts == {f"kept dense, the design has no {pattern} mode" for pattern in ("7:8", "4:8", "3:8")}


def test_overrides_reach_the_sparse_steps() -> None:
    plain, forced = (
        run_of(method="stepwise-decay", overrides=overrides) for overrides in (None, Overrides(dense=("residual*",)))
    )
    assert forced.phases[0].latency_s == plain.phases[0].latency_s
    assert forced.phases[2].latency_s > plain.phases[2].latency_s
    own = Overrides(sparse=(("*", acs.Pattern(kept=1, group=8)),))
    assert (
        run_of(method="dense-then-sparse", overrides=own).totals.latency_s
        < run_of(method="dense-then-sparse").totals.latency_s
    )


def test_identity_follows_every_input_and_nothing_else() -> None:
    base = run_of(method="stepwise-decay")
    assert run_of(method="stepwise-decay").identity == base.identity
    others = [
        run_of(method="stepwise-decay", **change)
        for change in ({"steps": 11}, {"batch": 9}, {"pattern": "2:4"}, {"optimizer": "adam"}, {"dense_share": 0.01})
    ]
    others += [
        run_of(method="stepwise-decay:bdwp"),
        run_of(method="mask-decay"),
        run_of(),
        run_of(method="constant:sr-ste"),
    ]
    assert len({base.identity, *(other.identity for other in others)}) == 10


@pytest.fixture(scope="module")
def run() -> acs.TrainingResult:
    return run_of(method="stepwise-decay", epochs=3, dataset_size=20, fine_tune_share=0.2)


@pytest.fixture
def data(run: acs.TrainingResult) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(run.to_dict()))
    return plain


def test_a_written_run_loads_as_it_was(run: acs.TrainingResult, tmp_path: Path) -> None:
    for name, other in (("a.json", run), ("b.json", run_of(method="traced"))):
        write_training(tmp_path / name, other)
        assert load_training(tmp_path / name) == other
    write_results(tmp_path / "step.json", [run.phases[2].result])
    phase = json.loads((tmp_path / "a.json").read_text())["phases"][2]
    assert json.loads((tmp_path / "step.json").read_text()) == {
        **phase["result"],
        "dense": json.loads(json.dumps(run.dense.to_dict())),
    }
    assert load_results(tmp_path / "step.json") == (run.phases[2].result,)
    with pytest.raises(acs.InputError, match=r"^run.txt: training runs are written as .json or .csv, got '.txt'$"):
        write_training(Path("run.txt"), run)


def test_rows_and_frame_have_one_line_per_phase(run: acs.TrainingResult, tmp_path: Path) -> None:
    write_training(tmp_path / "run.csv", run)
    rows = list(csv.DictReader((tmp_path / "run.csv").read_text().splitlines()))
    frame = run.to_frame()
    assert [row["phase"] for row in rows] == list(frame["phase"]) == [phase.name for phase in run.phases]
    assert sum(int(row["cycles"]) for row in rows) == frame["cycles"].sum() == run.totals.cycles
    assert {(row["recipe"], row["recipe_method"], row["recipe_pattern"]) for row in rows} == {
        ("stepwise-decay", "sr-ste", "2:8")
    }
    assert [(row["method"], row["pattern"], row["runs"]) for row in rows][:2] == [
        ("sr-ste", "7:8", "dense"), ("sr-ste", "4:8", "sr-ste"),
    ]  # fmt: skip
    assert "<caption>resnet9_cifar10 on sat_vcu1525: stepwise-decay of sr-ste 2:8</caption>" in run._repr_html_()


def error_of(data: Any) -> str:
    with pytest.raises(acs.InputError) as caught:
        read_training(data, "t.json")
    return str(caught.value)


def test_damage_is_named_with_its_path(data: dict[str, Any]) -> None:
    del data["epochs"], data["phases"][1]["result"]["options"]["batch"]
    data["phases"][0]["steps"] = 0
    data["dense_share"]["value"] = "0"
    data["extra"] = 1
    assert error_of(data).splitlines()[:4] == [
        "t.json: epochs: missing",
        "t.json: dense_share.value: got \"0\"; should be a valid number",
        "t.json: phases[0].steps: got 0; should be greater than or equal to 1",
        "t.json: phases[1].result.options.batch: missing",
    ]  # fmt: skip
    assert "t.json: extra: unknown key; allowed: format, workload, design, recipe," in error_of(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(batch=9), "t.json: batch: got 9; from the steps in the file follows 8"),
        (lambda data: data["totals"].update(speedup=2.5), "t.json: totals.speedup: got 2.5; from the steps in the file follows"),
        (lambda data: data["phases"][1].update(energy_j=1.0), "t.json: phases[1].energy_j: got 1.0; from the steps in the file"),
        (lambda data: data["phases"][0].update(runs="bdwp"),
         "t.json: phases[0].runs: got \"bdwp\"; from the steps in the file follows \"dense\""),
        (lambda data: data.update(identity="0"), "t.json: identity: got \"0\"; from the steps in the file follows"),
        (lambda data: data.update(phases=[]), "t.json: phases: at least one is needed"),
        (lambda data: data["phases"][1]["result"]["step"].update(latency_s=0.0),
         "t.json: phases[1].result: step.latency_s: got 0.0; from the layers, the energy and the design follows"),
        (lambda data: data["phases"][1]["result"]["options"].update(batch=9),
         "t.json: phases[1].result: identity: is not that of the workload, design, energy_table, options, trace, plan and"),
        (lambda data: data.update(format="accelsim-training/1"),
         "t.json: accelsim-training/1 is of an earlier version, which did not hold the design that it rests on; make it"
         " again with this one (accelsim simulate -o), which writes accelsim-training/2"),
    ],
)  # fmt: skip
def test_sums_that_do_not_follow_from_the_steps_are_refused(
    data: dict[str, Any], change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change(data)
    assert error_of(data).startswith(message)
    assert "\n" not in error_of(data)
