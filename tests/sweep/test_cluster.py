"""Sweeps by a Dask scheduler: a real one, with worker processes of its own."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accelsim.base.errors import InputError
from accelsim.sweep.cluster import cluster_executor
from accelsim.sweep.run import run_sweep
from accelsim.sweep.spec import make_sweep

distributed = pytest.importorskip("distributed")

SWEEP = make_sweep(["resnet9_cifar10"], vary={"batch": 32, "method": "dense,bdwp", "dram.bandwidth_gb_per_s": "1:60:1"})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as cluster:
        cluster.wait_for_workers(2)
        yield cluster


def test_a_worker_that_is_killed_changes_nothing(cluster: Any, tmp_path: Path) -> None:
    run_sweep(SWEEP, tmp_path / "serial.csv")
    workers = [worker.pid for worker in cluster.workers.values()]
    assert len(set(workers)) == 2
    killed: list[int] = []

    def kill(done: int, _total: int) -> None:
        if done >= 10 and not killed:
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    with cluster_executor(cluster.scheduler_address) as (executor, tasks):
        assert tasks == 2
        outcome = run_sweep(SWEEP, tmp_path / "r.csv", executor=executor, jobs=tasks, progress=kill)
    assert killed == workers[:1]
    assert (outcome.points, outcome.before) == (120, 0)
    assert (tmp_path / "r.csv").read_bytes() == (tmp_path / "serial.csv").read_bytes()


def test_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.sweep.cluster._PATIENCE_S", 1)
    with pytest.raises(InputError) as caught, cluster_executor("tcp://127.0.0.1:9"):
        pass
    assert str(caught.value) == "--dask tcp://127.0.0.1:9: no scheduler answers there within 1 s"
    with pytest.raises(InputError) as caught, cluster_executor("nowhere"):
        pass
    assert str(caught.value) == "--dask nowhere: no address of a scheduler, as in tcp://10.0.0.1:8786"


def test_no_workers() -> None:
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as cluster:
        address = cluster.scheduler_address
        with pytest.raises(InputError) as caught, cluster_executor(address):
            pass
    assert str(caught.value) == f"--dask {address}: the scheduler has no workers"


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.sweep.cluster.find_spec", lambda _: None)
    with pytest.raises(InputError) as caught, cluster_executor("tcp://127.0.0.1:9"):
        pass
    assert str(caught.value) == "--dask needs Dask: pip install -e '.[dask]' in the folder of accelsim"
