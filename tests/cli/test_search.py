"""accelsim search on the command line: what is printed and written, interrupts, errors."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna")

Run = Callable[..., tuple[int, str, str]]

SPACE = (
    "resnet9_cifar10", "--batch", "32", "--vary", "array.rows=8,16,32", "--vary", "array.cols=8,16,32", "--vary",
    "dram.bandwidth_gb_per_s=10,20", "--where", "array.rows >= array.cols",
)  # fmt: skip


def test_a_search(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    arguments = ("search", *SPACE, "-y", "dsp", "-z", "dram.bandwidth_gb_per_s", "-o", str(path), "--trials")
    code, out, err = run(*arguments, "8")
    assert (code, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0].split() == [
        "least",
        "latency_s",
        "least",
        "dsp",
        "least",
        "dram.bandwidth_gb_per_s",
        "rows",
        "cols",
    ]
    assert lines[-2:] == ["8 points evaluated", f"written: {path}"]
    front = next(line for line in lines if line.startswith("front:"))
    assert run("pareto", str(path), "-x", "latency_s", "-y", "dsp", "-z", "dram.bandwidth_gb_per_s")[1].startswith(
        out[: out.index("8 points evaluated")]
    )
    first = path.read_bytes()
    code, out, _ = run(*arguments, "99")
    assert code == 0
    assert path.read_bytes().startswith(first)
    assert "12 points evaluated, 8 of them before; these are all points there are\n" in out
    assert re.fullmatch(r"front: \d+ of \d+ points", front)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert all(int(row["array.rows"]) >= int(row["array.cols"]) for row in rows)


def test_a_search_through_dask_is_that_of_one_process(run: Run, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    arguments = ["search", *SPACE, "-y", "dsp", "--trials", "12", "-o"]
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        code, _, err = run(*arguments, str(tmp_path / "r.csv"), "--dask", cluster.scheduler_address)
    assert (code, err) == (0, "")
    assert run(*arguments, str(tmp_path / "serial.csv"))[0] == 0
    assert (tmp_path / "r.csv").read_bytes() == (tmp_path / "serial.csv").read_bytes()


def test_an_interrupt_prints_how_to_go_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.csv"

    def interrupted(*_: object, progress: Callable[[int, int], None], **__: object) -> None:
        progress(40, 99)
        raise KeyboardInterrupt

    monkeypatch.setattr("accelsim.sweep.search.run_search", interrupted)
    code, out, err = run("search", *SPACE, "-z", "lut", "--trials", "99", "-o", str(path))
    assert (code, out) == (130, "")
    assert err == (
        f"interrupted: 40 points are saved in {path}; go on with: accelsim search resnet9_cifar10 -x latency_s -y"
        " energy_j -z lut --batch 32 --vary array.rows=8,16,32 --vary array.cols=8,16,32 --vary"
        " dram.bandwidth_gb_per_s=10,20 --where 'array.rows >= array.cols' --trials 99 --sampler nsga2 --seed 0"
        f" -o {path}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*SPACE, "-y", "luts"), "-y luts: there is no such column; did you mean 'lut'?"),
        ((*SPACE, "-y", "latency_s"), "-y latency_s: is given twice; the objectives must differ"),
        (
            (*SPACE, "-y", "max(dsp, lut)"),
            "-y: 'max(dsp, lut)': a call (max) is not allowed; allowed: numbers, texts, names, + - * / // % **,"
            " comparisons, in [...], and, or, not",
        ),
        ((*SPACE, "--sampler", "tpa"), "sampler 'tpa' is not known; did you mean 'tpe'?; allowed: nsga2, tpe"),
        ((*SPACE, "--vary", "array.row=8"), "--vary array.row: no such field; did you mean 'array.rows'?"),
        (("edge_budget", "--batch", "8"), "--batch: edge_budget says what is swept; change it there"),
    ],
)
def test_bad_input(run: Run, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run("search", *arguments, "-o", str(tmp_path / "r.csv"))
    assert (code, out) == (2, "")
    assert err.split("; allowed: rows")[0].removesuffix("\n").startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_without_optuna(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.sweep.search.find_spec", lambda _: None)
    message = "error: a search needs Optuna: pip install -e '.[dse]' in the folder of accelsim\n"
    assert run("search", *SPACE, "-o", str(tmp_path / "r.csv")) == (2, "", message)
