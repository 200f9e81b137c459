"""Sweeps on other machines, by a Dask scheduler (extra ``dask``).

Before a worker gets points it is looked at: a function that travels by value, as accelsim may not be there, imports it
and returns the digest of its sources. To a worker with the same code the files of the sweep are given, and then a
resource of Dask's, one of it, which all chunks need. So a worker that was not looked at gets no points, whenever it
joins; it needs no shared disk; and it evaluates one chunk at a time whatever its threads, which share an interpreter
lock. Dask gives the chunks of a worker that is lost to others.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from accelsim.base.carrying import carrying
from accelsim.base.code import code_digest, code_version
from accelsim.base.errors import InputError, to_install
from accelsim.base.files import parse_json, read_text
from accelsim.sweep.fan_out import Slots
from accelsim.sweep.inputs import Inputs, files_of
from accelsim.sweep.run import WorkersLostError

__all__ = ["WAIT_S", "cluster_executor", "keep_files"]

WAIT_S = 600.0
"""How long a sweep waits for workers where there are none."""

_PATIENCE_S = 10
_LOOK_S = 2.0
_FILE = "scheduler-file:"

Tell = Callable[[str], None]


@contextlib.contextmanager
def cluster_executor(
    address: str, inputs: Inputs, *, wait_s: float = WAIT_S, tell: Tell = lambda _: None
) -> Iterator[tuple[Executor, Slots]]:
    """Connect to the Dask scheduler at `address`; yield an executor, and what says how many chunks it runs at once.

    Args:
        address: of the scheduler, as in ``tcp://10.0.0.1:8786``, or ``scheduler-file:PATH``.
        inputs: of the points; files among them go to the workers.
        wait_s: how long to wait for a worker where there is none.
        tell: is told what a user should know: that it waits, and which workers get no points.

    Raises `InputError` where nothing answers at `address`, another version of Dask does, no worker comes, or one of
    those that are there lacks this code. One that joins later and lacks it gets no points.
    """
    if find_spec("distributed") is None:
        raise InputError(f"--dask needs Dask: {to_install('dask')}")
    with _connected(address) as client:
        cluster = _Cluster(client, address, files_of(inputs), wait_s, tell)
        with cluster.watched():
            yield cluster, cluster.slots


def _connected(address: str) -> Any:
    """Return a client of the scheduler at an address or in a scheduler file."""
    from distributed import Client  # noqa: PLC0415  an extra
    from distributed.versions import get_versions  # noqa: PLC0415  an extra

    where = _address_in(Path(address.removeprefix(_FILE))) if address.startswith(_FILE) else address
    ours = _versions_of(get_versions())
    try:
        # a client waits for ever for something that listens and says nothing
        with ThreadPoolExecutor(1) as thread:
            theirs = _versions_of(thread.submit(asyncio.run, _versions_at(where)).result())
        if theirs == ours:
            return Client(where, timeout=_PATIENCE_S, set_as_default=False)
    except ValueError:
        raise InputError(
            f"--dask {address}: no address of a scheduler, as in tcp://10.0.0.1:8786 or {_FILE}PATH"
        ) from None
    except OSError:
        raise InputError(f"--dask {address}: no scheduler answers there within {_PATIENCE_S} s") from None
    except Exception as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"--dask {address}: what answers there is no scheduler of this Dask: {what}") from None
    raise InputError(
        f"--dask {address}: the scheduler has Dask {theirs[0]} on Python {theirs[1]}, and this is {ours[0]} on"
        f" {ours[1]}; they must be the same"
    )


async def _versions_at(where: str) -> Mapping[str, Any]:
    """Return the versions of the scheduler at an address, as it says within some time."""
    from distributed import Security, rpc  # noqa: PLC0415  an extra

    async with rpc(where, connection_args=Security().get_connection_args("client")) as scheduler:
        found: Mapping[str, Any] = await asyncio.wait_for(scheduler.versions(packages=[]), _PATIENCE_S)
        return found


def _address_in(path: Path) -> str:
    """Return the address in a file that a scheduler wrote."""
    data = parse_json(read_text(path), str(path))
    found = data.get("address") if isinstance(data, dict) else None
    if not isinstance(found, str):
        raise InputError(f"{path}: no file of a Dask scheduler: it has no address")
    return found


def _within(client: Any, call: Callable[[], Any], patience_s: float | None = None) -> Any:
    """Return what a call of the client returns, within some time. Raises `TimeoutError`, and what the call raises."""

    async def bounded() -> Any:
        return await asyncio.wait_for(call(), _PATIENCE_S if patience_s is None else patience_s)

    return client.sync(bounded)


def _versions_of(found: Mapping[str, Any]) -> tuple[str, str]:
    """Return the versions of Dask and of Python, without its last part, of a machine."""
    return str(found["packages"]["distributed"]), ".".join(str(found["host"]["python"]).split(".")[:2])


def keep_files(tag: str, files: Mapping[str, bytes] | None) -> None:
    """Keep the files of a sweep in this worker, or forget them."""
    if files is None:
        _KEPT.pop(tag, None)
    else:
        _KEPT[tag] = files


_KEPT: dict[str, Mapping[str, bytes]] = {}


def _with_files(tag: str, function: Callable[..., Any], *arguments: Any) -> Any:
    with carrying(_KEPT[tag]):
        return function(*arguments)


def _by_value() -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Return functions that run where accelsim need not be: functions inside another one travel as they are."""

    def workers(tag: str, dask_scheduler: Any) -> Any:
        """Say how many workers are ready, how many of them have several threads, and which are not."""
        states = [worker for worker in dask_scheduler.workers.values() if worker.status.name == "running"]
        ready = [worker for worker in states if worker.resources.get(tag)]
        others = [(worker.address, worker.server_id) for worker in states if not worker.resources.get(tag)]
        return len(ready), sum(worker.nthreads > 1 for worker in ready), others

    async def admit(tag: str, code: str, files: Any, dask_worker: Any) -> Any:
        """Return version and digest of accelsim in a worker; where it is the same code, make it ready."""
        try:
            from accelsim.base.version import __version__ as version  # noqa: PLC0415
        except ImportError:
            return None
        try:
            from accelsim.base.code import code_digest as digest_of  # noqa: PLC0415
            from accelsim.sweep.cluster import keep_files as keep  # noqa: PLC0415
        except ImportError:
            return version, "unknown"
        digest = digest_of()
        if digest == code:
            keep(tag, files)
            await dask_worker.set_resources(**{tag: 1 if files is not None else 0})
        return version, digest

    def nothing() -> None:
        """Shows a cluster that grows on demand that there is demand."""

    return workers, admit, nothing


class _Cluster(Executor):
    """The workers of a scheduler that have this code, as an executor."""

    def __init__(self, client: Any, address: str, files: Mapping[str, bytes], wait_s: float, tell: Tell) -> None:
        self._client, self._address, self._files, self._wait_s, self._tell = client, address, files, wait_s, tell
        self._tag = f"accelsim-{uuid4().hex[:12]}"
        self._workers, self._admit, self._nothing = _by_value()
        self._executor = client.get_executor(pure=False, resources={self._tag: 1})
        self._ready, self._empty_since = 0, time.monotonic()
        self._refused: set[str] = set()
        self._ended = threading.Event()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
        """Have a worker call a function."""
        found: Future[Any] = self._executor.submit(_with_files, self._tag, function, *arguments, **options)
        return found

    def slots(self) -> int:
        """Return how many workers evaluate points. Raises `WorkersLostError` where there has been none for long."""
        if not self._ready and time.monotonic() - self._empty_since > self._wait_s:
            raise WorkersLostError(
                f"--dask {self._address}: no worker is left, and none came within {self._wait_s:g} s"
            )
        return self._ready

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within this, there was a worker, and those that join are admitted."""
        self._begin()
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._ended.set()
            watch.join(_PATIENCE_S)
            with contextlib.suppress(Exception):  # the scheduler may be gone
                self._call(self._admit, self._tag, code_digest(), None)

    def _call(self, function: Callable[..., Any], *arguments: Any, workers: Sequence[str] | None = None) -> Any:
        run = self._client.run
        return _within(self._client, lambda: run(function, *arguments, workers=workers, on_error="return"))

    def _begin(self) -> None:
        """Wait for a worker, and admit those that are there. Raises `InputError` for one that lacks this code."""
        demand = self._client.submit(self._nothing, pure=False)
        told = False
        while True:
            _, _, others = self._look()
            if others:
                wrong = self._admitted(others)
                if wrong:
                    raise InputError(
                        "\n".join(f"--dask {self._address}: {text}; it must have what runs here" for text in wrong)
                    )
            self._ready, threaded, _ = self._look()
            if self._ready:
                break
            if time.monotonic() - self._empty_since > self._wait_s:
                raise InputError(f"--dask {self._address}: no worker came within {self._wait_s:g} s (--dask-wait)")
            if not told:
                self._tell(f"waiting for workers of {self._address}, for {self._wait_s:g} s at most (--dask-wait) ...")
                told = True
            time.sleep(min(_LOOK_S, 0.2))
        demand.release()
        if threaded:
            self._tell(
                f"note: {threaded:,} of {self._ready:,} workers have several threads; a worker evaluates one chunk at a"
                " time, so start one per core, with --nthreads 1"
            )

    def _look(self) -> tuple[int, int, list[tuple[str, str]]]:
        scheduler = self._client
        found: tuple[int, int, list[tuple[str, str]]] = _within(
            scheduler, lambda: scheduler.run_on_scheduler(self._workers, self._tag)
        )
        return found

    def _watch(self) -> None:
        """Admit workers that join, and name those that are not, until the sweep ends."""
        while not self._ended.wait(_LOOK_S):
            with contextlib.suppress(Exception):  # a scheduler that is gone takes its tasks along, which ends the sweep
                self._look_again()

    def _look_again(self) -> None:
        ready, _, others = self._look()
        fresh = [worker for worker in others if worker[1] not in self._refused]
        if fresh:
            for text in self._admitted(fresh):
                self._tell(f"note: {text}; it gets no points")
            ready, _, _ = self._look()
        if self._ready and not ready:
            self._empty_since = time.monotonic()
            self._tell(f"no worker of {self._address} is left; waiting for one, for {self._wait_s:g} s at most ...")
        self._ready = ready

    def _admitted(self, workers: Sequence[tuple[str, str]]) -> list[str]:
        """Look at workers, and give the files to those with this code; say of the others what they lack."""
        from distributed.versions import get_versions  # noqa: PLC0415  an extra

        python = _versions_of(get_versions())[1]
        wrong: dict[str, str] = {}
        addresses = [address for address, _ in workers]
        found = self._call(get_versions, workers=addresses)
        for address, versions in found.items():
            if not isinstance(versions, Exception) and (theirs := _versions_of(versions)[1]) != python:
                wrong[address] = f"has Python {theirs}, and this is {python}"
        same = [address for address in addresses if address not in wrong]
        answers = self._call(self._admit, self._tag, code_digest(), self._files, workers=same) if same else {}
        for address, answer in answers.items():
            if isinstance(answer, OSError):
                continue  # it is gone
            if text := self._fault(answer):
                wrong[address] = text
        self._refused |= {identity for address, identity in workers if address in wrong}
        return [f"worker {address} {text}" for address, text in wrong.items()]

    @staticmethod
    def _fault(answer: Any) -> str | None:
        if isinstance(answer, Exception):
            return f"cannot be asked: {type(answer).__name__}: {answer}"
        if answer is None:
            return "cannot import accelsim: it is not installed there"
        version, digest = answer
        if digest == code_digest():
            return None
        return f"has other code: accelsim {version}+{digest}, and this is {code_version()}"
