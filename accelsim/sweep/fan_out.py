"""Keeping processes busy: chunks of points go out, their rows are saved in the order of the points.

Each slot has a chunk that runs and others that wait there, so that none idles between two. The chunks that are left
shrink with what is left of the sweep, so that no slot works long after the others have ended. Rows that come before
those of earlier points wait in memory, so many bytes of them at most; what is there in order is saved at one go.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from queue import Empty, SimpleQueue
from typing import TypeVar

from accelsim.sweep.point import Point
from accelsim.sweep.rows import Lines

__all__ = ["Portions", "Slots", "fan_out"]

Slots = Callable[[], int]
"""How many chunks run at once, asked again and again: workers join and leave."""

Item = TypeVar("Item")

_UNDER_WAY = 3  # chunks per slot that are not done: one runs, the others wait there
_MOST_HELD_BYTES = 256 * 2**20
_LOOK_S = 2.0  # after so long without a chunk that ends, slots are counted again
_LARGEST = 4096
_SMALLEST = 16  # from here on what a chunk costs beside its points is a tenth of what they cost
_FIRST = 256
_SHORT_S, _LONG_S = 0.5, 2.0


class Portions:
    """Points in portions for `slots`; `total` of them are left.

    Their size follows how long they take, from `first` on, so that little is lost when a process ends and little spent
    on each. While all slots have work it is the same; towards the end it falls to a sixth of what is left per slot.
    """

    def __init__(self, points: Iterator[Point], total: int, slots: Slots, *, first: int = _FIRST) -> None:
        self._points, self._left, self._slots = points, total, slots
        self._most, self._least = first, min(_SMALLEST, -(-total // max(slots(), 1)))

    def __iter__(self) -> Iterator[tuple[Point, ...]]:
        while points := tuple(itertools.islice(self._points, self._size())):
            self._left -= len(points)
            yield points

    def _size(self) -> int:
        slots = max(self._slots(), 1)
        if slots == 1:
            return self._most
        return max(min(self._most, max(-(-self._left // (2 * _UNDER_WAY * slots)), self._least)), 1)

    def adapt(self, lines: Lines) -> None:
        """Take the time of a chunk into account."""
        if lines.seconds < _SHORT_S and lines.points >= self._most:
            self._most = min(2 * self._most, _LARGEST)
        elif lines.seconds > _LONG_S:
            self._most = max(min(lines.points // 2, self._most), 1)


def fan_out(
    items: Iterator[Item],
    submit: "Callable[[Item], Future[Lines]]",
    slots: Slots,
    save: Callable[[Sequence[Lines]], None],
) -> None:
    """Submit all items and save their rows in order, those of all leading items that are done in one call.

    What is there in order is saved also where this is interrupted or an item fails; the others are cancelled.
    """
    line: deque[Future[Lines]] = deque()
    ended: SimpleQueue[Future[Lines]] = SimpleQueue()
    running = held = 0
    try:
        while True:
            while running < _UNDER_WAY * max(slots(), 1) and held < _MOST_HELD_BYTES:
                item = next(items, None)
                if item is None:
                    break
                line.append(submit(item))
                line[-1].add_done_callback(ended.put)
                running += 1
            if not line:
                return
            for future in _ended(ended):
                running -= 1
                held += _bytes_of(future)
            held -= _save_leading(line, save)
    except KeyboardInterrupt:
        _save_leading(line, save)
        raise
    finally:
        for future in line:
            future.cancel()


def _ended(ended: "SimpleQueue[Future[Lines]]") -> "Iterator[Future[Lines]]":
    """Yield what has ended; wait for the first for some time."""
    try:
        yield ended.get(timeout=_LOOK_S)
        while True:
            yield ended.get_nowait()
    except Empty:
        return


def _save_leading(line: "deque[Future[Lines]]", save: Callable[[Sequence[Lines]], None]) -> int:
    """Save the rows of the leading items that are done; return how many bytes. Raises what the next of them raised."""
    done: list[Lines] = []
    error: BaseException | None = None
    while line and line[0].done() and error is None:
        future = line.popleft()
        error = _error_of(future)
        done += [] if error is not None else [future.result()]
    if done:
        save(done)
    if error is not None:
        raise error
    return sum(len(lines.text) for lines in done)


def _error_of(future: "Future[Lines]") -> BaseException | None:
    return CancelledError() if future.cancelled() else future.exception()


def _bytes_of(future: "Future[Lines]") -> int:
    return 0 if _error_of(future) is not None else len(future.result().text)
