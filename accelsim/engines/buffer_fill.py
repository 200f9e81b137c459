"""How full the buffers of a design are while a step runs, from its plan and from where in time its tasks ran.

A GEMM holds its tiles as its mapping cuts them. From its first load on it holds one tile of x and of w; while it runs,
a second one of each, into which the next job's tiles are loaded, until the next GEMM starts to load its own into that
room; and with its end the last one goes. Of y it holds the tile that it sums up and, once the result of the GEMM before
it is stored, a second one that is being stored; its last result stays until that is stored. An operand or result that
is a single tile is held once. Tiles at an edge count with the room of whole ones. A tensor that stays on the chip is
held from the start of the task that makes it to the end of the one that reads it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil

from accelsim.engines.timing import Span
from accelsim.engines.work import TaskWork
from accelsim.schedule.overlap import Unit

__all__ = ["Fill", "buffer_fill"]

_BUFFERS = ("x", "w", "y", "resident")
_Placed = tuple[TaskWork, Sequence[Span]]
_Change = tuple[int, str, int]
"""Cycle, buffer, bytes that come or go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Bytes occupied from cycle `at` on, until the next of its kind: by tiles of x, w and y, and by whole tensors."""

    at: int
    x: int
    w: int
    y: int
    resident: int


@dataclass(frozen=True, slots=True)
class _Stay:
    """A GEMM on the array: when its first load begins, the array starts and ends, and its last result is stored."""

    work: TaskWork
    loads: int
    start: int
    end: int
    stored: int


def buffer_fill(works: Sequence[TaskWork], spans: Iterable[Span]) -> tuple[Fill, ...]:
    """Return the fill of the buffers wherever it changes, for the tasks of a step and the spans of its timing."""
    rows: dict[int, list[Span]] = {}
    for span in spans:
        rows.setdefault(span.row, []).append(span)
    starts = accumulate((len(work.rows) for work in works), initial=0)
    placed = [
        (work, [span for row in range(start, start + len(work.rows)) for span in rows.get(row, ())])
        for work, start in zip(works, starts, strict=False)
    ]
    changes = [*_tile_changes(placed), *_resident_changes(placed)]
    held = dict.fromkeys(_BUFFERS, 0)
    fills: dict[int, Fill] = {0: Fill(at=0, **held)}
    for at, buffer, size in sorted(changes):
        held[buffer] += size
        fills[at] = Fill(at=at, **held)
    return tuple(fills.values())


def _tile_changes(placed: Sequence[_Placed]) -> Iterator[_Change]:
    stays = [_stay(work, spans) for work, spans in placed if work.gemm is not None]
    stays.sort(key=lambda stay: stay.start)
    stored = 0
    for stay, after in pairwise([*stays, None]):
        assert stay is not None, "only the last one is followed by none"
        handed_over = stay.end if after is None else min(after.loads, stay.end)
        for buffer, size, tiles in _tiles(stay.work):
            second = size * (tiles - 1)
            if buffer == "y":
                yield from ((stay.start, buffer, size), (max(stay.start, stored), buffer, second))
                yield from ((stay.end, buffer, -second), (stay.stored, buffer, -size))
            else:
                yield from ((stay.loads, buffer, size), (stay.start, buffer, second))
                yield from ((handed_over, buffer, -second), (stay.end, buffer, -size))
        stored = stay.stored


def _stay(work: TaskWork, spans: Sequence[Span]) -> _Stay:
    own = [span for span in spans if span.unit != Unit.GENERATE]
    (array,) = (span for span in own if span.unit == Unit.ARRAY)
    first, last = min(span.start for span in own), max(span.end for span in own)
    return _Stay(work, loads=first, start=array.start, end=array.end, stored=last)


def _tiles(work: TaskWork) -> Iterator[tuple[str, int, int]]:
    """Bytes of a tile of x, w and y, and how many are held at most."""
    assert work.gemm is not None, "only GEMMs have tiles"
    numbers, mapping = work.gemm
    shape, of = numbers.shape, numbers.element_bytes
    m, n, k = shape.m, shape.n, shape.k
    tm, tn, tk = map(min, (m, n, k), mapping.tile)
    sides = {"x": (m, k, tm, tk), "w": (k, n, tk, tn), "y": (m, n, tm, tn)}
    widths = {"x": of.buffered_x, "w": of.buffered_w, "y": of.psum}
    for buffer, (rows, cols, high, wide) in sides.items():
        tiles = -(-rows // high) * -(-cols // wide) * shape.count
        yield buffer, ceil(high * wide * widths[buffer]), min(2, tiles)


def _resident_changes(placed: Sequence[_Placed]) -> Iterator[_Change]:
    main = {Unit.ARRAY, Unit.UPDATE, Unit.VECTOR}
    runs = {work.task: next(span for span in spans if span.unit in main) for work, spans in placed}
    for work, _ in placed:
        if work.handed is not None:
            yield runs[work.task].start, "resident", work.handed.size
            yield runs[work.handed.consumer].end, "resident", -work.handed.size
