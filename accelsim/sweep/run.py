"""Running a sweep: points in, rows out, in the order of the sweep whatever the number of processes.

Points are evaluated in chunks, by this process or by an executor; a bounded number of them is under way at once, and
their rows are appended to the journal in order as soon as they are there.
"""

import contextlib
import csv
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from accelsim.base.errors import InputError
from accelsim.base.version import __version__
from accelsim.sweep.basis_file import write_basis
from accelsim.sweep.journal import Journal
from accelsim.sweep.parquet import check_parquet, write_parquet
from accelsim.sweep.point import Point
from accelsim.sweep.rows import Chunk, Lines, columns_of, end_of_line, is_intact, lines_of, starts_of
from accelsim.sweep.space import Sweep
from accelsim.sweep.spec import load_sweep

__all__ = ["Outcome", "journal_of", "local_executor", "run_sweep"]

_UNDER_WAY = 3  # chunks per process: one that runs, one that waits there, one whose rows wait for earlier ones
_LARGEST_CHUNK = 4096
_SHORT_S, _LONG_S = 0.5, 2.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished sweep: its `points`, how many of them were in the file before, and the CSV with their rows."""

    points: int
    before: int
    journal: Path


def run_sweep(
    sweep: Sweep | str | Path,
    output: str | Path,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Evaluate all points of a sweep and write a row for each.

    Args:
        sweep: the sweep, or what `accelsim.load_sweep` takes.
        output: a ``.csv`` file, which is appended to as points are done, so that the same call goes on with a sweep
            that was interrupted; or a ``.parquet`` file, which is written at the end, from the CSV beside it.
        jobs: processes that share the work, from 1. More than one needs the main module to be importable, as
            `concurrent.futures.ProcessPoolExecutor` says. With `executor`: how many it keeps busy.
        executor: what evaluates the points instead of processes of this machine.
        progress: called with the number of points done, and of all.

    Raises `InputError` for a file of another sweep or version, one that is being written, and one that cannot be
    written; what was done is kept.

    >>> import accelsim as acs, tempfile
    >>> sweep = acs.make_sweep(["resnet9_cifar10"], vary={"array.rows": [16, 32], "batch": [8]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run_sweep(sweep, Path(folder, "rows.csv")).points
    2
    """
    sweep = sweep if isinstance(sweep, Sweep) else load_sweep(sweep)
    output, path = Path(output), journal_of(Path(output))
    if jobs < 1:
        raise InputError(f"jobs: got {jobs}; a whole number from 1 is needed")
    if output.suffix == ".parquet":
        check_parquet()
    total = sweep.count()
    header = ",".join(columns_of(sweep)).encode() + b"\n"
    with Journal(path, header, end_of_line(sweep), is_intact) as journal:
        before = journal.lines
        if before > total:
            raise InputError(f"{path}: holds {before:,} points, the sweep has {total:,}; write to another file")
        _check_order(sweep, journal)
        write_basis(path, sweep.inputs, sweep.identity)
        if progress is not None:
            progress(before, total)
        if before < total:
            _complete(sweep, journal, total, jobs, executor, progress)
    if output.suffix == ".parquet":
        write_parquet(sweep, path, output)
    return Outcome(points=total, before=before, journal=path)


def _check_order(sweep: Sweep, journal: Journal) -> None:
    """Raise `InputError` where the rows of the journal are not those of the first points of the sweep, in order."""
    with journal.path.open("rb") as file:
        next(file, None)
        for number, (line, start) in enumerate(zip(file, starts_of(sweep), strict=False), start=2):
            if not line.startswith(start):
                raise InputError(
                    f"{journal.path}: line {number}: {_difference(sweep, line, start)}: rows were removed, added,"
                    " changed or moved; restore the file, or write to another"
                )


def _difference(sweep: Sweep, line: bytes, start: bytes) -> str:
    """Say which input of a line is another than the sweep has there."""
    found, wanted = (next(csv.reader([text.decode(errors="replace")])) for text in (line, start))
    cells = zip(columns_of(sweep), found, wanted, strict=False)
    name, got, there = next(cell for cell in cells if cell[1] != cell[2])
    return f"{name}: got {got or 'nothing'}, where the sweep has {there or 'nothing'}"


def _complete(
    sweep: Sweep, journal: Journal, total: int, jobs: int, executor: Executor | None, progress: Progress | None
) -> None:
    """Evaluate the points whose rows the journal lacks."""
    chunks = _Chunks(sweep, itertools.islice(sweep.points(), journal.lines, None))

    def save(lines: Lines) -> None:
        journal.append(lines.text, lines.points)
        chunks.adapt(lines)
        if progress is not None:
            progress(journal.lines, total)

    try:
        with local_executor(jobs) if executor is None and jobs > 1 else contextlib.nullcontext(executor) as given:
            _evaluate(chunks, save, jobs, given)
    except KeyboardInterrupt:
        if progress is not None:
            progress(journal.lines, total)
        raise
    except Exception as error:
        reason = _why_lost(error)
        if reason is None:
            raise
        kept = f"{journal.lines:,} points are kept: run the same sweep again to go on"
        raise InputError(f"{journal.path}: {reason}; {kept}") from error


def journal_of(output: Path) -> Path:
    """Return the CSV that the results in `output` are collected in. Raises `InputError` for another suffix."""
    if output.suffix not in {".csv", ".parquet"}:
        raise InputError(f"{output}: results are written as .csv or .parquet, got '{output.suffix or 'no suffix'}'")
    return output.with_suffix(".csv")


@contextlib.contextmanager
def local_executor(jobs: int) -> Iterator[Executor]:
    """Fresh processes of this machine; none of them outlives this one, and an interrupt is this one's to handle."""
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _evaluate(chunks: "_Chunks", save: Callable[[Lines], None], jobs: int, executor: Executor | None) -> None:
    """Evaluate all points and save their rows in order; once interrupted, those that are there already."""
    if executor is None:
        for chunk in chunks:
            save(lines_of(chunk))
        return
    waiting: deque[Future[Lines]] = deque()
    try:
        for chunk in chunks:
            waiting.append(executor.submit(lines_of, chunk))
            while len(waiting) >= _UNDER_WAY * jobs or (waiting and waiting[0].done()):
                save(waiting.popleft().result())
        while waiting:
            save(waiting.popleft().result())
    except KeyboardInterrupt:
        while waiting and waiting[0].done():
            save(waiting.popleft().result())
        raise
    finally:
        for future in waiting:
            future.cancel()


def _why_lost(error: Exception) -> str | None:
    """Say why an executor lost points, if that is what happened; None for an error of the points themselves."""
    if isinstance(error, BrokenExecutor):
        return "a process ended while it evaluated points (killed, or out of memory?)"
    if isinstance(error, CancelledError) or type(error).__module__.startswith("distributed."):
        return f"the executor gave points up: {str(error) or type(error).__name__}"
    return None


class _Chunks:
    """Points in chunks whose size follows how long they take: little is lost when it ends, and little spent on each."""

    def __init__(self, sweep: Sweep, points: Iterator[Point]) -> None:
        self._sweep, self._identity, self._points, self._size = sweep, sweep.identity, points, 1

    def __iter__(self) -> Iterator[Chunk]:
        while points := tuple(itertools.islice(self._points, self._size)):
            yield Chunk(
                points=points,
                inputs=self._sweep.inputs,
                sweep=self._identity,
                version=__version__,
                fits=self._sweep.fits,
            )

    def adapt(self, lines: Lines) -> None:
        if lines.seconds < _SHORT_S and lines.points >= self._size:
            self._size = min(2 * self._size, _LARGEST_CHUNK)
        elif lines.seconds > _LONG_S:
            self._size = max(self._size // 2, 1)
