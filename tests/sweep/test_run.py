"""Running sweeps: the same file whoever evaluates the points, and however often the run is broken off."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.base.code import code_version
from accelsim.base.errors import InputError
from accelsim.hardware.sourced import override
from accelsim.sweep.basis_file import write_basis
from accelsim.sweep.device_fit import FIT
from accelsim.sweep.point import METRICS
from accelsim.sweep.rows import Chunk, lines_of
from accelsim.sweep.run import run_sweep
from accelsim.sweep.space import Sweep
from accelsim.sweep.spec import make_sweep

TRACE = "resnet9_cifar10"


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    """Sixteen points, of which two are infeasible and two an error."""
    return make_sweep(
        [TRACE],
        vary={
            "method": "dense,bdwp",
            "schedule.dataflow": "auto,is",
            "buffers.x_bytes": "1,65536",
            "dram.bandwidth_gb_per_s": "10,20.5",
        },
        link={"array.cols": "buffers.x_bytes * 0 + 32", "batch": "buffers.x_bytes * 0 + 64"},
    )


@pytest.fixture(scope="module")
def serial(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of an uninterrupted run in one process."""
    path = tmp_path_factory.mktemp("serial") / "r.csv"
    run_sweep(sweep, path)
    return path.read_bytes()


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(content.decode().splitlines()))


def test_rows_hold_inputs_and_every_metric(serial: bytes, sat: acs.Design) -> None:
    rows = rows_of(serial)
    assert len(rows) == 16
    assert list(rows[0]) == [
        "workload", "design", "method", "pattern", "batch", "optimizer", "engine", "accumulate", "schedule.dataflow",
        "buffers.x_bytes", "dram.bandwidth_gb_per_s", "array.cols", "status", "reason", *METRICS, *FIT, "checksum", "identity",
        "sweep", "version",
    ]  # fmt: skip
    assert [row["status"] for row in rows] == (["infeasible"] * 2 + ["ok"] * 2 + ["error"] * 4) * 2
    assert [row["dram.bandwidth_gb_per_s"] for row in rows[:4]] == ["10", "20.5", "10", "20.5"]
    assert (rows[0]["pattern"], rows[8]["pattern"], rows[0]["batch"]) == ("", "2:8", "64")
    assert rows[0]["reason"].endswith("of buffers.x_bytes, which has 1: 255 bytes are missing")
    assert rows[4]["reason"].endswith("schedule.dataflow: got 'is'; the array has os, ws (array.dataflows)")
    assert all(rows[0][name] == "" for name in METRICS)
    assert [[row["fits"] for row in rows[start : start + 4]] for start in (0, 4)] == [["true"] * 4, [""] * 4]
    changes = {name: rows[11][name] for name in ("buffers.x_bytes", "dram.bandwidth_gb_per_s", "array.cols")}
    result = acs.simulate(acs.load_trace(TRACE), override(sat, changes), batch=64)
    assert float(rows[11]["latency_s"]) == result.step.latency_s
    assert float(rows[11]["energy_j"]) == result.step.energy_j
    assert int(rows[11]["wu_cycles"]) == result.stages["WU"].cycles


def test_an_identity_is_that_of_the_inputs(tmp_path: Path) -> None:
    def identities(vary: dict[str, Any], **more: Any) -> list[str]:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"
        run_sweep(make_sweep([TRACE], vary={"batch": 64, **vary}, **more), path)
        return [row["identity"] for row in rows_of(path.read_bytes())]

    plain = identities({})
    assert identities({"array.rows": "32,16"})[0] == plain[0]
    assert identities({"dram.bandwidth_gb_per_s": ["76.8", 80], "array.overlap_tiles": True})[0] == plain[0]
    assert identities({"dram.bandwidth_gb_per_s": [80]}) == identities({"dram.bandwidth_gb_per_s": ["80.0"]})
    others = [
        *identities({"array.rows": "16"}), *identities({"method": "dense"}), *identities({"pattern": "2:4"}),
        *identities({"optimizer": "adam"}), *identities({}, design="sat_edge_zcu104"),
    ]  # fmt: skip
    assert len({*plain, *others}) == 6


@pytest.mark.parametrize("jobs", [2, 3])
def test_processes_write_what_one_does(sweep: Sweep, serial: bytes, tmp_path: Path, jobs: int) -> None:
    seen: list[tuple[int, int]] = []
    outcome = run_sweep(sweep, tmp_path / "r.csv", jobs=jobs, progress=lambda *done: seen.append(done))
    assert (outcome.points, outcome.before) == (16, 0)
    assert (tmp_path / "r.csv").read_bytes() == serial
    assert (seen[0], seen[-1]) == ((0, 16), (16, 16))
    assert seen == sorted(seen)


def test_any_executor_will_do(sweep: Sweep, serial: bytes, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        run_sweep(sweep, tmp_path / "r.csv", executor=executor, jobs=2)
    assert (tmp_path / "r.csv").read_bytes() == serial


class Recorder(Executor):
    """Evaluates chunks when there is nothing else to do, the last first, and counts how many are under way."""

    def __init__(self) -> None:
        self.points = self.most = 0
        self.waiting: list[tuple[Future[Any], Any, Chunk]] = []

    def submit(self, function: Any, /, chunk: Chunk) -> "Future[Any]":  # type: ignore[override]
        self.points += len(chunk.points)
        self.waiting.append((Future(), function, chunk))
        self.most = max(self.most, len(self.waiting))
        threading.Timer(0.05, self.evaluate).start()
        return self.waiting[-1][0]

    def evaluate(self) -> None:
        future, function, chunk = self.waiting.pop()
        future.set_result(function(chunk))


def test_rows_that_come_in_another_order_are_saved_in_that_of_the_sweep(
    sweep: Sweep, serial: bytes, tmp_path: Path
) -> None:
    recorder = Recorder()
    run_sweep(sweep, tmp_path / "r.csv", executor=recorder, jobs=4)
    assert (recorder.points, recorder.most) == (16, 4)
    assert (tmp_path / "r.csv").read_bytes() == serial


def test_a_finished_sweep_is_not_done_again(sweep: Sweep, serial: bytes, tmp_path: Path) -> None:
    path, recorder = tmp_path / "r.csv", Recorder()
    path.write_bytes(serial)
    before = path.stat().st_mtime_ns
    outcome = run_sweep(sweep, path, executor=recorder)
    assert (outcome.points, outcome.before, recorder.points) == (16, 16, 0)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (serial, before)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_run_that_ended_anywhere_is_resumed(sweep: Sweep, serial: bytes, tmp_path: Path, share: float) -> None:
    path, recorder = tmp_path / "r.csv", Recorder()
    path.write_bytes(serial[: int(share * len(serial))])
    write_basis(path, sweep.inputs, sweep.identity, complete=False)
    done = max(path.read_bytes().count(b"\n") - 1, 0)
    outcome = run_sweep(sweep, path, executor=recorder)
    assert (outcome.before, recorder.points) == (done, 16 - done)
    assert path.read_bytes() == serial


def test_rows_of_other_code_are_not_gone_on_with(
    sweep: Sweep, serial: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, basis = tmp_path / "r.csv", tmp_path / "r.basis.json"
    path.write_bytes(b"".join(serial.splitlines(keepends=True)[:5]))
    message = f"{path}: nothing says which code made its 4 rows ({basis} would); write to another file"
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        run_sweep(sweep, path)
    with monkeypatch.context() as patch:
        patch.setattr("accelsim.sweep.basis_file.code_version", lambda: "0.1.0+0123456789ab")
        write_basis(path, sweep.inputs, sweep.identity, complete=False)
    before = path.read_bytes(), basis.read_bytes()
    message = f"{path}: was made with accelsim 0.1.0+0123456789ab, and this is {code_version()}; write to another file"
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        run_sweep(sweep, path)
    assert (path.read_bytes(), basis.read_bytes()) == before


def test_the_digest_is_there_as_long_as_rows_are_missing(sweep: Sweep, tmp_path: Path) -> None:
    path, basis = tmp_path / "r.csv", tmp_path / "r.basis.json"
    codes = []
    run_sweep(sweep, path, progress=lambda *_: codes.append(json.loads(basis.read_text()).get("code")))
    assert set(codes) == {code_version()}
    assert "code" not in json.loads(basis.read_text())
    assert path.read_bytes().endswith(f",{acs.__version__}\n".encode())


KILLED = """
import os, signal, sys
from accelsim.sweep import journal
from accelsim.sweep.run import run_sweep

write, writes = os.write, 0

def write_half_and_die(file, data):
    global writes
    writes += bytes(data[:7]) == b"resnet9"  # the pipes of processes are written to as well
    if writes == 2:
        write(file, bytes(data)[: 3 * len(data) // 7])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(file, data)

if __name__ == "__main__":
    journal.os.write = write_half_and_die
    run_sweep(sys.argv[1], sys.argv[2], jobs=int(sys.argv[3]))
"""

SPEC = f"""
format: accelsim-sweep/1
name: small
description: ""
design: sat_vcu1525
vary:
  workload: [{TRACE}]
  batch: [32]
  dram.bandwidth_gb_per_s: 1:160:1
"""


@pytest.mark.parametrize(
    "keep", [lambda rows: rows[:1] + rows[2:], lambda rows: rows[1::-1] + rows[2:]], ids=["lost", "moved"]
)
def test_a_file_whose_rows_are_not_those_of_the_sweep_is_refused(
    sweep: Sweep, serial: bytes, tmp_path: Path, keep: Callable[[list[bytes]], list[bytes]]
) -> None:
    header, *rows = serial.splitlines(keepends=True)
    path = tmp_path / "r.csv"
    path.write_bytes(header + b"".join(keep(rows)))
    before = path.read_bytes()
    with pytest.raises(InputError) as error:
        run_sweep(sweep, path)
    assert re.fullmatch(
        rf"{re.escape(str(path))}: line [23]: [a-z_.]+: got \S+, where the sweep has \S+: rows were removed, added, changed"
        r" or moved; restore the file, or write to another",
        str(error.value),
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_killed_in_the_middle_of_a_write_is_resumed(tmp_path: Path, jobs: int) -> None:
    spec, path = tmp_path / "small.yaml", tmp_path / "r.csv"
    spec.write_text(SPEC)
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(spec), str(path), str(jobs)]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    torn = path.read_bytes()
    assert not torn.endswith(b"\n")
    assert 2 <= torn.count(b"\n") < 160
    outcome = run_sweep(spec, path)
    assert outcome.before == torn.count(b"\n") - 1
    run_sweep(spec, tmp_path / "whole.csv")
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


SLOW = """
import sys, time
from accelsim.sweep import run
from accelsim.sweep.rows import lines_of

def slowly(chunk):
    time.sleep(0.2)
    return lines_of(chunk)

run.lines_of = slowly
if __name__ == "__main__":
    run.run_sweep(sys.argv[1], sys.argv[2], jobs=2)
"""


def processes_of(group: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group and "Z" not in (folder / "stat").read_text().split(")")[1][:3]:
                found.append(int(folder.name))
        except (ProcessLookupError, FileNotFoundError):
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_no_process_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    spec, path = tmp_path / "small.yaml", tmp_path / "r.csv"
    spec.write_text(SPEC)
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, str(tmp_path / "slow.py"), str(spec), str(path)]
    with subprocess.Popen(command, start_new_session=True) as process:
        while not path.exists() or path.read_bytes().count(b"\n") < 3:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    deadline = time.monotonic() + 20
    while processes_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(process.pid) == []


class Broken(Executor):
    def submit(self, function: Any, /, chunk: Chunk) -> "Future[Any]":  # type: ignore[override]
        future: Future[Any] = Future()
        if any(("buffers.x_bytes", "65536") in point.changes for point in chunk.points):
            future.set_exception(BrokenProcessPool("gone"))
        else:
            future.set_result(function(chunk))
        return future


def test_a_process_that_dies_ends_the_run_with_what_was_done(sweep: Sweep, serial: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    message = (
        f"{path}: a process ended while it evaluated points (killed, or out of memory?); 2 points are kept: run the"
        " same sweep again to go on"
    )
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        run_sweep(sweep, path, executor=Broken(), jobs=16)
    assert path.read_bytes() == b"".join(serial.splitlines(keepends=True)[:3])


def test_an_interrupt_keeps_what_is_there(sweep: Sweep, serial: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"

    def interrupt(done: int, _total: int) -> None:
        if done >= 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, path, progress=interrupt)
    assert path.read_bytes() == b"".join(serial.splitlines(keepends=True)[:8])
    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, path, executor=executor, progress=interrupt)
    assert serial.startswith(path.read_bytes())
    run_sweep(sweep, path)
    assert path.read_bytes() == serial


def test_inputs_that_change_under_a_sweep_end_it(sweep: Sweep, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    other = replace(sweep, inputs=replace(sweep.inputs, design_digest="0"))
    message = "sat_vcu1525: holds something else where the points are evaluated than where the sweep began"
    with pytest.raises(InputError, match=rf"^{message}$"):
        run_sweep(other, path)
    chunk = Chunk(points=(), inputs=sweep.inputs, ends=("0", "0.1.0"), code="0.1.0+0123456789ab", fits=False)
    message = re.escape(
        f"the sweep began with accelsim 0.1.0+0123456789ab; a process that evaluates has {code_version()}"
    )
    with pytest.raises(InputError, match=rf"^{message}$"):
        lines_of(chunk)


def test_a_changed_trace_is_another_sweep(tmp_path: Path) -> None:
    trace, path = tmp_path / "t.json", tmp_path / "r.csv"
    acs.save_trace(acs.load_trace(TRACE), trace)
    first = make_sweep([str(trace)], vary={"batch": "32,64"})
    run_sweep(first, path)
    acs.save_trace(acs.load_trace("vgg19_cifar100"), trace)
    second = make_sweep([str(trace)], vary={"batch": "32,64"})
    message = (
        f"{path}: line 2: is of the sweep {first.identity}, and this is {second.identity}: what is varied or what it"
        " rests on differs; write to another file"
    )
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        run_sweep(second, path)


def test_the_file_of_another_version_is_refused(sweep: Sweep, serial: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(serial.replace(f",{acs.__version__}\n".encode(), b",0.0.9\n"))
    message = f"{path}: line 2: was made with accelsim 0.0.9, and this is {acs.__version__}; write to another file"
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        run_sweep(sweep, path)


@pytest.mark.parametrize(
    ("output", "more", "message"),
    [
        ("r.txt", {}, "r.txt: results are written as .csv or .parquet, got '.txt'"),
        ("r", {}, "r: results are written as .csv or .parquet, got 'no suffix'"),
        ("r.csv", {"jobs": 0}, "jobs: got 0; a whole number from 1 is needed"),
    ],
)
def test_bad_arguments(sweep: Sweep, output: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        run_sweep(sweep, output, **more)


def test_parquet_is_made_of_the_csv(sweep: Sweep, serial: bytes, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    outcome = run_sweep(sweep, tmp_path / "r.parquet")
    assert outcome.journal == tmp_path / "r.csv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.basis.json", "r.csv", "r.parquet"]
    assert (tmp_path / "r.csv").read_bytes() == serial
    table = parquet.read_table(tmp_path / "r.parquet")
    rows = rows_of(serial)
    assert table.column_names == list(rows[0])
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["batch"], types["buffers.x_bytes"], types["dram.bandwidth_gb_per_s"]) == ("int64", "int64", "double")
    assert (types["cycles"], types["latency_s"], types["pattern"]) == ("int64", "double", "string")
    for want, got in zip(rows, table.to_pylist(), strict=True):
        for name, value in got.items():
            if value is None:
                assert want[name] == ""
            else:
                assert type(value)(want[name]) == value
    first = (tmp_path / "r.parquet").read_bytes()
    run_sweep(sweep, tmp_path / "r.parquet")
    assert (tmp_path / "r.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("link", "kind"),
    [("array.rows * 2", "int64"), ("array.rows * 0.5", "double"), ("array.rows / 2", "double"), ("vector.lanes // array.rows", "int64"),
     ("dram.bandwidth_gb_per_s // 1 + 0 * array.rows", "double")],
)  # fmt: skip
def test_linked_counts_in_parquet(tmp_path: Path, link: str, kind: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run_sweep(
        make_sweep([TRACE], vary={"batch": 32, "array.rows": "15,16"}, link={"array.cols": link}),
        tmp_path / "r.parquet",
    )
    column = parquet.read_table(tmp_path / "r.parquet").column("array.cols")
    assert str(column.type) == kind
    assert [float(row["array.cols"]) for row in rows_of((tmp_path / "r.csv").read_bytes())] == column.to_pylist()


def test_parquet_without_pyarrow(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.sweep.parquet.find_spec", lambda _: None)
    message = (
        "results as .parquet need pyarrow: pip install -e '.[parquet]' in the folder of accelsim; .csv needs nothing"
    )
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        run_sweep(sweep, tmp_path / "r.parquet")
    assert list(tmp_path.iterdir()) == []
