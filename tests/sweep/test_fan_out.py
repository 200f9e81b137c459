"""Chunks out, rows in: everybody busy, few writes, bounded memory, whatever the order and however many slots."""

import heapq
import math
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest

from accelsim.sweep import fan_out as module
from accelsim.sweep.fan_out import Portions, fan_out
from accelsim.sweep.rows import Lines


def lines_of(points: Sequence[Any], seconds: float) -> Lines:
    return Lines(text=b"".join(b"%d\n" % point for point in points), points=len(points), seconds=seconds)


class Machine:
    """Slots in simulated time: each takes a chunk when it is free, `overhead_s` and `point_s` each point.

    Time goes on when the scheduler looks for what has ended, to the next end.
    """

    def __init__(self, slots: int, *, point_s: float, overhead_s: float = 0.005, seed: int = 0) -> None:
        self.slots, self.now, self.busy_s, self.most = slots, 0.0, 0.0, 0
        self._point_s, self._overhead_s, self._random = point_s, overhead_s, random.Random(seed)
        self._free = [0.0] * slots
        self._running: list[tuple[float, int, Future[Lines], Lines]] = []
        self._serial = 0

    def submit(self, points: tuple[Any, ...]) -> "Future[Lines]":
        seconds = self._overhead_s + len(points) * self._point_s * self._random.uniform(0.5, 1.5)
        begin = max(heapq.heappop(self._free), self.now)
        heapq.heappush(self._free, begin + seconds)
        self.busy_s += seconds
        future: Future[Lines] = Future()
        self._serial += 1
        heapq.heappush(self._running, (begin + seconds, self._serial, future, lines_of(points, seconds)))
        self.most = max(self.most, len(self._running))
        return future

    def get(self) -> bool:
        if not self._running:
            return False
        self.now, _, future, lines = heapq.heappop(self._running)
        future.set_result(lines)
        return True


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Machine]]:
    """Time passes in the machine that is put into this list."""
    machines: list[Machine] = []
    real = module._ended

    def ended(queue: Any) -> Any:
        for _ in range(max(machines[0].slots // 100, 1)):
            machines[0].get()
        return real(queue)

    monkeypatch.setattr(module, "_ended", ended)
    return machines


@pytest.mark.parametrize(
    ("slots", "points", "least_busy"),
    [(1, 5_000, 0.97), (4, 20_000, 0.95), (1_000, 400_000, 0.85), (10_000, 4_000_000, 0.85)],
)
def test_all_slots_are_busy(simulated: list[Machine], slots: int, points: int, least_busy: float) -> None:
    machine = Machine(slots, point_s=0.001)
    simulated.append(machine)
    portions = Portions(iter(range(points)), points, lambda: slots)  # type: ignore[arg-type]
    writes, chunks, wanted = 0, 0, 0

    def save(done: Sequence[Lines]) -> None:
        nonlocal writes, chunks, wanted
        writes, chunks = writes + 1, chunks + len(done)
        for lines in done:
            portions.adapt(lines)
            assert int(lines.text.split(b"\n", 1)[0]) == wanted
            wanted += lines.points

    began = time.process_time()
    fan_out(iter(portions), machine.submit, lambda: slots, save)  # type: ignore[arg-type]
    assert wanted == points
    assert machine.busy_s / (slots * machine.now) > least_busy
    assert points * 0.001 / machine.busy_s > 0.8  # of the rate without what a chunk costs
    assert machine.most <= 3 * slots
    assert writes <= chunks / (20 if slots >= 1_000 else 1)
    assert time.process_time() - began < 60


def sizes(points: int, slots: int, *, most: int = 256) -> list[int]:
    portions = Portions(iter([None] * points), points, lambda: slots, first=most)  # type: ignore[list-item]
    return [len(portion) for portion in portions]


def test_portions_fall_towards_the_end_and_are_never_needlessly_small() -> None:
    assert sizes(3, 1_000) == [1] * 3
    assert sizes(20_000, 1_000) == [16] * 1250
    few = sizes(20_000, 4)
    assert few[:50] == [256] * 50
    assert few == sorted(few, reverse=True)
    assert few[-2] == 16
    assert sum(few) == 20_000
    assert len(few) < 150
    assert sizes(10, 2, most=1) == [1] * 10
    assert sizes(600, 1) == [256, 256, 88]


@pytest.mark.parametrize(
    ("points", "seconds", "after"),
    [(256, 0.1, 512), (256, 1.0, 256), (256, 5.0, 128), (100, 0.1, 256), (10, 9.0, 5), (4096, 0.1, 512)],
)
def test_portions_follow_the_time_that_they_take(points: int, seconds: float, after: int) -> None:
    portions = Portions(iter([None] * 10**5), 10**5, lambda: 1)  # type: ignore[list-item]
    portions.adapt(lines_of(range(points), seconds))
    assert len(next(iter(portions))) == after


def test_slots_that_join_get_work() -> None:
    slots, running, most = [1], [0], [0]
    lock = threading.Lock()

    def work(points: tuple[int, ...]) -> Lines:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return lines_of(points, 0.01)

    def save(done: Sequence[Lines]) -> None:
        slots[0] = 4

    with ThreadPoolExecutor(12) as executor:
        fan_out(iter([(n,) for n in range(60)]), lambda item: executor.submit(work, item), lambda: slots[0], save)
    assert 4 <= most[0] <= 12


def test_rows_that_wait_for_an_earlier_one_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_HELD_BYTES", 100)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    first: Future[Lines] = Future()
    submitted = []

    def submit(item: int) -> "Future[Lines]":
        submitted.append(item)
        if item == 0:
            return first
        future: Future[Lines] = Future()
        future.set_result(Lines(text=b"x" * 30, points=1, seconds=0.1))
        return future

    saved: list[int] = []
    timer = threading.Timer(0.3, lambda: (seen.append(len(submitted)), first.set_result(lines_of([0], 0.1))))
    seen: list[int] = []
    timer.start()
    fan_out(iter(range(50)), submit, lambda: 2, lambda done: saved.append(len(done)))
    assert seen[0] <= 1 + 6 + 4
    assert sum(saved) == 50


def test_what_is_there_is_saved_before_an_error_and_the_rest_is_cancelled() -> None:
    futures: list[Future[Lines]] = [Future() for _ in range(4)]
    futures[0].set_result(lines_of([0], 0.1))
    futures[1].set_exception(ValueError("no"))
    saved: list[Lines] = []
    with pytest.raises(ValueError, match=r"^no$"):
        fan_out(iter(range(4)), lambda n: futures[n], lambda: 4, saved.extend)
    assert [lines.text for lines in saved] == [b"0\n"]
    assert [future.cancelled() for future in futures] == [False, False, True, True]


def test_a_chunk_that_was_given_up_ends_it() -> None:
    future: Future[Lines] = Future()
    future.cancel()
    with pytest.raises(CancelledError):
        fan_out(iter([0]), lambda _: future, lambda: math.inf, lambda _: None)  # type: ignore[arg-type,return-value]
