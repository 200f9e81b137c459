"""``--accumulate`` and the DRAM capacity on the command line: exit codes and whole messages."""

import json

import pytest

SMALL = ("--set", "dram.capacity_gb=0.2")
MISFIT = (
    "error: resnet9_cifar10, bdwp 2:8: a step of 512 samples needs 701 MB of DRAM (7.81 MB weights, 26.3 MB masters,"
    " 26.3 MB state, 134 MB gradients, 506 MB activations); sat_vcu1525 + dram.capacity_gb 0.2 has 200 MB"
    " (dram.capacity_gb), enough for 105 samples: lower the batch (--batch 105) or run it in parts (--accumulate 8)\n"
)


def test_a_step_that_does_not_fit_is_exit_code_3(run, tmp_path) -> None:
    target = tmp_path / "r.json"
    assert run("simulate", "resnet9_cifar10", *SMALL, "-o", str(target)) == (3, "", MISFIT)
    assert not target.exists()
    assert run("schedule", "resnet9_cifar10", *SMALL) == (3, "", MISFIT)


def test_what_the_error_proposes_works(run) -> None:
    for options in (("--batch", "105"), ("--accumulate", "8"), ("--accumulate",)):
        code, out, _ = run("simulate", "resnet9_cifar10", *SMALL, "--json", *options)
        assert code == 0
        result = json.loads(out)
        assert sum(result["memory"].values()) <= 0.2e9
    assert result["options"]["accumulate"] == 8


def test_compare_takes_as_few_parts_as_fit_each_design(run) -> None:
    designs = ("--hw", "sat_vcu1525", "--hw", "sat_edge_zcu104", "--method", "bdwp")
    assert run("compare", "resnet18_imagenet", *designs)[0] == 3
    code, out, _ = run("compare", "resnet18_imagenet", *designs, "--json", "--accumulate")
    assert code == 0
    assert [result["options"]["accumulate"] for result in json.loads(out)["results"]] == [1, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("simulate", "--accumulate", "3"), "accumulate: got 3; equal parts of a batch of 512 are needed, as 1, 2, 4"),
        (("simulate", "--accumulate", "0"), "--accumulate 0: a whole number from 1 is needed, or none for as few parts as fit"),
        (("simulate", "--accumulate", "x"), "--accumulate x: a whole number from 1 is needed, or none for as few parts as fit"),
        (("simulate", "--mode", "infer", "--accumulate", "2"),
         "accumulate: got 2; a forward pass has no gradients that could accumulate over parts"),
        (("simulate", "--engine", "event", "--accumulate", "2", "--timeline", "t.json"),
         "--timeline t.json: shows a step that runs at once; leave --accumulate 2 out"),
        (("schedule", "--accumulate"), "--accumulate: the number of parts is needed here"),
        (("simulate", "--steps", "10", "--accumulate"), "--accumulate: the number of parts is needed here"),
        (("simulate", "--set", "dram.capacity_gb=0"), "--set: dram.capacity_gb: got 0; should be greater than 0"),
        (("simulate", "--set", "dram.capacity_gb=-1"), "--set: dram.capacity_gb: got -1; should be greater than 0"),
        (("simulate", "--set", "dram.capacity_gb=64GB"), '--set: dram.capacity_gb: got "64GB"; should be a valid number'),
        (("simulate", "--set", "dram.capacity=64"),
         "--set dram.capacity: no such field; did you mean 'dram.capacity_gb'?"),
    ],
)  # fmt: skip
def test_what_cannot_be(run, arguments: tuple[str, ...], message: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    command, *options = arguments
    code, out, err = run(command, "resnet9_cifar10", *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}") if "such field" in message else err == f"error: {message}\n"
    assert not list(tmp_path.iterdir())


def test_sweeps_have_rows_with_the_reason(run, tmp_path) -> None:
    target = tmp_path / "s.csv"
    arguments = (
        "sweep",
        "resnet9_cifar10",
        "--vary",
        "dram.capacity_gb=0.2,1",
        "--accumulate",
        "1,8",
        "-o",
        str(target),
    )
    code, out, _ = run(*arguments, "--jobs", "1")
    assert code == 0
    assert "4 points; 1 infeasible\n" in out
    lines = target.read_text().splitlines()
    assert MISFIT.removeprefix("error: ").strip() in lines[1]
    code, out, err = run("sweep", "resnet9_cifar10", "--accumulate", "3", "-o", str(tmp_path / "t.csv"))
    assert (code, out) == (2, "")
    assert err == "error: --accumulate: got 3; equal parts of a batch of 512 are needed, as 1, 2, 4\n"
