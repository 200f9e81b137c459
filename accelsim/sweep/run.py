"""Running a sweep: points in, rows out, in the order of the sweep whatever the number of processes.

Points are evaluated in chunks, by this process or by an executor (`accelsim.sweep.fan_out`), and their rows are
appended to the journal in order as soon as they are there.
"""

import contextlib
import csv
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from accelsim.base.errors import InputError
from accelsim.sweep.basis_file import check_code, write_basis
from accelsim.sweep.fan_out import Portions, Slots, fan_out
from accelsim.sweep.journal import Journal
from accelsim.sweep.parquet import check_parquet, write_parquet
from accelsim.sweep.parts import SweepPart
from accelsim.sweep.rows import Lines, chunk_of, columns_of, end_of_line, ends_of, is_intact, lines_of, starts_of
from accelsim.sweep.space import Sweep
from accelsim.sweep.spec import load_sweep

__all__ = ["Outcome", "WorkersLostError", "journal_of", "keeping_rows", "local_executor", "run_sweep"]

Progress = Callable[[int, int], None]


class WorkersLostError(BrokenExecutor):
    """No worker is left to evaluate points; the text says so to the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished sweep, or part of one: its `points`, how many of them were in the file before, and the CSV with their
    rows."""

    points: int
    before: int
    journal: Path


def run_sweep(
    sweep: Sweep | str | Path,
    output: str | Path,
    *,
    jobs: int | Slots = 1,
    executor: Executor | None = None,
    part: SweepPart | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Evaluate all points of a sweep, or of a part of it, and write a row for each.

    Args:
        sweep: the sweep, or what `accelsim.load_sweep` takes.
        output: a ``.csv`` file, which is appended to as points are done, so that the same call goes on with a sweep
            that was interrupted; or a ``.parquet`` file, which is written at the end, from the CSV beside it.
        jobs: processes that share the work, from 1. More than one needs the main module to be importable, as
            `concurrent.futures.ProcessPoolExecutor` says. With `executor`: how many chunks it runs at once, or what
            says how many at the moment.
        executor: what evaluates the points instead of processes of this machine.
        part: which part of the sweep this is, as in ``SweepPart.parse("3/8")``; `accelsim.sweep.parts` joins them.
        progress: called with the number of points done, and of all.

    Raises `InputError` for a file of another sweep or other code, one that is being written, and one that cannot be
    written; what was done is kept.

    >>> import accelsim as acs, tempfile
    >>> sweep = acs.make_sweep(["resnet9_cifar10"], vary={"array.rows": [16, 32], "batch": [8]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run_sweep(sweep, Path(folder, "rows.csv")).points
    2
    """
    sweep = sweep if isinstance(sweep, Sweep) else load_sweep(sweep)
    output, path = Path(output), journal_of(Path(output))
    if isinstance(jobs, int) and jobs < 1:
        raise InputError(f"jobs: got {jobs}; a whole number from 1 is needed")
    if output.suffix == ".parquet":
        check_parquet()
        if part is not None:
            raise InputError(f"{output}: a part is written as .csv, to be joined with the others")
    total = sweep.count()
    task = _Task(sweep, range(total) if part is None else part.span(total), ends_of(sweep, part))
    header = ",".join(columns_of(sweep)).encode() + b"\n"
    with Journal(path, header, end_of_line(task.ends), is_intact) as journal:
        before, points = journal.lines, len(task.span)
        if before > points:
            whole = "sweep" if part is None else f"part {part}"
            raise InputError(f"{path}: holds {before:,} points, the {whole} has {points:,}; write to another file")
        _check_order(task, journal)
        if before < points:
            check_code(path, before)
        write_basis(path, sweep.inputs, task.ends[0], complete=before == points)
        if progress is not None:
            progress(before, points)
        if before < points:
            _complete(task, journal, jobs, executor, progress)
            write_basis(path, sweep.inputs, task.ends[0], complete=True)
    if output.suffix == ".parquet":
        write_parquet(sweep, path, output)
    return Outcome(points=points, before=before, journal=path)


@dataclass(frozen=True, slots=True)
class _Task:
    """The points of a sweep at the places of `span`, and the last cells of their rows."""

    sweep: Sweep
    span: range
    ends: tuple[str, str]


def _check_order(task: _Task, journal: Journal) -> None:
    """Raise `InputError` where the rows of the journal are not those of the first points of the task, in order."""
    starts = itertools.islice(starts_of(task.sweep), task.span.start, None)
    with journal.path.open("rb") as file:
        next(file, None)
        for number, (line, start) in enumerate(zip(file, starts, strict=False), start=2):
            if not line.startswith(start):
                raise InputError(
                    f"{journal.path}: line {number}: {_difference(task.sweep, line, start)}: rows were removed, added,"
                    " changed or moved; restore the file, or write to another"
                )


def _difference(sweep: Sweep, line: bytes, start: bytes) -> str:
    """Say which input of a line is another than the sweep has there."""
    found, wanted = (next(csv.reader([text.decode(errors="replace")])) for text in (line, start))
    cells = zip(columns_of(sweep), found, wanted, strict=False)
    name, got, there = next(cell for cell in cells if cell[1] != cell[2])
    return f"{name}: got {got or 'nothing'}, where the sweep has {there or 'nothing'}"


def _complete(
    task: _Task, journal: Journal, jobs: int | Slots, executor: Executor | None, progress: Progress | None
) -> None:
    """Evaluate the points whose rows the journal lacks."""
    sweep, start = task.sweep, task.span.start + journal.lines
    slots: Slots = (lambda: jobs) if isinstance(jobs, int) else jobs
    alone = executor is None and jobs == 1
    points = itertools.islice(sweep.points(), start, task.span.stop)
    first = {} if sweep.batched and not alone else {"first": 1}
    portions = Portions(points, task.span.stop - start, slots, **first)
    chunks = (chunk_of(sweep, portion, task.ends) for portion in portions)

    def save(done: Sequence[Lines]) -> None:
        journal.append(b"".join(lines.text for lines in done), sum(lines.points for lines in done))
        for lines in done:
            portions.adapt(lines)
        if progress is not None:
            progress(journal.lines, len(task.span))

    with keeping_rows(journal, len(task.span), progress):
        if alone:
            for chunk in chunks:
                save([lines_of(chunk)])
            return
        with local_executor(slots()) if executor is None else contextlib.nullcontext(executor) as given:
            fan_out(chunks, lambda chunk: given.submit(lines_of, chunk), slots, save)


@contextlib.contextmanager
def keeping_rows(journal: Journal, total: int, progress: Progress | None, what: str = "sweep") -> Iterator[None]:
    """Within this, an executor that loses points raises `InputError` that says what is kept, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if progress is not None:
            progress(journal.lines, total)
        raise
    except Exception as error:
        reason = _why_lost(error)
        if reason is None:
            raise
        kept = f"{journal.lines:,} points are kept: run the same {what} again to go on"
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


def _why_lost(error: Exception) -> str | None:
    """Say why an executor lost points, if that is what happened; None for an error of the points themselves."""
    if isinstance(error, WorkersLostError):
        return str(error)
    if isinstance(error, BrokenExecutor):
        return "a process ended while it evaluated points (killed, or out of memory?)"
    if isinstance(error, CancelledError) or type(error).__module__.startswith("distributed."):
        return f"the executor gave points up: {str(error) or type(error).__name__}"
    return None
