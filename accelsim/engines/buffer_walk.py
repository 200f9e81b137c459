"""The buffer level, walked: every job of a loop nest in turn, with buffers that hold one tile of each operand.

It judges the traffic formulas and the pipeline of the closed form and shares nothing with them: bytes are added up
where a tile misses, cycles where a job runs.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from accelsim.cost.compiled.values import ElementBytes

__all__ = ["BufferWalk", "walk_buffers"]

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferWalk:
    """DRAM bytes of x, w and y; tiles of x and w found in the buffer and fetched; cycles of the pipeline."""

    x_bytes: float
    w_bytes: float
    y_bytes: float
    hits: int
    misses: int
    cycles: int


@dataclass(slots=True)
class _Job:
    """One tile product: its indices (copy, m, n, k), its sizes and what it loads and stores."""

    index: tuple[int, int, int, int]
    sizes: Shape
    load: float = 0.0
    store: float = 0.0


class _Buffer:
    """Holds one tile; remembers which."""

    def __init__(self) -> None:
        self.held: tuple[int, ...] | None = None
        self.hits = self.misses = 0
        self.moved = 0.0

    def fetch(self, tile: tuple[int, ...], size: float) -> float:
        """Return the bytes fetched for `tile`: none when it is held."""
        if tile == self.held:
            self.hits += 1
            return 0.0
        self.held, self.misses, self.moved = tile, self.misses + 1, self.moved + size
        return size


def walk_buffers(
    whole: Shape,
    tile: Shape,
    order: Sequence[int],
    count: int,
    element_bytes: ElementBytes,
    job_cycles: Callable[[int, int, int], int],
    bytes_per_cycle: float,
) -> BufferWalk:
    """Walk `count` copies of a GEMM of size (m, n, k) cut into tiles, loops over (0 = m, 1 = n, 2 = k) in `order`.

    `element_bytes`: DRAM bytes per element of x, w, a finished y and a spilled partial sum. A job loads what its tiles
    miss and the partial sums it continues; its result is stored when the next job works on another tile of y. While
    job j runs, the tiles of job j + 1 are loaded and the result of job j - 1 is stored over the same DRAM.
    """
    jobs = list(_jobs(whole, tile, order, count))
    x_buffer, w_buffer, y_bytes = _Buffer(), _Buffer(), 0.0
    for before, job, after in zip([None, *jobs], jobs, [*jobs[1:], None], strict=False):
        copy, i, j, part = job.index
        m, n, k = job.sizes
        job.load = x_buffer.fetch((copy, i, part), m * k * element_bytes.x)
        job.load += w_buffer.fetch((copy, part, j), k * n * element_bytes.w)
        if part > 0 and (before is None or before.index[:3] != job.index[:3]):
            job.load += m * n * element_bytes.psum
            y_bytes += m * n * element_bytes.psum
        if after is None or after.index[:3] != job.index[:3]:
            finished = (part + 1) * tile[2] >= whole[2]
            job.store = m * n * (element_bytes.y if finished else element_bytes.psum)
            y_bytes += job.store
    return BufferWalk(
        x_bytes=x_buffer.moved,
        w_bytes=w_buffer.moved,
        y_bytes=y_bytes,
        hits=x_buffer.hits + w_buffer.hits,
        misses=x_buffer.misses + w_buffer.misses,
        cycles=_run(jobs, job_cycles, bytes_per_cycle),
    )


def _jobs(whole: Shape, tile: Shape, order: Sequence[int], count: int) -> Iterator[_Job]:
    trips = [math.ceil(size / step) for size, step in zip(whole, tile, strict=True)]
    for copy in range(count):
        for loops in itertools.product(*(range(trips[d]) for d in order)):
            at = [0, 0, 0]
            for d, position in zip(order, loops, strict=True):
                at[d] = position
            m, n, k = (min(tile[d], whole[d] - at[d] * tile[d]) for d in range(3))
            yield _Job(index=(copy, at[0], at[1], at[2]), sizes=(m, n, k))


def _run(jobs: list[_Job], job_cycles: Callable[[int, int, int], int], bytes_per_cycle: float) -> int:
    def transfer(moved: float) -> int:
        return math.ceil(moved / bytes_per_cycle)

    cycles = transfer(jobs[0].load) + transfer(jobs[-1].store)
    for position, job in enumerate(jobs):
        load = jobs[position + 1].load if position + 1 < len(jobs) else 0.0
        store = jobs[position - 1].store if position else 0.0
        cycles += max(job_cycles(*job.sizes), transfer(load + store))
    return cycles
