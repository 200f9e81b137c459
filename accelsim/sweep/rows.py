"""Rows of a sweep's results: the lines of its CSV.

Columns: what was simulated (`workload` ... `engine`), each field of the design that varies by its dotted path, `status`
(``ok``, ``infeasible`` or ``error``) and `reason`, the metrics, what the design takes on its device (`fits` ...
`uram288`, estimated; empty where it has no FPGA), `checksum` (CRC-32 of the rest of the row), `identity` (of the
point's inputs), `sweep` and `version`. A point
that could not be simulated has no metrics, and one whose design is in error no estimate either.
"""

import csv
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

from accelsim.base.cells import safe_cell
from accelsim.base.code import code_version
from accelsim.base.errors import InputError
from accelsim.base.files import Scalar
from accelsim.base.version import __version__
from accelsim.lowering.case import Case
from accelsim.sweep.batched import BatchEvaluator
from accelsim.sweep.device_fit import FIT, Fits
from accelsim.sweep.inputs import Identities, Inputs, check_inputs
from accelsim.sweep.parts import SweepPart
from accelsim.sweep.point import METRICS, Point
from accelsim.sweep.space import Sweep

__all__ = [
    "HEADS",
    "Chunk",
    "Lines",
    "chunk_of",
    "columns_of",
    "end_of_line",
    "ends_of",
    "inputs_of",
    "is_intact",
    "lines_of",
    "starts_of",
]

_CASE = ("method", "pattern", "batch", "optimizer", "engine", "accumulate")
HEADS = ("workload", "design", *_CASE)
_OUTCOME = ("status", "reason")
_ENDS = ("checksum", "identity", "sweep", "version")
_MOST_STEPS = 256  # lowered steps that a process remembers


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some points in a row, for one process to evaluate.

    `ends`: the last cells of their lines, of the sweep and the version. `code`: the version and digest of the sources
    that the sweep is made with.
    """

    points: tuple[Point, ...]
    inputs: Inputs
    ends: tuple[str, str]
    code: str
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The lines of a chunk, and how long they took."""

    text: bytes
    points: int
    seconds: float


def columns_of(sweep: Sweep) -> tuple[str, ...]:
    """Return the columns of a sweep's results."""
    return (*HEADS, *sweep.changed, *_OUTCOME, *METRICS, *FIT, *_ENDS)


def ends_of(sweep: Sweep, part: SweepPart | None = None) -> tuple[str, str]:
    """Return the last cells of every line of this sweep, or of this part of it: the sweep and the version."""
    if part is None:
        return sweep.identity, __version__
    return part.of(sweep.identity, sweep.count()), code_version()


def end_of_line(ends: tuple[str, str]) -> bytes:
    """Return what every line with these last cells ends in."""
    return f",{','.join(ends)}\n".encode()


def chunk_of(sweep: Sweep, points: Sequence[Point], ends: tuple[str, str]) -> Chunk:
    """Return points of a sweep as something to be evaluated elsewhere."""
    return Chunk(points=tuple(points), inputs=sweep.inputs, ends=ends, code=code_version(), fits=sweep.fits)


def starts_of(sweep: Sweep) -> Iterator[bytes]:
    """Yield what the line of each point starts with, whatever comes out: its inputs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=",")
    for point in sweep.points():
        writer.writerow(inputs_of(point, sweep.inputs))
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def lines_of(chunk: Chunk) -> Lines:
    """Evaluate the points of a chunk, wherever this runs.

    Raises `InputError` where this process has other code or other inputs than the sweep.
    """
    began = perf_counter()
    if chunk.code != code_version():
        raise InputError(f"the sweep began with accelsim {chunk.code}; a process that evaluates has {code_version()}")
    check_inputs(chunk.inputs)
    identities, ends = Identities(chunk.inputs), ",".join(chunk.ends).encode()
    rows = zip(chunk.points, _evaluated(chunk), strict=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="")
    lines = []
    for point, found in rows:
        outcome = [found.get(name) for name in (*_OUTCOME, *METRICS, *FIT)]
        writer.writerow([*inputs_of(point, chunk.inputs), *map(_cell, outcome)])
        front, identity = text.getvalue().encode(), identities.of(point).encode()
        lines.append(b"%s,%s,%s,%s\n" % (front, _checksum(front, identity), identity, ends))
        text.seek(0)
        text.truncate()
    return Lines(text=b"".join(lines), points=len(chunk.points), seconds=perf_counter() - began)


def _checksum(front: bytes, identity: bytes) -> bytes:
    return b"%08x" % zlib.crc32(identity, zlib.crc32(front))


def is_intact(line: bytes) -> bool:
    """Whether a line is as it was written: its checksum is that of the rest of it."""
    front, *ends = line.rstrip(b"\r\n").rsplit(b",", len(_ENDS))
    return len(ends) == len(_ENDS) and ends[0] == _checksum(front, ends[1])


class _Evaluator:
    """For one chunk at a time: what it remembers of one serves the next, as long as that is not too much."""

    def __init__(self) -> None:
        self._inputs: Inputs | None = None
        self._steps: set[tuple[str, Case]] = set()
        self._batch = BatchEvaluator()
        self._fits: Fits

    def evaluate(self, chunk: Chunk) -> list[dict[str, Scalar]]:
        """Return what is known of each point, with what its design takes; without `fits` all are simulated."""
        steps = {(point.workload, point.case) for point in chunk.points}
        if self._inputs != chunk.inputs or len(self._steps | steps) > _MOST_STEPS:
            self._steps, self._batch = set(), BatchEvaluator()
        if self._inputs != chunk.inputs:
            self._inputs, self._fits = chunk.inputs, Fits(chunk.inputs.design)
        self._steps |= steps
        found = [self._fits.of(point) for point in chunk.points]
        reasons = [fit.reason if fit and chunk.fits else None for fit in found]
        wanted = [point for point, reason in zip(chunk.points, reasons, strict=True) if reason is None]
        done = iter(self._batch.evaluate(wanted))
        rows: list[dict[str, Scalar]] = [
            next(done) if reason is None else {"status": "infeasible", "reason": reason} for reason in reasons
        ]
        return [
            {**row, **fit.cells} if fit and row["status"] != "error" else row
            for row, fit in zip(rows, found, strict=True)
        ]


_IDLE: list[_Evaluator] = []  # those that remember; as many as chunks ran at once in this process


def _evaluated(chunk: Chunk) -> list[dict[str, Scalar]]:
    """Evaluate a chunk with the evaluator that was used last, whatever thread that was in."""
    try:
        evaluator = _IDLE.pop()
    except IndexError:
        evaluator = _Evaluator()
    found = evaluator.evaluate(chunk)
    _IDLE.append(evaluator)
    return found


def inputs_of(point: Point, inputs: Inputs) -> list[str]:
    """Return the cells of the columns that say what was simulated."""
    head = point.case.head
    called = inputs.name_of(point.workload), inputs.name_of(point.design)
    return [
        *map(_cell, (*called, *(head[name] for name in _CASE))),
        *(_cell(text) for _, text in point.changes),
    ]


def _cell(value: Scalar) -> str:
    """One line per row, whatever a reason says; a float has all its digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(float(value)) if isinstance(value, float) else str(safe_cell(" ".join(str(value).splitlines())))
