"""accelsim sweep on the command line: files, what is printed, interrupts, errors."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accelsim.sweep.run import run_sweep
from accelsim.sweep.spec import load_sweep, make_sweep

TRACE = "resnet9_cifar10"
SMALL = [TRACE, "--batch", "32"]
QUICK = [*SMALL, "--jobs", "1"]
SPEC = f"""
format: accelsim-sweep/1
name: small
description: a test
design: sat_vcu1525
vary:
  workload: [{TRACE}, vgg19_cifar100]
  method: [dense, bdwp]
  batch: [32]
  array.rows: [16, 32]
link: {{array.cols: array.rows}}
"""


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_axes_on_the_command_line(run, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    code, out, err = run(
        "sweep", *QUICK, "vgg19_cifar100", "--hw", "sat_edge_zcu104", "--vary", "array.rows=16,32", "--vary",
        "dram.bandwidth_gb_per_s=10:20:10", "--vary", "schedule.pregenerate=true,false", "--pattern", "2:4,2:8",
        "--method", "bdwp,dense", "--optimizer", "adam", "--engine", "closed", "--link", "array.cols = array.rows",
        "--where", "array.rows == 16 or pattern == '2:8'", "-o", str(path),
    )  # fmt: skip
    assert (code, err) == (0, "")
    rows = rows_of(path)
    assert [(row["method"], row["pattern"], row["array.rows"], row["array.cols"]) for row in rows[::4]] == [
        ("bdwp", "2:4", "16", "16"), ("bdwp", "2:8", "16", "16"), ("bdwp", "2:8", "32", "32"), ("dense", "", "16", "16"),
    ] * 2  # fmt: skip
    assert {row["workload"] for row in rows[:16]} == {TRACE}
    assert {(row["design"], row["optimizer"], row["batch"]) for row in rows} == {("sat_edge_zcu104", "adam", "32")}
    best = max(rows[:16], key=lambda row: float(row["samples_per_s"]))
    first = next(line for line in out.splitlines() if line.startswith(TRACE)).split()
    assert first[:3] == [TRACE, "bdwp", "2:8"]
    assert f"{float(best['speedup']):.2f}x" == first[-1]
    fastest = [
        row for half in (rows[:16], rows[16:]) for row in sorted(half, key=lambda row: -float(row["samples_per_s"]))[:5]
    ]
    unfit = sum(row["fits"] == "false" for row in fastest)
    assert 1 < unfit <= 10
    assert out.endswith(
        f"the most samples/s of each workload\n{unfit} of these 10 do not fit the device of sat_edge_zcu104 (estimate;"
        f" --where fits leaves out what does not)\n\n32 points\nwritten: {path}\n"
    )


def test_a_spec_and_a_second_run(run, tmp_path: Path) -> None:
    spec, path = tmp_path / "small.yaml", tmp_path / "r.csv"
    spec.write_text(SPEC)
    assert run("sweep", str(spec), "-o", str(path), "--jobs", "2")[0] == 0
    content = path.read_bytes()
    code, out, err = run("sweep", str(spec), "-o", str(path))
    assert (code, err, path.read_bytes()) == (0, "", content)
    assert out.endswith(f"8 points, 8 of them before\nwritten: {path}\n")
    run_sweep(load_sweep(spec), tmp_path / "api.csv")
    assert (tmp_path / "api.csv").read_bytes() == content


def test_points_that_cannot_be_simulated_are_rows(run, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    code, out, _ = run(
        "sweep", *QUICK, "--vary", "buffers.x_bytes=1,65536", "--vary", "schedule.dataflow=os,is", "-o", str(path)
    )
    assert code == 0
    assert [row["status"] for row in rows_of(path)] == ["infeasible", "error", "ok", "error"]
    assert "4 points; 1 infeasible; 2 error\n" in out
    code, out, err = run("sweep", *QUICK, "--vary", "buffers.x_bytes=1", "-o", str(tmp_path / "none.csv"))
    assert (code, out) == (3, f"1 points; 1 infeasible\nwritten: {tmp_path / 'none.csv'}\n")
    assert err.startswith("error: no point can be simulated; the first: operation '")


def test_designs_that_their_device_cannot_hold_are_not_simulated(run, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    code, _, _ = run("sweep", *QUICK, "--vary", "array.rows=16,256", "--fits", "-o", str(path))
    rows = rows_of(path)
    assert code == 0
    assert [row["status"] for row in rows] == ["ok", "infeasible"]
    assert re.fullmatch(
        r"does not fit its device: DSP: needs [\d,]+, the device has 5,880 beside its shell of 960; LUT: needs [\d,]+, the"
        r" device has 979,040 beside its shell of 203,200 \(estimate\)",
        rows[1]["reason"],
    )
    assert rows[1]["cycles"] == ""


def test_what_stays_while_its_leader_varies_is_noted_with_the_link_that_changes_it(run, tmp_path: Path) -> None:
    options = ["sweep", TRACE, "--batch", "8", "--vary", "array.macs_per_pe=1,2"]
    links = [
        "array.row_port_elements_per_cycle = 4 * array.macs_per_pe",
        "array.col_port_elements_per_cycle = 1 * array.macs_per_pe",
    ]
    code, _, err = run(*options, "-o", str(tmp_path / "a.csv"))
    assert (code, err) == (
        0, "".join(f"note: {link.split()[0]} stays {stays} while array.macs_per_pe varies; --link '{link}' changes it in"
                   " proportion\n" for link, stays in zip(links, (8, 2), strict=True)),
    )  # fmt: skip
    code, _, err = run(*options, *(word for link in links for word in ("--link", link)), "-o", str(tmp_path / "b.csv"))
    assert (code, err) == (0, "")
    one, two = rows_of(tmp_path / "b.csv")
    assert [one["array.row_port_elements_per_cycle"], two["array.row_port_elements_per_cycle"]] == ["4", "8"]


def test_sampling(run, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    arguments = ["sweep", *QUICK, "--vary", "dram.bandwidth_gb_per_s=10..80 log", "--sample", "3", "--sampling"]
    code, _, _ = run(*arguments, "latin-hypercube", "--seed", "7", "-o", str(path))
    assert code == 0
    sweep = make_sweep(
        [TRACE],
        vary={"batch": 32, "dram.bandwidth_gb_per_s": "10..80 log"},
        sample=3,
        sampling="latin-hypercube",
        seed=7,
    )
    assert [row["dram.bandwidth_gb_per_s"] for row in rows_of(path)] == [
        dict(p.changes).popitem()[1] for p in sweep.points()
    ]


def test_a_sweep_through_dask(run, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    arguments = ["sweep", *SMALL, "--vary", "array.rows=16,32", "-o"]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        code, _, err = run(*arguments, str(tmp_path / "r.csv"), "--dask", cluster.scheduler_address)
    assert (code, err) == (0, "")
    run(*arguments, str(tmp_path / "serial.csv"))
    assert (tmp_path / "r.csv").read_bytes() == (tmp_path / "serial.csv").read_bytes()


def test_no_scheduler(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("accelsim.sweep.cluster._PATIENCE_S", 1)
    code, out, err = run("sweep", *SMALL, "-o", str(tmp_path / "r.csv"), "--dask", "tcp://127.0.0.1:9")
    assert (code, out, err) == (2, "", "error: --dask tcp://127.0.0.1:9: no scheduler answers there within 1 s\n")
    assert list(tmp_path.iterdir()) == []


def test_parquet(run, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    code, out, _ = run("sweep", *QUICK, "--vary", "array.rows=16,32", "-o", str(tmp_path / "r.parquet"))
    assert code == 0
    assert out.endswith(f"written: {tmp_path / 'r.parquet'} and {tmp_path / 'r.csv'}\n")
    frame = pandas.read_parquet(tmp_path / "r.parquet")
    assert list(frame["array.rows"]) == [16, 32]
    assert [str(value) for value in frame["latency_s"]] == [row["latency_s"] for row in rows_of(tmp_path / "r.csv")]


LONG = ["--vary", "dram.bandwidth_gb_per_s=1:400:1", "--vary", "array.rows=8:64:8", "--vary", "array.cols=8:64:8"]


@pytest.mark.parametrize(("jobs", "end"), [("1", "terminal"), ("2", "terminal"), ("1", "SIGTERM"), ("2", "SIGTERM")])
def test_an_interrupt_says_how_to_go_on(tmp_path: Path, jobs: str, end: str) -> None:
    path = tmp_path / "r.csv"
    arguments = [TRACE, *LONG, "--where", "array.rows >= 16", "--batch", "32", "--jobs", jobs, "-o", str(path)]
    command = [sys.executable, "-m", "accelsim", "sweep", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not path.exists() or path.read_bytes().count(b"\n") < 5:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        if end == "terminal":
            os.killpg(process.pid, signal.SIGINT)  # all processes
        else:
            process.terminate()
        out, err = process.communicate()
    content = path.read_text()
    saved = content.count("\n") - 1
    assert (process.returncode, out) == (130, "")
    assert content.endswith("\n")
    assert 4 <= saved < 22_400
    message = (
        f"interrupted: {saved:,} points are saved in {path}; go on with: accelsim sweep {TRACE} --vary"
        " dram.bandwidth_gb_per_s=1:400:1 --vary array.rows=8:64:8 --vary array.cols=8:64:8 --where"
        f" 'array.rows >= 16' --batch 32 --jobs {jobs} -o {path}"
    )
    assert [line for line in err.splitlines() if not line.startswith("compiling")] == [message]


def test_a_terminal_shows_progress_and_a_file_does_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "accelsim", "sweep", *QUICK, "--vary", "dram.bandwidth_gb_per_s=1:40:1", "-o"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [*command, str(tmp_path / "a.csv")], stderr=theirs, stdout=subprocess.PIPE, check=True, env=environment
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert "/40" in shown
    assert b"40 points\n" in done.stdout
    quiet = subprocess.run([*command, str(tmp_path / "b.csv")], capture_output=True, text=True, check=True)
    assert [line for line in quiet.stderr.splitlines() if not line.startswith("compiling")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([TRACE], "missing option '-o' / '--output'. (try: accelsim sweep --help)"),
        ([TRACE, "-o", "r.json"], "-o r.json: got suffix '.json'; allowed: .csv, .parquet"),
        ([TRACE, "-o", "missing/r.csv"], "-o missing/r.csv: no directory missing"),
        (["edge_budget", "--hw", "sat_vcu1525", "-o", "r.csv"], "--hw: edge_budget says what is swept; change it there"),
        (["edge_budget", TRACE, "-o", "r.csv"], "TRACE: trace 'edge_budget': neither a file nor a shipped trace; shipped: "),
        (["edge_bugdet", "-o", "r.csv"], "'edge_bugdet': neither a sweep nor a trace; did you mean 'edge_budget'?; shipped: array_bandwidth, buffer_sizing, edge_budget, paper_region, pattern_method"),
        (["small.yaml", "-o", "r.csv"], "small.yaml: no such file"),
        ([TRACE, "--vary", "array.rows", "-o", "r.csv"], "--vary array.rows: a path, = and what follows are needed, as in array.rows=16,32,64"),
        ([TRACE, "--link", "=array.rows", "-o", "r.csv"], "--link =array.rows: a path, = and what follows are needed, as in array.cols=array.rows"),
        ([TRACE, "--vary", "array.rows=", "-o", "r.csv"], "--vary array.rows: has no value"),
        ([TRACE, "--vary", "array.rows=10:80:-10", "-o", "r.csv"], "--vary array.rows: '10:80:-10': steps of -10 from 10 never reach 80"),
        ([TRACE, "--pattern", "1:8:1", "-o", "r.csv"], "--pattern: '1:8:1': a pattern is N:M and never a range; list the patterns, as in 2:4,2:8"),
        ([TRACE, "--where", "len(method) > 2", "-o", "r.csv"], "--where: 'len(method) > 2': a call (len) is not allowed; allowed: numbers, texts, names, + - * / // % **, comparisons, in [...], and, or, not"),
        ([TRACE, "--vary", "array.rows=16,32", "--where", "array.rows > 64", "-o", "r.csv"], "--where: leaves no point: of 2 combinations, 'array.rows > 64' holds for 0"),
        ([TRACE, "--batch", "64", "--vary", "batch=32", "-o", "r.csv"], "--batch: is given twice"),
        ([TRACE, "--seed", "1", "-o", "r.csv"], "--seed: nothing is drawn without --sample N"),
        ([TRACE, "--jobs", "0", "-o", "r.csv"], "jobs: got 0; a whole number from 1 is needed"),
        ([TRACE, "--dask", "tcp://127.0.0.1:9", "--jobs", "2", "-o", "r.csv"], "--jobs: with --dask, its workers do the work, as many as there are"),
        ([TRACE, "--dask", "nowhere", "-o", "r.csv"], "--dask nowhere: no address of a scheduler, as in tcp://10.0.0.1:8786 or scheduler-file:PATH"),
        ([TRACE, "--dask-wait", "3", "-o", "r.csv"], "--dask-wait: nothing is waited for without --dask"),
        ([TRACE, "--dask", "tcp://127.0.0.1:9", "--dask-wait", "-1", "-o", "r.csv"], "--dask-wait -1: seconds from 0 are needed"),
        ([TRACE, "--dask", "scheduler-file:none.json", "-o", "r.csv"], "none.json: no such file"),
        ([TRACE, "--part", "3/2", "-o", "r.csv"], "--part 3/2: part I of N is needed as I/N, with I from 1 to N, as in 3/8"),
    ],
)  # fmt: skip
def test_bad_input(run, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "--dask" in arguments:
        pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    code, out, err = run("sweep", *arguments)
    assert (code, out) == (2, "")
    assert err.lower() == f"error: {message}\n".lower() or (
        message.endswith(": ") and err.startswith(f"error: {message}")
    )
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_another_sweep(run, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    assert run("sweep", *QUICK, "--vary", "array.rows=16,32", "-o", str(path))[0] == 0
    content = path.read_bytes()
    code, _, err = run("sweep", *QUICK, "--vary", "array.cols=16,32", "-o", str(path))
    assert (code, err) == (
        2,
        f"error: {path}: holds the results of another sweep: it lacks array.cols and has array.rows; write to another file\n",
    )
    first, second = (
        make_sweep([TRACE], vary={"batch": 32, "array.rows": rows}).identity for rows in ("16,32", "16,64")
    )
    code, _, err = run("sweep", *QUICK, "--vary", "array.rows=16,64", "-o", str(path))
    assert (code, err) == (
        2,
        f"error: {path}: line 2: is of the sweep {first}, and this is {second}: what is varied or what it rests on"
        " differs; write to another file\n",
    )
    assert path.read_bytes() == content


def test_check_and_schema_and_list_know_sweeps(run, tmp_path: Path) -> None:
    spec = tmp_path / "small.yaml"
    spec.write_text(SPEC)
    assert run("check", str(spec)) == (0, f"ok: {spec}: sweep small, 8 points of sat_vcu1525\n", "")
    spec.write_text(SPEC.replace("array.rows:", "array.row:"))
    code, _, err = run("check", str(spec))
    assert code == 2
    assert err.startswith(
        f"error: {spec}:10: vary.array.row: no such field; did you mean 'array.rows'?; allowed: array.rows,"
    )
    schema = json.loads(run("schema", "sweep")[1])
    assert schema["required"] == ["format", "name", "description", "design", "vary"]
    assert set(schema["properties"]) == {
        "format",
        "name",
        "description",
        "design",
        "vary",
        "link",
        "where",
        "fits",
        "sample",
    }
    out = run("list", "sweeps")[1]
    assert re.search(r"edge_budget +sat_edge_zcu104 +20,160 ", out)
