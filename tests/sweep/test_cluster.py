"""Sweeps by a Dask scheduler: a real one on loopback, with worker processes of its own."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.base.code import code_digest, code_version
from accelsim.base.errors import InputError
from accelsim.base.files import packaged_path
from accelsim.sweep import cluster as module
from accelsim.sweep.cluster import cluster_executor
from accelsim.sweep.run import run_sweep
from accelsim.sweep.spec import make_sweep

distributed = pytest.importorskip("distributed")

SWEEP = make_sweep(["resnet9_cifar10"], vary={"batch": 32, "method": "dense,bdwp", "dram.bandwidth_gb_per_s": "1:60:1"})


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("serial") / "serial.csv"
    run_sweep(SWEEP, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as cluster:
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture
def scheduler() -> Iterator[Any]:
    """A scheduler without workers."""
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as cluster:
        yield cluster


Join = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def join(scheduler: Any, tmp_path: Path) -> Iterator[Join]:
    """Start a worker in a folder of its own, with what is first on its path."""
    started: list[subprocess.Popen[bytes]] = []

    def call(*paths: Path | str, threads: int = 1) -> "subprocess.Popen[bytes]":
        folder = tmp_path / f"worker{len(started)}"
        folder.mkdir()
        command = [
            sys.executable, "-c", WORKER, json.dumps([str(path) for path in paths]), scheduler.scheduler_address, str(threads)
        ]  # fmt: skip
        started.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.wait()


# `paths`: folders that modules are looked for in first, or "blocked": accelsim is not installed there.
WORKER = """
import asyncio, json, sys
paths, address, threads = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if paths == ["blocked"]:
    sys.modules["accelsim"] = None
else:
    sys.path[:0] = paths
from distributed import Worker

async def run():
    await (await Worker(address, nthreads=threads)).finished()

asyncio.run(run())
"""


@pytest.fixture
def other_code(tmp_path: Path) -> Path:
    """Accelsim of the same version, in which DRAM costs more energy."""
    package, folder = Path(acs.__file__).parent, tmp_path / "other"
    shutil.copytree(
        package, folder / "accelsim", ignore=shutil.ignore_patterns("__pycache__", "hw_configs", "workloads")
    )
    for name in ("hw_configs", "workloads"):
        (folder / name).symlink_to(packaged_path(name))
    changed = folder / "accelsim" / "results" / "energy.py"
    changed.write_text(changed.read_text() + "\n# other energies\n")
    return folder


def digest_in(folder: Path) -> str:
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from accelsim.base.code import code_digest as d; print(d())"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_worker_that_is_killed_changes_nothing(cluster: Any, serial: bytes, tmp_path: Path) -> None:
    workers = [worker.pid for worker in cluster.workers.values()]
    assert len(set(workers)) == 2
    killed: list[int] = []

    def kill(done: int, _total: int) -> None:
        if done >= 10 and not killed:
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    with cluster_executor(cluster.scheduler_address, SWEEP.inputs) as (executor, slots):
        assert slots() == 2
        outcome = run_sweep(SWEEP, tmp_path / "r.csv", executor=executor, jobs=slots, progress=kill)
    assert killed == workers[:1]
    assert (outcome.points, outcome.before) == (120, 0)
    assert (tmp_path / "r.csv").read_bytes() == serial


def test_a_worker_without_accelsim_ends_the_sweep_at_once(scheduler: Any, join: Join) -> None:
    join("blocked")
    scheduler.wait_for_workers(1)
    began = time.monotonic()
    with pytest.raises(InputError) as caught, cluster_executor(scheduler.scheduler_address, SWEEP.inputs):
        pass
    assert time.monotonic() - began < 30
    assert re.fullmatch(
        rf"--dask {scheduler.scheduler_address}: worker tcp://127\.0\.0\.1:\d+ cannot import accelsim: it is not installed"
        r" there; it must have what runs here",
        str(caught.value),
    )


def test_a_worker_with_other_code_of_the_same_version(scheduler: Any, join: Join, other_code: Path) -> None:
    join(other_code)
    scheduler.wait_for_workers(1)
    began = time.monotonic()
    with pytest.raises(InputError) as caught, cluster_executor(scheduler.scheduler_address, SWEEP.inputs):
        pass
    assert time.monotonic() - began < 30
    theirs = digest_in(other_code)
    assert theirs != code_digest()
    assert re.fullmatch(
        rf"--dask {scheduler.scheduler_address}: worker tcp://127\.0\.0\.1:\d+ has other code: accelsim"
        rf" {re.escape(acs.__version__)}\+{theirs}, and this is {re.escape(code_version())}; it must have what runs here",
        str(caught.value),
    )


def test_workers_that_join_get_work_if_they_have_this_code(
    scheduler: Any, join: Join, serial: bytes, other_code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.1)
    told: list[str] = []
    root = Path(acs.__file__).parents[1]
    address = scheduler.scheduler_address
    threading.Timer(1.0, join, [root]).start()
    with cluster_executor(address, SWEEP.inputs, wait_s=60, tell=told.append) as (executor, slots):
        assert told == [f"waiting for workers of {address}, for 60 s at most (--dask-wait) ..."]
        assert slots() == 1
        join("blocked")
        join(other_code)
        join(root)
        deadline = time.monotonic() + 30
        while (slots() < 2 or len(told) < 3) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert slots() == 2
        found = set(executor.map(where, range(20)))
        run_sweep(SWEEP, tmp_path / "r.csv", executor=executor, jobs=slots)
    assert len(found) == 2
    assert sorted(re.sub(r":\d+ ", " ", text) for text in told[1:]) == [
        "note: worker tcp://127.0.0.1 cannot import accelsim: it is not installed there; it gets no points",
        f"note: worker tcp://127.0.0.1 has other code: accelsim {acs.__version__}+{digest_in(other_code)}, and this is"
        f" {code_version()}; it gets no points",
    ]
    assert (tmp_path / "r.csv").read_bytes() == serial


def where(_: int) -> str:
    time.sleep(0.05)
    return str(distributed.get_worker().address)


def test_files_travel(scheduler: Any, join: Join, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in other folders, to which the names of trace, design, its base and energy tables say nothing."""
    monkeypatch.chdir(tmp_path)
    acs.save_trace(acs.load_trace("resnet9_cifar10"), "mynet.json.gz")
    table = packaged_path("hw_configs") / "energy" / "fpga_16nm.yaml"
    table = table if table.exists() else next((packaged_path("hw_configs") / "energy").glob("*.yaml"))
    Path("mine.yaml").write_text(table.read_text())
    Path("base.yaml").write_text((packaged_path("hw_configs") / "sat_vcu1525.yaml").read_text())
    Path("design.yaml").write_text("base: base.yaml\nname: mine\narray:\n  rows: 16\n")
    sweep = make_sweep(["mynet.json.gz"], "design.yaml", vary={"batch": 8, "energy": ["mine.yaml", table.stem]})
    run_sweep(sweep, "serial.csv")
    join(Path(acs.__file__).parents[1])
    with cluster_executor(scheduler.scheduler_address, sweep.inputs, wait_s=60) as (executor, slots):
        run_sweep(sweep, "r.csv", executor=executor, jobs=slots)
    assert Path("r.csv").read_bytes() == Path("serial.csv").read_bytes()
    assert b",ok," in Path("r.csv").read_bytes()


def test_threads_of_a_worker_share_one_slot(scheduler: Any, join: Join, serial: bytes, tmp_path: Path) -> None:
    join(Path(acs.__file__).parents[1], threads=4)
    scheduler.wait_for_workers(1)
    told: list[str] = []
    with cluster_executor(scheduler.scheduler_address, SWEEP.inputs, tell=told.append) as (executor, slots):
        assert slots() == 1
        run_sweep(SWEEP, tmp_path / "r.csv", executor=executor, jobs=slots)
    assert told == [
        "note: 1 of 1 workers have several threads; a worker evaluates one chunk at a time, so start one per core, with"
        " --nthreads 1"
    ]
    assert (tmp_path / "r.csv").read_bytes() == serial


def test_a_scheduler_file(cluster: Any, serial: bytes, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": cluster.scheduler_address}))
    with cluster_executor(f"scheduler-file:{file}", SWEEP.inputs) as (executor, slots):
        run_sweep(SWEEP, tmp_path / "r.csv", executor=executor, jobs=slots)
    assert (tmp_path / "r.csv").read_bytes() == serial
    file.write_text("{}")
    for path, message in (
        (file, f"{file}: no file of a Dask scheduler: it has no address"),
        (tmp_path / "none.json", f"{tmp_path / 'none.json'}: no such file"),
    ):
        with (
            pytest.raises(InputError, match=rf"^{re.escape(message)}$"),
            cluster_executor(f"scheduler-file:{path}", SWEEP.inputs),
        ):
            pass


def test_when_no_worker_is_left_the_rows_are_kept(
    scheduler: Any, join: Join, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.1)
    monkeypatch.setattr("accelsim.sweep.fan_out._LOOK_S", 0.2)
    worker = join(Path(acs.__file__).parents[1])
    told: list[str] = []
    sweep = make_sweep(["resnet9_cifar10"], vary={"batch": 32, "dram.bandwidth_gb_per_s": "1:20000:1"})
    address, path = scheduler.scheduler_address, tmp_path / "r.csv"

    def kill(done: int, _total: int) -> None:
        if done:
            worker.kill()

    scheduler.wait_for_workers(1)
    with (
        pytest.raises(InputError) as caught,
        cluster_executor(address, sweep.inputs, wait_s=2, tell=told.append) as (executor, slots),
    ):
        run_sweep(sweep, path, executor=executor, jobs=slots, progress=kill)
    rows = path.read_bytes().count(b"\n") - 1
    assert rows > 0
    assert str(caught.value) == (
        f"{path}: --dask {address}: no worker is left, and none came within 2 s; {rows:,} points are kept: run the same"
        " sweep again to go on"
    )
    assert told == [f"no worker of {address} is left; waiting for one, for 2 s at most ..."]


def test_no_workers(scheduler: Any) -> None:
    told: list[str] = []
    address = scheduler.scheduler_address
    with pytest.raises(InputError) as caught, cluster_executor(address, SWEEP.inputs, wait_s=1, tell=told.append):
        pass
    assert str(caught.value) == f"--dask {address}: no worker came within 1 s (--dask-wait)"
    assert told == [f"waiting for workers of {address}, for 1 s at most (--dask-wait) ..."]


def test_a_cluster_that_grows_on_demand_grows(tmp_path: Path, serial: bytes) -> None:
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        cluster.adapt(minimum=0, maximum=2)
        with cluster_executor(cluster.scheduler_address, SWEEP.inputs, wait_s=60) as (executor, slots):
            run_sweep(SWEEP, tmp_path / "r.csv", executor=executor, jobs=slots)
    assert (tmp_path / "r.csv").read_bytes() == serial


def test_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 1)
    for address, message in (
        ("tcp://127.0.0.1:9", "no scheduler answers there within 1 s"),
        ("nowhere", "no address of a scheduler, as in tcp://10.0.0.1:8786 or scheduler-file:PATH"),
    ):
        with pytest.raises(InputError) as caught, cluster_executor(address, SWEEP.inputs):
            pass
        assert str(caught.value) == f"--dask {address}: {message}"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silence", "http"])
def test_something_else_that_listens(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                taken.append(connection)
                if answer:
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(InputError) as caught, cluster_executor(address, SWEEP.inputs):
            pass
        assert time.monotonic() - began < 15
        server.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()
    assert str(caught.value).startswith(f"--dask {address}: ")
    assert "\n" not in str(caught.value)


def test_a_scheduler_of_another_dask(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._versions_of
    answers = iter([("1.2.3", "3.9")])
    monkeypatch.setattr(module, "_versions_of", lambda found: next(answers, None) or real(found))
    began = time.monotonic()
    with pytest.raises(InputError) as caught, cluster_executor(cluster.scheduler_address, SWEEP.inputs):
        pass
    assert time.monotonic() - began < 10
    python = ".".join(map(str, sys.version_info[:2]))
    assert str(caught.value) == (
        f"--dask {cluster.scheduler_address}: the scheduler has Dask {distributed.__version__} on Python {python}, and this"
        " is 1.2.3 on 3.9; they must be the same"
    )


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(InputError) as caught, cluster_executor("tcp://127.0.0.1:9", SWEEP.inputs):
        pass
    assert str(caught.value) == "--dask needs Dask: pip install -e '.[dask]' in the folder of accelsim"
